"""The picture of a stream, which the executive view shows without having its template.

How a user would notice that it is fake: the graph lacks a step, a version of Airflow's has no picture, or the same
template makes a new version of its DAG at every parse.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from airflow_enterprise_orch.value_stream.compile import PICTURE, compile_stream, plan_stream
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.paths import Paths
from airflow_enterprise_orch.value_stream.picture import picture_text

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path for path in (ROOT / "dag_templates").glob("*.yaml") if path.stem.isidentifier())


def drawn(path: Path) -> dict[str, Any]:
    """Return the picture as Airflow keeps it, read from the serialized DAG."""
    data = json.loads(json.dumps(DagSerialization.to_dict(compile_stream(ValueStream.load(path)))))
    found = [task["__var"][PICTURE] for task in data["dag"]["tasks"] if PICTURE in task["__var"]]
    assert len(found) == 1
    read: dict[str, Any] = json.loads(found[0])
    return read


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_shows_every_step_and_every_task_of_the_shipped_streams(path: Path) -> None:
    stream, shown = ValueStream.load(path), drawn(path)
    assert (shown["id"], shown["digest"], shown["title"]) == (stream.id, stream.digest(), stream.title)
    assert sorted(step["id"] for step in shown["steps"]) == sorted(stream.steps)
    assert {stack["id"] for stack in shown["stacks"]} == {step["stack"] for step in shown["steps"]}
    of_steps = {task for step in shown["steps"] for task in (step["id"], *step.get("tasks", {}))}
    assert of_steps | set(shown.get("tasks", {})) == {task.task_id for task in Paths(stream).tasks}
    before = {step["id"]: set(step["after"]) for step in shown["steps"]}
    assert {(first, then) for first, then, _ in shown["edges"]} == {
        (first, then) for then, firsts in before.items() for first in firsts
    }


def test_it_tells_the_rules_and_the_business_of_the_shipped_order() -> None:
    shown = drawn(ROOT / "dag_templates" / "order_to_certificate.yaml")
    stream = ValueStream.load(ROOT / "dag_templates" / "order_to_certificate.yaml")
    assert shown["business"]["key"] == stream.business.key
    branch = next(step for step in shown["steps"] if step["kind"] == "branch")
    assert branch["rules"]
    assert {then for rule in branch["rules"] for then in rule["then"]} <= set(stream.steps)
    jobs = [step for step in shown["steps"] if step["kind"] == "mainframe.job"]
    assert jobs
    assert all(step["stack"] == "mainframe" and step["system"] == "mainframe" for step in jobs)


def test_it_tells_what_an_action_must_know_of_a_step() -> None:
    text = """
value_stream: s
title: S
business: {domain: D, owner: o}
steps:
  count:
    unix.script: {connection: c, command: /count}
    outputs: {total: {log: log, match: 'TOTAL=([0-9]+)', type: integer}}
    restart: ask
  pay: {after: [count], restart: never, wait_until: {for: 1h}}
  after: {after: [pay], wait_for: {stream: rates, elsewhere: true}}
"""
    stream = ValueStream.load(text, name="s.yaml")
    steps = {step["id"]: step for step in json.loads(picture_text(stream, Paths(stream)))["steps"]}
    assert (steps["count"]["restart"], steps["count"]["outputs"]) == ("ask", {"total": "integer"})
    assert steps["pay"]["restart"] == "never"
    assert "restart" not in steps["after"]
    assert (steps["after"]["waits_on"], "waits_on" in steps["pay"]) == ("rates", False)


def test_its_text_is_the_same_in_every_process() -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from airflow_enterprise_orch.value_stream.model import ValueStream\n"
        "from airflow_enterprise_orch.value_stream.paths import Paths\n"
        "from airflow_enterprise_orch.value_stream.picture import picture_text\n"
        "stream = ValueStream.load(Path(sys.argv[1])); print(picture_text(stream, Paths(stream)))"
    )
    path = ROOT / "dag_templates" / "insurance_claim.yaml"
    told = [
        subprocess.run(
            [sys.executable, "-c", program, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]
        for seed in ("1", "2")
    ]
    stream = ValueStream.load(path)
    assert told[0] == told[1] == picture_text(stream, Paths(stream))


def test_a_task_that_starts_reads_it_as_one_text() -> None:
    plan = plan_stream(ValueStream.load(ROOT / "dag_templates" / "order_to_certificate.yaml"))
    carried = [task.arguments[PICTURE] for task in plan.tasks if PICTURE in task.arguments]
    assert len(carried) == 1
    assert isinstance(carried[0], str)
    assert len(carried[0]) < len(json.dumps(plan.to_json())) / 2
