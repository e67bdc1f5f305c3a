"""What Airflow's own tables tell about one instance, for its page; beside ``airflow_tables.py`` the only such SQL.

Everything is looked up by the run's key or an index of Airflow's. Values that cannot be read are left out, or said to
be unreadable: whoever may edit a task instance may edit what it keeps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.pool import Pool
from airflow.models.task_state_store import TaskStateStoreModel as Cell
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import ColumnElement, func, or_, select

from airflow_enterprise_orch.delegation.control import CONTROL_KEY
from airflow_enterprise_orch.delegation.ledger_store import LEDGER_PREFIX, newest_ledger
from airflow_enterprise_orch.delegation.remote_note import NOTE_KEY, RemoteNote
from airflow_enterprise_orch.executive_view.airflow_tables import RETURNED, from_json, holds, outputs_of
from airflow_enterprise_orch.value_stream.compensating import UNDO_KEY
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY
from airflow_enterprise_orch.value_stream.override_window import PROPOSAL_KEY

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Question:
    """A question in Airflow's Required Actions that nobody has answered."""

    task_id: str
    subject: str
    options: Sequence[str]
    assignees: Sequence[str]
    asked_at: datetime | None


@dataclass(frozen=True)
class PoolWait:
    """A task that waits for slots of a pool.

    :param free: how many slots nobody has taken.
    :param taken: how many the tasks of streams have taken that the viewer may see.
    """

    task_id: str
    pool: str
    wants: int
    free: float
    taken: int


@dataclass(frozen=True)
class Details:
    """What Airflow tells about one instance.

    :param ledgers: by task and map index the JSON text of the ledger that counts.
    :param decisions: by task the record; see ``value_stream/decision_record.py``.
    :param wishes: by task what people asked for there.
    :param proposals: by task what a branch does when nobody has it otherwise; see ``value_stream/override_window.py``.
    :param undone: by task that undoes a step what it has done; see ``value_stream/compensating.py``.
    :param holds: the Variable with the holds on streams, systems and connections.
    :param notes: by task and map index what the system says that has its job, where that does not get on.
    """

    ledgers: Mapping[tuple[str, int], str] = field(default_factory=dict)
    decisions: Mapping[str, Any] = field(default_factory=dict)
    wishes: Mapping[str, Any] = field(default_factory=dict)
    proposals: Mapping[str, Any] = field(default_factory=dict)
    undone: Mapping[str, Any] = field(default_factory=dict)
    holds: Any = None
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    questions: Sequence[Question] = ()
    pools: Sequence[PoolWait] = ()
    notes: Mapping[tuple[str, int], RemoteNote] = field(default_factory=dict)


def run_exists(session: Session, dag_id: str, run_id: str) -> bool:
    """Tell whether Airflow has the run."""
    return session.scalar(select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)) is not None


def details(
    session: Session, dag_id: str, run_id: str, streams: Collection[str], *, with_outputs: bool, live: bool
) -> Details:
    """Read what there is.

    :param streams: the ids of the streams that the viewer may see.
    :param with_outputs: whether the viewer may see what steps gave.
    :param live: of an instance that is over nobody waits for anything.
    """
    ledgers: dict[tuple[str, int], dict[str, str]] = {}
    records: dict[str, dict[str, Any]] = {DECISION_KEY: {}, CONTROL_KEY: {}, PROPOSAL_KEY: {}, UNDO_KEY: {}}
    wanted = or_(Cell.key.startswith(LEDGER_PREFIX, autoescape=True), Cell.key.in_(records))
    rows = session.execute(
        select(Cell.task_id, Cell.map_index, Cell.key, Cell.value)
        .where(Cell.dag_id == dag_id, Cell.run_id == run_id, wanted)
        .order_by(Cell.task_id, Cell.map_index)
    )
    for task_id, map_index, key, value in rows:
        if key in records:
            records[key][task_id] = from_json(value)
        else:
            ledgers.setdefault((task_id, map_index), {})[key] = value
    newest = {step: newest_ledger(cells) for step, cells in ledgers.items()}
    return Details(
        {step: value for step, value in newest.items() if value is not None},
        records[DECISION_KEY],
        records[CONTROL_KEY],
        records[PROPOSAL_KEY] if live else {},
        records[UNDO_KEY],
        holds(session.connection()) if live else None,
        _outputs(session, dag_id, run_id) if with_outputs else {},
        _questions(session, dag_id, run_id) if live else (),
        _pools(session, dag_id, run_id, streams) if live else (),
        _notes(session, dag_id, run_id),
    )


def _outputs(session: Session, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
    """Return what steps gave: the values that later steps can read, not those of single items of a list."""
    rows = session.execute(
        select(XComModel.task_id, XComModel.value).where(
            XComModel.dag_id == dag_id,
            XComModel.run_id == run_id,
            XComModel.key == RETURNED,
            XComModel.map_index == -1,
        )
    )
    return {task_id: outputs_of(from_json(value)) for task_id, value in rows}


def _notes(session: Session, dag_id: str, run_id: str) -> dict[tuple[str, int], RemoteNote]:
    columns = (XComModel.task_id, XComModel.map_index, XComModel.value)
    mine = (XComModel.dag_id == dag_id, XComModel.run_id == run_id, XComModel.key == NOTE_KEY)
    now, found = datetime.now(UTC), {}
    for task_id, map_index, value in session.execute(select(*columns).where(*mine)):
        note = RemoteNote.read(from_json(value), now)
        if note is not None:
            found[task_id, map_index] = note
    return found


def _questions(session: Session, dag_id: str, run_id: str) -> tuple[Question, ...]:
    rows = session.execute(
        select(TaskInstance.task_id, HITLDetail)
        .join(HITLDetail, HITLDetail.ti_id == TaskInstance.id)
        .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, HITLDetail.responded_at.is_(None))
        .order_by(HITLDetail.created_at)
    )
    return tuple(
        Question(
            task_id,
            asked.subject,
            tuple(map(str, asked.options or ())),
            tuple(str(one.get("name") or one.get("id")) for one in asked.assignees or ()),
            asked.created_at,
        )
        for task_id, asked in rows
    )


def _pools(session: Session, dag_id: str, run_id: str, streams: Collection[str]) -> tuple[PoolWait, ...]:
    # One that is queued has its slots, and waits for a worker.
    # One that is queued has its slots, and waits for a worker.
    waiting = session.execute(
        select(TaskInstance.task_id, TaskInstance.pool, func.max(TaskInstance.pool_slots).label("wants"))
        .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, TaskInstance.state == "scheduled")
        .group_by(TaskInstance.task_id, TaskInstance.pool)
        .order_by(TaskInstance.task_id)
    ).all()
    if not waiting:
        return ()
    named = {row.pool for row in waiting}
    pools = {pool.pool: pool for pool in session.scalars(select(Pool).where(Pool.pool.in_(named)))}
    if not pools:
        return ()
    free = {name: pool.open_slots(session=session) for name, pool in pools.items()}
    # What others do is theirs: of what a pool gives, only that is counted which the viewer can see.
    seen = session.execute(
        select(TaskInstance.pool, func.sum(TaskInstance.pool_slots))
        .where(TaskInstance.pool.in_(pools), TaskInstance.dag_id.in_(sorted(streams)))
        .where(or_(*(_occupies(pool) for pool in pools.values())))
        .group_by(TaskInstance.pool)
    )
    taken = {name: int(slots) for name, slots in seen}
    return tuple(
        PoolWait(row.task_id, row.pool, row.wants, free[row.pool], taken.get(row.pool, 0))
        for row in waiting
        if row.pool in pools
    )


def _occupies(pool: Pool) -> ColumnElement[bool]:
    states = pool.get_occupied_states()  # type: ignore[no-untyped-call]
    return (TaskInstance.pool == pool.pool) & TaskInstance.state.in_(states)
