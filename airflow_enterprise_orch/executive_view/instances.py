"""The list of instances: filters, pages, exact totals, and the same rows as CSV. All SQL is on our own tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from time import monotonic, time
from typing import TYPE_CHECKING, Any, get_args

from sqlalchemy import ColumnElement, Select, and_, func, not_, or_, select

from airflow_enterprise_orch.executive_view import last_write
from airflow_enterprise_orch.executive_view.answering import invalid
from airflow_enterprise_orch.executive_view.answers import (
    Acknowledged,
    Forecast,
    Health,
    InstanceFilter,
    InstancePage,
    InstanceQuery,
    InstanceRow,
    InstanceState,
    StepName,
    WaitsFor,
)
from airflow_enterprise_orch.executive_view.forecast import FEWEST_PAST
from airflow_enterprise_orch.executive_view.kept import Kept
from airflow_enterprise_orch.executive_view.keyset import Phase, everything, from_cursor, pages, seek, to_cursor
from airflow_enterprise_orch.executive_view.pictures import Pictures
from airflow_enterprise_orch.executive_view.tables import INSTANCE, JOB, STREAM
from airflow_enterprise_orch.value_stream.airflow_streams import AirflowStreams

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

I = INSTANCE.c  # noqa: E741 - read as "I.due_at"
S = STREAM.c
HEALTHS: frozenset[str] = frozenset(get_args(Health))
STATES: frozenset[str] = frozenset(get_args(InstanceState))
WAITS: frozenset[str] = frozenset(get_args(WaitsFor))
KEPT_TOTALS = 512
LAST_LETTER = "\U0010ffff"

ROW = (
    *(I.id, I.dag_id, I.run_id, I.version, I.business_key, I.business_date, I.run_type, I.state, I.live, I.health),
    *(I.queued_at, I.started_at, I.ended_at, I.due_at, I.first_due_at, I.late_seconds, I.current_step, I.current_stack),
    *(I.waits_for, I.waiting_people, I.parked, I.forecast_p50, I.forecast_p90, I.forecast_n),
    *(
        I.forecast_problem,
        I.acknowledged_by,
        I.acknowledged_at,
        I.changed_at,
        I.revision,
        S.title,
        S.domain,
        S.owner,
        S.criticality,
    ),
)
JOINED = INSTANCE.outerjoin(STREAM, and_(S.dag_id == I.dag_id, S.version == I.version))


def phases_of(order: str) -> list[Phase]:
    """Return an order of the list as phases, each of which an index serves."""
    if order == "newest":
        return [Phase(I.started_at.is_(None), ((I.id, True),)), _by_start(falls=True)]
    if order == "oldest":
        return [_by_start(falls=False), Phase(I.started_at.is_(None), ((I.id, False),))]
    if order == "changed":
        return [Phase(None, ((I.revision, True), (I.id, True)))]
    return [
        Phase(and_(I.live, I.due_at.is_not(None)), ((I.due_at, False), (I.id, False))),
        Phase(and_(I.live, I.due_at.is_(None)), ((I.id, False),)),
        Phase(not_(I.live), ((I.id, True),)),
    ]


def _by_start(*, falls: bool) -> Phase:
    return Phase(I.started_at.is_not(None), ((I.started_at, falls), (I.id, falls)))


def conditions(session: Session, filters: InstanceFilter, streams: frozenset[str]) -> list[ColumnElement[bool]]:
    """Return what a filter means; the first condition is what the viewer may see."""
    wanted = streams.intersection(filters.stream) if filters.stream else streams
    found: list[ColumnElement[bool]] = [I.dag_id.in_(sorted(wanted))]
    for column, values in (
        (I.state, filters.state),
        (I.health, filters.health),
        (I.current_step, filters.step),
        (I.current_stack, filters.stack),
    ):
        if values:
            found.append(column.in_(values))
    if filters.id:
        found.append(I.id.in_(filters.id))
    if filters.q:
        found += _key(filters.q.casefold(), filters.match, session.get_bind().dialect.name)
    if filters.domain or filters.owner or filters.criticality:
        found.append(_of_versions(session, filters, wanted))
    if filters.live is not None:
        found.append(I.live if filters.live else not_(I.live))
    if filters.waits_for:
        nothing = [I.waits_for.is_(None)] if "nothing" in filters.waits_for else []
        found.append(or_(I.waits_for.in_(filters.waits_for), *nothing))
    if filters.waiting_people is not None:
        found.append(I.waiting_people > 0 if filters.waiting_people else I.waiting_people == 0)
    if filters.parked is not None:
        found.append(I.parked > 0 if filters.parked else I.parked == 0)
    if filters.acknowledged is not None:
        found.append(I.acknowledged_at.is_not(None) if filters.acknowledged else I.acknowledged_at.is_(None))
    if filters.job:
        known = {filters.job, filters.job.upper()}
        # The job of a step that runs another stream is an instance of it, named by its stream and its run.
        told = or_(JOB.c.system != AirflowStreams.identity, JOB.c.job_name.in_(sorted(streams)))
        found.append(I.id.in_(select(JOB.c.instance_id).where(JOB.c.job_id.in_(sorted(known)), told)))
    if filters.business_date is not None:
        found.append(I.business_date == filters.business_date)
    if filters.started_from is not None:
        found.append(I.started_at >= filters.started_from)
    if filters.started_to is not None:
        found.append(I.started_at < filters.started_to)
    if filters.ended_from is not None:
        found.append(or_(I.ended_at.is_(None), I.ended_at >= filters.ended_from))
    return found


def _of_versions(session: Session, filters: InstanceFilter, streams: frozenset[str]) -> ColumnElement[bool]:
    """Return the condition for what a template says of itself, which another version of it may say otherwise.

    The versions are few and looked up first: joined with, they would have to be for each of all instances.
    """
    fits = [
        column.in_(values)
        for column, values in (
            (S.domain, filters.domain),
            (S.owner, filters.owner),
            (S.criticality, filters.criticality),
        )
        if values
    ]
    of_all: dict[str, set[int]] = {}
    that_fit: dict[str, set[int]] = {}
    rows = select(S.dag_id, S.version, and_(*fits).label("fits")).where(S.dag_id.in_(sorted(streams)))
    for row in session.execute(rows):
        of_all.setdefault(row.dag_id, set()).add(row.version)
        if row.fits:
            that_fit.setdefault(row.dag_id, set()).add(row.version)
    whole = sorted(dag_id for dag_id, versions in that_fit.items() if versions == of_all[dag_id])
    parts = [
        and_(I.dag_id == dag_id, I.version.in_(sorted(versions)))
        for dag_id, versions in sorted(that_fit.items())
        if versions != of_all[dag_id]
    ]
    return or_(I.dag_id.in_(whole), *parts)


def _key(text: str, match: str, dialect: str) -> Iterator[ColumnElement[bool]]:
    if match == "contains":
        yield I.business_key_lower.contains(text, autoescape=True)
        return
    yield I.business_key_lower.startswith(text, autoescape=True)
    if dialect == "sqlite":
        # SQLite finds beginnings with an index only when it is told the range.
        yield and_(I.business_key_lower >= text, I.business_key_lower < text + LAST_LETTER)


_totals: Kept[int] = Kept(KEPT_TOTALS)


def page(session: Session, query: InstanceQuery, streams: frozenset[str]) -> InstancePage:
    """Return one page of what a viewer may see; see :func:`until`.

    :param streams: the ids of the streams that the viewer may see.
    """
    # The write is read first: rows that come in between are then counted with the next one.
    write = last_write.current(session)
    where = conditions(session, query, streams)
    question = InstanceFilter(**query.model_dump(include=set(InstanceFilter.model_fields))).model_dump_json()
    phases = phases_of(query.order)
    if query.row and query.cursor:
        raise invalid("row: it is for who jumps; a cursor says already where the page begins")
    start = from_cursor(query.cursor, query.order + question, phases)

    def count() -> int:
        return session.scalar(select(func.count()).select_from(INSTANCE).where(*where)) or 0

    total = _totals.get((write.revision, streams, question), count)

    def run(one: Select[Any]) -> Sequence[Any]:
        return session.execute(one).all()

    rows: list[Any] = []
    end = None
    if query.row:
        keys = {column: None for phase in phases for column, _ in phase.by}
        start = seek(select(*keys).select_from(INSTANCE).where(*where), phases, query.row, total, run)
    if start is not None or not query.row:
        rows, end = pages(select(*ROW).select_from(JOINED).where(*where), phases, start, query.limit, run)
    return InstancePage(
        as_of=write.fed_at or datetime.now(UTC),
        total=total,
        items=told(session, rows),
        next_cursor=to_cursor(end, query.order + question),
    )


def until() -> float:
    """Return how long a page is true though nothing is written, on the monotonic clock."""
    return monotonic() + 60 - time() % 60


def told(session: Session, rows: Sequence[Any]) -> list[InstanceRow]:
    """Return rows of the database as the answer has them."""
    pictures = Pictures()
    pictures.load(session, {(row.dag_id, row.version) for row in rows})
    now = datetime.now(UTC)
    return [instance_row(row, pictures, now) for row in rows]


def instance_row(row: Any, pictures: Pictures, now: datetime) -> InstanceRow:
    """Return one row as the answer has it."""
    acknowledged = None
    if row.acknowledged_at is not None:
        acknowledged = Acknowledged(by=row.acknowledged_by or "", at=row.acknowledged_at)
    return InstanceRow(
        id=row.id,
        dag_id=row.dag_id,
        run_id=row.run_id,
        key=row.business_key or row.run_id,
        stream=row.title or row.dag_id,
        version=row.version,
        domain=row.domain or "",
        owner=row.owner or "",
        criticality=row.criticality or "",
        business_date=row.business_date,
        run_type=row.run_type,
        state=row.state if row.state in STATES else "unknown",
        live=row.live,
        health=row.health if row.health in HEALTHS else "unknown",
        queued_at=row.queued_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        due_at=row.due_at,
        first_due_at=row.first_due_at,
        late_seconds=late_by(row, now),
        step=pictures.of(row.dag_id, row.version).step_name(row.current_step) if row.current_step else None,
        waits_for=row.waits_for if row.waits_for in WAITS else "nothing",
        waiting_people=row.waiting_people > 0,
        parked=row.parked > 0,
        forecast=forecast_of(row),
        acknowledged=acknowledged,
        changed_at=row.changed_at,
    )


def late_by(row: Any, now: datetime) -> int | None:
    """Return how late an instance is; of a live one in whole minutes: an answer is not a new one each second."""
    if not row.live:
        return row.late_seconds or None
    if row.due_at is None or row.due_at >= now:
        return None
    return int((now - row.due_at).total_seconds()) // 60 * 60


def forecast_of(row: Any) -> Forecast | None:
    """Return the forecast of a row; None where it is not live, has failed, or nobody has worked one out."""
    if not row.live or row.forecast_n is None or row.health == "failed":
        return None
    enough = row.forecast_p50 is not None and row.forecast_n >= FEWEST_PAST
    return Forecast(
        p50=row.forecast_p50 if enough else None,
        p90=row.forecast_p90 if enough else None,
        instances=row.forecast_n,
        enough=enough,
        problem=None if enough else row.forecast_problem,
    )


COLUMNS: Mapping[str, Callable[[Any, StepName | None, datetime], object]] = {
    "key": lambda row, _step, _now: row.business_key or row.run_id,
    "stream": lambda row, _step, _now: row.title or row.dag_id,
    "domain": lambda row, _step, _now: row.domain,
    "owner": lambda row, _step, _now: row.owner,
    "criticality": lambda row, _step, _now: row.criticality,
    "business_date": lambda row, _step, _now: row.business_date,
    "state": lambda row, _step, _now: row.state,
    "health": lambda row, _step, _now: row.health,
    "step": lambda _row, step, _now: step.title if step is not None else None,
    "stack": lambda _row, step, _now: step.stack.title if step is not None else None,
    "waits_for": lambda row, _step, _now: row.waits_for or "nothing",
    "started_at": lambda row, _step, _now: row.started_at,
    "ended_at": lambda row, _step, _now: row.ended_at,
    "due_at": lambda row, _step, _now: row.due_at,
    "late_seconds": lambda row, _step, now: late_by(row, now),
    "forecast_p50": lambda row, _step, _now: row.forecast_p50 if row.live else None,
    "forecast_p90": lambda row, _step, _now: row.forecast_p90 if row.live else None,
    "acknowledged_by": lambda row, _step, _now: row.acknowledged_by,
    "acknowledged_at": lambda row, _step, _now: row.acknowledged_at,
    "dag_id": lambda row, _step, _now: row.dag_id,
    "run_id": lambda row, _step, _now: row.run_id,
    "version": lambda row, _step, _now: row.version,
}
"""The columns of the CSV, in their order: each of the database's row, the step that it is at, and the moment."""


def csv_rows(
    opened: Callable[[], AbstractContextManager[Session]], filters: InstanceFilter, streams: frozenset[str]
) -> Iterator[list[object]]:
    """Yield all instances that fit a filter, the newest first: those that are there when it begins.

    :param opened: opens a session. Each batch has its own: whoever loads a file slowly holds no transaction open.
    """
    with opened() as session:
        where = conditions(session, filters, streams)
        newest = session.scalar(select(func.max(I.id))) or 0
    wanted = select(*ROW).select_from(JOINED).where(*where, I.id <= newest)
    pictures, now = Pictures(), datetime.now(UTC)

    def run(statement: Select[Any]) -> Sequence[Any]:
        with opened() as session:
            rows = session.execute(statement).all()
            pictures.load(session, {(row.dag_id, row.version) for row in rows})
        return rows

    for row in everything(wanted, Phase(None, ((I.id, True),)), run):
        step = pictures.of(row.dag_id, row.version).step_name(row.current_step) if row.current_step else None
        yield [read(row, step, now) for read in COLUMNS.values()]
