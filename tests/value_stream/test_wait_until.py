"""A wait: until when, how it is kept, and what clocks that change do to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from hypothesis import given
from hypothesis import strategies as st
from streams_for_tests import Store, context_for

from airflow_enterprise_orch.value_stream import wait_until
from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.moments import DAYS, next_time, read_moment
from airflow_enterprise_orch.value_stream.wait_until import WAIT_KEY, WaitStep

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("begun", "clock", "days", "until"),
    [
        ("2026-01-05T10:00:00+01:00", "18:00", (), "2026-01-05T17:00:00Z"),
        ("2026-01-05T18:00:00+01:00", "18:00", (), "2026-01-06T17:00:00Z"),  # the moment itself is past
        ("2026-01-05T23:30:00Z", "00:15", (), "2026-01-06T23:15:00Z"),  # it is tomorrow in Berlin already
        ("2026-01-09T19:00:00+01:00", "18:00", ("mon", "fri"), "2026-01-12T17:00:00Z"),
        ("2026-01-05T19:00:00+01:00", "18:00", ("mon",), "2026-01-12T17:00:00Z"),
        # 29 March: 02:00 becomes 03:00. 25 October: 03:00 becomes 02:00.
        ("2026-03-28T20:00:00+01:00", "18:00", (), "2026-03-29T16:00:00Z"),
        ("2026-03-28T20:00:00+01:00", "02:30", (), "2026-03-29T01:30:00Z"),  # it would be 03:30
        ("2026-10-24T20:00:00+02:00", "02:30", (), "2026-10-25T00:30:00Z"),  # the first of two
        ("2026-10-25T02:45:00+02:00", "02:30", (), "2026-10-26T01:30:00Z"),  # between the two: the next day
    ],
)
def test_the_next_time_of_day(begun: str, clock: str, days: Any, until: str) -> None:
    assert next_time(at(begun), clock, BERLIN, days) == at(until)


@given(
    begun=st.integers(1_577_836_800, 2_051_222_400).map(lambda second: datetime.fromtimestamp(second, UTC)),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    zone=st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
    days=st.sets(st.sampled_from(DAYS)),
)
def test_it_is_always_the_first_to_come(begun: datetime, hour: int, minute: int, zone: str, days: set[Any]) -> None:
    until = next_time(begun, f"{hour:02}:{minute:02}", zone, sorted(days))
    assert timedelta() < until - begun <= timedelta(days=8 if days else 1, hours=25 if days else 1)
    local = until.astimezone(ZoneInfo(zone))
    assert not days or DAYS[local.weekday()] in days or local.hour < 4  # a gap at midnight
    # The clock shows that time, or the day had no such time.
    same = local.replace(hour=hour, minute=minute, fold=0)
    assert (local.hour, local.minute) == (hour, minute) or same.astimezone(UTC).astimezone(ZoneInfo(zone)) != same


def test_what_is_past_on_the_day_may_go_on_or_fail() -> None:
    begun = at("2026-01-05T19:00:00+01:00")  # a Monday
    assert next_time(begun, "18:00", BERLIN, if_past="go_on") == begun
    with pytest.raises(ValueError, match="18:00 in Europe/Berlin is past already on 2026-01-05"):
        next_time(begun, "18:00", BERLIN, if_past="fail")
    assert next_time(begun, "18:00", BERLIN, ("tue",), "fail") == at("2026-01-06T17:00:00Z")


@pytest.mark.parametrize(
    ("text", "zone", "until"),
    [
        ("2026-07-01T08:00:00+01:00", None, "2026-07-01T07:00:00Z"),
        ("2026-07-01T08:00:00", BERLIN, "2026-07-01T06:00:00Z"),
        ("2026-07-01T08:00:00Z", BERLIN, "2026-07-01T08:00:00Z"),
        ("2026-07-01", BERLIN, "2026-06-30T22:00:00Z"),
    ],
)
def test_a_moment_has_its_own_offset_or_the_zone(text: str, zone: str | None, until: str) -> None:
    assert read_moment(text, zone) == at(until)


def waiting(body: str) -> WaitStep:
    text = (
        "value_stream: w\ntitle: W\nbusiness: {domain: D, owner: o}\n"
        "params: {day: {type: string, default: '2026-01-06'}}\n"
        f"steps:\n  wait: {{wait_until: {body}}}\n"
    )
    operator = compile_stream(ValueStream.load(text), source_hash="h").get_task("wait")
    assert isinstance(operator, WaitStep)
    return operator


def begin(operator: WaitStep, store: Store, day: str = "2026-01-06") -> Any:
    return operator.execute(context_for(operator, params={"day": day}, store=store))


NOON = at("2026-01-05T12:00:00Z")


@pytest.mark.parametrize(
    ("body", "until"),
    [
        ('{time: "18:00", timezone: Europe/Berlin}', "2026-01-05T17:00:00+00:00"),
        ('{time: "18:00"}', "2026-01-05T18:00:00+00:00"),
        ('{at: "{{ params.day }}T08:00:00+01:00"}', "2026-01-06T07:00:00+00:00"),
        ("{for: 30m}", "2026-01-05T12:30:00+00:00"),
    ],
)
def test_it_waits_in_the_triggerer_and_leaves_until_when(body: str, until: str) -> None:
    operator, store = waiting(body), Store()
    with time_machine.travel(NOON, tick=False), pytest.raises(TaskDeferred) as deferred:
        begin(operator, store)
    trigger = deferred.value.trigger
    assert isinstance(trigger, DateTimeTrigger)
    assert trigger.moment == at(until)
    with time_machine.travel(at(until), tick=False):
        assert operator.execute_complete(context_for(operator, store=store)) == {"until": until}


@pytest.mark.parametrize("body", ['{time: "18:00"}', "{for: 6h}", '{at: "{{ params.day }}T08:00:00Z"}'])
def test_the_moment_is_found_once_whatever_is_cleared_or_changed(body: str) -> None:
    operator, store = waiting(body), Store()
    with time_machine.travel(NOON, tick=False), pytest.raises(TaskDeferred) as first:
        begin(operator, store)
    with time_machine.travel(NOON + timedelta(hours=2), tick=False), pytest.raises(TaskDeferred) as again:
        begin(waiting(body), store, day="2026-02-01")
    assert again.value.trigger.moment == first.value.trigger.moment
    with time_machine.travel(NOON + timedelta(days=2), tick=False):
        assert begin(waiting(body), store) == {"until": first.value.trigger.moment.isoformat()}


def test_a_moment_that_is_near_is_slept_because_a_trigger_could_fire_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(wait_until.time, "sleep", slept.append)
    with time_machine.travel(NOON, tick=False):
        assert begin(waiting("{for: 9s}"), Store()) == {"until": "2026-01-05T12:00:09+00:00"}
    assert slept == [9.0]


@pytest.mark.parametrize(
    ("body", "day", "says"),
    [
        (
            '{at: "{{ params.day }}T08:00:00Z", if_past: fail}',
            "2026-01-05",
            "2026-01-05T08:00:00[+]00:00 is past already",
        ),
        ('{time: "08:00", if_past: fail}', "", "08:00 in UTC is past already on 2026-01-05"),
        ('{at: "{{ params.day }}"}', "soon", "'soon' is no date and time"),
        ('{at: "{{ params.day }}T08:00:00Z"}', "2062-01-05", "more than 366 days away"),
        ('{at: "{{ params.day }}T08:00:00"}', "2026-01-06", "has no time zone"),
        ('{at: "{{ params.day }}T08:00:00Z"}', "2026-13-06", "is no date and time"),
    ],
)
def test_what_is_no_moment_fails_for_good(body: str, day: str, says: str) -> None:
    store = Store()
    with time_machine.travel(NOON, tick=False), pytest.raises(AirflowFailException, match=says):
        begin(waiting(body), store, day)
    assert WAIT_KEY not in store


def test_a_past_date_goes_on_at_once() -> None:
    with time_machine.travel(NOON, tick=False):
        assert begin(waiting('{at: "{{ params.day }}T08:00:00Z"}'), Store(), "2026-01-05")["until"].startswith(
            "2026-01-05T08"
        )


def test_a_record_that_somebody_spoilt_is_refused() -> None:
    with pytest.raises(AirflowFailException, match="delete it to wait anew"):
        begin(waiting("{for: 1h}"), Store({WAIT_KEY: {"version": 1, "until": "never"}}))


def test_airflow_renders_nothing_in_it() -> None:
    assert tuple(waiting("{for: 1h}").template_fields) == ()
