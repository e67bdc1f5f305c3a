"""What tells of steps: once each, whatever goes wrong with it, and never to the harm of the step.

How a user would notice that it is fake: a thousand mails for a step with a thousand parts; a step that fails because a
mail server is down; nobody told that nobody answers.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, TaskAwaitingInput

from airflow_enterprise_orch.alerts import callbacks, late, telling
from airflow_enterprise_orch.alerts.callbacks import StepFailed, StepWentOn
from airflow_enterprise_orch.alerts.message import NEXT_UNDOING, Alert
from airflow_enterprise_orch.value_stream.approval import ApprovalStep
from airflow_enterprise_orch.value_stream.branch import decide

RUN_AFTER = datetime(2026, 7, 1, 6, 0, tzinfo=UTC)


class Store(dict[str, Any]):
    """A task state store."""

    def set(self, key, value, **_):
        self[key] = value


def rule(*on: str, after: float = 0.0, to: str = "desk") -> dict[str, Any]:
    return {"on": list(on), "severity": "high", "after": after, "to": [{"kind": "webhook", "connection": to}]}


def alerts(*rules: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": "Stream",
        "business": {"domain": "D", "owner": "o", "criticality": "high"},
        "key": "{{ params.order }}",
        "defaults": {"order": "O-0"},
        "due": {"within": 3600.0},
        "steps": {"book": {"within": 60.0}},
        "timezone": "UTC",
        "rules": list(rules),
    }


class World:
    """What was sent, and the Variables."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[Alert] = []
        self.variables: dict[str, Any] = {}
        monkeypatch.setattr(Variable, "get", lambda name, default=None, **_: self.variables.get(name, default))
        monkeypatch.setattr(Variable, "set", lambda name, value, **_: self.variables.update({name: value}))

        async def send(message, targets):
            self.sent.append((message.data, [target["connection"] for target in targets]))
            return len(targets)

        monkeypatch.setattr(telling, "send", send)

    @property
    def events(self) -> list[str]:
        return [data["event"] for data, _ in self.sent]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def context(told: dict[str, Any], *, map_index: int = -1, try_number: int = 1, error: object = None) -> Any:
    task = SimpleNamespace(
        on_failure_callback=[StepFailed(told)],
        task_display_name="Book it",
        step="unix.script",
        connection="host",
    )
    ti = SimpleNamespace(
        dag_id="s", run_id="one", task_id="book", map_index=map_index, try_number=try_number, task=task
    )
    run = SimpleNamespace(
        run_id="one", run_after=RUN_AFTER, logical_date=None, data_interval_start=None, data_interval_end=None
    )
    found = {"ti": ti, "dag_run": run, "params": {"order": "O-7"}, "task_state_store": {}}
    return {**found, "exception": error} if error is not None else found


FAILED = alerts(rule("failed", "ambiguous", "released"))


def test_a_failure_is_told_with_what_a_business_owner_asks_for(world: World):
    StepFailed(FAILED)(context(FAILED, error=AirflowFailException("JOB00042 ended with CC 0012\nTraceback ...")))
    ((data, to),) = world.sent
    assert to == ["desk"]
    assert data["instance"]["key"] == "O-7"
    assert data["reason"] == "JOB00042 ended with CC 0012"
    assert data["due"] == "2026-07-01T06:01:00+00:00"  # the step's own
    assert data["step"]["title"] == "Book it"


def test_an_item_of_a_list_is_told_as_its_step_with_its_due_time_and_a_link_to_the_item(world: World, monkeypatch):
    monkeypatch.setattr("airflow_enterprise_orch.alerts.telling.link", lambda *where: "/".join(map(str, where)))
    found = context(FAILED, map_index=3, error=AirflowFailException("exit code 8"))
    found["ti"].task_id = "book-each"
    StepFailed(FAILED)(found)
    ((data, _),) = world.sent
    assert data["summary"] == "Stream O-7: book failed"
    assert (data["step"]["id"], data["due"]) == ("book", "2026-07-01T06:01:00+00:00")
    assert data["link"] == "s/one/book-each/3"


def test_an_undoing_that_failed_names_the_step_and_says_that_what_it_did_still_stands(world: World, monkeypatch):
    monkeypatch.setattr("airflow_enterprise_orch.alerts.telling.link", lambda *where: "/".join(map(str, where)))
    found = context(FAILED, error=AirflowFailException("exit code 8"))
    found["ti"].task_id, found["ti"].task.task_display_name = "book--undo", "undo: Book it"
    StepFailed(FAILED)(found)
    StepFailed(FAILED)(context(FAILED, error=AirflowFailException("exit code 8")))
    undoing, failed = (data for data, _ in world.sent)
    assert undoing["summary"] == "Stream O-7: book could not be undone"
    assert (undoing["step"]["id"], undoing["step"]["title"], undoing["step"]["undoing"]) == ("book", "Book it", True)
    assert undoing["next"] == NEXT_UNDOING
    assert undoing["link"] == "s/one/book--undo/-1"
    assert undoing["id"] != failed["id"]
    assert (failed["summary"], failed["step"]["undoing"]) == ("Stream O-7: book failed", False)


def test_many_parts_of_a_mapped_step_are_told_once_and_a_new_failure_anew(world: World):
    for part in range(50):
        StepFailed(FAILED)(context(FAILED, map_index=part, error=ValueError("x")))
    assert len(world.sent) == 1
    StepFailed(FAILED)(context(FAILED, try_number=2, error=ValueError("x")))
    assert len(world.sent) == 2
    assert world.sent[0][0]["reason"] == "ValueError: x"


def test_a_dead_worker_is_told_without_the_task_state_store(world: World):
    lost = context(FAILED)
    del lost["task_state_store"], lost["dag_run"]
    StepFailed(FAILED)(lost)
    ((data, _),) = world.sent
    assert data["reason"] == "Airflow lost the worker that ran the step, or could not start one"
    assert data["instance"]["key"] == "one"


def test_that_it_goes_on_is_told_to_those_who_were_told_that_it_did_not(world: World):
    StepWentOn(FAILED)(context(FAILED))
    assert world.sent == []
    callbacks.parked(context(FAILED), "did it run?", "K1")
    callbacks.parked(context(FAILED), "did it run?", "K1")
    assert world.events == ["ambiguous"]
    StepWentOn(FAILED)(context(FAILED))
    StepWentOn(FAILED)(context(FAILED))
    assert world.events == ["ambiguous", "released"]
    callbacks.parked(context(FAILED), "did it run?", "K2")
    assert world.events == ["ambiguous", "released", "ambiguous"]


def test_nothing_that_goes_wrong_reaches_the_step(world: World, monkeypatch, caplog):
    async def broken(*_):
        raise RuntimeError("no mail today")

    monkeypatch.setattr(telling, "send", broken)
    StepFailed(FAILED)(context(FAILED, error=ValueError("x")))
    monkeypatch.setattr(Variable, "get", lambda *_, **__: 1 / 0)
    with caplog.at_level(logging.ERROR):
        StepFailed(FAILED)(context(FAILED, try_number=3, error=ValueError("x")))
        StepWentOn(FAILED)(context(FAILED))
    assert "ALERT NOT SENT: failed of step book" in caplog.text


@pytest.mark.parametrize("stored", [None, 7, "x", {"version": 9}, {"version": 1, "told": []}])
def test_a_register_that_somebody_broke_is_begun_anew(world: World, monkeypatch, stored):
    monkeypatch.setattr(Variable, "get", lambda *_, **__: stored)
    StepFailed(FAILED)(context(FAILED, error=ValueError("x")))
    assert len(world.sent) == 1


def test_the_register_forgets_the_oldest(world: World):
    for number in range(400):
        StepFailed(FAILED)(context(FAILED, try_number=number, error=ValueError("x")))
    (variable,) = world.variables.values()
    assert len(variable["told"]) == 300
    assert len(world.sent) == 400


def test_a_target_that_two_rules_name_gets_it_once(world: World):
    told = alerts(rule("failed"), rule("failed", "late"), rule("failed", to="other"))
    StepFailed(told)(context(told, error=ValueError("x")))
    assert [sorted(to) for _, to in world.sent] == [["desk", "other"]]


# ------------------------------------------------------------------------------------------------------------ waiting


def approval(monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], **more: Any) -> tuple[ApprovalStep, Any]:
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **detail: written.append(detail)
    )
    step = ApprovalStep(task_id="book", subject="Go on?", on_failure_callback=[StepFailed(told)], **more)
    found = context(told)
    found["ti"].task = step
    found["ti"].id = "1"
    found["task_instance"] = found["ti"]
    found["ti"].xcom_pull = lambda **_: None
    found["written"] = written
    return step, found


TIMEOUT = {"error": "no answer", "error_type": "timeout"}


def parked(act) -> TaskAwaitingInput:
    with pytest.raises(TaskAwaitingInput) as caught:
        act()
    return caught.value


def test_nobody_answers_and_it_is_told_at_once_then_later_then_its_time_is_up(world: World, monkeypatch):
    told = alerts(rule("waiting"), rule("waiting", after=600.0, to="boss"), rule("waiting", after=9e9, to="never"))
    step, found = approval(monkeypatch, told, within=3600.0, on_timeout="reject", on_reject="fail")
    first = parked(lambda: step.execute(found))
    assert [to for _, to in world.sent] == [["desk"]]
    assert found["written"][0]["defaults"] is None, "Airflow would reject after ten minutes"
    assert first.timeout == timedelta(seconds=600)
    second = parked(lambda: getattr(step, first.method_name)(found, event=TIMEOUT, **first.kwargs))
    assert [to for _, to in world.sent] == [["desk"], ["boss"]]
    assert second.timeout == timedelta(seconds=3000)
    assert len(found["written"]) == 1, "an answer that came meanwhile would be forgotten"
    with pytest.raises(AirflowFailException, match="rejected by nobody"):
        getattr(step, second.method_name)(with_store(found), event=TIMEOUT, **second.kwargs)


def test_an_answer_before_the_second_telling_counts(world: World, monkeypatch):
    told = alerts(rule("waiting", after=600.0))
    step, found = approval(monkeypatch, told)
    first = parked(lambda: step.execute(found))
    assert world.sent == []
    answer = {
        "chosen_options": ["Approve"],
        "params_input": {},
        "responded_at": RUN_AFTER,
        "responded_by_user": {"id": "1", "name": "Eve"},
    }
    left = getattr(step, first.method_name)(with_store(found), event=answer, **first.kwargs)
    assert (left["outcome"], left["by"]) == ("approved", "Eve")
    assert world.sent == []


def test_an_approval_that_nobody_wants_to_be_told_of_waits_as_before(world: World, monkeypatch):
    step, found = approval(monkeypatch, alerts(rule("failed")), within=3600.0, on_timeout="approve")
    first = parked(lambda: step.execute(found))
    assert (first.method_name, first.timeout) == ("execute_complete", timedelta(hours=1))
    assert found["written"][0]["defaults"] == ["Approve"]


def with_store(found: Any) -> Any:
    found["ti"].xcom_push = lambda **_: None
    return {**found, "task_state_store": Store()}


def test_a_branch_that_leaves_people_time_says_until_when_and_where_it_is_overridden(world: World, monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/")
    plan = {
        "match": "first", "rules": [], "otherwise": ["pay"], "variables": {}, "routes": {}, "always": [],
        "override_within": 7200.0,
    }  # fmt: skip
    found = {**context(alerts(rule("waiting"))), "task_state_store": Store(), "params": {"order": "O'7; reboot"}}
    found["ti"].task_id = "route"
    before = datetime.now(UTC) + timedelta(hours=2)
    for _look in range(2):
        with pytest.raises(AirflowRescheduleException):
            decide(plan=plan, **found)
    ((data, _),) = world.sent
    until = datetime.fromisoformat(data["override_until"])
    assert before <= until <= datetime.now(UTC) + timedelta(hours=2)
    assert data["summary"] == "Stream O'7; reboot: route proposes where to go on"
    assert "goes on with pay" in data["reason"]
    assert data["next"] == (
        f"Nothing, where that is right. Else override it before {until:%Y-%m-%d %H:%M} UTC: on the instance's page, "
        "under Streams in Airflow, or with: enterprise-orch override 'O'\"'\"'7; reboot' route --stream s --run one "
        "--to STEP --reason WHY"
    )
    assert data["link"] == "https://airflow.example.com/plugin/streams/instance/s/one"


# --------------------------------------------------------------------------------------------------------------- late


LATE = alerts(rule("late"))
TOLD_BY_AIRFLOW = {
    "dag_id": "s",
    "dag_run_id": "one",
    "conf": {"order": "O-7"},
    "run_after": "2026-07-01T06:00:00Z",
    "logical_date": None,
    "state": "running",
}


def be_late(monkeypatch, states: dict[str, str] | Exception, step: str = "", state: str = "running") -> None:
    async def found(_run):
        if isinstance(states, Exception):
            raise states
        return states

    monkeypatch.setattr(late, "_states", found)
    own = {"id": step, "title": "Book it", "system": "unix.script", "connection": "host"} if step else {}
    run = {**TOLD_BY_AIRFLOW, "state": state}
    asyncio.run(late.tell(LATE, {"within": 60.0}, own, context={"dag_run": run, "deadline": {}}))


@pytest.mark.parametrize(
    ("states", "step", "state", "is_told"),
    [
        ({"book": "running"}, "", "running", True),
        ({"book": "success"}, "", "success", False),
        ({"book": "success"}, "book", "running", False),
        ({"book": "skipped"}, "book", "running", False),
        ({"book": "failed"}, "book", "failed", True),
        ({}, "book", "running", True),
        ({"book_more": "success"}, "book", "running", True),
        ({"book-each_0": "success", "book-each_1": "running"}, "book", "running", True),
        ({"book": "success", "book-each_0": "success", "book-each_1": "success"}, "book", "running", False),
        (RuntimeError("no answer"), "book", "running", True),
    ],
)
def test_only_what_is_not_over_is_late(world: World, monkeypatch, states, step, state, is_told):
    be_late(monkeypatch, states, step, state)
    assert len(world.sent) == (1 if is_told else 0)


def test_what_is_late_is_told_with_where_it_stands(world: World, monkeypatch):
    be_late(monkeypatch, {"book": "awaiting_input", "tell": "failed", "other": "success"})
    ((data, _),) = world.sent
    assert data["reason"] == (
        "The instance is not over: Airflow says running. It stands at tell (failed), book (awaiting input)."
    )
    assert data["instance"]["key"] == "O-7"
    assert data["due"] == data["since"] == "2026-07-01T06:01:00+00:00"
    assert data["step"] is None
