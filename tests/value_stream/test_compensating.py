"""Undoing what was done: once, seen by later steps, and told by the tools."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.serialization.serialized_objects import DagSerialization
from streams_for_tests import Store

from airflow_enterprise_orch.template_tools.diff import diff
from airflow_enterprise_orch.template_tools.explain import explain
from airflow_enterprise_orch.template_tools.graph import draw
from airflow_enterprise_orch.template_tools.walk import walk
from airflow_enterprise_orch.value_stream.compensating import UNDO_KEY, after_undoing, before_undoing, refuse_undone
from airflow_enterprise_orch.value_stream.compile import compile_stream, plan_stream
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.plan import StreamPlan

TEMPLATE = """
value_stream: orders
title: Orders
business: {domain: Tests, owner: tests}
params: {order_id: {type: string, default: O-1}}
steps:
  reserve:
    unix.script: {connection: host, command: /reserve, args: ["{{ params.order_id }}"]}
    outputs: {number: {log: log, match: "(.)"}}
    compensate:
      unix.script: {connection: host, command: /release, args: ["{{ steps.reserve.number }}"]}
      retry: [{on: [failed], times: 2}]
      time_limit: 5m
  book:
    after: [reserve]
    unix.script: {connection: host, command: /book}
    compensate: {unix.script: {connection: host, command: /cancel, args: ["{{ steps.reserve.number }}"]}}
  ask: {after: [book], approval: {subject: ok}}
  ship: {after: [ask], unix.script: {connection: host, command: /ship}}
"""
STREAM = ValueStream.load(TEMPLATE)
OK = {"ask": {"answer": "approved"}, "reserve": {"number": "7"}}


class Instance:
    """What the tasks of one instance left, as each of them sees it."""

    def __init__(self) -> None:
        self.xcom: dict[tuple[str, str], Any] = {("reserve", "return_value"): {"job_id": "1", "ended": "10:00"}}
        self.states: dict[str, str] = {"reserve": "success"}
        self.stores: dict[str, Store] = {}

    def context(self, task: str) -> dict[str, Any]:
        instance = self

        class TaskInstance:
            task_id, dag_id = task, "orders"
            log = __import__("logging").getLogger("test")

            def xcom_pull(self, *, task_ids: str, key: str) -> Any:
                return instance.xcom.get((task_ids, key))

            def xcom_push(self, key: str, value: Any) -> None:
                instance.xcom[task, key] = json.loads(json.dumps(value))

            def get_task_states(self, *, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
                return {run_ids[0]: {name: instance.states[name] for name in task_ids if name in instance.states}}

        # Airflow takes away a task's XCom whenever it starts.
        for key in [key for key in self.xcom if key[0] == task and key[0].endswith("--undo")]:
            del self.xcom[key]
        return {
            "ti": TaskInstance(),
            "run_id": "run-1",
            "task_state_store": self.stores.setdefault(task, Store()),
        }

    def undo(self) -> None:
        context = self.context("reserve--undo")
        before_undoing("reserve", context)
        after_undoing("reserve", context)


def test_a_later_step_that_is_cleared_alone_does_not_run_on_what_was_undone() -> None:
    instance = Instance()
    refuse_undone(["reserve"], instance.context("ship"))
    instance.undo()
    with pytest.raises(AirflowFailException, match=r"'reserve' did is undone, since .*; clear 'reserve' with all"):
        refuse_undone(["reserve"], instance.context("ship"))


def test_what_is_just_being_undone_counts_as_undone() -> None:
    instance = Instance()
    before_undoing("reserve", instance.context("reserve--undo"))
    with pytest.raises(AirflowFailException, match="or being undone, since"):
        refuse_undone(["reserve"], instance.context("ship"))


def test_what_was_done_anew_is_not_undone_and_can_be_undone_again() -> None:
    instance = Instance()
    instance.undo()
    instance.xcom["reserve", "return_value"] = {"job_id": "2", "ended": "11:00"}
    refuse_undone(["reserve"], instance.context("ship"))
    instance.undo()
    with pytest.raises(AirflowFailException):
        refuse_undone(["reserve"], instance.context("ship"))


def test_nothing_is_undone_twice_and_later_steps_know_all_the_same() -> None:
    instance = Instance()
    instance.undo()
    with pytest.raises(AirflowSkipException, match="what step 'reserve' did is undone already"):
        before_undoing("reserve", instance.context("reserve--undo"))
    with pytest.raises(AirflowFailException):
        refuse_undone(["reserve"], instance.context("ship"))


def test_an_undoing_that_did_not_end_goes_on() -> None:
    instance = Instance()
    before_undoing("reserve", instance.context("reserve--undo"))
    instance.undo()
    assert instance.stores["reserve--undo"][UNDO_KEY]["done"] is not None


def test_the_old_result_of_a_step_that_is_skipped_now_stops_nobody() -> None:
    instance = Instance()
    instance.undo()
    instance.states["reserve"] = "skipped"
    refuse_undone(["reserve"], instance.context("ship"))


def test_the_dag_has_a_task_that_undoes_and_looks_before_it_does() -> None:
    dag = compile_stream(STREAM, source_hash="h")
    undo = dag.get_task("reserve--undo")
    assert undo.work["command"] == "/release"
    assert (undo.time_limit, undo.retry[0]["times"], undo.task_display_name) == (300.0, 2, "undo: reserve")
    assert undo.stream["steps"] == ["reserve"]
    assert undo.upstream_task_ids == {"reserve", "reserve--failure", "reserve--settled"}
    assert "book--undo" in dag.get_task("reserve--settled").upstream_task_ids
    assert undo._pre_execute_hook.args == ("reserve",)
    assert dag.get_task("ship")._pre_execute_hook.args == (("book", "reserve"),)
    assert dag.get_task("reserve")._pre_execute_hook is None
    assert isinstance(dag.get_task("reserve--failure"), EmptyOperator)
    assert [task.task_id for task in dag.leaves] == ["stream--end"]


def test_it_is_the_same_from_the_plan_and_in_every_process() -> None:
    plan = plan_stream(STREAM, source_hash="h")
    again = StreamPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again.build().get_task("ship")._pre_execute_hook.args == (("book", "reserve"),)
    text = json.dumps(DagSerialization.to_dict(plan.build()), sort_keys=True)
    assert text == json.dumps(DagSerialization.to_dict(again.build()), sort_keys=True)
    assert " at 0x" not in text


def test_a_stream_that_undoes_nothing_has_no_such_tasks() -> None:
    plain = ValueStream.load(
        TEMPLATE[: TEMPLATE.index("    compensate:")] + "  ship: {unix.script: {connection: c, script: x}}"
    )
    assert [task.task_id for task in compile_stream(plain, source_hash="h").tasks] == ["reserve", "ship"]


def test_simulation_undoes_in_reverse() -> None:
    told = walk(STREAM, {}, {**OK, "ship": {"outcome": "failed"}})
    assert (told.compensates, told.ends) == (("book", "reserve"), "failed")
    assert walk(STREAM, {}, {**OK, "book": {"outcome": "failed"}}).compensates == ("reserve",)
    assert walk(STREAM, {}, {**OK, "ask": {"answer": "rejected"}}).compensates == ("book", "reserve")
    told = walk(STREAM, {}, OK)
    assert (told.compensates, told.ends) == ((), "success")


def test_it_is_explained_drawn_and_compared() -> None:
    assert "undone when a step after it fails: unix.script, connection host" in explain(STREAM)
    assert ", can be undone" in draw(STREAM)
    other = ValueStream.load(TEMPLATE.replace("command: /cancel", "command: /storno"))
    assert [change.text for change in diff(STREAM, other)] == [
        "step book: compensate.unix.script.command changed from '/cancel' to '/storno'"
    ]
