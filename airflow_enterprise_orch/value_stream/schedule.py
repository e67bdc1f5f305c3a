"""What a template's ``schedule`` can say, and what it means as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from airflow_enterprise_orch.delegation.arrivals import watchable
from airflow_enterprise_orch.value_stream.model_types import (
    TIME_PATTERN,
    AssetReference,
    Connection,
    Day,
    Duration,
    Identifier,
    Line,
    Part,
)
from airflow_enterprise_orch.value_stream.recurrence import OnClosed, Period, Recurrence
from airflow_enterprise_orch.working_days import WorkingDays

PERIODS = ("week", "month", "quarter", "year")
DAY_WORDS: Mapping[str, Mapping[str, Any]] = {
    f"{word}_working_day_of_{period}": {"nth": nth, "of": period}
    for period in PERIODS
    for word, nth in (("first", 1), ("last", -1))
}
STABLE = timedelta(seconds=10)
"""For how long a file must not change where a schedule does not say."""
FileFact = Literal["path", "name", "size", "modified"]
FACT_TYPES: Mapping[FileFact, tuple[str, ...]] = {
    "path": ("string",),
    "name": ("string",),
    "size": ("integer", "number"),
    "modified": ("string",),
}
"""What of a file can fill a param, and of which types that may be."""
LONGEST: Mapping[str, int] = {"week": 7, "month": 31, "quarter": 92, "year": 366}
"""The most working days that a period can have."""

DEFAULT_SINCE = date(2024, 1, 1)
"""Airflow wants a first day for a schedule, always the same one."""


class NthWorkingDay(Part):
    """One working day of each week, month, quarter or year."""

    nth: int = Field(description="Which one: 1 is the first working day of the period, -1 the last, -2 that before it.")
    of: Period = Field(description="week (from Monday on), month, quarter or year.")


def _day_word(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value in DAY_WORDS:
        return NthWorkingDay(**DAY_WORDS[value])
    # The kind that pydantic gives to its own choices: it is told with a "did you mean".
    expected = " or ".join(f"'{word}'" for word in DAY_WORDS)
    raise PydanticCustomError("enum", "is none of {expected}", {"expected": expected})


class FileArrival(Part):
    """Files that start a run each."""

    connection: Connection = Field(description="The Airflow connection of the file share.")
    pattern: Line = Field(description="Which files: a name, or a pattern with * ? [..].")
    folder: Line | None = Field(None, description="In which folder below the share's root; the root itself by default.")
    stable: Duration | None = Field(
        None, description="For how long size and time of a file must not change before it counts; 10s by default."
    )
    marker: Line | None = Field(
        None, description="Instead: a file counts when another lies beside it whose name is its own and this: .done"
    )
    params: dict[Identifier, FileFact] = Field(
        default_factory=dict, description="Params that the file fills, by name: path, name, size or modified."
    )

    def words(self) -> str:
        """Say which files, in one line."""
        place = f"{self.folder}/{self.pattern}" if self.folder else self.pattern
        return f"each file {place} that arrives on {self.connection}"


class Schedule(Part):
    """When runs start by themselves. Without a schedule people, the API or assets start them."""

    cron: Line | None = Field(None, description="Five cron fields: 30 6 * * *.")
    every: Duration | None = Field(None, description="Instead of cron the time between two runs: 15m.")
    days: (
        Annotated[
            NthWorkingDay,
            BeforeValidator(_day_word),
            WithJsonSchema(
                {
                    "anyOf": [
                        {"enum": list(DAY_WORDS)},
                        {
                            "type": "object",
                            "properties": NthWorkingDay.model_json_schema()["properties"],
                            "required": ["nth", "of"],
                            "additionalProperties": False,
                        },
                    ]
                }
            ),
        ]
        | None
    ) = Field(
        None,
        description="Instead of cron a working day: last_working_day_of_month, or {nth: -2, of: quarter}. "
        "Needs calendar and time.",
    )
    time: Annotated[str, Field(pattern=TIME_PATTERN)] | None = Field(
        None, description="With days the time of the day: 18:00."
    )
    assets: Annotated[tuple[AssetReference, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="Instead of a time the assets, by name or URI, whose events start a run."
    )
    match: Literal["all", "any"] | None = Field(
        None, description="With assets: all (default) waits for an event of each, any starts a run for each event."
    )
    file_arrival: FileArrival | None = Field(
        None, description="Instead of a time the files on a share that start a run each."
    )
    timezone: Line = Field("UTC", description="An IANA time zone: Europe/Berlin.")
    calendar: Identifier | None = Field(
        None, description="The business calendar whose working days count: calendars/<name>.yaml beside the template."
    )
    on_closed: OnClosed | None = Field(
        None,
        description="With cron and calendar what becomes of a run on a closed day: skip (default) leaves it out, next "
        "and previous move it to the next working day or the one before.",
    )
    catch_up: Literal["none", "latest", "all"] | None = Field(
        None,
        description="Which runs that were missed, as during an outage, are made up for: none, the latest (default), "
        "or all.",
    )
    since: Day | None = Field(None, description="The first day on which it runs.")


def recurrence(schedule: Schedule, calendars: Mapping[str, WorkingDays]) -> Recurrence | None:
    """Return what a schedule means; None when no time starts it."""
    if schedule.cron is None and schedule.every is None and schedule.days is None:
        return None
    return Recurrence(
        schedule.timezone,
        cron=" ".join((schedule.cron or "").split()),
        every=int(schedule.every.total_seconds()) if schedule.every is not None else 0,
        nth=schedule.days.nth if schedule.days is not None else 0,
        of=schedule.days.of if schedule.days is not None else "month",
        at=schedule.time or "00:00",
        on_closed=schedule.on_closed or "skip",
        since=(schedule.since or DEFAULT_SINCE).isoformat(),
        days=calendars[schedule.calendar] if schedule.calendar is not None else None,
    )


def planned(schedule: Schedule, calendars: Mapping[str, WorkingDays]) -> dict[str, Any]:
    """Return the schedule as plain JSON, for the plan.

    What Airflow's own timetable can do is left to it: ``cron`` and ``timezone``, and ``since`` and ``all``.
    """
    found = recurrence(schedule, calendars)
    catch_up = schedule.catch_up or "latest"
    if schedule.file_arrival is not None:
        return {"file_arrival": watch_of(schedule.file_arrival)}
    if found is None:
        return {"assets": list(schedule.assets or ()), "match": schedule.match or "all"}
    if schedule.cron is not None and found.days is None and catch_up != "none":
        own = {"since": found.since} if schedule.since is not None else {}
        return {"cron": schedule.cron, "timezone": schedule.timezone, **own, "all": catch_up == "all"}
    return {"recurrence": found.to_json(), "catch_up": catch_up}


def watch_of(arrival: FileArrival) -> dict[str, Any]:
    """Return where files arrive, as plain JSON; see :func:`~.file_arrival.watched_asset`."""
    registration = watchable()
    if registration is None:
        raise AssertionError("no system is installed that can be looked at for files")
    return {
        "system": registration.name,
        "connection": arrival.connection,
        "folder": arrival.folder or "",
        "pattern": arrival.pattern,
        "stable": (arrival.stable or STABLE).total_seconds(),
        "marker": arrival.marker or "",
    }


def dates_of(schedule: Schedule | None, calendars: Mapping[str, WorkingDays]) -> dict[str, Any]:
    """Return what tells the business date of a run; see :func:`airflow_enterprise_orch.business_date.business_date`."""
    days = calendars.get(schedule.calendar) if schedule is not None and schedule.calendar is not None else None
    return {
        "timezone": schedule.timezone if schedule is not None else "UTC",
        "days": days.to_json() if days is not None else None,
    }
