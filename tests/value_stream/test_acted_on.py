"""What people wish of steps that are no jobs: obeyed before they run, told when it cannot be, and not obeyed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator, Variable
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)
from streams_for_tests import Store, context_for

from airflow_enterprise_orch.delegation.control import CONTROL_KEY, HOLDS_VARIABLE, with_hold, with_wish
from airflow_enterprise_orch.delegation.obeying import HOLD_LOOK, read_obeyed
from airflow_enterprise_orch.value_stream.acted_on import ActedOn
from airflow_enterprise_orch.value_stream.airflow_step import AirflowStep
from airflow_enterprise_orch.value_stream.approval import APPROVAL_KEY, ApprovalStep
from airflow_enterprise_orch.value_stream.branch import BranchStep
from airflow_enterprise_orch.value_stream.choice import ChoiceStep
from airflow_enterprise_orch.value_stream.decision import DecisionStep
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY
from airflow_enterprise_orch.value_stream.fail import FailStep
from airflow_enterprise_orch.value_stream.for_each import DoneStep, ItemsStep
from airflow_enterprise_orch.value_stream.overriding import override_of
from airflow_enterprise_orch.value_stream.wait_for import WAIT_FOR_KEY, WaitForStep
from airflow_enterprise_orch.value_stream.wait_until import WaitStep

SIGNED = {"by": "maria", "reason": "month end", "at": datetime.now(UTC).isoformat()}
OPTIONS = [{"id": "yes", "title": "Yes", "then": ["a"]}, {"id": "no", "title": "No", "then": ["b"]}]
MAKERS: dict[str, Callable[[], ActedOn]] = {
    "branch": lambda: BranchStep(task_id="x", rules=[], otherwise=["a"], variables={}),
    "choice": lambda: ChoiceStep(task_id="x", subject="?", options=OPTIONS),
    "decision": lambda: DecisionStep(
        task_id="x",
        hit="first",
        inputs={},
        kinds={},
        rows=[{"when": {}, "then": {"limit": 5}}],
        leaves={"limit": "integer"},
    ),
    "approval": lambda: ApprovalStep(task_id="x", subject="?"),
    "wait": lambda: WaitStep(task_id="x", seconds=60.0),
    "wait_for": lambda: WaitForStep(task_id="x", other="night"),
    "fail": lambda: FailStep(task_id="x", message="no"),
    "airflow": lambda: AirflowStep(task_id="x", operator="a.B", outputs={"rows": {"xcom": "r", "type": "integer"}}),
    "items": lambda: ItemsStep(task_id="x", param="p", most=3, step="s"),
    "done": lambda: DoneStep(task_id="x", items="i", each="e"),
}
VALUES: dict[str, dict[str, Any]] = {
    "decision": {"limit": 7},
    "airflow": {"rows": 3},
    "done": {"count": 2, "done": 2},
}
REFUSES = {"branch", "choice", "items"}
"""What cannot be completed."""


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    known: dict[str, Any] = {}
    monkeypatch.setattr(Variable, "get", staticmethod(lambda key, default=None, **_: known.get(key, default)))
    yield known


def wish(what: str, wish_id: str = "k1", store: Store | None = None, **more: Any) -> Store:
    store = store if store is not None else Store()
    store[CONTROL_KEY] = with_wish(store.get(CONTROL_KEY), what, {**SIGNED, "id": wish_id, **more})
    return store


def how(store: Store, wish_id: str = "k1") -> str:
    words = read_obeyed(store)
    return words[wish_id].how if wish_id in words else ""


def looks(kind: str, store: Store, **ti: Any) -> dict[str, Any]:
    """Run what Airflow runs before the task; return the context."""
    operator = MAKERS[kind]()
    context = context_for(operator, store=store)
    for name, value in ti.items():
        setattr(context["ti"], name, value)
    operator.pre_execute(context)
    return context


@pytest.mark.parametrize("kind", MAKERS)
def test_airflow_calls_the_look_of_each_of_them(kind: str) -> None:
    """As ``task_runner._execute_task`` asks; a hook of an own would be serialized with the DAG."""
    operator = MAKERS[kind]()
    assert getattr(operator.pre_execute, "__func__", None) is not BaseOperator.pre_execute
    assert operator._pre_execute_hook is None


@pytest.mark.parametrize("kind", MAKERS)
def test_without_a_wish_it_runs(kind: str) -> None:
    store = Store()
    looks(kind, store)
    assert store == {}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_held_one_does_not_run_and_looks_hourly_at_least(kind: str) -> None:
    store = wish("hold")
    with pytest.raises(AirflowRescheduleException) as held:
        looks(kind, store)
    assert abs(held.value.reschedule_date - datetime.now(UTC) - HOLD_LOOK) < timedelta(minutes=1)
    assert how(store) == "held: it does not run"
    soon = datetime.now(UTC) + timedelta(minutes=5)
    with pytest.raises(AirflowRescheduleException) as held:
        looks(kind, wish("hold", until=soon.isoformat()))
    assert held.value.reschedule_date == soon


def test_a_hold_of_the_whole_stream_reaches_it_and_one_of_a_system_does_not(variables: dict[str, Any]) -> None:
    variables[HOLDS_VARIABLE] = with_hold(None, "system", "sap", {**SIGNED, "id": "h0"})
    looks("branch", Store())
    variables[HOLDS_VARIABLE] = with_hold(variables[HOLDS_VARIABLE], "stream", "s", {**SIGNED, "id": "h1"})
    with pytest.raises(AirflowRescheduleException):
        looks("branch", Store())


@pytest.mark.parametrize("kind", MAKERS)
def test_a_skipped_one_says_by_whom_and_why(kind: str) -> None:
    store = wish("skip")
    with pytest.raises(AirflowSkipException, match="skip by maria: month end"):
        looks(kind, store)
    assert how(store) == "skipped"


@pytest.mark.parametrize("kind", MAKERS)
def test_a_cancelled_one_fails_in_one_line(kind: str) -> None:
    store = wish("cancel")
    with pytest.raises(AirflowFailException, match=r"^step 'x': cancel by maria: month end$"):
        looks(kind, store)
    assert how(store) == "cancelled"


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind not in REFUSES])
def test_a_completed_one_leaves_what_was_given_and_skips_nothing(kind: str) -> None:
    store = wish("complete", value=VALUES.get(kind, {}))
    operator = MAKERS[kind]()
    context = context_for(operator, store=store)
    with pytest.raises(DownstreamTasksSkipped) as done:
        operator.pre_execute(context)
    assert done.value.tasks == ["x"], "the task itself, which runs: Airflow skips no task that runs"
    left = context["ti"].pushed["return_value"]
    assert left.items() >= VALUES.get(kind, {}).items()
    assert how(store) == "completed"


@pytest.mark.parametrize("kind", sorted(REFUSES))
def test_what_cannot_be_completed_says_so_and_runs(kind: str) -> None:
    store = wish("complete", value={})
    looks(kind, store)
    assert how(store) == "refused: a step of this kind cannot be told to complete"


@pytest.mark.parametrize(
    ("kind", "value", "line"),
    [
        ("decision", {}, "give a value for limit (integer): later steps may need it"),
        ("decision", {"limit": "7"}, "output 'limit' is '7', which is no integer"),
        ("airflow", {"rows": 1, "row": 2}, "the step has no output 'row': did you mean 'rows'?"),
        ("approval", {"approved": False}, "the step has no output 'approved': it has none"),
        ("wait", {"until": 7}, "output 'until' is 7, which is no string"),
    ],
)
def test_wrong_outputs_are_refused_in_one_line(kind: str, value: dict[str, Any], line: str) -> None:
    store = wish("complete", value=value)
    looks(kind, store)
    assert how(store) == f"refused: {line}"


def test_an_approval_that_is_completed_is_approved_by_that_person() -> None:
    store = wish("complete", value={})
    with pytest.raises(DownstreamTasksSkipped):
        looks("approval", store)
    kept = store[APPROVAL_KEY]
    assert (kept["approved"], kept["outcome"], kept["by"], kept["reason"]) == (True, "approved", "maria", "month end")


def test_a_decision_that_is_completed_says_who_gave_its_outputs() -> None:
    store = wish("complete", value={"limit": 7})
    with pytest.raises(DownstreamTasksSkipped):
        looks("decision", store)
    kept = store[DECISION_KEY]
    assert (kept["outputs"], kept["by"], kept["fired"]) == ({"limit": 7}, "maria", [])
    assert kept["overridden"] == {"by": "maria", "reason": "month end", "instead": []}


def test_a_wait_that_is_completed_is_forgotten() -> None:
    store = wish("complete", value={"run_id": "r7"})
    store[WAIT_FOR_KEY] = {"version": 1}
    with pytest.raises(DownstreamTasksSkipped):
        looks("wait_for", store)
    assert WAIT_FOR_KEY not in store


@pytest.mark.parametrize(
    ("what", "ends"),
    [("skip", AirflowSkipException), ("cancel", AirflowFailException), ("complete", DownstreamTasksSkipped)],
)
def test_it_is_obeyed_again_after_a_death_and_not_after_a_clear(what: str, ends: type[BaseException]) -> None:
    store = wish(what, **({"value": {}} if what == "complete" else {}))
    with pytest.raises(ends):
        looks("wait", store)
    with pytest.raises(ends):
        looks("wait", store, try_number=2, max_tries=3)
    looks("wait", store, try_number=3, max_tries=5)


@pytest.mark.parametrize(
    ("kind", "holds"), [("approval", False), ("choice", False), ("airflow", False), ("wait", True)]
)
def test_a_hold_never_makes_a_question_be_asked_twice(kind: str, holds: bool) -> None:
    """Airflow forgets where a task was to go on when it is held, so it would begin anew."""
    goes_on = SimpleNamespace(next_method="execute_complete")
    if holds:
        with pytest.raises(AirflowRescheduleException):
            looks(kind, wish("hold"), _ti_context_from_server=goes_on)
    else:
        looks(kind, wish("hold"), _ti_context_from_server=goes_on)
        with pytest.raises(AirflowSkipException):
            looks(kind, wish("skip"), _ti_context_from_server=goes_on)


def test_a_broken_record_fails_in_one_line() -> None:
    with pytest.raises(AirflowFailException, match=r"task state store key 'orch\.control' is no control record"):
        looks("branch", Store({CONTROL_KEY: {"version": 7}}))


def test_an_override_is_marked_and_a_later_clear_leaves_it_to_the_rules() -> None:
    store = wish("override", targets=["a"])
    operator = MAKERS["branch"]()
    context = context_for(operator, store=store)
    assert override_of(context, "branch", ["a", "b"]) is not None
    assert how(store) == "goes on with a"
    context["ti"].try_number = 2
    assert override_of(context, "branch", ["a", "b"]) is not None, "a retry, after a death"
    context["ti"].try_number, context["ti"].max_tries = 3, 5
    assert override_of(context, "branch", ["a", "b"]) is None
    wish("override", "k2", store, targets=["b"])
    again = override_of(context, "branch", ["a", "b"])
    assert again is not None and again.targets == ("b",)
