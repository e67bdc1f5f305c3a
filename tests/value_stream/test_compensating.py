"""Undoing what was done: once, seen by later steps, and told by the tools."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.serialization.serialized_objects import DagSerialization
from streams_for_tests import Store

from airflow_enterprise_orch.doctor import connections_of, pools_of
from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.template_tools.diff import diff
from airflow_enterprise_orch.template_tools.explain import explain
from airflow_enterprise_orch.template_tools.graph import draw
from airflow_enterprise_orch.template_tools.lint import hints
from airflow_enterprise_orch.template_tools.walk import walk
from airflow_enterprise_orch.value_stream.compensating import (
    UNDO_KEY,
    BeforeUndoing,
    RefuseUndone,
    after_undoing,
    before_undoing,
    refuse_undone,
)
from airflow_enterprise_orch.value_stream.compile import compile_stream, plan_stream
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.plan import StreamPlan
from airflow_enterprise_orch.value_stream.surroundings import Surroundings

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
    assert undo._pre_execute_hook == BeforeUndoing("reserve")
    assert dag.get_task("ship")._pre_execute_hook == RefuseUndone(("reserve", "book"))
    assert dag.get_task("reserve")._pre_execute_hook is None
    assert isinstance(dag.get_task("reserve--failure"), EmptyOperator)
    assert [task.task_id for task in dag.leaves] == ["stream--end"]


def test_it_is_the_same_from_the_plan_and_in_every_process() -> None:
    plan = plan_stream(STREAM, source_hash="h")
    again = StreamPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again.build().get_task("ship")._pre_execute_hook == RefuseUndone(("reserve", "book"))
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
        "step book: what undoes it: command changed from '/cancel' to '/storno'"
    ]


ITEMS = """
value_stream: payments
title: Payments
business: {domain: Tests, owner: tests, criticality: high}
params: {banks: {type: list, items: string, default: [a, b]}}
alerts: [{on: [failed], to: {webhook: {connection: desk}}}]
groups: {money: {title: Money}}
steps:
  reserve:
    title: Reserve the sum
    group: money
    unix.script: {connection: host, command: /reserve}
    publishes: [reserved]
    compensate: {unix.script: {connection: other, command: /release, args: ["{{ steps.reserve.job_id }}"]}}
  pay:
    group: money
    after: [reserve]
    for_each: {item: params.banks, max: 5}
    unix.script: {connection: host, command: /pay, args: ["{{ item }}"]}
  ship: {after: [pay], unix.script: {connection: host, command: /ship}}
"""


def test_a_step_with_a_list_looks_before_each_item_and_all_are_over_before_anything_is_undone() -> None:
    stream = ValueStream.load(ITEMS)
    dag = compile_stream(stream, source_hash="h")
    looks = RefuseUndone(("reserve",))
    assert dag.get_task("pay-items")._pre_execute_hook == looks
    # An item that is cleared alone would otherwise be paid although its sum is released.
    mapped: Any = dag.get_task("pay-each")
    assert mapped.unmap({"item": "a"})._pre_execute_hook == looks
    # The step has failed when its first item has, and the others may still be at work.
    assert dag.get_task("reserve--settled").upstream_task_ids == {"pay", "pay-each", "ship"}
    told = walk(stream, {}, {"pay": {"outcome": "failed"}})
    assert (told.compensates, told.ends) == (("reserve",), "failed")


def test_what_undoes_stands_in_the_group_of_its_step_is_watched_and_publishes_nothing() -> None:
    dag = compile_stream(ValueStream.load(ITEMS), source_hash="h")
    undo = dag.get_task("reserve--undo")
    assert undo.task_group is not None
    assert undo.task_group.group_id == "money"
    assert (undo._pre_execute_hook, undo.outlets) == (BeforeUndoing("reserve"), [])
    assert isinstance(undo.on_failure_callback, list)
    assert dag.get_task("reserve").outlets
    mapped: Any = dag.get_task("pay-each")
    assert mapped.unmap({"item": "a"}).on_failure_callback == undo.on_failure_callback


def test_what_undoes_is_as_urgent_as_its_step_and_holds_a_resource_of_its_own() -> None:
    """A release that stands in line behind a thousand new reservations comes too late."""
    text = ITEMS.replace("    publishes: [reserved]\n", "    publishes: [reserved]\n    priority: critical\n")
    held = "connection: other, command: /release"
    text = text.replace("{unix.script: {" + held, "{resource: {pool: other_host, slots: 2}, unix.script: {" + held)
    stream = ValueStream.load(text)
    undo = compile_stream(stream, source_hash="h").get_task("reserve--undo")
    assert (undo.pool, undo.pool_slots, undo.priority_weight) == ("other_host", 2, 10_000)
    assert compile_stream(stream, source_hash="h").get_task("reserve").pool == "default_pool"
    assert pools_of([stream]) == {"other_host": {"payments.reserve--undo": 2}}
    assert any("other_host" in str(change) for change in diff(ValueStream.load(ITEMS), stream))


def test_the_code_that_looks_makes_no_new_version_of_a_dag() -> None:
    """Airflow writes the source of a hook into the serialized DAG."""
    text = json.dumps(DagSerialization.to_dict(compile_stream(ValueStream.load(ITEMS), source_hash="h")))
    assert "_pre_execute_hook" in text
    assert "raise AirflowFailException" not in text
    assert " at 0x" not in text


def test_a_worker_that_looks_needs_no_model_of_templates() -> None:
    code = (
        "import sys; import airflow_enterprise_orch.value_stream.compensating\n"
        "print([name for name in sys.modules if name.startswith('airflow_enterprise_orch')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "airflow_enterprise_orch.undoing" in done.stdout
    assert "value_stream.model" not in done.stdout


SHARED = """
shared: bank
defaults:
  steps: {retry: [{on: [lost], times: 1}], at_once: 3}
  unix.script: {connection: "{{ values.host }}", time_limit: 2h, env: {A: "1"}}
fragments:
  book:
    params: {order: {type: string}}
    steps:
      reserve:
        unix.script: {command: /reserve}
        outputs: {number: {log: log, match: "(.)"}}
        compensate:
          unix.script: {command: /release, args: ["{{ steps.reserve.number }} {{ params.order }}"]}
          time_limit: 1m
      check: {after: [reserve], unix.script: {command: /check}}
"""
USING = """
value_stream: s
title: S
business: {domain: D, owner: o}
params: {id: {type: string, default: O}}
use: [bank]
steps:
  first: {use: {fragment: book, with: {order: "{{ params.id }}"}}}
  last: {after: [first], unix.script: {command: /last}}
"""


def composed(root: Path, shared: str, text: str) -> ValueStream:
    (root / "bank.shared.yaml").write_text(shared)
    (root / "prod.profile.yaml").write_text("profile: prod\nvalues: {host: h1}\n")
    beside = Surroundings.on_disk(root / "s.yaml", root, "prod", shown=str)
    return ValueStream.load(text, name="s.yaml", surroundings=beside)


def test_a_fragment_takes_what_undoes_its_steps_along_and_the_defaults_hold_for_it(tmp_path: Path) -> None:
    stream = composed(tmp_path, SHARED, USING)
    undo = stream.steps["first_reserve"].compensation
    assert undo is not None
    assert undo.connection == "h1"
    assert undo.work == {
        "command": "/release",
        "args": ["{{ steps.first_reserve.number }} {{ params.id }}"],
        "env": {"A": "1"},
    }
    assert (undo.time_limit, undo.retry[0].on, undo.at_once) == (timedelta(minutes=1), ("lost",), None)
    assert compile_stream(stream, source_hash="h").get_task("first_reserve--undo").task_group.group_id == "first"


def test_a_mistake_in_what_undoes_a_fragments_step_is_told_where_it_stands(tmp_path: Path) -> None:
    with pytest.raises(TemplateError) as caught:
        composed(tmp_path, SHARED.replace("steps.reserve.number", "steps.resreve.number"), USING)
    assert str(caught.value).startswith("bank.shared.yaml:14:")
    assert "the fragment 'book' has no step 'resreve', did you mean 'steps.reserve'" in str(caught.value)


@pytest.mark.parametrize("of", ["steps", "unix.script"])
def test_what_undoes_a_step_is_no_default(tmp_path: Path, of: str) -> None:
    shared = f"shared: bank\ndefaults: {{{of}: {{compensate: {{unix.script: {{command: /x}}}}}}}}\n"
    with pytest.raises(TemplateError, match=r"compensate: there is no key 'compensate' here"):
        composed(tmp_path, shared, USING)


UNDONE_WITH = """
value_stream: orders
title: Orders
business: {domain: Tests, owner: tests}
params: {reason: {type: string, default: none}, big: {type: boolean, default: false}}
steps:
  route: {branch: [{when: params.big, then: [quote]}, {otherwise: [reserve]}]}
  quote: {unix.script: {connection: host, command: /quote}, outputs: {price: {log: log, match: "(.)"}}}
  reserve:
    after: [quote]
    unix.script: {connection: host, command: /reserve}
    outputs: {number: {log: log, match: "(.)"}}
    compensate:
      unix.script: {connection: host, command: /release, args: ["{{ steps.reserve.number }}", "{{ params.reason }}"]}
  ship: {after: [reserve], unix.script: {connection: host, command: /ship}}
"""


def test_warnings_know_what_an_undoing_reads(tmp_path: Path) -> None:
    path = tmp_path / "orders.yaml"

    def told(text: str) -> list[tuple[str, str]]:
        path.write_text(text)
        return [(hint.rule, hint.problem.what) for hint in hints(path, ValueStream.load(path))]

    assert told(UNDONE_WITH) == [("unread-output", "no step reads the output 'price'")]
    ((rule, what),) = told(UNDONE_WITH.replace("steps.reserve.number", "steps.quote.price").replace(
        '    outputs: {number: {log: log, match: "(.)"}}\n', ""
    ))  # fmt: skip
    assert rule == "missing-value"
    assert "then it cannot be undone, because steps.quote.price has no value" in what


def test_the_doctor_asks_for_the_connection_that_undoes() -> None:
    assert connections_of([ValueStream.load(ITEMS)]) == {"host": {"unix"}, "other": {"unix"}}
