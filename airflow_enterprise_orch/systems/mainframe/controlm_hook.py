"""The Airflow connection type ``controlm``: from a connection to a client, and its test."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from airflow.sdk.bases.hook import BaseHook

from airflow_enterprise_orch.delegation.connection_check import tested
from airflow_enterprise_orch.delegation.connection_fields import Fields, hook_connection, known_connection
from airflow_enterprise_orch.systems.mainframe.controlm import ControlmSystem
from airflow_enterprise_orch.systems.mainframe.controlm_session import ControlmSettings

if TYPE_CHECKING:
    from airflow.sdk.definitions.connection import Connection

EXTRAS = ("server", "folders", "timezone", "path", "ca_file", "verify", "timeout")


@asynccontextmanager
async def open_controlm(connection_id: str) -> AsyncIterator[ControlmSystem]:
    """Open the Control-M behind an Airflow connection; :raises ConnectionInvalid: when it is missing or wrong."""
    async with ControlmSystem(settings_of(connection_id, await known_connection(connection_id, "controlm"))) as system:
        yield system


def settings_of(connection_id: str, connection: Connection) -> ControlmSettings:
    """Read an Airflow connection; :raises ConnectionInvalid: naming the field and the remedy."""
    fields = Fields(connection_id, connection, "controlm", EXTRAS)
    host = fields.host("the Automation API's host")
    if not connection.password:
        remedy = "give a Control-M user and its password, or an API token alone as password"
        raise fields.wrong("it has no password", remedy)
    server = fields.text("server")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", server):
        raise fields.wrong(
            f"its server is {server!r}", "give the name of the Control-M/Server whose folders are ordered"
        )
    path = "/" + (fields.text("path") or "automation-api").strip("/")
    if not re.fullmatch(r"/[A-Za-z0-9._/-]*", path):
        remedy = "give where the Automation API begins, like /automation-api, or nothing"
        raise fields.wrong(f"its path is {path!r}", remedy)
    return ControlmSettings(
        connection=connection_id,
        host=host,
        server=server,
        port=connection.port or 8443,
        login=connection.login or "",
        password=connection.password,
        folders=tuple(filter(None, (name.strip() for name in fields.text("folders").split(",")))),
        timezone=fields.zone("timezone", ""),
        path=path,
        ca_file=fields.text("ca_file"),
        verify=fields.verify,
        timeout=fields.timeout(),
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
        return ControlmSystem(settings_of(self.controlm_conn_id, hook_connection(self, self.controlm_conn_id)))

    def test_connection(self) -> tuple[bool, str]:
        """Reach the Automation API, log in and list a job; return whether that works, and what is wrong in words."""
        return tested(self._check(), "Control-M {} answers, the login works and jobs can be listed")

    async def _check(self) -> str:
        async with self.get_conn() as system:
            return await system.check()
