"""When a stream will run, and which days a calendar has closed: told before Airflow knows of either."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

from airflow_enterprise_orch.errors import OrchestrationError, TemplateError
from airflow_enterprise_orch.template_tools.lint import Hint
from airflow_enterprise_orch.value_stream.calendars import check_calendar, ends_soon
from airflow_enterprise_orch.value_stream.mistakes import ours_if_unforeseen
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.problems import Problem
from airflow_enterprise_orch.value_stream.recurrence import Recurrence
from airflow_enterprise_orch.value_stream.schedule import recurrence
from airflow_enterprise_orch.value_stream.schedule_words import in_words
from airflow_enterprise_orch.working_days import DAY, WEEKDAYS, WorkingDays


def planned_runs(stream: ValueStream, begin: datetime, count: int) -> tuple[Recurrence, tuple[datetime, ...]]:
    """Return a stream's schedule, and its next runs in UTC: fewer where its calendar ends.

    :raises OrchestrationError: when no time starts it, or no run is asked for.
    """
    if count < 1:
        raise OrchestrationError(f"{count} runs are asked for; ask for at least 1")
    found = recurrence(stream.schedule, stream.calendars) if stream.schedule is not None else None
    if found is None:
        raise OrchestrationError(f"{stream.id} is not started by time; give it a schedule, or start it by hand")
    return found, tuple(islice(found.runs(begin), count))


def run_lines(stream: ValueStream, begin: datetime, count: int) -> Iterator[str]:
    """Tell a stream's next runs, one line each: the day on the calendar, the time on the clock, and in UTC."""
    found, runs = planned_runs(stream, begin, count)
    yield f"{stream.id}: {in_words(found)}"
    for run in runs:
        local = run.astimezone(ZoneInfo(found.timezone))
        yield f"  {WEEKDAYS[local.weekday()][:3].capitalize()} {local:%Y-%m-%d %H:%M %Z}  ({run:%Y-%m-%d %H:%M} UTC)"
    if len(runs) < count and found.days is not None:
        yield f"  then no more: calendar {found.days.name} ends on {found.days.last}"
    elif len(runs) < count:
        yield "  then no more"


def runs_json(stream: ValueStream, begin: datetime, count: int) -> dict[str, Any]:
    """Return the same for tools."""
    found, runs = planned_runs(stream, begin, count)
    return {
        "stream": stream.id,
        "schedule": in_words(found),
        "timezone": found.timezone,
        "calendar": found.days.name if found.days is not None else None,
        "known_to": found.days.last.isoformat() if found.days is not None else None,
        "runs": [run.isoformat() for run in runs],
    }


def calendar_lines(days: WorkingDays, first: date, last: date) -> Iterator[str]:
    """Tell the days between two that are not as their day of the week is: closed working days, opened weekends."""
    begin, end = max(first, days.first), min(last, days.last)
    weekend = ", ".join(WEEKDAYS[day] for day in sorted(days.weekend)) or "none"
    yield f"{days.name}: {days.first} to {days.last}, weekend: {weekend}"
    day = begin
    while day <= end:
        by_week = day.weekday() not in days.weekend
        if days.is_open(day) != by_week:
            yield f"  {WEEKDAYS[day.weekday()][:3].capitalize()} {day} {'closed' if by_week else 'open'}"
        day += DAY
    yield f"{sum(1 for _ in days.among(begin, end))} working days from {begin} to {end}"


def check_calendars(files: Sequence[Path], today: date) -> tuple[list[Problem], list[Hint]]:
    """Return what is wrong with calendars, and what is to be done about them soon."""
    problems: list[Problem] = []
    hints: list[Hint] = []
    for file in files:
        try:
            with ours_if_unforeseen(str(file)):
                soon = ends_soon(file, check_calendar(file), today)
        except TemplateError as error:
            problems += [problem for problem in cast("tuple[Problem, ...]", error.problems) if problem not in problems]
        else:
            hints += [Hint("calendar-ends", soon)] if soon is not None else []
    return problems, hints
