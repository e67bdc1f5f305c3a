"""What Control-M's tests share: one stand-in with one client, orders and keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from zos_for_tests import new_key

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.lab.controlm import ControlmStandIn
from airflow_enterprise_orch.lab.stand_in import Fault
from airflow_enterprise_orch.systems.mainframe.controlm import ControlmSystem
from airflow_enterprise_orch.systems.mainframe.controlm_hook import settings_of
from airflow_enterprise_orch.systems.mainframe.steps import SchedulerJob

T = TypeVar("T")


def order(job: str | None = "LABJOB", folder: str = "LAB", into: str = "New", **variables: str) -> SchedulerJob:
    """Return work of one order."""
    return SchedulerJob(folder=folder, job=job, into=into, variables=variables)  # type: ignore[arg-type]


class Controlm:
    """One stand-in and one client of it.

    :ivar endpoint: the stand-in's part of the lab's JSON.
    """

    def __init__(self, stand_in: ControlmStandIn, system: ControlmSystem, endpoint: dict[str, Any]) -> None:
        self.stand_in = stand_in
        self.system = system
        self.endpoint = endpoint

    def plan(self, on: str, do: str, times: int = 1, **more: Any) -> None:
        """Plan a fault."""
        self.stand_in.faults.add(Fault(on, do, times, **more))

    def fresh(self, **changes: Any) -> ControlmSystem:
        """Return another client of the same connection, as another process has it; to be entered."""
        return ControlmSystem(replace(self.system.settings, **changes))

    async def started(self, work: SchedulerJob | None = None) -> JobHandle:
        """Order a job and free it."""
        handle = await self.system.submit(work or order(), new_key())
        await self.system.release(handle)
        return handle

    async def until(self, handle: JobHandle, *phases: Phase) -> JobStatus:
        """Poll until the job is in one of these phases."""
        async with asyncio.timeout(20):
            while True:
                status = (await self.system.poll([handle])).get(handle.key)
                if status is not None and status.phase in (phases or (Phase.ENDED,)):
                    return status
                await asyncio.sleep(0.02)

    async def ended(self, work: SchedulerJob | None = None) -> JobHandle:
        """Run an order to its end."""
        handle = await self.started(work)
        await self.until(handle)
        return handle


def run_with_controlm(directory: Path, scenario: Callable[[Controlm], Awaitable[T]], **changes: Any) -> T:
    """Run a scenario against a fresh Control-M; keyword arguments change the client's settings."""

    async def main() -> T:
        stand_in = ControlmStandIn()
        try:
            endpoint = await stand_in.start(directory)
            given = endpoint["connection"]

            class Connection:
                conn_type, host, port = given["conn_type"], given["host"], given["port"]
                login, password, extra_dejson = given["login"], given["password"], given["extra"]

            settings = settings_of("controlm_test", Connection())  # type: ignore[arg-type]
            async with ControlmSystem(replace(settings, timeout=10.0, **changes)) as system:
                return await scenario(Controlm(stand_in, system, endpoint))
        finally:
            await stand_in.stop()

    return asyncio.run(main())
