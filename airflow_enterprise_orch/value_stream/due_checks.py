"""What must hold between due times, the schedule, and one another."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import ValidationError

from airflow_enterprise_orch.due import due_at, spell
from airflow_enterprise_orch.value_stream.draft import Draft
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest
from airflow_enterprise_orch.value_stream.watching import Due

_LOOKED_AT = 14
"""How many instances of a schedule are looked at; two weeks of a daily one."""
_FROM = datetime(2024, 1, 1, tzinfo=UTC)


def check_due(draft: Draft) -> Iterator[Problem]:
    """Check the due times of the stream and of its steps."""
    document = draft.document
    zone, cron = _schedule(document.get(("schedule",)))
    stream = _read(document.get(("due",)))
    paths: list[Path] = [("due",), *(("steps", name, "due") for name in draft.steps)]
    for path in paths:
        raw = document.get(path)
        named = raw.get("timezone") if isinstance(raw, dict) else None
        if isinstance(named, str) and not _is_timezone(named):
            yield document.problem(
                (*path, "timezone"),
                f"there is no time zone {named!r}",
                "use an IANA name, such as Europe/Berlin",
                suggestion=closest(named, available_timezones()),
            )
            continue
        due = _read(raw)
        if due is None:
            continue
        if path != ("due",) and stream is not None and due.within and stream.within and due.within > stream.within:
            what = f"the step is due later than the whole stream, which is due within {spell(stream.within)}"
            yield document.problem((*path, "within"), what, "correct one of them")
        early = _before_it_starts(due, cron, zone) if due.time is not None and _is_timezone(zone) else None
        if early is not None:
            what = f"the instance of {early} would be due before it starts"
            yield document.problem((*path, "time"), what, "write a later time, or add days: 1")


def _read(raw: Any) -> Due | None:
    """Return a due time that is right by itself; what is wrong with others is noted already."""
    try:
        return Due.model_validate(raw) if isinstance(raw, dict) else None
    except ValidationError:
        return None


def _schedule(raw: Any) -> tuple[str, str]:
    """Return the time zone and the cron expression of the schedule, as far as they are texts."""
    found = raw if isinstance(raw, dict) else {}
    zone, cron = found.get("timezone", "UTC"), found.get("cron", "")
    return zone if isinstance(zone, str) else "UTC", cron if isinstance(cron, str) else ""


def _before_it_starts(due: Due, cron: str, zone: str) -> str | None:
    """Return the first instance of a schedule that would be late before it starts; None when none is."""
    if not cron:
        return None
    # What Airflow's timetables use; imported when needed, because few templates have a schedule.
    croniter = import_module("croniter").croniter
    if len(cron.split()) != 5 or not croniter.is_valid(cron):
        return None
    plan = due.to_plan(zone)
    # Over local times of day without their zone, as Airflow's cron timetables go: one clock change aside, the same.
    times = croniter(cron, _FROM.replace(tzinfo=None), ret_type=datetime)
    for _ in range(_LOOKED_AT):
        start = times.get_next().replace(tzinfo=ZoneInfo(zone))
        if due_at(plan, run_after=start, logical_date=start) <= start:
            return f"{start:%H:%M} {zone}"
    return None


def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True
