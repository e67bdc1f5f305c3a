"""Steps that wait: for a moment, or for another value stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from airflow_enterprise_orch.value_stream.model_types import (
    TIME_PATTERN,
    Duration,
    Identifier,
    Line,
    format_duration,
)
from airflow_enterprise_orch.value_stream.moments import Day, IfPast
from airflow_enterprise_orch.value_stream.step_parts import BaseStep

WAIT_FACTS: Mapping[str, str] = {"until": "string"}
WAIT_FOR_FACTS: Mapping[str, str] = {"run_id": "string", "ended": "string", "state": "string"}
WAIT_FOR_STATES = ("success", "failed", "skipped", "running", "none")
"""What the other instance, or its step, can be in when a wait is over; all but the first only after a time-out."""
MOST_DAYS = 20
"""The farthest working day that can be waited for; what instances tell of themselves is kept for a month."""


class WaitStep(BaseStep):
    """A step that waits for a moment."""

    time: Annotated[str, Field(pattern=TIME_PATTERN)] | None = Field(
        None, description="A time of day, 18:00: the next such moment after the step begins."
    )
    days: Annotated[tuple[Day, ...], Field(strict=False)] = Field(
        (), description="The days of the week that count, with time; without it all."
    )
    at: Line | None = Field(
        None, description="A date and time, ISO 8601 (2026-03-01T08:00:00+01:00); may use params and earlier steps."
    )
    for_: Duration | None = Field(None, alias="for", description="How long it waits, from when the step begins.")
    timezone: Line | None = Field(
        None, description="The time zone of time (UTC without it), and of an at that has no offset: Europe/Berlin."
    )
    if_past: IfPast | None = Field(
        None,
        description="What happens when the moment is past: next_day (of time only, and without it), go_on (of at "
        "without it) or fail.",
    )

    @property
    def facts(self) -> Mapping[str, str]:
        """What later steps can read of it: name to CEL type."""
        return WAIT_FACTS

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of its operator; plain JSON."""
        found = {
            "clock": self.time,
            "timezone": self.timezone,
            "days": list(self.days) or None,
            "at": self.at,
            "seconds": self.for_ and self.for_.total_seconds(),
            "if_past": self.if_past,
        }
        return {name: value for name, value in found.items() if value is not None}

    def words(self) -> str:
        """Say until when, in one line."""
        if self.for_ is not None:
            return f"for {format_duration(self.for_)}"
        zone = f", {self.timezone or 'UTC'}" if self.time or self.timezone else ""
        days = f" on {', '.join(self.days)}" if self.days else ""
        default = "next_day" if self.time else "go_on"
        past = {"next_day": "the next day's", "go_on": "goes on", "fail": "fails"}[self.if_past or default]
        return f"until {self.time or self.at}{days}{zone}; if that is past: {past}"


class WaitForStep(BaseStep):
    """A step that waits for another value stream."""

    stream: Identifier = Field(description="The value stream whose instance is waited for.")
    step: Identifier | None = Field(
        None, description="A step of it that is enough, a milestone; without it the whole instance must succeed."
    )
    offset: int = Field(
        0,
        ge=-MOST_DAYS,
        le=MOST_DAYS,
        description="The instance is of the business date so many working days later; -1 is the working day before.",
    )
    key: Line | None = Field(
        None,
        description="Instead of the business date the business key of the other instance; may use params and earlier "
        "steps.",
    )
    which: Literal["newest", "all", "any"] = Field(
        "newest",
        description="Which count where several are there: the newest, all of them, or any one.",
    )
    on_failure: Literal["wait", "fail"] = Field(
        "wait", description="When the other one failed: wait until it is repaired, or fail."
    )
    within: Duration | None = Field(None, description="How long it waits; without it for as long as it takes.")
    on_timeout: Literal["fail", "go_on"] = Field(
        "fail", description="What happens when it has not succeeded in time: the step fails, or the stream goes on."
    )
    elsewhere: bool = Field(
        False, description="Its template is in another folder, so that lint cannot tell whether it is there."
    )

    @property
    def facts(self) -> Mapping[str, str]:
        """What later steps can read of it: name to CEL type."""
        return WAIT_FOR_FACTS

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of its operator; plain JSON."""
        return {
            "other": self.stream,
            "milestone": self.step,
            "offset": self.offset,
            "key": self.key,
            "instances": self.which,
            "on_failure": self.on_failure,
            "within": self.within and self.within.total_seconds(),
            "on_timeout": self.on_timeout,
        }

    def words(self) -> str:
        """Say for what, in one line."""
        days = f"{abs(self.offset)} working day{'s' if abs(self.offset) > 1 else ''}"
        of = f"of business key {self.key}" if self.key is not None else "of the same business date"
        if self.offset:
            of = f"of the business date {days} {'later' if self.offset > 0 else 'earlier'}"
        what = f"for step {self.step} of {self.stream} {of}" if self.step else f"for {self.stream} {of}"
        several = {"newest": "", "all": ", all instances", "any": ", any instance"}[self.which]
        failed = "; a failure there fails the step" if self.on_failure == "fail" else ""
        if self.within is None:
            return f"{what}{several}{failed}"
        late = {"fail": "fails", "go_on": "goes on"}[self.on_timeout]
        return f"{what}{several}{failed}; after {format_duration(self.within)} it {late}"
