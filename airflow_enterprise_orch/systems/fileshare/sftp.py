"""SFTP as a share, on the asynchronous SSH connection that the ssh provider's hook makes.

What is relied on: SSH_FXP_RENAME fails when the new name exists (draft-ietf-secsh-filexfer-02, section 6.5; OpenSSH
does it with link(2), so that of two exactly one wins). ``posix-rename@openssh.com`` overwrites and is never used.
There is no checksum of the server's that could be trusted, so what was written is read back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_enterprise_orch.errors import LoginRefused, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.fileshare.folders import BLOCK, FolderStore
from airflow_enterprise_orch.systems.fileshare.store import Entry

if TYPE_CHECKING:
    import asyncssh

CLOSING = 5
"""Seconds for an orderly goodbye."""
REGULAR = 0o100000
KIND = 0o170000


class SftpStore(FolderStore):
    """One folder of an SFTP server.

    :param connect: opens a connection, or raises a ``ConnectionProblem`` or :class:`SystemUnreachable`.
    :param root: where all paths begin; the login's home directory unless it begins with a slash.
    """

    def __init__(
        self,
        connection_id: str,
        connect: Callable[[], Awaitable[asyncssh.SSHClientConnection]],
        address: str,
        root: str,
    ) -> None:
        super().__init__(connection_id, f"{address}{root if root.startswith('/') else f'/~/{root}'}".rstrip("/"))
        self._connect = connect
        self._root = root
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None
        self._connecting = asyncio.Lock()
        self._problem: LoginRefused | None = None

    async def stat(self, path: str) -> Entry | None:
        """Return what lies at ``path``; a link is followed."""
        import asyncssh

        async with self._session(f"look at {path}") as sftp:
            try:
                found = await sftp.stat(self._at(path))
            except asyncssh.SFTPNoSuchFile:
                return None
        return _entry(path, found)

    async def listing(self, folder: str) -> list[Entry] | None:
        """Return the regular files in a folder."""
        import asyncssh

        async with self._session(f"list {folder or 'the root'}") as sftp:
            try:
                names = await sftp.readdir(self._at(folder))
            except asyncssh.SFTPNoSuchFile:
                return None
        return [
            _entry(str(name.filename), name.attrs)
            for name in names
            if (name.attrs.permissions or REGULAR) & KIND == REGULAR
        ]

    async def remove(self, path: str) -> None:
        """Remove a file."""
        import asyncssh

        async with self._session(f"remove {path}") as sftp:
            try:
                await sftp.remove(self._at(path))
            except asyncssh.SFTPNoSuchFile:
                return

    async def make_folder(self, folder: str) -> None:
        """Make a folder and those above it."""
        async with self._session(f"make the folder {folder}") as sftp:
            await sftp.makedirs(self._at(folder), exist_ok=True)

    async def write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Write a file, and have it brought to the disk where the server can."""
        import asyncssh

        async with self._session(f"write {path}") as sftp, sftp.open(self._at(path), "xb") as file:
            source = iter(blocks)
            while block := await asyncio.to_thread(next, source, b""):
                await file.write(block)
            try:
                await file.fsync()
            except asyncssh.SFTPOpUnsupported:
                return  # fsync@openssh.com is an extension; without it the server decides when

    async def blocks(self, path: str) -> AsyncIterator[bytes]:
        """Yield a file's content."""
        import asyncssh

        async with self._session(f"read {path}") as sftp:
            try:
                file = await sftp.open(self._at(path), "rb")
            except asyncssh.SFTPNoSuchFile as error:
                raise FileNotFoundError(path) from error
            async with file:
                while block := await file.read(BLOCK):
                    yield block if isinstance(block, bytes) else block.encode()

    async def rename(self, old: str, new: str) -> bool:
        """Rename a file."""
        import asyncssh

        async with self._session(f"rename {old} to {new}") as sftp:
            try:
                await sftp.rename(self._at(old), self._at(new))
            except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):
                # Version 3 has one error for everything: whether the name is taken has to be looked up.
                if await sftp.exists(self._at(new)):
                    return False
                raise
        return True

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            connection.close()
            try:
                async with asyncio.timeout(CLOSING):
                    await connection.wait_closed()
            except TimeoutError:
                connection.abort()  # the peer takes nothing any more, not even a goodbye

    def _at(self, path: str) -> str:
        parts = [part for part in (self._root, path) if part]
        return "/".join(parts) if parts else "."

    @asynccontextmanager
    async def _session(self, what: str) -> AsyncIterator[asyncssh.SFTPClient]:
        """Give the open client, and say in our words what went wrong with it."""
        import asyncssh

        sftp = await self._connected()
        try:
            yield sftp
        except (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect, asyncssh.SFTPInvalidFilename) as error:
            raise RequestRejected(f"{self.identity} refused to {what}: {error.reason}") from error
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection) as error:
            self._drop()
            raise SystemUnreachable(f"{self.identity}: the connection was lost ({what})") from error
        except asyncssh.SFTPError as error:
            raise SystemUnreachable(f"{self.identity} could not {what}: {error.reason}") from error
        except (asyncssh.Error, ConnectionError, TimeoutError) as error:
            self._drop()
            raise SystemUnreachable(f"{self.identity}: the connection was lost ({what}): {error}") from error

    async def _connected(self) -> asyncssh.SFTPClient:
        import asyncssh

        async with self._connecting:
            if self._problem is not None:
                raise self._problem  # a refused login is not tried again: that could revoke the user
            if self._connection is not None and self._connection.is_closed():
                self._drop()
            if self._client is None:
                try:
                    self._connection = await self._connect()
                    self._client = await self._connection.start_sftp_client()
                except LoginRefused as error:
                    self._problem = error
                    raise
                except (asyncssh.Error, OSError) as error:
                    self._drop()
                    raise SystemUnreachable(f"{self.identity} offers no sftp: {error}") from error
            return self._client

    def _drop(self) -> None:
        connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            connection.abort()


def _entry(name: str, found: asyncssh.SFTPAttrs) -> Entry:
    modified = datetime.fromtimestamp(found.mtime, UTC) if found.mtime is not None else None
    return Entry(name, found.size or 0, str(found.mtime), modified)
