"""What a step that does work can say beside its work."""

from __future__ import annotations

from pydantic import Field

from airflow_enterprise_orch.value_stream.model_types import Line, Part, PoolName, Text


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
