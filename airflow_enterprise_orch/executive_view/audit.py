"""The audit trail and the orphans, of the streams that a viewer may see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, and_, func, select

from airflow_enterprise_orch.executive_view import last_write
from airflow_enterprise_orch.executive_view.answers import Event, EventFilter, EventPage, EventQuery, Orphan, Orphans
from airflow_enterprise_orch.executive_view.instances import STATES
from airflow_enterprise_orch.executive_view.kept import Kept
from airflow_enterprise_orch.executive_view.keyset import Phase, everything, from_cursor, pages, to_cursor
from airflow_enterprise_orch.executive_view.pictures import Pictures
from airflow_enterprise_orch.executive_view.redacting import ANOTHER, Sight, Sights
from airflow_enterprise_orch.executive_view.tables import EVENT, INSTANCE, JOB

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

E = EVENT.c
I = INSTANCE.c  # noqa: E741 - read as "I.run_id"
J = JOB.c

NEWEST_FIRST = Phase(None, ((E.at, True), (E.id, True)))
MOST_ORPHANS = 1000
KEPT_PAGES = 32
GOOD_FOR = 5.0
"""Seconds for which a page is kept at most."""

# A run that was deleted and made again has two rows: the newest is meant.
_KEY = (
    select(I.business_key)
    .where(I.dag_id == E.dag_id, I.run_id == E.run_id)
    .order_by(I.id.desc())
    .limit(1)
    .scalar_subquery()
)
_VERSION = (
    select(I.version).where(I.dag_id == E.dag_id, I.run_id == E.run_id).order_by(I.id.desc()).limit(1).scalar_subquery()
)
ROW = (*EVENT.c, _KEY.label("business_key"), _VERSION.label("version"))


def conditions(filters: EventFilter, streams: frozenset[str]) -> list[ColumnElement[bool]]:
    """Return what a filter means; the first condition is what the viewer may see."""
    wanted = streams.intersection(filters.stream) if filters.stream else streams
    found: list[ColumnElement[bool]] = [E.dag_id.in_(sorted(wanted))]
    if filters.run_id:
        found.append(E.run_id == filters.run_id)
    if filters.kind:
        found.append(E.kind.in_(filters.kind))
    if filters.actor:
        found.append(E.actor.in_(filters.actor))
    if filters.q:
        known = select(I.id).where(
            I.dag_id == E.dag_id,
            I.run_id == E.run_id,
            I.business_key_lower.contains(filters.q.casefold(), autoescape=True),
        )
        found.append(known.exists())
    if filters.since is not None:
        found.append(E.at >= filters.since)
    if filters.until is not None:
        found.append(E.at < filters.until)
    return found


_pages: Kept[EventPage] = Kept(KEPT_PAGES)


def page(session: Session, query: EventQuery, streams: frozenset[str], sights: Sights) -> EventPage:
    """Return one page of the audit trail, the newest first; shared by all who may see the same.

    :param sights: what the viewer may see within each stream.
    """
    # Not every action takes the number of a write, and numbers of events are given before they are committed.
    newest = session.scalar(select(func.max(E.id)))
    since = last_write.current(session).revision, newest, int(monotonic() // GOOD_FOR)
    key = (*since, streams, sights.rights, query.model_dump_json())
    return _pages.get(key, lambda: _page(session, query, streams, sights))


def _page(session: Session, query: EventQuery, streams: frozenset[str], sights: Sights) -> EventPage:
    where = conditions(query, streams)
    question = EventFilter(**query.model_dump(include=set(EventFilter.model_fields))).model_dump_json()
    start = from_cursor(query.cursor, question, [NEWEST_FIRST])
    total = session.scalar(select(func.count()).select_from(EVENT).where(*where)) or 0
    rows, end = pages(
        select(*ROW).where(*where), [NEWEST_FIRST], start, query.limit, lambda one: session.execute(one).all()
    )
    pictures = Pictures()
    return EventPage(
        as_of=datetime.now(UTC),
        total=total,
        items=list(_events(session, rows, pictures, sights)),
        next_cursor=to_cursor(end, question),
    )


def everything_told(
    opened: Callable[[], AbstractContextManager[Session]],
    filters: EventFilter,
    streams: frozenset[str],
    sights: Sights,
) -> Iterator[Event]:
    """Yield all events that fit a filter, the newest first: those that are there when it begins.

    :param opened: opens a session; each batch has its own.
    :param sights: what the viewer may see within each stream.
    """
    with opened() as session:
        newest = session.scalar(select(func.max(E.id))) or 0
    wanted = select(*ROW).where(*conditions(filters, streams), E.id <= newest)
    pictures = Pictures()

    def run(statement: Select[Any]) -> Sequence[Any]:
        with opened() as session:
            return list(_events_with_ids(session, session.execute(statement).all(), pictures, sights))

    for row in everything(wanted, NEWEST_FIRST, run):
        yield row.event


class _Told:
    """An event with the columns by which pages are cut."""

    def __init__(self, row: Any, event: Event) -> None:
        self._mapping = row._mapping
        self.event = event


def _events_with_ids(session: Session, rows: Sequence[Any], pictures: Pictures, sights: Sights) -> Iterator[_Told]:
    for row, event in zip(rows, _events(session, rows, pictures, sights), strict=True):
        yield _Told(row, event)


def _events(session: Session, rows: Sequence[Any], pictures: Pictures, sights: Sights) -> Iterator[Event]:
    pictures.load(session, {(row.dag_id, row.version) for row in rows if row.version is not None})
    pictures.load_current(session, {row.dag_id for row in rows})
    for row in rows:
        picture = pictures.of(row.dag_id, row.version)
        told = Event(
            id=row.id,
            at=row.at,
            dag_id=row.dag_id,
            stream=picture.title or row.dag_id,
            run_id=row.run_id,
            key=row.business_key,
            step=picture.step_of_task(row.task_id) if row.task_id else None,
            kind=row.kind,
            actor=row.actor or None,
            reason=row.reason or None,
            before=row.before,
            after=row.after,
        )
        yield sights.of(row.dag_id).event(told, picture)


CSV: Mapping[str, Any] = {
    "at": lambda event: event.at,
    "stream": lambda event: event.stream,
    "key": lambda event: event.key,
    "step": lambda event: event.step.title if event.step else None,
    "kind": lambda event: event.kind,
    "actor": lambda event: event.actor,
    "reason": lambda event: event.reason,
    "before": lambda event: event.before,
    "after": lambda event: event.after,
    "dag_id": lambda event: event.dag_id,
    "run_id": lambda event: event.run_id,
    "id": lambda event: event.id,
}
"""The columns of the CSV, in their order."""


def orphans(session: Session, streams: frozenset[str], visible: frozenset[str]) -> Orphans:
    """Return the remote jobs that nobody waits for any more.

    :param streams: the streams whose jobs the viewer may see.
    :param visible: all streams that they may see: a job can be an instance of another one.
    """
    where = and_(J.orphan, I.dag_id.in_(sorted(streams)))
    joined = JOB.join(INSTANCE, I.id == J.instance_id)
    total = session.scalar(select(func.count()).select_from(joined).where(where)) or 0
    columns = (*JOB.c, I.dag_id, I.run_id, I.version, I.business_key, I.state.label("instance_state"))
    newest = select(*columns).select_from(joined).where(where).order_by(I.id.desc(), J.task_id, J.map_index, J.attempt)
    rows = session.execute(newest.limit(MOST_ORPHANS)).all()
    pictures = Pictures()
    pictures.load(session, {(row.dag_id, row.version) for row in rows})
    return Orphans(as_of=datetime.now(UTC), total=total, items=[_orphan(row, pictures, visible) for row in rows])


def _orphan(row: Any, pictures: Pictures, visible: frozenset[str]) -> Orphan:
    picture = pictures.of(row.dag_id, row.version)
    hidden = Sight(visible).hides_job(row.system, row.job_name, picture, row.task_id)
    over = {"deleted": "its instance was deleted", "success": "its instance is over", "failed": "its instance failed"}
    return Orphan(
        dag_id=row.dag_id,
        stream=picture.title or row.dag_id,
        run_id=row.run_id,
        key=row.business_key or row.run_id,
        instance_state=row.instance_state if row.instance_state in STATES else "unknown",
        step=picture.step_of_task(row.task_id),
        map_index=row.map_index,
        attempt=row.attempt,
        system=ANOTHER if hidden else row.system,
        job_id=None if hidden else row.job_id,
        job_name=None if hidden else row.job_name,
        state=row.state,
        opened=row.opened,
        why=over.get(row.instance_state, "its step is over, and its job was not seen to end"),
    )
