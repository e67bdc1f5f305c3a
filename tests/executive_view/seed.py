"""What the feed would have written: two streams of one customer, and one that most may not see.

Runs inside the process of ``served.py``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.task_state_store import TaskStateStoreModel as Cell
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import insert, update

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import ledger_cell
from airflow_enterprise_orch.delegation.remote_note import NOTE_KEY
from airflow_enterprise_orch.executive_view import logs, tables, turns
from airflow_enterprise_orch.value_stream.decision_record import (
    DECISION_KEY,
    RULES,
    Decision,
    Override,
    ways_of_rules,
)

NOW = datetime.now(UTC).replace(microsecond=0)
ORDERS, CLAIMS, SECRET = "orders", "claims", "takeover"
STREAMS = {
    ORDERS: ("Order to cash", "Sales", "customer-operations", "high"),
    CLAIMS: ("Insurance claim", "Claims", "claims-office", "medium"),
    SECRET: ("Hostile takeover", "Board", "board", "high"),
}


def picture(dag_id: str, version: int = 1) -> dict[str, Any]:
    """A stream that books on the mainframe, decides, has a person approve large orders, and posts in SAP."""
    title, domain, owner, criticality = STREAMS[dag_id]
    steps = [
        {"id": "book", "title": "Book it", "kind": "mainframe.job", "stack": "mainframe", "after": [],
         "system": "mainframe", "connection": "zos_prod"},
        {"id": "route", "title": "Large?", "kind": "branch", "stack": "decisions", "after": ["book"], "match": "first",
         "rules": [{"when": "params.amount > 10000.0", "then": ["approve"]}], "otherwise": ["post"]},
        {"id": "approve", "title": "Approve it", "kind": "approval", "stack": "people", "after": ["route"],
         "subject": "Release it?"},
        {"id": "post", "title": "Post it", "kind": "sap.background_job", "stack": "sap", "after": ["route", "approve"],
         "system": "sap", "connection": "sap_erp" if version == 1 else "sap_s4"},
    ]  # fmt: skip
    if version > 1:
        steps.append({"id": "tell", "title": "Tell them", "kind": "unix.script", "stack": "unix", "after": ["post"]})
    titles = {"mainframe": "Mainframe", "decisions": "Decisions", "people": "People", "sap": "SAP", "unix": "UNIX"}
    return {
        "version": 1, "id": dag_id, "digest": str(version), "title": title, "description": f"{title}, all of it",
        "business": {"domain": domain, "owner": owner, "criticality": criticality, "key": "{{ params.order_id }}"},
        "params": {"order_id": {"title": "Order", "type": "string"}}, "timezone": "UTC", "due": {"within": 3600.0},
        "stacks": [{"id": name, "title": titles[name]} for name in dict.fromkeys(one["stack"] for one in steps)],
        "steps": steps,
    }  # fmt: skip


def stamp(minutes: float) -> str:
    return (NOW + timedelta(minutes=minutes)).isoformat()


def gone_well(began: float, *, large: bool, post: float = 12) -> dict[str, Any]:
    """The steps of an instance that ended well; minutes from now."""
    at = began
    steps: dict[str, Any] = {}

    def step(name: str, lasts: float, **more: Any) -> None:
        nonlocal at
        steps[name] = {"state": "success", "try": 1, "queued": stamp(at), "started": stamp(at + 0.1), **more}
        at += lasts
        steps[name]["ended"] = stamp(at)

    step("book", 5)
    chosen = ["approve"] if large else ["post"]
    step(
        "route",
        0.2,
        decision={"fired": [1 if large else "otherwise"], "chosen": chosen, "by": "the rules", "overridden": False},
    )
    if large:
        step("approve", 60)
    else:
        steps["approve"] = {"state": "skipped"}
    step("post", post)
    return steps


def instance(dag_id: str, number: int, **given: Any) -> dict[str, Any]:
    """A live instance, that began half an hour ago and is due in half an hour; ``given`` changes it."""
    key = given.pop("key", f"{dag_id[:3].upper()}-{number:06}")
    row = {
        "dag_id": dag_id, "run_id": f"run-{number}", "airflow_id": number, "in_airflow": False, "version": 1,
        "business_key": key, "business_key_lower": key.casefold(), "business_date": date(2026, 11, 24),
        "run_type": "manual", "started_by": None, "params": {"order_id": key, "amount": 20000.0}, "state": "running",
        "live": True, "run_after": NOW - timedelta(minutes=31), "queued_at": NOW - timedelta(minutes=31),
        "started_at": NOW - timedelta(minutes=30), "ended_at": None, "due_at": NOW + timedelta(minutes=30),
        "first_due_at": None, "health": "on_time", "late_seconds": None, "current_step": "book",
        "current_stack": "mainframe", "waits_for": "remote_job", "waiting_people": 0, "parked": 0, "failed_steps": 0,
        "forecast_p50": None, "forecast_p90": None, "forecast_n": None,
        "steps": {"book": {"state": "running", "try": 1, "queued": stamp(-30), "started": stamp(-30)}},
        "acknowledged_by": None, "acknowledged_at": None, "revision": 1, "changed_at": NOW,
    }  # fmt: skip
    return {**row, **given}


def ended(dag_id: str, number: int, began: float, *, large: bool = False, post: float = 12) -> dict[str, Any]:
    """An instance that ended well; ``began`` in minutes from now."""
    steps = gone_well(began, large=large, post=post)
    end = datetime.fromisoformat(steps["post"]["ended"])
    start = NOW + timedelta(minutes=began)
    late = max(0, int((end - start - timedelta(hours=1)).total_seconds()))
    return instance(
        dag_id, number, state="success", live=False, run_after=start, queued_at=start, started_at=start, ended_at=end,
        due_at=start + timedelta(hours=1), health="late" if late else "on_time", late_seconds=late, steps=steps,
        current_step=None, current_stack=None, waits_for=None,
    )  # fmt: skip


RULE = ways_of_rules([{"when": "params.amount > 10000.0", "then": ["approve"]}], ["post"])
"""Of each order's branch."""


def add(table: str, rows: list[dict[str, Any]]) -> None:
    with create_session() as session:
        for row in rows:
            session.execute(insert(tables.metadata.tables[table]).values(**row))
        session.execute(update(tables.LEASE).values(revision=tables.LEASE.c.revision + 1, as_of=datetime.now(UTC)))


def fill() -> None:
    """Write what the tests begin with."""
    with create_session() as session:
        tables.metadata.create_all(session.get_bind(), checkfirst=True)
        session.execute(
            insert(tables.LEASE).values(name="feed", holder="", until=NOW, revision=1, cursor={}, as_of=NOW)
        )
    for dag_id, (title, domain, owner, criticality) in STREAMS.items():
        versions = (1, 2) if dag_id == ORDERS else (1,)
        for version in versions:
            add("orch_stream", [{
                "dag_id": dag_id, "version": version, "digest": f"{version}" * 64, "picture": picture(dag_id, version),
                "title": title, "domain": domain, "owner": owner, "criticality": criticality,
                "first_seen": NOW - timedelta(days=9 - version), "is_current": version == versions[-1],
                "is_removed": False, "is_paused": False,
            }])  # fmt: skip
    past = [ended(ORDERS, number, -60 * number, large=number % 4 == 0, post=12 + number % 3) for number in range(2, 26)]
    # Of these Airflow has nothing any more.
    past[2]["outputs"] = {"book": {"rc": 0, "credit_class": "A"}}
    taken = Decision("branch", "first", RULE, {"params.amount": 20000.0}, (1,), RULES, NOW, chosen=("approve",))
    past[6]["decisions"] = {"route": taken.to_json()}
    add("orch_instance", past)
    late = {"due_at": NOW - timedelta(minutes=38), "health": "late", "current_step": "post", "current_stack": "sap"}
    late["steps"] = {  # type: ignore[assignment]
        **gone_well(-80, large=False),
        "post": {"state": "running", "try": 2, "queued": stamp(-42), "started": stamp(-41)},
    }
    waiting = {"waits_for": "person", "waiting_people": 1, "health": "waiting", "current_step": "approve",
               "current_stack": "people"}  # fmt: skip
    waiting["steps"] = {  # type: ignore[assignment]
        **gone_well(-20, large=True),
        "approve": {"state": "waiting_person", "try": 1, "queued": stamp(-14), "started": stamp(-14)},
        "post": {"state": "open"},
    }
    at_risk = {"health": "at_risk", "forecast_p50": NOW + timedelta(minutes=25), "forecast_n": 24,
               "forecast_p90": NOW + timedelta(minutes=50)}  # fmt: skip
    add("orch_instance", [
        instance(ORDERS, 101, **late, in_airflow=True),
        instance(ORDERS, 102, **waiting, in_airflow=True),
        instance(ORDERS, 103, **at_risk),
        instance(ORDERS, 104, due_at=None, health="no_due", key="=cmd|'/c calc'!A1"),
        instance(CLAIMS, 201),
        instance(CLAIMS, 202, health="failed", state="failed", live=False, ended_at=NOW - timedelta(hours=2)),
        instance(CLAIMS, 203, health="failed", state="failed", live=False, ended_at=NOW - timedelta(hours=30)),
        instance(CLAIMS, 204, health="failed", state="failed", live=False, ended_at=NOW, acknowledged_at=NOW),
        instance(SECRET, 301, key="TAKEOVER-1", health="late", due_at=NOW - timedelta(minutes=99)),
    ])  # fmt: skip
    in_airflow()
    today = NOW.date()
    add("orch_rollup_day", [
        {"day": today - timedelta(days=back), "dag_id": dag_id, "started": 10, "ended": 10, "on_time": 8 + (back > 8),
         "late": 2 - (back > 8), "failed": 0, "no_due": 0, "duration_sum": 9000.0, "duration_p50": 900.0,
         "duration_p90": 1800.0, "lateness": {"sap": {"late": 1, "seconds": 600.0}}, "paths": {}}
        for dag_id in (ORDERS, SECRET) for back in range(0, 40)
    ])  # fmt: skip
    with create_session() as session:
        number = {
            row.run_id: row.id
            for row in session.execute(tables.INSTANCE.select().where(tables.INSTANCE.c.dag_id.in_([ORDERS, SECRET])))
        }
    job = {"map_index": -1, "system": "sap://erp", "stack": "sap", "job_name": "ZPOST", "state": "submitted",
           "verdict": None, "message": None, "closed_by": None, "orphan": False, "opened": NOW,
           "closed": None}  # fmt: skip
    job |= {"task_id": "post", "step": "post", "attempt": 1}
    add("orch_job", [
        {**job, "instance_id": number["run-101"], "job_id": "08150001"},
        {**job, "instance_id": number["run-2"], "job_id": "08150002", "code": "status F", "rc": 1,
         "parked": "Did ZPOST 08150002 succeed?", "orphan": True},
        {**job, "instance_id": number["run-301"], "job_id": "66600001",
         "orphan": True},
    ])  # fmt: skip
    add("orch_event", [
        {"at": NOW - timedelta(minutes=minute), "dag_id": dag_id, "run_id": run_id, "task_id": "route",
         "map_index": -1, "kind": "override", "actor": "ops", "reason": f"{dag_id}: wanted", "before": ["post"],
         "after": ["approve"], "key": f"{dag_id}{minute}"}
        for minute, dag_id, run_id in ((1, ORDERS, "run-102"), (2, SECRET, "run-301"), (3, ORDERS, "run-2"))
    ])  # fmt: skip


def in_airflow() -> None:
    """Write what Airflow itself keeps of two live instances."""
    done = Attempt(1, "K" * 20, state=AttemptState.CLOSED, system="sap://erp", verdict="failure", message="rc 12",
                   handle=JobHandle("K" * 20, "08150000", "ZPOST"), closed_by="system")  # fmt: skip
    failed = {"rc": 12, "code": "CC 0012"}
    done = replace(done, value=failed)
    again = Attempt(2, "L" * 20, state=AttemptState.SUBMITTED, system="sap://erp",
                    handle=JobHandle("L" * 20, "08150001", "ZPOST"), opened=stamp(-41))  # fmt: skip
    seen = {"params.amount": 500.0}
    small = Decision("branch", "first", RULE, seen, ("otherwise",), RULES, NOW, chosen=("post",))
    over = Override("ann", "the customer is new", ("post",))
    wanted = Decision("branch", "first", RULE, seen, ("otherwise",), "ann", NOW, chosen=("approve",), overridden=over)
    with create_session() as session:
        for run_id, decision, tasks in (
            ("run-101", small, {"book": "success", "route": "success", "approve": "skipped", "post": "deferred"}),
            ("run-102", wanted, {"book": "success", "route": "success", "approve": "awaiting_input"}),
        ):
            cells = {("route", DECISION_KEY): decision.to_json()}
            if run_id == "run-101":
                cells["post", ledger_cell(1)] = Ledger((done,)).to_json()
                cells["post", ledger_cell(2)] = Ledger((done, again)).to_json()
                cells["book", ledger_cell(1)] = {"version": 99}
            run = add_run(session, run_id, cells, tasks, question="Release ORD-000102?")
            note = {
                "version": 1,
                "key": "L" * 20,
                "phase": "waiting",
                "reason": "no free work process",
                "at": stamp(-1),
            }
            for task, key, value in (
                ("book", "return_value", {"rc": 0, "credit_class": "B"}),
                *([("post", NOTE_KEY, note)] if run_id == "run-101" else ()),
            ):
                session.add(XComModel(dag_run_id=run.id, dag_id=ORDERS, run_id=run_id, task_id=task, map_index=-1,
                                      key=key, value=value))  # fmt: skip


def add_run(
    session: Any,
    run_id: str,
    cells: dict[tuple[str, str], Any],
    tasks: dict[str, str],
    *,
    question: str = "",
    dag_id: str = ORDERS,
    pool: str = "default_pool",
) -> DagRun:
    """Write a run into Airflow's own tables: what its tasks keep, their states, and what one of them asks."""
    run = DagRun(dag_id=dag_id, run_id=run_id, run_type=DagRunType.MANUAL, state="running", run_after=NOW,
                 triggered_by=DagRunTriggeredByType.TEST)  # fmt: skip
    session.add(run)
    session.flush()
    for (task, key), value in cells.items():
        session.add(Cell(dag_run_id=run.id, dag_id=dag_id, run_id=run_id, task_id=task, map_index=-1, key=key,
                         value=json.dumps(value)))  # fmt: skip
    for task, state in tasks.items():
        ti = {"id": uuid4(), "task_id": task, "dag_id": dag_id, "run_id": run_id, "map_index": -1,
              "state": state, "try_number": 1, "max_tries": 3, "pool": pool, "pool_slots": 1,
              "queue": "default", "priority_weight": 1, "hostname": "", "unixname": "", "operator": "",
              "custom_operator_name": "", "executor_config": {}, "span_status": "not_started"}  # fmt: skip
        session.execute(insert(TaskInstance.__table__).values(**ti))
        if state == "awaiting_input":
            session.add(HITLDetail(ti_id=ti["id"], options=["Approve", "Reject"], subject=question,
                                   assignees=[{"id": "ann", "name": "Ann"}]))  # fmt: skip
    return run


def change(run_id: str, given: str) -> None:
    """Change an instance, as the feed does."""
    values = {name: datetime.fromisoformat(value) if name.endswith("_at") else value
              for name, value in json.loads(given).items()}  # fmt: skip
    with create_session() as session:
        session.execute(update(tables.INSTANCE).where(tables.INSTANCE.c.run_id == run_id).values(**values))
        session.execute(update(tables.LEASE).values(revision=tables.LEASE.c.revision + 1, as_of=datetime.now(UTC)))


def many(count: int) -> None:
    """Add instances that ended long ago."""
    add("orch_instance", [ended(CLAIMS, 1000 + number, -60 * 24 * 20 - number) for number in range(count)])


def many_more(count: int) -> None:
    """Add very many instances at once, more than are read at a time."""
    one = ended(CLAIMS, 0, -60 * 24 * 25)
    rows = [{**one, "run_id": f"bulk {n}", "airflow_id": 10_000 + n, "business_key": f"BULK-{n}",
             "business_key_lower": f"bulk-{n}"} for n in range(count)]  # fmt: skip
    with create_session() as session:
        session.execute(insert(tables.INSTANCE), rows)
        session.execute(update(tables.LEASE).values(revision=tables.LEASE.c.revision + 1, as_of=datetime.now(UTC)))


_free: list[int] = []


def free_turns() -> list[int]:
    """Return how many turns were free whenever the end of a log was read since this was asked first."""
    reader = logs.TaskLogReader
    if not _free:
        really = reader.read_log_chunks

        def read(*given: Any) -> Any:
            _free.append(turns._room._free)
            return really(*given)

        _free.append(turns.AT_ONCE)
        reader.read_log_chunks = read  # type: ignore[method-assign]
    return _free
