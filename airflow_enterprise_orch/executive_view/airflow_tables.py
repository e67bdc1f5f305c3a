"""All that the feed reads of Airflow's own tables. They are no public interface: what changes there is met here alone.

Every question takes a bounded list of keys or rides on an index: live runs on the partial indexes of ``dag_run``, new
ones and the log of what people did on their primary keys.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, type_coerce
from sqlalchemy.types import NullType

from airflow_enterprise_orch.delegation.control import HOLDS_VARIABLE, ControlBroken, read_holds
from airflow_enterprise_orch.delegation.remote_note import GOOD_FOR, NOTE_KEY, RemoteNote
from airflow_enterprise_orch.value_stream.override_window import PROPOSAL_KEY

LIVE = ("queued", "running")
RETURNED = "return_value"
"""The key of the XCom that holds what a task gave."""
LONGEST_OUTPUT = 2000
"""Characters of one output's JSON; what is longer is cut."""
CHUNK = 400
"""How many keys one question takes; SQLite and drivers bound the number of values."""
DELETED = "delete_dag_run"
"""What Airflow's log calls the deletion of a run."""
MARK = "doc_json"
"""The field of a task in the serialized DAG that carries the picture; see ``value_stream/picture.py``."""


@dataclass(frozen=True)
class Version:
    """One version of a DAG that carries a picture."""

    dag_id: str
    number: int
    picture: dict[str, Any]
    made: datetime


@dataclass(frozen=True)
class Question:
    """What a task asked in Airflow's Required Actions.

    :param asked: when it was asked first: a step that is cleared takes its question along, as if it had asked it.
    :param by: ``id`` and ``name`` of who answered; None where nobody has, or a time limit did.
    :param given: what was filled in beside the answer.
    """

    task_id: str
    map_index: int
    subject: str
    body: str | None
    options: Any
    asked: datetime
    answered: datetime | None
    by: Any
    chosen: Any
    given: Any


@dataclass
class Facts:
    """What Airflow knows of one run.

    :param tasks: its task instances.
    :param cells: its task state store, by task and map index.
    :param questions: of all its tries.
    :param notes: by task and map index what the system says that has its job, where that does not get on.
    :param outputs: by task what it gave; see :func:`outputs_of`.
    :param holds: the Variable with the holds on streams, systems and connections.
    """

    run: Any
    tasks: list[Any] = field(default_factory=list)
    cells: dict[tuple[str, int], dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    questions: list[Question] = field(default_factory=list)
    notes: dict[tuple[str, int], RemoteNote] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    holds: Any = None


def chunks(keys: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield the keys in pieces that one question takes."""
    every = list(keys)
    for start in range(0, len(every), CHUNK):
        yield every[start : start + CHUNK]


def versions(connection: Connection, known: Iterable[tuple[str, int]], tag: str) -> Iterator[Version]:
    """Yield the versions of value streams that are not known yet."""
    from airflow.models.dag import DagTag
    from airflow.models.dag_version import DagVersion
    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy.orm import Session

    seen = set(known)
    rows = connection.execute(
        select(DagVersion.id, DagVersion.dag_id, DagVersion.version_number)
        .join(DagTag, DagTag.dag_id == DagVersion.dag_id)
        .where(DagTag.name == tag)
        .order_by(DagVersion.dag_id, DagVersion.version_number)
    ).all()
    new = [row for row in rows if (row.dag_id, row.version_number) not in seen]
    session = Session(bind=connection)
    for row in new:
        kept = session.scalar(select(SerializedDagModel).where(SerializedDagModel.dag_version_id == row.id))
        text = _picture(kept.data) if kept is not None else None
        if kept is not None and text is not None:
            yield Version(row.dag_id, row.version_number, json.loads(text), kept.created_at)


def _picture(data: Any) -> str | None:
    tasks = data["dag"]["tasks"] if data else ()
    found = (task["__var"].get(MARK) for task in tasks)
    return next((text for text in found if isinstance(text, str) and text.startswith("{")), None)


def streams_now(connection: Connection, dag_ids: Iterable[str]) -> dict[str, bool]:
    """Return, of the DAGs that Airflow has, whether they are paused."""
    from airflow.models.dag import DagModel

    found: dict[str, bool] = {}
    for some in chunks(dag_ids):
        query = select(DagModel.dag_id, DagModel.is_paused).where(DagModel.dag_id.in_(some))
        found.update({row.dag_id: bool(row.is_paused) for row in connection.execute(query)})
    return found


def holds(connection: Connection) -> Any:
    """Return what the Variable says that holds streams, systems and connections; None where it says nothing."""
    from airflow.models.variable import Variable
    from sqlalchemy.orm import Session

    kept = Session(bind=connection).scalar(select(Variable).where(Variable.key == HOLDS_VARIABLE))
    return None if kept is None else from_json(kept.get_val())


def live_runs(connection: Connection, now: datetime, held: Any = None) -> dict[int, tuple[Any, ...]]:
    """Return the live runs with what tells that anything of them changed.

    :param now: notes of remote jobs that are too old by then, and holds that have ended, count as gone.
    :param held: see :func:`holds`.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.task_state_store import TaskStateStoreModel as Cell
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel as XCom

    of_run = DagRun.__table__.c
    runs = connection.execute(
        select(DagRun.id, DagRun.dag_id, of_run.state, _as_it_is(DagRun.updated_at)).where(of_run.state.in_(LIVE))
    ).all()
    tasks = connection.execute(
        select(
            DagRun.id,
            func.count(),
            _as_it_is(func.max(TaskInstance.updated_at)),
            func.sum(TaskInstance.try_number),
            func.count(TaskInstance.state),
        )
        .join(TaskInstance, (TaskInstance.dag_id == DagRun.dag_id) & (TaskInstance.run_id == DagRun.run_id))
        .where(of_run.state.in_(LIVE))
        .group_by(DagRun.id)
    )
    cells = connection.execute(
        select(DagRun.id, func.count(), _as_it_is(func.max(Cell.updated_at)))
        .join(Cell, Cell.dag_run_id == DagRun.id)
        .where(of_run.state.in_(LIVE))
        .group_by(DagRun.id)
    )
    notes = connection.execute(
        select(XCom.dag_run_id, func.count(), _as_it_is(func.max(XCom.timestamp)))
        .join(DagRun, DagRun.id == XCom.dag_run_id)
        .where(of_run.state.in_(LIVE), XCom.key == NOTE_KEY, XCom.timestamp > now - GOOD_FOR)
        .group_by(XCom.dag_run_id)
    )
    of_tasks, of_cells, of_notes = ({row[0]: tuple(row) for row in every} for every in (tasks, cells, notes))
    of_holds = _held_while_proposing(connection, held, now)
    return {
        (number := row[0]): (
            tuple(row),
            of_tasks.get(number),
            of_cells.get(number),
            of_notes.get(number),
            of_holds.get(number),
        )
        for row in runs
    }


def _as_it_is(moment: Any) -> ColumnElement[Any]:
    """Return a moment that is only compared with itself: nobody needs it in UTC, a thousand times a look."""
    return type_coerce(moment, NullType())


def _held_while_proposing(connection: Connection, held: Any, now: datetime) -> dict[int, tuple[str, ...]]:
    """Return which holds are on the streams of the live runs in which a branch leaves people time.

    Nothing of Airflow's changes when a stream is held in which a task sleeps, nor when that hold ends by itself.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.task_state_store import TaskStateStoreModel as Cell

    try:
        every = [(name, wish) for scope, name, wish in read_holds(held) if scope == "stream"]
    except ControlBroken:
        return {}  # the steps themselves stop there and say so
    found: dict[str, list[str]] = {}
    for name, wish in every:
        if wish.until is None or wish.until > now:
            found.setdefault(name, []).append(wish.id)
    runs: dict[int, tuple[str, ...]] = {}
    for some in chunks(sorted(found)):
        proposing = (
            select(DagRun.id, DagRun.dag_id)
            .join(Cell, Cell.dag_run_id == DagRun.id)
            .where(DagRun.__table__.c.state.in_(LIVE), DagRun.dag_id.in_(some), Cell.key == PROPOSAL_KEY)
        )
        runs.update({row.id: tuple(found[row.dag_id]) for row in connection.execute(proposing)})
    return runs


def newest(connection: Connection) -> tuple[int, int]:
    """Return the highest numbers of runs and of the log."""
    from airflow.models.dagrun import DagRun
    from airflow.models.log import Log

    return (
        connection.scalar(select(func.max(DagRun.id))) or 0,
        connection.scalar(select(func.max(Log.id))) or 0,
    )


def run_ids(connection: Connection, above: int, most: int | None = None) -> list[int]:
    """Return the numbers of runs above one, in their order."""
    from airflow.models.dagrun import DagRun

    return list(connection.scalars(select(DagRun.id).where(DagRun.id > above).order_by(DagRun.id).limit(most)))


def acted_on(connection: Connection, above: int, known: Container[int] = ()) -> Sequence[Any]:
    """Return what people did with runs since an entry of the log, the oldest first.

    :param known: entries that are left out, but for deletions.
    """
    from airflow.models.log import Log

    # Their numbers first: most are known, and there are hundreds at every look.
    since = select(Log.id, Log.event).where(Log.id > above, Log.dag_id.is_not(None), Log.run_id.is_not(None))
    new = [row.id for row in connection.execute(since) if row.id not in known or row.event == DELETED]
    found: list[Any] = []
    for some in chunks(sorted(new)):
        columns = (Log.id, Log.dttm, Log.dag_id, Log.run_id, Log.task_id, Log.map_index)
        more = (Log.event, Log.owner, Log.extra)
        found += connection.execute(select(*columns, *more).where(Log.id.in_(some)).order_by(Log.id)).all()
    return found


def runs_named(connection: Connection, runs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """Return number (``id``) and ``created_at`` of runs by stream and run id; those that are gone are left out."""
    from airflow.models.dagrun import DagRun

    wanted = set(runs)
    found: dict[tuple[str, str], Any] = {}
    for some in chunks({run_id for _, run_id in wanted}):
        query = select(DagRun.id, DagRun.dag_id, DagRun.run_id, DagRun.created_at).where(DagRun.run_id.in_(some))
        found.update({(row.dag_id, row.run_id): row for row in connection.execute(query)})
    return found


def facts(connection: Connection, numbers: Iterable[int], now: datetime, held: Any = None) -> dict[int, Facts]:
    """Return what Airflow knows of runs, by their numbers; those that are gone are left out.

    :param now: by which notes of remote jobs may be too old.
    :param held: see :func:`holds`.
    """
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagrun import DagRun
    from airflow.models.task_state_store import TaskStateStoreModel as Cell
    from airflow.models.taskinstance import TaskInstance

    run, task = DagRun.__table__.c, TaskInstance.__table__.c
    found: dict[int, Facts] = {}
    for some in chunks(sorted(numbers)):
        of_runs = (
            select(
                *(run.id, run.dag_id, run.run_id, run.state, run.run_type, run.triggering_user_name, run.conf),
                run.created_at,
                *(run.run_after, run.logical_date, run.data_interval_start, run.data_interval_end),
                *(run.queued_at, run.start_date, run.end_date, DagVersion.version_number),
            )
            .outerjoin(DagVersion, DagVersion.id == run.created_dag_version_id)
            .where(run.id.in_(some))
        )
        found.update({row.id: Facts(row, holds=held) for row in connection.execute(of_runs)})
        of_tasks = (
            select(
                *(run.id.label("number"), task.task_id, task.map_index, task.state, task.try_number, task.max_tries),
                *(task.queued_dttm, task.scheduled_dttm, task.start_date, task.end_date, DagVersion.version_number),
            )
            .join_from(TaskInstance, DagRun, (task.dag_id == run.dag_id) & (task.run_id == run.run_id))
            .outerjoin(DagVersion, DagVersion.id == task.dag_version_id)
            .where(run.id.in_(some))
        )
        for row in connection.execute(of_tasks):
            if row.number in found:
                found[row.number].tasks.append(row)
        of_cells = select(Cell.dag_run_id, Cell.task_id, Cell.map_index, Cell.key, Cell.value).where(
            Cell.dag_run_id.in_(some), Cell.key.startswith("orch.", autoescape=True)
        )
        for cell in connection.execute(of_cells):
            if cell.dag_run_id in found:
                found[cell.dag_run_id].cells[cell.task_id, cell.map_index][cell.key] = cell.value
        for row in _xcoms(connection, some):
            if row.dag_run_id not in found:
                continue
            one, value = found[row.dag_run_id], from_json(row.value)
            if row.key == RETURNED:
                if given := outputs_of(value):
                    one.outputs[row.task_id] = given
            elif (note := RemoteNote.read(value, now)) is not None:
                one.notes[row.task_id, row.map_index] = note
        for number, question in _questions(connection, some):
            if number in found:
                found[number].questions.append(question)
    return found


def _xcoms(connection: Connection, numbers: Sequence[int]) -> Iterable[Any]:
    """Return what remote systems say of jobs of runs that do not get on, and what tasks gave; not items of a list."""
    from airflow.models.xcom import XComModel as XCom

    wanted = or_(XCom.key == NOTE_KEY, and_(XCom.key == RETURNED, XCom.map_index == -1))
    columns = (XCom.dag_run_id, XCom.task_id, XCom.map_index, XCom.key, XCom.value)
    return connection.execute(select(*columns).where(XCom.dag_run_id.in_(numbers), wanted))


def outputs_of(value: Any) -> dict[str, Any]:
    """Return by name what a task gave, as pages tell it and the feed keeps it; nothing of what has no names."""
    return {str(name): _cut(one) for name, one in value.items()} if isinstance(value, Mapping) else {}


def _cut(value: Any) -> Any:
    """Return a value, or the text of one that is long, or that is no JSON: NaN stands in XComs, and in no answer."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        value = text = json.dumps(value, ensure_ascii=False, default=str)
    return value if len(text) <= LONGEST_OUTPUT else f"{text[:LONGEST_OUTPUT]}..."


def from_json(value: Any) -> Any:
    """Return the value of a JSON text; None of one that is none; what is no text as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None


def _questions(connection: Connection, numbers: Sequence[int]) -> Iterator[tuple[int, Question]]:
    """Yield what the tasks of runs asked, those of earlier tries first."""
    from airflow.models.dagrun import DagRun
    from airflow.models.hitl import HITLDetail
    from airflow.models.hitl_history import HITLDetailHistory
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskinstancehistory import TaskInstanceHistory

    run = DagRun.__table__.c
    before, now = TaskInstanceHistory.__table__.c, TaskInstance.__table__.c
    for task, try_id, asked, asked_id in (
        (before, before.task_instance_id, HITLDetailHistory.__table__.c, "ti_history_id"),
        (now, now.id, HITLDetail.__table__.c, "ti_id"),
    ):
        rows = connection.execute(
            select(
                *(run.id.label("number"), task.task_id, task.map_index, asked.subject),
                asked.body,
                *(asked.options, asked.created_at, asked.responded_at, asked.responded_by, asked.chosen_options),
                asked.params_input,
            )
            .select_from(DagRun.__table__)
            .join(task.task_id.table, (task.dag_id == run.dag_id) & (task.run_id == run.run_id))
            .join(asked.subject.table, asked[asked_id] == try_id)
            .where(run.id.in_(numbers))
            .order_by(asked.created_at)
        )
        for row in rows:
            yield (
                row.number,
                Question(
                    row.task_id, row.map_index, row.subject, row.body, row.options, row.created_at,
                    row.responded_at, row.responded_by, row.chosen_options, row.params_input,
                ),
            )  # fmt: skip
