"""What an action does to the forecast of its instance: played to its end as it is, and as it would be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from airflow_enterprise_orch.executive_view import past
from airflow_enterprise_orch.executive_view.answers import Forecast
from airflow_enterprise_orch.executive_view.answers_actions import ActionAsked, ActionPreview, What
from airflow_enterprise_orch.executive_view.entries import entries
from airflow_enterprise_orch.executive_view.forecast import FEWEST_PAST, Now, Outlook
from airflow_enterprise_orch.executive_view.tables import INSTANCE
from airflow_enterprise_orch.executive_view.timeline import as_now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_enterprise_orch.executive_view.actions.plan import Plan
    from airflow_enterprise_orch.executive_view.actions.situation import Situation

BECOMES: Mapping[What, Now] = {
    "runs": Now(),
    "runs_again": Now(),
    "skipped": Now("skipped"),
    "completed": Now("skipped"),
    "held": Now(),
}
"""What a step is to the forecast once the action is done; what is completed takes no more time."""
UNCHANGED = frozenset({"params", "priority", "acknowledge", "unacknowledge"})
"""Actions that say nothing of how long anything takes."""


@dataclass(frozen=True)
class Foreseen:
    """The forecast before and after, None where the instance is over and stays so."""

    before: Forecast | None
    after: Forecast | None


def preview(session: Session, situation: Situation, asked: ActionAsked, plan: Plan) -> ActionPreview:
    """Return what is told before anything is done."""
    seen = Foreseen(None, None) if plan.refusals else foreseen(session, situation, asked, plan)
    due_at = plan.row.get("due_at", situation.seen["due_at"])
    p50 = seen.after.p50 if seen.after is not None else None
    return ActionPreview(
        version=situation.version(plan.concerned),
        allowed=not plan.refusals,
        refusals=plan.refusals,
        sentence="" if plan.refusals else plan.sentence,
        effects=[] if plan.refusals else plan.effects,
        cannot_be_undone=plan.cannot_be_undone,
        compensations=plan.compensations,
        confirmations=plan.confirmations,
        forecast_before=seen.before,
        forecast_after=seen.after,
        due_at=due_at,
        will_be_late=None if p50 is None or due_at is None else p50 > due_at,
    )


def foreseen(session: Session, situation: Situation, asked: ActionAsked, plan: Plan) -> Foreseen:
    """Play the instance to its end twice.

    A step that fails as cancelled ends its path, so after a cancel there is no forecast; neither is there one of a hold
    whose end nobody has said.
    """
    columns = (INSTANCE.c.steps, INSTANCE.c.run_after, INSTANCE.c.started_at)
    row = session.execute(select(*columns).where(INSTANCE.c.id == situation.instance_id)).one()
    picture, now = situation.picture, situation.now
    live = as_now(picture, entries(row.steps), now)
    history = past.history(session, str(situation.run.dag_id), situation.seen["version"], picture)
    about = {"began": row.started_at or max(row.run_after, now), "now": now}
    seed = f"{situation.run.dag_id}/{situation.run.run_id}"
    before = _told(history.outlook(live, seed=seed, **about)) if situation.live else None
    ends = asked.action == "cancel" or (asked.action == "hold" and asked.until is None)
    starts = bool(plan.clears) or situation.live
    if ends or not starts or plan.refusals:
        return Foreseen(before, None)
    if asked.action in UNCHANGED:
        return Foreseen(before, before)
    changed: dict[str, Now] = dict(live)
    for effect in plan.effects:
        name = effect.step.id if effect.step is not None else ""
        if name in picture.by_id and effect.what in BECOMES:
            changed[name] = replace(BECOMES[effect.what], chose=changed[name].chose if name in changed else None)
    if asked.action == "override" and asked.step is not None:
        changed[asked.step] = Now(chose=tuple(asked.targets))
    if asked.action == "hold" and asked.until is not None:
        about["began"] = about["began"] if asked.step is not None else max(about["began"], asked.until)
        return Foreseen(before, _held(history.outlook(changed, seed=seed, **about), asked.until, now))
    return Foreseen(before, _told(history.outlook(changed, seed=seed, **about)))


def _told(outlook: Outlook) -> Forecast:
    return Forecast(
        p50=outlook.p50,
        p90=outlook.p90,
        instances=outlook.instances,
        enough=outlook.instances >= FEWEST_PAST,
        problem=outlook.problem or None,
    )


def _held(outlook: Outlook, until: datetime, now: datetime) -> Forecast:
    """Return a forecast for when the hold is over: what comes then takes as long as it would now."""
    told = _told(outlook)
    later: Any = max(until - now, now - now)
    return told.model_copy(update={"p50": told.p50 and told.p50 + later, "p90": told.p90 and told.p90 + later})
