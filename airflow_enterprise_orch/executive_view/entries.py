"""The steps of an instance, as the feed keeps them in ``orch_instance.steps``, read for the pages.

By step id an object; what is empty is left out::

    {"state": answers.StepState, "airflow": Airflow's state, "try": 2,
     "queued", "started", "ended": ISO 8601 with a zone,
     "until": the moment that it waits for, ISO 8601,
     "decision": {"fired", "chosen", "by", "overridden": {"by", "reason", "instead"} or null},
     "items": {Airflow's state: how many},                  of a step with a list
     "undo": the same of the task that undoes it}           once that has begun

A state that is not known here, of a later version, is shown as ``open``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from airflow_enterprise_orch.executive_view.answers import StepState
from airflow_enterprise_orch.executive_view.answers_instance import Items, RemoteJob, StepRun
from airflow_enterprise_orch.executive_view.statistics import PastRun, PastStep

RAN_WELL = frozenset({"success", "warning"})
"""The states of a step that ran to its end."""
STATES: frozenset[str] = frozenset(get_args(StepState))


@dataclass(frozen=True)
class Entry:
    """One step of one instance."""

    state: StepState
    airflow_state: str | None = None
    tries: int = 0
    queued: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    decision: Any = None
    items: Items | None = None
    undo: Entry | None = None
    until: datetime | None = None

    @property
    def chose(self) -> tuple[str, ...] | None:
        """Of a deciding step the steps that it chose; None where that is not known."""
        chosen = self.decision.get("chosen") if isinstance(self.decision, Mapping) else None
        return tuple(str(one) for one in chosen) if chosen is not None else None


def entries(steps: Mapping[str, Any]) -> dict[str, Entry]:
    """Read all steps."""
    return {name: _entry(one) for name, one in steps.items()}


def _entry(one: Mapping[str, Any]) -> Entry:
    return Entry(
        one["state"] if one.get("state") in STATES else "open",
        one.get("airflow"),
        one.get("try", 0),
        _moment(one.get("queued")),
        _moment(one.get("started")),
        _moment(one.get("ended")),
        one.get("decision"),
        _items(one.get("items")),
        _entry(one["undo"]) if one.get("undo") else None,
        _moment(one.get("until")),
    )


def _items(states: Mapping[str, int] | None) -> Items | None:
    """Return how far a list is, from how many of its items are in which of Airflow's states."""
    if not states:
        return None
    total = sum(states.values())
    done = states.get("success", 0) + states.get("skipped", 0)
    failed = states.get("failed", 0) + states.get("upstream_failed", 0)
    waiting = sum(states.get(state, 0) for state in ("None", "scheduled", "removed"))
    return Items(total=total, done=done, failed=failed, running=max(0, total - done - failed - waiting))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def step_run(entry: Entry, job: RemoteJob | None, due: datetime | None, now: datetime) -> StepRun:
    """Return a step as the answer has it.

    :param due: when it must be over.
    """
    over = entry.ended or now
    return StepRun(
        state=entry.state,
        airflow_state=entry.airflow_state,
        try_number=entry.tries,
        queued_at=entry.queued,
        started_at=entry.started,
        ended_at=entry.ended,
        due_at=due,
        late=due is not None and over > due and entry.state not in ("skipped", "removed"),
        job=job,
        items=entry.items,
        message=job.message if job is not None else None,
    )


def past_run(row: Any) -> PastRun:
    """Return an ended instance as the statistics want it."""
    steps = {name: _past_step(entry) for name, entry in entries(row.steps).items()}
    return PastRun(row.started_at or row.run_after, row.ended_at, row.state == "success", steps)


def past_seconds(row: Any) -> tuple[float, dict[str, tuple[float, float]]]:
    """Return when an ended instance began, and when the steps that ran to their end began and ended, in seconds.

    The forecast reads so many of them that it takes nothing else.
    """
    began = row.started_at or row.run_after
    ran = {}
    for name, one in row.steps.items():
        started, ended = one.get("started"), one.get("ended")
        if started and ended and one.get("state") in RAN_WELL:
            ran[name] = datetime.fromisoformat(started).timestamp(), datetime.fromisoformat(ended).timestamp()
    return began.timestamp(), ran


def _past_step(entry: Entry) -> PastStep:
    decision = entry.decision if isinstance(entry.decision, Mapping) else {}
    return PastStep(
        entry.state,
        entry.queued,
        entry.started,
        entry.ended,
        entry.tries,
        tuple(str(one) for one in decision.get("fired") or ()),
        entry.chose,
        bool(decision.get("overridden")),
    )
