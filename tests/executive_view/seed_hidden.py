"""What most may not see, within instances that they may see: other streams, what steps left, who is asked, who waits.

Runs inside the process of ``served.py``, after ``seed.fill``.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.models.pool import Pool
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import update

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import ledger_cell
from airflow_enterprise_orch.executive_view import tables
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY, RULES, Decision, ways_of_rules
from tests.executive_view.seed import (
    CLAIMS,
    NOW,
    ORDERS,
    SECRET,
    STREAMS,
    add,
    add_run,
    gone_well,
    instance,
    picture,
    stamp,
)


def other_streams() -> None:
    """Add an instance of orders whose steps run and wait for the stream that most may not see; one of its children."""
    shown = picture(ORDERS, 2)
    shown["steps"] += [
        {"id": "hand", "title": "Hand it on", "kind": "stream", "stack": "value_streams", "after": ["post"],
         "runs": SECRET, "outputs": {"price": "number"}},
        {"id": "other", "title": "Wait for it", "kind": "wait_for", "stack": "value_streams", "after": ["hand"],
         "waits_on": SECRET, "until": f"for {SECRET} of the same business date"},
        {"id": "split", "title": "Which?", "kind": "branch", "stack": "decisions", "after": ["hand"], "match": "first",
         "rules": [{"when": "steps.hand.run_id != '' && steps.hand.price > 1.0 && params.amount > 1.0",
                    "then": ["other"]}], "otherwise": []},
    ]  # fmt: skip
    shown["stacks"].append({"id": "value_streams", "title": "Value streams"})
    with create_session() as session:
        session.execute(update(tables.STREAM).where(tables.STREAM.c.dag_id == ORDERS).values(is_current=False))
    before = {**shown, "steps": [{**step, **{name: CLAIMS for name in ("runs", "waits_on") if name in step}}
                                 for step in shown["steps"]]}  # fmt: skip
    for version, one in ((3, before), (4, shown)):
        add("orch_stream", [{
            "dag_id": ORDERS, "version": version, "digest": f"{version}" * 64, "picture": one,
            "title": STREAMS[ORDERS][0], "domain": "Sales", "owner": "customer-operations", "criticality": "high",
            "first_seen": NOW, "is_current": version == 4, "is_removed": False, "is_paused": False,
        }])  # fmt: skip
    child, gone = f"orders.hand.{'M' * 20}", f"orders.hand.{'N' * 20}"
    steps = {
        **gone_well(-20, large=False),
        "hand": {"state": "parked", "try": 2, "queued": stamp(-5), "started": stamp(-5)},
        "split": {"state": "success", "try": 1, "started": stamp(-5), "ended": stamp(-4),
                  "decision": {"fired": [1], "chosen": ["other"], "by": RULES, "overridden": False}},
        "other": {"state": "running", "try": 1, "queued": stamp(-4), "started": stamp(-4)},
    }  # fmt: skip
    asked = {"steps.hand.run_id": child, "steps.hand.price": 12.5, "params.amount": 20000.0}
    rules = ways_of_rules(shown["steps"][-1]["rules"], [])
    seen = Decision("branch", "first", rules, asked, (1,), RULES, NOW, chosen=("other",))
    at = {"version": 4, "steps": steps, "current_step": "hand", "current_stack": "value_streams"}
    add("orch_instance", [
        instance(ORDERS, 106, **at, in_airflow=True),
        # Of this one Airflow has nothing any more.
        instance(ORDERS, 107, **{**at, "current_step": "other", "waits_for": "stream"}, outputs={
            "hand": {"run_id": gone, "business_key": "TAKEOVER-3", "price": 12.5}, "other": {"run_id": gone}},
            decisions={"split": seen.to_json()}),
        instance(SECRET, 302, key="TAKEOVER-2", run_id=child),
        instance(ORDERS, 108, params={"order_id": "ORD-000108", "orch.started_by": {
            "stream": SECRET, "instance": "run-301", "step": "buy"}}),
        instance(CLAIMS, 205, live=False, state="failed", ended_at=NOW - timedelta(days=3), health="failed"),
    ])  # fmt: skip
    failed = Attempt(1, "N" * 20, state=AttemptState.CLOSED, system="this Airflow", verdict="failure",
                     message=f"{SECRET} {gone} ended as failed: its step 'buy' failed", opened=stamp(-8),
                     handle=JobHandle("N" * 20, gone, SECRET), closed_by="system")  # fmt: skip
    again = Attempt(2, "M" * 20, state=AttemptState.SUBMITTED, system="this Airflow", opened=stamp(-5),
                    handle=JobHandle("M" * 20, child, SECRET), parked=f"Is {SECRET} {child} the one?")  # fmt: skip
    cells = {("hand", ledger_cell(2)): Ledger((failed, again)).to_json(), ("split", DECISION_KEY): seen.to_json()}
    tasks = {"hand": "awaiting_input", "split": "success", "other": "deferred", "post": "success"}
    with create_session() as session:
        run = add_run(session, "run-106", cells, tasks, question=f"What became of {SECRET} {child}?")
        for task, value in (
            ("hand", {"run_id": child, "business_key": "TAKEOVER-2", "price": 12.5}),
            ("other", {"run_id": child, "ended": stamp(-1), "state": "success"}),
        ):
            session.add(XComModel(dag_run_id=run.id, dag_id=ORDERS, run_id="run-106", task_id=task, map_index=-1,
                                  key="return_value", value=value))  # fmt: skip
        number = {
            row.run_id: row.id
            for row in session.execute(tables.INSTANCE.select().where(tables.INSTANCE.c.dag_id == ORDERS))
        }
    job = {"task_id": "hand", "map_index": -1, "step": "hand", "system": "this Airflow", "stack": "value_streams",
           "job_name": SECRET, "verdict": None, "closed_by": None, "closed": None}  # fmt: skip
    add("orch_job", [
        {**job, "instance_id": number["run-106"], "attempt": 2, "job_id": child, "state": "submitted", "orphan": True,
         "message": None, "opened": NOW},
        {**job, "instance_id": number["run-107"], "attempt": 1, "job_id": gone, "state": "closed", "orphan": False,
         "message": failed.message, "opened": NOW, "verdict": "failure"},
    ])  # fmt: skip
    told = {"dag_id": ORDERS, "run_id": "run-106", "task_id": "hand", "map_index": -1, "actor": None, "reason": None,
            "before": None, "after": None}  # fmt: skip
    add("orch_event", [
        {**told, "at": NOW, "kind": "sub_stream", "after": {"dag_id": SECRET, "run_id": child}, "key": "e1"},
        {**told, "at": NOW, "kind": "parked", "reason": f"Is {SECRET} {child} the one?",
         "after": {"options": ["Look again"]}, "key": "e2"},
        {**told, "at": NOW, "kind": "answered", "actor": "ann", "reason": f"{child} it is",
         "before": {"question": f"What became of {SECRET}?"}, "after": {"job_id": child}, "key": "e3"},
        {**told, "at": NOW, "kind": "decision", "actor": RULES, "task_id": "split", "reason": seen.sentence(),
         "after": ["other"], "key": "e4"},
        {**told, "at": NOW, "kind": "asked", "task_id": "approve", "reason": "Release ORD-000106?",
         "after": {"options": ["Approve"]}, "key": "e5"},
        {**told, "at": NOW, "kind": "decision", "actor": RULES, "task_id": "route",
         "reason": "goes on with post: no rule holds, so otherwise (with params.amount = 500.0)", "after": ["post"],
         "key": "e6"},
    ])  # fmt: skip


def pool(slots: int, taken_by: dict[str, int]) -> None:
    """Make the pool of which ``post`` of run-103 waits for a slot, and those who have taken its slots."""
    with create_session() as session:
        session.add(Pool(pool="sap_batch", slots=slots, description="", include_deferred=True))
        add_run(session, "run-103", {}, {"post": "scheduled"}, pool="sap_batch")
        for dag_id, many in taken_by.items():
            for number in range(many):
                add_run(session, f"pool-{number}", {}, {"post": "deferred"}, dag_id=dag_id, pool="sap_batch")
        values = {"current_step": "post", "current_stack": "sap", "in_airflow": True, "steps": {
            **gone_well(-20, large=False), "post": {"state": "queued", "try": 0, "queued": stamp(-3)}}}  # fmt: skip
        session.execute(update(tables.INSTANCE).where(tables.INSTANCE.c.run_id == "run-103").values(**values))
