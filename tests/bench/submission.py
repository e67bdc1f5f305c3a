"""Handing one job over: the core's own cost, the answers of system and store taken as instant."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_enterprise_orch.delegation.attempt import new_key
from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.delegation.ledger import Begin, TaskTry, opened
from airflow_enterprise_orch.delegation.ledger_store import LedgerStore
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
    """A task state store in memory that serializes, as the real one does."""

    writes = 0

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def get(self, key: str) -> object:
        return json.loads(self.kept[key]) if key in self.kept else None

    def set(self, key: str, value: Any) -> None:
        Cells.writes += 1
        self.kept[key] = json.dumps(value)


async def _run() -> None:
    now = TaskTry(1, 10, 10)
    for _ in range(ROUNDS):
        store = LedgerStore(Cells(), now)
        attempt = opened(Begin(1, 1), now, new_key(), Clock().now())
        store.ledger = store.ledger.with_attempt(attempt)
        submission = Submission(Instant(), store, Clock(), lambda _line: None)  # type: ignore[arg-type]
        await submission.hand_over(store.ledger, attempt, Work())


def main() -> None:
    """Print microseconds and ledger writes per job."""
    before = time.perf_counter()
    asyncio.run(_run())
    spent = time.perf_counter() - before
    print(f"  {spent / ROUNDS * 1e6:.0f} us and {Cells.writes / ROUNDS:g} ledger writes a job")
