"""Carries a plan out in one transaction: what people wish, what runs again, what is told.

The only writer of Airflow's tables in this package, and of little that Airflow's own API does not let people write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.models.deadline import Deadline
from airflow.models.hitl import HITLDetail
from airflow.models.log import Log
from airflow.models.task_state_store import TaskStateStoreModel as Cell
from airflow.models.taskinstance import clear_task_instances
from airflow.models.taskreschedule import TaskReschedule
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from airflow_enterprise_orch.delegation.control import CONTROL_KEY, with_wish, without_wish
from airflow_enterprise_orch.executive_view import last_write
from airflow_enterprise_orch.executive_view.actions.plan import Plan
from airflow_enterprise_orch.executive_view.actions.planning import plan_of
from airflow_enterprise_orch.executive_view.actions.situation import Name, Situation, read_situation
from airflow_enterprise_orch.executive_view.answers_actions import ActionDone, ActionRequest, Effect
from airflow_enterprise_orch.executive_view.feed_instance import healthy
from airflow_enterprise_orch.executive_view.lease import NAME
from airflow_enterprise_orch.executive_view.tables import EVENT, INSTANCE, LEASE

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

LOGGED = "enterprise_orch."
"""How our entries in Airflow's own log begin."""
KINDS: Mapping[str, str] = {"override": "override_asked"}
"""What an action is called in the audit trail, where the feed tells of what came of it under the action's name."""


class Refused(Exception):
    """It is not done, and nothing has changed.

    :param status: as HTTP has it: 404 no such instance, 409 somebody was faster, 422 it cannot be done.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def act(session: Session, by: str, dag_id: str, run_id: str, asked: ActionRequest) -> ActionDone:
    """Do what is asked, once: the same id again is answered as before, and changes nothing.

    The caller's transaction holds all of it, or nothing.

    :param by: who, as the audit trail names them.
    :raises Refused: in one line.
    """
    key = event_key(asked.id)
    before = _told_before(session, key, by, dag_id, run_id, asked)
    if before is not None:
        return before
    at = datetime.now(UTC)
    # First of all writes: whoever comes with the same id at the same moment waits here, and then finds it done.
    number = _claim(session, key, by, at, dag_id, run_id, asked)
    if number is None:
        before = _told_before(session, key, by, dag_id, run_id, asked)
        if before is None:
            raise Refused(409, "the same action is under way: ask again")
        return before
    situation = read_situation(session, dag_id, run_id, lock=True)
    if situation is None:
        raise Refused(404, f"Airflow has no instance {run_id!r} of {dag_id!r} any more: there is nothing to act on")
    plan = plan_of(situation, asked)
    if asked.version is not None and asked.version != situation.version(plan.concerned):
        raise Refused(409, f"{situation.key} has changed since you looked: look again, then decide")
    if plan.refusals:
        raise Refused(422, "; ".join(plan.refusals))
    missing = plan.unconfirmed(asked.confirm)
    if missing:
        raise Refused(422, f"to be confirmed first: {'; '.join(missing)}")
    signed = {"id": asked.id, "by": by, "reason": asked.reason, "at": at.isoformat()}
    _write(session, situation, plan, signed)
    record = {
        "asked": _plain(asked),
        "sentence": plan.sentence,
        "effects": [effect.model_dump(mode="json") for effect in plan.effects],
        **plan.after,
    }
    session.execute(update(EVENT).where(EVENT.c.id == number).values(before=plan.before or None, after=record))
    _log(session, situation, by, asked, plan)
    session.flush()
    session.expire_all()
    after = read_situation(session, dag_id, run_id, lock=False)
    version = after.version(plan.concerned) if after is not None else ""
    return _done(asked, by, at, plan.sentence, plan.effects, version, replayed=False)


def event_key(action_id: str) -> str:
    """Return the audit trail's key of an action."""
    return hashlib.sha256(f"action:{action_id}".encode()).hexdigest()


def _plain(asked: ActionRequest) -> dict[str, Any]:
    return asked.model_dump(mode="json", exclude={"reason", "version", "id"}, exclude_defaults=True)


def _told_before(
    session: Session, key: str, by: str, dag_id: str, run_id: str, asked: ActionRequest
) -> ActionDone | None:
    of = EVENT.c
    row = session.execute(select(EVENT).where(of.key == key)).mappings().one_or_none()
    if row is None:
        return None
    told = row["after"] if isinstance(row["after"], Mapping) else {}
    same = (row["dag_id"], row["run_id"], row["actor"], row["reason"], told.get("asked"))
    if same != (dag_id, run_id, by, asked.reason, _plain(asked)):
        raise Refused(422, f"the id {asked.id!r} was used for another action: choose a new one")
    effects = [Effect.model_validate(one) for one in told.get("effects", ())]
    return _done(asked, by, row["at"], str(told.get("sentence", "")), effects, "", replayed=True)


def _claim(
    session: Session, key: str, by: str, at: datetime, dag_id: str, run_id: str, asked: ActionRequest
) -> int | None:
    row = {
        "at": at, "dag_id": dag_id, "run_id": run_id, "task_id": asked.step,
        "map_index": -1 if asked.map_index is None else asked.map_index,
        "kind": KINDS.get(asked.action, asked.action), "actor": by, "reason": asked.reason,
        "before": None, "after": {"asked": _plain(asked)}, "key": key,
    }  # fmt: skip
    try:
        made = session.connection().execute(insert(EVENT).values(**row)).inserted_primary_key
    except IntegrityError:
        session.rollback()  # nothing else was written; no savepoint, which SQLite's driver would commit
        return None
    return int(made[0]) if made else None


def _done(
    asked: ActionRequest,
    by: str,
    at: datetime,
    sentence: str,
    effects: Iterable[Effect],
    version: str,
    *,
    replayed: bool,
) -> ActionDone:
    return ActionDone(
        id=asked.id,
        action=asked.action,
        at=at,
        by=by,
        replayed=replayed,
        version=version,
        sentence=sentence,
        effects=list(effects),
    )


# What is written.


def _write(session: Session, situation: Situation, plan: Plan, signed: Mapping[str, Any]) -> None:
    controls: dict[Name, Any] = {}
    for name, what in plan.taken_back:
        controls[name] = without_wish(controls.get(name, situation.tasks[name].control), what, signed)
    for wish in plan.wishes:
        known = controls.get(wish.name, situation.tasks[wish.name].control)
        controls[wish.name] = with_wish(known, wish.what, {**signed, **wish.fields})
    for name, record in controls.items():
        _keep(session, situation, name, CONTROL_KEY, record)
    for (name, key), record in plan.kept.items():
        _keep(session, situation, name, key, None if record is None else {**record, **signed})
    if plan.conf is not None:
        situation.run.conf = dict(plan.conf)
    for name, weight in plan.weights.items():
        situation.tasks[name].row.priority_weight = weight
    if plan.wakes:
        wake(session, [situation.tasks[name].row.id for name in plan.wakes])
    if plan.clears:
        _withdraw_questions(session, situation, plan.clears)
        clear_task_instances([situation.tasks[name].row for name in plan.clears], session)
    if "due_at" in plan.row:
        _move_deadlines(session, situation, plan.row["due_at"])
    if plan.row:
        _tell_row(session, situation, plan.row, signed)


def _keep(session: Session, situation: Situation, name: Name, key: str, value: Any) -> None:
    """Write one cell of a task's state store, for ever."""
    task_id, map_index = name
    mine = (Cell.dag_run_id == situation.run.id, Cell.task_id == task_id, Cell.map_index == map_index, Cell.key == key)
    cell = session.scalar(select(Cell).where(*mine))
    if cell is None:
        cell = Cell(
            dag_run_id=situation.run.id,
            dag_id=situation.run.dag_id,
            run_id=situation.run.run_id,
            task_id=task_id,
            map_index=map_index,
            key=key,
        )
        session.add(cell)
    cell.value = json.dumps(value)
    cell.expires_at = None
    cell.updated_at = datetime.now(UTC)


def wake(session: Session, task_instances: Iterable[Any]) -> None:
    """Let held task instances look now, and not when their time comes."""
    for number in task_instances:
        newest = select(TaskReschedule.id).where(TaskReschedule.ti_id == number).order_by(TaskReschedule.id.desc())
        found = session.scalar(newest.limit(1))
        if found is not None:
            session.execute(
                update(TaskReschedule).where(TaskReschedule.id == found).values(reschedule_date=datetime.now(UTC))
            )


def _withdraw_questions(session: Session, situation: Situation, names: Iterable[Name]) -> None:
    """Take open questions of tasks away that look anew.

    Airflow carries them over into the next try and keeps their words: a person would be asked what is not so any more.
    """
    mine = [situation.tasks[name].row.id for name in names]
    session.execute(
        delete(HITLDetail)
        .where(HITLDetail.ti_id.in_(mine), HITLDetail.responded_at.is_(None))
        .execution_options(synchronize_session=False)
    )


def _move_deadlines(session: Session, situation: Situation, due_at: datetime) -> None:
    """Have Airflow notice lateness by the new due time: what tells people of it hangs on Airflow's own deadlines."""
    for deadline in session.scalars(select(Deadline).where(Deadline.dagrun_id == situation.run.id, ~Deadline.missed)):
        alert = deadline.deadline_alert
        reference = alert.reference if alert is not None else None
        if isinstance(reference, Mapping) and reference.get("step") == "" and "due" in reference:
            deadline.deadline_time = due_at


def _tell_row(session: Session, situation: Situation, values: Mapping[str, Any], signed: Mapping[str, Any]) -> None:
    """Change the instance's row at once; the feed comes to the same."""
    of = INSTANCE.c
    # The lease's row first, as the feed does, so that neither waits for the other for ever.
    mine = LEASE.c.name == NAME
    session.execute(update(LEASE).where(mine).values(revision=LEASE.c.revision + 1))
    last_write.acts_with(session)
    revision = session.scalar(select(LEASE.c.revision).where(mine)) or 0
    changes: dict[str, Any] = {"revision": revision, "changed_at": datetime.now(UTC)}
    if "acknowledged" in values:
        yes = bool(values["acknowledged"])
        changes |= {"acknowledged_by": signed["by"] if yes else None}
        changes |= {"acknowledged_at": datetime.fromisoformat(signed["at"]) if yes else None}
    if "due_at" in values:
        row = session.execute(select(INSTANCE).where(of.id == situation.instance_id)).mappings().one()
        changed = {**row, "due_at": values["due_at"]}
        changes |= {"due_at": values["due_at"], **healthy(changed, datetime.now(UTC))}
        if row["first_due_at"] is None:
            changes["first_due_at"] = row["due_at"] or values["due_at"]
    session.execute(update(INSTANCE).where(of.id == situation.instance_id).values(**changes))


def _log(session: Session, situation: Situation, by: str, asked: ActionRequest, plan: Plan) -> None:
    """Tell it in Airflow's own log, too."""
    entry = Log(
        event=f"{LOGGED}{asked.action}",
        owner=by,
        owner_display_name=by,
        extra=json.dumps({"id": asked.id, "reason": asked.reason, "sentence": plan.sentence, **_plain(asked)}),
    )
    entry.dag_id, entry.run_id = situation.run.dag_id, situation.run.run_id
    entry.task_id = asked.step
    entry.map_index = -1 if asked.map_index is None else asked.map_index
    session.add(entry)
