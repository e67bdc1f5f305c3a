"""A decision in a running instance: what it leaves, what it keeps, and when it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from streams_for_tests import Store, context_for

from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.decision import DecisionStep
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY
from airflow_enterprise_orch.value_stream.model import ValueStream

TEMPLATE = """
value_stream: risk
title: Risk
business: {domain: Tests, owner: tests}
params: {amount: {type: number, minimum: 0}}
steps:
  check: {unix.script: {connection: host, script: "true"}, outputs: {grade: {log: log, match: "(.)"}}}
  risk:
    title: Which risk?
    after: [check]
    decision:
      inputs: {amount: params.amount, grade: steps.check.grade}
      outputs: {risk: string, limit: number, ask: boolean}
      rows:
        - {when: {amount: "> 10000"}, then: {risk: high, limit: 0, ask: true}}
        - {when: {grade: [B, C]}, then: {risk: medium, limit: 5000, ask: true}}
        - otherwise: {risk: low, limit: 20000.5, ask: false}
  route:
    after: [risk]
    branch: [{when: steps.risk.ask && steps.risk.limit < 1.0, then: [approve]}, {otherwise: []}]
  approve: {approval: {subject: "Release a {{ steps.risk.risk }} risk?"}}
"""


def decide(amount: Any, grade: str | None) -> tuple[Any, Store]:
    operator = compile_stream(ValueStream.load(TEMPLATE), source_hash="h").get_task("risk")
    assert isinstance(operator, DecisionStep)
    store = Store()
    left = {"check": {"grade": grade}} if grade is not None else {"check": None}
    return operator.execute(context_for(operator, params={"amount": amount}, left=left, store=store)), store


@pytest.mark.parametrize(
    ("amount", "grade", "fired", "outputs"),
    [
        (20000, "A", 1, {"risk": "high", "limit": 0, "ask": True}),
        (20000.5, "B", 1, {"risk": "high", "limit": 0, "ask": True}),
        (10000, "C", 2, {"risk": "medium", "limit": 5000, "ask": True}),
        (10, "A", "otherwise", {"risk": "low", "limit": 20000.5, "ask": False}),
    ],
)
def test_the_row_that_counts_is_kept_with_what_it_saw(
    amount: float, grade: str, fired: Any, outputs: dict[str, Any]
) -> None:
    result, store = decide(amount, grade)
    assert result == outputs
    record = store[DECISION_KEY]
    assert (record["kind"], record["policy"], record["fired"]) == ("table", "first", [fired])
    assert record["outputs"] == outputs
    assert [way["id"] for way in record["ways"]] == [1, 2, "otherwise"]
    assert record["values"] == {"amount": amount, "grade": grade}
    assert record["reads"] == {"amount": "params.amount", "grade": "steps.check.grade"}


def test_an_input_that_is_not_there_stops_the_instance_by_name() -> None:
    with pytest.raises(AirflowFailException, match=r"decision 'risk': steps\.check\.grade has no value"):
        decide(1, None)


@pytest.mark.parametrize(
    ("hit", "value", "line"),
    [("first", 7, "no row fits x = 7, and there is no otherwise"), ("unique", 1, "rows 1, 2 all fit x = 1; one may")],
)
def test_what_no_check_can_foresee_stops_the_instance(hit: Any, value: int, line: str) -> None:
    rows = [{"when": {"x": "<= 1"}, "then": {"y": 1}}, {"when": {"x": 1}, "then": {"y": 2}}]
    with DAG("s", schedule=None, auto_register=False):
        operator = DecisionStep(task_id="t", hit=hit, inputs={"x": "params.x"}, kinds={"x": "int"}, rows=rows)
    with pytest.raises(AirflowFailException, match=line):
        operator.execute(context_for(operator, params={"x": value}, left={}, store=Store()))


def test_people_see_the_table_in_airflow() -> None:
    task = compile_stream(ValueStream.load(TEMPLATE), source_hash="h").get_task("risk")
    assert "| 2 | - | B, C | medium | 5000 | True |" in task.doc_md
    assert "| otherwise | - | - | low | 20000.5 | False |" in task.doc_md
