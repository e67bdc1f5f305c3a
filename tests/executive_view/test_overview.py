"""The overview: its sentence, counts, lights and trend, of the seed's instances.

How a user would notice that it is fake: the sentence says another number than the list behind it holds, a light is
green while an order is late there, or a filter changes the streams but not the totals.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_enterprise_orch.executive_view import feed_acts, feed_events
from airflow_enterprise_orch.executive_view.answers import Counts, StreamLine
from airflow_enterprise_orch.executive_view.saying import minutes, sentence
from tests.executive_view.served import Served


def test_whoever_has_it_already_hears_of_which_moment_it_is(view: Served) -> None:
    first = view.get("clerk", "overview")
    assert first.headers["x-as-of"] == first.json["fed_at"]
    again = view.get("clerk", "overview", headers={"If-None-Match": first.headers["etag"]})
    assert again.headers["x-as-of"] >= first.headers["x-as-of"]


def test_it_says_in_one_sentence_how_it_is(view: Served) -> None:
    told = view.get("clerk", "overview").json
    # The seed is as old as the session that asks.
    late = re.search(r"late by (\d+) min", told["sentence"])
    assert late is not None
    assert int(late[1]) >= 38
    assert told["sentence"].replace(late[0], "late") == (
        "“Order to cash” needs attention: 1 instance is late, at SAP; 1 at risk; 1 waits for people."
    )
    assert told["level"] == "problem"
    assert told["stale"] is False
    assert (told["unacknowledged"], told["oldest_unacknowledged_seconds"] // 60 >= 38) == (1, True)


def test_its_counts_are_those_of_the_lists_behind_it(view: Served) -> None:
    told = view.get("boss", "overview").json
    for name, asks in {
        "live": {},
        "at_risk": {"health": "at_risk"},
        "late": {"health": "late"},
        "waiting_people": {"waiting_people": True},
        "parked": {"parked": True},
    }.items():
        assert told["counts"][name] == view.get("boss", "instances", live=True, **asks).json["total"], name
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    failed = view.get("boss", "instances", health="failed", acknowledged=False, ended_from=yesterday).json
    assert told["counts"]["failed"] == failed["total"] == 1
    for name in told["counts"]:
        assert told["counts"][name] == sum(line["counts"][name] for line in told["streams"])


def test_each_stream_has_a_light_for_each_kind_of_system(view: Served) -> None:
    told = view.get("boss", "overview").json
    assert [line["title"] for line in told["streams"]] == ["Order to cash", "Hostile takeover", "Insurance claim"]
    orders = told["streams"][0]
    lights = {light["stack"]["title"]: (light["level"], light["live"]) for light in orders["stacks"]}
    assert lights == {
        "Mainframe": ("attention", 2),
        "Decisions": ("idle", 0),
        "People": ("attention", 1),
        "SAP": ("problem", 1),
        "UNIX": ("idle", 0),
    }
    assert told["streams"][2]["level"] == "problem"


def test_a_filter_is_for_all_of_it(view: Served) -> None:
    whole = view.get("boss", "overview").json
    for asks, streams in (
        ({"domain": "Claims"}, ["claims"]),
        ({"criticality": "high"}, ["orders", "takeover"]),
        ({"owner": "board"}, ["takeover"]),
        ({"stream": ["claims", "nothing"]}, ["claims"]),
    ):
        told = view.get("boss", "overview", **asks).json
        assert [line["dag_id"] for line in told["streams"]] == streams
        lines = [line for line in whole["streams"] if line["dag_id"] in streams]
        assert told["counts"]["live"] == sum(line["counts"]["live"] for line in lines)
        assert told["counts"]["late"] == sum(line["counts"]["late"] for line in lines)
    assert view.get("boss", "overview", domain="Nothing").json["sentence"] == "There is no stream to show."


def test_the_trend_has_every_day_and_the_week_before_to_compare_with(view: Served) -> None:
    told = view.get("clerk", "overview").json
    days = [date.fromisoformat(one["day"]) for one in told["trend"]]
    assert len(days) == 30
    assert days == [days[0] + timedelta(days=number) for number in range(30)]
    assert told["trend"][-1] | {"day": ""} == {
        "day": "", "started": 10, "ended": 10, "on_time": 8, "late": 2, "failed": 0, "on_time_share": 0.8,
        "p50_seconds": 900.0, "p90_seconds": 1800.0,
    }  # fmt: skip
    assert told["on_time_share"] == 0.8
    assert told["on_time_share_before"] == 0.8875  # of eight days seven were better, from the 9th day back
    assert told["lateness_by_stack"] == [{"stack": {"id": "sap", "title": "SAP"}, "seconds": 18000.0, "share": 1.0}]


def test_a_change_is_seen_with_the_next_snapshot_and_nothing_is_sent_twice(view: Served) -> None:
    first = view.get("clerk", "overview")
    assert view.get("clerk", "overview", headers={"If-None-Match": first.headers["etag"]}).status == 304
    view.do("change", run_id="run-103", given='{"health": "on_time"}')
    changed = view.get("clerk", "overview", headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status, changed.json["counts"]["at_risk"]) == (200, 0)
    view.do("change", run_id="run-103", given='{"health": "at_risk"}')


def test_what_can_be_filtered_by_is_told(view: Served) -> None:
    told = view.get("clerk", "facets").json
    assert told["streams"] == [{"id": "orders", "title": "Order to cash"}]
    assert [one["title"] for one in told["stacks"]] == ["Decisions", "Mainframe", "People", "SAP", "UNIX"]
    assert {"dag_id": "orders", "id": "post", "title": "Post it", "stack": "sap"} in told["steps"]
    assert {"id": "sap", "title": "SAP"} in told["systems"]
    everything = view.get("boss", "facets").json
    assert {one["id"] for one in told["connections"]} < {one["id"] for one in everything["connections"]}


def test_all_kinds_of_events_that_are_written_can_be_filtered_by(view: Served) -> None:
    written = {event["kind"] for event in view.get("boss", "events", limit=500).json["items"]}
    assert written
    kinds = view.get("boss", "facets").json["kinds"]
    assert written <= set(kinds)
    assert len(kinds) == len(set(kinds))
    source = (Path(feed_events.__file__)).read_text()
    told = (
        set(feed_acts.KINDS.values())
        | set(re.findall(r'(?:Happened\(\s*|kind = |else )"([a-z_]+)"', source))
        | {"asked"}
    )
    assert told <= set(kinds), "the feed writes a kind that nobody can filter by"


# -------------------------------------------------------------------------------------------------------- sentences


def line(level: Any, **more: int) -> StreamLine:
    counts = Counts(**{name: more.get(name, 0) for name in Counts.model_fields})
    return StreamLine(
        dag_id="a", title="Orders", domain="", owner="", criticality="", level=level, counts=counts, stacks=[],
        due_at=None, forecast=None, late_seconds=more.get("late_seconds"), on_time_share=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "where", "says"),
    [
        ([], "", "There is no stream to show."),
        ([line("idle")], "", "Nothing is under way in 1 stream."),
        ([line("ok", live=1)], "", "The stream is on time, with 1 instance under way."),
        ([line("ok", live=1020)] * 2, "", "All 2 streams are on time, with 2,040 instances under way."),
        (
            [line("problem", live=9, late=3, late_seconds=2280), line("ok", live=2)],
            "SAP",
            "1 of 2 streams needs attention: 3 instances are late, the worst by 38 min, most of them at SAP.",
        ),
        (
            [line("problem", live=1, failed=1), line("attention", live=2, waiting_people=2, at_risk=1)],
            "",
            "2 of 2 streams need attention: 1 at risk; 1 failed; 2 wait for people.",
        ),
    ],
)
def test_sentences_are_right_in_number_and_hide_nothing(lines: list[StreamLine], where: str, says: str) -> None:
    counts = {name: sum(getattr(one.counts, name) for one in lines) for name in Counts.model_fields}
    assert sentence(lines, Counts(**counts), where) == says


@pytest.mark.parametrize(
    ("seconds", "says"), [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (7505, "2h5m"), (90000, "1d1h")]
)
def test_durations_are_short(seconds: float, says: str) -> None:
    assert minutes(seconds) == says
