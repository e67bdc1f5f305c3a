"""What a share must be able to do so that a delivery to it is safe; S3, SFTP and SMB each do it their own way.

Paths are relative to the share's root, with ``/`` between their parts. Every method may raise ``ConnectionProblem`` and
``SystemUnreachable``; a method that changes something and raises ``SystemUnreachable`` may have changed it, and each of
them may be repeated without harm. ``RequestRejected`` means that the share said no.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Protocol

from airflow_enterprise_orch.errors import RequestRejected


@dataclass(frozen=True, slots=True)
class Entry:
    """One file on a share.

    :param name: its path below the share's root, or its bare name in a listing.
    :param changed: any word that changes when the file does.
    """

    name: str
    size: int
    changed: str
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What is delivered: a text that is at hand, or a file on this machine.

    :param size: in bytes; what is read must be exactly so long.
    """

    size: int
    data: bytes = b""
    file: Path | None = None

    def open(self) -> BinaryIO:
        """Open it for reading; :raises OSError: when that is not possible."""
        return BytesIO(self.data) if self.file is None else self.file.open("rb")

    def blocks(self, size: int) -> Iterator[bytes]:
        """Yield the content in blocks of ``size`` bytes, the last one shorter."""
        try:
            with self.open() as stream:
                while block := stream.read(size):
                    yield block
        except OSError as error:
            raise RequestRejected(f"the file {self.file} cannot be read on this worker: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Staged:
    """Content that lies on the share, whole and verified, where nobody looks for it yet.

    :param token: what the store needs to publish or discard it.
    :param proof: what the store must say of the published content; "" where that has to be read back.
    """

    path: str
    token: str
    size: int
    sha256: str
    proof: str = ""


class Store(Protocol):
    """One share."""

    @property
    def identity(self) -> str:
        """Which share, without any secret."""
        ...

    async def prepare(self) -> None:
        """Make sure that a delivery can be safe here, once per session.

        :raises ConnectionInvalid: when the store silently ignores what publish-if-absent relies on.
        """
        ...

    async def stat(self, path: str) -> Entry | None:
        """Return what lies at ``path``; None when nothing does."""
        ...

    async def read(self, path: str) -> bytes | None:
        """Return a small file whole; None when there is none."""
        ...

    async def create(self, path: str, data: bytes) -> bool:
        """Put a small file there, whole or not at all; False when there is one already, which stays as it is."""
        ...

    async def remove(self, path: str) -> None:
        """Remove a file. Idempotent."""
        ...

    async def listing(self, folder: str) -> list[Entry] | None:
        """Return the files that lie directly in ``folder``; None when there is no such folder (S3 has none at all)."""
        ...

    async def sha256(self, path: str) -> str | None:
        """Return the checksum of what lies at ``path``, proven by the store or read back; None when nothing does."""
        ...

    async def begin(self, path: str, source: Source) -> str:
        """Return the token of a new stage; whatever it leaves behind, :meth:`discard` removes."""
        ...

    async def fill(self, path: str, token: str, source: Source) -> Staged:
        """Bring the content to the stage and verify it there.

        :raises RequestRejected: when the source changed while it was read.
        """
        ...

    async def publish(self, staged: Staged, source: Source) -> bool:
        """Make it visible under its name, at once and whole; False when something lies there already."""
        ...

    async def confirm(self, staged: Staged) -> bool:
        """Return whether what is published now is what was staged."""
        ...

    async def discard(self, path: str, token: str) -> None:
        """Remove a stage. Idempotent."""
        ...

    async def link(self, path: str, lifetime: timedelta) -> str | None:
        """Return an address that opens the file for whoever has it, for so long; None where the store has none."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
