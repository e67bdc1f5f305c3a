"""A hold of a job that was handed over: asked for, confirmed by the job's own state, and taken back.

How a user would notice that it is fake: the job ends because somebody held it; "confirmed" stands beside a job that
runs; a job that an operator of the system held runs because somebody took back a hold here; a job stays held for ever
because a worker died; a job that was held for a day is cancelled for taking long.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from acted_step import Step, sign
from fakes import World
from step_life import FAILED, VARIABLES

from airflow_enterprise_orch.delegation import holding as holding_module
from airflow_enterprise_orch.delegation.control import HOLDS_VARIABLE, with_hold
from airflow_enterprise_orch.delegation.job import Phase
from airflow_enterprise_orch.delegation.system import Protection
from airflow_enterprise_orch.delegation.waiting import CLEARED, Wait, kill_cancels
from airflow_enterprise_orch.errors import OwnershipLost, SystemUnreachable

pytestmark = pytest.mark.usefixtures("airflow")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def soon(_self: Any, _duration: timedelta) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr("airflow_enterprise_orch.delegation.submission.SystemClock.sleep", soon)


def queued(world: World, **arguments: Any) -> Step:
    """A step whose job waits in the queue of a system that can hold."""
    world.protection, world.queues, world.can_hold = Protection.TWO_PHASE, True, True
    step = Step(world, **arguments)
    assert step.starts() == "waits"
    assert step.jobs() == "waiting"
    world.calls.clear()
    return step


def looks(step: Step) -> str:
    """The trigger sends the task to look."""
    return step.goes(lambda: step.collect(look=True))


def wait_of(step: Step) -> Wait:
    wait = step.trigger.wait
    assert isinstance(wait, Wait)
    return wait


def job_of(world: World) -> Any:
    (job,) = world.jobs.values()
    return job


def test_a_hold_is_asked_for_and_confirmed_by_the_jobs_own_state(world: World) -> None:
    step = queued(world)
    step.clear().wish("hold")

    assert step.starts() == "waits"

    assert (step.jobs(), step.record()) == ("held", "submitted")
    assert (step.state(), step.how()) == ("confirmed", "held over there: confirmed by fake://one")
    assert world.calls.count("hold") == 1
    assert "cancel" not in world.calls
    assert wait_of(step).stands == "held"
    assert len(world.sent) == 1


def test_what_our_hold_held_goes_on_when_it_is_taken_back(world: World) -> None:
    step = queued(world)
    step.clear().wish("hold")
    step.starts()
    step.clear().take_back("hold")

    assert step.starts() == "waits"

    assert (step.jobs(), step.state("back")) == ("waiting", "released")
    assert (step.last.holding, wait_of(step).stands, wait_of(step).deadline) == ("", "", "")
    world.go()
    world.end()
    assert step.goes(step.collect) == "done 17"
    assert len(world.sent) == 1


def test_what_our_hold_held_is_ours_although_a_late_write_has_washed_the_ledgers_word_away(world: World) -> None:
    # An answer to a write of the ledger was lost, Airflow's client said it twice, and the second copy lands late.
    step = queued(world)
    step.clear().wish("hold")
    step.starts()
    (cell,) = [name for name in step.cells if '"holding": "k1"' in step.cells[name]]
    step.cells[cell] = step.cells[cell].replace('"holding": "k1"', '"holding": ""')
    assert step.last.holding == ""
    step.clear().take_back("hold")
    assert step.starts() == "waits"
    assert (step.jobs(), step.state("back"), step.state()) == ("waiting", "released", "released")
    # And once it was let go, what somebody over there holds is not ours.
    world.hold(job_of(world))
    step.clear()
    assert step.starts() == "waits"
    assert step.jobs() == "held"


def test_what_our_hold_held_is_ours_although_a_second_hold_that_nobody_looked_at_was_taken_back(world: World) -> None:
    step = queued(world)
    step.clear().wish("hold")
    step.starts()
    (cell,) = [name for name in step.cells if '"holding": "k1"' in step.cells[name]]
    step.cells[cell] = step.cells[cell].replace('"holding": "k1"', '"holding": ""')
    # Another person holds it, and takes that back, before a try has come to either.
    step.wish("hold", "k2").take_back("hold")
    step.clear()
    assert step.starts() == "waits"
    assert (step.jobs(), step.state()) == ("waiting", "released")
    world.hold(job_of(world))
    step.clear()
    assert step.starts() == "waits"
    assert step.jobs() == "held", "and once it was let go, what somebody over there holds is not ours"


def test_a_release_that_is_refused_fails_no_step_and_is_asked_for_again(world: World) -> None:
    step = queued(world)
    step.clear().wish("hold")
    step.starts()
    world.releases[:] = ["reject"]
    step.clear().take_back("hold")
    assert step.starts() == "waits"
    assert (step.jobs(), step.state("back")) == ("held", "refused")
    assert step.how("back").endswith("it is held over there still, and its release is asked for again")
    assert wait_of(step).look, "somebody looks again"
    assert looks(step) == "waits"
    assert step.jobs() == "waiting"


def test_a_release_that_is_refused_of_a_job_that_was_never_released_fails_no_step(world: World) -> None:
    world.protection, world.queues, world.can_hold = Protection.TWO_PHASE, True, True
    step = Step(world)
    step.die_at = "after_persist"
    assert step.starts() == "died"
    step.retry().wish("hold")  # type: ignore[attr-defined]
    assert step.starts() == "waits"
    assert step.state() == "confirmed"
    world.releases[:] = ["reject"]
    step.clear().take_back("hold")
    assert step.starts() == "waits"
    assert (step.jobs(), step.state("back")) == ("held", "refused")
    assert looks(step) == "waits"
    assert step.jobs() == "waiting"


def test_a_hold_of_a_step_that_had_nothing_out_there_makes_no_later_hold_ours(world: World) -> None:
    world.protection, world.queues, world.can_hold = Protection.TWO_PHASE, True, True
    step = Step(world).wish("hold")
    assert step.starts() == "held"
    assert step.state() == "confirmed"
    step.take_back("hold")
    assert step.starts() == "waits"
    world.hold(job_of(world))  # by an operator over there
    step.retry()
    assert step.starts() == "waits"
    assert step.jobs() == "held"


def test_a_hold_that_was_taken_back_before_anybody_looked_ends_no_job(world: World) -> None:
    step = queued(world)
    step.clear().wish("hold")
    step.clear().take_back("hold")
    assert step.starts() == "waits"
    assert (step.jobs(), step.state("back")) == ("waiting", "released")
    world.go()
    world.end(FAILED)
    assert step.goes(step.collect) == "failed", "neither clear asked for another run"
    assert len(world.sent) == 1


@pytest.mark.parametrize("can_hold", [True, False])
def test_a_job_that_has_started_is_not_held_and_goes_on(world: World, can_hold: bool) -> None:
    step = queued(world)
    world.can_hold = can_hold
    world.go()
    step.clear().wish("hold")
    assert step.starts() == "waits"
    assert (step.jobs(), step.state(), step.how()) == ("running", "too_late", "not held: it has started")
    assert wait_of(step).stands == ""
    step.clear().take_back("hold")
    assert step.starts() == "waits"
    assert (step.jobs(), step.last.stopping) == ("running", "")


def test_a_system_that_cannot_hold_says_so_and_the_job_goes_on(world: World) -> None:
    step = queued(world)
    world.can_hold = False
    step.clear().wish("hold")
    assert step.starts() == "waits"
    assert (step.jobs(), step.state()) == ("waiting", "unsupported")
    assert step.how() == "unsupported: fake://one holds no job; the job goes on"
    assert "hold" not in world.calls


def test_a_hold_that_is_refused_says_so_and_the_job_goes_on(world: World) -> None:
    step = queued(world)
    world.holds[:] = ["reject"]
    step.clear().wish("hold")
    assert step.starts() == "waits"
    assert (step.jobs(), step.state(), step.last.holding) == ("waiting", "refused", "")
    assert step.how() == "refused: fake://one does not hold JOB00001; the job goes on"


@pytest.mark.parametrize("lost", ["lost_before", "lost_after"])
def test_a_hold_whose_answer_was_lost_is_asked_for_until_the_job_shows_it(world: World, lost: str) -> None:
    step = queued(world)
    world.holds[:] = [lost]
    step.clear().wish("hold")
    assert step.starts() == "waits"
    assert (step.jobs(), step.state()) == ("held", "confirmed")


def test_a_hold_that_never_shows_is_requested_and_the_wait_looks_on(world: World) -> None:
    step = queued(world, time_limit=3600)
    world.holds[:] = ["lost_before"] * 99
    step.clear().wish("hold")

    assert step.starts() == "waits"

    assert (step.state(), step.how()) == ("requested", "hold requested of fake://one")
    assert (wait_of(step).stands, wait_of(step).deadline) == ("waiting", "")
    world.hold(job_of(world))  # it took effect late
    assert looks(step) == "waits"
    assert (step.state(), wait_of(step).stands) == ("confirmed", "held")


def test_confirmed_does_not_stand_beside_a_job_that_somebody_let_run(world: World) -> None:
    step = queued(world, time_limit=3600)
    step.clear().wish("hold")
    step.starts()
    assert wait_of(step).deadline == ""
    world.let_go(job_of(world))
    world.go()

    assert looks(step) == "waits"

    assert (step.state(), step.how()) == ("too_late", "not held: it has started")
    assert wait_of(step).deadline != "", "its time limit counts again"
    assert world.calls.count("hold") == 1


def test_what_an_operator_over_there_holds_is_let_go_by_nobody_here(world: World) -> None:
    step = queued(world)
    world.hold(job_of(world))
    step.clear().wish("hold")
    assert step.starts() == "waits"
    assert step.state() == "confirmed"
    assert "and not by us" in step.how()
    assert "hold" not in world.calls
    step.clear().take_back("hold")
    assert step.starts() == "waits"
    assert (step.jobs(), step.how("back")) == (
        "held",
        "it is held over there and not by us: whoever held it on fake://one lets it go",
    )
    assert "release" not in world.calls


def test_when_the_operator_lets_it_go_our_hold_takes_over(world: World) -> None:
    step = queued(world)
    world.hold(job_of(world))
    step.clear().wish("hold")
    step.starts()
    world.let_go(job_of(world))
    assert looks(step) == "waits"
    assert (step.jobs(), step.state(), step.last.holding) == ("held", "confirmed", "k1")


def test_a_person_may_release_what_an_operator_holds(world: World) -> None:
    step = queued(world)
    world.hold(job_of(world))
    step.clear().wish("release")
    assert step.starts() == "waits"
    assert (step.jobs(), step.state()) == ("waiting", "released")
    step.clear()
    assert step.starts() == "waits"
    assert step.last.stopping == "the step was cleared while it waited", "an answered word answers no later clear"


def test_a_release_takes_the_place_of_a_hold(world: World) -> None:
    step = queued(world)
    step.clear().wish("hold")
    step.starts()
    step.clear().wish("release", "k2")
    assert step.starts() == "waits"
    assert (step.jobs(), step.state("k2"), step.last.holding) == ("waiting", "released", "")


def test_a_hold_with_an_end_wakes_the_task_then(world: World) -> None:
    step = queued(world)
    until = datetime.now(UTC) + timedelta(hours=1)
    step.clear().wish("hold", until=until.isoformat())
    step.starts()
    assert datetime.fromisoformat(wait_of(step).look) == until
    step.take_back("hold").wish("hold", "k2", until=(until - timedelta(hours=2)).isoformat())  # as if time had passed
    assert looks(step) == "waits"
    assert (step.jobs(), wait_of(step).look) == ("waiting", "")


def test_the_time_that_a_job_is_held_does_not_count_for_its_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = queued(world, time_limit=3600)
    limit = datetime.fromisoformat(wait_of(step).deadline)
    step.clear().wish("hold")
    step.starts()
    step.clear().take_back("hold")
    later = datetime.now(UTC) + timedelta(days=2)
    monkeypatch.setattr("airflow_enterprise_orch.delegation.submission.SystemClock.now", lambda _self: later)
    step.starts()
    moved = datetime.fromisoformat(wait_of(step).deadline) - limit
    assert timedelta(days=2) - timedelta(minutes=1) < moved < timedelta(days=2) + timedelta(minutes=1)


def test_a_clear_after_a_confirmed_hold_ends_the_job_and_hands_nothing_over(world: World) -> None:
    step = queued(world)
    step.clear().wish("hold")
    step.starts()
    step.clear()
    assert step.comes_to_rest() == "runs again"
    assert step.jobs() == "cancelled"
    step.retry()
    assert step.starts() == "held"
    assert len(world.sent) == 1


def test_a_held_job_is_brought_down_as_wished(world: World) -> None:
    step = queued(world)
    step.clear().wish("hold")
    step.starts()
    step.clear().wish("skip", "k2")
    assert step.comes_to_rest() == "skipped"
    assert (step.jobs(), world.ran) == ("cancelled", [])


def test_a_hold_of_a_whole_system_holds_no_job_over_there(world: World) -> None:
    step = queued(world)
    VARIABLES[HOLDS_VARIABLE] = json.dumps(with_hold(None, "system", "fake", sign("h1")))
    step.retry()
    assert step.starts() == "waits"
    assert (step.jobs(), step.state("h1")) == ("waiting", "")


@pytest.mark.parametrize("can_hold", [True, False])
def test_a_copy_that_was_never_released_stays_as_it_is_while_held(world: World, can_hold: bool) -> None:
    world.protection, world.can_hold = Protection.TWO_PHASE, can_hold
    step = Step(world)
    step.die_at = "after_answer"
    assert step.starts() == "died"
    step.retry().wish("hold")
    assert step.starts() == "waits"
    assert (step.jobs(), step.state(), world.ran) == ("held", "confirmed", [])
    assert "hold" not in world.calls
    step.clear().take_back("hold")
    assert step.starts() == "waits"
    assert (step.jobs(), world.ran) == ("running", ["JOB00001"])


POINTS = ("before_obeyed", "after_obeyed", "before_hold", "after_hold_sent")


@pytest.mark.parametrize("point", POINTS)
def test_a_death_anywhere_while_a_job_is_held_changes_nothing_of_what_comes_of_it(world: World, point: str) -> None:
    step = queued(world)
    step.clear().wish("hold")
    step.die_at = point
    assert step.starts() == "died"
    step.retry()
    assert step.starts() == "waits"
    assert (step.jobs(), step.state(), step.last.holding) == ("held", "confirmed", "k1")

    step.clear().take_back("hold")
    step.die_at = "before_obeyed"
    assert step.starts() == "died"
    step.retry()
    assert step.starts() == "waits"
    assert (step.jobs(), step.state("back")) == ("waiting", "released")
    assert len(world.sent) == 1
    assert "cancel" not in world.calls


def test_an_outage_while_a_job_is_to_be_held_ends_no_job(world: World) -> None:
    step = queued(world)
    step.clear().wish("hold")
    world.polls[:] = ["unreachable"]
    with pytest.raises(SystemUnreachable):
        step.operator().execute(step.context())
    step.retry()
    assert step.starts() == "waits"
    assert (step.jobs(), step.state()) == ("held", "confirmed")


def test_a_hold_that_was_just_asked_for_is_waited_out_before_its_release(world: World) -> None:
    """It may still be on its way, and would hold a job that nobody holds any more."""
    world.settle = timedelta(seconds=30)
    slept: list[timedelta] = []
    step = queued(world)
    step.clear().wish("hold")
    step.starts()
    step.clear().take_back("hold")

    async def sleep(_self: Any, duration: timedelta) -> None:
        slept.append(duration)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("airflow_enterprise_orch.delegation.submission.SystemClock.sleep", sleep)
        step.starts()
    assert timedelta(seconds=20) < max(slept) <= timedelta(seconds=30)


def test_a_try_that_another_one_has_replaced_lifts_no_hold(world: World) -> None:
    world.protection, world.can_hold = Protection.TWO_PHASE, True
    step = Step(world)
    step.die_at = "after_answer"
    step.starts()
    world.calls.clear()
    world.releases[:] = ["lost_before", "ok"]
    operator, context = step.retry().operator(), step.context()

    def reached(point: str) -> None:
        if point == "after_release_sent":
            step.retry()  # this try sleeps here, Airflow gives it up, and the next one may hold the job

    operator._reached = reached  # type: ignore[method-assign]
    with pytest.raises(OwnershipLost):
        operator.execute(context)
    assert world.calls.count("release") == 1
    assert (step.jobs(), world.ran) == ("held", [])


def test_a_clear_alone_ends_no_job_by_the_trigger() -> None:
    assert not kill_cancels(CLEARED)
    assert kill_cancels(None)


def test_an_older_package_goes_on_with_a_wait_that_holds_nothing(world: World) -> None:
    step = queued(world)
    assert {"look", "stands"}.isdisjoint(wait_of(step).to_json())
    step.clear().wish("hold")
    step.starts()
    assert Wait.from_json(wait_of(step).to_json()) == wait_of(step)
    assert holding_module.NOT_HELD.phase == ""
    assert job_of(world).phase is Phase.HELD
