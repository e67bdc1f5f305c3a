"""The Airflow connection type ``zosmf``: from a connection to a client, and its test."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_enterprise_orch.delegation.connection_check import tested
from airflow_enterprise_orch.errors import (
    ConnectionInvalid,
)
from airflow_enterprise_orch.systems.mainframe.session import ZosmfSettings
from airflow_enterprise_orch.systems.mainframe.zosmf import ZosmfSystem

if TYPE_CHECKING:
    from airflow.sdk.definitions.connection import Connection

EXTRAS = ("ca_file", "verify", "subsystem", "owner", "timeout")


@asynccontextmanager
async def open_zosmf(connection_id: str) -> AsyncIterator[ZosmfSystem]:
    """Open the z/OSMF behind an Airflow connection; :raises ConnectionInvalid: when it is missing or wrong."""
    try:
        connection = await BaseHook.aget_connection(connection_id)
    except AirflowNotFoundException as error:
        raise _missing(connection_id) from error
    async with ZosmfSystem(settings_of(connection_id, connection)) as system:
        yield system


def settings_of(connection_id: str, connection: Connection) -> ZosmfSettings:
    """Read an Airflow connection; :raises ConnectionInvalid: naming the field and the remedy."""

    def wrong(reason: str, remedy: str) -> ConnectionInvalid:
        return ConnectionInvalid(connection_id, reason, remedy)

    if connection.conn_type != "zosmf":
        raise wrong(f"its type is {connection.conn_type!r}", "make it a connection of type zosmf")
    host = re.sub(r"^https://", "", (connection.host or "").strip()).rstrip("/")
    if not host or not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
        raise wrong(f"its host is {connection.host!r}", "give the name of the z/OSMF server, without path or http://")
    if not connection.login or not connection.password:
        raise wrong("it has no login or no password", "give the z/OS user that submits jobs, and its password")
    extras = _extras(connection_id, connection)
    timeout = extras.get("timeout") or 30
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 1 <= timeout <= 600:
        raise wrong(f"its timeout is {timeout!r}", "give seconds, from 1 to 600")
    verify = extras.get("verify")
    if verify not in (None, True, False):
        raise wrong(f"its verify is {verify!r}", "give true or false")
    subsystem, owner = (str(extras.get(name) or "").strip().upper() for name in ("subsystem", "owner"))
    if subsystem and not re.fullmatch(r"[A-Z$#@][A-Z0-9$#@]{0,3}", subsystem):
        raise wrong(f"its subsystem is {subsystem!r}", "give the name of a JES, 1 to 4 characters, or nothing")
    if owner and not re.fullmatch(r"[A-Z0-9$#@]{1,8}", owner):
        raise wrong(f"its owner is {owner!r}", "give one z/OS user, 1 to 8 characters, or nothing")
    return ZosmfSettings(
        connection=connection_id,
        host=host,
        port=connection.port or 443,
        login=connection.login,
        password=connection.password,
        subsystem=subsystem,
        owner=owner,
        ca_file=str(extras.get("ca_file") or ""),
        verify=verify is not False,
        timeout=float(timeout),
    )


class ZosmfHook(BaseHook):
    """What Airflow's connection page and other operators use.

    :param zosmf_conn_id: the Airflow connection's id.
    """

    conn_name_attr = "zosmf_conn_id"
    default_conn_name = "zosmf_default"
    conn_type = "zosmf"
    hook_name = "z/OSMF (mainframe jobs)"

    def __init__(self, zosmf_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.zosmf_conn_id = zosmf_conn_id

    def get_conn(self) -> ZosmfSystem:
        """Return the client, to be entered with ``async with``."""
        try:
            connection = self.get_connection(self.zosmf_conn_id)
        except AirflowNotFoundException as error:
            raise _missing(self.zosmf_conn_id) from error
        return ZosmfSystem(settings_of(self.zosmf_conn_id, connection))

    def test_connection(self) -> tuple[bool, str]:
        """Reach z/OSMF, log in and list a job; return whether that works, and what is wrong in words."""
        return tested(self._check(), "z/OSMF {} answers, the login works and jobs can be listed")

    async def _check(self) -> str:
        async with self.get_conn() as system:
            return await system.check()


def _missing(connection_id: str) -> ConnectionInvalid:
    return ConnectionInvalid(connection_id, "Airflow has no such connection", "create it with the type zosmf")


def _extras(connection_id: str, connection: Connection) -> Mapping[str, Any]:
    extras: dict[str, Any] = connection.extra_dejson
    unknown = sorted(set(extras) - set(EXTRAS))
    if unknown:
        raise ConnectionInvalid(
            connection_id,
            f"its extra has {', '.join(unknown)}",
            f"it may have {', '.join(EXTRAS)}; correct or remove it",
        )
    return extras
