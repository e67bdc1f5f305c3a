"""From an Airflow connection to the share behind it: ``aws``, ``sftp`` or ``ssh``, ``samba``.

The connection types are those of their providers, read as they are. Of our own there are optional fields in the
connection's extra:

- ``share_root``: below which folder everything happens; the bucket, the login's home or the share itself by default.
- ``certificate_secret``: what certificates are sealed with, at least 16 characters.
- ``certificate_font``: the path of a TrueType font for certificates.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_enterprise_orch.delegation.connection_check import in_words
from airflow_enterprise_orch.delegation.connection_fields import read_connection
from airflow_enterprise_orch.errors import ConnectionInvalid, OrchestrationError
from airflow_enterprise_orch.systems.fileshare.certificate import Seal
from airflow_enterprise_orch.systems.fileshare.deliveries import FileShare, file_share
from airflow_enterprise_orch.systems.fileshare.s3 import S3Store
from airflow_enterprise_orch.systems.fileshare.sftp import SftpStore
from airflow_enterprise_orch.systems.fileshare.smb import SmbPlace, SmbStore
from airflow_enterprise_orch.systems.fileshare.ssh_login import ssh_connection

if TYPE_CHECKING:
    import asyncssh
    from airflow.sdk import Connection

    from airflow_enterprise_orch.systems.fileshare.store import Store

PROBE_KEY = "P0000000000000000000"
"""A key that no job has: looking for it shows that the login works and the root can be read."""
CONNECT_TIMEOUT = 30
READ_TIMEOUT = 120
Extra = Mapping[str, Any]


@asynccontextmanager
async def open_fileshare(connection_id: str) -> AsyncIterator[FileShare]:
    """Open the share behind an Airflow connection; see :class:`~.delegation.system.OpenSystem`."""
    connection, extra = await _read(connection_id)
    make = _STORES.get(connection.conn_type or "")
    if make is None:
        raise ConnectionInvalid(
            connection_id,
            f"its type is {connection.conn_type!r}",
            f"a file share needs one of {', '.join(map(repr, _STORES))}",
        )
    store = make(connection_id, connection, extra)
    async with file_share(store, lambda: read_seal(connection_id, extra)) as share:
        yield share


async def test_fileshare_connection(connection_id: str) -> tuple[bool, str]:
    """Log in, look for a job that does not exist, and try what deliveries rely on; return in words what is wrong."""
    try:
        async with open_fileshare(connection_id) as share:
            await share.find(PROBE_KEY)
            await share.prepare()
            return True, f"connection {connection_id!r}: logged in to {share.identity}"
    except OrchestrationError as error:
        return False, in_words(error)


async def seal_of(connection_id: str) -> Seal:
    """Return what certificates of a connection are sealed with."""
    _, extra = await _read(connection_id)
    return read_seal(connection_id, extra)


def read_seal(connection_id: str, extra: Extra) -> Seal:
    """Return what certificates are sealed with; :raises ConnectionInvalid: when the connection does not say."""
    secret = str(extra.get("certificate_secret") or "")
    if len(secret) < 16:
        raise ConnectionInvalid(
            connection_id,
            "its extra holds no certificate_secret of at least 16 characters",
            "make one (for instance with `openssl rand -hex 32`), keep it: older certificates are checked with it",
        )
    return Seal(secret, str(extra.get("certificate_font") or ""), connection_id)


async def _read(connection_id: str) -> tuple[Connection, Extra]:
    from airflow.providers.common.compat.connection import get_async_extra_dejson

    connection = await read_connection(connection_id)
    if connection is None:
        raise ConnectionInvalid(
            connection_id,
            "Airflow has no connection of that name",
            "add one of type 'aws', 'sftp' or 'samba' under Admin > Connections",
        )
    return connection, await get_async_extra_dejson(connection) if connection.extra else {}


def _root(connection_id: str, extra: Extra) -> str:
    root = str(extra.get("share_root") or "").rstrip("/")
    if any(part in (".", "..") for part in root.split("/")) or re.search(r"[\x00-\x1f]|//", root):
        raise ConnectionInvalid(connection_id, f"share_root {root!r} is no folder", "correct it in its extra")
    return root


def _s3(connection_id: str, connection: Connection, extra: Extra) -> Store:
    service = dict(extra.get("service_config") or {}).get("s3") or {}
    bucket = str(service.get("bucket_name") or "")
    if not bucket:
        raise ConnectionInvalid(
            connection_id,
            "it names no bucket",
            'add {"service_config": {"s3": {"bucket_name": "..."}}} to its extra',
        )
    endpoint = str(service.get("endpoint_url") or extra.get("endpoint_url") or "")
    address = urlsplit(endpoint).netloc.rpartition("@")[2] or str(extra.get("region_name") or "aws")
    root = _root(connection_id, extra).strip("/")
    return S3Store(connection_id, lambda: _s3_client(connection_id, connection, extra), address, bucket, root)


def _s3_client(connection_id: str, connection: Connection, extra: Extra) -> Any:
    """Make the client as the amazon provider does, with time limits and few repetitions of its own."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from botocore.config import Config

    class PreparedHook(S3Hook):
        """Reads the connection that was fetched already.

        The provider's hook asks for it synchronously, which is refused where another request of the same process's
        event loop is on its way.
        """

        @classmethod
        def get_connection(cls, conn_id: str) -> Any:
            return SimpleNamespace(
                conn_id=conn_id,
                conn_type="aws",
                login=connection.login,
                password=connection.password,
                schema=connection.schema,
                extra_dejson=dict(extra),
            )

    given = dict(extra.get("config_kwargs") or {})
    ours = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": 1},
        signature_version="s3v4",
    )
    return PreparedHook(aws_conn_id=connection_id).get_client_type(config=ours.merge(Config(**given)))


def _sftp(connection_id: str, connection: Connection, extra: Extra) -> Store:
    _needs(connection_id, connection, "host", "login")
    address = f"sftp://{connection.login}@{connection.host}:{connection.port or 22}"

    async def connect() -> asyncssh.SSHClientConnection:
        return await ssh_connection(connection_id, extra, address)

    return SftpStore(connection_id, connect, address, _root(connection_id, extra))


def _smb(connection_id: str, connection: Connection, extra: Extra) -> Store:
    _needs(connection_id, connection, "host", "login", "password", "schema")
    place = SmbPlace(
        host=str(connection.host),
        port=connection.port or 445,
        share=str(connection.schema),
        user=str(connection.login),
        password=str(connection.password),
        root=_root(connection_id, extra).strip("/"),
        encrypt=str(extra.get("encrypt", "")).lower() in ("1", "true", "yes"),
    )
    return SmbStore(connection_id, place)


def _needs(connection_id: str, connection: Connection, *names: str) -> None:
    for name in names:
        if not getattr(connection, name):
            told = "schema (the share)" if name == "schema" else name
            raise ConnectionInvalid(connection_id, f"it has no {told}", "fill that field in")


_STORES: Mapping[str, Callable[[str, Connection, Extra], Store]] = {
    "aws": _s3,
    "sftp": _sftp,
    "ssh": _sftp,
    "samba": _smb,
}
