"""The whole of a delegated step as Airflow leads it: tries, clears, holds, questions, deaths."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowRuntimeError,
    AirflowSkipException,
    ErrorType,
    TaskDeferred,
)
from airflow.sdk.execution_time.comms import ErrorResponse
from fakes import START, World
from machine import Machine
from step_life import FAILED, QUESTIONS, SIGNED, VARIABLES, Life

from airflow_enterprise_orch.delegation import parking
from airflow_enterprise_orch.delegation.attempt import AttemptState
from airflow_enterprise_orch.delegation.control import CONTROL_KEY, HOLDS_VARIABLE
from airflow_enterprise_orch.delegation.job import Ending, JobResult
from airflow_enterprise_orch.delegation.ledger_store import ledger_cell
from airflow_enterprise_orch.delegation.operator import DelegateOperator
from airflow_enterprise_orch.delegation.retry import INFRASTRUCTURE_RETRIES, DelegationRetryPolicy, RunAgain
from airflow_enterprise_orch.delegation.system import Protection
from airflow_enterprise_orch.errors import OwnershipLost, SystemUnreachable

pytestmark = pytest.mark.usefixtures("airflow")


# Out and home.


def test_the_job_goes_out_and_the_task_waits_without_a_slot(world: World) -> None:
    life = Life(time_limit=60.0)
    wait = life.execute().wait
    assert len(world.ran) == 1
    assert (wait.step, wait.connection, wait.identity) == ("fake.job", "fake_one", "fake://one")
    assert (wait.dag_id, wait.run_id, wait.task_id, wait.map_index) == ("orders", "run-1", "book", -1)
    assert wait.handle == life.last.handle
    assert life.last.sent_at is not None
    assert datetime.fromisoformat(wait.deadline) == life.last.sent_at + timedelta(seconds=60)


def test_the_result_comes_home_with_its_outputs(world: World) -> None:
    life = Life(
        outcome={"success": "rc <= 4", "warning": "rc == 4"},
        outputs={"total": {"log": "log", "match": r"TOTAL=(\d+)", "type": "integer"}},
    )
    life.execute()
    world.end(JobResult(Ending.COMPLETED, "exit 4", 4, started=START, ended=START + timedelta(seconds=9)))
    world.sources["log"] = "TOTAL=17"
    assert life.collect() == {
        "rc": 4,
        "code": "exit 4",
        "job_id": "JOB00001",
        "outcome": "warning",
        "system": "fake://one",
        "started": "2026-03-02T06:00:00+00:00",
        "ended": "2026-03-02T06:00:09+00:00",
        "total": 17,
    }
    assert life.last.state is AttemptState.CLOSED


def test_a_failed_job_says_system_job_code_and_last_words(world: World) -> None:
    life = Life()
    life.execute()
    world.end(JobResult(Ending.COMPLETED, "exit 3", 3, detail="step LOAD"))
    with pytest.raises(AirflowFailException) as failed:
        life.collect()
    line, rest = str(failed.value).split("\n", 1)
    assert line == "fake.job FAKE JOB00001 on fake://one failed: exit 3 (step LOAD)"
    assert rest == "last lines of its log:\nline 1\nlast words of the job"


def test_a_failed_job_without_a_log_says_so(world: World) -> None:
    life = Life()
    life.execute()
    world.tail = ""
    world.end(FAILED)
    with pytest.raises(AirflowFailException, match="its log is empty or gone"):
        life.collect()


def test_a_time_limit_is_told_as_one(world: World) -> None:
    life = Life(time_limit=90.0)
    life.execute()
    world.end(JobResult(Ending.CANCELLED, "cancelled"))
    with pytest.raises(AirflowFailException, match=r"ran longer than its limit of 90 s and was cancelled: cancelled"):
        life.collect(timed_out=True)
    assert life.last.kind == "timed_out"


def test_a_job_that_ended_well_just_before_its_cancel_is_a_success(world: World) -> None:
    life = Life(time_limit=90.0)
    life.execute()
    world.end()
    assert life.collect(timed_out=True)["outcome"] == "success"


def test_a_missing_output_fails_and_a_clear_reads_again_without_running_again(world: World) -> None:
    life = Life(outputs={"total": {"log": "log", "match": r"TOTAL=(\d+)"}})
    life.execute()
    world.end()
    world.sources["log"] = "nothing"
    with pytest.raises(
        AirflowFailException, match=r"fake.job FAKE JOB00001 on fake://one: output 'total' is not in log"
    ):
        life.collect()
    world.sources["log"] = "TOTAL=9"
    life.clear().execute()
    assert life.collect()["total"] == "9"
    assert len(world.sent) == 1


# Tries and clears.


def test_a_new_try_attaches_to_the_job_that_is_out(world: World) -> None:
    life = Life()
    first = life.execute().wait.handle
    assert life.retry().execute().wait.handle == first
    assert life.clear().execute().wait.handle == first
    assert len(world.sent) == 1


def test_a_retry_of_a_success_reuses_it_and_a_clear_runs_it_anew(world: World) -> None:
    life = Life()
    life.execute()
    world.end()
    value = life.collect()
    life.retry()
    assert life.operator().execute(life.context()) == value
    assert len(world.ran) == 1
    key = life.last.key
    life.clear().execute()
    assert len(world.ran) == 2
    assert life.last.key != key
    assert (life.last.number, life.last.generation) == (2, 2)


def test_a_failure_that_no_rule_allows_to_repeat_is_told_again(world: World) -> None:
    life = Life()
    life.execute()
    world.end(FAILED)
    with pytest.raises(AirflowFailException) as first:
        life.collect()
    life.retry()
    with pytest.raises(AirflowFailException) as again:
        life.operator().execute(life.context())
    assert str(again.value) == str(first.value)
    assert len(world.ran) == 1
    life.clear().execute()
    assert len(world.ran) == 2


def test_a_rule_runs_a_failed_job_again_as_often_as_it_says(world: World) -> None:
    life = Life(retry=[{"on": ["failed"], "times": 2, "delay": 30}])
    assert life.operator().retries == INFRASTRUCTURE_RETRIES + 2
    for _ in range(2):
        life.execute()
        world.end(FAILED)
        with pytest.raises(RunAgain, match=r"exit 3[\s\S]*retry rule on failed") as again:
            life.collect()
        assert again.value.delay == timedelta(seconds=30)
        life.retry()
    life.execute()
    world.end(FAILED)
    with pytest.raises(AirflowFailException):
        life.collect()
    assert len(world.ran) == 3
    assert len({attempt.key for attempt in life.ledger.attempts}) == 3


def test_each_further_wait_is_longer_up_to_a_limit(world: World) -> None:
    life = Life(retry=[{"on": ["failed"], "times": 5, "delay": 30, "backoff": 3, "max_delay": 600}])
    waits = []
    for _ in range(5):
        life.execute()
        world.end(FAILED)
        with pytest.raises(RunAgain) as again:
            life.collect()
        waits.append(again.value.delay.total_seconds())
        life.retry()
    assert waits == [30, 90, 270, 600, 600]
    life.clear().execute()
    world.end(FAILED)
    with pytest.raises(RunAgain) as again:
        life.collect()
    assert again.value.delay == timedelta(seconds=30), "a clear begins anew"


EVERY_KIND = [{"on": ["failed", "abended", "cancelled", "lost", "timed_out"], "times": 9, "delay": 1, "backoff": 2}]


@pytest.mark.parametrize("what", ["refused login", "rejected job", "wrong template", "wrong work", "missing output"])
def test_no_rule_repeats_what_cannot_get_better(world: World, what: str) -> None:
    life = Life(retry=EVERY_KIND)
    if what == "refused login":
        world.opens[:] = ["login"]
    elif what == "rejected job":
        world.submits[:] = ["reject"]
    elif what == "wrong template":
        life.arguments["outcome"] = {"success": "rc = 0"}
    elif what == "wrong work":
        life.arguments["work"] = {"command": "RM -RF"}
    else:
        life.arguments["outputs"] = {"total": {"log": "log", "match": r"TOTAL=(\d+)"}}
        world.sources["log"] = "nothing"
        life.execute()
        world.end()
    with pytest.raises(AirflowFailException):  # Airflow retries nothing that ends so, whatever the task's retries
        life.collect() if what == "missing output" else life.operator().execute(life.context())
    assert len(world.ran) == (1 if what == "missing output" else 0)


def test_a_rule_does_not_repeat_another_kind_of_failure(world: World) -> None:
    life = Life(retry=[{"on": ["abended"]}])
    life.execute()
    world.end(FAILED)
    with pytest.raises(AirflowFailException):
        life.collect()


def test_a_clear_while_the_job_is_out_runs_it_anew_once_its_cancel_is_proven(world: World) -> None:
    life = Life()
    life.execute()
    wait = life.clear().execute().wait
    assert wait.deadline, "nobody asks for the end of the job: a triggerer that never held the wait cannot"
    assert datetime.fromisoformat(wait.deadline) <= datetime.now(UTC)
    world.end(JobResult(Ending.CANCELLED, "cancelled"))
    with pytest.raises(RunAgain, match="the step was cleared while it waited") as again:
        life.collect(timed_out=True)
    assert "limit" not in str(again.value)
    life.retry().execute()
    assert len(world.ran) == 2


def test_the_wish_of_a_clear_outlives_the_try_that_read_it(world: World) -> None:
    life = Life()
    life.execute()
    world.polls[:] = ["unreachable"]
    with pytest.raises(SystemUnreachable):
        life.clear().operator().execute(life.context())
    assert life.retry().execute().wait.deadline


def test_the_wish_of_a_clear_outlives_tries_that_died_at_their_start(world: World) -> None:
    life = Life()
    life.execute()
    assert life.clear().retry().execute().wait.deadline, "the try after the clear died before it read the ledger"
    life = Life()
    life.execute()
    assert life.clear().clear().execute().wait.deadline, "... and a person cleared it once more"


def test_a_clear_together_with_an_edit_of_the_retries_is_a_question_not_a_lost_wish(world: World) -> None:
    life = Life()
    life.execute()
    life.arguments["retries"] = 3
    life.clear().execute()
    world.end(JobResult(Ending.CANCELLED, "cancelled"))
    resumed = life.park(life.collect)
    assert QUESTIONS[-1]["options"] == list(parking.AFTER_EDIT)
    with pytest.raises(TaskDeferred):
        life.answer(resumed, parking.RUN_AGAIN)
    assert len(world.ran) == 2


def test_a_clear_before_anything_left_asks_for_no_more_than_one_job(world: World) -> None:
    life = Life()
    world.opens[:] = ["unreachable"]
    with pytest.raises(SystemUnreachable):
        life.operator().execute(life.context())
    life.clear().execute()
    assert not life.retry().execute().wait.deadline, "the clear is taken for one of a step that waited"
    world.end(FAILED)
    with pytest.raises(AirflowFailException):
        life.collect()
    assert len(world.ran) == 1


def test_a_clear_while_nobody_knew_whether_the_job_was_out_there_is_no_cancel(world: World) -> None:
    life = Life()
    world.submits[:] = ["lost_after"]
    world.finds[:] = ["ok", "unreachable"]
    with pytest.raises(SystemUnreachable):
        life.operator().execute(life.context())
    assert not life.clear().execute().wait.deadline
    assert not life.retry().execute().wait.deadline
    assert life.clear().execute().wait.deadline, "now it was cleared while it waited"


def test_a_wish_that_was_heeded_counts_once(world: World) -> None:
    life = Life()
    life.execute()
    for _ in range(2):
        world.opens[:] = ["unreachable"]
        with pytest.raises(SystemUnreachable):
            life.retry().operator().execute(life.context())
    assert not life.clear().execute().wait.deadline
    assert not life.retry().execute().wait.deadline, "the same clear is taken for another one"
    world.opens[:] = ["unreachable"]
    with pytest.raises(SystemUnreachable):
        life.retry().operator().execute(life.context())
    assert not life.retry().execute().wait.deadline
    assert life.clear().execute().wait.deadline, "now it was cleared while it waited"


def test_a_clear_of_a_step_whose_job_has_ended_cancels_nothing(world: World) -> None:
    """On a mainframe a cancel of an ended job may take its output away, which the next try is about to read."""
    life = Life()
    life.execute()
    world.end()
    assert not life.clear().execute().wait.deadline
    assert life.collect()["outcome"] == "success"
    assert "cancel" not in world.calls


def test_a_clear_of_a_step_that_failed_before_its_job_watches_the_job(world: World) -> None:
    """The step ran out of retries while the system was out of reach: the work is not what a person wants twice."""
    life = Life()
    life.execute()
    world.opens[:] = ["unreachable"]
    with pytest.raises(SystemUnreachable):
        life.retry().operator().execute(life.context())
    world.opens[:] = ["unreachable"]
    with pytest.raises(SystemUnreachable):
        life.retry().operator().execute(life.context())
    assert not life.clear().execute().wait.deadline
    assert len(world.ran) == 1


def test_a_result_that_was_read_but_not_reported_is_reused(world: World) -> None:
    life = Life()
    life.execute()
    world.end()
    assert life.collect() == life.collect()
    assert world.calls.count("result") == 1


def test_the_event_of_another_job_is_not_believed(world: World) -> None:
    life = Life()
    life.execute()
    world.end()
    with pytest.raises(TaskDeferred) as waits:
        life.collect(key="Z" * 20)
    assert waits.value.trigger.wait.handle == life.last.handle, "it waits for the job that the ledger knows"
    assert life.last.state is AttemptState.SUBMITTED


# The fence.


def test_a_try_that_was_overtaken_sends_nothing(world: World) -> None:
    life = Life()
    old = life.operator(), life.context()
    life.retry()
    with pytest.raises(OwnershipLost, match="may own the task instance no more"):
        old[0].execute(old[1])
    assert world.sent == []
    assert life.cells == {}


def test_a_write_that_lands_after_the_next_try_began_sends_nothing(world: World) -> None:
    """Airflow checks the owner first and writes later: the next try may begin, read and send in between."""
    life = Life()

    def overtaken() -> None:
        life.while_writing = lambda: None
        other = threading.Thread(target=life.retry().execute)
        other.start()
        other.join(10)

    life.while_writing = overtaken
    with pytest.raises(OwnershipLost):
        life.operator().execute(life.context())
    assert len(world.sent) == 1
    assert life.last.sends == 1, "the late write, in a cell of its own try, hides what the other try sent"
    wait = life.execute().wait
    assert wait.handle.key == world.sent[0]
    world.end()
    life.collect()
    assert len(world.ran) == len(world.sent) == 1


def test_an_announcement_that_lands_after_the_next_try_began_sends_nothing(world: World) -> None:
    life = Life()
    writes = iter(range(1, 100))

    def overtaken() -> None:
        if next(writes) == 2:
            life.while_writing = lambda: None
            other = threading.Thread(target=life.retry().execute)
            other.start()
            other.join(10)

    life.while_writing = overtaken
    with pytest.raises(OwnershipLost, match="belongs to another try"):
        life.operator().execute(life.context())
    assert len(world.sent) == 1


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_store_that_refuses_stops_the_try_and_the_next_goes_on(world: World, nth: int) -> None:
    life = Life()
    writes = iter(range(1, 100))

    def refuse() -> None:
        if next(writes) == nth:
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 503}))

    life.before_write = refuse
    with pytest.raises(OwnershipLost):
        life.operator().execute(life.context())
    assert len(world.sent) == (1 if nth == 3 else 0)
    life.retry().execute()
    assert len(world.ran) == 1


def test_a_kill_of_the_worker_stops_before_the_next_step_and_touches_no_job(world: World) -> None:
    life = Life()
    operator = life.operator()
    operator.on_kill()
    with pytest.raises(OwnershipLost, match="Airflow stopped this try"):
        operator.execute(life.context())
    assert world.calls == ["open", "close"]
    life.retry().execute()
    operator.on_kill()
    assert "cancel" not in world.calls


# Trouble.


def test_an_unreachable_system_is_for_the_next_try(world: World) -> None:
    life = Life()
    world.opens[:] = ["unreachable"]
    with pytest.raises(SystemUnreachable):
        life.operator().execute(life.context())
    life.retry().execute()
    assert len(world.ran) == 1


def test_a_refused_login_fails_at_once_and_blocks(world: World, machine: Machine) -> None:
    machine.connection("fake_one")
    world.opens[:] = ["login"]
    life = Life()
    with pytest.raises(AirflowFailException) as failed:
        life.operator().execute(life.context())
    assert str(failed.value) == "connection 'fake_one': the password is wrong; correct the password"
    assert machine.blocked() == {"fake_one": "the password is wrong"}


def test_a_rejected_job_fails_with_the_systems_words(world: World) -> None:
    world.submits[:] = ["reject"]
    life = Life(retry=[{"on": ["failed"]}])
    with pytest.raises(AirflowFailException, match=r"fake.job on connection 'fake_one' refused it: .*no such class"):
        life.operator().execute(life.context())
    assert life.last.kind == "rejected"


def test_a_broken_ledger_is_one_line_and_nothing_leaves(world: World) -> None:
    life = Life()
    life.cells[ledger_cell(1)] = '{"version": 99}'
    with pytest.raises(AirflowFailException, match="its version is 99, this package reads 1"):
        life.operator().execute(life.context())
    assert world.calls == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"work": {"command": "RM -RF"}}, "command: Value error, 'RM -RF' is not a command in small letters"),
        ({"work": {"command": "{{ left }}"}}, "is not a command in small letters"),
        ({"work": {}}, "command: Field required"),
        ({"work": {"command": "go", "colour": "red"}}, "colour: Extra inputs are not permitted"),
        ({"outcome": {"success": "rc = 0"}}, "its outcome or outputs are wrong"),
        ({"outcome": {"succes": "rc == 0"}}, "its outcome or outputs are wrong"),
        ({"outputs": {"total": {"spool": "X", "match": "(a)"}}}, "output 'total' must have 'log'"),
    ],
)
def test_what_is_wrong_is_found_before_anything_leaves(world: World, arguments: dict[str, Any], line: str) -> None:
    life = Life(**arguments)
    with pytest.raises(AirflowFailException) as wrong:
        life.operator().execute(life.context())
    assert line in str(wrong.value)
    assert "step 'book' (fake.job)" in str(wrong.value)
    assert "\n" not in str(wrong.value)
    assert str(wrong.value).endswith("nothing was handed over")
    assert world.calls == []


# Wishes.


def test_a_hold_is_looked_at_again_later_without_a_slot(world: World) -> None:
    life = Life()
    life.cells[CONTROL_KEY] = json.dumps({"version": 1, "hold": SIGNED})
    with pytest.raises(AirflowRescheduleException):
        life.operator().execute(life.context())
    assert world.calls == []
    del life.cells[CONTROL_KEY]
    life.execute()


@pytest.mark.parametrize(("scope", "name"), [("stream", "orders"), ("system", "fake"), ("connection", "fake_one")])
def test_a_hold_of_a_whole_scope(world: World, scope: str, name: str) -> None:
    VARIABLES[HOLDS_VARIABLE] = json.dumps({"version": 1, "holds": [{"scope": scope, "name": name, **SIGNED}]})
    life = Life()
    with pytest.raises(AirflowRescheduleException):
        life.operator().execute(life.context())
    assert world.calls == []


def test_a_skip_says_by_whom_and_why(world: World) -> None:
    life = Life()
    life.cells[CONTROL_KEY] = json.dumps({"version": 1, "skip": SIGNED})
    with pytest.raises(AirflowSkipException, match="skip by maria: month end"):
        life.operator().execute(life.context())
    assert world.calls == []


@pytest.mark.parametrize("text", ["{no json", "[]", '{"version": 1, "holds": [{}]}'])
def test_a_hold_that_cannot_be_read_stops_the_step(world: World, text: str) -> None:
    VARIABLES[HOLDS_VARIABLE] = text
    life = Life()
    with pytest.raises(AirflowFailException, match=r"enterprise_orch\.holds"):
        life.operator().execute(life.context())
    assert world.calls == []


def test_a_hold_reaches_a_step_whose_claim_has_not_left_yet(world: World) -> None:
    life = Life()
    world.submits[:] = ["unreachable"]
    with pytest.raises(SystemUnreachable):
        life.operator().execute(life.context())
    assert life.last.state is AttemptState.INTENT
    life.cells[CONTROL_KEY] = json.dumps({"version": 1, "hold": SIGNED})
    life.retry()
    with pytest.raises(AirflowRescheduleException):
        life.operator().execute(life.context())
    assert world.sent == []


def test_no_wish_parts_a_task_from_a_job_that_is_out(world: World) -> None:
    life = Life()
    life.execute()
    life.cells[CONTROL_KEY] = json.dumps({"version": 1, "hold": SIGNED, "skip": SIGNED})
    life.retry().execute()
    assert len(world.sent) == 1


# Questions.


def unanswered(world: World) -> tuple[Life, dict[str, Any]]:
    """A step whose unprotected system did not answer and shows nothing."""
    world.protection = Protection.UNPROTECTED
    world.submits[:] = ["lost_before"]
    life = Life()
    resumed = life.park(lambda: life.operator().execute(life.context()))
    return life, resumed


def test_an_unanswered_send_is_a_question_with_what_is_known(world: World) -> None:
    life, resumed = unanswered(world)
    (question,) = QUESTIONS
    assert question["options"] == list(parking.AFTER_SUBMIT)
    assert life.last.key in question["body"]
    assert question["ti_id"] == life.id
    assert question["subject"] == "book: fake.job on connection 'fake_one'"
    assert question["defaults"] is None
    assert life.last.parked == question["body"]
    assert resumed == {"asked": list(parking.AFTER_SUBMIT), "key": life.last.key}


def test_it_did_not_run_submits_under_a_new_key_in_the_persons_name(world: World) -> None:
    life, resumed = unanswered(world)
    old = life.last.key
    with pytest.raises(TaskDeferred):
        life.answer(resumed, parking.SUBMIT)
    first, second = life.ledger.attempts
    assert (first.key, first.closed_by, first.kind) == (old, "person:maria", "did_not_run")
    assert "I looked" in first.message
    assert world.sent == [old, second.key]
    assert len(world.ran) == 1


def test_an_answer_survives_a_system_that_is_unreachable_at_that_moment(world: World) -> None:
    life, resumed = unanswered(world)
    world.opens[:] = ["unreachable"]
    with pytest.raises(SystemUnreachable):
        life.answer(resumed, parking.SUBMIT)
    life.retry().execute()
    assert len(world.ran) == 1
    assert len(life.ledger.attempts) == 2


def test_an_answer_to_submit_respects_a_hold(world: World) -> None:
    life, resumed = unanswered(world)
    life.cells[CONTROL_KEY] = json.dumps({"version": 1, "hold": SIGNED})
    with pytest.raises(AirflowRescheduleException):
        life.answer(resumed, parking.SUBMIT)
    assert len(world.sent) == 1
    del life.cells[CONTROL_KEY]
    life.execute()
    assert len(world.ran) == 1


def test_an_answer_counts_only_for_the_attempt_it_was_asked_about(world: World) -> None:
    life, resumed = unanswered(world)
    with pytest.raises(TaskDeferred):
        life.answer(resumed, parking.SUBMIT)
    # The same answer once more: it must not declare the second job not run, too.
    with pytest.raises(TaskDeferred):
        life.answer(resumed, parking.SUBMIT)
    assert len(world.sent) == 2
    assert len(life.ledger.attempts) == 2


def test_look_again_finds_what_landed_late(world: World) -> None:
    life, resumed = unanswered(world)
    from fakes import WORK

    world.land(WORK, life.last.key)
    with pytest.raises(TaskDeferred):
        life.answer(resumed, parking.LOOK_AGAIN)
    assert len(world.sent) == 1
    assert life.last.handle is not None


def test_look_again_asks_again_when_nothing_is_there(world: World) -> None:
    life, resumed = unanswered(world)
    again = life.park(lambda: life.answer(resumed, parking.LOOK_AGAIN))
    assert again == resumed
    assert len(world.sent) == 1


def test_a_job_that_a_person_names_is_adopted_when_it_exists(world: World) -> None:
    life, resumed = unanswered(world)
    from fakes import WORK

    other = world.land(WORK, "OTHER")
    with pytest.raises(RunAgain, match="cannot be adopted: fake://one has no job JOB99999"):
        life.answer(resumed, parking.ADOPT, job_id="JOB99999")
    again = life.park(lambda: life.retry().operator().execute(life.context()))
    assert "cannot be adopted: fake://one has no job JOB99999" in QUESTIONS[-1]["body"]
    with pytest.raises(RunAgain):
        life.answer(again, parking.ADOPT)
    again = life.park(lambda: life.retry().operator().execute(life.context()))
    assert "the id of the job to adopt is missing" in QUESTIONS[-1]["body"]
    assert "JOB99999" not in QUESTIONS[-1]["body"]
    with pytest.raises(TaskDeferred):
        life.answer(again, parking.ADOPT, job_id=other.handle.job_id)
    assert life.last.handle is not None
    assert (life.last.handle.job_id, life.last.handle.key) == (other.handle.job_id, life.last.key)
    world.end()
    assert life.collect()["job_id"] == other.handle.job_id
    assert len(world.sent) == 1


def test_fail_is_the_persons_failure_and_no_rule_repeats_it(world: World) -> None:
    life, resumed = unanswered(world)
    with pytest.raises(AirflowFailException, match=r"failed by maria \(I looked\)"):
        life.answer(resumed, parking.FAIL)
    life.arguments["retry"] = [{"on": ["failed", "lost"], "times": 9}]
    assert life.last.closed_by == "person:maria"


def test_an_answer_that_was_not_asked_for_is_asked_again(world: World) -> None:
    life, resumed = unanswered(world)
    with pytest.raises(RunAgain, match="was not asked"):
        life.answer(resumed, parking.SUCCEEDED)
    life.park(lambda: life.retry().operator().execute(life.context()))
    assert life.last.state is AttemptState.INTENT
    assert "was not asked" in QUESTIONS[-1]["body"]


def test_an_unknown_result_is_no_success_until_a_person_says_so(world: World) -> None:
    life = Life()
    life.execute()
    world.jobs.clear()
    resumed = life.park(lambda: life.collect(phase="missing"))
    assert QUESTIONS[-1]["options"] == list(parking.AFTER_RESULT)
    assert life.last.state is AttemptState.SUBMITTED
    value = life.answer(resumed, parking.SUCCEEDED)
    assert (value["outcome"], value["rc"], value["code"]) == ("success", None, "declared by maria")
    assert (life.last.closed_by, life.last.message) == ("person:maria", "I looked")


def test_a_connection_that_leads_elsewhere_is_a_question(world: World) -> None:
    life = Life()
    life.execute()
    life.park(lambda: life.collect(elsewhere="fake://two"))
    assert "JOB00001 is on fake://one, but the connection now leads to fake://two" in QUESTIONS[-1]["body"]
    world.identity = "fake://two"
    world.end()
    for act in (life.collect, lambda: life.operator().execute(life.context())):
        life.park(act)
    assert "result" not in world.calls


def test_a_second_question_of_another_kind_is_asked_by_the_next_try(world: World) -> None:
    """Airflow 3.3 keeps text and options of the first question of a try: the second would be shown the first's."""
    life, resumed = unanswered(world)
    from fakes import WORK

    world.land(WORK, life.last.key)
    with pytest.raises(TaskDeferred):
        life.answer(resumed, parking.LOOK_AGAIN)
    world.jobs.clear()
    with pytest.raises(RunAgain, match="the next try looks again, and asks a person") as again:
        life.collect(phase="missing")
    assert again.value.delay == timedelta(0)
    assert len(QUESTIONS) == 1
    life.retry().execute()
    life.park(lambda: life.collect(phase="missing"))
    assert QUESTIONS[-1]["options"] == list(parking.AFTER_RESULT)
    assert QUESTIONS[-1]["ti_id"] == life.id


@pytest.mark.parametrize("result", [None, FAILED])
def test_edited_retries_leave_it_to_a_person_whether_to_run_again(world: World, result: JobResult | None) -> None:
    def ended() -> tuple[Life, dict[str, Any]]:
        life = Life()
        life.execute()
        world.end(result)
        if result is None:
            life.collect()
        else:
            with pytest.raises(AirflowFailException):
                life.collect()
        life.arguments["retry"] = [{"on": ["abended"]}]
        life.clear()
        return life, life.park(lambda: life.operator().execute(life.context()))

    life, resumed = ended()
    assert QUESTIONS[-1]["options"] == list(parking.AFTER_EDIT)
    ran = len(world.ran)
    with pytest.raises(TaskDeferred):
        life.answer(resumed, parking.RUN_AGAIN)
    assert len(world.ran) == ran + 1
    world.end()
    life, resumed = ended()
    ran = len(world.ran)
    if result is None:
        assert life.answer(resumed, parking.KEEP)["outcome"] == "success"
    else:
        with pytest.raises(AirflowFailException, match="exit 3"):
            life.answer(resumed, parking.KEEP)
    assert len(world.ran) == ran


# As a DAG author sees it.


def test_an_execution_timeout_is_refused() -> None:
    with pytest.raises(ValueError, match="use time_limit, which cancels the job"):
        Life(execution_timeout=timedelta(hours=1))


def test_an_execution_timeout_of_the_dag_is_refused_as_well() -> None:
    with (
        DAG("orders", schedule=None, default_args={"execution_timeout": timedelta(hours=1)}),
        pytest.raises(ValueError, match="use time_limit"),
    ):
        DelegateOperator(task_id="book", step="fake.job", connection="fake_one", work={})


def test_the_retries_of_the_dag_do_not_take_the_promises_away() -> None:
    with DAG("orders", schedule=None, default_args={"retries": 0, "retry_policy": None}):
        operator = DelegateOperator(task_id="book", step="fake.job", connection="fake_one", work={})
    assert operator.retries == INFRASTRUCTURE_RETRIES
    assert isinstance(operator.retry_policy, DelegationRetryPolicy)
    assert operator.execution_timeout is None


def test_a_wrong_retry_rule_is_refused_when_the_dag_is_read() -> None:
    with pytest.raises(ValueError, match="on must name some of"):
        Life(retry=[{"on": ["rejected"]}])


class FakeJobOperator(DelegateOperator):
    """As a system's own operator: other arguments, same base."""

    seen: ClassVar[list[str]] = []

    def __init__(self, *, connection: str, command: str, **kwargs: Any) -> None:
        super().__init__(step="fake.job", connection=connection, work={"command": command}, **kwargs)


def test_a_compiled_step_becomes_its_systems_own_operator(world: World) -> None:
    with DAG("orders", schedule=None) as dag:
        made = FakeJobOperator.from_step(
            task_id="book", step="fake.job", connection="fake_one", work={"command": "go"}, stream={"steps": []}
        )
        written = FakeJobOperator(task_id="by_hand", connection="fake_one", command="go")
    assert type(made) is FakeJobOperator
    assert made.task_type == "FakeJobOperator"
    assert set(dag.task_ids) == {"book", "by_hand"}
    assert (made.work, written.work) == ({"command": "go"}, {"command": "go"})
    assert made.stream == {"steps": []}
    assert written.stream is None
    life = Life()
    with pytest.raises(TaskDeferred):
        made.execute(life.context())
    assert len(world.ran) == 1


def test_a_compiled_stream_renders_restricted_jinja() -> None:
    life = Life(
        work={"command": "echo {{ params.order }} {{ steps.before.code }} {{ business.key }}"},
        stream={"steps": ["before"], "business": {}, "business_key": "{{ params.order }}"},
    )
    life.params = {"order": "17"}
    life.xcoms["before"] = {"code": "done"}
    operator = life.operator()
    operator.render_template_fields(life.context())
    assert operator.work == {"command": "echo 17 done 17"}


@pytest.mark.parametrize("text", ["{{ conn.zos.password }}", "{{ var.value.x }}", "{{ params.missing }}", "{{ ti }}"])
def test_a_compiled_stream_sees_nothing_else(text: str) -> None:
    life = Life(work={"command": text}, stream={"steps": []})
    operator = life.operator()
    operator.render_template_fields(life.context())  # Airflow renders before a resume too, when work is not needed
    assert operator.work == {"command": text}
    with pytest.raises(AirflowFailException, match=r"step 'book': .*nothing was handed over"):
        operator.execute(life.context())


def test_a_hand_written_step_renders_airflows_jinja() -> None:
    life = Life(work={"command": "echo {{ run_id }} {{ macros.ds_add('2026-03-01', 1) }}"})
    operator = life.operator()
    from airflow.sdk.execution_time import macros

    operator.render_template_fields({"run_id": "run-1", "macros": macros})  # type: ignore[typeddict-item]
    assert operator.work == {"command": "echo run-1 2026-03-02"}


def test_no_secret_and_no_work_goes_into_ledger_or_trigger(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    life = Life(work={"command": "echo hunter2"})
    trigger = life.execute()
    world.end()
    value = life.collect()
    said = json.dumps([life.cells, trigger.serialize()[1], value]) + caplog.text
    assert "hunter2" not in said
