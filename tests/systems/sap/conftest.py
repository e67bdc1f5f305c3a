"""SAP from the lab, by each of its two interfaces, with a client of it, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sap_for_tests import Sap

from airflow_enterprise_orch.lab.sap_odata import OdataStandIn
from airflow_enterprise_orch.lab.sap_soap_rfc import SoapRfcStandIn
from airflow_enterprise_orch.systems.sap.application_jobs import ApplicationJobs
from airflow_enterprise_orch.systems.sap.odata import OdataSettings
from airflow_enterprise_orch.systems.sap.rfc import XbpSettings
from airflow_enterprise_orch.systems.sap.soap_rfc import SoapRfc
from airflow_enterprise_orch.systems.sap.xbp import XbpSystem

T = TypeVar("T")
Scenario = Callable[[Sap], Awaitable[T]]


@pytest.fixture
def xbp(tmp_path: Path) -> Callable[..., Any]:
    """Return what runs a scenario against a fresh SAP over SOAP-RFC; keyword arguments change the client's settings."""

    def run(scenario: Scenario[T], **changes: Any) -> T:
        async def main() -> T:
            stand_in = SoapRfcStandIn()
            try:
                endpoint = await stand_in.start(tmp_path)
                told = endpoint["connection"]
                settings = XbpSettings(
                    "sap_test",
                    told["host"],
                    told["port"],
                    login=told["login"],
                    password=told["password"],
                    ca_file=endpoint["ca_file"],
                    timeout=10.0,
                )
                settings = replace(settings, **changes)
                async with XbpSystem(settings, SoapRfc(settings)) as system:
                    return await scenario(Sap(stand_in, system, endpoint))
            finally:
                await stand_in.stop()

        return asyncio.run(main())

    return run


@pytest.fixture
def odata(tmp_path: Path) -> Callable[..., Any]:
    """Return what runs a scenario against a fresh S/4HANA; keyword arguments change the client's settings."""

    def run(scenario: Scenario[T], **changes: Any) -> T:
        async def main() -> T:
            stand_in = OdataStandIn()
            try:
                endpoint = await stand_in.start(tmp_path)
                told = endpoint["connection"]
                settings = OdataSettings(
                    "s4_test",
                    told["host"],
                    told["port"],
                    login=told["login"],
                    password=told["password"],
                    ca_file=endpoint["ca_file"],
                    timeout=10.0,
                )
                async with ApplicationJobs(replace(settings, **changes)) as system:
                    return await scenario(Sap(stand_in, system, endpoint))
            finally:
                await stand_in.stop()

        return asyncio.run(main())

    return run
