"""What the mainframe's tests share: jobs, keys, and one z/OS with one client."""

from __future__ import annotations

import asyncio
import secrets
import string
from typing import Any

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.lab.stand_in import Fault
from airflow_enterprise_orch.lab.zosmf import ZosmfStandIn
from airflow_enterprise_orch.systems.mainframe.steps import MainframeJob
from airflow_enterprise_orch.systems.mainframe.zosmf import ZosmfSystem

CARD = "//ORDERJOB JOB (ACCT),CLASS=A\n"


def job(parm: str = "RC=0", program: str = "LABPROG", **more: Any) -> MainframeJob:
    """Return work of one step."""
    return MainframeJob(jcl=f"{CARD}//STEP1    EXEC PGM={program},PARM='{parm}'\n", **more)


def new_key() -> str:
    """Return a delegation key as the core makes them."""
    return "K" + "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(19))


class Zos:
    """One stand-in and one client of it.

    :ivar endpoint: the stand-in's part of the lab's JSON.
    """

    def __init__(self, stand_in: ZosmfStandIn, system: ZosmfSystem, endpoint: dict[str, Any]) -> None:
        self.stand_in = stand_in
        self.system = system
        self.endpoint = endpoint

    def plan(self, on: str, do: str, times: int = 1, **more: Any) -> None:
        """Plan a fault."""
        self.stand_in.faults.add(Fault(on, do, times, **more))

    async def started(self, work: MainframeJob | None = None) -> JobHandle:
        """Submit a job and release it."""
        handle = await self.system.submit(work or job(), new_key())
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

    async def ended(self, work: MainframeJob | None = None) -> JobHandle:
        """Run a job to its end."""
        handle = await self.started(work)
        await self.until(handle)
        return handle
