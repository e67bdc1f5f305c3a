"""Holds of a whole stream, of a kind of system, or of one connection: "SAP is down until 06:00".

They stand in one Airflow Variable, which every step reads before anything of it leaves. A release wakes all steps that
it held at once; each looks for itself whether another hold applies.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskreschedule import TaskReschedule
from airflow.models.variable import Variable
from sqlalchemy import and_, func, insert, or_, select, update

from airflow_enterprise_orch.delegation.control import (
    HOLDS_VARIABLE,
    ControlBroken,
    Wish,
    read_holds,
    with_hold,
    without_hold,
)
from airflow_enterprise_orch.executive_view import last_write
from airflow_enterprise_orch.executive_view.actions.carrying_out import LOGGED, Refused
from airflow_enterprise_orch.executive_view.answers_actions import Hold, HoldAsked, Holds, ReleaseAsked, Scope
from airflow_enterprise_orch.executive_view.lease import NAME
from airflow_enterprise_orch.executive_view.pictures import Picture, Pictures
from airflow_enterprise_orch.executive_view.saying import number
from airflow_enterprise_orch.executive_view.tables import EVENT, LEASE, STREAM

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_enterprise_orch.executive_view.access import Viewer

HELD = "up_for_reschedule"
LONGEST_TITLE = 200


@dataclass(frozen=True)
class Concerned:
    """What a hold holds: of each stream the steps whose tasks it keeps from beginning.

    :param title: of the stream, the kind of system, or the connection, for people.
    """

    title: str
    steps: Mapping[str, tuple[str, ...]]

    @property
    def tasks(self) -> Any:
        """The condition for the task instances of these steps."""
        parts = [
            and_(TaskInstance.dag_id == dag_id, TaskInstance.task_id.in_(sorted(tasks)))
            for dag_id, tasks in sorted(self.steps.items())
            if tasks
        ]
        return or_(*parts) if parts else TaskInstance.dag_id.is_(None)


def current_pictures(session: Session) -> dict[str, Picture]:
    """Return the pictures of all streams as they are now."""
    of = STREAM.c
    rows = session.execute(select(of.dag_id, of.version).where(of.is_current, ~of.is_removed)).all()
    pictures = Pictures()
    pictures.load(session, {(row.dag_id, row.version) for row in rows})
    return {row.dag_id: pictures.of(row.dag_id, row.version) for row in rows}


def concerned_by(pictures: Mapping[str, Picture], scope: Scope, name: str) -> Concerned:
    """Return what a hold holds; nothing where no stream has such a thing."""
    title, steps = name, {}
    for dag_id, picture in pictures.items():
        found: list[str] = []
        for step in picture.steps:
            if {"stream": dag_id, "system": step.system, "connection": step.connection}[scope] != name:
                continue
            found += [step.id, *step.tasks]
            title = {"stream": picture.title or dag_id, "system": step.stack.title, "connection": name}[scope]
        if found:
            steps[dag_id] = tuple(found)
    return Concerned(title[:LONGEST_TITLE], steps)


def all_holds(session: Session, viewer: Viewer) -> Holds:
    """Return the holds that concern what the viewer may see."""
    pictures, now = current_pictures(session), datetime.now(UTC)
    items = []
    for scope, name, wish in _read(session):
        concerned = concerned_by(pictures, scope, name)
        if viewer.streams.intersection(concerned.steps) and (wish.until is None or wish.until > now):
            items.append(_hold(session, viewer, concerned, scope, name, wish))
    return Holds(as_of=now, items=items)


def place(session: Session, viewer: Viewer, asked: HoldAsked) -> Hold:
    """Hold many instances; the same id again changes nothing.

    :raises Refused: in one line.
    """
    viewer.ask()
    _first_write(session)
    pictures, now = current_pictures(session), datetime.now(UTC)
    concerned = _may(viewer, pictures, asked.scope, asked.name)
    if asked.until is not None and asked.until <= now:
        raise Refused(422, f"a hold until {asked.until.isoformat()} would be over already")
    value = _locked(session)
    known = next((wish for _, _, wish in _entries(value) if wish.id == asked.id), None)
    if known is None:
        wish: dict[str, Any] = {"id": asked.id, "by": viewer.name, "reason": asked.reason, "at": now.isoformat()}
        if asked.until is not None:
            wish["until"] = asked.until.isoformat()
        value = with_hold(value, asked.scope, asked.name, wish)
        _keep(session, value)
        after = {"scope": asked.scope, "name": asked.name, "until": wish.get("until"), "hold": asked.id}
        _tell(session, viewer, concerned, "hold", asked.id, asked.reason, after)
        known = next(one for _, _, one in _entries(value) if one.id == asked.id)
    elif (known.by, known.reason) != (viewer.name, asked.reason):
        raise Refused(422, f"the id {asked.id!r} was used for another hold: choose a new one")
    return _hold(session, viewer, concerned, asked.scope, asked.name, known)


def release(session: Session, viewer: Viewer, hold_id: str, asked: ReleaseAsked) -> Hold:
    """End a hold of many instances, and let what it held look at once.

    :raises Refused: in one line.
    """
    viewer.ask()
    _first_write(session)
    pictures = current_pictures(session)
    value = _locked(session)
    found = next(((scope, name, wish) for scope, name, wish in _entries(value) if wish.id == hold_id), None)
    if found is None or not viewer.streams.intersection(concerned_by(pictures, found[0], found[1]).steps):
        raise Refused(404, f"there is no hold {hold_id!r}, or it was released already")
    scope, name, wish = found
    concerned = _may(viewer, pictures, scope, name)
    _keep(session, without_hold(value, hold_id))
    told = {"scope": scope, "name": name, "hold": hold_id}
    _tell(session, viewer, concerned, "release", asked.id, asked.reason, told, before={**told, "reason": wish.reason})
    ended = _hold(session, viewer, concerned, scope, name, wish)
    _wake(session, concerned)
    return ended


def _may(viewer: Viewer, pictures: Mapping[str, Picture], scope: Scope, name: str) -> Concerned:
    """Return what a hold concerns.

    :raises Refused: when no stream has such a thing, or when the viewer may not act on one that has.
    """
    concerned = concerned_by(pictures, scope, name)
    visible = viewer.streams.intersection(concerned.steps)
    if not visible:
        known = sorted({one for dag_id in viewer.streams for one in _names(pictures.get(dag_id), dag_id, scope)})
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known) or 'none'}"
        raise Refused(422, f"no stream that you may see has {scope} {name!r}: {hint}")
    refused = [dag_id for dag_id in concerned.steps if not viewer.may_act(dag_id)]
    if refused:
        some = [dag_id for dag_id in refused if dag_id in visible]
        which = f", such as {some[0]!r}" if some else ""
        raise Refused(
            403,
            f"a hold of {scope} {name!r} holds {number(len(refused), 'stream')} on which you may not act{which}: hold "
            f"the streams that you may, or ask somebody who may act on all",
        )
    return concerned


def _names(picture: Picture | None, dag_id: str, scope: Scope) -> Iterable[str]:
    if picture is None:
        return ()
    if scope == "stream":
        return (dag_id,)
    return {one for step in picture.steps if (one := step.system if scope == "system" else step.connection)}


def _hold(session: Session, viewer: Viewer, concerned: Concerned, scope: Scope, name: str, wish: Wish) -> Hold:
    visible = Concerned(
        concerned.title, {one: concerned.steps[one] for one in concerned.steps if one in viewer.streams}
    )
    held = select(func.count()).select_from(TaskInstance).where(TaskInstance.state == HELD, visible.tasks)
    return Hold(
        id=wish.id,
        scope=scope,
        name=name,
        title=concerned.title,
        by=wish.by,
        reason=wish.reason,
        at=wish.at,
        until=wish.until,
        held_steps=session.scalar(held) or 0,
        may_release=all(viewer.may_act(dag_id) for dag_id in concerned.steps),
    )


def _wake(session: Session, concerned: Concerned) -> None:
    """Let all held tasks of these steps look now: one statement, however many they are."""
    newest = (
        select(func.max(TaskReschedule.id))
        .join(TaskInstance, TaskInstance.id == TaskReschedule.ti_id)
        .where(TaskInstance.state == HELD, concerned.tasks)
        .group_by(TaskReschedule.ti_id)
    )
    rows = list(session.scalars(newest))
    for start in range(0, len(rows), 500):
        mine = TaskReschedule.id.in_(rows[start : start + 500])
        session.execute(
            update(TaskReschedule)
            .where(mine)
            .values(reschedule_date=datetime.now(UTC))
            .execution_options(synchronize_session=False)
        )


# The Variable.


def _first_write(session: Session) -> None:
    """Write before reading what is to be changed: SQLite has no other way to keep others from doing the same."""
    session.execute(update(LEASE).where(LEASE.c.name == NAME).values(revision=LEASE.c.revision + 1))
    last_write.acts_with(session)


def _read(session: Session) -> list[tuple[Any, str, Wish]]:
    row = session.scalar(select(Variable).where(Variable.key == HOLDS_VARIABLE))
    return _entries(None if row is None else _json(row.get_val()))


def _locked(session: Session) -> Any:
    """Return what the Variable holds; nobody else changes it until the transaction is over."""
    row = session.scalar(select(Variable).where(Variable.key == HOLDS_VARIABLE).with_for_update())
    return None if row is None else _json(row.get_val())


def _json(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise Refused(
            422, f"the Airflow Variable {HOLDS_VARIABLE!r} is no JSON ({error}): an administrator must correct it"
        ) from error


def _entries(value: Any) -> list[tuple[Any, str, Wish]]:
    try:
        return read_holds(value)
    except ControlBroken as broken:
        raise Refused(422, str(broken)) from broken


def _keep(session: Session, value: Mapping[str, Any]) -> None:
    row = session.scalar(select(Variable).where(Variable.key == HOLDS_VARIABLE))
    if row is None:
        about = "What people hold of streams, systems and connections; written by the executive view."
        session.add(Variable(HOLDS_VARIABLE, json.dumps(value), about))  # type: ignore[no-untyped-call]  # Airflow's
    else:
        row.set_val(json.dumps(value))
    session.flush()


def _tell(
    session: Session,
    viewer: Viewer,
    concerned: Concerned,
    kind: str,
    action_id: str,
    reason: str,
    after: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
) -> None:
    """Tell it in the audit trail of each stream that it concerns, and once in Airflow's log."""
    at = datetime.now(UTC)
    for dag_id in sorted(concerned.steps):
        key = hashlib.sha256(f"{kind} of many:{action_id}:{dag_id}".encode()).hexdigest()
        if session.scalar(select(EVENT.c.id).where(EVENT.c.key == key)) is None:
            row = {"at": at, "dag_id": dag_id, "run_id": None, "task_id": None, "map_index": -1, "kind": kind}
            row |= {"actor": viewer.name, "reason": reason, "before": before, "after": dict(after), "key": key}
            session.execute(insert(EVENT).values(**row))
    extra = json.dumps({"id": action_id, "reason": reason, **after})
    session.add(Log(event=f"{LOGGED}{kind}", owner=viewer.name, owner_display_name=viewer.name, extra=extra))
