"""The Airflow connection types ``sap_xbp`` and ``sap_odata``: from a connection to a client, and its test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from airflow.sdk.bases.hook import BaseHook

from airflow_enterprise_orch.delegation.connection_check import tested
from airflow_enterprise_orch.delegation.connection_fields import Fields, hook_connection, known_connection
from airflow_enterprise_orch.systems.sap.application_jobs import ApplicationJobs
from airflow_enterprise_orch.systems.sap.odata import OdataSettings
from airflow_enterprise_orch.systems.sap.pyrfc_rfc import PyRfc
from airflow_enterprise_orch.systems.sap.rfc import XbpSettings
from airflow_enterprise_orch.systems.sap.soap_rfc import SoapRfc
from airflow_enterprise_orch.systems.sap.xbp import XbpSystem

if TYPE_CHECKING:
    from airflow.sdk.definitions.connection import Connection

XBP_EXTRAS = (
    "backend",
    "ca_file",
    "client",
    "company",
    "external_user",
    "language",
    "product",
    "server",
    "server_group",
    "start",
    "system_number",
    "time_zone",
    "timeout",
    "verify",
)
ODATA_EXTRAS = ("ca_file", "client", "language", "timeout", "verify")
SERVER, USER = "the SAP server", "the SAP user that runs the jobs"
LANGUAGE = (r"[A-Z]{2}", "give a language of two letters, as EN")


@asynccontextmanager
async def open_xbp(connection_id: str) -> AsyncIterator[XbpSystem]:
    """Open the background processing behind an Airflow connection of type ``sap_xbp``."""
    async with xbp_of(connection_id, await known_connection(connection_id, "sap_xbp")) as system:
        yield system


@asynccontextmanager
async def open_odata(connection_id: str) -> AsyncIterator[ApplicationJobs]:
    """Open the application jobs behind an Airflow connection of type ``sap_odata``."""
    async with ApplicationJobs(
        odata_settings(connection_id, await known_connection(connection_id, "sap_odata"))
    ) as system:
        yield system


def xbp_of(connection_id: str, connection: Connection) -> XbpSystem:
    """Return the client that a connection asks for."""
    settings = xbp_settings(connection_id, connection)
    return XbpSystem(settings, PyRfc(settings) if settings.backend == "pyrfc" else SoapRfc(settings))


def xbp_settings(connection_id: str, connection: Connection) -> XbpSettings:
    """Read a connection of type ``sap_xbp``; :raises ConnectionInvalid: naming the field and the remedy."""
    fields = Fields(connection_id, connection, "sap_xbp", XBP_EXTRAS)
    host = fields.host(SERVER)
    login, password = fields.login(USER)
    sixteen = (r"[^\x00-\x1f\x7f]{1,16}", "give at most 16 characters")
    return XbpSettings(
        connection=connection_id,
        host=host,
        port=connection.port or 443,
        client=fields.word("client", "100", r"\d{3}", "give the SAP client, three digits"),
        login=login,
        password=password,
        language=fields.word("language", "EN", *LANGUAGE),
        backend=fields.word("backend", "soap", "soap|pyrfc", "give soap or pyrfc"),
        system_number=fields.word("system_number", "00", r"\d{2}", "give the system number, two digits"),
        external_user=fields.word("external_user", "AIRFLOW", *sixteen),
        company=fields.word("company", "APACHE", *sixteen),
        product=fields.word("product", "AIRFLOW", *sixteen),
        server=fields.word("server", "", r"[A-Za-z0-9_-]{1,20}", "give an application server as SM51 shows it"),
        server_group=fields.word("server_group", "", r"[^\x00-\x20\x7f]{1,20}", "give a group of servers as in SM61"),
        start=fields.word("start", "asap", "asap|immediately", "give asap or immediately"),
        time_zone=fields.zone("time_zone", "UTC"),
        ca_file=fields.text("ca_file"),
        verify=fields.verify,
        timeout=fields.timeout(),
    )


def odata_settings(connection_id: str, connection: Connection) -> OdataSettings:
    """Read a connection of type ``sap_odata``; :raises ConnectionInvalid: naming the field and the remedy."""
    fields = Fields(connection_id, connection, "sap_odata", ODATA_EXTRAS)
    host = fields.host(SERVER)
    login, password = fields.login(USER)
    return OdataSettings(
        connection=connection_id,
        host=host,
        port=connection.port or 443,
        client=fields.word("client", "", r"\d{3}", "give the SAP client, three digits, or nothing"),
        login=login,
        password=password,
        language=fields.word("language", "EN", *LANGUAGE),
        ca_file=fields.text("ca_file"),
        verify=fields.verify,
        timeout=fields.timeout(),
    )


class SapXbpHook(BaseHook):
    """What Airflow's connection page uses for background jobs.

    :param sap_xbp_conn_id: the Airflow connection's id.
    """

    conn_name_attr = "sap_xbp_conn_id"
    default_conn_name = "sap_xbp_default"
    conn_type = "sap_xbp"
    hook_name = "SAP background jobs (XBP)"

    def __init__(self, sap_xbp_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.sap_xbp_conn_id = sap_xbp_conn_id

    def get_conn(self) -> XbpSystem:
        """Return the client, to be entered with ``async with``."""
        return xbp_of(self.sap_xbp_conn_id, hook_connection(self, self.sap_xbp_conn_id))

    def test_connection(self) -> tuple[bool, str]:
        """Log on to SAP and to XMI and select jobs; return whether that works, and what is wrong in words."""
        return tested(self._check(), "SAP {} answers, the XMI logon works and jobs can be selected")

    async def _check(self) -> str:
        async with self.get_conn() as system:
            return await system.check()


class SapOdataHook(BaseHook):
    """What Airflow's connection page uses for application jobs.

    :param sap_odata_conn_id: the Airflow connection's id.
    """

    conn_name_attr = "sap_odata_conn_id"
    default_conn_name = "sap_odata_default"
    conn_type = "sap_odata"
    hook_name = "SAP application jobs (OData)"

    def __init__(self, sap_odata_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.sap_odata_conn_id = sap_odata_conn_id

    def get_conn(self) -> ApplicationJobs:
        """Return the client, to be entered with ``async with``."""
        connection = hook_connection(self, self.sap_odata_conn_id)
        return ApplicationJobs(odata_settings(self.sap_odata_conn_id, connection))

    def test_connection(self) -> tuple[bool, str]:
        """Log in, get a CSRF token and list jobs; return whether that works, and what is wrong in words."""
        return tested(self._check(), "SAP answers, the login works and jobs can be listed ({})")

    async def _check(self) -> str:
        async with self.get_conn() as system:
            return await system.check()
