"""The moments that a schedule means.

How a user would notice that it is fake: a run on a holiday; a run that moved to the wrong side of a weekend; the last
working day is the last day; a run is lost or comes twice when the clock changes; two processes disagree.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airflow_enterprise_orch.value_stream.recurrence import Recurrence
from airflow_enterprise_orch.value_stream.schedule_words import in_words
from airflow_enterprise_orch.working_days import DAY, WorkingDays


def days(
    *closed: str, opened: tuple[str, ...] = (), first: str = "2026-01-01", last: str = "2027-12-31"
) -> WorkingDays:
    own = (frozenset(map(date.fromisoformat, some)) for some in (closed, opened))
    return WorkingDays("days", date.fromisoformat(first), date.fromisoformat(last), frozenset({5, 6}), *own)


def told(recurrence: Recurrence, begin: str, count: int) -> list[str]:
    zone = ZoneInfo(recurrence.timezone)
    runs = islice(recurrence.runs(datetime.fromisoformat(begin).replace(tzinfo=zone)), count)
    return [f"{run.astimezone(zone):%m-%d %H:%M %Z}" for run in runs]


class TestClosedDays:
    EASTER = ("2026-04-03", "2026-04-06")

    def test_skip_leaves_runs_out(self) -> None:
        found = Recurrence("UTC", cron="0 18 * * *", days=days(*self.EASTER))
        assert told(found, "2026-04-01", 3) == ["04-01 18:00 UTC", "04-02 18:00 UTC", "04-07 18:00 UTC"]

    def test_next_moves_them_behind_the_closed_days_and_makes_one_of_several(self) -> None:
        found = Recurrence("UTC", cron="0 18 * * *", on_closed="next", days=days(*self.EASTER))
        assert told(found, "2026-04-02", 3) == ["04-02 18:00 UTC", "04-07 18:00 UTC", "04-08 18:00 UTC"]

    def test_previous_moves_them_before(self) -> None:
        found = Recurrence("UTC", cron="0 18 5 * *", on_closed="previous", days=days(*self.EASTER))
        assert told(found, "2026-04-01", 2) == ["04-02 18:00 UTC", "05-05 18:00 UTC"]

    def test_a_run_that_moved_keeps_its_time_and_the_order_is_kept(self) -> None:
        found = Recurrence("UTC", cron="0 6,18 * * 6", on_closed="next", days=days())
        assert told(found, "2026-03-03", 3) == ["03-09 06:00 UTC", "03-09 18:00 UTC", "03-16 06:00 UTC"]

    def test_asked_in_the_middle_of_closed_days_next_still_comes(self) -> None:
        found = Recurrence("UTC", cron="0 6 * * 6", on_closed="next", days=days())
        assert told(found, "2026-03-08T12:00", 1) == ["03-09 06:00 UTC"]
        assert told(found, "2026-03-09T06:00", 1) == ["03-16 06:00 UTC"]

    def test_asked_on_a_closed_day_previous_is_over(self) -> None:
        found = Recurrence("UTC", cron="0 6 * * 6", on_closed="previous", days=days())
        assert told(found, "2026-03-07T12:00", 1) == ["03-13 06:00 UTC"]


class TestNthWorkingDay:
    @pytest.mark.parametrize(
        ("nth", "of", "expected"),
        [
            (1, "month", "03-02"),
            (-1, "month", "03-31"),
            (-2, "month", "03-30"),
            (1, "week", "03-02"),
            (-1, "week", "03-06"),
            (1, "quarter", "04-01"),
            (-1, "quarter", "03-31"),
            (3, "year", "01-06"),
        ],
    )
    def test_is_counted_from_either_end(self, nth: int, of: Any, expected: str) -> None:
        found = Recurrence("Europe/Berlin", nth=nth, of=of, at="18:00", days=days("2026-01-01", "2027-01-01"))
        assert told(found, "2026-03-01", 1)[0].startswith(expected)

    def test_a_period_with_too_few_working_days_has_none(self) -> None:
        found = Recurrence("UTC", nth=5, of="week", days=days("2026-03-05"))
        assert told(found, "2026-03-01", 2) == ["03-13 00:00 UTC", "03-20 00:00 UTC"]

    def test_a_period_that_is_not_covered_whole_has_none(self) -> None:
        found = Recurrence("UTC", nth=1, of="week", days=days(last="2026-12-31"))
        assert told(found, "2026-12-20", 9) == ["12-21 00:00 UTC"], "the week of the 28th reaches into 2027"


class TestClock:
    def test_in_the_gap_a_run_comes_later_and_once(self) -> None:
        found = Recurrence("Europe/Berlin", cron="30 2 * * *", days=days(opened=("2026-03-29",)))
        assert told(found, "2026-03-27", 2) == ["03-27 02:30 CET", "03-29 03:30 CEST"]

    def test_in_the_overlap_it_comes_once_at_the_second_moment(self) -> None:
        found = Recurrence("Europe/Berlin", cron="30 2 * * *", days=days(opened=("2026-10-25",)))
        assert told(found, "2026-10-25", 2) == ["10-25 02:30 CET", "10-26 02:30 CET"]

    def test_runs_of_every_hour_come_in_both_hours_and_not_twice_in_the_gap(self) -> None:
        found = Recurrence("Europe/Berlin", cron="30 * * * *", days=days(opened=("2026-03-29", "2026-10-25")))
        assert told(found, "2026-03-29", 3) == ["03-29 00:30 CET", "03-29 01:30 CET", "03-29 03:30 CEST"]
        assert told(found, "2026-10-25T01:00", 4) == [
            "10-25 01:30 CEST", "10-25 02:30 CEST", "10-25 02:30 CET", "10-25 03:30 CET",
        ]  # fmt: skip

    @pytest.mark.parametrize("cron", ["30 2 * * *", "30 * * * *", "15 1,2,3 * * *"])
    @pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
    def test_it_is_as_airflows_own_cron_has_it(self, cron: str, day: str) -> None:
        import pendulum
        from airflow.timetables.base import DataInterval, TimeRestriction
        from airflow.timetables.trigger import CronTriggerTimetable

        at = begin = pendulum.parse(f"{day}T12:00:00Z")
        theirs, own = CronTriggerTimetable(cron, timezone="Europe/Berlin"), []
        for _ in range(12):
            info = theirs.next_dagrun_info(
                last_automated_data_interval=DataInterval.exact(at), restriction=TimeRestriction(None, None, True)
            )
            assert info is not None
            at = info.run_after
            own.append(at)
        every_day = WorkingDays("all", date(2026, 1, 1), date(2026, 12, 31), frozenset(), frozenset(), frozenset())
        found = Recurrence("Europe/Berlin", cron=cron, days=every_day)
        assert list(islice(found.runs(begin), 12)) == own

    def test_an_interval_knows_no_clock(self) -> None:
        found = Recurrence("Europe/Berlin", every=6 * 3600, since="2026-03-28")
        assert told(found, "2026-03-28T20:00", 2) == ["03-29 00:00 CET", "03-29 07:00 CEST"]

    def test_an_interval_leaves_closed_days_out(self) -> None:
        found = Recurrence("Europe/Berlin", every=900, since="2026-01-01", days=days())
        assert told(found, "2026-03-06T23:40", 3) == ["03-06 23:45 CET", "03-09 00:00 CET", "03-09 00:15 CET"]


def test_nothing_runs_after_the_calendars_years_or_before_the_first_day() -> None:
    found = Recurrence("UTC", cron="0 6 * * *", since="2026-06-01", days=days(last="2026-06-05"))
    assert [run[:5] for run in told(found, "2020-01-01", 99)] == ["06-01", "06-02", "06-03", "06-04", "06-05"]
    late = Recurrence("UTC", cron="0 6 * * 6", on_closed="next", days=days(last="2026-06-06"))
    assert told(late, "2026-06-02", 9) == [], "where Saturday's run would move to is not known"


def test_a_date_that_never_comes_ends_the_search() -> None:
    assert Recurrence("UTC", cron="0 6 30 2 *", days=days()).after(datetime(2026, 1, 1, tzinfo=UTC)) is None


SCHEDULES = st.builds(
    Recurrence,
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    cron=st.builds(
        "{} {} {} * {}".format,
        st.sampled_from(["0", "30", "*/20", "59"]),
        st.sampled_from(["*", "2", "0,23", "6-9"]),
        st.sampled_from(["*", "1", "15,31"]),
        st.sampled_from(["*", "1-5", "0,6"]),
    ),
    on_closed=st.sampled_from(["skip", "next", "previous"]),
    days=st.builds(
        lambda closed, opened: days(*closed, opened=tuple(opened)),
        st.lists(st.dates(date(2026, 1, 1), date(2027, 12, 31)).map(str), max_size=30),
        st.lists(st.dates(date(2026, 1, 1), date(2027, 12, 31)).map(str), max_size=10),
    ),
) | st.builds(
    Recurrence,
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    nth=st.integers(-5, 5).filter(bool),
    of=st.sampled_from(["week", "month", "quarter", "year"]),
    at=st.sampled_from(["00:00", "02:30", "18:00"]),
    days=st.lists(st.dates(date(2026, 1, 1), date(2027, 12, 31)).map(str), max_size=30).map(lambda all: days(*all)),
)
MOMENTS = st.datetimes(datetime(2026, 1, 5), datetime(2027, 12, 20), timezones=st.just(UTC))  # noqa: DTZ001


@settings(max_examples=150, deadline=None)
@given(SCHEDULES, MOMENTS)
def test_the_next_run_is_later_and_on_a_working_day_and_none_lies_between(found: Recurrence, moment: datetime) -> None:
    run = found.after(moment)
    assume(run is not None)
    assert run is not None
    assert run > moment
    assert found.days is not None
    assert found.days.is_open(found.local_day(run))
    assert found.after(run - timedelta(microseconds=1)) == run
    middle = moment + (run - moment) / 2
    assert found.after(middle) == run
    assert found.newest(run, moment) == run


@settings(max_examples=100, deadline=None)
@given(SCHEDULES, MOMENTS)
def test_a_run_moves_over_closed_days_only(found: Recurrence, moment: datetime) -> None:
    from croniter import croniter

    assume(found.cron and found.on_closed != "skip")
    run = found.after(moment)
    assume(run is not None)
    assert run is not None
    assert found.days is not None
    # Back from the day on which it runs there is a day that the expression means, and all between are closed.
    day, step = found.local_day(run), -DAY if found.on_closed == "next" else DAY
    # Without the clock: does the expression mean the day at all?
    means = " ".join(["*", "*", *found.cron.split()[2:]])
    for _ in range(60):
        if croniter.match(means, datetime(day.year, day.month, day.day, 12, 0)):  # noqa: DTZ001
            return
        day += step
        assert not found.days.is_open(day), f"{run} crossed the working day {day}"
    raise AssertionError("no day that the expression means")


@settings(max_examples=60, deadline=None)
@given(SCHEDULES)
def test_the_json_form_is_the_same_schedule(found: Recurrence) -> None:
    again = Recurrence.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert json.dumps(again.to_json()) == json.dumps(found.to_json())


def test_another_process_finds_the_same_runs() -> None:
    found = Recurrence("Europe/Berlin", cron="30 2 1 * *", on_closed="previous", days=days("2026-05-01", "2026-04-03"))
    code = (
        "import json, sys\nfrom datetime import UTC, datetime\nfrom itertools import islice\n"
        "from airflow_enterprise_orch.value_stream.recurrence import Recurrence\n"
        "found = Recurrence.from_json(json.loads(sys.stdin.read()))\n"
        "print([run.isoformat() for run in islice(found.runs(datetime(2026, 1, 1, tzinfo=UTC)), 20)])\n"
    )
    written = json.dumps(found.to_json())
    done = subprocess.run([sys.executable, "-c", code], input=written, capture_output=True, text=True, check=True)
    runs = islice(found.runs(datetime(2026, 1, 1, tzinfo=UTC)), 20)
    assert done.stdout.strip() == str([run.isoformat() for run in runs])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            Recurrence("Europe/Berlin", nth=-1, at="18:00", days=days()),
            "last working day of the month at 18:00 Europe/Berlin, days",
        ),
        (
            Recurrence("UTC", nth=-2, of="quarter", days=days()),
            "second last working day of the quarter at 00:00 UTC, days",
        ),
        (Recurrence("UTC", nth=22, of="year", days=days()), "22nd working day of the year at 00:00 UTC, days"),
        (Recurrence("UTC", every=900), "every 15m, UTC"),
        (Recurrence("UTC", cron="0 6 * * *"), "cron 0 6 * * *, UTC"),
        (
            Recurrence("UTC", cron="0 6 * * *", on_closed="previous", days=days()),
            "cron 0 6 * * *, UTC, on working days of days, on a closed day moved to the working day before",
        ),
    ],
)
def test_it_is_told_in_words(found: Recurrence, words: str) -> None:
    assert in_words(found) == words
