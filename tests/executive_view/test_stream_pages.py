"""The pages of a stream, the audit and the orphans.

How a user would notice that it is fake: a version says that nothing changed, the runs ahead are on a holiday, or the
audit leaves out who it was.
"""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.executive_view.served import Served


def test_all_streams_are_listed_by_domain_and_title(view: Served) -> None:
    told = view.get("boss", "streams").json["items"]
    assert [(one["domain"], one["title"]) for one in told] == [
        ("Board", "Hostile takeover"),
        ("Claims", "Insurance claim"),
        ("Sales", "Order to cash"),
    ]
    assert [one["level"] for one in told] == ["problem"] * 3


def test_a_stream_is_shown_as_choreography_with_heat_and_odds(view: Served) -> None:
    told = view.get("clerk", "streams/orders").json
    assert (told["due"], told["business_key"]) == ("within 1h of its start", "{{ params.order_id }}")
    nodes = {node["id"]: node for node in told["graph"]["nodes"]}
    assert list(nodes) == ["book", "route", "approve", "post", "tell"]
    assert nodes["approve"]["heat"] > nodes["post"]["heat"] > nodes["route"]["heat"]
    assert all(node["run"] is None for node in nodes.values())
    shares = {(edge["source"], edge["target"]): edge["share"] for edge in told["graph"]["edges"]}
    assert (shares["route", "approve"], shares["route", "post"]) == (0.25, 0.75)
    before = view.get("clerk", "streams/orders", version=1).json
    assert [node["id"] for node in before["graph"]["nodes"]] == ["book", "route", "approve", "post"]
    assert view.get("clerk", "streams/orders", version=9).status == 404


def test_statistics_add_up(view: Served) -> None:
    told = view.get("clerk", "streams/orders/statistics", days=30).json
    assert (told["instances"], told["looked_at"]) == (24, 24)
    assert told["bottleneck"]["id"] == "approve"
    assert sum(step["share"] or 0 for step in told["steps"]) == pytest.approx(1, abs=0.001)
    (route,) = told["branches"]
    assert [(way["title"], way["count"], way["share"]) for way in route["ways"]] == [
        ("params.amount > 10000.0", 6, 0.25),
        ("otherwise", 18, 0.75),
    ]
    assert sum(way["count"] for way in route["ways"]) == route["decisions"]
    assert sum(path["count"] for path in told["paths"]) == told["looked_at"]
    assert len(told["trend"]) == 30
    assert view.get("clerk", "streams/orders/statistics", days=0).status == 422


def test_each_version_says_what_changed(view: Served) -> None:
    new, old = view.get("clerk", "streams/orders/versions").json["items"]
    assert (new["version"], new["current"], old["version"], old["current"]) == (2, True, 1, False)
    assert (old["instances"], old["live"], old["changes"]) == (28, 4, [])
    assert [change["text"] for change in new["changes"]] == [
        "step “Post it”: connection changed from sap_erp to sap_s4",
        "step “Tell them” added: a unix.script, after “Post it”",
    ]
    back = view.get("clerk", "streams/orders/versions/2/1").json["changes"]
    assert [change["text"] for change in back] == [
        "step “Post it”: connection changed from sap_s4 to sap_erp",
        "step “Tell them” removed: it was a unix.script, after “Post it”",
    ]
    assert view.get("clerk", "streams/orders/versions/1/7").status == 404


def test_a_stream_without_a_schedule_says_so(view: Served) -> None:
    told = view.get("clerk", "streams/orders/runs-ahead").json
    assert (told["items"], told["problem"]) == ([], "No time starts it: it runs when somebody starts it")


def test_the_audit_says_who_did_what_and_why_and_is_whole_as_a_file(view: Served) -> None:
    told = view.get("clerk", "events").json
    assert [(one["key"], one["actor"], one["reason"]) for one in told["items"]] == [
        ("ORD-000102", "ops", "orders: wanted"),
        ("ORD-000002", "ops", "orders: wanted"),
    ]
    assert told["items"][0]["step"]["title"] == "Large?"
    assert (told["items"][0]["before"], told["items"][0]["after"]) == (["post"], ["approve"])
    rows = list(csv.DictReader(io.StringIO(view.get("clerk", "events.csv").text.removeprefix("\ufeff"))))
    assert [row["key"] for row in rows] == ["ORD-000102", "ORD-000002"]
    lines = [json.loads(line) for line in view.get("clerk", "events.jsonl").text.splitlines()]
    assert lines == told["items"]


@pytest.mark.parametrize(
    ("asks", "keys"),
    [
        ({"kind": "override"}, ["ORD-000102", "ORD-000002"]),
        ({"kind": "hold"}, []),
        ({"actor": "ops", "q": "000002"}, ["ORD-000002"]),
        ({"stream": "orders", "run_id": "run-102"}, ["ORD-000102"]),
        ({"until": "2020-01-01T00:00:00Z"}, []),
    ],
)
def test_the_audit_can_be_filtered(view: Served, asks: dict[str, str], keys: list[str]) -> None:
    told = view.get("clerk", "events", **asks).json
    assert ([one["key"] for one in told["items"]], told["total"]) == (keys, len(keys))


def test_the_audit_comes_in_pages(view: Served) -> None:
    first = view.get("clerk", "events", limit=1).json
    second = view.get("clerk", "events", limit=1, cursor=first["next_cursor"]).json
    assert [first["items"][0]["key"], second["items"][0]["key"]] == ["ORD-000102", "ORD-000002"]
    assert second["next_cursor"] is None


def test_orphans_are_listed_with_the_job_that_nobody_waits_for(view: Served) -> None:
    (one,) = view.get("clerk", "orphans").json["items"]
    assert (one["job_id"], one["system"], one["step"]["title"]) == ("08150002", "sap://erp", "Post it")
    assert one["why"] == "its instance is over"
