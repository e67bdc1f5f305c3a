"""What SFTP and SMB have in common: folders, and a rename that fails when the new name is taken.

A file is written under a name that begins with ``.orch-`` in the folder where it shall lie, read back, compared, and
then renamed. The rename is the publication: at once, whole, and refused when the name is taken. A server whose rename
overwrites is found out before the first delivery of a session.
"""

from __future__ import annotations

import hashlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta

from airflow_enterprise_orch.errors import ConnectionInvalid, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.fileshare.steps import JOURNAL, STAGE
from airflow_enterprise_orch.systems.fileshare.store import Entry, Source, Staged

BLOCK = 1 << 20


class FolderStore(ABC):
    """A share made of folders; see :class:`~.store.Store`."""

    def __init__(self, connection_id: str, identity: str) -> None:
        self.connection_id = connection_id
        self.identity = identity
        self._prepared = False

    # What a protocol brings.

    @abstractmethod
    async def stat(self, path: str) -> Entry | None:
        """Return what lies at ``path``."""

    @abstractmethod
    async def listing(self, folder: str) -> list[Entry] | None:
        """Return the files in a folder; None when there is no such folder."""

    @abstractmethod
    async def remove(self, path: str) -> None:
        """Remove a file. Idempotent."""

    @abstractmethod
    async def make_folder(self, folder: str) -> None:
        """Make a folder and those above it. Idempotent."""

    @abstractmethod
    async def write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Write a file that is not there yet, and have the server keep it."""

    @abstractmethod
    def blocks(self, path: str) -> AsyncIterator[bytes]:
        """Yield a file's content; :raises FileNotFoundError: when there is none."""

    @abstractmethod
    async def rename(self, old: str, new: str) -> bool:
        """Rename a file; False when the new name is taken, which stays as it is."""

    @abstractmethod
    async def close(self) -> None:
        """Close connections."""

    # What follows from it.

    async def prepare(self) -> None:
        """Try whether a rename spares what lies there."""
        if self._prepared:
            return
        probe = f"{JOURNAL}/probe"
        if await self.create(probe, b"probe\n") and await self.create(probe, b"probe\n"):
            raise ConnectionInvalid(
                self.connection_id,
                f"a rename on {self.identity} overwrites the file that has the name already",
                "use a server whose rename refuses that (OpenSSH, Samba and Windows do)",
            )
        self._prepared = True

    async def read(self, path: str) -> bytes | None:
        """Return a small file whole."""
        try:
            return b"".join([block async for block in self.blocks(path)])
        except FileNotFoundError:
            return None

    async def create(self, path: str, data: bytes) -> bool:
        """Put a small file there by writing it aside and renaming it."""
        if await self.stat(path) is not None:
            return False
        folder = _folder(path)
        await self.make_folder(folder)
        aside = f"{folder}/{STAGE}{secrets.token_hex(8)}" if folder else f"{STAGE}{secrets.token_hex(8)}"
        await self.write(aside, [data])
        if await self.rename(aside, path):
            return True
        await self.remove(aside)
        return False

    async def sha256(self, path: str) -> str | None:
        """Read a file back."""
        digest = hashlib.sha256()
        try:
            async for block in self.blocks(path):
                digest.update(block)
        except FileNotFoundError:
            return None
        return digest.hexdigest()

    async def begin(self, path: str, source: Source) -> str:
        """Return the name of a new stage beside the file; it is there only once it is written."""
        folder = _folder(path)
        await self.make_folder(folder)
        name = f"{STAGE}{secrets.token_hex(8)}.part"
        return f"{folder}/{name}" if folder else name

    async def fill(self, path: str, token: str, source: Source) -> Staged:
        """Write the stage and read it back."""
        digest = hashlib.sha256()
        total = 0

        def counted() -> Iterable[bytes]:
            nonlocal total
            for block in source.blocks(BLOCK):
                digest.update(block)
                total += len(block)
                yield block

        await self.write(token, counted())
        if total != source.size:
            raise RequestRejected(f"{source.file} changed while it was read: {source.size} bytes, then {total}")
        there = await self.sha256(token)
        if there != digest.hexdigest():
            raise SystemUnreachable(
                f"{self.identity}: what was written to {token} reads back with SHA-256 {there}, not "
                f"{digest.hexdigest()}; nothing was published"
            )
        return Staged(path, token, total, digest.hexdigest())

    async def publish(self, staged: Staged, source: Source) -> bool:
        """Give the stage its name."""
        return await self.rename(staged.token, staged.path)

    async def confirm(self, staged: Staged) -> bool:
        """Compare the size: the content was read back before it got its name."""
        entry = await self.stat(staged.path)
        return entry is not None and entry.size == staged.size

    async def discard(self, path: str, token: str) -> None:
        """Remove a stage."""
        await self.remove(token)

    async def link(self, path: str, lifetime: timedelta) -> str | None:
        """Return None: there are no links that expire."""
        return None


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
