"""Each action at each phase of a step, against the submission and the ledger: what comes of it, exactly.

A matrix is fake if it asks the ledger alone: what ran over there, and what became of it, is asked of the world.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from acted_step import Step, sign
from fakes import WORK, FakeSystem, World
from step_life import FAILED, QUESTIONS, VARIABLES

from airflow_enterprise_orch.delegation import parking
from airflow_enterprise_orch.delegation.control import CONTROL_KEY, HOLDS_VARIABLE, with_hold, with_wish
from airflow_enterprise_orch.delegation.job import Ending, JobResult, Phase
from airflow_enterprise_orch.delegation.obeying import HOLD_LOOK
from airflow_enterprise_orch.delegation.system import Protection
from airflow_enterprise_orch.errors import SystemUnreachable

pytestmark = pytest.mark.usefixtures("airflow")

# How a step gets into each phase. The nudge of the action, where it has one, is done here too.


def not_started(step: Step) -> Step:
    return step


def held(step: Step) -> Step:
    step.cells[CONTROL_KEY] = json.dumps(with_wish(None, "hold", sign("k0")))
    assert step.starts() == "held"
    return step


def claimed(step: Step) -> Step:
    """Its system was out of reach; Airflow retries."""
    step.world.submits[:] = ["unreachable"]
    with pytest.raises(SystemUnreachable):
        step.starts()
    step.retry()
    return step


def sending(step: Step) -> Step:
    """Its worker died when the answer was there and was not written down."""
    step.die_at = "after_answer"
    assert step.starts() == "died"
    step.retry()
    return step


def about_to_send(step: Step) -> Step:
    """Its worker died between the announcement and the request."""
    step.die_at = "before_send"
    assert step.starts() == "died"
    step.retry()
    return step


def waiting(step: Step) -> Step:
    assert step.starts() == "waits"
    step.clear()
    return step


def ended_well(step: Step) -> Step:
    """Its job has ended, and the step has not heard of that."""
    waiting(step)
    step.world.end()
    return step


def ended_badly(step: Step) -> Step:
    waiting(step)
    step.world.end(FAILED)
    return step


def collecting(step: Step) -> Step:
    """Its worker died when it had written the success down; Airflow retries."""
    assert step.starts() == "waits"
    step.world.end()
    step.die_at = "after_close"
    assert step.goes(step.collect) == "died"
    step.retry()
    return step


def unreadable(step: Step) -> Step:
    """Its job ended well, but did not write what the step is to read."""
    step.world.sources["log"] = "nothing"
    assert step.starts() == "waits"
    step.world.end()
    assert step.goes(step.collect) == "failed"
    step.clear()
    return step


def finished(step: Step) -> Step:
    assert step.starts() == "waits"
    step.world.end()
    assert step.goes(step.collect) == "done 17"
    step.clear()
    return step


def failed(step: Step) -> Step:
    assert step.starts() == "waits"
    step.world.end(FAILED)
    assert step.goes(step.collect) == "failed"
    step.clear()
    return step


def parked_sent(step: Step) -> Step:
    """Nobody can tell whether the work arrived."""
    step.world.submits[:], step.world.finds[:] = ["lost_before"], ["ok", "unknown"]
    assert step.starts() == "asked"
    step.world.finds[:] = ["unknown"]
    step.clear()
    return step


def parked_result(step: Step) -> Step:
    """Nobody can tell how the job ended."""
    assert step.starts() == "waits"
    step.world.end(JobResult(Ending.UNKNOWN, "purged"))
    assert step.goes(step.collect) == "asked"
    step.clear()
    return step


PHASES = (not_started, held, claimed, about_to_send, sending, waiting, ended_well, ended_badly, collecting, unreadable,
          finished, failed, parked_sent, parked_result)  # fmt: skip
SYSTEM, MARIA = "system", "person:maria"
LEFT = {"leave_job": True}
MATRIX: dict[tuple[str, str], tuple[str, str, str, str]] = {
    # What Airflow hears, what became of the work, the ledger's last word, what became of the wish.
    ("hold", "not_started"): ("held", "none", "none", "held"),
    ("hold", "held"): ("held", "none", "none", "held"),
    ("hold", "claimed"): ("held", "none", "intent", "held"),
    ("hold", "about_to_send"): ("held", "none", "intent", "held"),
    ("hold", "sending"): ("waits", "running", "submitted", "not held: it has started"),
    ("hold", "waiting"): ("waits", "running", "submitted", "not held: it has started"),
    ("hold", "ended_well"): ("done 17", "exit 0", "success//system", "not held: it has ended"),
    ("hold", "ended_badly"): ("failed", "exit 3", "failure/failed/system", "not held: it has ended"),
    ("hold", "collecting"): ("done 17", "exit 0", "success//system", ""),
    ("hold", "unreadable"): ("failed", "exit 0", "submitted", "not held: it has ended"),
    ("hold", "finished"): ("held", "exit 0", "success//system", "held"),
    ("hold", "failed"): ("held", "exit 3", "failure/failed/system", "held"),
    ("hold", "parked_sent"): ("asked", "none", "intent", ""),
    ("hold", "parked_result"): ("asked", "purged", "submitted", "not held: it has ended"),
    ("skip", "not_started"): ("skipped", "none", "none", "skipped"),
    ("skip", "held"): ("skipped", "none", "none", "skipped"),
    ("skip", "claimed"): ("skipped", "none", "failure/cancelled/system", "skipped"),
    ("skip", "about_to_send"): ("asked", "none", "intent", ""),
    ("skip", "sending"): ("skipped", "cancelled", "failure/cancelled/system", "skipped"),
    ("skip", "waiting"): ("skipped", "cancelled", "failure/cancelled/system", "skipped"),
    ("skip", "ended_well"): ("done 17", "exit 0", "success//system", "too late"),
    ("skip", "ended_badly"): ("skipped", "exit 3", "failure/failed/system", "skipped"),
    ("skip", "collecting"): ("done 17", "exit 0", "success//system", "too late"),
    ("skip", "unreadable"): ("skipped", "exit 0", "success/unread/person:maria", "skipped"),
    ("skip", "finished"): ("skipped", "exit 0", "success//system", "skipped"),
    ("skip", "failed"): ("skipped", "exit 3", "failure/failed/system", "skipped"),
    ("skip", "parked_sent"): ("asked", "none", "intent", ""),
    ("skip", "parked_result"): ("asked", "purged", "submitted", ""),
    ("complete", "not_started"): ("done 7", "none", "none", "completed"),
    ("complete", "held"): ("done 7", "none", "none", "completed"),
    ("complete", "claimed"): ("done 7", "none", "failure/cancelled/system", "completed"),
    ("complete", "about_to_send"): ("asked", "none", "intent", ""),
    ("complete", "sending"): ("done 7", "cancelled", "failure/cancelled/system", "completed"),
    ("complete", "waiting"): ("done 7", "cancelled", "failure/cancelled/system", "completed"),
    ("complete", "ended_well"): ("done 17", "exit 0", "success//system", "too late"),
    ("complete", "ended_badly"): ("done 7", "exit 3", "failure/failed/system", "completed"),
    ("complete", "collecting"): ("done 17", "exit 0", "success//system", "too late"),
    ("complete", "unreadable"): ("done 7", "exit 0", "success/unread/person:maria", "completed"),
    ("complete", "finished"): ("done 7", "exit 0", "success//system", "completed"),
    ("complete", "failed"): ("done 7", "exit 3", "failure/failed/system", "completed"),
    ("complete", "parked_sent"): ("asked", "none", "intent", ""),
    ("complete", "parked_result"): ("asked", "purged", "submitted", ""),
    ("complete left", "claimed"): ("done 7", "none", "failure/cancelled/system", "completed"),
    ("complete left", "about_to_send"): ("done 7", "none", "success/left_alone/person:maria", "completed; its job"),
    ("complete left", "sending"): ("done 7", "running", "success/left_alone/person:maria", "completed; its job"),
    ("complete left", "waiting"): ("done 7", "running", "success/left_alone/person:maria", "completed; its job"),
    ("complete left", "ended_badly"): ("done 7", "exit 3", "success/left_alone/person:maria", "completed; its job"),
    ("complete left", "parked_sent"): ("done 7", "none", "success/left_alone/person:maria", "completed; its job"),
    ("complete left", "parked_result"): ("done 7", "purged", "success/left_alone/person:maria", "completed; its job"),
    ("skip left", "waiting"): ("skipped", "running", "failure/left_alone/person:maria", "skipped"),
    ("skip left", "parked_result"): ("skipped", "purged", "failure/left_alone/person:maria", "skipped"),
    ("cancel", "not_started"): ("failed", "none", "none", "cancelled"),
    ("cancel", "held"): ("failed", "none", "none", "cancelled"),
    ("cancel", "claimed"): ("failed", "none", "failure/cancelled/system", "cancelled"),
    ("cancel", "about_to_send"): ("asked", "none", "intent", ""),
    ("cancel", "sending"): ("failed", "cancelled", "failure/cancelled/system", "cancelled"),
    ("cancel", "waiting"): ("failed", "cancelled", "failure/cancelled/system", "cancelled"),
    ("cancel", "ended_well"): ("done 17", "exit 0", "success//system", "too late"),
    ("cancel", "ended_badly"): ("failed", "exit 3", "failure/failed/system", "cancelled"),
    ("cancel", "collecting"): ("done 17", "exit 0", "success//system", "too late"),
    ("cancel", "unreadable"): ("failed", "exit 0", "submitted", "too late"),
    ("cancel", "finished"): ("failed", "exit 0", "success//system", "cancelled"),
    ("cancel", "failed"): ("failed", "exit 3", "failure/failed/system", "cancelled"),
    ("cancel", "parked_sent"): ("asked", "none", "intent", ""),
    ("cancel", "parked_result"): ("asked", "purged", "submitted", ""),
}
BY_NAME = {phase.__name__: phase for phase in PHASES}


def named(action: str) -> tuple[str, dict[str, Any]]:
    return action.removesuffix(" left"), LEFT if action.endswith(" left") else {}


@pytest.mark.parametrize(("action", "phase"), sorted(MATRIX))
def test_each_action_at_each_phase(world: World, action: str, phase: str) -> None:
    step = BY_NAME[phase](Step(world))
    sent = len(world.sent)
    what, more = named(action)

    told = step.wish(what, **more).comes_to_rest()

    assert (told, step.jobs(), step.record()) == MATRIX[action, phase][:3]
    assert step.how()[: len(MATRIX[action, phase][3]) or None] == MATRIX[action, phase][3]
    assert len(world.sent) == sent, "no wish hands anything over"


def test_the_matrix_has_each_action_at_each_phase() -> None:
    assert {(action, phase) for action in ("hold", "skip", "complete", "cancel") for phase in BY_NAME} <= MATRIX.keys()


@pytest.mark.parametrize("action", ["skip", "complete", "cancel"])
@pytest.mark.parametrize("phase", [name for name in BY_NAME])
@pytest.mark.parametrize("protection", list(Protection))
def test_whatever_the_system_no_step_ends_beside_a_job_that_may_run(
    world: World, protection: Protection, phase: str, action: str
) -> None:
    world.protection = protection
    step = BY_NAME[phase](Step(world))
    sent, ran = len(world.sent), len(world.ran)

    told = step.wish(action).comes_to_rest()

    assert len(world.sent) == sent and len(world.ran) == ran
    if told != "asked":
        assert not step.ledger.is_open or told == "failed"
        assert all(job.held or job.phase is Phase.ENDED for job in world.jobs.values())


@pytest.mark.parametrize("action", ["skip", "complete", "cancel"])
@pytest.mark.parametrize(
    "phase", [name for name in BY_NAME if not name.startswith("parked") and name != "about_to_send"]
)
@pytest.mark.parametrize("point", ["before_obeyed", "after_obeyed", "after_close", "after_persist", "after_result"])
def test_a_death_anywhere_while_a_wish_is_obeyed_changes_nothing_of_what_comes_of_it(
    world: World, point: str, phase: str, action: str
) -> None:
    step = BY_NAME[phase](Step(world)).wish(action)
    sent = len(world.sent)
    step.die_at = point

    told = step.comes_to_rest()
    if told == "died":
        step.retry()
        told = step.comes_to_rest()

    assert (told, step.jobs(), step.record()) == MATRIX[action, phase][:3]
    assert step.how()[: len(MATRIX[action, phase][3]) or None] == MATRIX[action, phase][3]
    assert len(world.sent) == sent
    # Airflow's own retry, should its answer have been lost too, comes to the same.
    if told != "failed" or phase != "unreadable":
        assert step.retry().comes_to_rest() == told
    assert len(world.sent) == sent


@pytest.mark.parametrize("action", ["skip", "complete", "cancel"])
def test_a_wish_that_was_obeyed_is_not_obeyed_after_a_clear(world: World, action: str) -> None:
    step = waiting(Step(world)).wish(action)
    step.comes_to_rest()

    step.clear()
    assert step.comes_to_rest() == "waits"
    world.end()
    assert step.goes(step.collect) == "done 17"
    assert len(world.sent) == 2
    assert [attempt.generation for attempt in step.ledger.attempts] == [1, 2]
    assert step.retry().starts() == "done 17", "and a retry after that reuses the result"


def test_a_new_wish_after_an_obeyed_one_is_obeyed(world: World) -> None:
    step = waiting(Step(world)).wish("skip")
    assert step.comes_to_rest() == "skipped"
    step.clear()
    assert step.wish("complete", "k2").comes_to_rest() == "done 7"
    step.clear()
    assert step.wish("skip", "k3").comes_to_rest() == "skipped"
    assert len(world.sent) == 1


def test_a_completed_step_returns_what_was_given_beside_what_every_step_returns(world: World) -> None:
    step = waiting(Step(world)).wish("complete", value={"total": 7, "rc": 4, "outcome": "warning"}, leave_job=True)
    value = step.operator().execute(step.context())
    assert value == {
        "rc": 4,
        "code": "completed by maria",
        "job_id": "JOB00001",
        "outcome": "warning",
        "system": "fake://one",
        "started": None,
        "ended": None,
        "total": 7,
    }
    assert step.last.value == value
    assert step.last.message == "complete by maria: month end; its job was left alone"


def test_no_new_attempt_begins_beside_a_job_that_was_left_alone(world: World) -> None:
    step = waiting(Step(world)).wish("complete", leave_job=True)
    assert step.starts() == "done 7"
    step.clear()
    assert step.starts() == "failed"
    assert "FAKE JOB00001 on fake://one was left alone and has not ended: wait for it or cancel it there" in step.said
    world.end()
    step.clear()
    assert step.starts() == "waits"
    assert len(world.sent) == 2


@pytest.mark.parametrize("came", ["to nothing", "and runs", "and has ended"])
def test_no_new_attempt_begins_while_what_was_left_alone_may_still_land(world: World, came: str) -> None:
    step = about_to_send(Step(world))
    step.clear().wish("complete", leave_job=True)
    assert step.starts() == "done 7"
    step.clear()
    if came != "to nothing":
        world.land(WORK, step.last.key)
    if came == "and runs":
        assert step.starts() == "failed"
        assert "was left alone and has not ended" in step.said
        return
    if came == "and has ended":
        world.end()
        assert step.starts() == "waits"
        return
    assert step.starts() == "asked"
    assert QUESTIONS[-1]["body"].startswith("its job was left alone; the work was sent to fake://one with key")
    assert QUESTIONS[-1]["body"].endswith("it may still land: did it run?")
    assert QUESTIONS[-1]["options"] == list(parking.AFTER_LEAVING)
    assert step.goes(lambda: step.answer(step.resumed, parking.LOOK_AGAIN)) == "asked"
    assert step.goes(lambda: step.answer(step.resumed, parking.SUBMIT)) == "waits"
    assert (len(world.sent), len(step.ledger.attempts)) == (1, 2)


def test_who_fails_the_step_instead_of_saying_whether_what_was_left_alone_ran_sends_nothing(world: World) -> None:
    step = about_to_send(Step(world))
    step.clear().wish("complete", leave_job=True)
    assert step.starts() == "done 7"
    step.clear()
    assert step.starts() == "asked"
    assert step.goes(lambda: step.answer(step.resumed, parking.FAIL)) == "failed"
    assert (len(world.sent), len(step.ledger.attempts)) == (0, 1)
    assert step.last.closed_by == "person:maria"
    step.clear()
    assert step.starts() == "waits", "a person closed it, and a person clears it: that hands the work over anew"
    assert (len(world.sent), len(step.ledger.attempts)) == (1, 2)


WRONG = [
    ({}, "give a value for total (integer): later steps may need it"),
    ({"total": "7"}, "output 'total' is '7', which is no integer"),
    ({"total": True}, "output 'total' is True, which is no integer"),
    ({"total": 7, "totals": 8}, "the step has no output 'totals': did you mean 'total'?"),
    ({"total": 7, "rc": 1.5}, "output 'rc' is 1.5, which is no integer"),
    ({"total": 7, "outcome": "failure"}, "outcome is 'failure'; a step that is done has success or warning"),
]


@pytest.mark.parametrize(("value", "line"), WRONG)
def test_wrong_outputs_are_told_in_one_line_and_the_job_goes_on(world: World, value: dict[str, Any], line: str) -> None:
    step = waiting(Step(world)).wish("complete", value=value)

    assert step.comes_to_rest() == "waits"
    assert step.how() == f"refused: {line}"
    assert step.jobs() == "running"
    world.end()
    assert step.goes(step.collect) == "done 17"
    assert len(world.sent) == 1


@pytest.mark.parametrize(
    ("phase", "told", "record"),
    [
        (not_started, "held", "none"),
        (held, "held", "none"),
        (failed, "failed", "failure/failed/system"),
        (finished, "done 17", "success//system"),
        (collecting, "done 17", "success//system"),
        (sending, "waits", "submitted"),
        (parked_sent, "asked", "intent"),
    ],
)
def test_wrong_outputs_leave_each_step_as_it_was(
    world: World, phase: Callable[[Step], Step], told: str, record: str
) -> None:
    step = phase(Step(world))
    sent = len(world.sent)
    assert step.wish("complete", value={"total": "x"}).comes_to_rest() == told
    assert step.record() == record
    assert len(world.sent) == sent


def test_outputs_corrected_by_a_new_wish_are_taken(world: World) -> None:
    step = not_started(Step(world)).wish("complete", value={})
    assert step.comes_to_rest() == "held"
    assert step.wish("complete", "k2").comes_to_rest() == "done 7"
    assert world.sent == []


def test_wrong_outputs_do_not_stop_a_retry_rule(world: World) -> None:
    step = Step(world, retry=[{"on": ["failed"], "times": 1}])
    waiting(step).wish("complete", value={})
    assert step.comes_to_rest() == "waits"
    world.end(FAILED)
    assert step.goes(step.collect) == "runs again"


def test_no_retry_rule_runs_again_what_a_person_cancelled(world: World) -> None:
    step = Step(world, retry=[{"on": ["cancelled"], "times": 3}])
    waiting(step).wish("cancel")
    assert step.comes_to_rest() == "failed"
    assert "cancel by maria: month end" in step.said
    assert step.last.stopping == "cancel by maria: month end"
    assert len(world.sent) == 1


def test_what_is_taken_back_while_the_job_comes_down_runs_nothing_anew(world: World) -> None:
    step = waiting(Step(world)).wish("skip")
    assert step.starts() == "waits"
    step.take_back("skip")
    asyncio.run(FakeSystem(world).cancel(step.trigger.wait.handle))
    assert step.goes(lambda: step.collect(timed_out=True)) == "failed"
    assert step.retry().starts() == "failed"
    assert len(world.sent) == 1


def test_a_clear_while_the_job_comes_down_does_not_run_it_past_the_wish(world: World) -> None:
    step = waiting(Step(world)).wish("skip")
    assert step.starts() == "waits"
    step.clear()
    assert step.comes_to_rest() == "skipped"
    assert len(world.sent) == 1


def test_a_job_that_cannot_be_proven_down_is_asked_about_and_nothing_is_handed_over(world: World) -> None:
    step = parked_sent(Step(world)).wish("skip")
    assert step.starts() == "asked"
    question = QUESTIONS[-1]
    assert question["options"] == list(parking.AFTER_WITHDRAWAL)
    assert question["body"].startswith("skip by maria: month end: the work was sent to fake://one with key")

    told = step.goes(lambda: step.answer(step.resumed, parking.DID_NOT_RUN))

    assert told == "skipped"
    assert step.record() == "failure/did_not_run/person:maria"
    assert len(world.sent) == 1


def test_it_did_not_run_and_nobody_wishes_any_more_runs_nothing_by_itself(world: World) -> None:
    step = parked_sent(Step(world)).wish("skip")
    assert step.starts() == "asked"
    step.take_back("skip")
    assert step.goes(lambda: step.answer(step.resumed, parking.DID_NOT_RUN)) == "failed"
    assert "clear it to run it" in step.said
    assert len(world.sent) == 1


def test_the_job_to_adopt_is_brought_down_as_wished(world: World) -> None:
    step = parked_sent(Step(world)).wish("skip")
    assert step.starts() == "asked"
    job = world.land(WORK, step.last.key)
    assert step.goes(lambda: step.answer(step.resumed, parking.ADOPT, job.handle.job_id)) == "waits"
    asyncio.run(FakeSystem(world).cancel(step.trigger.wait.handle))
    assert step.goes(lambda: step.collect(timed_out=True)) == "skipped"
    assert step.jobs() == "cancelled"


def test_an_answer_is_newer_than_a_wish(world: World) -> None:
    step = parked_result(Step(world)).wish("skip")
    assert step.comes_to_rest() == "asked"
    assert step.goes(lambda: step.answer(step.resumed, parking.FAIL)) == "failed"
    assert step.how() == "replaced by what maria answered: Fail the step"
    assert step.retry().comes_to_rest() == "failed", "a death before Airflow heard of it changes nothing"


def test_hand_it_over_is_not_obeyed_while_the_step_is_to_be_skipped(world: World) -> None:
    step = Step(world)
    step.world.submits[:], step.world.finds[:] = ["lost_before"], ["ok", "unknown"]
    assert step.starts() == "asked"
    step.wish("skip")
    assert step.goes(lambda: step.answer(step.resumed, parking.SUBMIT)) == "skipped"
    assert len(world.sent) == 1


def test_held_copies_of_a_job_that_was_never_released_do_not_run(world: World) -> None:
    world.protection = Protection.TWO_PHASE
    step = Step(world)
    step.die_at = "after_persist"
    assert step.starts() == "died"
    step.retry().wish("skip")
    assert step.starts() == "waits"
    assert world.ran == []
    assert "release" not in world.calls


def test_a_held_step_is_looked_at_when_its_hold_ends_and_at_least_hourly(world: World) -> None:
    step = Step(world).wish("hold")
    assert step.starts() == "held"
    later = datetime.now(UTC) + HOLD_LOOK
    assert timedelta(hours=1) == HOLD_LOOK
    assert abs(step.rescheduled - later) < timedelta(minutes=1)
    soon = datetime.now(UTC) + timedelta(minutes=20)
    step.wish("hold", "k2", until=soon.isoformat())
    assert step.starts() == "held"
    assert step.rescheduled == soon
    step.take_back("hold")
    assert step.starts() == "waits"


def test_a_cancel_of_an_earlier_attempt_ends_no_later_one_although_the_retries_were_edited(world: World) -> None:
    step = Step(world).wish("cancel")
    assert step.starts() == "failed"
    step.clear()
    assert step.starts() == "waits"
    step.arguments["retries"] = 7
    step.retry()
    assert step.starts() == "waits"
    assert (step.jobs(), step.last.stopping) == ("running", "")


@pytest.mark.parametrize(("protection", "tells"), [(Protection.ATOMIC, True), (Protection.TWO_PHASE, False)])
def test_a_hold_says_that_what_was_sent_and_never_answered_may_still_run(
    world: World, protection: Protection, tells: bool
) -> None:
    world.protection = protection
    step = Step(world)
    step.die_at = "before_send"  # or right after it: nobody can tell
    assert step.starts() == "died"
    step.retry().wish("hold", "h1")  # type: ignore[attr-defined]
    assert step.starts() == "held"
    assert ("may still land" in step.how("h1")) is tells
    step.take_back("hold")
    assert step.starts() == "waits"
    assert len(world.jobs) == 1


def test_a_hold_of_a_whole_system_is_marked_on_each_step(world: World) -> None:
    VARIABLES[HOLDS_VARIABLE] = json.dumps(with_hold(None, "system", "fake", sign("h1")))
    step = Step(world)
    assert step.starts() == "held"
    assert step.how("h1") == "held: nothing is handed over"
    assert step.starts() == "held"
    assert len([name for name in step.cells if name.startswith("orch.obeyed.h1")]) == 1
    assert world.calls == []


def test_a_step_whose_connection_is_broken_can_be_left_alone(world: World) -> None:
    step = waiting(Step(world)).wish("skip")
    world.opens[:] = ["unreachable"]
    with pytest.raises(SystemUnreachable):
        step.operator().execute(step.context())
    step.clear().wish("skip", "k2", leave_job=True)
    assert step.starts() == "skipped"
    assert step.record() == "failure/left_alone/person:maria"


def test_a_broken_control_record_stops_the_step_in_one_line(world: World) -> None:
    step = Step(world)
    step.cells[CONTROL_KEY] = json.dumps({"version": 2, "skip": {"by": "maria"}})
    assert step.starts() == "failed"
    assert step.said.startswith("task state store key 'orch.control'")
    assert world.calls == []
