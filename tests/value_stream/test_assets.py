"""Streams that assets start, and steps that publish them; the business date in a step's texts.

How a user would notice that it is fake: the step succeeds and no event comes; the other stream waits for an asset of
another name; the step of a run on Sunday gets Sunday's date.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization
from streams_for_tests import context_for, test_system  # noqa: F401  # the fixture

from airflow_enterprise_orch.instance import render_text
from airflow_enterprise_orch.value_stream.compile import compile_stream, plan_stream
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.plan import StreamPlan

HEAD = "title: S\nbusiness: {domain: D, owner: o}\n"


def built(schedule: str = "", more: str = "") -> Any:
    step = f"{{unix.script: {{connection: c, command: /bin/true}}{more}}}"
    text = f"value_stream: s\n{HEAD}{schedule}\nsteps: {{a: {step}}}\n"
    plan = plan_stream(ValueStream.load(text))
    return StreamPlan.from_json(json.loads(json.dumps(plan.to_json()))).build()


def condition(dag: Any) -> Any:
    return json.loads(json.dumps(DagSerialization.to_dict(dag)))["dag"]["timetable"]["__var"]["asset_condition"]


def test_all_assets_must_have_an_event() -> None:
    assert condition(built("schedule: {assets: [balances, s3://bank/rates]}")) == {
        "__type": "asset_all",
        "objects": [
            {"__type": "asset_ref", "name": "balances"},
            {"__type": "asset_ref", "uri": "s3://bank/rates"},
        ],
    }


def test_any_of_them_is_enough() -> None:
    assert condition(built("schedule: {assets: [balances], match: any}"))["__type"] == "asset_any"


def test_a_step_publishes_under_the_name_that_a_schedule_looks_for() -> None:
    dag = built(more=", publishes: [balances, rates]")
    task = json.loads(json.dumps(DagSerialization.to_dict(dag)))["dag"]["tasks"][0]["__var"]
    assert [(outlet["__var"]["name"], outlet["__var"]["uri"]) for outlet in task["outlets"]] == [
        ("balances", "balances"),
        ("rates", "rates"),
    ]
    assert "outlets" not in DagSerialization.to_dict(built())["dag"]["tasks"][0]["__var"]


def test_a_step_with_a_list_publishes_once_after_the_last_item() -> None:
    params = "params: {files: {type: list, items: string, default: []}}"
    work = "{unix.script: {connection: c, command: /bin/true, args: ['{{ item }}']}"
    text = f"{work}, publishes: [rates], for_each: {{item: params.files, max: 9}}}}"
    dag = compile_stream(ValueStream.load(f"value_stream: s\n{HEAD}{params}\nsteps: {{a: {text}}}\n"))
    published = {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets}
    assert published == {"a": ["rates"]}


DATED = """\
value_stream: s
title: S
business: {domain: D, owner: o, key: "{{ business_date }}", duplicates: reject}
params: {business_date: {type: string, default: ""}}
schedule: {cron: "0 18 * * *", timezone: Europe/Berlin, calendar: days}
steps: {a: {test.job: {connection: c, text: "{{ business_date }} {{ business.key }}"}}}
"""


@pytest.fixture
def dated(tmp_path: Path, test_system: None) -> Any:  # noqa: F811
    (tmp_path / "calendars").mkdir()
    (tmp_path / "calendars" / "days.yaml").write_text("calendar: days\nfrom: 2026\nto: 2026\n")
    (tmp_path / "s.yaml").write_text(DATED)
    return compile_stream(ValueStream.load(tmp_path / "s.yaml"))


def test_a_step_gets_the_business_date_of_its_run(dated: Any) -> None:
    made = dated.task_dict["a"].made_from
    context: Any = context_for(dated.task_dict["a"])  # a run on Sunday, 2026-03-01
    assert render_text(made["work"]["text"], context, made["stream"]) == "2026-02-27 2026-02-27"
    rerun: Any = context_for(dated.task_dict["a"], params={"business_date": "2026-01-30"})
    assert render_text(made["work"]["text"], rerun, made["stream"]) == "2026-01-30 2026-01-30"


def test_the_admission_knows_an_instance_by_the_same_date(dated: Any) -> None:
    admit = dated.task_dict["admit"]
    assert render_text(admit.business_key, context_for(admit), admit.stream) == "2026-02-27"  # type: ignore[arg-type]


def test_only_steps_that_read_it_carry_the_calendar(tmp_path: Path, test_system: None) -> None:  # noqa: F811
    text = DATED.replace("{{ business_date }} {{ business.key }}", "x").replace('key: "{{ business_date }}"', "key: k")
    (tmp_path / "calendars").mkdir()
    (tmp_path / "calendars" / "days.yaml").write_text("calendar: days\nfrom: 2026\nto: 2026\n")
    (tmp_path / "s.yaml").write_text(text)
    dag = compile_stream(ValueStream.load(tmp_path / "s.yaml"))
    assert "dates" not in dag.task_dict["a"].made_from["stream"]
    assert dag.task_dict["admit"].stream == {}
