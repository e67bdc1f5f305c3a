"""Due times and alerts in the DAG: what Airflow serializes, what its scheduler reads from it, what tasks call.

How a user would notice that it is fake: a due time that no scheduler knows of; a stream without one that has another
DAG than before; a password in the serialized DAG.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.serialization.decoders import decode_deadline_alert
from airflow.serialization.serialized_objects import DagSerialization
from streams_for_tests import stream

from airflow_enterprise_orch.alerts.callbacks import StepFailed, StepWentOn
from airflow_enterprise_orch.alerts.open_job import NotesItsJob
from airflow_enterprise_orch.delegation.trigger import DelegateTrigger
from airflow_enterprise_orch.value_stream.compile import compile_stream, plan_stream
from airflow_enterprise_orch.value_stream.deadline import DueReference
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.plan import StreamPlan

WATCHED = """\
value_stream: watched
title: Watched
business: {domain: Customers, owner: ops, criticality: high, key: "{{ params.order }}"}
params: {order: {type: string, default: O-1}, note: {type: string, default: none}}
schedule: {cron: "30 6 * * *", timezone: Europe/Berlin}
due: {time: "09:00"}
alerts:
  - on: [failed, ambiguous, released]
    to: {email: {connection: smtp_ops, to: [ops@example.com]}}
  - on: [late, waiting]
    send_as: critical
    to: {webhook: {connection: incident_desk, path: /in}}
  - on: [failed]
    severity: [low, normal]
    to: {slack: {connection: slack_ops, channel: "#quiet"}}
steps:
  book:
    title: Book it
    due: {within: 1h}
    unix.script: {connection: c, command: /x}
  route:
    after: [book]
    branch:
      - when: params.order == "O-2"
        then: [tell]
      - otherwise: [book_more]
  tell: {unix.script: {connection: c, command: /x}}
  book_more: {after: [tell], unix.script: {connection: c, command: /x}}
"""


@pytest.fixture
def dag() -> Any:
    return compile_stream(ValueStream.load(WATCHED), source_hash="0")


def serialized(dag: Any) -> dict[str, Any]:
    return json.loads(json.dumps(DagSerialization.to_dict(dag)))["dag"]


def test_the_scheduler_gets_each_due_time_with_what_it_needs(dag):
    written = serialized(dag)["deadline"]
    assert [one["name"] for one in written] == ["due", "due: Book it"]
    first = written[0]["reference"]
    assert first["due"] == {"time": "09:00", "timezone": "Europe/Berlin", "days": 0}
    assert (first["version"], first["step"], written[1]["reference"]["step"]) == (1, "", "book")
    for one in written:
        read = decode_deadline_alert(one).reference
        assert isinstance(read.inner_ref, DueReference)
        assert read.serialize_reference()["due"] == one["reference"]["due"]


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ((datetime(2026, 7, 1, 4, 30, tzinfo=UTC), None, "manual"), datetime(2026, 7, 1, 7, 0, tzinfo=UTC)),
        (
            (datetime(2026, 7, 1, 4, 30, tzinfo=UTC).replace(tzinfo=None), None, "scheduled"),
            datetime(2026, 7, 1, 7, 0, tzinfo=UTC),
        ),
        ((datetime(2026, 7, 1, 4, 30, tzinfo=UTC), None, "backfill"), None),
        (None, None),
    ],
)
def test_what_the_scheduler_reckons_for_a_run(run, expected):
    names = ("run_after", "logical_date", "run_type")
    row = SimpleNamespace(**dict(zip(names, run, strict=True))) if run else None
    session = SimpleNamespace(execute=lambda _: SimpleNamespace(one_or_none=lambda: row))
    reference = DueReference({"time": "09:00", "timezone": "Europe/Berlin", "days": 0})
    assert reference._evaluate_with(session=session, dag_id="a", run_id="b") == expected


def test_a_late_callback_knows_the_rules_for_lateness_and_no_others(dag):
    kwargs = dag.deadline[1].callback.kwargs
    (rule,) = kwargs["alerts"]["rules"]
    assert rule == {
        "on": ["late", "waiting"],
        "severity": "critical",
        "after": 0.0,
        "to": [{"kind": "webhook", "connection": "incident_desk", "path": "/in"}],
    }
    assert kwargs["step"] == {"id": "book", "title": "Book it", "system": "unix.script", "connection": "c"}
    assert kwargs["alerts"]["defaults"] == {"order": "O-1"}


def test_tasks_that_workers_run_have_callbacks_and_the_others_none(dag):
    for task in dag.tasks:
        worked = task.task_type != "EmptyOperator"
        assert [type(one) for one in task.on_failure_callback] == ([StepFailed] if worked else [])
        assert [type(one) for one in task.on_success_callback] == ([StepWentOn] if worked else [])
    rules = dag.get_task("book").on_failure_callback[0].alerts["rules"]
    assert [rule["on"] for rule in rules] == [["failed", "ambiguous", "released"], ["late", "waiting"]]  # high, not low


def test_the_plan_for_workers_makes_the_same_dag():
    made = plan_stream(ValueStream.load(WATCHED), source_hash="0")
    again = StreamPlan.from_json(json.loads(json.dumps(made.to_json())))
    assert serialized(again.build()) == serialized(made.build())


def test_a_stream_without_them_has_nothing_of_it():
    plain = plan_stream(stream("a: {unix.script: {connection: c, command: /x}}"), source_hash="0")
    assert plain.watch is None
    written = serialized(plain.build())
    assert written["deadline"] is None
    assert "_callback" not in json.dumps(written["tasks"])


def test_rules_for_lateness_alone_put_nothing_on_tasks():
    text = WATCHED.replace("on: [failed, ambiguous, released]", "on: [late]").replace("[late, waiting]", "[late]")
    made = compile_stream(ValueStream.load(text), source_hash="0")
    assert not any(task.on_failure_callback for task in made.tasks)
    assert len(made.deadline) == 2


def test_the_documentation_says_when_it_is_due(dag):
    assert "- due: by 09:00 Europe/Berlin on its business day\n" in dag.doc_md


@pytest.mark.parametrize(("old", "new", "noted"), [("", "", True), ("[late, waiting]", "[waiting]", False)])
def test_steps_note_their_jobs_where_lateness_is_told(old: str, new: str, noted: bool):
    made = compile_stream(ValueStream.load(WATCHED.replace(old, new)), source_hash="0")
    book, route = made.get_task("book"), made.get_task("route")
    assert (book.trigger_class == NotesItsJob(DelegateTrigger)) is noted
    assert noted or book.trigger_class is DelegateTrigger
    assert not hasattr(route, "trigger_class"), "it has no job"
