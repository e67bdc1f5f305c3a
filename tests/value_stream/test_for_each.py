"""Work that is done for each item of a list: what the DAG is, what an item sees, what is refused beforehand."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from streams_for_tests import context_for

from airflow_enterprise_orch.delegation.conduct_types import Wait
from airflow_enterprise_orch.delegation.operator import DelegateOperator
from airflow_enterprise_orch.delegation.retry import INFRASTRUCTURE_RETRIES
from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.template_tools.walk import walk
from airflow_enterprise_orch.value_stream.compile import compile_stream, plan_stream
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.plan import StreamPlan

TEMPLATE = """
value_stream: pay_all
title: Pay all
business: {domain: D, owner: o, key: "{{ params.month }}"}
params:
  countries: {type: list, items: string, default: [DE, FR], min_items: 0, max_items: 60}
  month: {type: string, default: 2026-01}
steps:
  route:
    branch:
      - {when: size(params.countries) > 1 && "DE" in params.countries, then: [pay]}
      - otherwise: []
  pay:
    title: Pay
    unix.script: {connection: c, command: /pay, args: ["{{ item }}", "{{ params.month }}", "{{ business.key }}"]}
    for_each: {item: params.countries, max: 50, at_once: 5}
    retry: [{on: [failed], times: 2}]
  tell: {after: [pay], unix.script: {connection: c, command: /tell, args: ["{{ steps.pay.count }}"]}}
"""


def load() -> ValueStream:
    return ValueStream.load(TEMPLATE)


def test_the_work_is_mapped_between_the_list_and_the_end() -> None:
    plan = plan_stream(load(), source_hash="h")
    dag = StreamPlan.from_json(json.loads(json.dumps(plan.to_json()))).build()
    items, each, done = (dag.get_task(f"pay{part}") for part in ("-items", "-each", ""))
    assert items.upstream_task_ids == {"route"}
    assert each.upstream_task_ids == {"pay-items"}
    assert done.upstream_task_ids == {"pay-items", "pay-each"}
    assert done.trigger_rule == "none_failed_min_one_success", "an empty list would skip what follows"
    assert dag.get_task("tell").upstream_task_ids == {"pay"}
    assert each.is_mapped
    assert each.max_active_tis_per_dagrun == 5
    assert each.retries == INFRASTRUCTURE_RETRIES + 2
    assert dag.get_task("route").op_kwargs["plan"]["routes"] == {"pay": "pay-items"}
    assert dag.params.get_param("countries").schema["items"] == {"type": "string"}


def test_an_item_is_filled_in_and_never_taken_for_jinja() -> None:
    each = compile_stream(load(), source_hash="h").get_task("pay-each")
    operator = each.unmap({"item": "{{ 7 * 7 }}"})
    assert isinstance(operator, DelegateOperator)
    context = context_for(operator, params={"month": "2026-02"})
    operator._do_render_template_fields(operator, ("work",), context, None, set())
    assert operator.work["args"] == ["{{ 7 * 7 }}", "2026-02", "2026-02"]
    assert operator._unrendered is None


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([str(n) for n in range(51)], "params.countries has 51 items, for_each takes 50 at most; nothing was handed"),
        (["DE", "FR", "DE"], "params.countries has 'DE' more than once"),
        ("DE", "params.countries is no list"),
        (None, "params.countries is no list"),
    ],
)
def test_a_list_that_is_not_right_stops_before_anything_leaves(items: Any, message: str) -> None:
    operator = compile_stream(load(), source_hash="h").get_task("pay-items")
    with pytest.raises(AirflowFailException, match=message):
        operator.execute(context_for(operator, params={"countries": items}))


def test_an_empty_list_is_a_list() -> None:
    operator = compile_stream(load(), source_hash="h").get_task("pay-items")
    assert operator.execute(context_for(operator, params={"countries": []})) == []


@pytest.mark.parametrize(("items", "good"), [(["DE", "FR", "IT"], 2), ([], 0)])
def test_later_steps_read_how_many_there_were(monkeypatch: pytest.MonkeyPatch, items: list[str], good: int) -> None:
    asked: dict[str, Any] = {}

    def count(**arguments: Any) -> int:
        asked.update(arguments)
        return good

    monkeypatch.setattr(RuntimeTaskInstance, "get_ti_count", staticmethod(count))
    operator = compile_stream(load(), source_hash="h").get_task("pay")
    context = context_for(operator, left={"pay-items": items})
    context["ti"].run_id = "run-1"
    assert operator.execute(context) == {"count": len(items), "done": good}
    assert (asked["task_ids"], asked["states"]) == (["pay-each"], ["success"])


def test_a_simulation_fills_in_every_item() -> None:
    found = walk(load(), {"countries": ["DE", "FR", "IT"]}, {})
    (pay,) = [step for step in found.steps if step.id == "pay"]
    assert (pay.state, pay.values["count"], found.ends) == ("ran", 3, "success")
    assert walk(load(), {"countries": [f"DE{n}" for n in range(50)] + ["DE"]}, {}).ends == "failed"


def test_conditions_know_lists_by_their_type() -> None:
    wrong = TEMPLATE.replace('size(params.countries) > 1 && "DE" in params.countries', "params.countries > 3")
    with pytest.raises(TemplateError, match="'>' compares list with integer"):
        ValueStream.load(wrong)


def test_controls_and_ledgers_are_those_of_one_item() -> None:
    """The task state store is one per map index; the trigger carries it, to ask for that item's state alone."""
    each = compile_stream(load(), source_hash="h").get_task("pay-each")
    operator = each.unmap({"item": "DE"})
    ti = SimpleNamespace(dag_id="pay_all", run_id="r", task_id="pay-each", map_index=3, try_number=1)
    attempt = SimpleNamespace(handle=SimpleNamespace(to_json=dict), system="s")
    assert operator._waiting({"ti": ti}, Wait(attempt, None)).map_index == 3
