"""What SAP's tests share: work, keys, and one SAP system with one client."""

from __future__ import annotations

import asyncio
import secrets
import string
from typing import Any

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.lab.stand_in import Fault
from airflow_enterprise_orch.systems.sap.steps import ApplicationJob, BackgroundJob


def new_key() -> str:
    """Return a delegation key as the core makes them."""
    return "K" + "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(19))


def program(printer: str | None = None, **parameters: str) -> BackgroundJob:
    """Return a background job of the lab's program."""
    values = {f"P_{name.upper()}": value for name, value in parameters.items()}
    return BackgroundJob(program="ZLABPROG", parameters=values, printer=printer)


def template(check: bool = True, **parameters: str) -> ApplicationJob:
    """Return an application job of the lab's template."""
    values: dict[str, str | list[str]] = {f"P_{name.upper()}": value for name, value in parameters.items()}
    return ApplicationJob(template="ZLAB_PROGRAM", parameters=values, check=check)


class Sap:
    """One stand-in and one client of it.

    :ivar endpoint: the stand-in's part of the lab's JSON.
    """

    def __init__(self, stand_in: Any, system: Any, endpoint: dict[str, Any]) -> None:
        self.stand_in = stand_in
        self.system = system
        self.endpoint = endpoint

    def plan(self, on: str, do: str, times: int = 1, **more: Any) -> None:
        """Plan a fault."""
        self.stand_in.faults.add(Fault(on, do, times, **more))

    async def started(self, work: Any = None) -> JobHandle:
        """Hand a job over and let it run."""
        default = program() if self.stand_in.name == "sap_soap_rfc" else template()
        handle: JobHandle = await self.system.submit(work or default, new_key())
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

    async def ended(self, work: Any = None) -> JobHandle:
        """Run a job to its end."""
        handle = await self.started(work)
        await self.until(handle)
        return handle
