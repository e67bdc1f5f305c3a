"""Holds of streams, systems and connections; the same action on many instances; people who act at the same moment.

How a user would notice that it is fake: "SAP is down" holds the orders and not the claims; the progress bar says 57 and
54 were done; after a death of the API server some are done twice and some never.
"""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.executive_view.acting import REASON, Instance
from tests.executive_view.served import Served

_numbers = itertools.count(1)


def hold(acting: Served, scope: str, name: str, user: str = "boss", **more: Any) -> Any:
    body = {"id": f"hold-{next(_numbers):05}", "scope": scope, "name": name, "reason": REASON, **more}
    return acting.post(user, "holds", body)


def release(acting: Served, hold_id: str, user: str = "boss") -> Any:
    return acting.post(user, f"holds/{hold_id}/release", {"id": f"free-{next(_numbers):05}", "reason": REASON})


def test_a_connection_is_held_for_all_streams_that_use_it_and_released_at_once(acting: Served) -> None:
    order = Instance(acting, states={"book": "up_for_reschedule"})
    claim = Instance(acting, "claims", states={"reserve": "up_for_reschedule"})
    other = Instance(acting, states={"book": "success", "label": "up_for_reschedule"})  # on another connection
    told = hold(acting, "connection", "host", until="2099-01-01T06:00:00Z")
    assert told.status == 200, told.text
    assert told.json["held_steps"] >= 2
    (listed,) = [one for one in acting.get("boss", "holds").json["items"] if one["id"] == told.json["id"]]
    assert (listed["by"], listed["reason"], listed["until"]) == ("boss", REASON, "2099-01-01T06:00:00Z")
    before = other.look()["looks"]["label"]
    asked = datetime.now(UTC)
    assert release(acting, told.json["id"]).status == 200
    for one, name in ((order, "book"), (claim, "reserve")):
        assert asked <= datetime.fromisoformat(one.look()["looks"][name]) <= datetime.now(UTC) + timedelta(seconds=1)
    assert other.look()["looks"]["label"] == before
    assert acting.get("boss", "holds").json["items"] == []
    assert release(acting, told.json["id"]).status == 404


def test_a_stream_that_is_held_while_a_branch_leaves_people_time_is_told_as_held_at_once_and_until_it_goes_on(
    acting: Served,
) -> None:
    one = Instance(acting, states={"book": "success"})
    acting.do("proposed", dag_id="orders", run_id=one.run_id, step="route", hours=2.0)

    def stands() -> tuple[str, str]:
        acting.do("feed")
        (row,) = acting.get("boss", "instances", q=one.key).json["items"]
        return row["waits_for"], row["health"]

    assert stands() == ("calendar", "on_time")
    hold_id = hold(acting, "stream", "orders").json["id"]
    assert stands() == ("hold", "waiting")
    assert release(acting, hold_id).status == 200
    assert stands() == ("calendar", "on_time")


def test_a_hold_of_many_is_told_in_each_stream_that_it_concerns(acting: Served) -> None:
    told = hold(acting, "system", "unix").json
    try:
        for stream in ("orders", "claims"):
            rows = acting.get("boss", "events", stream=stream, kind="hold").json["items"]
            (row,) = [row for row in rows if row["after"].get("hold") == told["id"]]
            assert (row["actor"], row["reason"], row["after"]["scope"]) == ("boss", REASON, "system")
    finally:
        release(acting, told["id"])


def test_who_may_not_act_on_all_that_it_concerns_may_not_place_a_hold_and_learns_nothing(
    acting: Served,
) -> None:
    refused = hold(acting, "connection", "host", user="clerk")
    assert refused.status == 403
    assert "orders" not in refused.text
    assert hold(acting, "stream", "orders", user="clerk").status == 422
    assert hold(acting, "stream", "orders", user="viewer").status == 403
    assert hold(acting, "connection", "printer", user="clerk").status == 422
    mine = hold(acting, "stream", "claims", user="clerk")
    assert mine.status == 200
    orders = hold(acting, "stream", "orders")
    try:
        assert [one["name"] for one in acting.get("clerk", "holds").json["items"]] == ["claims"]
        assert release(acting, orders.json["id"], user="clerk").status == 404
    finally:
        release(acting, orders.json["id"])
        release(acting, mine.json["id"])


@pytest.mark.parametrize(
    ("scope", "name", "line"),
    [
        ("connection", "hots", "no stream that you may see has connection 'hots': did you mean 'host'?"),
        ("system", "sap", "no stream that you may see has system 'sap': there are mainframe, unix"),
    ],
)
def test_a_hold_of_nothing_is_refused_with_what_there_is(acting: Served, scope: str, name: str, line: str) -> None:
    told = hold(acting, scope, name)
    assert (told.status, told.json["detail"]) == (422, line)


def test_the_same_hold_twice_is_one(acting: Served) -> None:
    body = {"id": "twice-0001", "scope": "stream", "name": "orders", "reason": REASON}
    assert [acting.post("boss", "holds", body).status for _ in range(2)] == [200, 200]
    assert len(acting.get("boss", "holds").json["items"]) == 1
    assert acting.post("boss", "holds", {**body, "reason": "another one"}).status == 422
    release(acting, "twice-0001")


def test_a_variable_that_nobody_can_read_is_told_and_not_overwritten(acting: Served) -> None:
    acting.do("holds", value={"version": 99})
    try:
        told = hold(acting, "stream", "orders")
        assert told.status == 422 and "is no control record of version 1" in told.json["detail"]
    finally:
        acting.do("holds", value={"version": 1, "holds": []})


# The same on many instances.


def many(acting: Served, action: dict[str, Any], user: str = "boss", **more: Any) -> Any:
    body = {"id": f"many-{next(_numbers):05}", "action": {"reason": REASON, **action}, "filter": {}, **more}
    return acting.post(user, "bulk", body)


def test_many_are_counted_first_then_held_each_with_its_own_result(acting: Served) -> None:
    mark = f"BULK{next(_numbers):03}"
    ahead = [Instance(acting, states={}, key=f"{mark}-{number}") for number in range(45)]
    begun = Instance(acting, states={"book": "deferred"}, key=f"{mark}-begun")
    action, fits = {"action": "hold", "step": "book"}, {"q": mark}
    counted = many(acting, action, filter=fits, dry_run=True).json
    assert (counted["state"], counted["matching"], counted["may_act"]) == ("dry_run", 46, 46)
    assert counted["sentence"] == "hold step 'book' in 46 instances"
    assert all(one.look()["wishes"] == {} for one in ahead[:3]), "counting changes nothing"
    asked = many(acting, action, filter=fits).json
    assert (asked["state"], asked["total"], asked["done"]) == ("running", 46, 0)
    acting.do("work", times=1)
    part = acting.get("boss", f"bulk/{asked['id']}").json
    assert (part["state"], part["done"] + part["refused"]) == ("running", 20)
    acting.do("work")
    done = acting.get("boss", f"bulk/{asked['id']}").json
    assert (done["state"], done["done"], done["refused"], done["failed"]) == ("done", 45, 1, 0)
    assert all(one.look()["wishes"]["book"]["hold"]["by"] == "boss" for one in ahead)
    told = acting.get("boss", f"bulk/{asked['id']}/results", outcome="refused").json
    (row,) = told["items"]
    assert (row["key"], told["total"]) == (begun.key, 1)
    assert "cannot be held: it is at work" in row["text"]
    assert len([event for event in ahead[0].events() if event["kind"] == "hold"]) == 1


def test_those_that_were_selected_are_acted_on_and_no_others(acting: Served) -> None:
    mark = f"PICK{next(_numbers):03}"
    all_of_them = [Instance(acting, states={}, key=f"{mark}-{number}") for number in range(4)]
    rows = {row["key"]: row["id"] for row in acting.get("boss", "instances", q=mark).json["items"]}
    chosen = all_of_them[1:3]
    asked = many(acting, {"action": "hold", "step": "book"}, filter={"id": [rows[one.key] for one in chosen]}).json
    acting.do("work")
    assert (asked["matching"], asked["total"]) == (2, 2)
    assert ["book" in one.look()["wishes"] for one in all_of_them] == [False, True, True, False]


def test_what_died_in_the_middle_goes_on_and_does_nothing_twice(acting: Served) -> None:
    mark = f"DIED{next(_numbers):03}"
    all_of_them = [Instance(acting, states={}, key=f"{mark}-{number}") for number in range(5)]
    asked = many(acting, {"action": "hold", "step": "book"}, filter={"q": mark}).json
    acting.do("work", times=1)
    acting.do("forgotten", bulk_id=asked["id"])  # it died before it wrote what it had done
    acting.do("work")
    assert acting.get("boss", f"bulk/{asked['id']}").json["done"] == 5
    for one in all_of_them:
        assert len([event for event in one.events() if event["kind"] == "hold"]) == 1


def test_it_is_stopped_and_what_was_done_stays(acting: Served) -> None:
    mark = f"STOP{next(_numbers):03}"
    all_of_them = [Instance(acting, states={}, key=f"{mark}-{number}") for number in range(25)]
    asked = many(acting, {"action": "hold", "step": "book"}, filter={"q": mark}).json
    acting.do("work", times=1)
    stopped = acting.post("boss", f"bulk/{asked['id']}/stop", {"id": "stop-it-now", "reason": REASON}).json
    acting.do("work")
    after = acting.get("boss", f"bulk/{asked['id']}").json
    assert (stopped["state"], after["state"], after["done"]) == ("stopped", "stopped", 20)
    assert sum("book" in one.look()["wishes"] for one in all_of_them) == 20


def test_on_many_everybody_acts_on_theirs_and_sees_theirs(acting: Served) -> None:
    mark = f"MINE{next(_numbers):03}"
    order = Instance(acting, states={}, key=f"{mark}-order")
    claim = Instance(acting, "claims", states={}, key=f"{mark}-claim")
    asked = many(acting, {"action": "hold"}, user="clerk", filter={"q": mark}).json
    acting.do("work")
    assert (asked["matching"], asked["total"]) == (1, 1)
    assert (order.look()["wishes"], set(claim.look()["wishes"])) == ({}, {"reserve", "pay-items", "close"})
    of_all = many(acting, {"action": "acknowledge"}, filter={"q": mark}).json
    acting.do("work")
    seen = acting.get("clerk", f"bulk/{of_all['id']}").json
    assert (seen["matching"], seen["total"], seen["done"]) == (1, 1, 1)
    assert order.key not in acting.get("clerk", f"bulk/{of_all['id']}/results").text
    assert many(acting, {"action": "hold"}, user="viewer", filter={"q": mark}).status == 422
    only_orders = many(acting, {"action": "acknowledge"}, filter={"q": f"{mark}-order"}).json
    assert acting.get("clerk", f"bulk/{only_orders['id']}").status == 404
    assert only_orders["id"] not in json.dumps(acting.get("clerk", "bulk").json)


# At the same moment.


def test_the_same_click_at_the_same_moment_is_one(acting: Served) -> None:
    one = Instance(acting, states={})
    body = {"id": "both-at-once", "action": "hold", "step": "book", "reason": REASON}
    heard = acting.do("at_once", dag_id="orders", run_id=one.run_id, asked=[body] * 4)
    assert heard.count("done") == 1 and set(heard) <= {"done", "replayed"}, heard
    assert len([event for event in one.events() if event["kind"] == "hold"]) == 1


def test_of_two_who_have_seen_the_same_one_is_faster(acting: Served) -> None:
    one = Instance(acting, states={})
    version = one.ask("hold", "book", at="/preview").json["version"]
    bodies = [
        {"id": f"race-{name}-1", "action": name, "step": "book", "reason": REASON, "version": version}
        for name in ("hold", "skip", "cancel")
    ]
    heard = acting.do("at_once", dag_id="orders", run_id=one.run_id, asked=bodies)
    assert heard == ["409", "409", "done"]
    assert len(one.look()["wishes"]["book"].keys() & {"hold", "skip", "cancel"}) == 1
