"""Plan, actual and forecast of one instance, step by step. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from airflow_enterprise_orch.executive_view.answers_instance import Bar, StepRun, Timeline
from airflow_enterprise_orch.executive_view.entries import Entry
from airflow_enterprise_orch.executive_view.forecast import History, Now, Outlook, State
from airflow_enterprise_orch.executive_view.pictures import Picture

OF_STATE: Mapping[str, State] = {
    "success": "over",
    "warning": "over",
    "failed": "failed",
    "running": "running",
    "waiting_person": "running",
    "parked": "running",
    "held": "open",
    "skipped": "skipped",
    "removed": "skipped",
}
"""What a step's state is to the forecast; all others are open."""


PAST_WAIT = timedelta(minutes=1)


def as_now(picture: Picture, kept: Mapping[str, Entry], now: datetime) -> dict[str, Now]:
    """Return the steps of an instance as the forecast wants them: the list's and the page's are told from the same."""
    waits = waits_of(kept, now)
    return {
        name: Now(
            OF_STATE.get(entry.state, "open"),
            entry.started,
            entry.ended,
            waits.get(name),
            entry.chose if picture.decides(name) else None,
        )
        for name, entry in kept.items()
        if name in picture.by_id
    }


def waits_of(kept: Mapping[str, Entry], now: datetime) -> dict[str, datetime]:
    """Return until when the steps wait that wait for a moment.

    One that is long past is none: then something else keeps the step.
    """
    return {
        name: entry.until
        for name, entry in kept.items()
        if entry.state == "running" and entry.until is not None and entry.until > now - PAST_WAIT
    }


def plan(history: History, live: Mapping[str, Now], began: datetime, seed: str) -> Outlook:
    """Return how an instance goes where all takes as long as it usually does: on the path that this one took."""
    path = {
        name: step if step.state == "skipped" else Now(chose=step.chose)
        for name, step in live.items()
        if step.state == "skipped" or step.chose is not None
    }
    return history.outlook(path, began=began, now=began, seed=f"plan of {seed}")


def timeline(
    picture: Picture,
    steps: Mapping[str, StepRun],
    *,
    planned: Outlook,
    ahead: Outlook | None,
    began: datetime | None,
    ended: datetime | None,
    due_at: datetime | None,
    now: datetime,
) -> Timeline:
    """Put all on one axis.

    :param planned: see :func:`plan`.
    :param ahead: the forecast of what is not over; None of an instance that is.
    """
    bars = [_bar(picture, name, steps.get(name), planned, ahead) for name in picture.by_id]
    shown = [bar for bar in bars if bar.state not in ("skipped", "removed") or bar.start is not None]
    moments = [ended, due_at, now if ended is None else None]
    moments += [one for bar in shown for one in (bar.end, bar.plan_end, bar.forecast_end_p90)]
    known = [one for one in moments if one is not None]
    return Timeline(
        start=began,
        end=max(known) if known else None,
        now=now,
        due_at=due_at,
        history=planned.instances,
        bars=shown,
    )


def _bar(picture: Picture, name: str, run: StepRun | None, planned: Outlook, ahead: Outlook | None) -> Bar:
    usual = planned.steps.get(name)
    expected = ahead.steps.get(name) if ahead is not None else None
    over = run is not None and run.ended_at is not None and run.state not in ("retry", "queued", "running")
    return Bar(
        step=picture.step_name(name),
        state=run.state if run is not None else "open",
        plan_start=usual.start if usual else None,
        plan_end=usual.p50 if usual else None,
        start=run.started_at if run is not None else None,
        end=run.ended_at if run is not None and over else None,
        forecast_start=expected.start if expected and not over else None,
        forecast_end=expected.p50 if expected and not over else None,
        forecast_end_p90=expected.p90 if expected and not over else None,
        due_at=run.due_at if run is not None else None,
        tries=run.try_number if run is not None else 0,
    )
