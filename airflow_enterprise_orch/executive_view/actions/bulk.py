"""The same action on all instances that fit a filter: asked, counted, listed, stopped. What carries it out is beside.

Which instances are meant is settled when it is asked, with one statement; so are the streams on which the asker may
act. Whoever looks at it later sees of it what belongs to streams that they may see, counts included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.models.log import Log
from sqlalchemy import delete, func, insert, literal, select, update

from airflow_enterprise_orch.executive_view.actions.carrying_out import LOGGED, Refused
from airflow_enterprise_orch.executive_view.answers import InstanceFilter
from airflow_enterprise_orch.executive_view.answers_actions import (
    ActionAsked,
    Bulk,
    BulkAsked,
    BulkResult,
    BulkResults,
    Bulks,
    Outcome,
    ReleaseAsked,
)
from airflow_enterprise_orch.executive_view.instances import conditions
from airflow_enterprise_orch.executive_view.keyset import Phase, from_cursor, pages, to_cursor
from airflow_enterprise_orch.executive_view.pictures import Pictures
from airflow_enterprise_orch.executive_view.saying import number
from airflow_enterprise_orch.executive_view.tables import BULK, BULK_ITEM, INSTANCE

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_enterprise_orch.executive_view.access import Viewer

MOST = 100_000
"""Instances that one action may be asked of."""
MOST_LISTED = 50
KEPT_FOR = timedelta(days=90)

B, T, I = BULK.c, BULK_ITEM.c, INSTANCE.c  # noqa: E741 - read as "I.run_id"
BY_NUMBER = Phase(None, ((T.instance_id, False),))


def ask(session: Session, viewer: Viewer, asked: BulkAsked) -> Bulk:
    """Begin it, or count only; the same id again is answered as it stands.

    :raises Refused: in one line.
    """
    known = session.execute(select(BULK).where(B.id == asked.id)).mappings().one_or_none()
    if known is not None:
        if (known["asked_by"], known["action"]) != (viewer.name, _plain(asked.action)):
            raise Refused(422, f"the id {asked.id!r} was used for another action on many: choose a new one")
        return _told(session, viewer, dict(known))
    actable = frozenset(dag_id for dag_id in viewer.streams if viewer.may_act(dag_id))
    matching = _count(session, asked.filter, viewer.streams)
    may_act = _count(session, asked.filter, actable)
    if asked.dry_run:
        return _dry(viewer, asked, matching, may_act)
    if not may_act:
        raise Refused(422, f"{number(matching, 'instance')} fit the filter, and you may act on none of them")
    if may_act > MOST:
        raise Refused(422, f"{number(may_act, 'instance')} fit the filter; at most {MOST:,} at once: narrow it")
    now = datetime.now(UTC)
    row = {
        "id": asked.id, "at": now, "asked_by": viewer.name, "action": _plain(asked.action),
        "filter": asked.filter.model_dump(mode="json", exclude_defaults=True), "state": "running",
        "matching": matching, "ended_at": None,
    }  # fmt: skip
    session.execute(insert(BULK).values(**row))
    items = select(literal(asked.id), I.id, I.dag_id, I.run_id, literal("open")).where(
        *conditions(session, asked.filter, actable), I.in_airflow
    )
    columns = [T.bulk_id, T.instance_id, T.dag_id, T.run_id, T.outcome]
    session.execute(insert(BULK_ITEM).from_select(columns, items))
    old = select(B.id).where(B.at < now - KEPT_FOR).scalar_subquery()
    session.execute(delete(BULK_ITEM).where(T.bulk_id.in_(old)))
    session.execute(delete(BULK).where(B.at < now - KEPT_FOR))
    _in_log(session, viewer, "bulk", {"id": asked.id, **_plain(asked.action), "filter": row["filter"]})
    return _told(session, viewer, row)


def newest(session: Session, viewer: Viewer) -> Bulks:
    """Return the newest ones of which the viewer may see anything."""
    seen = select(T.bulk_id).where(T.bulk_id == B.id, T.dag_id.in_(sorted(viewer.streams))).exists()
    rows = session.execute(select(BULK).where(seen).order_by(B.at.desc(), B.id).limit(MOST_LISTED)).mappings()
    return Bulks(as_of=datetime.now(UTC), items=[_told(session, viewer, dict(row)) for row in rows])


def one(session: Session, viewer: Viewer, bulk_id: str) -> Bulk:
    """Return one; :raises Refused: 404 when there is none, or none for this viewer."""
    return _told(session, viewer, _row(session, viewer, bulk_id))


def stop(session: Session, viewer: Viewer, bulk_id: str, asked: ReleaseAsked) -> Bulk:
    """Go no further; what was done stays.

    :raises Refused: in one line.
    """
    row = _row(session, viewer, bulk_id)
    streams = session.scalars(select(T.dag_id).where(T.bulk_id == bulk_id).distinct()).all()
    if row["asked_by"] != viewer.name and not all(viewer.may_act(dag_id) for dag_id in streams):
        raise Refused(403, f"{row['asked_by']} asked for it, of streams on which you may not act")
    running = (B.id == bulk_id, B.state == "running")
    session.execute(update(BULK).where(*running).values(state="stopped", ended_at=datetime.now(UTC)))
    _in_log(session, viewer, "bulk_stop", {"id": asked.id, "reason": asked.reason, "bulk": bulk_id})
    return one(session, viewer, bulk_id)


def results(session: Session, viewer: Viewer, bulk_id: str, outcome: Outcome | None, cursor: str) -> BulkResults:
    """Return one page of what became of each instance, in the order in which they are worked on."""
    _row(session, viewer, bulk_id)
    where = [T.bulk_id == bulk_id, T.dag_id.in_(sorted(viewer.streams))]
    if outcome is not None:
        where.append(T.outcome == outcome)
    question = f"{bulk_id}/{outcome}"
    start = from_cursor(cursor, question, [BY_NUMBER])
    total = session.scalar(select(func.count()).select_from(BULK_ITEM).where(*where)) or 0
    wanted = select(*BULK_ITEM.c, I.business_key, I.version).outerjoin(INSTANCE, I.id == T.instance_id).where(*where)
    rows, end = pages(wanted, [BY_NUMBER], start, 200, lambda part: session.execute(part).all())
    pictures = Pictures()
    pictures.load(session, {(row.dag_id, row.version) for row in rows if row.version is not None})
    items = [
        BulkResult(
            dag_id=row.dag_id,
            run_id=row.run_id,
            key=row.business_key or row.run_id,
            stream=pictures.of(row.dag_id, row.version).title or row.dag_id,
            outcome=row.outcome,
            text=row.text or "",
            at=row.at,
        )
        for row in rows
    ]
    return BulkResults(total=total, items=items, next_cursor=to_cursor(end, question))


def _in_log(session: Session, viewer: Viewer, what: str, told: Mapping[str, Any]) -> None:
    """Tell it in Airflow's log; the audit trail has what is done to each instance."""
    session.add(
        Log(event=f"{LOGGED}{what}", owner=viewer.name, owner_display_name=viewer.name, extra=json.dumps(dict(told)))
    )


def _row(session: Session, viewer: Viewer, bulk_id: str) -> Mapping[str, Any]:
    seen = select(T.bulk_id).where(T.bulk_id == B.id, T.dag_id.in_(sorted(viewer.streams))).exists()
    row = session.execute(select(BULK).where(B.id == bulk_id, seen)).mappings().one_or_none()
    if row is None:
        raise Refused(404, f"there is no action on many {bulk_id!r}, or you may not see it")
    return dict(row)


def _count(session: Session, filters: InstanceFilter, streams: frozenset[str]) -> int:
    fits = (*conditions(session, filters, streams), I.in_airflow)
    return session.scalar(select(func.count()).select_from(INSTANCE).where(*fits)) or 0


def _plain(action: ActionAsked) -> dict[str, Any]:
    return action.model_dump(mode="json", exclude_defaults=True)


def _told(session: Session, viewer: Viewer, row: Mapping[str, Any]) -> Bulk:
    counts = {
        outcome: many
        for outcome, many in session.execute(
            select(T.outcome, func.count())
            .where(T.bulk_id == row["id"], T.dag_id.in_(sorted(viewer.streams)))
            .group_by(T.outcome)
        )
    }
    action = ActionAsked.model_validate(row["action"])
    total = sum(counts.values())
    mine = row["asked_by"] == viewer.name
    return Bulk(
        id=row["id"],
        action=action.action,
        step=action.step,
        reason=action.reason,
        by=row["asked_by"],
        at=row["at"],
        state=row["state"],
        matching=row["matching"] if mine else total,  # others may see fewer streams
        may_act=total,
        total=total,
        done=counts.get("done", 0),
        refused=counts.get("refused", 0),
        failed=counts.get("failed", 0),
        ended_at=row["ended_at"],
        sentence=_sentence(action, total, total),
    )


def _dry(viewer: Viewer, asked: BulkAsked, matching: int, may_act: int) -> Bulk:
    return Bulk(
        id=asked.id,
        action=asked.action.action,
        step=asked.action.step,
        reason=asked.action.reason,
        by=viewer.name,
        at=datetime.now(UTC),
        state="dry_run",
        matching=matching,
        may_act=may_act,
        total=may_act,
        done=0,
        refused=0,
        failed=0,
        ended_at=None,
        sentence=_sentence(asked.action, matching, may_act),
    )


def _sentence(action: ActionAsked, matching: int, may_act: int) -> str:
    at = f" step {action.step!r}" if action.step else ""
    of = number(may_act, "instance") if may_act == matching else f"{may_act:,} of {number(matching, 'instance')}"
    rest = "" if may_act == matching else "; you may not act on the others"
    return f"{action.action}{at} in {of}{rest}"
