"""SMB 2 and 3 as a share, by smbprotocol; Samba, Windows and Azure Files are reached this way.

What is relied on ([MS-SMB2] 3.3.5.21.1, [MS-FSCC] FileRenameInformation with ReplaceIfExists 0): a rename onto a name
that is taken fails with STATUS_OBJECT_NAME_COLLISION (0xC0000035). A reader that does not share the right to delete
blocks a rename with STATUS_SHARING_VIOLATION (0xC0000043), as virus scanners do for a moment: that is tried again for a
while.
Messages are signed, or encrypted where the connection asks for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from airflow_enterprise_orch.errors import ConnectionInvalid, LoginRefused, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.fileshare.folders import BLOCK, FolderStore
from airflow_enterprise_orch.systems.fileshare.store import Entry

NAME_COLLISION = 0xC0000035
SHARING_VIOLATION = 0xC0000043
NOT_FOUND = frozenset({0xC0000034, 0xC000003A, 0xC0000056})
"""STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_PATH_NOT_FOUND, STATUS_DELETE_PENDING ([MS-ERREF] 2.3.1)."""
REFUSED = frozenset({0xC0000022, 0xC00000A2, 0xC0000033, 0xC00000BA, 0xC0000121})
"""Access denied, write-protected, bad name, a folder has the name, cannot be deleted."""
FOLDER = 0x10
"""FILE_ATTRIBUTE_DIRECTORY ([MS-FSCC] 2.6)."""
PATIENCE = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before what somebody who has the file open blocks is tried again."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SmbPlace:
    """Which share, as whom.

    :param root: the folder below the share in which everything happens; "" for the share itself.
    """

    host: str
    port: int
    share: str
    user: str
    password: str = field(repr=False)
    root: str = ""
    encrypt: bool = False


class SmbStore(FolderStore):
    """One share of an SMB server; its client is synchronous, so everything runs in threads."""

    def __init__(self, connection_id: str, place: SmbPlace) -> None:
        root = f"/{place.root}" if place.root else ""
        super().__init__(connection_id, f"smb://{place.user}@{place.host}:{place.port}/{place.share}{root}")
        self._place = place
        self._cache: dict[str, Any] = {}
        self._registered = False
        self._registering = asyncio.Lock()
        self._problem: LoginRefused | None = None

    async def stat(self, path: str) -> Entry | None:
        """Return what lies at ``path``."""

        def act() -> Entry:
            import smbclient

            return _entry(path, smbclient.stat(self._at(path), **self._session))

        return await self._maybe(act, f"look at {path}")

    async def listing(self, folder: str) -> list[Entry] | None:
        """Return the files in a folder."""

        def act() -> list[Entry]:
            import smbclient

            found = []
            for item in smbclient.scandir(self._at(folder), **self._session):
                # What the listing itself says: item.stat() would ask for each file, on a connection of its own.
                told = item.smb_info
                if not told.file_attributes & FOLDER:
                    changed = told.last_write_time.astimezone(UTC)
                    found.append(Entry(item.name, int(told.end_of_file), changed.isoformat(), changed))
            return found

        return await self._maybe(act, f"list {folder or 'the share'}")

    async def remove(self, path: str) -> None:
        """Remove a file."""

        def act() -> None:
            import smbclient

            smbclient.remove(self._at(path), **self._session)

        await self._maybe(act, f"remove {path}")

    async def make_folder(self, folder: str) -> None:
        """Make a folder and those above it."""
        if not folder and not self._place.root:
            return

        def act() -> None:
            import smbclient

            smbclient.makedirs(self._at(folder), exist_ok=True, **self._session)

        await self._do(act, f"make the folder {folder}")

    async def write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Write a file that is not there yet; flushed before it is closed ([MS-SMB2] 2.2.17)."""

        def act() -> None:
            import smbclient

            with smbclient.open_file(self._at(path), mode="xb", buffering=0, **self._session) as file:
                for block in blocks:
                    _write_all(file, block)
                file.fd.flush()

        await self._do(act, f"write {path}")

    async def blocks(self, path: str) -> AsyncIterator[bytes]:
        """Yield a file's content; others may read, write and delete it meanwhile. Who is writing it is waited for."""

        def act() -> Any:
            import smbclient

            return smbclient.open_file(self._at(path), mode="rb", buffering=0, share_access="rwd", **self._session)

        file = await self._maybe(lambda: _patiently(act), f"read {path}")
        if file is None:
            raise FileNotFoundError(path)
        try:
            while block := await self._do(lambda: file.read(BLOCK), f"read {path}"):
                yield bytes(block)
        finally:
            await self._do(file.close, f"close {path}")

    async def rename(self, old: str, new: str) -> bool:
        """Rename a file; a reader that blocks it is waited for."""

        def act() -> bool:
            import smbclient
            from smbprotocol.exceptions import SMBOSError

            try:
                smbclient.rename(self._at(old), self._at(new), **self._session)
            except SMBOSError as error:
                if error.ntstatus == NAME_COLLISION:
                    return False
                raise
            return True

        return await self._do(lambda: _patiently(act), f"rename {old} to {new}")

    async def close(self) -> None:
        """Log off."""
        if self._cache:
            import smbclient

            await asyncio.to_thread(smbclient.reset_connection_cache, fail_on_error=False, connection_cache=self._cache)

    @property
    def _session(self) -> dict[str, Any]:
        return {
            "username": self._place.user,
            "password": self._place.password,
            "port": self._place.port,
            "encrypt": self._place.encrypt,
            "connection_cache": self._cache,
        }

    def _at(self, path: str) -> str:
        parts = ["", "", self._place.host, self._place.share]
        parts += [part for part in (self._place.root, path) if part]
        return "\\".join(parts).replace("/", "\\")

    async def _maybe(self, act: Callable[[], T], what: str) -> T | None:
        try:
            return await self._do(act, what)
        except _NotThere:
            return None

    async def _do(self, act: Callable[[], T], what: str) -> T:
        """Run ``act`` in a thread, and say in our words what went wrong."""
        from smbprotocol.exceptions import SMBException, SMBOSError

        await self._log_in()
        try:
            return await asyncio.to_thread(act)
        except SMBOSError as error:
            status = int(error.ntstatus)
            said = f"{' '.join(str(error.strerror).split())} (0x{status:08X})"
            if status in NOT_FOUND:
                raise _NotThere(f"{self.identity} could not {what}: {said}") from error
            if status in REFUSED:
                raise RequestRejected(f"{self.identity} refused to {what}: {said}") from error
            raise SystemUnreachable(f"{self.identity} could not {what}: {said}") from error
        except (SMBException, OSError, ValueError) as error:
            self._registered = False
            raise SystemUnreachable(f"{self.identity} could not {what}: {' '.join(str(error).split())}") from error

    async def _log_in(self) -> None:
        import smbclient
        from smbprotocol.exceptions import BadNetworkName, LogonFailure, SMBAuthenticationError, SMBException
        from spnego.exceptions import SpnegoError

        async with self._registering:
            if self._problem is not None:
                raise self._problem  # a refused login is not tried again: that could lock the user
            if self._registered:
                return

            def act() -> None:
                smbclient.reset_connection_cache(fail_on_error=False, connection_cache=self._cache)
                smbclient.register_session(
                    self._place.host,
                    username=self._place.user,
                    password=self._place.password,
                    port=self._place.port,
                    encrypt=self._place.encrypt,
                    connection_timeout=30,
                    connection_cache=self._cache,
                )
                smbclient.path.exists(self._at(""), **self._session)

            try:
                await asyncio.to_thread(act)
            except (LogonFailure, SMBAuthenticationError, SpnegoError) as error:
                self._problem = LoginRefused(
                    self.connection_id, f"{self.identity} refused the login", "correct login and password in it"
                )
                raise self._problem from error
            except BadNetworkName as error:
                raise ConnectionInvalid(
                    self.connection_id, f"{self.identity}: the server has no such share", "correct the field schema"
                ) from error
            except (SMBException, OSError, ValueError) as error:
                said = " ".join(str(error).split())
                raise SystemUnreachable(f"{self.identity} cannot be reached: {said}") from error
            self._registered = True


class _NotThere(SystemUnreachable):
    """What was asked for is not there."""


def _write_all(file: Any, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]


def _entry(name: str, found: Any) -> Entry:
    modified = datetime.fromtimestamp(found.st_mtime, UTC)
    return Entry(name, int(found.st_size), str(found.st_mtime_ns), modified)


def _patiently(act: Callable[[], T]) -> T:
    """Do something with a file, and again for some seconds while somebody who has it open blocks that."""
    from smbprotocol.exceptions import SMBOSError

    for pause in PATIENCE:
        try:
            return act()
        except SMBOSError as error:
            if error.ntstatus != SHARING_VIOLATION:
                raise
            time.sleep(pause)
    return act()
