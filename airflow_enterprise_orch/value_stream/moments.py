"""When a wait is over: the next time of day in a time zone, a moment, or some time from now. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

IfPast = Literal["next_day", "go_on", "fail"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

LONGEST = timedelta(days=366)
"""Nothing waits longer: a year that was mistyped would wait for ever."""


def next_time(
    begun: datetime, clock: str, zone: str, days: Sequence[Day] = (), if_past: IfPast = "next_day"
) -> datetime:
    """Return the moment, in UTC, at which a wait for a time of day is over.

    The clock counts as in RFC 5545: a time that it jumps over is the one that the old offset makes of it (02:30 becomes
    03:30), and of a time that comes twice the first counts.

    :param begun: when the wait began; aware.
    :param clock: ``18:00``.
    :param days: the days of the week that count; all without.
    :param if_past: what happens when it is past already on the day on which the wait begins.
    :raises ValueError: when it is past, and ``if_past`` says ``fail``.
    """
    tz = ZoneInfo(zone)
    at, first = time.fromisoformat(clock), begun.astimezone(tz).date()
    for ahead in range(9):
        day = first + timedelta(days=ahead)
        if days and DAYS[day.weekday()] not in days:
            continue
        moment = datetime.combine(day, at, tz).astimezone(UTC)
        if moment > begun:
            return moment
        if ahead == 0 and if_past == "go_on":
            return begun.astimezone(UTC)
        if ahead == 0 and if_past == "fail":
            raise ValueError(f"{clock} in {zone} is past already on {day}")
    raise AssertionError(f"no {clock} on {days} in nine days")  # every day of the week comes in eight


def read_moment(text: str, zone: str | None) -> datetime:
    """Read an ISO 8601 moment; one without an offset is a time in ``zone``.

    :raises ValueError: in words, when it is none.
    """
    if not re.match(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError(f"{text!r} is no date and time; write such as 2026-03-01T08:00:00+01:00")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no date and time ({error}); write such as 2026-03-01T08:00:00+01:00") from error
    if moment.tzinfo is None:
        if zone is None:
            raise ValueError(f"{text!r} has no time zone; add Z or an offset, or timezone beside at")
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.astimezone(UTC)
