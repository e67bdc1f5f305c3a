"""What one is not told of an instance that one may see, with FAB's own roles.

How a user would notice that it is fake: the clerk reads in the parent's remote job, in why it waits, in the audit or in
a file which takeover the board has under way; an auditor without the right to XComs reads the amount of the order in
the decision's sentence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.executive_view.conftest import ROLES
from tests.executive_view.served import Served

PAGE = "dags/orders/dagRuns/run-106"
OF_CLERKS = (
    PAGE, f"{PAGE}/jobs", f"{PAGE}/steps/hand/log", f"{PAGE}/steps/other/log", "dags/orders/dagRuns/run-107",
    "dags/orders/dagRuns/run-107/jobs", "dags/orders/dagRuns/run-108", "orphans", "streams/orders",
    "streams/orders/versions", "streams/orders/versions/3/4", "events?limit=500", "events.csv", "events.jsonl",
    "instances?limit=500", "instances.csv",
)  # fmt: skip
CHILD, GONE = "orders.hand." + "M" * 20, "orders.hand." + "N" * 20
TRACES = ("takeover", "TAKEOVER", "Takeover", "M" * 20, "N" * 20, "'buy'", "run-301")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Served]:
    """The served API, with an instance whose steps run and wait for what most may not see."""
    served = Served(tmp_path_factory.mktemp("redacting"), migrated, ROLES)
    served.do("seed_hidden.other_streams")
    served.do("seed_hidden.pool", slots=4, taken_by={"orders": 1, "takeover": 3})
    yield served
    served.close()


def nodes(view: Served, user: str, run: int = 106) -> dict[str, Any]:
    told = view.get(user, f"dags/orders/dagRuns/run-{run}")
    assert told.status == 200, told.text + view.errors()[-3000:]
    return {node["id"]: node for node in told.json["graph"]["nodes"]}


@pytest.mark.parametrize("path", OF_CLERKS)
def test_an_instance_has_no_trace_of_a_stream_that_one_may_not_see(seen: Served, path: str) -> None:
    for user in ("clerk", "auditor", "guest"):
        told = seen.get(user, path)
        assert told.status in (200, 404), told.text
        assert not [trace for trace in TRACES if trace in told.text], (user, told.text)
    boss = seen.get("boss", path)
    if not path.endswith("/log"):
        assert any(trace in boss.text for trace in TRACES), "the boss sees it, so the test can fail"


def test_what_remains_is_that_a_step_runs_another_stream(seen: Served) -> None:
    hand = nodes(seen, "clerk")["hand"]
    assert hand["sub_stream"] == {"dag_id": None, "title": None, "run_id": None}
    job = hand["run"]["job"]
    assert (job["hidden"], job["system"], job["job_id"], job["key"], job["state"]) == (
        True, "another stream that you may not see", None, None, "submitted",
    )  # fmt: skip
    chain = seen.get("clerk", PAGE).json["why"]["chain"]
    assert [cause["text"] for cause in chain[-2:]] == [
        "It runs another stream that you may not see",
        "A person has to say what became of its job",
    ]
    assert seen.get("clerk", "dags/orders/dagRuns/run-107").json["why"]["chain"][-1]["text"] == (
        "It waits for another stream that you may not see"
    )
    assert (
        seen.get("clerk", f"{PAGE}/steps/hand/log").json["problem"] == "It tells of another stream that you may not see"
    )
    orphan = next(one for one in seen.get("clerk", "orphans").json["items"] if one["step"]["id"] == "hand")
    assert (orphan["system"], orphan["job_id"], orphan["job_name"]) == (
        "another stream that you may not see",
        None,
        None,
    )


def test_who_may_see_the_other_stream_is_led_to_it(seen: Served) -> None:
    hand = nodes(seen, "boss")["hand"]
    assert hand["sub_stream"] == {"dag_id": "takeover", "title": "Hostile takeover", "run_id": CHILD}
    assert (hand["run"]["job"]["hidden"], hand["run"]["job"]["job_id"]) == (False, CHILD)
    assert seen.get("boss", "dags/orders/dagRuns/run-107").json["why"]["chain"][-1]["text"] == (
        "It waits for “Hostile takeover”"
    )
    assert seen.get("boss", PAGE).json["outputs"]["hand"] == {
        "run_id": CHILD,
        "business_key": "TAKEOVER-2",
        "price": 12.5,
    }
    assert seen.get("boss", "dags/orders/dagRuns/run-108").json["params"]["orch.started_by"]["stream"] == "takeover"


def test_of_its_outputs_those_remain_that_the_template_itself_takes(seen: Served) -> None:
    for run in ("run-106", "run-107"):  # Airflow has the first, and has forgotten the second.
        page = f"dags/orders/dagRuns/{run}"
        assert seen.get("clerk", page).json["outputs"] == {"hand": {"price": 12.5}}
        assert [seen.get(user, page).json["outputs"] for user in ("auditor", "guest")] == [{}, {}]
        assert list(seen.get("boss", page).json["outputs"]) == ["hand", "other"]
        for user, values in (("clerk", 0), ("auditor", 0), ("guest", 0), ("boss", 3)):
            (split,) = [one for one in seen.get(user, page).json["decisions"] if one["step"]["id"] == "split"]
            assert (len(split["values"]), split["hidden"]) == (values, not values), "it looked at the hidden stream"


def test_the_run_of_a_hidden_stream_finds_no_parent(seen: Served) -> None:
    for run in (CHILD, GONE):
        assert seen.get("clerk", "instances", job=run).json["total"] == 0
        assert seen.get("clerk", "instances.csv", job=run).text.count("\r\n") == 1
        assert seen.get("boss", "instances", job=run).json["total"] == 1
    assert seen.get("clerk", "instances", job="08150001").json["total"] == 1


def test_events_stay_and_tell_nothing_of_it(seen: Served) -> None:
    events = {one["id"]: one for one in seen.get("clerk", "events", run_id="run-106", limit=500).json["items"]}
    bosss = seen.get("boss", "events", run_id="run-106", limit=500).json["items"]
    assert sorted(events) == sorted(one["id"] for one in bosss), "that something happened is no secret"
    hand = [one for one in events.values() if one["step"]["id"] == "hand"]
    assert {one["kind"] for one in hand} == {"sub_stream", "parked", "answered"}
    assert {(one["before"], one["after"], one["reason"]) for one in hand} == {
        (None, None, "another stream that you may not see")
    }
    split = next(one for one in events.values() if one["step"]["id"] == "split")
    assert (split["reason"], split["after"]) == (None, ["other"])


def test_values_need_the_right_to_what_steps_left(seen: Served) -> None:
    def decisions(user: str) -> dict[str, Any]:
        told = seen.get(user, "dags/orders/dagRuns/run-101").json["decisions"]
        return {one["step"]["id"]: one for one in told}

    assert decisions("clerk")["route"]["values"] == [{"name": "params.amount", "value": 500.0}]
    for user in ("guest", "auditor"):
        route = decisions(user)["route"]
        assert (route["values"], route["hidden"], route["chosen"]) == ([], True, ["post"])
        assert "500" not in json.dumps(route)
        assert "500.0" not in seen.get(user, "events", run_id="run-106").text
    assert "500.0" in seen.get("clerk", "events", run_id="run-106").text


def test_questions_need_the_right_to_required_actions(seen: Served) -> None:
    path = "dags/orders/dagRuns/run-102"
    assert seen.get("clerk", path).json["why"]["chain"][-1]["text"] == (
        "Ann can answer “Release ORD-000102?”: Approve, Reject"
    )
    for user in ("guest", "auditor"):
        told = seen.get(user, path)
        assert told.json["why"]["chain"][-1]["text"] == "Somebody has to answer in Airflow's Required Actions"
        assert "Release" not in told.text.replace("Release it", "")
        assert "Ann can" not in told.text
    asked = [one for one in seen.get("auditor", "events", run_id="run-106").json["items"] if one["kind"] == "asked"]
    assert [(one["reason"], one["after"]) for one in asked] == [(None, None)]
    assert "Release ORD-000106?" in seen.get("clerk", "events", run_id="run-106").text


def test_who_takes_a_resource_is_counted_only_as_far_as_one_sees(seen: Served) -> None:
    def told(user: str) -> str:
        return str(seen.get(user, "dags/orders/dagRuns/run-103").json["why"]["chain"][-1]["text"])

    assert told("boss") == "Resource “sap_batch” is used up, 4 slots of it by streams that you see; it wants 1 slot"
    assert told("clerk") == "Resource “sap_batch” is used up, 1 slot of it by streams that you see; it wants 1 slot"
