"""How actions speak of steps and phases, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_enterprise_orch.executive_view.actions.situation import Phase
from airflow_enterprise_orch.executive_view.saying import listed

if TYPE_CHECKING:
    from airflow_enterprise_orch.executive_view.pictures import PictureStep

STANDS: Mapping[Phase, str] = {
    Phase.AHEAD: "its turn has not come",
    Phase.QUEUED: "it is about to begin",
    Phase.HELD: "it is held",
    Phase.RUNNING: "a worker is at it",
    Phase.WAITING: "it is at work",
    Phase.RETRY: "it is tried again later",
    Phase.ASKING: "a person is asked",
    Phase.DONE: "it is done",
    Phase.FAILED: "it failed",
    Phase.BLOCKED: "something before it failed",
    Phase.SKIPPED: "it was skipped",
    Phase.GONE: "Airflow has no such task any more",
}


def named(step: PictureStep, map_index: int = -1) -> str:
    """Return a step's name in quotes, with its item."""
    item = f" (item {map_index + 1})" if map_index >= 0 else ""
    return f"“{step.title}”{item}"


def all_named(steps: Sequence[PictureStep]) -> str:
    """Return the names of some steps."""
    return listed([named(one) for one in steps])


def stands(phase: Phase) -> str:
    """Say how far a step is."""
    return STANDS[phase]


def moment(at: datetime) -> str:
    """Say a moment, in UTC; pages show it in the viewer's zone beside."""
    return at.strftime("%Y-%m-%d %H:%M UTC")
