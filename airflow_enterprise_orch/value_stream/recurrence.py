"""When a stream runs by itself: the moments that its schedule means, worked out of plain values.

Days are counted in the schedule's time zone. Where the clock is put forward, a run whose time does not exist comes as
much later as the clock was put (02:30 becomes 03:30). Where it is put back, a run comes once, at the second of the two
moments; runs of every hour come in both hours. So does Airflow's own cron.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from importlib import import_module
from itertools import groupby
from typing import Any, Literal
from zoneinfo import ZoneInfo

from airflow_enterprise_orch.working_days import DAY, WorkingDays

OnClosed = Literal["skip", "next", "previous"]
Period = Literal["week", "month", "quarter", "year"]


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A schedule: ``cron``, or ``every``, or the ``nth`` working day ``of`` a period at ``at``.

    :param timezone: IANA name.
    :param every: seconds between two runs, counted from midnight of ``since``.
    :param nth: 1 is the first working day of the period, -1 the last.
    :param at: ``HH:MM``.
    :param on_closed: what becomes of a run by cron on a closed day: none, or it moves by whole days.
    :param since: the day before which nothing runs, ``YYYY-MM-DD``.
    :param days: the working days; None when every day is one.
    """

    timezone: str
    cron: str = ""
    every: int = 0
    nth: int = 0
    of: Period = "month"
    at: str = "00:00"
    on_closed: OnClosed = "skip"
    since: str = "2024-01-01"
    days: WorkingDays | None = None
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_zone", ZoneInfo(self.timezone))

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return {
            "timezone": self.timezone,
            "cron": self.cron,
            "every": self.every,
            "nth": self.nth,
            "of": self.of,
            "at": self.at,
            "on_closed": self.on_closed,
            "since": self.since,
            "days": self.days.to_json() if self.days is not None else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recurrence:
        """Read the plain JSON form."""
        days = WorkingDays.from_json(data["days"]) if data["days"] is not None else None
        return cls(**{**data, "days": days})

    @property
    def start(self) -> datetime:
        """The moment before which nothing runs."""
        return self._moment(date.fromisoformat(self.since), time.min)

    def local_day(self, moment: datetime) -> date:
        """Return the day that a moment falls on in the schedule's time zone."""
        return moment.astimezone(self._zone).date()

    def after(self, moment: datetime) -> datetime | None:
        """Return the first run after ``moment``; None when no calendar tells of one."""
        return next(self.runs(moment), None)

    def newest(self, moment: datetime, floor: datetime) -> datetime | None:
        """Return the last run after ``floor`` and not after ``moment``; None when there is none."""
        back = DAY
        while True:
            start = max(floor, moment - back)
            found = None
            for run in self.runs(start):
                if run > moment:
                    break
                found = run
            if found is not None or start == floor:
                return found
            back *= 4

    def runs(self, moment: datetime) -> Iterator[datetime]:
        """Yield the runs after ``moment`` in their order, in UTC."""
        floor = max(moment, self.start - timedelta(microseconds=1)).astimezone(UTC)
        for run in self._by_interval(floor) if self.every else self._by_day(floor):
            if run > floor:
                yield run
                floor = run

    # ---------------------------------------------------------------------------------------------- by interval

    def _by_interval(self, moment: datetime) -> Iterator[datetime]:
        step, start = timedelta(seconds=self.every), self.start
        count = (moment - start) // step
        while True:
            run = start + count * step
            day = self.local_day(run)
            if self.days is None or (self.days.knows(day) and self.days.is_open(day)):
                yield run
                count += 1
                continue
            later = self.days.next_open(max(day, self.days.first))
            if later is None:
                return
            # On by one at least: a day may begin between two runs.
            count = max(count + 1, -((start - self._moment(later, time.min)) // step))

    # --------------------------------------------------------------------------------------------------- by day

    def _by_day(self, moment: datetime) -> Iterator[datetime]:
        first = self.local_day(moment) - DAY
        hourly = bool(self.cron) and self._croniter(first).expanded[1] == ["*"]
        for day, times in self._wall_times(first):
            yield from sorted({run for at in times for run in self._moments(day, at, both=hourly)})

    def _wall_times(self, first: date) -> Iterator[tuple[date, list[time]]]:
        """Yield the days that have runs, from about ``first`` on, with the times on the clock."""
        if self.cron:
            for day, group in groupby(self._nominal(first), lambda found: found[0]):
                yield day, [at for _, at in group]
            return
        at = time.fromisoformat(self.at)
        for day in self._nth_days(first):
            yield day, [at]

    def _croniter(self, first: date) -> Any:
        # What Airflow's timetables use; only schedules with a cron expression need it.
        croniter = import_module("croniter")
        return croniter.croniter(self.cron, datetime.combine(first, time.min) - timedelta(seconds=1))

    def _nominal(self, first: date) -> Iterator[tuple[date, time]]:
        """Yield what the cron expression means: the day on which it runs, moved from a closed one, and the time."""
        days = self.days
        if days is not None:
            first = max(first, days.first)
            # Runs that move to the next working day may begin at the closed days before it.
            while self.on_closed == "next" and days.knows(first - DAY) and not days.is_open(first - DAY):
                first -= DAY
        never = import_module("croniter").CroniterBadDateError
        cron = self._croniter(first)
        while True:
            try:
                wall: datetime = cron.get_next(datetime)
            except (never, OverflowError):
                return  # such as the 30th of February
            day = wall.date()
            if days is None:
                yield day, wall.time()
                continue
            if not days.knows(day):
                return
            if not days.is_open(day):
                moved = days.previous_open(day) if self.on_closed == "previous" else days.next_open(day)
                if self.on_closed == "skip":
                    if moved is None:
                        return
                    cron = self._croniter(moved)
                    continue
                if moved is None:
                    if self.on_closed == "next":
                        return
                    continue
                day = moved
            yield day, wall.time()

    def _nth_days(self, first: date) -> Iterator[date]:
        """Yield the nth working day of each period that the calendar covers whole."""
        days = self.days
        if days is None:
            raise ValueError("the nth working day needs a calendar")
        begin = self._period(max(first, days.first))
        while begin <= days.last:
            later = self._next_period(begin)
            if days.knows(begin) and days.knows(later - DAY):
                found = list(days.among(begin, later - DAY))
                if len(found) >= abs(self.nth):
                    yield found[self.nth if self.nth < 0 else self.nth - 1]
            begin = later

    def _period(self, day: date) -> date:
        if self.of == "week":
            return day - timedelta(days=day.weekday())
        if self.of == "year":
            return day.replace(month=1, day=1)
        month = day.month if self.of == "month" else (day.month - 1) // 3 * 3 + 1
        return day.replace(month=month, day=1)

    def _next_period(self, begin: date) -> date:
        longest = {"week": 7, "month": 31, "quarter": 92, "year": 366}[self.of]
        return self._period(begin + timedelta(days=longest))

    # --------------------------------------------------------------------------------------------- wall to moment

    def _moment(self, day: date, at: time) -> datetime:
        return self._moments(day, at, both=False)[0]

    def _moments(self, day: date, at: time, *, both: bool) -> list[datetime]:
        """Return when the clock shows a time on a day: once, or in both hours of a clock that is put back."""
        wall = datetime.combine(day, at, self._zone)
        one, two = (wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        if one > two:
            return [one]  # in the gap: as late as if the clock had not been put forward
        return [one, two] if both and one != two else [two]
