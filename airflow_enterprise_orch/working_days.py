"""The working days of some years: plain dates, already worked out of a calendar file.

This is what a DAG carries of its calendar. Airflow's scheduler needs neither the file nor the library of holidays, and
a new release of that library changes no schedule until the template is read again. What lies outside the years that
the calendar covers is not known, and never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WorkingDays:
    """Which days are worked.

    :param name: the calendar's.
    :param first: the first day that is known.
    :param last: the last day that is known.
    :param weekend: days of the week that are closed, Monday is 0.
    :param closed: days that are closed, whatever day of the week they are.
    :param opened: days that are worked although they would be closed.
    """

    name: str
    first: date
    last: date
    weekend: frozenset[int]
    closed: frozenset[date]
    opened: frozenset[date]

    def knows(self, day: date) -> bool:
        """Tell whether the calendar covers a day."""
        return self.first <= day <= self.last

    def is_open(self, day: date) -> bool:
        """Tell whether a day is worked; :raises LookupError: when it is not covered."""
        if not self.knows(day):
            raise LookupError(f"calendar {self.name!r} covers {self.first} to {self.last}, not {day}")
        return day in self.opened or (day.weekday() not in self.weekend and day not in self.closed)

    def next_open(self, day: date) -> date | None:
        """Return the first working day from ``day`` on; None when it is not covered."""
        while self.knows(day):
            if self.is_open(day):
                return day
            day += DAY
        return None

    def previous_open(self, day: date) -> date | None:
        """Return the last working day up to ``day``; None when it is not covered."""
        while self.knows(day):
            if self.is_open(day):
                return day
            day -= DAY
        return None

    def among(self, first: date, last: date) -> Iterator[date]:
        """Yield the working days from ``first`` to ``last``, as far as they are covered."""
        day = max(first, self.first)
        while day <= min(last, self.last):
            if self.is_open(day):
                yield day
            day += DAY

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON form; the same days give the same text."""
        return {
            "name": self.name,
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "weekend": sorted(self.weekend),
            "closed": [day.isoformat() for day in sorted(self.closed)],
            "opened": [day.isoformat() for day in sorted(self.opened)],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WorkingDays:
        """Read the plain JSON form."""
        return cls(
            data["name"],
            date.fromisoformat(data["first"]),
            date.fromisoformat(data["last"]),
            frozenset(data["weekend"]),
            frozenset(map(date.fromisoformat, data["closed"])),
            frozenset(map(date.fromisoformat, data["opened"])),
        )
