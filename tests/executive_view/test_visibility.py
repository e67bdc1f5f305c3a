"""Who may see what, with FAB's own roles and tokens.

How a user would notice that it is fake: the takeover that the board prepares shows up in a clerk's totals, in the CSV,
in a filter, or as an error that is another one than for what does not exist.
"""

from __future__ import annotations

import pytest

from tests.executive_view.served import Served

LISTS = (
    "overview", "facets", "me", "instances?limit=500", "instances.csv", "streams", "events", "events.csv",
    "events.jsonl", "orphans",
)  # fmt: skip
OF_THE_SECRET = (
    "streams/{}", "streams/{}/statistics", "streams/{}/versions", "streams/{}/versions/1/1", "streams/{}/runs-ahead",
    "dags/{}/dagRuns/run-301", "dags/{}/dagRuns/run-301/jobs", "dags/{}/dagRuns/run-301/steps/post/log",
)  # fmt: skip
TRACES = ("takeover", "Takeover", "TAKEOVER", "66600001", "Board", "board", "run-301")


@pytest.mark.parametrize("path", LISTS)
def test_nobody_is_told_anything_without_a_login(view: Served, path: str) -> None:
    told = view.get("", path)
    assert told.status == 401
    assert told.json["detail"] == "Not authenticated"


@pytest.mark.parametrize("path", LISTS)
def test_a_list_has_no_trace_of_what_one_may_not_see(view: Served, path: str) -> None:
    for user in ("clerk", "guest", "author", "nobody"):
        told = view.get(user, path)
        assert told.status == 200, told.text
        assert not [trace for trace in TRACES if trace in told.text], (user, told.text)
    assert any(trace in view.get("boss", path).text for trace in TRACES), "the boss sees it, so the test can fail"


@pytest.mark.parametrize("path", OF_THE_SECRET)
def test_what_one_may_not_see_answers_as_what_does_not_exist(view: Served, path: str) -> None:
    secret, missing = (view.get("clerk", path.format(name)) for name in ("takeover", "takeover-of-nothing"))
    assert secret.status == missing.status == 404
    assert secret.text.replace("takeover", "X") == missing.text.replace("takeover-of-nothing", "X")
    drop = ("date", "content-length")
    assert {k: v for k, v in secret.headers.items() if k not in drop} == {
        k: v for k, v in missing.headers.items() if k not in drop
    }
    assert view.get("boss", path.format("takeover")).status in (200, 404)


def test_counts_and_totals_are_of_what_one_may_see(view: Served) -> None:
    live = {user: view.get(user, "overview").json["counts"]["live"] for user in ("boss", "clerk", "author", "nobody")}
    assert live == {"boss": 6, "clerk": 4, "author": 0, "nobody": 0}
    totals = {user: view.get(user, "instances", limit=1).json["total"] for user in ("boss", "clerk", "author")}
    assert totals["boss"] - totals["clerk"] >= 2
    assert totals["author"] == 0
    assert view.get("clerk", "orphans").json["total"] == 1
    assert view.get("boss", "orphans").json["total"] == 2
    assert view.get("clerk", "events").json["total"] == 2
    assert view.get("boss", "events").json["total"] == 3


@pytest.mark.parametrize(
    "asks",
    [
        {"q": "takeover"},
        {"q": "over", "match": "contains"},
        {"stream": "takeover"},
        {"domain": "Board"},
        {"owner": "board"},
        {"job": "66600001"},
    ],
)
def test_no_filter_finds_what_one_may_not_see(view: Served, asks: dict[str, str]) -> None:
    told = view.get("clerk", "instances", **asks).json
    assert (told["total"], told["items"], told["next_cursor"]) == (0, [], None)
    assert view.get("boss", "instances", **asks).json["total"] == 1
    assert view.get("clerk", "instances.csv", **asks).text.count("\r\n") == 1


def test_a_cursor_of_somebody_else_shows_no_more(view: Served) -> None:
    page = view.get("boss", "instances", limit=1, order="changed").json
    told = view.get("clerk", "instances", limit=500, order="changed", cursor=page["next_cursor"]).json
    assert {row["dag_id"] for row in told["items"]} == {"orders"}


def test_an_etag_changes_only_with_what_one_sees(view: Served) -> None:
    def tags(user: str) -> list[str]:
        return [view.get(user, path).headers["etag"] for path in ("overview", "instances", "streams", "me", "facets")]

    view.do("change", run_id="run-301", given='{"health": "late"}')
    clerk, boss = tags("clerk"), tags("boss")
    view.do("change", run_id="run-301", given='{"health": "failed", "failed_steps": 1}')
    assert tags("clerk") == clerk
    assert tags("boss")[:3] != boss[:3]
    view.do("change", run_id="run-301", given='{"health": "late", "failed_steps": 0}')


def test_who_may_not_read_what_steps_left_sees_the_instance_without_it(view: Served) -> None:
    told = view.get("guest", "dags/orders/dagRuns/run-101")
    assert told.status == 200
    assert told.json["outputs"] == {}
    assert view.get("guest", "dags/orders/dagRuns/run-101/steps/post/log").status == 404
    assert view.get("guest", "events").json["total"] == 0
    assert view.get("guest", "events.csv").text.count("\r\n") == 1


def test_who_may_act_is_told(view: Served) -> None:
    may = {one["dag_id"]: one["may_act"] for one in view.get("boss", "me").json["streams"]}
    assert may == {"orders": True, "claims": True, "takeover": True}
    assert view.get("clerk", "me").json == {
        "name": "clerk",
        "streams": [{"dag_id": "orders", "title": "Order to cash", "may_act": False}],
    }
