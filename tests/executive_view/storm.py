"""A storm on Airflow's tables: what schedulers, workers and people do to runs, at random, by its own functions.

Run in a process of its own, in the environment of a migrated database. Nothing here knows how the feed counts: what
must come out is asked of Airflow's tables in plain SQL.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from airflow import settings
from airflow.api.common.mark_tasks import set_dag_run_state_to_failed, set_dag_run_state_to_success
from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.log import Log
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.task_state_store import TaskStateStoreModel as Cell
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskmap import TaskMap
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy.orm import Session

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, new_key
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import ledger_cell
from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY, RULES, Decision, ways_of_rules
from airflow_enterprise_orch.value_stream.model import ValueStream

DAG = "orders"
TEMPLATE = """
value_stream: orders
title: Orders
business: {domain: Sales, owner: sales, criticality: high, key: "{{ params.order }}"}
params: {order: {type: string}, parts: {type: list, items: string, default: [a, b, c]}}
due: {within: 1h}
steps:
  ask: {approval: {subject: "Release {{ params.order }}?"}}
  book:
    unix.script: {connection: host, script: "true"}
    compensate: {unix.script: {connection: host, script: "true"}}
  pay:
    after: [book]
    unix.script: {connection: host, script: 'echo "$1"', args: ["{{ item }}"]}
    for_each: {item: params.parts, max: 5}
  route: {after: [ask, pay], branch: [{when: 'params.order == "A"', then: [stop]}, {otherwise: [ship]}]}
  stop: {fail: {message: "no"}}
  ship: {unix.script: {connection: host, script: "true"}}
"""
BUSY = ("running", "deferred", "awaiting_input")


class Storm:
    """The weather.

    :param seed: the same one does the same.
    """

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.made = 0
        self.deleted: set[tuple[int, str, str]] = set()
        self.said: dict[str, set[tuple[int, tuple[int, str, str]]]] = {"cleared": set(), "marked": set()}
        dag = compile_stream(ValueStream.load(TEMPLATE))
        with create_session() as session:
            session.merge(DagBundleModel(name="b"))
            session.flush()
            update_dag_parsing_results_in_db("b", None, [LazyDeserializedDAG.from_dag(dag)], {}, None, set(), session)

    def blow(self, times: int, *, gently: bool = False) -> None:
        """Do something a number of times.

        :param gently: nothing that takes evidence away of what happened before.
        """
        what: list[tuple[Callable[[Session, DagRun], None], int]] = [
            (self._go_on, 60), (self._clear, 8), (self._mark, 3), (self._mark_task, 4), (self._delete, 3),
            (self._answer, 10),
        ]  # fmt: skip
        for _ in range(times):
            with create_session() as session:
                runs = session.scalars(sa.select(DagRun).order_by(DagRun.id)).all()
                if not runs or self.dice.random() < 0.06:
                    self._trigger(session)
                    continue
                if gently:
                    what = [one for one in what if one[0] in (self._go_on, self._answer)]
                (act,) = self.dice.choices([one for one, _ in what], [weight for _, weight in what])
                run = self.dice.choice(runs)
                run.dag = SerializedDagModel.get_dag(DAG, session=session)
                act(session, run)

    # ------------------------------------------------------------------------------------------------ people

    def _trigger(self, session: Session) -> None:
        run_id = f"r{self.made}"
        self.made += 1
        self._make(session, run_id)

    def _make(self, session: Session, run_id: str) -> None:
        now = datetime.now(UTC)
        dag = SerializedDagModel.get_dag(DAG, session=session)
        assert dag is not None
        dag.create_dagrun(
            run_id=run_id,
            run_after=now - timedelta(minutes=self.dice.choice([1, 30, 90])),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            conf={"order": f"Key-{run_id}"},
            state="queued",
            session=session,
        )

    def _say(self, session: Session, event: str, run: DagRun, kind: str = "", **asked: Any) -> None:
        """Have Airflow log what a person asks for."""
        entry = Log(event=event, dag_id=DAG, run_id=run.run_id, owner="ann", extra=json.dumps(asked))
        session.add(entry)
        session.flush()
        if kind:
            self.said[kind].add((entry.id, self._which(session, run)))

    @staticmethod
    def _which(session: Session, run: DagRun) -> tuple[int, str, str]:
        """Return what tells a run from each other one, also where numbers and names are given again."""
        made = session.execute(sa.text("SELECT created_at FROM dag_run WHERE id = :id"), {"id": run.id}).scalar()
        return run.id, run.run_id, str(made)

    def _clear(self, session: Session, run: DagRun) -> None:
        """Clear a task, perhaps with all that comes after it, as Airflow's API does."""
        name = self.dice.choice(["ask", "book", "pay-each", "route", "ship"])
        after = self.dice.random() < 0.5
        dag = run.dag.partial_subset(name, include_downstream=True, include_upstream=False) if after else run.dag
        names = list(dag.task_dict) if after else [name]
        self._say(session, "post_clear_task_instances", run, "cleared", task_ids=names, dry_run=False)
        dag.clear(run_id=run.run_id, task_ids=names, only_failed=self.dice.random() < 0.3, session=session)

    def _mark(self, session: Session, run: DagRun) -> None:
        """Mark a run as failed or as a success."""
        state = self.dice.choice(["failed", "success"])
        self._say(session, "patch_dag_run", run, "marked", state=state)
        mark = {"failed": set_dag_run_state_to_failed, "success": set_dag_run_state_to_success}[state]
        mark(dag=run.dag, run_id=run.run_id, commit=True, session=session)

    def _mark_task(self, session: Session, run: DagRun) -> None:
        state = self.dice.choice(["success", "failed"])
        self._say(session, "patch_task_instance", run, "marked", new_state=state)
        run.dag.set_task_instance_state(
            task_id=self.dice.choice(["ask", "book", "ship"]), run_id=run.run_id, state=state, session=session
        )

    def _delete(self, session: Session, run: DagRun) -> None:
        """Delete a run, and perhaps make it again under its name."""
        run_id, again = run.run_id, self.dice.random() < 0.4
        self.deleted.add(self._which(session, run))
        self._say(session, "delete_dag_run", run)
        session.delete(run)
        session.commit()
        if again:
            self._make(session, run_id)

    def _answer(self, session: Session, run: DagRun) -> None:
        """Answer a question, as Airflow's API does."""
        for ti in run.get_task_instances(state=["awaiting_input"], session=session):
            asked = session.get(HITLDetail, ti.id)
            if asked is None or asked.responded_at is not None:
                continue
            asked.responded_at, asked.responded_by = datetime.now(UTC), {"id": "7", "name": "Ann"}
            asked.chosen_options, asked.params_input = [self.dice.choice(asked.options)], {"reason": "seen"}
            ti.state = "scheduled"

    # ----------------------------------------------------------------------------------- scheduler and worker

    def _go_on(self, session: Session, run: DagRun) -> None:
        """Let the scheduler look at a run, then a worker at one of its tasks."""
        if run.state == "queued":
            run.state, run.start_date = "running", run.start_date or datetime.now(UTC)
        if run.state != "running":
            return
        ready, _ = run.update_state(session=session, execute_callbacks=False)
        run.schedule_tis(ready, session=session)
        session.commit()
        tasks = run.get_task_instances(state=["scheduled", "restarting", *BUSY], session=session)
        for ti in self.dice.sample(tasks, min(len(tasks), 3)):
            ti.task = run.dag.get_task(ti.task_id)
            self._work(session, run, ti)

    def _work(self, session: Session, run: DagRun, ti: TaskInstance) -> None:
        if ti.state == "restarting":
            ti.handle_failure("cleared", session=session)
        elif ti.state == "awaiting_input":
            return
        elif ti.task_id == "ask" and not self._answered(session, ti):
            self._ask(session, ti, ["Approve", "Reject"])
        elif ti.task_id == "pay-items":
            session.merge(TaskMap(DAG, "pay-items", run.run_id, -1, 3, None))
            self._over(ti)
        elif ti.task_id == "route":
            self._route(session, run, ti)
        elif ti.task_id in ("book", "ship", "pay-each", "book--undo"):
            self._delegate(session, run, ti)
        elif ti.task_id == "stop":
            ti.handle_failure("no", session=session)
        else:
            self._over(ti)

    @staticmethod
    def _answered(session: Session, ti: TaskInstance) -> bool:
        asked = session.get(HITLDetail, ti.id)
        return asked is not None and asked.responded_at is not None

    @staticmethod
    def _ask(session: Session, ti: TaskInstance, options: list[str]) -> None:
        ti.state, ti.start_date = "awaiting_input", ti.start_date or datetime.now(UTC)
        if session.get(HITLDetail, ti.id) is None:
            session.add(HITLDetail(ti_id=ti.id, options=options, subject=f"{ti.task_id}?"))

    @staticmethod
    def _over(ti: TaskInstance, state: str = "success") -> None:
        now = datetime.now(UTC)
        ti.start_date, ti.end_date, ti.state = ti.start_date or now, now, state

    def _route(self, session: Session, run: DagRun, ti: TaskInstance) -> None:
        chosen = self.dice.choice(["stop", "ship", "ship"])
        rules = ways_of_rules([{"when": 'params.order == "A"', "then": ["stop"]}], ["ship"])
        fired: Any = 1 if chosen == "stop" else "otherwise"
        record = Decision("branch", "first", rules, {}, (fired,), RULES, datetime.now(UTC), chosen=(chosen,))
        self._cell(session, run, ti, DECISION_KEY, record.to_json())
        for other in run.get_task_instances(session=session):
            if other.task_id in {"stop", "ship"} - {chosen} and other.state in (None, "scheduled"):
                self._over(other, "skipped")
        self._over(ti)

    def _delegate(self, session: Session, run: DagRun, ti: TaskInstance) -> None:
        """Hand over, wait, and end; or park."""
        if ti.state != "deferred":
            key = new_key()
            job = JobHandle(key, f"J{key[:5]}", "BOOK")
            self._attempt(session, run, ti, Attempt(1, key, state=AttemptState.SUBMITTED, system="ssh://a", handle=job))
            ti.state, ti.start_date = "deferred", ti.start_date or datetime.now(UTC)
        elif self.dice.random() < 0.15 and ti.map_index < 0 and not self._answered(session, ti):
            self._ask(session, ti, ["Look again", "Fail the step"])
        else:
            failed = self.dice.random() < 0.25
            closed = {
                "state": AttemptState.CLOSED,
                "verdict": "failure" if failed else "success",
                "closed_by": "system",
            }
            self._attempt(session, run, ti, Attempt(1, new_key(), system="ssh://a", **closed))  # type: ignore[arg-type]
            ti.state = "running"
            if not failed:
                self._over(ti)
                return
            ti.max_tries = ti.try_number + self.dice.choice([-1, 1])
            session.commit()
            ti.handle_failure("rc 8", session=session)

    def _attempt(self, session: Session, run: DagRun, ti: TaskInstance, attempt: Attempt) -> None:
        self._cell(session, run, ti, ledger_cell(ti.try_number), Ledger((attempt,)).to_json())

    @staticmethod
    def _cell(session: Session, run: DagRun, ti: TaskInstance, key: str, value: Any) -> None:
        where = {"dag_run_id": run.id, "task_id": ti.task_id, "map_index": ti.map_index, "key": key}
        cell = session.scalar(sa.select(Cell).filter_by(**where))
        if cell is None:
            cell = Cell(**where, dag_id=DAG, run_id=run.run_id, value="")
            session.add(cell)
        cell.value = json.dumps(value)


DELEGATED = ("book", "pay-each", "ship", "book--undo")
STEPS = ("ask", "book", "pay", "route", "stop", "ship")


def truth() -> dict[str, Any]:
    """Return what Airflow's tables say, by plain SQL and counting."""
    with settings.engine.connect() as connection:

        def ask(text: str) -> list[Any]:
            return [list(row) for row in connection.execute(sa.text(text))]

        runs = ask("SELECT id, run_id, state, end_date, created_at FROM dag_run")
        moments = ask("SELECT run_id, state, run_after, end_date FROM dag_run")
        tasks: dict[str, list[Any]] = {run_id: [] for _, run_id, *_ in runs}
        for row in ask("SELECT run_id, task_id, map_index, state, try_number FROM task_instance"):
            tasks[row[0]].append(row[1:])
        # When a step is tried again, its question stands in both tables: it is one all the same.
        which = "t.run_id, t.task_id, t.map_index, h.created_at, h.responded_at"
        asked = ask(f"SELECT {which} FROM hitl_detail h JOIN task_instance t ON t.id = h.ti_id")
        asked += ask(
            f"SELECT {which} FROM hitl_detail_history h "
            "JOIN task_instance_history t ON t.task_instance_id = h.ti_history_id"
        )
        number = {run_id: number for number, run_id, *_ in runs}
        decided = ask(f"SELECT dag_run_id, value FROM task_state_store WHERE key = '{DECISION_KEY}'")
    states = Counter(state for _, _, state, *_ in runs)
    of_runs = {run_id: _of_run(tasks[run_id]) for _, run_id, *_ in runs}
    health = {run_id: _health(of_runs[run_id], *told) for run_id, *told in moments}
    live = {run_id for run_id, state, *_ in moments if state in ("queued", "running")}
    parked = {run_id for run_id in live if any(state == "awaiting_input" and name in DELEGATED
                                               for name, _, state, _ in tasks[run_id])}  # fmt: skip
    return {
        "health": health,
        "counts": {
            "live": len(live),
            "late": sum(health[run_id] == "late" for run_id in live),
            "failed": sum(one == "failed" for one in health.values()),
            "waiting_people": sum(of_runs[run_id]["asked"] > 0 for run_id in live),
            "parked": len(parked),
        },
        "states": dict(states),
        "live": states["queued"] + states["running"],
        "runs": of_runs,
        # What must be told: each of these once, however often it was there to be seen.
        "answered": {(number[run], *map(str, one), str(at)) for run, *one, at in asked if at is not None},
        "asked": {(number[run], *map(str, one)) for run, *one, _ in asked},
        "decision": {(number, json.loads(value)["at"]) for number, value in decided},
        "there": {(number, run_id, str(made)) for number, run_id, _, _, made in runs},
        "ended": {(number, name, how, str(end)) for number, name, how, end, _ in runs if how in ("success", "failed")},
    }


def _health(run: dict[str, Any], state: str, run_after: Any, end_date: Any) -> str:
    """Return how a run is, without a forecast: every order is due an hour after it could begin."""
    due = _moment(run_after) + timedelta(hours=1)
    if state == "success":
        return "late" if _moment(end_date) >= due + timedelta(seconds=1) else "on_time"
    if state == "failed" or run["failed"]:
        return "failed"
    if due < datetime.now(UTC):
        return "late"
    return "waiting" if run["asked"] else "on_time"


def _moment(told: Any) -> datetime:
    moment = told if isinstance(told, datetime) else datetime.fromisoformat(str(told))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _of_run(tasks: list[Any]) -> dict[str, Any]:
    own = {name: state for name, index, state, _ in tasks if index < 0}
    items = Counter(str(state) for name, index, state, _ in tasks if name == "pay-each" and index >= 0)
    return {
        "failed": sum(own.get(step) == "failed" for step in (*STEPS, "book--undo"))
        + (own.get("pay") == "upstream_failed" and (items["failed"] > 0 or own.get("pay-items") == "failed")),
        "asked": sum(own.get(name) == "awaiting_input" for name in (*STEPS, "book--undo")),
        "items": dict(items),
        "tries": {name: tries for name, index, _, tries in tasks if name in ("ask", "book", "ship") and tries},
    }
