"""The Airflow connection type ``container_engine``: from a connection to a client, and its test."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.hook import BaseHook

from airflow_enterprise_orch.delegation.connection_check import tested
from airflow_enterprise_orch.delegation.connection_fields import Fields, hook_connection, known_connection
from airflow_enterprise_orch.errors import (
    ConnectionInvalid,
    ConnectionUntrusted,
    LoginRefused,
    SystemUnreachable,
)
from airflow_enterprise_orch.systems.container.engine import EngineSystem
from airflow_enterprise_orch.systems.container.settings import EngineSettings, Way

if TYPE_CHECKING:
    import asyncssh
    from airflow.sdk.definitions.connection import Connection

KIND = "container_engine"
CONNECT_TIMEOUT = 30
PORTS = {Way.SSH: 22, Way.TLS: 2376, Way.UNIX: 0}
SSH_EXTRAS = ("private_key", "private_key_passphrase", "key_file", "host_key", "known_hosts")
EXTRAS = (
    *("transport", "socket", *SSH_EXTRAS, "ca_file", "client_cert", "client_key"),
    *("registry", "registry_user", "registry_password", "keep_days", "timeout"),
)


@asynccontextmanager
async def open_engine(connection_id: str) -> AsyncIterator[EngineSystem]:
    """Open the engine behind an Airflow connection; :raises ConnectionInvalid: when it is missing or wrong."""
    async with _system(connection_id, await known_connection(connection_id, KIND)) as system:
        yield system


def settings_of(connection_id: str, connection: Connection) -> EngineSettings:
    """Read an Airflow connection; :raises ConnectionInvalid: naming the field and the remedy."""
    fields = Fields(connection_id, connection, KIND, EXTRAS)
    extras, wrong = fields.extras, fields.wrong
    host = (connection.host or "").strip()
    try:
        way = Way(str(extras.get("transport") or (Way.SSH if host else Way.UNIX)))
    except ValueError:
        raise wrong(f"its transport is {extras.get('transport')!r}", "choose ssh, tls or unix") from None
    if way is Way.UNIX and host:
        raise wrong(f"its transport is unix, and its host is {host!r}", "remove the host, or choose ssh or tls")
    if way is not Way.UNIX and not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
        raise wrong(f"its host is {connection.host!r}", "give the name of the engine's host, without tcp:// or a path")
    if way is Way.SSH and not connection.login:
        raise wrong("it has no login", "give the SSH user; it must be allowed to use the engine's socket")
    path = str(extras.get("socket") or "/var/run/docker.sock")
    if not re.fullmatch(r"/[^\s\0]+", path):
        raise wrong(f"its socket is {path!r}", "give the absolute path of the engine's socket")
    if way is Way.TLS and not (extras.get("client_cert") and extras.get("client_key")):
        raise wrong("it has no client_cert or no client_key", "an engine on the network must ask for a certificate")
    keep_days = extras.get("keep_days") or 30
    if isinstance(keep_days, bool) or not isinstance(keep_days, int) or not 1 <= keep_days <= 3650:
        raise wrong(f"its keep_days is {keep_days!r}", "give days, from 1 to 3650")
    registry = {name: str(extras.get(name) or "") for name in ("registry", "registry_user", "registry_password")}
    if any(registry.values()) and not all(registry.values()):
        raise wrong("it has only a part of registry, registry_user and registry_password", "give all three, or none")
    return EngineSettings(
        connection=connection_id,
        way=way,
        host=host,
        port=connection.port or PORTS[way],
        login=connection.login or "",
        socket=path,
        ca_file=str(extras.get("ca_file") or ""),
        client_cert=str(extras.get("client_cert") or ""),
        client_key=str(extras.get("client_key") or ""),
        registry=registry["registry"],
        registry_user=registry["registry_user"],
        registry_password=registry["registry_password"],
        timeout=fields.timeout(60),
        keep_days=keep_days,
    )


class ContainerEngineHook(BaseHook):
    """What Airflow's connection page and other operators use.

    :param container_engine_conn_id: the Airflow connection's id.
    """

    conn_name_attr = "container_engine_conn_id"
    default_conn_name = "container_engine_default"
    conn_type = KIND
    hook_name = "Container engine (Docker Engine API)"

    def __init__(self, container_engine_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.container_engine_conn_id = container_engine_conn_id

    def get_conn(self) -> EngineSystem:
        """Return the client, to be entered with ``async with``."""
        return _system(self.container_engine_conn_id, hook_connection(self, self.container_engine_conn_id))

    def test_connection(self) -> tuple[bool, str]:
        """Reach the engine and list containers; return whether that works, and what is wrong in words."""
        return tested(
            self._check(),
            "container engine {} answers, and containers can be listed",
            untrusted="Certificate or host key",
        )

    async def _check(self) -> str:
        async with self.get_conn() as system:
            return await system.check()


def _system(connection_id: str, connection: Connection) -> EngineSystem:
    settings = settings_of(connection_id, connection)
    return EngineSystem(settings, _by_ssh(settings, connection) if settings.way is Way.SSH else None)


def _by_ssh(settings: EngineSettings, connection: Connection) -> Callable[[], Awaitable[asyncssh.SSHClientConnection]]:
    """Return what connects as Airflow's ssh provider does, with the same fields of the extra."""
    extras = Fields(settings.connection, connection, KIND, EXTRAS).extras

    async def connect() -> asyncssh.SSHClientConnection:
        return await _connect(settings, extras)

    return connect


async def _connect(settings: EngineSettings, extras: Mapping[str, Any]) -> asyncssh.SSHClientConnection:
    """Connect, and say in our words what went wrong."""
    import asyncssh
    from airflow.providers.ssh.hooks.ssh import SSHHookAsync

    class PreparedHook(SSHHookAsync):
        """Reads the extra that was fetched already.

        The provider's hook asks for it synchronously, and inside a triggerer's event loop Airflow refuses that
        (DeadlockImminentError) while another request of the same loop is on its way.
        """

        def _parse_extras(self, conn: Connection) -> None:
            ours = {name: extras[name] for name in SSH_EXTRAS if extras.get(name)}
            super()._parse_extras(SimpleNamespace(host=conn.host, extra_dejson=ours))

    quiet = logging.getLogger("asyncssh")
    if quiet.level == logging.NOTSET:
        quiet.setLevel(logging.WARNING)  # at INFO it tells ten lines per channel, into the log of whatever task polls

    host, port, where = settings.host, settings.port, f"{settings.login}@{settings.host}:{settings.port}"
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            hook: Any = PreparedHook(ssh_conn_id=settings.connection, port=port)  # its method is not typed
            connection: asyncssh.SSHClientConnection = await hook.get_conn()
    except asyncssh.PermissionDenied as error:
        raise LoginRefused(
            settings.connection, f"{where} refused the login ({error.reason})", "correct the key or password in it"
        ) from error
    except asyncssh.HostKeyNotVerifiable as error:
        raise ConnectionUntrusted(
            settings.connection,
            f"the host key of {host} port {port} is not known ({error.reason})",
            f"run `ssh-keyscan -p {port} {host}`, compare the key with what the host's administrators say, "
            f'and put it into the connection as host_key ("ssh-ed25519 AAAA...")',
        ) from error
    except asyncssh.KeyExchangeFailed as error:
        raise ConnectionInvalid(
            settings.connection,
            f"{where} shares no algorithm with this client ({error.reason})",
            "the host's SSH server needs an update or other settings",
        ) from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        # Their texts describe formats, but we take no chance with what stands in a private key.
        raise ConnectionInvalid(
            settings.connection,
            f"its private key cannot be read ({type(error).__name__})",
            "correct key and passphrase",
        ) from None
    except (FileNotFoundError, PermissionError) as error:
        raise ConnectionInvalid(
            settings.connection, f"the file {error.filename} cannot be read here", "correct key_file or known_hosts"
        ) from error
    except (asyncssh.Error, OSError, TimeoutError) as error:
        reason = "no answer within 30 s" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        raise SystemUnreachable(f"connection {settings.connection!r}: {where} cannot be reached: {reason}") from error
    except ValueError as error:  # what the provider's hook says of fields that contradict each other
        raise ConnectionInvalid(settings.connection, str(error), "correct it in the connection's extra") from error
    return connection
