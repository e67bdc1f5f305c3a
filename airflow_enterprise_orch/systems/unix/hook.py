"""From an Airflow connection of type ``ssh`` to the jobs on that host.

The ssh provider's own hook reads the connection's keys, password and host key, so every way of logging in that works
for other SSH steps works here. Of our own there are two optional fields in the connection's extra:

- ``job_root``: where job directories are kept, ``~/.enterprise-orch/jobs`` by default. On a disk of that one host.
- ``keep_days``: how long the directory of an ended job stays, 30 by default.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.delegation.connection_check import in_words
from airflow_enterprise_orch.delegation.connection_fields import read_connection
from airflow_enterprise_orch.errors import (
    ConnectionInvalid,
    ConnectionUntrusted,
    LoginRefused,
    OrchestrationError,
    SystemUnreachable,
)
from airflow_enterprise_orch.systems.unix.ssh_jobs import Place, SshJobs, ssh_jobs

if TYPE_CHECKING:
    import asyncssh
    from airflow.sdk import Connection

CONNECT_TIMEOUT = 30
PROBE_KEY = "P0000000000000000000"
"""A key that no job has: looking for it shows that login, shell and home directory work."""


@asynccontextmanager
async def open_unix(connection_id: str) -> AsyncIterator[SshJobs]:
    """Open the UNIX host behind an Airflow connection; see :class:`~.delegation.system.OpenSystem`."""
    connection, extra = await _read(connection_id)
    place = _place(connection_id, connection, extra)

    async def connect() -> asyncssh.SSHClientConnection:
        return await _connect(connection_id, extra, place)

    async with ssh_jobs(connect, place) as jobs:
        yield jobs


async def test_unix_connection(connection_id: str) -> tuple[bool, str]:
    """Log in and look for a job that does not exist; return whether that works, and in words what is wrong."""
    try:
        async with open_unix(connection_id) as jobs:
            await jobs.find(PROBE_KEY)
            return True, f"connection {connection_id!r}: logged in to {jobs.identity}"
    except OrchestrationError as error:
        return False, in_words(error)


async def _read(connection_id: str) -> tuple[Connection, Mapping[str, Any]]:
    from airflow.providers.common.compat.connection import get_async_extra_dejson

    connection = await read_connection(connection_id)
    if connection is None:
        raise ConnectionInvalid(
            connection_id,
            "Airflow has no connection of that name",
            "add one of type 'ssh' under Admin > Connections",
        )
    return connection, await get_async_extra_dejson(connection) if connection.extra else {}


def _place(connection_id: str, connection: Connection, extra: Mapping[str, Any]) -> Place:
    if connection.conn_type != "ssh":
        raise ConnectionInvalid(
            connection_id, f"its type is {connection.conn_type!r}", "a UNIX step needs one of type 'ssh'"
        )
    if not connection.host or not connection.login:
        missing = "host" if not connection.host else "login"
        raise ConnectionInvalid(connection_id, f"it has no {missing}", "fill that field in")
    address = f"ssh://{connection.login}@{connection.host}:{connection.port or 22}"
    root = str(extra.get("job_root") or Place.__dataclass_fields__["root"].default)
    try:
        keep_days = int(extra.get("keep_days", 30))
        if keep_days < 1:
            raise ValueError(f"keep_days is {keep_days}, and must be at least 1")
        return Place(address, root.removeprefix("~/").rstrip("/"), keep_days)
    except (TypeError, ValueError) as error:
        raise ConnectionInvalid(connection_id, str(error), "correct it in the connection's extra") from error


async def _connect(connection_id: str, extra: Mapping[str, Any], place: Place) -> asyncssh.SSHClientConnection:
    """Connect as the ssh provider does, and say in our words what went wrong."""
    import asyncssh
    from airflow.providers.ssh.hooks.ssh import SSHHookAsync

    class PreparedHook(SSHHookAsync):
        """Reads the extra that was fetched already.

        The provider's hook asks for it synchronously, and inside a triggerer's event loop Airflow refuses that
        (DeadlockImminentError) while another request of the same loop is on its way.
        """

        def _parse_extras(self, conn: Connection) -> None:
            super()._parse_extras(SimpleNamespace(host=conn.host, extra_dejson=dict(extra)))

    quiet = logging.getLogger("asyncssh")
    if quiet.level == logging.NOTSET:
        quiet.setLevel(logging.WARNING)  # at INFO it tells ten lines per command, into the log of whatever task polls

    host, _, port = place.address.rpartition("@")[2].rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            hook: Any = PreparedHook(ssh_conn_id=connection_id)  # the provider's method is not typed
            connection: asyncssh.SSHClientConnection = await hook.get_conn()
    except asyncssh.PermissionDenied as error:
        raise LoginRefused(
            connection_id, f"{place.address} refused the login ({error.reason})", "correct the key or password in it"
        ) from error
    except asyncssh.HostKeyNotVerifiable as error:
        raise ConnectionUntrusted(
            connection_id,
            f"the host key of {host} port {port} is not known ({error.reason})",
            f"run `ssh-keyscan -p {port} {host}`, compare the key with what the host's administrators say, "
            f'and put it into the connection\'s extra as host_key ("ssh-ed25519 AAAA...")',
        ) from error
    except asyncssh.KeyExchangeFailed as error:
        raise ConnectionInvalid(
            connection_id,
            f"{place.address} shares no algorithm with this client ({error.reason})",
            "the host's SSH server needs an update or other settings",
        ) from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        # Their texts describe formats, but we take no chance with what stands in a private key.
        raise ConnectionInvalid(
            connection_id, f"its private key cannot be read ({type(error).__name__})", "correct key and passphrase"
        ) from None
    except (FileNotFoundError, PermissionError) as error:
        raise ConnectionInvalid(
            connection_id,
            f"the file {error.filename} cannot be read here",
            "correct key_file or known_hosts",
        ) from error
    except (asyncssh.Error, OSError, TimeoutError) as error:
        reason = "no answer within 30 s" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        raise SystemUnreachable(f"connection {connection_id!r}: {place.address} cannot be reached: {reason}") from error
    except ValueError as error:  # what the provider's hook says of fields that contradict each other
        raise ConnectionInvalid(connection_id, str(error), "correct it in the connection's extra") from error
    return connection
