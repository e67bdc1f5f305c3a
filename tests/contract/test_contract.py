"""What every system must keep, whatever its protocol.

How a user would notice that it is fake: an order booked twice after the network dropped; an order never booked
although the step is green; a failed job that says "failed" and not why; a job that goes on after somebody cancelled it,
or that is killed because a triggerer was restarted; a password in a log.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow_life import Killed, Task, kill_in_wait
from contract_world import CONNECTION, World
from subjects import SUBJECTS

from airflow_enterprise_orch.delegation import parking
from airflow_enterprise_orch.delegation.attempt import AttemptState
from airflow_enterprise_orch.delegation.guard import BLOCK_PREFIX
from airflow_enterprise_orch.delegation.polling import ConnectionPoller, Pace
from airflow_enterprise_orch.delegation.retry import RunAgain
from airflow_enterprise_orch.delegation.system import Protection, registrations, step_type
from airflow_enterprise_orch.errors import OwnershipLost, RemoteError

POINTS = (
    "before_claim",
    "after_claim",
    "before_send",
    "after_answer",
    "after_persist",
    "after_release_sent",
    "after_release",
)

Dies = Callable[[str, Callable[[str], None]], None]


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that must come; pytest's own time limit ends a wait in vain."""
    while not holds():
        time.sleep(0.05)


def only_job(world: World) -> Any:
    (job,) = world.ran()
    return job


def die(point: str) -> None:
    raise Killed(point)


def test_every_registered_system_is_under_the_contract() -> None:
    assert {registration.name for registration in registrations()} == set(SUBJECTS)


@pytest.mark.every_way("output")
def test_a_job_runs_once_and_its_result_comes_home(world: World) -> None:
    task = world.task(world.subject.good, outputs={"answer": world.subject.output})
    value = task.run()
    job = only_job(world)
    assert value["answer"] == 42
    assert value["rc"] == 0
    assert value["outcome"] == "success"
    assert value["job_id"] == task.last.handle.job_id
    assert job.key == task.last.key
    assert task.last.state is AttemptState.CLOSED
    json.dumps(value)  # an XCom is plain JSON


@pytest.mark.every_way
@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit", "error_500"])
def test_a_cut_connection_neither_loses_nor_doubles_the_job(world: World, fault: str) -> None:
    task = world.task(world.subject.good)
    world.fault(fault)
    try:
        value = world.run(task)
    except RemoteError:
        task.next_try()
        value = world.run(task)
    assert value["rc"] == 0
    assert only_job(world).key == task.last.key


@pytest.mark.every_way
def test_a_job_whose_answer_was_lost_is_adopted(world: World) -> None:
    task = world.task(world.subject.good)
    world.fault("cut_after_commit")
    task.run()
    assert "adopted, nothing is sent again" in world.log
    assert len(world.jobs()) == 1, "it was sent again although it was there"


@pytest.mark.every_way
@pytest.mark.parametrize("point", POINTS)
def test_a_death_at_any_point_neither_loses_nor_doubles_the_job(world: World, dies: Dies, point: str) -> None:
    task = world.task(world.subject.good)
    dies(point, die)
    two_phase = world.subject.system in ("mainframe", "mainframe_scheduler", "sap")
    if point.startswith("after_release") and not two_phase:
        assert task.run()["rc"] == 0  # an atomic submit has nothing to release: the point does not exist
    else:
        with pytest.raises(Killed):
            task.submit()
        task.next_try()
        assert world.run(task)["rc"] == 0
    assert only_job(world).key == task.last.key
    # Where a person had to say that it did not run, what leaves next is another attempt.
    assert len(task.ledger.attempts) == 1 + (world.subject.unprotected and point == "before_send")


@pytest.mark.every_way
@pytest.mark.parametrize("point", ["before_claim", "before_send", "after_answer"])
def test_a_paused_try_that_wakes_up_beside_its_successor_does_no_harm(world: World, dies: Dies, point: str) -> None:
    task = world.task(world.subject.good)
    asleep, wake = threading.Event(), threading.Event()

    def sleep(_point: str) -> None:
        asleep.set()
        wake.wait()

    dies(point, sleep)
    ended: list[BaseException] = []

    def old_try() -> None:
        try:
            task.submit()
        except BaseException as error:
            ended.append(error)

    old = threading.Thread(target=old_try)
    old.start()
    asleep.wait()
    task.next_try()
    if world.subject.unprotected and point == "before_send":
        resumed = task.parked(task.submit)  # nobody can tell whether it still comes, so nothing more is sent
        wake.set()
        old.join()
        value = task.collect(task.wait(world.answer(task, parking.LOOK_AGAIN, resumed)))
    else:
        value = task.run()
        wake.set()
        old.join()
    assert value["rc"] == 0
    assert [job.key for job in world.ran()] == [task.last.key], "two tries ran the work"
    assert isinstance(ended[0], OwnershipLost), f"the old try went on: {ended[0]!r}"


@pytest.mark.every_way("brief")
def test_a_new_try_attaches_to_the_job_that_is_out_there(world: World) -> None:
    task = world.task(world.subject.brief, outputs={"answer": world.subject.output})
    first = task.submit()
    task.next_try()
    second = task.submit()
    assert second.wait.handle == first.wait.handle
    assert task.collect(task.wait(second))["answer"] == 42
    assert len(world.jobs()) == 1


@pytest.mark.every_way("bad")
def test_a_failed_job_fails_the_task_with_all_that_a_tired_operator_needs(world: World) -> None:
    task = world.task(world.subject.bad)
    with pytest.raises(AirflowFailException) as failed:
        task.run()
    message = str(failed.value)
    for told in (world.subject.step, task.last.handle.job_id, task.last.system, world.subject.bad_code, "DISK FULL"):
        assert told in message
    task.next_try()
    with pytest.raises(AirflowFailException) as again:
        task.submit()
    assert str(again.value) == message
    assert len(world.ran()) == 1, "a failed job was run again without a rule"


def test_a_failed_job_runs_again_as_often_as_its_rule_says(world: World) -> None:
    task = world.task(world.subject.bad, retry=[{"on": ["failed"], "times": 1, "delay": 7}])
    with pytest.raises(RunAgain) as first:
        task.run()
    assert first.value.delay.total_seconds() == 7
    task.next_try()
    with pytest.raises(AirflowFailException):
        task.run()
    assert len({job.key for job in world.ran()}) == 2
    task.clear()
    with pytest.raises(RunAgain):
        task.run()


def test_a_rule_for_another_kind_of_failure_does_not_run_it_again(world: World) -> None:
    task = world.task(world.subject.bad, retry=[{"on": ["cancelled", "lost"], "times": 3}])
    with pytest.raises(AirflowFailException):
        task.run()


@pytest.mark.every_way
def test_a_clear_of_a_success_runs_anew_and_a_retry_does_not(world: World) -> None:
    task = world.task(world.subject.good)
    value = task.run()
    task.next_try()  # the worker died before Airflow heard of the success
    assert task.make().execute(task.context()) == value
    assert len(world.ran()) == 1
    task.clear()
    task.run()
    assert len({job.key for job in world.ran()}) == 2


@pytest.mark.parametrize("state", ["failed", "success", "skipped", None])
def test_a_persons_kill_cancels_the_job(world: World, state: str | None) -> None:
    task = world.task(world.subject.long)
    trigger = task.submit()
    until(lambda: any(job.state == "running" for job in world.jobs()))
    asyncio.run(kill_in_wait(trigger, state, 0.5))
    until(lambda: all(job.state == "ended" for job in world.jobs()))
    task.clear()
    again = task.submit()  # the clear attaches, sees the cancel proven, and then runs anew
    assert again.wait.handle == trigger.wait.handle
    with pytest.raises(RunAgain, match="cancelled"):
        task.collect(task.wait(again))
    task.next_try()
    assert task.submit().wait.handle.key != trigger.wait.handle.key


@pytest.mark.every_way("long")
def test_a_clear_before_any_triggerer_held_the_wait_cancels_the_job(world: World) -> None:
    task = world.task(world.subject.long)
    trigger = task.submit()
    until(lambda: any(job.state == "running" for job in world.jobs()))
    task.clear()  # nobody calls on_kill
    again = task.submit()
    assert again.wait.handle == trigger.wait.handle
    with pytest.raises(RunAgain, match="cancelled"):
        task.collect(task.wait(again))
    task.next_try()
    assert task.submit().wait.handle.key != trigger.wait.handle.key
    assert len({job.key for job in world.ran()}) == 2


def test_moving_triggers_to_another_triggerer_leaves_the_job_alone(world: World) -> None:
    task = world.task(world.subject.brief)
    trigger = task.submit()
    asyncio.run(kill_in_wait(trigger, "deferred", 0.3))
    assert task.collect(task.wait(trigger))["rc"] == 0


def test_a_job_over_its_time_limit_is_cancelled_and_the_task_fails(world: World) -> None:
    task = world.task(world.subject.long, time_limit=1.0)
    with pytest.raises(AirflowFailException, match="ran longer than its limit of 1 s and was cancelled"):
        task.run()
    assert only_job(world).state == "ended"
    assert task.last.kind == "timed_out"


def test_an_unknown_result_is_not_a_success(world: World) -> None:
    task = world.task(world.subject.brief)
    world.fault("purge")
    trigger = task.submit()
    event = task.wait(trigger)
    resumed = task.parked(lambda: task.collect(event))
    (question,) = world.questions
    assert tuple(question["options"]) == parking.AFTER_RESULT
    assert question["defaults"] is None
    assert task.last.state is AttemptState.SUBMITTED
    answer = {
        "chosen_options": [parking.SUCCEEDED],
        "params_input": {"reason": "seen in the archive"},
        "responded_by_user": {"id": "7", "name": "maria"},
    }
    value = task.make().answered(task.context(), event=answer, **resumed)
    assert value["outcome"] == "success"
    assert task.last.closed_by == "person:maria"
    assert task.last.message == "seen in the archive"
    assert len(world.ran()) == 1


@pytest.mark.every_way
def test_a_refused_login_is_not_repeated_and_blocks_the_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = world.endpoint["connection"]
    extra = {name: value for name, value in right.get("extra", {}).items() if "private_key" not in name}
    wrong = {**right, "password": "not-the-password", "extra": extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(wrong))
    task = world.task(world.subject.good)
    with pytest.raises(AirflowFailException, match=f"connection '{CONNECTION}'"):
        task.submit()
    assert BLOCK_PREFIX + CONNECTION in world.variables
    assert "not-the-password" not in json.dumps(world.variables)
    other = world.task(world.subject.good)
    with pytest.raises(AirflowFailException, match=r"blocked since .* because the login was refused"):
        other.submit()
    assert world.jobs() == []
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(right))
    task.clear()
    assert task.run()["rc"] == 0, "a corrected connection lifts the block by itself"


@pytest.mark.every_way
def test_a_repointed_connection_is_a_question_not_a_second_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    task = world.task(world.subject.good)
    trigger = task.submit()
    moved = {**world.endpoint["connection"], "host": "localhost"}
    if "endpoint_url" in moved.get("extra", {}):  # an S3 connection names its host there
        moved["extra"] = {**moved["extra"], "endpoint_url": "http://localhost:1"}
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(moved))
    event = task.wait(trigger)
    assert event["elsewhere"]
    task.parked(lambda: task.collect(event))
    assert "now leads to" in world.questions[0]["body"]
    assert len(world.jobs()) == 1


def test_many_waiting_jobs_are_polled_together(world: World) -> None:
    tasks: list[Task] = [world.task(world.subject.brief) for _ in range(12)]
    triggers = [task.submit() for task in tasks]
    registration, _ = step_type(world.subject.step)

    async def watch_all() -> int:
        shared = ConnectionPoller(registration, CONNECTION, Pace(young=0.5))

        async def watch(trigger: Any) -> None:
            async for news in shared.watch(trigger.wait.handle, trigger.wait.identity):
                if news.status is not None and news.status.final:
                    return

        async with asyncio.TaskGroup() as group:
            for trigger in triggers:
                group.create_task(watch(trigger))
        return shared.calls

    calls = asyncio.run(watch_all())
    assert calls < len(tasks), f"{calls} polls for {len(tasks)} jobs"


@pytest.mark.every_way("output")
def test_no_secret_is_left_anywhere(world: World) -> None:
    connection = world.endpoint["connection"]
    secrets = [value for value in (connection.get("password"), connection.get("extra", {}).get("private_key")) if value]
    assert secrets
    task = world.task(world.subject.good, outputs={"answer": world.subject.output})
    value = task.run()
    assert "waiting without a worker slot" in world.log, "the task's own log is not looked at"
    places = {
        "log": world.log,
        "XCom": json.dumps(value),
        "task state store": json.dumps(task.cells),
        "trigger arguments": json.dumps(task.triggers[0].serialize()),
        "Variables": json.dumps(world.variables),
    }
    for place, text in places.items():
        for secret in secrets:
            assert secret not in text, f"a secret of the connection stands in the {place}"


def test_what_a_system_declares_is_what_the_core_may_rely_on(world: World) -> None:
    registration, _ = step_type(world.subject.step)

    async def look() -> None:
        async with registration.open(CONNECTION) as system:
            assert system.capabilities.protection in set(Protection)
            assert system.capabilities.batch >= 100
            assert system.identity
            assert "@:" not in system.identity

    asyncio.run(look())
