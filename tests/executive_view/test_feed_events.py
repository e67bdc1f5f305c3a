"""What the audit trail says: each thing once, with the moment at which it happened and who did it.

How a user would notice that it is fake: an answer stands there with the time at which the feed looked, a rebuild or
another leader tells everything twice, a decision after a clear is missing because it came out as the first one did, or
nobody knows who said that a job did not run.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import ledger_cell
from airflow_enterprise_orch.executive_view.airflow_tables import Facts, Question
from airflow_enterprise_orch.executive_view.feed_acts import acts
from airflow_enterprise_orch.executive_view.feed_events import Happened, Whose, deleted, happened, keep, late
from airflow_enterprise_orch.executive_view.tables import EVENT
from airflow_enterprise_orch.value_stream.decision_record import (
    DECISION_KEY,
    RULES,
    Decision,
    Override,
    ways_of_rules,
)

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
PICTURE = {
    "steps": [
        {"id": "post", "kind": "sap.background_job"},
        {"id": "route", "kind": "branch"},
        {"id": "approve", "title": "Approve it", "kind": "approval"},
        {"id": "ship", "kind": "stream", "tasks": {"ship-each": "each"}},
    ]
}
ROW = {
    "started_by": None,
    "params": {},
    "due_at": None,
    "ended_at": None,
    "state": "running",
    "health": "on_time",
    "live": True,
}
RUN = Whose(7, "orders", "r1")


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def facts(cells: dict[tuple[str, int], dict[str, Any]] | None = None, *questions: Question) -> Facts:
    run = SimpleNamespace(id=7, dag_id="orders", run_id="r1", created_at=ago(60))
    one = Facts(run, questions=list(questions))
    one.cells = defaultdict(dict, cells or {})
    return one


def told(one: Facts, **row: Any) -> list[Happened]:
    return list(happened(one, PICTURE, {**ROW, **row}, NOW))


def asked(task: str, **more: Any) -> Question:
    empty: dict[str, Any] = {"answered": None, "by": None, "chosen": None, "given": {}}
    values = {
        "map_index": -1,
        "subject": "Did it run?",
        "body": None,
        "options": ["Yes", "No"],
        "asked": ago(30),
    }
    return Question(**{**values, **empty, "task_id": task, **more})


def decided(at: datetime, by: str = "") -> str:
    over = Override(by, "the customer is new", ("post",)) if by else None
    rules = ways_of_rules([{"when": "params.amount > 1", "then": ["approve"]}], ["post"])
    record = Decision("branch", "first", rules, {}, (1,), by or RULES, at, chosen=("approve",), overridden=over)
    return json.dumps(record.to_json())


@pytest.fixture
def engine() -> Engine:
    made = create_engine("sqlite://")
    EVENT.create(made)
    return made


def kept(engine: Engine, *many: Happened, whose: Whose = RUN) -> list[Any]:
    with engine.begin() as connection:
        keep(connection, [(whose, one) for one in many])
        return list(connection.execute(select(EVENT).order_by(EVENT.c.id)))


def test_a_decision_carries_its_own_moment_and_its_rule():
    (event,) = told(facts({("route", -1): {DECISION_KEY: decided(ago(20))}}))
    assert (event.kind, event.at, event.task_id, event.actor) == ("decision", ago(20), "route", RULES)
    assert event.after == ["approve"]
    assert event.reason == "goes on with “Approve it”: rule 1 holds: params.amount > 1"


def test_an_override_names_the_person_the_reason_and_what_the_rules_wanted():
    (event,) = told(facts({("route", -1): {DECISION_KEY: decided(ago(20), by="ann")}}))
    assert (event.kind, event.actor, event.reason) == ("override", "ann", "the customer is new")
    assert (event.before, event.after) == (["post"], ["approve"])


def test_a_delegated_step_that_asks_is_parked_and_the_answer_tells_who_which_option_and_why():
    answer = {"answered": ago(3), "by": {"id": "7", "name": "Ann"}, "chosen": ["It did not run: hand it over"]}
    given = {"reason": "SM37 is empty", "job_id": None}
    parked, answered = told(facts(None, asked("post", **answer, given=given)))
    assert (parked.kind, parked.at, parked.reason) == ("parked", ago(30), "Did it run?")
    assert (answered.kind, answered.at, answered.actor, answered.reason) == ("answered", ago(3), "Ann", "SM37 is empty")
    assert answered.after == {"answer": ["It did not run: hand it over"]}
    assert answered.before == {"question": "Did it run?"}


def test_a_job_that_a_person_named_is_part_of_the_answer():
    answer = {"answered": ago(3), "by": {"id": "7", "name": "Ann"}, "chosen": ["Adopt"], "given": {"job_id": "0815"}}
    _, answered = told(facts(None, asked("post", **answer)))
    assert answered.after == {"answer": ["Adopt"], "job_id": "0815"}
    assert answered.reason is None


def test_an_approval_is_asked_and_a_time_limit_that_answers_is_nobody():
    question, answered = told(facts(None, asked("approve", answered=ago(1), chosen=["Approve"])))
    assert question.kind == "asked"
    assert (answered.actor, answered.after) == ("nobody", {"answer": ["Approve"]})


def test_a_sub_stream_is_told_with_its_instance_also_one_of_a_list():
    handle = JobHandle("K" * 20, "ship_1", "shipping")
    out = Attempt(1, "K" * 20, state=AttemptState.SUBMITTED, system="this Airflow", handle=handle,
                  opened=ago(9).isoformat())  # fmt: skip
    away = replace(out, system="sap://erp")
    cells = {("ship-each", 2): {ledger_cell(1): json.dumps(Ledger((out,)).to_json())},
             ("post", -1): {ledger_cell(1): json.dumps(Ledger((away,)).to_json())}}  # fmt: skip
    (event,) = told(facts(cells))
    assert (event.kind, event.at, event.task_id, event.map_index) == ("sub_stream", ago(9), "ship-each", 2)
    assert event.after == {"dag_id": "shipping", "run_id": "ship_1"}


def test_who_started_an_instance_is_told_once_and_no_step_of_another_stream_is_a_person(engine: Engine):
    (event,) = told(facts(), started_by="ann")
    assert (event.kind, event.at, event.actor) == ("triggered", ago(60), "ann")
    assert len(kept(engine, event, *told(facts(), started_by="ann", state="failed"))) == 1
    assert told(facts(), started_by="ann", params={"orch.started_by": {"stream": "sales"}}) == []


def logged(number: int, event: str, minutes: float, **more: Any) -> Any:
    extra = more.pop("extra", None)
    given = {"id": number, "event": event, "dttm": ago(minutes), "dag_id": "orders", "run_id": "r1", "task_id": None,
             "map_index": None, "owner": "ann", "extra": json.dumps(extra) if extra is not None else None}  # fmt: skip
    return SimpleNamespace(**{**given, **more})


RUNS = {("orders", "r1"): SimpleNamespace(id=7, created_at=ago(60))}


def test_what_people_did_in_airflows_own_pages_is_told_from_its_log(engine: Engine):
    entries = [
        logged(1, "post_clear_task_instances", 50, extra={
            "dry_run": False, "task_ids": ["post", "ship"], "include_downstream": True, "only_failed": False}),
        logged(2, "patch_dag_run", 40, extra={"state": "failed", "note": "the customer withdrew"}),
        logged(3, "patch_task_instance", 30, task_id="post", map_index=2, extra={"new_state": "success"}),
        logged(4, "clear_dag_run", 20, extra={"dry_run": False}),
        logged(5, "patch_dag_run", 10, extra={"note": "only a note"}),
        logged(6, "post_clear_task_instances", 9, extra={"dry_run": True}),
        logged(7, "delete_dag_run", 8),
        logged(8, "enterprise_orch.hold", 7),
        logged(9, "clear_dag_run", 6, run_id="of another run"),
        logged(10, "clear_dag_run", 70),
        logged(11, "patch_dag_run", 5, extra="nonsense"),
    ]  # fmt: skip
    rows = kept_of(engine, acts(entries, RUNS))
    assert [(row.kind, row.actor, row.at.replace(tzinfo=UTC), row.reason) for row in rows] == [
        ("cleared", "ann", ago(50), None),
        ("marked", "ann", ago(40), "the customer withdrew"),
        ("marked", "ann", ago(30), None),
        ("cleared", "ann", ago(20), None),
    ]
    assert rows[0].after == {"task_ids": ["post", "ship"], "include_downstream": True}
    assert [row.after for row in rows[1:]] == [{"state": "failed"}, {"state": "success"}, None]
    assert (rows[2].task_id, rows[2].map_index) == ("post", 2)
    assert kept_of(engine, acts(entries, RUNS)) == rows, "another leader reads the same log"


def kept_of(engine: Engine, events: Any) -> list[Any]:
    with engine.begin() as connection:
        keep(connection, events)
        return list(connection.execute(select(EVENT).order_by(EVENT.c.id)))


def test_late_is_told_from_the_due_time_on_and_only_then():
    assert told(facts(), due_at=NOW + timedelta(seconds=1)) == []
    assert [(one.kind, one.at) for one in told(facts(), due_at=ago(5))] == [("late", ago(5))]
    over = {"live": False, "state": "success", "health": "on_time", "ended_at": ago(6)}
    assert [one.kind for one in told(facts(), due_at=ago(5), **over)] == ["ended"]
    assert [one.kind for one in told(facts(), due_at=ago(7), **{**over, "health": "late"})] == ["late", "ended"]


def test_the_end_says_how_and_when():
    (event,) = told(facts(), live=False, state="failed", health="failed", ended_at=ago(2))
    assert (event.kind, event.at, event.after) == ("ended", ago(2), {"state": "failed", "health": "failed"})


def test_what_was_seen_twice_is_kept_once(engine: Engine):
    one = facts(
        {("route", -1): {DECISION_KEY: decided(ago(20))}}, asked("approve", answered=ago(1), chosen=["Approve"])
    )
    many = told(one, due_at=ago(5), ended_at=ago(1), live=False, state="success", health="late")
    first = kept(engine, *many)
    assert [row.kind for row in first] == ["asked", "decision", "late", "answered", "ended"]
    assert kept(engine, *many, *many) == first


def test_what_happened_again_is_kept_again(engine: Engine):
    """A step that was cleared decides as before, asks as before, and the instance ends as before."""
    for minutes in (20, 10):
        one = facts({("route", -1): {DECISION_KEY: decided(ago(minutes))}}, asked("approve", asked=ago(minutes)))
        kept(engine, *told(one, ended_at=ago(minutes - 5), live=False, state="success", health="no_due"))
    assert [row.kind for row in kept(engine)] == ["decision", "asked", "ended"] * 2


def test_a_question_that_airflow_takes_along_into_the_next_try_is_told_once_and_each_answer_to_it(engine: Engine):
    first = asked("approve", answered=ago(5), chosen=["Reject"])
    kept(engine, *told(facts(None, first)))
    # The step was cleared: the try before has the question, and so has the one that is to come.
    kept(engine, *told(facts(None, first, first)))
    kept(engine, *told(facts(None, first, asked("approve"))))
    rows = kept(engine, *told(facts(None, first, asked("approve", answered=ago(1), chosen=["Approve"]))))
    assert [(row.kind, row.after and row.after.get("answer")) for row in rows] == [
        ("asked", None),
        ("answered", ["Reject"]),
        ("answered", ["Approve"]),
    ]


def test_a_run_made_again_under_its_name_is_another(engine: Engine):
    kept(engine, late(ago(5)), deleted({"state": "running"}, ago(4), "ann"))
    rows = kept(engine, late(ago(5)), whose=replace(RUN, number=8))
    assert [row.kind for row in rows] == ["late", "deleted", "late"]
    assert rows[1].actor == "ann"


def test_a_record_that_somebody_edited_into_nonsense_is_no_event():
    assert told(facts({("route", -1): {DECISION_KEY: '{"version": 99}'}})) == []
