"""Instances to act on, in Airflow's own tables: real templates, compiled and serialized; a scheduler by hand.

Runs inside the process of ``served.py``. States are set as Airflow's scheduler and workers would leave them; what an
action then does is Airflow's own code.
"""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from airflow import settings
from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.models.log import Log
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.task_state_store import TaskStateStoreModel as Cell
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskreschedule import TaskReschedule
from airflow.models.variable import Variable
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, new_key
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.delegation.ledger import Ledger, TaskTry
from airflow_enterprise_orch.delegation.ledger_store import ledger_cell
from airflow_enterprise_orch.delegation.obeying import Obeyed, obeyed_cell
from airflow_enterprise_orch.executive_view import past, tables
from airflow_enterprise_orch.executive_view.actions.bulk_runner import BulkRunner
from airflow_enterprise_orch.executive_view.actions.carrying_out import Refused, act
from airflow_enterprise_orch.executive_view.answers_actions import ActionRequest
from airflow_enterprise_orch.executive_view.feed import Feed
from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY, RULES, Decision, ways_of_rules
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.override_window import PROPOSAL_KEY, Proposal

ORDERS = """
value_stream: orders
title: Orders
business: {domain: Sales, owner: sales, criticality: high, key: "{{ params.order }}"}
params:
  order: {type: string}
  amount: {type: number, default: 10.0, minimum: 0}
due: {within: 1h}
steps:
  book:
    title: Book it
    unix.script: {connection: host, script: "true"}
    outputs: {total: {log: log, match: 'TOTAL=(\\d+)', type: integer}}
  route: {after: [book], branch: [{when: params.amount > 100.0, then: [approve]}, {otherwise: [pack]}]}
  approve: {approval: {subject: "Release {{ params.order }}?"}}
  notify: {after: [approve], unix.script: {connection: host, script: "true"}}
  pack: {unix.script: {connection: host, script: "true"}}
  label: {after: [pack], unix.script: {connection: printer, script: "true"}}
  ship: {after: [notify, label], unix.script: {connection: host, script: "true"}}
  certify: {after: [ship], unix.script: {connection: host, script: "true"}, restart: never}
  tell: {after: [ship], unix.script: {connection: host, script: "true"}, restart: ask}
"""
CLAIMS = """
value_stream: claims
title: Claims
business: {domain: Claims, owner: claims, criticality: low, key: "{{ params.claim }}"}
params: {claim: {type: string}, parts: {type: list, items: string, default: [a, b, c]}}
steps:
  reserve:
    unix.script: {connection: host, script: "true"}
    compensate: {unix.script: {connection: host, script: "true"}}
  pay:
    after: [reserve]
    unix.script: {connection: host, script: 'echo "$1"', args: ["{{ item }}"]}
    for_each: {item: params.parts, max: 5}
  close: {after: [pay], unix.script: {connection: host, script: "true"}}
"""
CLOSING = """
value_stream: closing
title: Closing
business: {domain: Finance, owner: finance, criticality: low, key: "{{ params.claim }}"}
params: {claim: {type: string}}
steps:
  post: {mainframe.job: {connection: zos, dataset: PROD.JCL(POST)}}
  tell: {after: [post], unix.script: {connection: host, script: "true"}}
"""
STREAMS = (ORDERS, CLAIMS, CLOSING)
OVER = ("success", "failed", "skipped", "upstream_failed")


def fill() -> None:
    """Write the streams."""
    with create_session() as session:
        tables.metadata.create_all(session.get_bind(), checkfirst=True)
        session.merge(DagBundleModel(name="b"))
        session.flush()
        dags = [LazyDeserializedDAG.from_dag(compile_stream(ValueStream.load(text))) for text in STREAMS]
        update_dag_parsing_results_in_db("b", None, dags, {}, None, set(), session)
        session.execute(sa.update(DagModel).values(is_paused=False))


def feed() -> None:
    """Let the executive view's tables follow."""
    one = Feed(settings.get_engine(), "test", keep_days=0)
    while one.look():
        pass
    past.forget()


def start(dag_id: str, run_id: str, conf: dict[str, Any], states: dict[str, str | None]) -> None:
    """Make an instance that stands as ``states`` say: task, or ``task[item]``, to state; all others have not begun."""
    now = datetime.now(UTC)
    with create_session() as session:
        dag = SerializedDagModel.get_dag(dag_id, session=session)
        assert dag is not None
        dag.create_dagrun(
            run_id=run_id,
            run_after=now - timedelta(minutes=20),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            conf=conf,
            state="running",
            session=session,
        )
    put(dag_id, run_id, states)
    feed()


def put(dag_id: str, run_id: str, states: dict[str, str | None], run: str = "") -> None:
    """Set the states of tasks, as Airflow would leave them; and of the run."""
    now = datetime.now(UTC)
    with create_session() as session:
        for name, state in states.items():
            task = _task(session, dag_id, run_id, name)
            task.state = state
            if state is not None:
                task.start_date = task.start_date or now - timedelta(minutes=10)
                task.try_number = max(task.try_number, 1)
            if state in OVER:
                task.end_date = now
            if state == "up_for_reschedule":
                session.add(TaskReschedule(task.id, now, now, now + timedelta(hours=1)))
        row = session.scalar(sa.select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        row.start_date = row.start_date or now - timedelta(minutes=15)
        if run:
            row.state = run
            row.end_date = now


def _task(session: Any, dag_id: str, run_id: str, name: str) -> TaskInstance:
    task_id, _, item = name.partition("[")
    index = int(item.rstrip("]")) if item else -1
    of_run = (TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
    found = session.scalar(sa.select(TaskInstance).where(*of_run, TaskInstance.map_index == index))
    if found is None:  # an item of a list, as the scheduler makes them
        like = session.scalar(sa.select(TaskInstance).where(*of_run))
        if like.map_index == -1:
            like.map_index = index
            return like
        dag = SerializedDagModel.get_dag(dag_id, session=session)
        found = TaskInstance(dag.get_task(task_id), run_id=run_id, map_index=index, dag_version_id=like.dag_version_id)
        session.add(found)
        session.flush()
    return found


def job(dag_id: str, run_id: str, name: str, verdict: str = "", kind: str = "") -> str:
    """Write the ledger of a task: one attempt with a job, open unless ``verdict`` says how it ended."""
    with create_session() as session:
        task = _task(session, dag_id, run_id, name)
        number = session.scalar(sa.select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        key, now = new_key(), datetime.now(UTC).isoformat()
        told = {"verdict": verdict, "kind": kind, "closed_by": "system"} if verdict else {}
        state = AttemptState.CLOSED if verdict else AttemptState.SUBMITTED
        handle = JobHandle(key, f"JOB-{name}", "job")
        one = Attempt(1, key, state=state, system="ssh://host", handle=handle, opened=now, sends=1, sent=now, **told)
        text = json.dumps(Ledger().with_attempt(one).to_json())
        session.add(
            Cell(dag_run_id=number, dag_id=dag_id, run_id=run_id, task_id=task.task_id, map_index=task.map_index,
                 key=ledger_cell(1), value=text)
        )  # fmt: skip
    return key


def obeyed(dag_id: str, run_id: str, name: str, what: str, state: str, how: str) -> None:
    """Write what a step's task writes when it has looked at the hold, or the release, that people want of its job."""
    with create_session() as session:
        task = _task(session, dag_id, run_id, name)
        number = session.scalar(sa.select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        of_task = (Cell.dag_run_id == number, Cell.task_id == task.task_id, Cell.map_index == task.map_index)
        control = json.loads(session.scalar(sa.select(Cell.value).where(*of_task, Cell.key == "orch.control")))
        wish = control[what] if what in control else control["past"][-1]["taken_back"]
        told = Obeyed(wish["id"], what, datetime.now(UTC), how, TaskTry(2, 3, 3), state=state)
        session.add(
            Cell(dag_run_id=number, dag_id=dag_id, run_id=run_id, task_id=task.task_id, map_index=task.map_index,
                 key=obeyed_cell(wish["id"], 2), value=json.dumps(told.to_json()))
        )  # fmt: skip


def decided(dag_id: str, run_id: str, step: str, chosen: list[str]) -> None:
    """Write the record of the branch ``route``."""
    rules = ways_of_rules([{"when": "params.amount > 100.0", "then": ["approve"]}], ["pack"])
    fired = (1,) if chosen == ["approve"] else ("otherwise",)
    record = Decision(
        "branch", "first", rules, {"params.amount": 1.0}, fired, RULES, datetime.now(UTC), chosen=tuple(chosen)
    )
    with create_session() as session:
        number = session.scalar(sa.select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        session.add(
            Cell(dag_run_id=number, dag_id=dag_id, run_id=run_id, task_id=step, map_index=-1, key=DECISION_KEY,
                 value=json.dumps(record.to_json()))
        )  # fmt: skip


def proposed(dag_id: str, run_id: str, step: str, hours: float) -> str:
    """Let the branch ``route`` leave people so many hours, as it sleeps until then; return the moment."""
    now = datetime.now(UTC)
    record = Decision("branch", "first", (), {}, ("otherwise",), RULES, now, chosen=("pack",))
    until = now + timedelta(hours=hours)
    put(dag_id, run_id, {step: "up_for_reschedule"})
    with create_session() as session:
        number = session.scalar(sa.select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        session.add(
            Cell(dag_run_id=number, dag_id=dag_id, run_id=run_id, task_id=step, map_index=-1, key=PROPOSAL_KEY,
                 value=json.dumps(Proposal(record, until).to_json()))
        )  # fmt: skip
    return until.isoformat()


def deadline(dag_id: str, run_id: str) -> list[str]:
    """Return the moments at which Airflow would notice that the run is late."""
    with create_session() as session:
        rows = session.scalars(sa.select(Deadline).join(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        return [row.deadline_time.isoformat() for row in rows]


def look(dag_id: str, run_id: str) -> dict[str, Any]:
    """Return how an instance stands: states, wishes, when held tasks look, the run, what was logged."""
    with create_session() as session:
        run = session.scalar(sa.select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        tasks = session.scalars(
            sa.select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        ).all()
        cells = session.scalars(sa.select(Cell).where(Cell.dag_run_id == run.id, Cell.key == "orch.control")).all()
        looks = {
            _name(task): row.reschedule_date.isoformat()
            for task in tasks
            for row in session.scalars(
                sa.select(TaskReschedule).where(TaskReschedule.ti_id == task.id).order_by(TaskReschedule.id)
            )
        }
        log = session.scalars(sa.select(Log).where(Log.dag_id == dag_id, Log.run_id == run_id).order_by(Log.id)).all()
        return {
            "run": str(run.state),
            "conf": run.conf,
            "states": {_name(task): None if task.state is None else str(task.state) for task in tasks},
            "max_tries": {_name(task): task.max_tries for task in tasks},
            "weights": {_name(task): task.priority_weight for task in tasks},
            "wishes": {_name(cell): json.loads(cell.value) for cell in cells},
            "looks": looks,
            "log": [[one.event, one.owner, one.task_id, json.loads(one.extra)["reason"]] for one in log if one.extra],
        }


def _name(one: Any) -> str:
    return one.task_id if one.map_index < 0 else f"{one.task_id}[{one.map_index}]"


def events(dag_id: str, run_id: str) -> list[dict[str, Any]]:
    """Return what the audit trail has of an instance, as it is stored."""
    of = tables.EVENT.c
    with create_session() as session:
        rows = session.execute(
            sa.select(of.kind, of.task_id, of.actor, of.reason, of.before, of.after)
            .where(of.dag_id == dag_id, of.run_id == run_id)
            .order_by(of.id)
        ).mappings()
        return [dict(row) for row in rows]


def work(times: int = 0) -> int:
    """Carry out actions on many instances, as an API server does; return how many looks that took.

    :param times: batches at most; 0 until nothing is left.
    """
    runner = BulkRunner(lambda: create_session(scoped=False), f"test-{os.getpid()}", 10_000)
    looks = 0
    while runner.work():
        looks += 1
        if looks == times:
            break
    return looks


def forgotten(bulk_id: str) -> None:
    """Forget what became of the instances of an action on many, as if it had died before it wrote that down."""
    with create_session() as session:
        mine = tables.BULK_ITEM.c.bulk_id == bulk_id
        session.execute(sa.update(tables.BULK_ITEM).where(mine).values(outcome="open", text=None))


def at_once(dag_id: str, run_id: str, asked: list[dict[str, Any]]) -> list[str]:
    """Let people act at the same moment, each in a thread and a transaction of their own; return what each heard."""
    heard: dict[int, str] = {}
    ready = threading.Barrier(len(asked))

    def one(number: int, body: dict[str, Any]) -> None:
        ready.wait()
        try:
            with create_session(scoped=False) as session:
                done = act(session, "boss", dag_id, run_id, ActionRequest(**body))
            heard[number] = "replayed" if done.replayed else "done"
        except Refused as refused:
            heard[number] = str(refused.status)

    threads = [threading.Thread(target=one, args=given) for given in enumerate(asked)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(heard.values())


def pause(dag_id: str, paused: bool) -> None:
    """Pause a stream, or not."""
    with create_session() as session:
        session.execute(sa.update(DagModel).where(DagModel.dag_id == dag_id).values(is_paused=paused))


def holds(value: Any) -> None:
    """Write the Variable of the holds of many instances."""
    with create_session() as session:
        Variable.set("enterprise_orch.holds", json.dumps(value), session=session)
