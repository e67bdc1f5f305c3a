"""The steps of an instance, as the feed keeps them in ``orch_instance.steps``, read for the pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_enterprise_orch.executive_view.answers import StepState
from airflow_enterprise_orch.executive_view.answers_instance import Items, RemoteJob, StepRun
from airflow_enterprise_orch.executive_view.statistics import PastRun, PastStep


@dataclass(frozen=True)
class Entry:
    """One step of one instance."""

    state: StepState
    airflow_state: str | None = None
    tries: int = 0
    queued: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    due: datetime | None = None
    message: str | None = None
    decision: Any = None
    items: Mapping[str, int] | None = None


def entries(steps: Mapping[str, Any]) -> dict[str, Entry]:
    """Read all steps."""
    return {
        name: Entry(
            one.get("state", "open"),
            one.get("airflow"),
            one.get("tries", 0),
            _moment(one.get("queued")),
            _moment(one.get("started")),
            _moment(one.get("ended")),
            _moment(one.get("due")),
            one.get("message"),
            one.get("decision"),
            one.get("items"),
        )
        for name, one in steps.items()
    }


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def step_run(entry: Entry, job: RemoteJob | None, items: Items | None, now: datetime) -> StepRun:
    """Return a step as the answer has it."""
    over = entry.ended or now
    return StepRun(
        state=entry.state,
        airflow_state=entry.airflow_state,
        try_number=entry.tries,
        queued_at=entry.queued,
        started_at=entry.started,
        ended_at=entry.ended,
        due_at=entry.due,
        late=entry.due is not None and over > entry.due and entry.state not in ("skipped", "removed"),
        job=job,
        items=items,
        message=entry.message,
    )


def past_run(row: Any) -> PastRun:
    """Return an ended instance as the statistics want it."""
    steps = {name: _past_step(entry) for name, entry in entries(row.steps).items()}
    return PastRun(row.started_at or row.run_after, row.ended_at, row.state == "success", steps)


def _past_step(entry: Entry) -> PastStep:
    decision = entry.decision if isinstance(entry.decision, Mapping) else {}
    chose = decision.get("chosen")
    return PastStep(
        entry.state,
        entry.queued,
        entry.started,
        entry.ended,
        entry.tries,
        tuple(str(one) for one in decision.get("fired") or ()),
        tuple(chose) if chose is not None else None,
        bool(decision.get("overridden")),
    )
