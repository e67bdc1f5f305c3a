"""The core's two-phase submit on z/OSMF: whatever is lost on the way, one job runs."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from zos_for_tests import job, new_key

from airflow_enterprise_orch.delegation.attempt import Attempt
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.submission import Submission


class FastClock:
    """A clock that lets long waits pass in no time."""

    def __init__(self):
        self.ahead = timedelta(0)

    def now(self):
        return datetime.now(UTC) + self.ahead

    async def sleep(self, duration):
        self.ahead += duration
        await asyncio.sleep(0.02)


class Store:
    def __init__(self):
        self.ledger = None

    def save(self, ledger):
        self.ledger = ledger

    def announce(self, attempt):
        self.ledger = self.ledger.with_attempt(attempt)

    def prove_owner(self):
        """It is always this try's."""


async def hand_over(system, key):
    attempt = Attempt(1, key)
    submission = Submission(system, Store(), FastClock(), lambda _line: None)
    ledger = await submission.hand_over(Ledger((attempt,)), attempt, job())
    return ledger.last.handle


@pytest.mark.parametrize(
    "faults",
    [
        [("submit", "cut_before_commit")],
        [("submit", "cut_after_commit")],
        [("submit", "html_503"), ("submit", "cut_after_commit")],
        [("release", "cut_before_commit")],
        [("release", "cut_after_commit")],
        [("submit", "cut_after_commit"), ("release", "error_500")],
    ],
)
def test_one_job_runs_whatever_is_lost(zos, faults):
    async def scenario(z):
        for on, do in faults:
            z.plan(on, do)
        key = new_key()
        handle = await hand_over(z.system, key)
        await z.until(handle)
        assert [record.id for record in z.stand_in.jobs() if record.ran and record.key == key] == [handle.job_id]
        assert len(z.stand_in.jobs()) == 1
        assert z.stand_in.faults.faults == []

    zos(scenario)


def test_two_overlapping_tries_run_one_job(zos):
    async def scenario(z):
        key = new_key()
        z.plan("find", "slow", times=2, seconds=0.1)  # both look before either has sent
        first, second = await asyncio.gather(hand_over(z.system, key), hand_over(z.system, key))
        await z.until(first)
        assert first == second
        # Whether the second looked before or after the first had sent is chance: a copy may be there or not.
        records = z.stand_in.jobs()
        assert [record.state for record in records if record.ran] == ["ended"]
        assert {record.state for record in records if not record.ran} <= {"discarded"}

    zos(scenario)
