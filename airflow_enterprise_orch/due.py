"""When something must be over. Pure: the compiler, Airflow's scheduler, the alerts and the executive view ask here.

A due time is plain JSON, as a template's ``due`` compiles to it: ``{"within": seconds}``, or ``{"time": "09:00",
"timezone": "Europe/Berlin", "days": 0}``. Where the serialized DAG has it: :class:`value_stream.deadline.DueReference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

DUE_KEY = "orch.due"
"""Of the cell, beside one of an instance's tasks, that says when a person wants the instance to be over."""
DUE_VERSION = 1


def due_at(due: Mapping[str, Any], *, run_after: datetime, logical_date: datetime | None = None) -> datetime:
    """Return when an instance, or a step of it, must be over; aware, in UTC.

    ``within`` is counted from ``run_after``, the moment from which Airflow may start the run: a schedule's time, or
    when somebody started it. Time in a queue counts. ``time`` is a time of day ``days`` days after the instance's
    business day, which is the date of its logical date (without one, of ``run_after``) in ``timezone``. A time of day
    that the clocks leave out when they are put forward is read off a clock that nobody put forward; of one that comes
    twice the first counts.

    :param due: as above.
    :param run_after: aware.
    :param logical_date: aware.
    """
    if due.get("within") is not None:
        return run_after.astimezone(UTC) + timedelta(seconds=float(due["within"]))
    zone = ZoneInfo(str(due["timezone"]))
    day = (logical_date or run_after).astimezone(zone).date() + timedelta(days=int(due.get("days", 0)))
    return datetime.combine(day, time.fromisoformat(str(due["time"])), zone).astimezone(UTC)


def due_by_person(kept: object) -> datetime | None:
    """Read what a person made of an instance's due time, as it is kept under :data:`DUE_KEY`; aware, in UTC.

    None where nobody did, or what is kept cannot be read: then the template's due time counts.
    """
    if not isinstance(kept, Mapping) or kept.get("version") != DUE_VERSION:
        return None
    try:
        moment = datetime.fromisoformat(str(kept.get("due_at")))
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.astimezone(UTC)


def in_words(due: Mapping[str, Any]) -> str:
    """Return a due time for people."""
    if due.get("within") is not None:
        return f"within {spell(timedelta(seconds=float(due['within'])))} of its start"
    days = int(due.get("days", 0))
    day = {0: "on its business day", 1: "on the day after its business day"}
    return f"by {due['time']} {due['timezone']} {day.get(days, f'{days} days after its business day')}"


def spell(value: timedelta) -> str:
    """Return a duration as templates write it: ``1h30m``; below a second ``0s``."""
    seconds, text = int(value.total_seconds()), ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        text += f"{number}{unit}" if number else ""
    return text or "0s"
