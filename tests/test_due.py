"""When something is due, over summer time and midnight.

How a user would notice that it is fake: twice a year everything is an hour late, or the day is another one abroad.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_enterprise_orch.due import due_at, in_words, spell

BERLIN = ZoneInfo("Europe/Berlin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_duration_counts_from_the_moment_from_which_the_run_may_start():
    began = datetime(2026, 3, 28, 23, 0, tzinfo=BERLIN)  # the clocks are put forward that night
    assert due_at({"within": 4 * 3600.0}, run_after=began) == utc("2026-03-29T02:00")
    logical = utc("2020-01-01")  # a day that is made up for is no reason to be late
    assert due_at({"within": 60.0}, run_after=began, logical_date=logical) == utc("2026-03-28T22:01")


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-01-15", "2026-01-15T08:00"),
        ("2026-07-15", "2026-07-15T07:00"),
        ("2026-03-29", "2026-03-29T07:00"),
        ("2026-10-25", "2026-10-25T08:00"),
    ],
)
def test_a_time_of_day_is_the_same_on_the_wall_all_year(day: str, expected: str):
    due = {"time": "09:00", "timezone": "Europe/Berlin", "days": 0}
    began = datetime.fromisoformat(f"{day}T00:30").replace(tzinfo=BERLIN)
    assert due_at(due, run_after=began) == utc(expected)


def test_a_time_of_day_that_is_left_out_or_comes_twice():
    due = {"time": "02:30", "timezone": "Europe/Berlin"}
    spring, autumn = (datetime(2026, *day, tzinfo=BERLIN) for day in ((3, 29), (10, 25)))
    assert due_at(due, run_after=spring) == utc("2026-03-29T01:30")
    assert due_at(due, run_after=autumn) == utc("2026-10-25T00:30")


def test_the_business_day_is_the_logical_dates_in_the_zone_of_the_due_time():
    due = {"time": "09:00", "timezone": "Asia/Tokyo", "days": 1}
    run_after = utc("2026-06-02T16:00")
    assert due_at(due, run_after=run_after) == utc("2026-06-04T00:00")  # it is the third there
    assert due_at(due, run_after=run_after, logical_date=utc("2026-06-01T12:00")) == utc("2026-06-02T00:00")


ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
MOMENTS = st.integers(1_577_836_800, 2_051_222_400).map(lambda second: datetime.fromtimestamp(second, UTC))


@given(MOMENTS, ZONES, st.times(), st.integers(0, 31))
def test_it_is_always_aware_on_the_right_day_and_at_the_right_time(moment, zone, clock, days):
    at = due_at({"time": f"{clock:%H:%M}", "timezone": zone, "days": days}, run_after=moment)
    assert at.tzinfo is UTC
    local = at.astimezone(ZoneInfo(zone))
    day = moment.astimezone(ZoneInfo(zone)).date() + timedelta(days=days)
    wanted = datetime.combine(day, clock.replace(second=0, microsecond=0))
    # A time that the clocks leave out comes up to an hour later on the wall.
    assert timedelta(0) <= local.replace(tzinfo=None) - wanted <= timedelta(hours=1)


def test_in_words():
    assert in_words({"within": 5400.0}) == "within 1h30m of its start"
    assert in_words({"time": "09:00", "timezone": "UTC", "days": 0}) == "by 09:00 UTC on its business day"
    assert in_words({"time": "09:00", "timezone": "UTC", "days": 1}).endswith("on the day after its business day")
    assert in_words({"time": "09:00", "timezone": "UTC", "days": 3}).endswith("3 days after its business day")
    assert spell(timedelta(milliseconds=4)) == "0s"
