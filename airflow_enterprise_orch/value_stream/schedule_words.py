"""A schedule in words, for Airflow's UI and for the tools."""

from __future__ import annotations

from datetime import timedelta

from airflow_enterprise_orch.value_stream.recurrence import Recurrence

_ORDINALS = {1: "first", 2: "second", 3: "third"}
_CLOSED = {
    "skip": "not on closed days",
    "next": "on a closed day moved to the next working day",
    "previous": "on a closed day moved to the working day before",
}


def in_words(recurrence: Recurrence) -> str:
    """Say when a schedule runs: ``last working day of the month at 18:00 Europe/Berlin, banking_days``."""
    calendar = recurrence.days.name if recurrence.days is not None else ""
    if recurrence.every:
        said = f"every {_duration(recurrence.every)}, {recurrence.timezone}"
        return f"{said}, on working days of {calendar}" if calendar else said
    if recurrence.nth:
        day = f"{_ordinal(recurrence.nth)} working day of the {recurrence.of}"
        return f"{day} at {recurrence.at} {recurrence.timezone}, {calendar}"
    said = f"cron {recurrence.cron}, {recurrence.timezone}"
    return f"{said}, on working days of {calendar}, {_CLOSED[recurrence.on_closed]}" if calendar else said


def _ordinal(nth: int) -> str:
    if nth == -1:
        return "last"
    number = abs(nth)
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    word = _ORDINALS.get(number, f"{number}{ending}")
    return f"{word} last" if nth < 0 else word


def _duration(seconds: int) -> str:
    from airflow_enterprise_orch.value_stream.model_types import format_duration

    return format_duration(timedelta(seconds=seconds))
