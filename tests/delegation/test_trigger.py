"""The wait: what it carries, when it ends, and when it may touch the job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.utils.state import TaskInstanceState
from fakes import REGISTRATION, WORK, World

from airflow_enterprise_orch.delegation import trigger as module
from airflow_enterprise_orch.delegation.job import JobHandle, Phase
from airflow_enterprise_orch.delegation.polling import ConnectionPoller, Pace, utc_now
from airflow_enterprise_orch.delegation.system import RemoteSystem, SystemRegistration
from airflow_enterprise_orch.delegation.trigger import MIN_WAIT, DelegateTrigger, Wait
from airflow_enterprise_orch.errors import ConnectionBlocked

KEY = "ABCDEFGHIJ0123456789"


def opened(registration: SystemRegistration, connection_id: str) -> AbstractAsyncContextManager[RemoteSystem]:
    return registration.open(connection_id)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fast polls, no guard, no waiting before an event."""
    pollers: dict[object, ConnectionPoller] = {}

    def quick_poller(registration: object, connection_id: str) -> ConnectionPoller:
        loop = asyncio.get_running_loop()
        if loop not in pollers:
            pace = Pace(young=0.01, calm=0.01, widest=0.02, blocked=0.02, linger=0.01)
            pollers[loop] = ConnectionPoller(REGISTRATION, connection_id, pace, enter=opened)
        return pollers[loop]

    monkeypatch.setattr(module, "poller", quick_poller)
    monkeypatch.setattr(module, "MIN_WAIT", timedelta(0))


@pytest.fixture
def waiting(world: World) -> Iterator[Wait]:
    """A wait for a job that runs."""
    handle = world.land(WORK, KEY).handle
    yield Wait(
        step="fake.job",
        connection="fake_one",
        handle=handle,
        identity="fake://one",
        deferred=utc_now().isoformat(),
        dag_id="orders",
        run_id="run-1",
        task_id="book",
    )


async def first_event(wait: Wait, seconds: float = 5) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        async for event in DelegateTrigger(wait).run():
            payload: dict[str, Any] = event.payload
            return payload
    raise AssertionError("it ended without an event")


def said_states(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []

    def states(**query: Any) -> Any:
        asked.append(query)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(states))
    return asked


# What it carries.


def test_there_and_back(waiting: Wait) -> None:
    full = replace(waiting, deadline=utc_now().isoformat(), map_index=3)
    path, arguments = DelegateTrigger(full).serialize()
    assert path == "airflow_enterprise_orch.delegation.trigger.DelegateTrigger"
    again = DelegateTrigger(**json.loads(json.dumps(arguments)))
    assert again.wait == full
    assert again.serialize() == (path, arguments)


def test_it_carries_places_and_names_only(waiting: Wait) -> None:
    _, arguments = DelegateTrigger(waiting).serialize()
    assert set(arguments) == {"wait"}
    assert set(arguments["wait"]) == {"version", *Wait.__slots__} - {"look", "stands"}
    assert not set(arguments["wait"]) & {"work", "password", "extra", "login"}


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_a_wait_of_another_version_is_refused(waiting: Wait, version: object) -> None:
    data = waiting.to_json() | {"version": version}
    with pytest.raises(ValueError, match="this package reads 1"):
        DelegateTrigger(data)


# When it ends.


def test_it_ends_with_the_job(world: World, waiting: Wait) -> None:
    world.end()
    assert asyncio.run(first_event(waiting)) == {
        "version": 1,
        "key": KEY,
        "phase": "ended",
        "timed_out": False,
        "elsewhere": "",
    }


def test_a_job_that_is_missing_ends_the_wait_too(world: World, waiting: Wait) -> None:
    world.jobs.clear()
    assert asyncio.run(first_event(waiting))["phase"] == "missing"


def test_a_connection_that_leads_elsewhere_ends_the_wait(world: World, waiting: Wait) -> None:
    event = asyncio.run(first_event(replace(waiting, identity="fake://old")))
    assert event["elsewhere"] == "fake://one"
    assert "cancel" not in world.calls


def test_trouble_does_not_end_it(world: World, waiting: Wait) -> None:
    world.polls[:] = ["unreachable", "bug", "busy"]
    world.end()
    assert asyncio.run(first_event(waiting))["phase"] == "ended"


def test_a_time_limit_asks_for_the_cancel_and_waits_for_its_proof(world: World, waiting: Wait) -> None:
    wait = replace(waiting, deadline=(utc_now() + timedelta(seconds=0.05)).isoformat())
    event = asyncio.run(first_event(wait))
    assert event["timed_out"] is True
    assert event["phase"] == "ended"
    assert world.calls.count("cancel") == 1
    assert world.jobs[1].phase is Phase.ENDED


def test_a_time_limit_that_passed_while_nobody_waited_is_kept(world: World, waiting: Wait) -> None:
    wait = replace(waiting, deadline=(utc_now() - timedelta(hours=1)).isoformat())
    assert asyncio.run(first_event(wait))["timed_out"] is True
    assert world.calls.count("cancel") == 1


def test_a_job_that_ends_in_time_did_not_time_out(world: World, waiting: Wait) -> None:
    world.end()
    wait = replace(waiting, deadline=(utc_now() + timedelta(hours=1)).isoformat())
    assert asyncio.run(first_event(wait))["timed_out"] is False
    assert "cancel" not in world.calls


@pytest.mark.parametrize(
    ("age", "heartbeat", "slept"), [(0.0, 1, 5.0), (0.0, 5, 8.0), (3.0, 5, 5.0), (3.0, 1, 2.0), (60.0, 5, 0.0)]
)
def test_an_event_never_comes_sooner_than_airflow_can_take_it(
    world: World, waiting: Wait, monkeypatch: pytest.MonkeyPatch, age: float, heartbeat: int, slept: float
) -> None:
    """A worker's supervisor may sleep a whole heartbeat before it tells that the task has been deferred."""
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", str(heartbeat))
    now = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    async def ended(*_arguments: object, **_named: object) -> dict[str, str]:
        return {"phase": "ended"}

    monkeypatch.setattr(module, "MIN_WAIT", MIN_WAIT)
    monkeypatch.setattr("airflow_enterprise_orch.delegation.polling.utc_now", lambda: now)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=nap))
    monkeypatch.setattr(module, "waiting", SimpleNamespace(wait_for_end=ended))
    wait = replace(waiting, deferred=(now - timedelta(seconds=age)).isoformat())
    assert asyncio.run(first_event(wait)) == {"phase": "ended"}
    assert naps == [slept]


def test_cancelling_the_wait_leaves_the_job_alone(world: World, waiting: Wait) -> None:
    async def body() -> None:
        task = asyncio.create_task(first_event(waiting))
        while not world.batches:
            await asyncio.sleep(0.005)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        while world.open_now:
            await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(body(), 5))
    assert "cancel" not in world.calls


# Somebody killed it: who?


@pytest.mark.parametrize(
    ("state", "cancels"),
    [
        ("deferred", 0),
        (TaskInstanceState.DEFERRED, 0),
        ("failed", 1),
        ("success", 1),
        ("skipped", 1),
        ("removed", 1),
        ("up_for_retry", 0),
        ("scheduled", 0),
        ("queued", 0),
        ("running", 0),
        ("awaiting_input", 0),
        (TaskInstanceState.FAILED, 1),
        (None, 0),  # cleared: its next try knows what was wanted by that
    ],
)
def test_a_kill_cancels_only_when_the_task_does_not_go_on(
    world: World, waiting: Wait, monkeypatch: pytest.MonkeyPatch, state: object, cancels: int
) -> None:
    asked = said_states(monkeypatch, {"run-1": {"book": state}})
    asyncio.run(DelegateTrigger(waiting).on_kill())
    assert world.calls.count("cancel") == cancels
    assert asked == [{"dag_id": "orders", "task_ids": ["book"], "run_ids": ["run-1"], "map_index": None}]


@pytest.mark.parametrize("answer", [{}, {"run-1": {}}, {"another": {"book": "deferred"}}])
def test_a_kill_of_a_task_that_is_gone_cancels(
    world: World, waiting: Wait, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    said_states(monkeypatch, answer)
    asyncio.run(DelegateTrigger(waiting).on_kill())
    assert world.calls.count("cancel") == 1


@pytest.mark.parametrize(("state", "cancels"), [("deferred", 0), ("failed", 1)])
def test_a_kill_of_a_mapped_task_asks_for_its_own_state(
    world: World, waiting: Wait, monkeypatch: pytest.MonkeyPatch, state: str, cancels: int
) -> None:
    """Airflow names a mapped task instance ``<task>_<index>`` in this answer."""
    others = {"book_0": "failed" if state == "deferred" else "deferred", "book_2": state}
    asked = said_states(monkeypatch, {"run-1": others})
    asyncio.run(DelegateTrigger(replace(waiting, map_index=2)).on_kill())
    assert asked[0]["map_index"] == 2
    assert world.calls.count("cancel") == cancels


def test_a_kill_whose_reason_cannot_be_told_leaves_the_job_alone(
    world: World, waiting: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    said_states(monkeypatch, RuntimeError("no supervisor"))
    asyncio.run(DelegateTrigger(waiting).on_kill())
    assert "cancel" not in world.calls


def test_a_kill_does_not_cancel_on_another_system(world: World, waiting: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    said_states(monkeypatch, {"run-1": {"book": "failed"}})
    asyncio.run(DelegateTrigger(replace(waiting, identity="fake://old")).on_kill())
    assert "cancel" not in world.calls


@pytest.mark.parametrize("fault", ["unreachable", "blocked", "slow"])
def test_a_cancel_that_cannot_be_asked_for_is_said_and_no_crash(
    world: World, waiting: Wait, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    said_states(monkeypatch, {"run-1": {"book": "failed"}})
    monkeypatch.setattr(module, "KILL_TIME", timedelta(seconds=0.05))

    async def call(self: ConnectionPoller, action: object) -> None:
        if fault == "blocked":
            raise ConnectionBlocked("fake_one", "blocked", "delete the Variable")
        await asyncio.sleep(30)

    if fault == "unreachable":
        world.opens[:] = ["unreachable"]
    else:
        monkeypatch.setattr(ConnectionPoller, "call", call)
    asyncio.run(DelegateTrigger(waiting).on_kill())
    assert "cancel" not in world.calls


def test_airflows_own_states_call_takes_what_we_ask(monkeypatch: pytest.MonkeyPatch, waiting: Wait) -> None:
    """The real ``get_task_states`` with only the wire replaced."""
    from airflow.sdk.execution_time.comms import GetTaskStates, TaskStatesResult

    sent: list[GetTaskStates] = []

    class Wire:
        def send(self, msg: GetTaskStates) -> TaskStatesResult:
            sent.append(msg)
            return TaskStatesResult(task_states={"run-1": {"book": "deferred"}})

    monkeypatch.setattr("airflow.sdk.execution_time.task_runner.SUPERVISOR_COMMS", Wire(), raising=False)
    assert asyncio.run(DelegateTrigger(waiting)._task_state()) == "deferred"
    assert sent[0].map_index is None
    assert sent[0].task_ids == ["book"]


# What Airflow's own loop does with it.


def _runner(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[str]]:
    """Return Airflow's real TriggerRunner without its supervisor, and what is said in triggers' logs."""
    from airflow.jobs.triggerer_job_runner import TriggerRunner

    monkeypatch.setenv("AIRFLOW_DISABLE_GREENBACK_PORTAL", "true")
    said: list[str] = []
    note = SimpleNamespace(**dict.fromkeys(("info", "warning"), lambda text, *words: said.append(text % words)))
    monkeypatch.setattr(DelegateTrigger, "log", property(lambda _self: note))
    return TriggerRunner(), said


def test_a_kill_reaches_the_job_though_airflow_cuts_it_short(
    world: World, waiting: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real run_trigger and cancel_triggers: Airflow cancels on_kill itself with its next loop."""
    from fakes import FakeSystem

    said_states(monkeypatch, {"run-1": {"book": "failed"}})
    runner, said = _runner(monkeypatch)
    original = FakeSystem.cancel
    asked, let_go = asyncio.Event(), asyncio.Event()

    async def slow(self: FakeSystem, handle: JobHandle) -> None:
        asked.set()
        await let_go.wait()
        await original(self, handle)

    monkeypatch.setattr(FakeSystem, "cancel", slow)

    async def body() -> None:
        trigger = DelegateTrigger(waiting)
        task = asyncio.create_task(runner.run_trigger(7, trigger))
        runner.triggers[7] = {"task": task, "is_watcher": False, "name": "book", "events": 0}
        while not world.batches:
            await asyncio.sleep(0.005)
        runner.to_cancel.append(7)
        await runner.cancel_triggers()
        await asked.wait()
        runner.to_cancel.append(7)
        await runner.cancel_triggers()
        with suppress(asyncio.CancelledError):
            await task
        let_go.set()
        while "cancel" not in world.calls:
            await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(body(), 20))
    assert any("asking for its cancel: the task is now failed" in line for line in said)


def test_lines_of_the_job_reach_the_tasks_log(world: World, waiting: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    world.tail = "step 1 of 2\n\x1b[31mstep 2 of 2"
    world.end()
    _, said = _runner(monkeypatch)
    asyncio.run(first_event(waiting))
    assert "JOB00001 | step 1 of 2" in said
    assert "JOB00001 | \\x1b[31mstep 2 of 2" in said
