"""The Airflow connection type ``controlm``: from a connection to a client, and its test."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_enterprise_orch.delegation.connection_check import tested
from airflow_enterprise_orch.errors import (
    ConnectionInvalid,
)
from airflow_enterprise_orch.systems.mainframe.controlm import ControlmSystem
from airflow_enterprise_orch.systems.mainframe.controlm_session import ControlmSettings

if TYPE_CHECKING:
    from airflow.sdk.definitions.connection import Connection

EXTRAS = ("server", "folders", "timezone", "path", "ca_file", "verify", "timeout")


@asynccontextmanager
async def open_controlm(connection_id: str) -> AsyncIterator[ControlmSystem]:
    """Open the Control-M behind an Airflow connection; :raises ConnectionInvalid: when it is missing or wrong."""
    try:
        connection = await BaseHook.aget_connection(connection_id)
    except AirflowNotFoundException as error:
        raise _missing(connection_id) from error
    async with ControlmSystem(settings_of(connection_id, connection)) as system:
        yield system


def settings_of(connection_id: str, connection: Connection) -> ControlmSettings:
    """Read an Airflow connection; :raises ConnectionInvalid: naming the field and the remedy."""

    def wrong(reason: str, remedy: str) -> ConnectionInvalid:
        return ConnectionInvalid(connection_id, reason, remedy)

    if connection.conn_type != "controlm":
        raise wrong(f"its type is {connection.conn_type!r}", "make it a connection of type controlm")
    host = re.sub(r"^https://", "", (connection.host or "").strip()).rstrip("/")
    if not host or not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
        raise wrong(f"its host is {connection.host!r}", "give the name of the Automation API's host, without path")
    if not connection.password:
        raise wrong("it has no password", "give a Control-M user and its password, or an API token alone as password")
    extras = _extras(connection_id, connection)
    server = str(extras.get("server") or "").strip()
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", server):
        raise wrong(f"its server is {server!r}", "give the name of the Control-M/Server whose folders are ordered")
    folders = tuple(filter(None, (name.strip() for name in str(extras.get("folders") or "").split(","))))
    timezone = str(extras.get("timezone") or "").strip()
    if timezone:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise wrong(f"its timezone is {timezone!r}", "give one like Europe/Berlin, or nothing") from error
    path = "/" + str(extras.get("path") or "automation-api").strip().strip("/")
    if not re.fullmatch(r"/[A-Za-z0-9._/-]*", path):
        raise wrong(f"its path is {path!r}", "give where the Automation API begins, like /automation-api, or nothing")
    timeout = extras.get("timeout") or 30
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 1 <= timeout <= 600:
        raise wrong(f"its timeout is {timeout!r}", "give seconds, from 1 to 600")
    verify = extras.get("verify")
    if verify not in (None, True, False):
        raise wrong(f"its verify is {verify!r}", "give true or false")
    return ControlmSettings(
        connection=connection_id,
        host=host,
        server=server,
        port=connection.port or 8443,
        login=connection.login or "",
        password=connection.password,
        folders=folders,
        timezone=timezone,
        path=path,
        ca_file=str(extras.get("ca_file") or ""),
        verify=verify is not False,
        timeout=float(timeout),
    )


class ControlmHook(BaseHook):
    """What Airflow's connection page and other operators use.

    :param controlm_conn_id: the Airflow connection's id.
    """

    conn_name_attr = "controlm_conn_id"
    default_conn_name = "controlm_default"
    conn_type = "controlm"
    hook_name = "Control-M (Automation API)"

    def __init__(self, controlm_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.controlm_conn_id = controlm_conn_id

    def get_conn(self) -> ControlmSystem:
        """Return the client, to be entered with ``async with``."""
        try:
            connection = self.get_connection(self.controlm_conn_id)
        except AirflowNotFoundException as error:
            raise _missing(self.controlm_conn_id) from error
        return ControlmSystem(settings_of(self.controlm_conn_id, connection))

    def test_connection(self) -> tuple[bool, str]:
        """Reach the Automation API, log in and list a job; return whether that works, and what is wrong in words."""
        return tested(self._check(), "Control-M {} answers, the login works and jobs can be listed")

    async def _check(self) -> str:
        async with self.get_conn() as system:
            return await system.check()


def _missing(connection_id: str) -> ConnectionInvalid:
    return ConnectionInvalid(connection_id, "Airflow has no such connection", "create it with the type controlm")


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
