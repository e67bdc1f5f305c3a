"""What every step has, and what one that does work can say beside its work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from airflow_enterprise_orch.value_stream.model_types import (
    Identifier,
    Line,
    Part,
    PoolName,
    Priority,
    Restart,
    StepIds,
    Text,
)
from airflow_enterprise_orch.value_stream.watching import Due

if TYPE_CHECKING:
    from airflow_enterprise_orch.value_stream.steps import DelegatedStep


class Outcome(Part):
    """What counts as success: conditions over the job's facts, such as ``rc <= 4``."""

    success: Text = Field(description="A condition over rc and code; true makes the ended job a success.")
    warning: Text | None = Field(None, description="A condition; true marks the success as one with a warning.")


class Resource(Part):
    """What a step takes of something that there is little of, from its start to its end."""

    pool: PoolName = Field(description="The Airflow pool; it must count deferred tasks (include_deferred).")
    slots: int = Field(1, ge=1, le=10_000, description="How many of its slots.")


class ForEach(Part):
    """The work of a step is done once for each item of a list, side by side."""

    item: Line = Field(description="The list: params.<param> of type list. The work reads its item as {{ item }}.")
    max: int = Field(
        ge=1, le=1000, description="How many items there may be; for a longer list nothing is handed over at all."
    )
    at_once: int | None = Field(None, ge=1, le=1000, description="How many of them at the same time; all without it.")


class BaseStep(Part):
    """What every step has."""

    id: Identifier = Field(description="The step's name in the template.")
    title: Line | None = Field(None, description="The step's name for people.")
    after: StepIds = Field(
        (), description="The steps that come before it; the name of a group stands for its last steps."
    )
    group: Identifier | None = Field(None, description="The group that it stands in.")
    priority: Priority | None = Field(
        None, description="Which steps go first where not all can; without it the stream's priority."
    )
    due: Due | None = Field(None, description="By when the step must be over; what is late is told by alerts.")
    restart: Restart | None = Field(
        None,
        description="What an action to run it again meets when it has run: never refuses it, ask wants it confirmed.",
    )

    @property
    def facts(self) -> Mapping[str, str]:
        """What later steps can read of it: name to CEL type."""
        return {}

    @property
    def targets(self) -> tuple[str, ...]:
        """Every step that it can choose, each once, in the order written; only what chooses has any."""
        return ()

    @property
    def compensation(self) -> DelegatedStep | None:
        """The work that undoes it; only work has any."""
        return None
