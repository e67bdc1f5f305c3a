"""Handing one job over: the core's own cost, the system's answers taken as instant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from airflow_enterprise_orch.delegation.attempt import new_key
from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.delegation.ledger import Begin, Ledger, TaskTry, opened
from airflow_enterprise_orch.delegation.submission import Submission
from airflow_enterprise_orch.delegation.system import Absent, Capabilities, Protection
from airflow_enterprise_orch.delegation.work import Work

ROUNDS = 3_000


class Instant:
    """A system that answers at once."""

    identity = "instant://bench"
    capabilities = Capabilities(Protection.ATOMIC)

    async def find(self, _key: str) -> Absent:
        return Absent()

    async def submit(self, _work: Work, key: str) -> JobHandle:
        return JobHandle(key, "1")

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        return {handle.key: JobStatus(Phase.RUNNING) for handle in handles}


class Clock:
    """Time that stands still."""

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    async def sleep(self, _duration: timedelta) -> None:
        return None


class Cells:
    """A store that serializes, as the real one does."""

    writes = 0

    def save(self, ledger: Ledger) -> None:
        Cells.writes += 1
        ledger.to_json()


async def _run() -> None:
    for _ in range(ROUNDS):
        attempt = opened(Begin(1, 1), TaskTry(1, 10, 10), new_key(), Clock().now())
        submission = Submission(Instant(), Cells(), Clock(), lambda _line: None)  # type: ignore[arg-type]
        await submission.hand_over(Ledger((attempt,)), attempt, Work())


def main() -> None:
    """Print microseconds and ledger writes per job."""
    before = time.perf_counter()
    asyncio.run(_run())
    spent = time.perf_counter() - before
    print(f"  {spent / ROUNDS * 1e6:.0f} us and {Cells.writes / ROUNDS:g} ledger writes a job")
