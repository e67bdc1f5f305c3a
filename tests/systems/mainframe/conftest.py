"""A z/OS system from the lab, and a client of it, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from controlm_for_tests import run_with_controlm
from zos_for_tests import Zos

from airflow_enterprise_orch.lab.zosmf import ZosmfStandIn
from airflow_enterprise_orch.systems.mainframe.session import ZosmfSettings
from airflow_enterprise_orch.systems.mainframe.zosmf import ZosmfSystem

T = TypeVar("T")
Scenario = Callable[[Zos], Awaitable[T]]


@pytest.fixture
def zos(tmp_path: Path) -> Callable[..., Any]:
    """Return what runs a scenario against a fresh z/OS; keyword arguments change the client's settings."""

    def run(scenario: Scenario[T], *, library: dict[str, str] | None = None, **changes: Any) -> T:
        async def main() -> T:
            stand_in = ZosmfStandIn(library)
            try:
                endpoint = await stand_in.start(tmp_path)
                connection = endpoint["connection"]
                settings = ZosmfSettings(
                    "zos_test",
                    connection["host"],
                    connection["port"],
                    connection["login"],
                    connection["password"],
                    ca_file=endpoint["ca_file"],
                    timeout=10.0,
                )
                async with ZosmfSystem(replace(settings, **changes)) as system:
                    return await scenario(Zos(stand_in, system, endpoint))
            finally:
                await stand_in.stop()

        return asyncio.run(main())

    return run


@pytest.fixture
def controlm(tmp_path: Path) -> Callable[..., Any]:
    """Return what runs a scenario against a fresh Control-M; keyword arguments change the client's settings."""
    return partial(run_with_controlm, tmp_path)
