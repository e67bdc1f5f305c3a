"""The sftp of the lab's UNIX host: its home directory as a share, with the record of jobs and the faults of one.

Jobs, and the operations that meet faults, are those of :mod:`.share_jobs`; a listing is ``poll``. ``match`` searches
``sftp VERB PATH``. A protocol of whole, authenticated packets knows no half answer: that is one that never came.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import asyncssh

from airflow_enterprise_orch.lab.share_jobs import RECORD, ShareJobs
from airflow_enterprise_orch.lab.stand_in import Fault, FaultPlan

T = TypeVar("T")


class Host(Protocol):
    """What the sftp server needs of the host that it is on."""

    home: Path
    faults: FaultPlan
    share_jobs: ShareJobs

    async def nap(self, seconds: float) -> None:
        """Sleep, until a reset at most."""
        ...

    def take_late(self, fault: Fault, act: Callable[[], object]) -> None:
        """Let something take effect later, unless a reset comes first."""
        ...

    def end_session(self, connection: asyncssh.SSHServerConnection, fault: Fault) -> None:
        """Cut a connection, and where its login is to be refused, the next one, too."""
        ...


class HomeSftp(asyncssh.SFTPServer):
    """Sftp that begins in the scratch home directory, as a host's begins in the user's."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], host: Host) -> None:
        super().__init__(channel)
        self._host = host
        self._home = os.fsencode(host.home)

    def map_path(self, path: bytes) -> bytes:
        """Return where a path is on the machine."""
        return os.path.join(self._home, path)  # noqa: PTH118  sftp paths are bytes

    async def stat(self, path: bytes) -> Any:
        """Look at a file."""
        return await self._meet("stat", path, self._reads(path), partial(super().stat, path))

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        """Open a file; what is read or written then meets no faults."""
        operation = "any" if pflags & asyncssh.FXF_WRITE else self._reads(path)
        return await self._meet("open", path, operation, partial(super().open, path, pflags, attrs))

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """List a folder."""
        await self._meet("list", path, "poll", lambda: None)
        async for name in super().scandir(path):
            yield name

    async def remove(self, path: bytes) -> None:
        """Remove a file."""
        operation = self._host.share_jobs.operation(os.fsdecode(path))
        await self._meet("remove", path, operation, partial(super().remove, path))

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Give a file its name, which is how records come into being."""
        give = partial(super().rename, oldpath, newpath)

        def act() -> None:
            give()
            self._note(Path(os.fsdecode(self.map_path(newpath))))

        operation = self._host.share_jobs.operation(os.fsdecode(newpath), creates=True)
        await self._meet("rename", newpath, operation, act)

    def _note(self, file: Path) -> None:
        """Keep the record of jobs, and do what a purge wants."""
        if RECORD.search(str(file)) is None:
            return
        purged, _ = self._host.share_jobs.note(str(file), file.read_bytes())
        for record in self._host.home.glob(".enterprise-orch/*/*"):
            if purged and record.name.startswith(f"{purged}."):
                record.unlink()

    def _reads(self, path: bytes) -> str:
        return self._host.share_jobs.operation(os.fsdecode(path), reads=True)

    async def _meet(self, verb: str, path: bytes, operation: str, act: Callable[[], T]) -> T:
        """Do what was asked, or what a planned fault makes of it."""
        fault = self._host.faults.disruption(operation, f"sftp {verb} {os.fsdecode(path)}")
        kind = fault.do if fault else ""
        if fault is not None and kind == "slow":
            await self._host.nap(fault.seconds)
        if kind == "error_500":
            raise asyncssh.SFTPFailure("lab: internal error")
        if fault is not None and kind in ("cut_before_commit", "unauthorized", "late_commit"):
            if kind == "late_commit":
                self._host.take_late(fault, act)
            self._host.end_session(self.connection, fault)
            raise asyncssh.SFTPConnectionLost("lab: cut")
        done = act()
        if fault is not None and kind == "slow_answer":
            await self._host.nap(fault.seconds)
        if fault is not None and kind in ("cut_after_commit", "half_answer"):
            self._host.end_session(self.connection, fault)
            raise asyncssh.SFTPConnectionLost("lab: cut")
        return done
