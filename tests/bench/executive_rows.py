"""The rows of Airflow's tables for one instance: runs, task instances, ledgers, decisions, values, questions, log."""

from __future__ import annotations

import io
import json
import pickle
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import ledger_cell, sent_cell
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY, RULES, Decision, ways_of_rules
from tests.bench.executive_streams import Course, Stream, Task

COLUMNS: Mapping[str, Sequence[str]] = {
    "dag_run": (
        *("id", "dag_id", "run_id", "run_type", "triggered_by", "triggering_user_name", "state", "conf", "run_after"),
        *("logical_date", "queued_at", "start_date", "end_date", "created_at", "updated_at", "clear_number"),
        *("span_status", "created_dag_version_id"),
    ),
    "task_instance": (
        *("id", "task_id", "dag_id", "run_id", "map_index", "state", "try_number", "max_tries", "scheduled_dttm"),
        *("queued_dttm", "start_date", "end_date", "duration", "updated_at", "dag_version_id", "operator"),
        *("task_display_name", "hostname", "unixname", "pool", "pool_slots", "queue", "priority_weight", "span_status"),
        "executor_config",
    ),
    "task_state_store": (
        *("id", "dag_run_id", "task_id", "map_index", "key", "dag_id", "run_id", "value", "updated_at"),
    ),
    "xcom": ("dag_run_id", "task_id", "map_index", "key", "dag_id", "run_id", "value", "timestamp"),
    "hitl_detail": ("ti_id", "options", "subject", "body", "multiple", "params", "params_input", "created_at"),
    "log": ("id", "dttm", "dag_id", "task_id", "map_index", "event", "run_id", "owner", "try_number"),
}
CONFIG = "\\x" + pickle.dumps({}).hex()
LOGGED_FOR = 2 * 86400.0
"""Of the last two days Airflow's log has its entries for each task."""
RULES_OF = {
    "branch": ([{"when": "params.amount > 10000.0", "then": ["approve"]}], ["provision"]),
    "decision": ([{"when": {"amount": "> 10000"}, "then": {"treatment": "release"}}], {"treatment": "book"}),
}


@dataclass(frozen=True)
class Run:
    """One instance.

    :param began: seconds since the epoch.
    :param live: it goes on at the moment.
    :param special: of a live one what its step is doing instead of working: ``parked``, ``up_for_retry``,
        ``up_for_reschedule`` (held), ``queued``; ``waiting`` when the whole run has not begun.
    """

    number: int
    stream: Stream
    course: Course
    began: float
    live: bool = False
    special: str = ""


@dataclass
class Tables:
    """Text for ``COPY``, table by table, and how many rows that was."""

    now: float
    text: dict[str, io.StringIO] = field(default_factory=lambda: {name: io.StringIO() for name in COLUMNS})
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COLUMNS, 0))
    _dice: random.Random = field(default_factory=lambda: random.Random(3))

    def put(self, table: str, *values: Any) -> None:
        """Add a row."""
        self.text[table].write("\t".join([_text(value) for value in values]) + "\n")
        self.rows[table] += 1

    def taken(self) -> Iterable[tuple[str, io.StringIO]]:
        """Return what there is, and begin anew."""
        for name, text in self.text.items():
            text.seek(0)
            yield name, text
            self.text[name] = io.StringIO()

    def add(self, run: Run, version: str) -> None:
        """Add all rows of an instance."""
        stream, course, dice = run.stream, run.course, self._dice
        moment, key = _moment(run.began), f"{stream.shape[:3].upper()}-{run.number * 7919 % 1_000_003:07}"
        scheduled = stream.shape == "batches" and dice.random() < 0.5
        run_id = f"{'scheduled' if scheduled else 'manual'}__{moment}_{run.number}"
        amount = round(dice.uniform(10_001, 90_000) if course.large else dice.uniform(10, 10_000), 2)
        conf = {"key": key, "amount": amount, "accounts": [f"A{one}" for one in range(course.items)]}
        waiting = run.special == "waiting"
        ended = None if run.live else _moment(run.began + course.lasts)
        state = "queued" if waiting else "running" if run.live else "failed" if course.failed else "success"
        self.put(
            *("dag_run", run.number, stream.id, run_id, "scheduled" if scheduled else "manual"),
            *(
                "TIMETABLE" if scheduled else "REST_API",  # Airflow keeps the names, not the values
                None if dice.random() < 0.7 else f"person-{dice.randint(1, 40)}",
            ),
            *(state, json.dumps(conf), moment, moment, moment, None if waiting else moment, ended, moment),
            *(ended or _moment(min(self.now, run.began + course.lasts)), 0, "not_started", version),
        )
        for place, task in enumerate(course.tasks):
            self._task(run, run_id, version, amount, place, task)

    def _task(self, run: Run, run_id: str, version: str, amount: float, place: int, task: Task) -> None:
        work, stream = task.work, run.stream
        began, over = run.began + task.begins, run.began + task.begins + task.lasts
        state: str | None = task.ends
        if run.special == "waiting" or began > self.now:
            state = None
        elif over > self.now:
            state = "deferred" if work.system else "awaiting_input" if work.kind == "approval" else "running"
            if work.system and run.special:
                state = "awaiting_input" if run.special == "parked" else run.special
        if state is None and work.kind == "each" and task.map_index > 0:
            return  # Airflow makes the items when it is their turn
        index = -1 if state is None else task.map_index
        done = state in ("success", "failed")
        started = _moment(began) if state not in (None, "queued", "skipped", "upstream_failed") else None
        tries = 0 if state is None else task.attempts if done else 1
        queued = None if state in (None, "skipped", "upstream_failed") else _moment(began - 0.4)
        milliseconds = int(began * 1000)
        number = self.rows["task_instance"]
        identity = f"{milliseconds:012x}7{number & 0xFFF:03x}8{number:015x}"
        ended = _moment(over) if state in ("success", "failed", "skipped", "upstream_failed") else None
        self.put(
            *("task_instance", identity, work.task, stream.id, run_id, index, state, tries, 10 if work.system else 3),
            *(queued, queued, started, ended, task.lasts if done else None, _moment(min(over, self.now)), version),
            *(OPERATORS.get(work.kind, "DelegateOperator"), work.task, "worker-1", "airflow", "default_pool", 1),
            *("default", 1, "not_started", CONFIG),
        )
        if state in (None, "skipped", "upstream_failed"):
            return
        if over > self.now - LOGGED_FOR:
            for event in ("running", state) if done else ("running",):
                self.put(
                    *("log", self.rows["log"] + 1, _moment(over if event == state else began), stream.id, work.task),
                    *(index, event, run_id, stream.owner, tries),
                )
        where = (run.number, work.task, index)
        if work.system and state != "queued":
            self._ledger(where, stream.id, run_id, task, state, began, over)
        if work.kind in RULES_OF and done:
            self._decision(where, stream.id, run_id, work.kind, amount, over, large=run.course.large)
        if state == "awaiting_input":
            subject = f"Is job {place} over?" if work.system else "Release it?"
            self.put("hitl_detail", identity, '["Approve", "Reject"]', subject, None, "f", "{}", "{}", _moment(began))

    def _ledger(
        self, where: tuple[int, str, int], dag_id: str, run_id: str, task: Task, state: str, began: float, over: float
    ) -> None:
        dice, done = self._dice, state in ("success", "failed")
        attempts: list[Attempt] = []
        for number in range(1, task.attempts + 1 if done else 2):
            key = "K" + "".join(dice.choices("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=19))
            last = number == task.attempts
            verdict = "failure" if not last or state != "success" else "warning" if dice.random() < 0.03 else "success"
            one = Attempt(
                number, key, state=AttemptState.SUBMITTED, work="3fc9b1d0a2e84f60", system=task.work.system, sends=1,
                max_tries=10, retries=10, sent=_moment(began), opened=_moment(began), waits=1,
                handle=JobHandle(key, f"JOB{dice.randint(0, 9_999_999):07}", task.work.task.upper(), {"host": "a"}),
                parked="the system does not know the job" if state == "awaiting_input" else "",
            )  # fmt: skip
            if done or state == "up_for_retry":
                more = {"kind": "abended", "message": "ABEND S0C7 in step 3"} if verdict == "failure" else {}
                one = replace(
                    one, state=AttemptState.CLOSED, verdict=verdict, closed_by="system", closed=_moment(over), **more
                )
            attempts.append(one)
            self._cell(where, ledger_cell(number), dag_id, run_id, Ledger(tuple(attempts)).to_json(), over)
            self._cell(where, sent_cell(number, number), dag_id, run_id, one.to_json(), began)
        if state == "success":
            value = {"job": attempts[-1].handle.job_id if attempts[-1].handle else "", "outcome": attempts[-1].verdict}
            text = json.dumps(json.dumps(value))
            number, name, index = where
            self.put("xcom", number, name, index, "return_value", dag_id, run_id, text, _moment(over))

    def _decision(
        self, where: tuple[int, str, int], dag_id: str, run_id: str, kind: str, amount: float, at: float, *, large: bool
    ) -> None:
        rules, otherwise = RULES_OF[kind]
        record = Decision(
            "branch" if kind == "branch" else "table",
            "first",
            ways_of_rules(rules, otherwise),
            {"params.amount" if kind == "branch" else "amount": amount},
            (1,) if large else ("otherwise",),
            RULES,
            datetime.fromtimestamp(at, UTC),
            chosen=() if kind != "branch" else ("approve",) if large else ("provision",),
            outputs={} if kind == "branch" else {"treatment": "release" if large else "book"},
        )
        self._cell(where, DECISION_KEY, dag_id, run_id, record.to_json(), at)

    def _cell(self, where: tuple[int, str, int], key: str, dag_id: str, run_id: str, value: Any, at: float) -> None:
        number = self.rows["task_state_store"] + 1
        kept = json.dumps(value)
        self.put("task_state_store", number, *where, key, dag_id, run_id, kept, _moment(min(at, self.now)))


OPERATORS = {"branch": "BranchStep", "approval": "ApprovalStep", "decision": "DecisionStep", "helper": "EmptyOperator"}


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _text(value: Any) -> str:
    """Return a value as ``COPY`` reads it."""
    if value is None:
        return "\\N"
    if not isinstance(value, str):
        return str(value)
    return value.replace("\\", "\\\\") if "\\" in value else value
