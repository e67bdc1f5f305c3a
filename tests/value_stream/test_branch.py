"""A branch: what it chooses, what it keeps, and how a person overrides it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, DownstreamTasksSkipped
from streams_for_tests import Store, context_for

from airflow_enterprise_orch.delegation.control import CONTROL_KEY
from airflow_enterprise_orch.value_stream.branch import BranchStep
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY, Override, read_decision
from airflow_enterprise_orch.value_stream.override_window import PROPOSAL_KEY, proposed

RULES = [
    {"when": "params.amount > 10000.0", "then": ["approve"]},
    {"when": 'params.amount > 1000.0 && steps.book.credit_class != "A"', "then": ["approve", "inform"]},
]
VARIABLES = {"params.amount": "double", "steps.book.credit_class": "string"}


def branch(**more: Any) -> BranchStep:
    with DAG("s", schedule=None, auto_register=False):
        operator = BranchStep(
            task_id="route", rules=RULES, otherwise=["provision"], variables=VARIABLES,
            **{"routes": {"provision": "route-provision"}, **more},
        )  # fmt: skip
        for name in ("approve", "inform", "route-provision"):
            operator >> EmptyOperator(task_id=name)
    return operator


def run(operator: BranchStep, amount: Any = 5.0, credit_class: str | None = "A", **more: Any) -> tuple[set[str], Store]:
    """Run it; return the tasks that it skips, and its store."""
    store = more.pop("store", Store())
    left = {"book": {"credit_class": credit_class} if credit_class is not None else None}
    context = context_for(operator, params={"amount": amount}, left=left, store=store, **more)
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        operator.execute(context)
    return {task for task, _ in skipped.value.tasks}, store


@pytest.mark.parametrize(
    ("amount", "credit_class", "skipped", "fired", "chosen"),
    [
        (20000, "A", {"inform", "route-provision"}, 1, ["approve"]),
        (2000.0, "B", {"route-provision"}, 2, ["approve", "inform"]),
        (2000.0, "A", {"approve", "inform"}, "otherwise", ["provision"]),
    ],
)
def test_the_first_rule_that_holds_fires(
    amount: float, credit_class: str, skipped: set[str], fired: Any, chosen: list[str]
) -> None:
    skips, store = run(branch(), amount, credit_class)
    assert skips == skipped
    decision = read_decision(store[DECISION_KEY])
    assert (decision.fired, decision.chosen, decision.overridden) == ((fired,), tuple(chosen), None)


def test_the_decision_is_kept_as_plain_json_with_the_values_it_was_made_on() -> None:
    _, store = run(branch(), 2000.0, "B")
    decision = json.loads(json.dumps(store[DECISION_KEY]))
    assert (decision["version"], decision["kind"], decision["policy"]) == (2, "branch", "first")
    assert decision["ways"] == [
        {"id": 1, **RULES[0]},
        {"id": 2, **RULES[1]},
        {"id": "otherwise", "then": ["provision"]},
    ]
    assert decision["values"] == {"params.amount": 2000.0, "steps.book.credit_class": "B"}
    assert decision["at"].endswith("+00:00")


def test_the_decision_is_kept_before_anything_is_skipped() -> None:
    class Broken(Store):
        def set(self, key: str, value: Any, *, retention: Any = None) -> None:
            raise ConnectionError("the store is away")

    operator = branch()
    context = context_for(operator, params={"amount": 5.0}, left={"book": {"credit_class": "A"}}, store=Broken())
    with pytest.raises(ConnectionError):
        operator.execute(context)
    assert context["ti"].pushed == {}


def test_it_says_its_decision_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run(branch(), 2000.0, "B")
    assert (
        'goes on with approve, inform: rule 2 holds: params.amount > 1000.0 && steps.book.credit_class != "A" '
        "(with params.amount = 2000.0, steps.book.credit_class = 'B')"
    ) in caplog.messages


def test_a_value_that_is_not_needed_may_be_missing() -> None:
    skips, store = run(branch(), 20000.0, None)
    assert skips == {"inform", "route-provision"}
    assert store[DECISION_KEY]["values"]["steps.book.credit_class"] is None


@pytest.mark.parametrize("left", [{}, {"book": {"rc": 0}}])
def test_a_value_that_is_needed_and_missing_is_named(left: dict[str, Any]) -> None:
    operator = branch()
    context = context_for(operator, params={"amount": 2000.0}, left=left)
    with pytest.raises(AirflowFailException) as failure:
        operator.execute(context)
    message = str(failure.value)
    assert "branch 'route', rule 2" in message
    assert "'book'" in message and "'credit_class'" in message
    assert "\n" not in message
    assert DECISION_KEY not in context["task_state_store"]


def wish(*targets: str, by: str = "eve", reason: str = "the customer called") -> Store:
    return Store({CONTROL_KEY: {"version": 1, "override": {"by": by, "reason": reason, "targets": list(targets)}}})


def test_a_person_overrides_the_rules_and_what_the_rules_said_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        skips, store = run(branch(), 20000.0, store=wish("provision"))
    assert skips == {"approve", "inform"}
    decision = read_decision(store[DECISION_KEY])
    assert decision.overridden == Override("eve", "the customer called", ("approve",))
    assert (decision.by, decision.chosen, decision.fired) == ("eve", ("provision",), (1,))
    assert any(
        "goes on with provision, as eve wants (the customer called), instead of approve" in m for m in caplog.messages
    )


def test_an_override_helps_where_no_rule_can_be_evaluated() -> None:
    skips, store = run(branch(), 2000.0, None, store=wish("approve"))
    assert skips == {"inform", "route-provision"}
    assert store[DECISION_KEY]["fired"] == []
    assert "credit_class" in store[DECISION_KEY]["problem"]


@pytest.mark.parametrize(
    ("control", "says"),
    [
        (wish("route-provision"), "choose some of approve, inform, provision"),
        (wish(), "chooses no step"),
        (wish("approve", reason=""), "for what reason"),
        (Store({CONTROL_KEY: {"version": 99}}), "no control record"),
    ],
)
def test_a_wrong_override_is_refused_not_ignored(control: Store, says: str) -> None:
    operator = branch()
    with pytest.raises(AirflowFailException, match=says):
        operator.execute(
            context_for(operator, params={"amount": 5.0}, left={"book": {"credit_class": "A"}}, store=control)
        )
    assert DECISION_KEY not in control


def test_a_branch_may_end_the_path() -> None:
    operator = branch(routes={})
    operator.op_kwargs["plan"]["rules"][0]["then"] = []
    skips, store = run(operator, 20000.0)
    assert skips == {"approve", "inform", "route-provision"}
    assert store[DECISION_KEY]["chosen"] == []


def test_long_values_are_clipped_in_the_record_only() -> None:
    _, store = run(branch(), 2000.0, "B" * 2000)
    assert len(store[DECISION_KEY]["values"]["steps.book.credit_class"]) == 503
    assert store[DECISION_KEY]["fired"] == [2]


@pytest.mark.parametrize(
    ("amount", "credit_class", "skipped", "fired", "chosen"),
    [
        (20000.0, "B", {"route-provision"}, [1, 2], ["approve", "inform"]),
        (20000.0, "A", {"inform", "route-provision"}, [1], ["approve"]),
        (2.0, "B", {"approve", "inform"}, ["otherwise"], ["provision"]),
    ],
)
def test_all_rules_that_hold_fire_where_all_are_asked_for(
    amount: float, credit_class: str, skipped: set[str], fired: list[Any], chosen: list[str]
) -> None:
    skips, store = run(branch(match="all"), amount, credit_class)
    assert skips == skipped
    assert (store[DECISION_KEY]["fired"], store[DECISION_KEY]["chosen"]) == (fired, chosen)


def test_where_all_rules_are_asked_a_value_that_a_later_one_needs_must_be_there() -> None:
    operator = branch(match="all")
    with pytest.raises(AirflowFailException, match="rule 2"):
        operator.execute(context_for(operator, params={"amount": 20000.0}, left={"book": None}))


def test_it_is_airflows_branch_and_airflow_renders_nothing_in_it() -> None:
    operator = branch()
    assert isinstance(operator, BranchPythonOperator)
    assert tuple(operator.template_fields) == ()


class TestLeavesPeopleTime:
    """Fake would be: it goes on at once, asks for a worker all the while, or begins to wait anew after each look."""

    HOUR = 3600.0

    def proposes(self, store: Store, **more: Any) -> datetime:
        """Run it; return when it looks again."""
        operator = branch(override_within=self.HOUR)
        left = {"book": {"credit_class": "A"}}
        context = context_for(operator, params={"amount": 20000.0}, left=left, store=store, **more)
        with pytest.raises(AirflowRescheduleException) as again:
            operator.execute(context)
        return again.value.reschedule_date

    def back_dated(self, store: Store, hours: float) -> None:
        """Let everything that is kept have happened so much earlier."""
        earlier = timedelta(hours=hours)
        proposal = store[PROPOSAL_KEY]
        for told, name in ((proposal, "until"), (proposal["decision"], "at")):
            told[name] = (datetime.fromisoformat(told[name]) - earlier).isoformat()

    def test_it_says_what_it_will_do_and_skips_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        store, before = Store(), datetime.now(UTC)
        with caplog.at_level(logging.INFO):
            until = self.proposes(store)
        assert before + timedelta(hours=1) <= until <= datetime.now(UTC) + timedelta(hours=1)
        assert DECISION_KEY not in store, "nothing is decided"
        standing = proposed(json.loads(json.dumps(store)))
        assert standing is not None
        assert (standing.until, standing.decision.chosen, standing.decision.fired) == (until, ("approve",), (1,))
        assert any("unless somebody overrides it before" in m and "goes on with approve" in m for m in caplog.messages)

    def test_each_look_leaves_the_same_moment_and_then_it_goes_on(self) -> None:
        store = Store()
        until = self.proposes(store)
        assert self.proposes(store) == until
        self.back_dated(store, 0.9)
        assert self.proposes(store) == until - timedelta(hours=0.9)
        self.back_dated(store, 0.2)
        skips, _ = run(branch(override_within=self.HOUR), 20000.0, store=store)
        assert skips == {"inform", "route-provision"}
        assert (read_decision(store[DECISION_KEY]).overridden, PROPOSAL_KEY in store) == (None, False)

    def test_an_override_takes_effect_at_once_and_what_the_rules_proposed_is_kept(self) -> None:
        store = Store()
        self.proposes(store)
        store.update(wish("provision"))
        skips, _ = run(branch(override_within=self.HOUR), 20000.0, store=store)
        assert skips == {"approve", "inform"}
        assert read_decision(store[DECISION_KEY]).overridden == Override("eve", "the customer called", ("approve",))
        assert proposed(store) is None

    def test_decided_again_it_leaves_time_again_even_where_the_old_proposal_was_left_behind(self) -> None:
        store = Store()
        self.proposes(store)
        self.back_dated(store, 2)
        left_behind = dict(store)
        run(branch(override_within=self.HOUR), 20000.0, store=store)
        store[PROPOSAL_KEY] = left_behind[PROPOSAL_KEY]
        assert proposed(store) is None
        assert self.proposes(store) > datetime.now(UTC) + timedelta(minutes=59)

    @pytest.mark.parametrize("kept", ["x", {"version": 9}, {"version": 1, "until": "2026-01-01T00:00:00+00:00"}])
    def test_a_proposal_that_nobody_can_read_is_told_in_one_line(self, kept: Any) -> None:
        operator = branch(override_within=self.HOUR)
        context = context_for(
            operator,
            params={"amount": 20000.0},
            left={"book": {"credit_class": "A"}},
            store=Store({PROPOSAL_KEY: kept}),
        )
        with pytest.raises(AirflowFailException, match=r"orch\.proposal.*delete it to decide anew"):
            operator.execute(context)

    def test_without_a_time_nothing_of_it_is_in_the_dag(self) -> None:
        assert "override_within" not in branch().op_kwargs["plan"]
