"""A step that fails because the template says so."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowFailException
from streams_for_tests import context_for

from airflow_enterprise_orch.template_tools.explain import explain
from airflow_enterprise_orch.template_tools.walk import walk
from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.fail import FailStep
from airflow_enterprise_orch.value_stream.model import ValueStream

TEMPLATE = """
value_stream: refuse
title: Refuse
business: {domain: Tests, owner: tests}
params: {order_id: {type: string}, amount: {type: number}}
steps:
  book: {unix.script: {connection: host, script: "true"}, outputs: {limit: {log: log, match: "(.)", type: integer}}}
  route:
    after: [book]
    branch: [{when: params.amount > 100.0, then: [over]}, {otherwise: [ship]}]
  over: {fail: {message: "Order {{ params.order_id }} is over the limit of {{ steps.book.limit }}"}}
  ship: {unix.script: {connection: host, script: "true"}}
  beside: {after: [book], unix.script: {connection: host, script: "true"}}
"""
STREAM = ValueStream.load(TEMPLATE)
PARAMS = {"order_id": "O-1", "amount": 101}


def operator() -> FailStep:
    return compile_stream(STREAM, source_hash="h").get_task("over")


def test_it_fails_for_good_with_its_message() -> None:
    context = context_for(operator(), params=PARAMS, left={"book": {"limit": 100}})
    with pytest.raises(AirflowFailException) as failure:
        operator().execute(context)
    assert str(failure.value) == "Order O-1 is over the limit of 100"


def test_a_message_that_cannot_be_written_fails_as_well_and_says_so() -> None:
    with pytest.raises(AirflowFailException, match=r"step 'over': .*'limit'"):
        operator().execute(context_for(operator(), params=PARAMS, left={"book": {}}))


def test_airflow_renders_nothing_in_it() -> None:
    assert tuple(operator().template_fields) == ()
    hidden = TEMPLATE.replace("{{ params.order_id }}", "{{ params.order_id | d('{{ conn.host.password }}') }}")
    failing = compile_stream(ValueStream.load(hidden), source_hash="h").get_task("over")
    context = context_for(
        failing, params={**PARAMS, "order_id": "{{ conn.host.password }}"}, left={"book": {"limit": 1}}
    )
    with pytest.raises(AirflowFailException, match=r"Order \{\{ conn.host.password \}\} is over the limit of 1"):
        failing.execute(context)


def test_an_instance_that_comes_to_it_ends_failed_and_other_paths_go_on() -> None:
    told = walk(STREAM, PARAMS, {"book": {"limit": 100}})
    assert (told.ends, told.takes) == ("failed", ("book", "route", "over", "beside"))
    assert next(step.why for step in told.steps if step.id == "over") == "Order O-1 is over the limit of 100"
    assert walk(STREAM, {**PARAMS, "amount": 100}, {}).ends == "success"


def test_it_is_explained() -> None:
    assert "ends the path as failed: Order {{ params.order_id }} is over the limit" in explain(STREAM)
    assert "leaves limit: used by over" in explain(STREAM)
