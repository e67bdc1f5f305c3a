"""The list of instances: pages, totals, filters, search, CSV.

How a user would notice that it is fake: a page repeats or leaves out an instance, the total is not that of the rows,
the search takes ``%`` for any text, or a spreadsheet runs what stands in a business key.
"""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, select
from sqlalchemy.orm import Session

from airflow_enterprise_orch.executive_view import tables
from airflow_enterprise_orch.executive_view.answers import InstanceFilter
from airflow_enterprise_orch.executive_view.instances import conditions
from tests.executive_view.served import Served


def walk(view: Served, limit: int, **asks: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = view.get("boss", "instances", limit=limit, cursor=cursor, **asks).json
        assert len(page["items"]) <= limit
        found += page["items"]
        if page["next_cursor"] is None:
            assert len(found) == page["total"]
            return found
        assert len(page["items"]) == limit
        cursor = page["next_cursor"]


@pytest.mark.parametrize("order", ["urgency", "newest", "oldest", "changed"])
def test_pages_of_any_size_hold_each_instance_once_and_in_the_same_order(view: Served, order: str) -> None:
    whole = [row["id"] for row in walk(view, 500, order=order)]
    assert len(whole) == len(set(whole)) >= 30
    for limit in (1, 3, 4, 5, len(whole) - 1, len(whole)):
        assert [row["id"] for row in walk(view, limit, order=order)] == whole


def test_single_instances_are_picked_by_their_ids_and_by_nothing_that_one_may_not_see(view: Served) -> None:
    whole = walk(view, 500)
    picked = [row["id"] for row in whole[3:6]]
    assert [row["id"] for row in walk(view, 2, id=picked)] == picked
    assert view.get("boss", "instances", id=picked, q="no such key").json["total"] == 0
    hidden = [row["id"] for row in whole if row["dag_id"] != "orders"]
    assert hidden
    assert view.get("clerk", "instances", id=hidden[:3]).json["total"] == 0
    assert view.get("boss", "instances", id=["x"]).status == 422


@pytest.mark.parametrize("order", ["urgency", "newest", "oldest", "changed"])
def test_whoever_jumps_lands_on_the_row_and_goes_on_from_there(view: Served, order: str) -> None:
    whole = [row["id"] for row in walk(view, 500, order=order)]
    for row in (1, 2, len(whole) // 2, len(whole) // 2 + 1, len(whole) - 1, len(whole), len(whole) + 5):
        page = view.get("boss", "instances", order=order, row=row, limit=2).json
        assert [one["id"] for one in page["items"]] == whole[row : row + 2]
        assert (page["total"], page["next_cursor"] is None) == (len(whole), row + 2 >= len(whole))
        if page["next_cursor"]:
            after = view.get("boss", "instances", order=order, cursor=page["next_cursor"], limit=1).json
            assert [one["id"] for one in after["items"]] == whole[row + 2 : row + 3]


def test_the_most_urgent_come_first_and_what_is_over_last(view: Served) -> None:
    rows = walk(view, 7)
    live = [row for row in rows if row["live"]]
    assert rows[: len(live)] == live
    due = [row["due_at"] for row in live if row["due_at"]]
    assert due == sorted(due)
    assert [row["due_at"] for row in live[len(due) :]] == [None] * (len(live) - len(due))
    assert rows[0]["key"] == "TAKEOVER-1"


def test_a_row_says_all_of_it(view: Served) -> None:
    row = view.get("clerk", "instances", q="ord-000101").json["items"][0]
    assert row["late_seconds"] % 60 == 0
    assert row["late_seconds"] >= 38 * 60
    assert (row["stream"], row["health"], row["waits_for"]) == ("Order to cash", "late", "remote_job")
    assert row["step"] == {"id": "post", "title": "Post it", "stack": {"id": "sap", "title": "SAP"}}
    at_risk = view.get("clerk", "instances", health="at_risk").json["items"]
    assert [(one["key"], one["forecast"]["instances"], one["forecast"]["enough"]) for one in at_risk] == [
        ("ORD-000103", 24, True)
    ]


@pytest.mark.parametrize(
    ("asks", "keys"),
    [
        ({"q": "ORD-00010"}, {"ORD-000101", "ORD-000102", "ORD-000103"}),
        ({"q": "ord-000101"}, {"ORD-000101"}),
        ({"q": "0101"}, set()),
        ({"q": "0101", "match": "contains"}, {"ORD-000101"}),
        ({"q": "%", "match": "contains"}, set()),
        ({"q": "ORD_000101"}, set()),
        ({"q": "'", "match": "contains"}, {"=cmd|'/c calc'!A1"}),
        ({"live": True, "stack": "sap"}, {"ORD-000101"}),
        ({"step": "approve"}, {"ORD-000102"}),
        ({"waiting_people": True}, {"ORD-000102"}),
        ({"waits_for": "person"}, {"ORD-000102"}),
        ({"health": ["at_risk", "waiting"]}, {"ORD-000102", "ORD-000103"}),
        ({"job": "08150001"}, {"ORD-000101"}),
        ({"job": "0815"}, set()),
        ({"domain": "Claims", "live": True}, {"CLA-000201"}),
        ({"criticality": "medium", "live": True}, {"CLA-000201"}),
        ({"live": True, "parked": True}, set()),
        ({"live": True, "acknowledged": True}, set()),
        ({"live": True, "business_date": "2026-11-25"}, set()),
        ({"live": True, "started_to": "2020-01-01T00:00:00Z"}, set()),
        ({"live": True, "started_from": "2020-01-01T00:00:00+01:00", "owner": "claims-office"}, {"CLA-000201"}),
    ],
)
def test_filters_mean_what_they_say(view: Served, asks: dict[str, Any], keys: set[str]) -> None:
    told = view.get("boss", "instances", **asks).json
    assert {row["key"] for row in told["items"]} == keys
    assert told["total"] == len(keys)


@pytest.mark.parametrize(
    ("asks", "says"),
    [
        ({"bogus": "1"}, "bogus"),
        ({"health": "fine"}, "health"),
        ({"limit": 501}, "limit"),
        ({"row": -1}, "row"),
        ({"row": 1, "cursor": "abc"}, "a cursor says already where the page begins"),
        ({"started_from": "2026-11-24T10:00:00"}, "timezone"),
        ({"cursor": "abc"}, "begin with the first page"),
        ({"cursor": "WzEsImFiYyIsMCxbXV0"}, "another filter or order"),
        ({"cursor": "WzEsImFiYyIsMCxbMSwyLDNdXQ"}, "begin with the first page"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_one_line(view: Served, asks: dict[str, Any], says: str) -> None:
    told = view.get("boss", "instances", **asks)
    assert told.status == 422
    assert told.headers["content-type"] == "application/problem+json"
    assert told.json["status"] == 422
    assert says in told.json["detail"]
    assert "\n" not in told.json["detail"]


def test_a_cursor_is_good_for_its_filter_only(view: Served) -> None:
    cursor = view.get("boss", "instances", limit=1).json["next_cursor"]
    told = view.get("boss", "instances", limit=1, cursor=cursor, live=True)
    assert (told.status, told.json["detail"]) == (
        422,
        "cursor: it belongs to another filter or order; begin with the first page",
    )


def test_nothing_is_sent_again_that_did_not_change(view: Served) -> None:
    first = view.get("clerk", "instances", live=True)
    again = view.get("clerk", "instances", live=True, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.text) == (304, "")
    assert again.headers["etag"] == first.headers["etag"]
    assert "x-as-of" in again.headers
    assert first.headers["cache-control"] == "private, no-cache"
    view.do("change", run_id="run-104", given='{"current_step": "post"}')
    changed = view.get("clerk", "instances", live=True, headers={"If-None-Match": first.headers["etag"]})
    assert changed.status == 200
    view.do("change", run_id="run-104", given='{"current_step": "book"}')


def test_a_large_answer_goes_out_packed_to_who_can_unpack_it(view: Served) -> None:
    plain = view.get("clerk", "instances", headers={"Accept-Encoding": "identity"})
    packed = view.get("clerk", "instances", headers={"Accept-Encoding": "gzip, br"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
    assert (packed.text, packed.headers["etag"]) == (plain.text, plain.headers["etag"])
    assert "Accept-Encoding" in packed.headers["vary"]


def test_the_total_follows_what_is_written(view: Served) -> None:
    before = view.get("boss", "instances", stream="claims").json["total"]
    view.do("many", count=3)
    assert view.get("boss", "instances", stream="claims").json["total"] == before + 3


def test_the_csv_holds_exactly_the_filter_and_no_formula(view: Served) -> None:
    told = view.get("clerk", "instances.csv", live=True)
    assert told.headers["content-type"] == "text/csv; charset=utf-8"
    assert told.headers["content-disposition"] == 'attachment; filename="instances.csv"'
    assert told.text.startswith("\ufeffkey,")
    rows = list(csv.DictReader(io.StringIO(told.text.removeprefix("\ufeff"), newline="")))
    page = view.get("clerk", "instances", live=True).json
    assert len(rows) == page["total"] == 4
    assert {row["run_id"] for row in rows} == {row["run_id"] for row in page["items"]}
    assert "'=cmd|'/c calc'!A1" in [row["key"] for row in rows]
    late = next(row for row in rows if row["key"] == "ORD-000101")
    assert (late["step"], late["stack"]) == ("Post it", "SAP")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", late["due_at"])


def test_the_csv_of_many_instances_is_whole(view: Served) -> None:
    view.do("many_more", count=4100)
    told = view.get("boss", "instances.csv", stream="claims", q="bulk")
    rows = list(csv.DictReader(io.StringIO(told.text.removeprefix("\ufeff"), newline="")))
    assert len({row["run_id"] for row in rows}) == len(rows) == 4100


def test_an_instance_belongs_to_the_owner_that_its_version_names() -> None:
    engine = create_engine("sqlite://")
    tables.metadata.create_all(engine)
    with Session(engine) as session:
        for version, owner in ((1, "old"), (2, "new")):
            session.execute(
                insert(tables.STREAM).values(
                    dag_id="a", version=version, digest="", picture={}, title="", domain="d", owner=owner,
                    criticality="", first_seen=NOW, is_current=version == 2, is_removed=False, is_paused=False,
                )
            )  # fmt: skip
            session.execute(insert(tables.INSTANCE).values(**instance(str(version), version)))
        for asks, expected in (
            ({"owner": ["old"]}, ["1"]),
            ({"owner": ["new", "nobody"]}, ["2"]),
            ({"owner": ["old", "new"]}, ["1", "2"]),
            ({"owner": ["old"], "domain": ["other"]}, []),
        ):
            where = conditions(session, InstanceFilter(**asks), frozenset("ab"))
            found = session.scalars(select(tables.INSTANCE.c.run_id).where(*where).order_by(tables.INSTANCE.c.id))
            assert found.all() == expected
    engine.dispose()


NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)


def instance(run_id: str, version: int) -> dict[str, Any]:
    return {
        "dag_id": "a", "run_id": run_id, "airflow_id": version, "in_airflow": False, "version": version,
        "business_key": "", "business_key_lower": "", "run_type": "manual", "state": "running", "live": True,
        "run_after": NOW, "health": "on_time", "waiting_people": 0, "parked": 0, "failed_steps": 0, "steps": {},
        "revision": 1, "changed_at": NOW,
    }  # fmt: skip
