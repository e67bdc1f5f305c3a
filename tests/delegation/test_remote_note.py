"""What is noted of jobs that do not get on, on a virtual clock: when, how often, and what a failure does.

How a user would notice that it is fake: a job that JES holds is shown as running, one that was released is still shown
as held, or ten thousand jobs that merely run fill the database with notes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.delegation.remote_note import (
    GAP,
    GOOD_FOR,
    NOTE_KEY,
    RENEWED,
    SETTLES,
    RemoteNote,
    RemoteNotes,
    write,
)
from airflow_enterprise_orch.delegation.waiting import Wait
from tests.virtual_time import run

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
HELD = JobStatus(Phase.HELD, "held by the operator")
RUNS = JobStatus(Phase.RUNNING)


def wait(number: int = 0) -> Wait:
    key = f"K{number:019d}"
    return Wait("m.job", "zos", JobHandle(key, f"JOB{number:05}"), "zosmf://one", NOW.isoformat(), dag_id="orders",
                run_id="r", task_id="book", map_index=number)  # fmt: skip


class Kept:
    """What was written, and when; it can fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.notes: list[tuple[float, int, str, str]] = []
        self.error = error

    async def write(self, of: Wait, note: dict[str, Any]) -> None:
        self.notes.append((asyncio.get_running_loop().time(), of.map_index, note["phase"], note["reason"]))
        if self.error is not None:
            raise self.error


def played(kept: Kept, play: Any) -> list[tuple[float, int, str, str]]:
    async def main() -> None:
        await play(RemoteNotes(kept.write))

    run(main())
    return kept.notes


def test_a_held_job_is_noted_once_it_has_settled_and_again_when_it_goes_on() -> None:
    async def play(notes: RemoteNotes) -> None:
        notes.tell(wait(), JobStatus(Phase.WAITING))
        notes.tell(wait(), HELD)
        await asyncio.sleep(60)
        notes.tell(wait(), RUNS)
        await asyncio.sleep(3600)

    assert played(Kept(), play) == [(SETTLES, 0, "held", HELD.reason), (60 + SETTLES, 0, "running", "")]


def test_jobs_that_run_or_only_pass_through_a_queue_leave_no_note() -> None:
    async def play(notes: RemoteNotes) -> None:
        for number in range(1000):
            notes.tell(wait(number), JobStatus(Phase.WAITING, "in the input queue"))
        await asyncio.sleep(SETTLES / 2)
        for number in range(1000):
            notes.tell(wait(number), RUNS)
        await asyncio.sleep(3600)
        for number in range(1000):
            notes.tell(wait(number), JobStatus(Phase.ENDED))
            notes.tell(wait(number), None)

    assert played(Kept(), play) == []


def test_a_note_is_renewed_while_the_job_stays_held_and_no_more_when_nobody_waits() -> None:
    async def play(notes: RemoteNotes) -> None:
        notes.tell(wait(), HELD)
        await asyncio.sleep(SETTLES + 2.5 * (RENEWED + GAP))
        notes.tell(wait(), None)
        await asyncio.sleep(10 * RENEWED)

    assert [phase for _, _, phase, _ in played(Kept(), play)] == ["held"] * 3


def test_another_reason_is_another_note() -> None:
    async def play(notes: RemoteNotes) -> None:
        notes.tell(wait(), HELD)
        await asyncio.sleep(30)
        notes.tell(wait(), JobStatus(Phase.WAITING, "duplicate job name"))
        await asyncio.sleep(30)
        notes.tell(wait(), JobStatus(Phase.WAITING, "duplicate job name"))
        await asyncio.sleep(30)

    assert [reason for *_, reason in played(Kept(), play)] == [HELD.reason, "duplicate job name"]


def test_ten_thousand_held_at_once_are_noted_one_after_the_other_and_in_time_to_be_believed() -> None:
    async def play(notes: RemoteNotes) -> None:
        for number in range(10_000):
            notes.tell(wait(number), HELD)
        await asyncio.sleep(3 * GOOD_FOR.total_seconds())

    notes = played(Kept(), play)
    times = [at for at, *_ in notes]
    assert min(then - at for at, then in pairwise(times)) >= GAP * 0.999
    of: dict[int, list[float]] = {}
    for at, number, *_ in notes:
        of.setdefault(number, []).append(at)
    assert len(of) == 10_000
    apart = max(then - at for every in of.values() for at, then in pairwise(every))
    assert apart < GOOD_FOR.total_seconds()


def test_what_cannot_be_written_is_said_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def play(notes: RemoteNotes) -> None:
        notes.tell(wait(1), HELD)
        notes.tell(wait(2), HELD)
        await asyncio.sleep(SETTLES + 1.5 * RENEWED)

    with caplog.at_level(logging.WARNING):
        notes = played(Kept(RuntimeError("the API server is away")), play)
    assert [number for _, number, *_ in notes] == [1, 2, 1, 2]
    assert [one.getMessage() for one in caplog.records if "cannot be kept" in one.getMessage()] == [
        "what a remote system says of its waiting jobs cannot be kept: the API server is away"
    ]


def test_it_is_kept_as_an_xcom_of_the_waiting_task(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=sent.append), raising=False)

    async def play(of: Coroutine[Any, Any, None]) -> None:
        await of

    asyncio.run(play(write(wait(3), {"version": 1, "phase": "held"})))
    (message,) = sent
    assert (message.key, message.dag_id, message.run_id, message.task_id, message.map_index) == (
        NOTE_KEY, "orders", "r", "book", 3,
    )  # fmt: skip
    assert json.loads(json.dumps(message.value)) == {"version": 1, "phase": "held"}


@pytest.mark.parametrize(
    "data",
    [
        None,
        "held",
        {},
        {"version": 2, "key": "K", "phase": "held", "reason": "", "at": NOW.isoformat()},
        {"version": 1, "key": "K", "phase": "asleep", "reason": "", "at": NOW.isoformat()},
        {"version": 1, "key": "K", "phase": "held", "reason": "", "at": "yesterday"},
        {"version": 1, "key": "K", "phase": "held", "reason": "", "at": (NOW - 2 * GOOD_FOR).isoformat()},
    ],
)
def test_what_is_no_note_or_too_old_tells_nothing(data: object) -> None:
    assert RemoteNote.read(data, NOW) is None


def test_a_note_is_read_as_it_was_written() -> None:
    data = {"version": 1, "key": "K", "phase": "held", "reason": "by hand", "at": NOW.isoformat()}
    assert RemoteNote.read(data, NOW + timedelta(minutes=5)) == RemoteNote("K", Phase.HELD, "by hand", NOW)
