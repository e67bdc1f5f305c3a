"""The Airflow connection type ``zosmf``: from a connection to a client, and its test."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from airflow.sdk.bases.hook import BaseHook

from airflow_enterprise_orch.delegation.connection_check import tested
from airflow_enterprise_orch.delegation.connection_fields import Fields, hook_connection, known_connection
from airflow_enterprise_orch.systems.mainframe.session import ZosmfSettings
from airflow_enterprise_orch.systems.mainframe.zosmf import ZosmfSystem

if TYPE_CHECKING:
    from airflow.sdk.definitions.connection import Connection

EXTRAS = ("ca_file", "verify", "subsystem", "owner", "timeout")


@asynccontextmanager
async def open_zosmf(connection_id: str) -> AsyncIterator[ZosmfSystem]:
    """Open the z/OSMF behind an Airflow connection; :raises ConnectionInvalid: when it is missing or wrong."""
    async with ZosmfSystem(settings_of(connection_id, await known_connection(connection_id, "zosmf"))) as system:
        yield system


def settings_of(connection_id: str, connection: Connection) -> ZosmfSettings:
    """Read an Airflow connection; :raises ConnectionInvalid: naming the field and the remedy."""
    fields = Fields(connection_id, connection, "zosmf", EXTRAS)
    host = fields.host("the z/OSMF server")
    login, password = fields.login("the z/OS user that submits jobs")
    subsystem, owner = (fields.text(name).upper() for name in ("subsystem", "owner"))
    if subsystem and not re.fullmatch(r"[A-Z$#@][A-Z0-9$#@]{0,3}", subsystem):
        raise fields.wrong(f"its subsystem is {subsystem!r}", "give the name of a JES, 1 to 4 characters, or nothing")
    if owner and not re.fullmatch(r"[A-Z0-9$#@]{1,8}", owner):
        raise fields.wrong(f"its owner is {owner!r}", "give one z/OS user, 1 to 8 characters, or nothing")
    return ZosmfSettings(
        connection=connection_id,
        host=host,
        port=connection.port or 443,
        login=login,
        password=password,
        subsystem=subsystem,
        owner=owner,
        ca_file=fields.text("ca_file"),
        verify=fields.verify,
        timeout=fields.timeout(),
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
        return ZosmfSystem(settings_of(self.zosmf_conn_id, hook_connection(self, self.zosmf_conn_id)))

    def test_connection(self) -> tuple[bool, str]:
        """Reach z/OSMF, log in and list a job; return whether that works, and what is wrong in words."""
        return tested(self._check(), "z/OSMF {} answers, the login works and jobs can be listed")

    async def _check(self) -> str:
        async with self.get_conn() as system:
            return await system.check()
