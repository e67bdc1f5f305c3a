"""An SSH connection as the ssh provider's hook makes it, with what can be wrong told in our words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.errors import ConnectionInvalid, ConnectionUntrusted, LoginRefused, SystemUnreachable

if TYPE_CHECKING:
    import asyncssh
    from airflow.sdk import Connection

CONNECT_TIMEOUT = 30


async def ssh_connection(connection_id: str, extra: Mapping[str, Any], address: str) -> asyncssh.SSHClientConnection:
    """Log in over SSH.

    :param address: ``sftp://user@host:port``, for messages.
    """
    import asyncssh
    from airflow.providers.ssh.hooks.ssh import SSHHookAsync

    class PreparedHook(SSHHookAsync):
        """Reads the extra that was fetched already: the provider's hook asks for it synchronously."""

        def _parse_extras(self, conn: Connection) -> None:
            super()._parse_extras(SimpleNamespace(host=conn.host, extra_dejson=dict(extra)))

    quiet = logging.getLogger("asyncssh")
    if quiet.level == logging.NOTSET:
        quiet.setLevel(logging.WARNING)  # at INFO it tells every file, into the log of whatever task polls
    host, _, port = address.rpartition("@")[2].rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            hook: Any = PreparedHook(ssh_conn_id=connection_id)  # the provider's method is not typed
            connection: asyncssh.SSHClientConnection = await hook.get_conn()
    except asyncssh.PermissionDenied as error:
        raise LoginRefused(
            connection_id, f"{address} refused the login ({error.reason})", "correct the key or password in it"
        ) from error
    except asyncssh.HostKeyNotVerifiable as error:
        raise ConnectionUntrusted(
            connection_id,
            f"the host key of {host} port {port} is not known ({error.reason})",
            f"run `ssh-keyscan -p {port} {host}`, compare the key with what the server's administrators say, "
            f'and put it into the connection\'s extra as host_key ("ssh-ed25519 AAAA...")',
        ) from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise ConnectionInvalid(
            connection_id, f"its private key cannot be read ({type(error).__name__})", "correct key and passphrase"
        ) from None  # the text of the error could quote the key
    except (FileNotFoundError, PermissionError) as error:
        raise ConnectionInvalid(
            connection_id, f"the file {error.filename} cannot be read here", "correct key_file or known_hosts"
        ) from error
    except (asyncssh.Error, OSError, TimeoutError) as error:
        reason = "no answer within 30 s" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        raise SystemUnreachable(f"connection {connection_id!r}: {address} cannot be reached: {reason}") from error
    except ValueError as error:  # what the provider's hook says of fields that contradict each other
        raise ConnectionInvalid(connection_id, str(error), "correct it in the connection's extra") from error
    return connection
