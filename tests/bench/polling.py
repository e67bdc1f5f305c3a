"""Waiting for many jobs on one system: one shared poller against one poller per job, in the same run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.delegation.polling import ConnectionPoller, Pace
from airflow_enterprise_orch.delegation.system import Capabilities, Protection

JOBS = 10_000
LASTS = 6.0


class Fake:
    """A system that answers a batch of 1,000 in 50 ms and one job in 20 ms."""

    identity = "fake://bench"
    capabilities = Capabilities(Protection.ATOMIC, batch=1000)
    calls = 0
    ends = 0.0

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        Fake.calls += 1
        await asyncio.sleep(0.02 + 0.00003 * len(handles))
        phase = Phase.ENDED if time.monotonic() > Fake.ends else Phase.RUNNING
        return {handle.key: JobStatus(phase) for handle in handles}


def _registration() -> Any:
    @asynccontextmanager
    async def opened(_connection: str) -> AsyncIterator[Fake]:
        yield Fake()

    return SimpleNamespace(name="bench", open=opened)


async def _free(_connection: str) -> None:
    return None


async def _wait_all(pollers: Sequence[ConnectionPoller], jobs: int) -> None:
    async def one(number: int) -> None:
        handle = JobHandle(f"K{number}", str(number))
        async for news in pollers[number % len(pollers)].watch(handle, Fake.identity):
            if news.status is not None and news.status.final:
                return

    Fake.calls, Fake.ends = 0, time.monotonic() + LASTS
    async with asyncio.TaskGroup() as group:
        for number in range(jobs):
            group.create_task(one(number))


def _measure(pollers: int, jobs: int) -> tuple[int, float]:
    async def run() -> None:
        made = [ConnectionPoller(_registration(), "bench", Pace(), refuse_blocked=_free) for _ in range(pollers)]
        await _wait_all(made, jobs)

    before = time.process_time()
    asyncio.run(run())
    return Fake.calls, time.process_time() - before


def main() -> None:
    """Print calls and CPU of both ways."""
    few_calls, few_cpu = _measure(1, 10)
    calls, cpu = _measure(1, JOBS)
    own_calls, own_cpu = _measure(JOBS, JOBS)
    print(f"  {JOBS} jobs waiting {LASTS:g} s")
    print(f"  shared poller, 10 jobs    {few_calls:7d} calls {few_cpu:7.2f} s CPU")
    print(f"  shared poller             {calls:7d} calls {cpu:7.2f} s CPU")
    print(f"  one poller per job        {own_calls:7d} calls {own_cpu:7.2f} s CPU")
    print(f"  ratio own : shared        {own_calls / calls:7.0f} x calls {own_cpu / cpu:5.1f} x CPU")
