"""The business date of a run: the working day that it is for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.working_days import WorkingDays

PARAM = "business_date"
"""A param of this name, where the stream has one and it is given, says it outright: for reruns of an older day."""


def business_date(moment: datetime, params: Mapping[str, Any], dates: Mapping[str, Any]) -> str:
    """Return the business date of a run, ``YYYY-MM-DD``.

    That of a run by schedule is the day on which it was planned to run. One that a person or an asset starts on a
    closed day is for the last working day before.

    :param moment: the run's logical date; where it has none, the moment from which it may run.
    :param dates: ``timezone`` and ``days``, the working days as JSON or None, of the stream's schedule.
    :raises TemplateError: when the calendar does not tell, or the param is no date.
    """
    given = params.get(PARAM)
    if given not in (None, ""):
        try:
            return date.fromisoformat(str(given)).isoformat()
        except ValueError as error:
            raise TemplateError(f"param {PARAM!r}: {given!r} is no date, write it as 2026-12-31") from error
    day = moment.astimezone(ZoneInfo(dates.get("timezone", "UTC"))).date()
    if dates.get("days") is None:
        return day.isoformat()
    days = WorkingDays.from_json(dates["days"])
    found = days.previous_open(day)
    if found is None:
        raise TemplateError(
            f"{PARAM}: calendar {days.name!r} covers {days.first} to {days.last}, and tells nothing of {day}; "
            f"let it cover more years, or start the run with a param {PARAM!r}"
        )
    return found.isoformat()
