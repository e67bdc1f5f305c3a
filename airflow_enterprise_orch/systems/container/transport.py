"""The three ways to an engine, as connection pools of httpcore.

httpcore is the transport below httpx. It is used by itself because its network backend can be replaced, which httpx
does not offer: through SSH every HTTP connection is a ``direct-streamlocal`` channel (OpenSSH's PROTOCOL, section 2.4)
straight to the engine's socket. A forwarded local socket would do with httpx, but it lies in the file system for every
process of the same user, and "the engine does not listen" would look like "the answer was lost".
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from airflow_enterprise_orch.errors import ConnectionInvalid
from airflow_enterprise_orch.systems.container.settings import EngineSettings, Way

if TYPE_CHECKING:
    import asyncssh
    import httpcore

    Connect = Callable[[], Awaitable[asyncssh.SSHClientConnection]]

CHANNELS = 8
"""HTTP connections at once; sshd allows 10 sessions on one connection by default (sshd_config(5), MaxSessions)."""


def pool(settings: EngineSettings, tunnel: Tunnel | None) -> httpcore.AsyncConnectionPool:
    """Return the pool of connections to the engine.

    :param tunnel: the SSH connection, for :attr:`Way.SSH`.
    :raises ConnectionInvalid: when a file that the connection names is missing or wrong.
    """
    import httpcore

    limits: dict[str, Any] = {"max_connections": CHANNELS, "max_keepalive_connections": 2, "keepalive_expiry": 20.0}
    if settings.way is Way.TLS:
        return httpcore.AsyncConnectionPool(ssl_context=trust(settings), **limits)
    backend = cast("httpcore.AsyncNetworkBackend", _Channels(tunnel)) if tunnel is not None else None
    return httpcore.AsyncConnectionPool(uds=settings.socket, network_backend=backend, **limits)


def trust(settings: EngineSettings) -> ssl.SSLContext:
    """Return the TLS context: the engine's certificate is checked, ours is shown."""

    def wrong(field: str, path: str, error: Exception) -> ConnectionInvalid:
        return ConnectionInvalid(
            settings.connection,
            f"its {field} {path} cannot be used ({type(error).__name__})",
            "put the PEM file on every worker and triggerer, or correct the path",
        )

    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except (ssl.SSLError, OSError) as error:
        raise wrong("ca_file", settings.ca_file, error) from error
    if settings.client_cert:
        for field in ("client_cert", "client_key"):
            path = getattr(settings, field)
            if path and not Path(path).is_file():
                raise wrong(field, path, FileNotFoundError())
        try:
            context.load_cert_chain(settings.client_cert, settings.client_key or None, password=_no_prompt)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise wrong("client_cert or client_key", settings.client_cert, error) from None
    return context


def _no_prompt() -> NoReturn:
    # Without this OpenSSL would ask the terminal, and a worker would stand still.
    raise ValueError("the key has a passphrase")


async def alert_of(settings: EngineSettings) -> Exception | None:
    """Connect, say nothing, and return what the engine's TLS has against us, if anything."""
    connecting = asyncio.open_connection(settings.host, settings.port, ssl=trust(settings))
    writer = None
    try:
        async with asyncio.timeout(5):
            reader, writer = await connecting
            await reader.read(1)
    except (OSError, TimeoutError) as error:
        return error
    finally:
        if writer is not None:
            writer.close()
    return None


class Tunnel:
    """One SSH connection, made when it is first needed and again when it is found dead.

    :param connect: makes it; what it raises goes to the caller unchanged. A refused login is not tried again.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connecting = asyncio.Lock()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._refused: Exception | None = None

    async def connected(self) -> asyncssh.SSHClientConnection:
        """Return the connection."""
        from airflow_enterprise_orch.errors import LoginRefused

        async with self._connecting:
            if self._refused is not None:
                raise self._refused
            if self._connection is None or self._connection.is_closed():
                try:
                    self._connection = await self._connect()
                except LoginRefused as error:
                    self._refused = error
                    raise
            return self._connection

    async def close(self) -> None:
        """Say goodbye, or hang up when that takes long."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.close()
        try:
            await asyncio.wait_for(connection.wait_closed(), 5)
        except TimeoutError:
            connection.abort()

    def drop(self) -> None:
        """Hang up: the connection does not answer any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()


class _Channels:
    """httpcore's network backend over SSH; see ``httpcore.AsyncNetworkBackend``, whose methods these are."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    async def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> _Stream:
        """Open a channel to the engine's socket."""
        import asyncssh
        import httpcore

        connection = await self._tunnel.connected()
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await connection.open_unix_connection(path, encoding=None)
        except TimeoutError as error:
            self._tunnel.drop()
            raise httpcore.ConnectTimeout("the SSH server did not open a channel in time") from error
        except asyncssh.ChannelOpenError as error:
            raise httpcore.ConnectError(f"the SSH server opened no way to {path}: {error.reason}") from error
        except (asyncssh.Error, OSError) as error:
            self._tunnel.drop()
            raise httpcore.ConnectError(f"the SSH connection is gone: {error}") from error
        return _Stream(self._tunnel, reader, writer)

    async def connect_tcp(self, *_arguments: Any, **_more: Any) -> _Stream:
        """Not the way: an engine is reached by its socket."""
        raise NotImplementedError("the engine's socket is the only way through SSH")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class _Stream:
    """One channel; see ``httpcore.AsyncNetworkStream``."""

    def __init__(self, tunnel: Tunnel, reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
        self._tunnel = tunnel
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what came, b"" at the end."""
        import asyncssh
        import httpcore

        try:
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)
        except TimeoutError as error:
            # Whether the engine or the way to it is stuck cannot be told; the next question uses a new connection.
            self._tunnel.drop()
            raise httpcore.ReadTimeout("no answer through SSH in time") from error
        except (asyncssh.Error, OSError) as error:
            raise httpcore.ReadError(str(error) or type(error).__name__) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send."""
        import asyncssh
        import httpcore

        try:
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()
        except TimeoutError as error:
            self._tunnel.drop()
            raise httpcore.WriteTimeout("nothing could be sent through SSH in time") from error
        except (asyncssh.Error, OSError) as error:
            raise httpcore.WriteError(str(error) or type(error).__name__) from error

    async def aclose(self) -> None:
        """Close the channel, not the SSH connection."""
        self._writer.close()

    async def start_tls(self, *_arguments: Any, **_more: Any) -> _Stream:
        """Not needed: SSH encrypts."""
        raise NotImplementedError("the engine's socket speaks plain HTTP")

    def get_extra_info(self, info: str) -> Any:
        """Tell httpcore whether an idle connection has ended: it asks for ``is_readable``."""
        if info == "is_readable":
            return self._reader.at_eof() or self._writer.is_closing()
        return None
