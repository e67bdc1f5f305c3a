"""Simulation: the path that it tells is the path that the compiled DAG takes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, DownstreamTasksSkipped
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_enterprise_orch.template_tools.walk import NotGiven, walk
from airflow_enterprise_orch.value_stream import steps
from airflow_enterprise_orch.value_stream.approval import ApprovalStep
from airflow_enterprise_orch.value_stream.branch import BranchStep
from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.model import ValueStream
from tests.template_tools.samples import BRANCHING, PARAMS, SHIPPED, shipped, small, streams
from tests.value_stream.streams_for_tests import context_for

STATES = {"success": "ran", "failed": "failed", "skipped": "skipped", "upstream_failed": "stopped"}


@cache
def variant(on_reject: str) -> tuple[ValueStream, Any]:
    text = SHIPPED.read_text(encoding="utf-8").replace("on_reject: fail", f"on_reject: {on_reject}")
    stream = ValueStream.load(text, name="variant.yaml")
    return stream, compile_stream(stream, source_hash="0")


def rule(operator: Any, states: Mapping[str, str]) -> str:
    """Airflow's TriggerRuleDep, for a task all of whose predecessors are over."""
    before = [states[name] for name in operator.upstream_task_ids]
    failed = any(state in ("failed", "upstream_failed") for state in before)
    trigger = operator.trigger_rule.value
    if trigger == "all_skipped":
        return "success" if all(state == "skipped" for state in before) else "skipped"
    if failed:
        return "upstream_failed"
    if trigger == "all_success":
        return "skipped" if "skipped" in before else "success"
    if trigger == "none_failed_min_one_success":
        return "success" if "success" in before else "skipped"
    assert trigger == "none_failed"
    return "success"


def played(
    stream: ValueStream, dag: Any, params: Mapping[str, Any], results: Mapping[str, Any]
) -> tuple[dict[str, str], str]:
    """Run the operators of the compiled DAG that decide something, as Airflow would; jobs come to what is given."""
    states: dict[str, str] = {}
    left: dict[str, Any] = {}
    for operator in dag.topological_sort():
        name = operator.task_id
        if name in states:
            continue
        states[name] = rule(operator, states)
        if states[name] != "success":
            continue
        result = results.get(name, {})
        operator = copy(operator)  # a branch keeps the keywords of its last run, which no process of Airflow has two of
        context = context_for(operator, params=params, left=left)
        try:
            if isinstance(operator, BranchStep):
                operator.execute(context)
            elif isinstance(operator, ApprovalStep):
                option = {"approved": "Approve", "rejected": "Reject"}[result["answer"]]
                event = {
                    "chosen_options": [option],
                    "params_input": {},
                    "responded_at": datetime(2026, 1, 1, tzinfo=UTC),
                }
                operator.execute_complete(context, {**event, "responded_by_user": {"id": "1", "name": "eve"}})
                left[name] = {"outcome": result["answer"], "by": "eve"}
            elif result.get("outcome") == "failed":
                raise AirflowFailException("given as failed")
            else:
                left[name] = {**result, "outcome": "success"}
        except AirflowFailException:
            states[name] = "failed"
        except DownstreamTasksSkipped as skipped:
            for task in skipped.tasks:
                states.setdefault(task[0] if isinstance(task, tuple) else task, "skipped")
    last = {states[operator.task_id] for operator in dag.leaves}
    return {name: STATES[states[name]] for name in stream.steps}, "failed" if last & {
        "failed",
        "upstream_failed",
    } else "success"


@settings(max_examples=120, deadline=None)
@given(
    amount=st.one_of(st.sampled_from([0, 999.99, 1000, 1000.0, 1000.01, 10000, 10000.01]), st.floats(0, 50_000)),
    size=st.sampled_from(["standard", "large"]),
    delivery=st.sampled_from(["share", "post"]),
    credit_class=st.sampled_from(["A", "B", "C"]),
    answer=st.sampled_from(["approved", "rejected"]),
    on_reject=st.sampled_from(["fail", "skip"]),
    fails=st.sets(
        st.sampled_from(["check_credit", "post_invoice", "provision_large", "certify", "update_crm"]), max_size=2
    ),
)
def test_the_path_is_the_one_that_the_compiled_dag_takes(
    amount: float, size: str, delivery: str, credit_class: str, answer: str, on_reject: str, fails: set[str]
) -> None:
    stream, dag = variant(on_reject)
    params = {"order_id": "ORD-000001", "amount": amount, "size": size, "delivery": delivery}
    results: dict[str, Any] = {
        "check_credit": {"credit_class": credit_class},
        "approve": {"answer": answer, "by": "eve"},
    }
    results |= {name: {"outcome": "failed"} for name in fails}
    told = walk(stream, params, results)
    states, ends = played(stream, dag, params, results)
    assert {step.id: step.state for step in told.steps} == states
    assert told.ends == ends


@settings(max_examples=40, deadline=None)
@given(stream=streams(), data=st.data(), amount=st.sampled_from([1, 5, 100]))
def test_any_stream_takes_the_path_that_its_dag_takes(stream: ValueStream, data: st.DataObject, amount: int) -> None:
    results: dict[str, Any] = {}
    for name, step in stream.steps.items():
        if isinstance(step, steps.ApprovalStep):
            results[name] = {"answer": data.draw(st.sampled_from(["approved", "rejected"])), "by": "eve"}
        elif isinstance(step, steps.DelegatedStep) and data.draw(st.integers(0, 7)) == 0:
            results[name] = {"outcome": "failed"}
    states, _ = played(stream, compile_stream(stream, source_hash="0"), {"amount": amount}, results)
    told = walk(stream, {"amount": amount}, results)
    assert set(told.takes) == {name for name, state in states.items() if state in ("ran", "failed")}


def test_a_good_customers_small_order() -> None:
    told = walk(shipped(), PARAMS, {"check_credit": {"rc": 0}})
    assert told.key == "ORD-000001"
    assert told.ends == "success"
    assert "approve" not in told.takes and "provision_standard" in told.takes
    assert [(choice.branch, choice.fired) for choice in told.choices] == [
        ("route", ("otherwise",)), ("size", ("otherwise",)), ("delivery", ("otherwise",)),
    ]  # fmt: skip


def test_a_value_that_a_rule_needs_and_that_is_not_given_is_named() -> None:
    with pytest.raises(NotGiven) as caught:
        walk(shipped(), {**PARAMS, "amount": 5000}, {})
    message = str(caught.value)
    assert "'route', rule 2" in message
    assert "needs steps.check_credit.credit_class, which is not given" in message
    assert "check_credit: {credit_class: ...}" in message
    assert "\n" not in message


def test_a_value_of_a_step_that_was_skipped_fails_the_branch_as_in_airflow() -> None:
    steps = """\
  route: {branch: [{when: params.amount > 10.0, then: [big]}, {otherwise: [join]}]}
  big: {J, outputs: {size: {log: log, match: '(x)', type: integer}}}
  join: {J, after: [big]}
  next: {after: [join], branch: [{when: steps.big.size > 3, then: [end]}, {otherwise: []}]}
  end: {J}
"""
    told = walk(small(steps), {"amount": 1}, {})
    states = {step.id: step for step in told.steps}
    assert (states["next"].state, states["end"].state, told.ends) == ("failed", "stopped", "failed")
    assert "step 'big' left no value 'size': it did not run, or was skipped" in states["next"].why


def test_a_text_with_a_value_of_a_skipped_step_fails_its_step() -> None:
    steps = """\
  route: {branch: [{when: params.amount > 10.0, then: [big]}, {otherwise: [join]}]}
  big: {J, outputs: {size: {log: log, match: '(x)', type: integer}}}
  join: {unix.script: {connection: c, script: run, args: ["{{ steps.big.size }}"]}, after: [big]}
"""
    told = walk(small(steps), {"amount": 1}, {})
    assert [(step.state, step.id) for step in told.steps][-1] == ("failed", "join")
    assert "'big'" in told.steps[-1].why
    unknown = walk(small(steps), {"amount": 11}, {})
    assert unknown.ends == "success"
    assert unknown.unfilled == {"steps.big.size": ("join",)}
    assert walk(small(steps), {"amount": 11}, {"big": {"size": 3}}).unfilled == {}


@pytest.mark.parametrize(
    ("result", "state", "outcome"),
    [
        ({"rc": 0}, "ran", "success"),
        ({"rc": 4}, "ran", "warning"),
        ({"rc": 8}, "failed", None),
        ({"rc": 4, "outcome": "success"}, "ran", "warning"),
        ({"outcome": "failed"}, "failed", None),
        ({"outcome": "warning"}, "ran", "warning"),
        ({"ending": "abended", "rc": 12}, "failed", None),
        ({"ending": "cancelled", "rc": 0}, "failed", None),
        ({"rc": None, "code": "declared by eve", "outcome": "success", "job_id": None}, "ran", "success"),
        ({}, "ran", "success"),
    ],
)
def test_a_return_code_is_judged_by_the_steps_own_rules(
    result: dict[str, Any], state: str, outcome: str | None
) -> None:
    first = walk(shipped(), PARAMS, {"check_credit": result}).steps[0]
    assert (first.id, first.state) == ("check_credit", state)
    assert first.values.get("outcome") == outcome


def test_a_failed_step_stops_what_depends_on_it_and_nothing_else() -> None:
    steps = "  a: {J}\n  b: {J, after: [a]}\n  c: {J}\n  d: {J, after: [b, c]}\n"
    told = walk(small(steps), {}, {"a": {"outcome": "failed"}})
    assert {step.id: (step.state, step.why) for step in told.steps} == {
        "a": ("failed", "given as failed"),
        "b": ("stopped", "a failed"),
        "c": ("ran", ""),
        "d": ("stopped", "a failed"),
    }
    assert told.takes == ("a", "c")
    assert told.ends == "failed"


@pytest.mark.parametrize(
    ("answer", "approval", "state", "ends"),
    [
        ("approved", "", "ran", "success"),
        ("rejected", "", "stopped", "failed"),
        ("rejected", ", on_reject: skip", "skipped", "success"),
        ("nobody", ", within: 1h", "stopped", "failed"),
        ("nobody", ", within: 1h, on_timeout: approve", "ran", "success"),
        ("nobody", ", within: 1h, on_timeout: reject, on_reject: skip", "skipped", "success"),
    ],
)
def test_an_approval(answer: str, approval: str, state: str, ends: str) -> None:
    told = walk(
        small(f"  ask: {{approval: {{subject: Well?{approval}}}}}\n  go: {{J, after: [ask]}}\n"),
        {},
        {"ask": {"answer": answer}},
    )
    assert (told.steps[1].state, told.ends) == (state, ends)


def test_an_approval_without_an_answer_is_asked_for_only_where_the_path_comes_to_it() -> None:
    stream = small(BRANCHING)
    assert walk(stream, {}, {"book": {"grade": "A"}}).takes == ("book", "route", "send")
    with pytest.raises(NotGiven, match="the approval 'ask', and its answer is not given"):
        walk(stream, {"amount": 11}, {})
    with pytest.raises(NotGiven, match="'ask' has no time limit"):
        walk(stream, {"amount": 11}, {"ask": {"answer": "nobody"}})


def test_a_person_may_send_a_branch_another_way() -> None:
    told = walk(shipped(), {**PARAMS, "amount": 20000}, {"route": {"chooses": ["size"], "by": "eve"}})
    assert "approve" not in told.takes
    assert told.choices[0].fired == ()
    assert "as eve wants" in next(step.why for step in told.steps if step.id == "route")


def test_an_outcome_rule_over_the_code_needs_the_code() -> None:
    steps = "  a: {J, outcome: {success: 'rc == 0 || code == \"X\"'}}\n"
    with pytest.raises(NotGiven, match=r"its outcome rule .* reads code, which is not given"):
        walk(small(steps), {}, {"a": {"rc": 0}})
    assert walk(small(steps), {}, {"a": {"rc": 1, "code": "X"}}).ends == "success"


def test_a_table_decides() -> None:
    steps = """\
  rate:
    decision:
      inputs: {amount: params.amount}
      outputs: {level: string}
      rows:
        - {when: {amount: "> 100"}, then: {level: high}}
        - {otherwise: {level: low}}
  route: {after: [rate], branch: [{when: steps.rate.level == "high", then: [a]}, {otherwise: [b]}]}
  a: {J}
  b: {J}
"""
    assert walk(small(steps), {"amount": 101}, {}).takes == ("rate", "route", "a")
    told = walk(small(steps), {"amount": 100}, {})
    assert told.takes == ("rate", "route", "b")
    assert told.steps[0].why == "no row fits, so otherwise (amount = 100)"


def test_all_rules_that_hold_are_taken_and_the_join_waits_for_all() -> None:
    steps = """\
  checks:
    branch:
      match: all
      rules:
        - {when: params.amount > 10.0, then: [credit]}
        - {when: params.copies > 1, then: [stock]}
      otherwise: [ship]
  credit: {J}
  stock: {J}
  ship: {J, after: [checks, credit, stock]}
"""
    told = walk(small(steps), {"amount": 11, "copies": 2}, {"stock": {"outcome": "failed"}})
    assert (told.choices[0].fired, told.choices[0].chosen) == ((1, 2), ("credit", "stock"))
    assert {step.id: step.state for step in told.steps}["ship"] == "stopped"
    assert walk(small(steps), {"copies": 2}, {}).takes == ("checks", "stock", "ship")
    assert walk(small(steps), {}, {}).takes == ("checks", "ship")
    why = walk(small(steps), {"amount": 11, "copies": 2}, {}).steps[0].why
    assert "rule 1 holds: params.amount > 10.0; rule 2 holds: params.copies > 1" in why


@pytest.mark.parametrize(
    ("more", "state", "takes", "ends"),
    [
        ("", "success", ("ledger", "route", "send"), "success"),
        (", within: 1h, on_timeout: go_on", "none", ("ledger", "route"), "success"),
        (", within: 1h", "none", ("ledger",), "failed"),
        (", on_failure: fail", "failed", ("ledger",), "failed"),
    ],
)
def test_a_stream_that_is_waited_for_has_come_unless_a_case_says_otherwise(
    more: str, state: str, takes: tuple[str, ...], ends: str
) -> None:
    steps = f"""\
  ledger: {{wait_for: {{stream: general_ledger{more}}}}}
  route:
    after: [ledger]
    branch: [{{when: steps.ledger.state == "success", then: [send]}}, {{otherwise: []}}]
  send: {{J}}
"""
    told = walk(small(steps), {}, {"ledger": {"state": state}} if state != "success" else {})
    assert (told.takes, told.ends) == (takes, ends)
    if ends == "failed":
        assert told.steps[0].why == f"the wait for general_ledger ended, and its state was: {state}"
