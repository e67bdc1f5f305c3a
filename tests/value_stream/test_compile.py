"""From a checked template to a DAG: what Airflow is told, the same in every process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.serialization.serialized_objects import DagSerialization
from streams_for_tests import Delegate, stream, test_system  # noqa: F401  # the fixture

from airflow_enterprise_orch.value_stream.admission import AdmitStep
from airflow_enterprise_orch.value_stream.approval import ApprovalStep
from airflow_enterprise_orch.value_stream.branch import BranchStep
from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.model import ValueStream

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "dag_templates" / "order_to_certificate.yaml"
GOLDEN = Path(__file__).parent / "golden" / "order_to_certificate.json"

WHOLE = """\
value_stream: whole
title: The whole of it
description: What it does.
business: {domain: Customers, owner: ops, criticality: high, key: "{{ params.order }}", duplicates: queue}
params:
  order: {type: string, title: Order, description: Its number., pattern: "^O-[0-9]+$", default: O-1}
  amount: {type: number, minimum: 0, maximum: 10, default: 1}
  size: {type: string, choices: [s, l], default: s}
  fast: {type: boolean, default: false}
schedule: {cron: "30 6 * * *", timezone: Europe/Berlin}
limits: {instances: 7, steps: 3}
tags: [orders]
steps:
  book:
    title: Book it
    test.job: {connection: c, text: "{{ params.order }} {{ business.owner }}"}
    outcome: {success: rc <= 4, warning: rc == 4}
    outputs: {grade: {log: SYSPRINT, match: 'CLASS=(.)'}}
    retry: [{on: [failed], times: 2, delay: 5s}]
    time_limit: 1h
  route:
    after: [book]
    branch:
      - when: params.amount > 5.0 && steps.book.grade == "B"
        then: [approve]
      - otherwise: [deliver]
  approve:
    approval:
      subject: "Release {{ params.order }}, {{ steps.book.grade }}?"
      assignees: [eve]
      within: 2h
      on_timeout: reject
      on_reject: skip
  deliver: {after: [approve], test.job: {connection: d, text: "{{ steps.book.grade }} {{ ds }}"}}
"""


@pytest.fixture
def whole(test_system: None) -> Any:  # noqa: F811
    return compile_stream(ValueStream.load(WHOLE, name="whole.yaml"), source_hash="abc123", source="whole.yaml")


def test_the_dag_is_what_the_template_says(whole: Any) -> None:
    assert (whole.dag_id, whole.dag_display_name) == ("whole", "The whole of it")
    assert (whole.max_active_runs, whole.max_active_tasks, whole.catchup) == (7, 3, False)
    assert whole.tags == {"Customers", "orders", "value-stream"}
    assert whole.task_dict["book"].owner == "ops"
    assert whole.task_dict["book"].task_display_name == "Book it"
    assert (whole.timetable.expression, str(whole.timetable.timezone)) == ("30 6 * * *", "Europe/Berlin")


def test_its_documentation_names_the_business_and_the_template(whole: Any) -> None:
    for line in ("# The whole of it", "What it does.", "- domain: Customers", "- business key: `{{ params.order }}`"):
        assert line in whole.doc_md
    assert "- template: `whole.yaml`, version `abc123`" in whole.doc_md


def test_the_form_that_starts_a_run_is_typed(whole: Any) -> None:
    schemas = {name: whole.params.get_param(name).schema for name in whole.params}
    assert schemas == {
        "order": {"type": "string", "title": "Order", "pattern": "^O-[0-9]+$"},
        "amount": {"type": "number", "minimum": 0, "maximum": 10},
        "size": {"type": "string", "enum": ["s", "l"]},
        "fast": {"type": "boolean"},
    }
    assert whole.params.get_param("order").description == "Its number."
    assert whole.params["fast"] is False


def test_a_param_without_a_default_must_be_given(test_system: None) -> None:  # noqa: F811
    from airflow.sdk.exceptions import ParamValidationError

    text = "value_stream: s\ntitle: S\nbusiness: {domain: D, owner: o}\nparams: {n: {type: integer}}\n"
    text += "steps: {a: {test.job: {connection: c}}}\n"
    dag = compile_stream(ValueStream.load(text), source_hash="x")
    with pytest.raises(ParamValidationError):
        dag.params.validate()


def test_a_delegated_step_is_made_by_its_systems_operator(whole: Any) -> None:
    book = whole.task_dict["book"]
    assert isinstance(book, Delegate)
    assert book.made_from == {
        "step": "test.job",
        "connection": "c",
        "work": {"text": "{{ params.order }} {{ business.owner }}"},
        "outcome": {"success": "rc <= 4", "warning": "rc == 4"},
        "outputs": {"grade": {"log": "SYSPRINT", "match": "CLASS=(.)", "type": "string"}},
        "retry": [{"on": ["failed"], "times": 2, "delay": 5.0}],
        "time_limit": 3600.0,
        "stream": {
            "params": True,
            "steps": [],
            "business": {"domain": "Customers", "owner": "ops", "criticality": "high"},
            "business_key": "{{ params.order }}",
        },
    }
    assert whole.task_dict["deliver"].made_from["stream"]["steps"] == ["book"]


def test_admission_branch_and_approval_are_in_their_places(whole: Any) -> None:
    admit, route, approve = (whole.task_dict[name] for name in ("admit", "route", "approve"))
    assert isinstance(admit, AdmitStep)
    assert (admit.business_key, admit.duplicates, admit.downstream_task_ids) == (
        "{{ params.order }}",
        "queue",
        {"book"},
    )
    assert isinstance(route, BranchStep)
    plan = route.op_kwargs["plan"]
    assert plan["variables"] == {"params.amount": "double", "steps.book.grade": "string"}
    assert plan["routes"] == {"deliver": "route-deliver"}
    assert isinstance(whole.task_dict["route-deliver"], EmptyOperator)
    assert isinstance(approve, ApprovalStep)
    assert (approve.on_reject, approve.defaults, approve.response_timeout.total_seconds()) == ("skip", ["Reject"], 7200)
    assert approve.stream["steps"] == ["book"]
    assert whole.task_dict["deliver"].upstream_task_ids == {"approve", "route-deliver"}
    assert whole.task_dict["deliver"].trigger_rule == "none_failed_min_one_success"


def test_without_a_key_or_with_duplicates_allowed_there_is_no_admission(test_system: None) -> None:  # noqa: F811
    assert list(compile_stream(stream("a: J}"), source_hash="x").task_dict) == ["a"]
    assert list(compile_stream(stream("a: J}", head=", key: '{{ params.n }}'"), source_hash="x").task_dict) == ["a"]


def test_the_params_are_serialized_once_not_with_every_task(whole: Any) -> None:
    data = DagSerialization.to_dict(whole)["dag"]
    assert [name for name, _ in data["params"]] == ["order", "amount", "size", "fast"]
    assert not any(task["__var"].get("params") for task in data["tasks"])


def test_nothing_is_left_behind_in_airflows_registration(whole: Any) -> None:
    from airflow.sdk.definitions._internal.contextmanager import DagContext

    assert not DagContext.autoregistered_dags
    assert whole.auto_register is False


SETTINGS = """
book: {test.job: {connection: c}, resource: {pool: sap_dialog, slots: 2}, at_once: 3, priority: critical}
route: {after: [book], priority: 7, branch: [{when: params.n > 1, then: [send]}, {otherwise: []}]}
send: {test.job: {connection: c}}
"""


def told(dag: Any, name: str) -> dict[str, Any]:
    """Return what the scheduler reads of a task."""
    task = DagSerialization.from_dict(DagSerialization.to_dict(dag)).get_task(name)
    settings = ("pool", "pool_slots", "max_active_tis_per_dag", "priority_weight")
    return {
        **{key: getattr(task, key) for key in settings},
        "in all": task.weight_rule.get_weight(cast("Any", SimpleNamespace(task=task))),
    }


def test_the_scheduler_is_told_of_pools_priorities_and_limits(test_system: None) -> None:  # noqa: F811
    dag = compile_stream(stream(SETTINGS), source_hash="x")
    default = {"pool": "default_pool", "pool_slots": 1, "max_active_tis_per_dag": None}
    assert told(dag, "book") == {
        "pool": "sap_dialog",
        "pool_slots": 2,
        "max_active_tis_per_dag": 3,
        "priority_weight": 10_000,
        "in all": 10_000,
    }
    assert told(dag, "route") == {**default, "priority_weight": 7, "in all": 7}
    assert told(dag, "send") == {**default, "priority_weight": 100, "in all": 100}


@pytest.mark.parametrize(
    ("head", "weight"),
    [
        ("", 100),
        (", criticality: low", 1),
        (", criticality: high", 1000),
        (", criticality: critical}\npriority: low\nlimits: {steps: 9", 1),
        ("}\npriority: 70\nlimits: {steps: 9", 70),
    ],
)
def test_a_stream_without_a_priority_has_that_of_its_criticality(
    test_system: None,  # noqa: F811
    head: str,
    weight: int,
) -> None:
    steps = "a: {test.job: {connection: c}}\nb: {after: [a], approval: {subject: Q}}"
    dag = compile_stream(stream(steps, head=head), source_hash="x")
    # Of two streams the more critical one is first whatever comes behind: nothing is added up over later steps.
    assert [told(dag, name)["in all"] for name in ("a", "b")] == [weight, weight]


def test_another_text_is_another_dag_version(test_system: None) -> None:  # noqa: F811
    model = stream("a: J}")
    one, two = (DagSerialization.to_dict(compile_stream(model, source_hash=text)) for text in ("1", "2"))
    assert one != two


def test_no_serialized_text_holds_a_memory_address(whole: Any) -> None:
    assert " at 0x" not in json.dumps(DagSerialization.to_dict(whole), default=repr)


def serialized(template: Path, seed: str) -> str:
    """Serialize a template's DAG in a process of its own."""
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from airflow.serialization.serialized_objects import DagSerialization\n"
        "from airflow_enterprise_orch.value_stream.loader import build\n"
        "path = Path(sys.argv[1])\n"
        "dag = build(path.read_bytes(), path.name)\n"
        "dag.fileloc = dag.relative_fileloc = path.name\n"
        "data = DagSerialization.to_dict(dag)\n"
        "print(json.dumps(data, indent=1, sort_keys=True))\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", code, str(template)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout[done.stdout.index("{") :]


def test_what_waits_and_is_started_by_files_is_the_same_in_every_process(tmp_path: Path) -> None:
    template = tmp_path / "orders.yaml"
    template.write_text(
        "value_stream: orders\ntitle: O\n"
        'business: {domain: D, owner: o, key: "{{ params.b }}", announce: [business_key, business_date]}\n'
        "params: {b: {type: string, default: x}, a: {type: integer, default: 1}}\n"
        "schedule: {file_arrival: {connection: c, pattern: '*', params: {b: path, a: size}}}\n"
        "steps:\n  w: {wait_for: {stream: other, offset: -1, within: 1h}}\n"
    )
    one, two = serialized(template, "1"), serialized(template, "4711")
    assert one == two
    assert " at 0x" not in one
    (asset,) = json.loads(one)["dag"]["timetable"]["__var"]["asset_condition"]["objects"]
    (watcher,) = asset["watchers"]
    assert watcher["trigger"]["kwargs"]["watch"]["__var"]["pattern"] == "*"


BY_THE_TEMPLATE = ("task_id", "task_type", "_task_module", "_task_display_name", "trigger_rule", "downstream_task_ids")


def test_the_shipped_template_gives_the_same_dag_in_every_process_and_the_golden_one() -> None:
    one, two = serialized(TEMPLATE, "1"), serialized(TEMPLATE, "4711")
    assert one == two
    data = json.loads(one)
    data["dag"].pop("_processor_dags_folder", None)  # this machine's folder
    for task in data["dag"]["tasks"]:
        operator = task["__var"]
        if operator["_task_module"].startswith("airflow_enterprise_orch.systems."):
            # What else a system's operator serializes is its own affair.
            task["__var"] = {name: operator[name] for name in BY_THE_TEMPLATE if name in operator}
    text = json.dumps(data, indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), "the compiled DAG changed: check the difference, then run with UPDATE_GOLDEN=1"
