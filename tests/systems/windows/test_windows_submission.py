"""The core's own submission on a Windows host: what a task instance does when an answer of this system is lost.

How a user would notice that it is fake: a Dynamics import that ran twice, or one that never ran and nobody was asked.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.submission import Parked, Submission
from airflow_enterprise_orch.errors import SystemUnreachable
from airflow_enterprise_orch.systems.windows.steps import WindowsTask

PROGRAM = WindowsTask(program=r"C:\Lab\LabProg.exe", arguments=["SAY=ran"])
TASK = WindowsTask(task=r"\Dynamics\ImportOrders", arguments=["ORD-000001"])


class Clock:
    """Time that passes at once."""

    def __init__(self):
        self.ahead = timedelta(0)

    def now(self):
        return datetime.now(UTC) + self.ahead

    async def sleep(self, duration):
        self.ahead += duration
        await asyncio.sleep(0.05)


class Store:
    """A task state store that always belongs to this try."""

    def __init__(self):
        self.saved = []

    def save(self, changed):
        self.saved.append(changed)

    def announce(self, attempt):
        self.saved.append(attempt)

    def prove_owner(self):
        """It always is this try's."""


@pytest.fixture
def hand_over(host, key):
    """Hand one attempt over; ``said`` collects the lines for people."""
    said = []

    def run(work, ledger=None):
        async def steps(tasks):
            submission = Submission(tasks, Store(), Clock(), said.append)
            start = ledger or Ledger((Attempt(1, key),))
            return await submission.hand_over(start, start.last, work)

        return host.run(steps)

    run.said = said
    return run


@pytest.mark.parametrize("work", [PROGRAM, TASK], ids=["program", "task"])
@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit", "half_answer", "late_commit", "error_500"])
def test_a_lost_answer_neither_loses_nor_doubles_the_job(host, key, hand_over, until, work, fault):
    host.fault(fault, seconds=0.3)
    attempt = hand_over(work).last
    assert attempt.state is AttemptState.SUBMITTED

    async def wait(tasks):
        await until(tasks, attempt.handle)
        return await tasks.result(attempt.handle)

    assert host.run(wait).rc == 0
    assert len(host.launches(key)) == 1
    if fault in ("cut_after_commit", "half_answer"):
        assert "adopted, nothing is sent again" in " ".join(hand_over.said)


def test_a_program_whose_start_was_lost_is_released(host, key, hand_over, until):
    host.fault("cut_before_commit", on="release")
    attempt = hand_over(PROGRAM).last
    assert attempt.released

    async def wait(tasks):
        await until(tasks, attempt.handle)
        return await tasks.result(attempt.handle)

    assert host.run(wait).rc == 0
    assert len(host.launches(key)) == 1


def test_a_task_whose_starter_died_and_that_nobody_can_place_is_a_question(host, key, hand_over):
    host.there(lambda: setattr(host.stand_in.verbs, "start_dies", "before"))
    with pytest.raises(Parked, match="did it run") as parked:
        hand_over(TASK)
    assert "the event log has no start" in parked.value.question
    assert host.launches(key) == []
    with pytest.raises(Parked):
        hand_over(TASK, parked.value.ledger)
    assert host.launches(key) == [], "the task was started although nobody said that it did not run"


def test_a_busy_task_leaves_the_attempt_as_never_sent(host, key, hand_over):
    scheduler = host.stand_in.host.scheduler
    path = r"\Dynamics\Slow"
    host.there(lambda: host.stand_in.host.add_task(path, ["SLEEP=60"]))
    host.there(lambda: scheduler.run(scheduler.task(path), r"LABWIN\maria"))
    with pytest.raises(SystemUnreachable, match="runs already"):
        hand_over(WindowsTask(task=path))
    assert host.launches(key) == []
