"""What happened to instances, for the audit trail: told from evidence that Airflow keeps, never from when it was seen.

Each event carries the moment at which it happened, and a mark made of its evidence alone: the record of a decision, the
question in Required Actions, the attempt in a ledger. Whoever sees the same evidence again (the next leader, a rebuild,
a step that goes on) makes the same mark, and the event is kept once; a step that was cleared and decides anew leaves
new evidence, and makes another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from airflow_enterprise_orch.delegation.answers import REASON
from airflow_enterprise_orch.executive_view.airflow_tables import Facts, Question, chunks
from airflow_enterprise_orch.executive_view.feed_instance import attempts_of, aware, decision_of
from airflow_enterprise_orch.executive_view.tables import EVENT
from airflow_enterprise_orch.undoing import HELPER
from airflow_enterprise_orch.value_stream.airflow_streams import STARTED_BY, AirflowStreams
from airflow_enterprise_orch.value_stream.asking import NOBODY
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY

LONGEST_QUESTION = 1000
"""Of what a parked step asks."""


@dataclass(frozen=True)
class Happened:
    """One event.

    :param at: when it happened; aware.
    :param mark: what tells it from every other of its kind in the same run of Airflow's.
    :param actor: a person, the rules, or ``nobody`` when a time limit did; None where nobody does such a thing.
    """

    kind: str
    at: datetime
    mark: tuple[Any, ...]
    task_id: str | None = None
    map_index: int = -1
    actor: str | None = None
    reason: str | None = None
    before: Any = None
    after: Any = None


@dataclass(frozen=True)
class Whose:
    """The run of Airflow's that something happened to.

    :param number: of the run: one that was deleted and made again under its name is another.
    """

    number: int
    dag_id: str
    run_id: str


def whose(row: Mapping[str, Any]) -> Whose:
    """Return whose events those of a row of ``orch_instance`` are."""
    return Whose(row["airflow_id"], row["dag_id"], row["run_id"])


def happened(facts: Facts, picture: Mapping[str, Any], row: Mapping[str, Any], now: datetime) -> Iterator[Happened]:
    """Yield what a run shows to have happened.

    :param row: the columns of ``orch_instance``.
    """
    of_task = {task: step for step in picture["steps"] for task in (step["id"], *step.get("tasks", {}))}
    yield from _decided(facts, of_task)
    for asked in facts.questions:
        yield from _asked(asked, of_task.get(asked.task_id, {}))
    yield from _started(facts)
    by, made = row["started_by"], facts.run.created_at
    if by and made is not None and STARTED_BY not in (row["params"] or {}):
        yield Happened("triggered", aware(made), (aware(made),), actor=by)
    over = row["ended_at"] or now
    if row["due_at"] is not None and row["due_at"] < over and row["state"] != "deleted":
        yield late(row["due_at"])
    if not row["live"] and row["ended_at"] is not None:
        ended = {"state": row["state"], "health": row["health"]}
        yield Happened("ended", row["ended_at"], (row["state"], row["ended_at"]), after=ended)


def late(due: datetime) -> Happened:
    """Tell that an instance was not over by its due time."""
    return Happened("late", due, (due,), after={"due": due.isoformat()})


def deleted(row: Mapping[str, Any], at: datetime, by: str | None) -> Happened:
    """Tell that somebody deleted a run in Airflow."""
    return Happened("deleted", at, (at,), actor=by, before={"state": row["state"]})


def _decided(facts: Facts, of_task: Mapping[str, Any]) -> Iterator[Happened]:
    titles = {step["id"]: f"“{step.get('title', step['id'])}”" for step in of_task.values()}
    for (task_id, map_index), cells in facts.cells.items():
        found = decision_of(cells.get(DECISION_KEY)) if task_id in of_task else None
        if found is None:
            continue
        over = found.overridden
        given = dict(found.outputs) if found.kind == "table" else list(found.chosen)
        yield Happened(
            "override" if over is not None else "decision",
            found.at,
            (task_id, map_index, found.at),
            task_id,
            map_index,
            found.by if over is None else over.by,
            found.sentence(titles) if over is None else over.reason,
            None if over is None else list(over.instead),
            given,
        )


def _asked(asked: Question, step: Mapping[str, Any]) -> Iterator[Happened]:
    """Yield that somebody was asked and that somebody answered.

    A delegated step asks only what nobody can prove: it is parked. All others ask because their template says so.
    """
    where = (asked.task_id, asked.map_index)
    # Not by the try: when Airflow tries a step again, it keeps the question for the one before and takes it along.
    mark = (*where, aware(asked.asked))
    options = {"options": list(asked.options or ())}
    parked = "." in step.get("kind", ".") or HELPER in asked.task_id
    why = (asked.body or asked.subject)[:LONGEST_QUESTION] if parked else asked.subject
    kind = "parked" if parked else "asked"
    yield Happened(kind, aware(asked.asked), mark, *where, reason=why, after=options)
    if asked.answered is None:
        return
    by = asked.by if isinstance(asked.by, Mapping) else {}
    given = dict(asked.given) if isinstance(asked.given, Mapping) else {}
    reason = str(given.pop(REASON, None) or "") or None
    told = {"answer": list(asked.chosen or ()), **{name: value for name, value in given.items() if value is not None}}
    who = str(by.get("name") or by.get("id") or NOBODY)
    answered = aware(asked.answered)
    yield Happened("answered", answered, (*mark, answered), *where, who, reason, {"question": asked.subject}, told)


def _started(facts: Facts) -> Iterator[Happened]:
    """Yield the instances of other streams that steps started."""
    for (task_id, map_index), cells in facts.cells.items():
        for attempt in attempts_of(cells):
            if attempt.system == AirflowStreams.identity and attempt.handle is not None and attempt.opened:
                told = {"dag_id": attempt.handle.name, "run_id": attempt.handle.job_id}
                at = aware(datetime.fromisoformat(attempt.opened))
                yield Happened("sub_stream", at, (task_id, map_index, attempt.key), task_id, map_index, after=told)


def keep(connection: Connection, events: Iterable[tuple[Whose, Happened]]) -> None:
    """Keep events, each once."""
    rows: dict[str, dict[str, Any]] = {}
    for whose, one in events:
        key = _key(whose, one)
        rows[key] = {
            "at": one.at, "dag_id": whose.dag_id, "run_id": whose.run_id, "task_id": one.task_id,
            "map_index": one.map_index, "kind": one.kind, "actor": one.actor, "reason": one.reason,
            "before": one.before, "after": one.after, "key": key,
        }  # fmt: skip
    for some in chunks(rows):
        for known in connection.scalars(select(EVENT.c.key).where(EVENT.c.key.in_(some))).all():
            del rows[known]
    for some in chunks(sorted(rows, key=lambda key: rows[key]["at"])):
        connection.execute(insert(EVENT), [rows[key] for key in some])


def is_told(connection: Connection, dag_id: str, run_id: str, at: datetime) -> bool:
    """Tell whether a deletion that was logged then is told: it is of no other run that got the name since."""
    of = EVENT.c
    known = (of.dag_id == dag_id, of.run_id == run_id, of.kind == "deleted", of.at == at)
    return connection.scalar(select(of.id).where(*known).limit(1)) is not None


def _key(whose: Whose, one: Happened) -> str:
    told = [whose.number, whose.dag_id, whose.run_id, one.kind, *one.mark]
    return hashlib.sha256(json.dumps(told, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
