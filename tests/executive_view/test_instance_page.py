"""The page of one instance, from our tables and from Airflow's own.

How a user would notice that it is fake: the graph shows a path that was not taken, the decision has other values than
the step saw, or the remote job is not the one that the system runs.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from airflow_enterprise_orch.executive_view.turns import AT_ONCE
from tests.executive_view.served import Served


def page(view: Served, run: int, user: str = "clerk") -> dict[str, Any]:
    told = view.get(user, f"dags/orders/dagRuns/run-{run}")
    assert told.status == 200, told.text + view.errors()[-3000:]
    found: dict[str, Any] = told.json
    return found


def test_the_graph_shows_the_path_that_was_taken_and_the_one_that_was_not(view: Served) -> None:
    graph = page(view, 101)["graph"]
    assert [lane["title"] for lane in graph["lanes"]] == ["Mainframe", "Decisions", "People", "SAP"]
    assert {node["id"]: (node["column"], node["on_path"], node["run"]["state"]) for node in graph["nodes"]} == {
        "book": (0, True, "success"),
        "route": (1, True, "success"),
        "approve": (2, False, "skipped"),
        "post": (3, True, "running"),
    }
    assert {(edge["source"], edge["target"]): (edge["label"], edge["taken"]) for edge in graph["edges"]} == {
        ("book", "route"): (None, True),
        ("route", "approve"): ("params.amount > 10000.0", False),
        ("route", "post"): (None, True),
        ("approve", "post"): (None, False),
    }


def test_a_decision_is_told_with_its_values_and_who_had_it_otherwise(view: Served) -> None:
    (small,) = page(view, 101)["decisions"]
    assert (small["by"], small["chosen"], small["overridden"]) == ("the rules", ["post"], None)
    assert small["values"] == [{"name": "params.amount", "value": 500.0}]
    assert [(way["id"], way["title"], way["fired"]) for way in small["ways"]] == [
        ("1", "params.amount > 10000.0", False),
        ("otherwise", "otherwise", True),
    ]
    told = page(view, 102)
    (wanted,) = told["decisions"]
    assert wanted["overridden"] == {"by": "ann", "reason": "the customer is new", "instead": ["post"]}
    edges = {(edge["source"], edge["target"]): edge["taken"] for edge in told["graph"]["edges"]}
    assert edges["route", "approve"] is True
    assert edges["route", "post"] is False


def test_the_newest_remote_job_stands_at_its_step_and_all_are_listed(view: Served) -> None:
    told = page(view, 101)
    post = next(node for node in told["graph"]["nodes"] if node["id"] == "post")
    assert (post["run"]["job"]["job_id"], post["run"]["job"]["attempt"]) == ("08150001", 2)
    jobs = view.get("clerk", "dags/orders/dagRuns/run-101/jobs").json["steps"]
    assert jobs == [{**job, "step": None} for job in told["jobs"]]
    assert [job["step"]["title"] for job in told["jobs"]] == ["Book it", "Post it"]
    book, at_sap = jobs
    assert "no ledger of delegated jobs" in book["problem"]
    assert [(job["job_id"], job["state"], job["verdict"], job["code"], job["rc"]) for job in at_sap["jobs"]] == [
        ("08150000", "closed", "failure", "CC 0012", 12),
        ("08150001", "submitted", None, None, None),
    ]
    assert [(job["phase"], job["reason"]) for job in at_sap["jobs"]] == [
        (None, None),
        ("waiting", "no free work process"),
    ]
    assert [job["link"] for job in at_sap["jobs"]] == [
        f"https://erp.example/jobs?id={number}&name=ZPOST" for number in ("08150000", "08150001")
    ]
    assert [job["link"] for job in told["jobs"][1]["jobs"]] == [job["link"] for job in at_sap["jobs"]]


def test_it_says_why_it_is_late_down_to_the_remote_job(view: Served) -> None:
    why = page(view, 101)["why"]
    assert why["level"] == "problem"
    assert why["headline"].startswith("ORD-000101 is late by ")
    assert [cause["kind"] for cause in why["chain"]] == ["stream", "step", "remote_job"]
    assert why["chain"][2]["job"]["job_id"] == "08150001"
    assert why["chain"][2]["text"] == "Job ZPOST 08150001 waits over there, on sap://erp: no free work process"


def test_it_says_who_can_answer_what(view: Served) -> None:
    told = page(view, 102)
    assert told["why"]["chain"][-1]["text"] == "Ann can answer “Release ORD-000102?”: Approve, Reject"
    assert {"title": "Required Actions", "href": "/dags/orders/runs/run-102/required_actions"} in told["links"]


def test_the_timeline_has_plan_actual_and_forecast_on_its_path(view: Served) -> None:
    told = page(view, 102)["timeline"]
    assert told["history"] == 24
    bars = {bar["step"]["id"]: bar for bar in told["bars"]}
    assert list(bars) == ["book", "route", "approve", "post"]
    assert bars["book"]["end"] is not None
    assert bars["book"]["forecast_end"] is None
    post = bars["post"]
    assert post["start"] is None
    assert bars["approve"]["plan_end"] <= post["plan_start"], "it comes after the approval, also in the plan"
    assert told["now"] < post["forecast_start"] < post["forecast_end"] <= post["forecast_end_p90"] <= told["end"]
    taken = datetime.fromisoformat(post["forecast_end"]) - datetime.fromisoformat(post["forecast_start"])
    assert 12 * 60 <= taken.total_seconds() <= 15 * 60
    assert [bar["step"]["id"] for bar in page(view, 101)["timeline"]["bars"]] == ["book", "route", "post"]


def test_what_it_began_with_and_what_its_steps_gave(view: Served) -> None:
    told = page(view, 101)
    assert told["params"] == {"order_id": "ORD-000101", "amount": 20000.0}
    assert told["outputs"] == {"book": {"rc": 0, "credit_class": "B"}}
    assert told["gone"] is False


def test_one_that_airflow_has_forgotten_is_told_from_our_own_history(view: Served) -> None:
    told = page(view, 4)
    assert (told["gone"], told["links"], told["instance"]["state"]) == (True, [], "success")
    assert [node["on_path"] for node in told["graph"]["nodes"]] == [True, True, True, True]
    (decision,) = told["decisions"]
    assert (decision["chosen"], decision["by"], decision["values"]) == (["approve"], "the rules", [])
    assert [way["fired"] for way in decision["ways"]] == [True, False]
    assert decision["problem"] == "Airflow has deleted the record: the values that were seen are gone"
    (decision,) = page(view, 8)["decisions"]
    assert decision["values"] == [{"name": "params.amount", "value": 20000.0}], "since its record is kept, too"
    assert decision["sentence"].startswith("Goes on with “Approve it”: rule 1 holds")
    assert (decision["problem"], decision["at"] is not None) == (None, True)
    (decision,) = page(view, 8, "guest")["decisions"]
    assert (decision["values"], decision["hidden"], decision["chosen"]) == ([], True, ["approve"])
    assert told["outputs"] == {"book": {"rc": 0, "credit_class": "A"}}
    assert page(view, 4, "guest")["outputs"] == {}, "what steps gave is for those who may see XComs"
    assert told["why"]["chain"][1]["text"] == "“Approve it” took longest, 1h"
    jobs = view.get("clerk", "dags/orders/dagRuns/run-2/jobs").json["steps"]
    (job,) = [job for step in jobs for job in step["jobs"]]
    assert (job["job_id"], job["code"], job["rc"]) == ("08150002", "status F", 1)
    assert job["parked"] == "Did ZPOST 08150002 succeed?"
    (kept,) = view.get("auditor", "dags/orders/dagRuns/run-2/jobs").json["steps"][0]["jobs"]
    assert kept["parked"] is None, "what was asked is for those who may see Required Actions"


@pytest.mark.parametrize("path", ["dags/orders/dagRuns/none", "dags/orders/dagRuns/none/jobs"])
def test_what_is_not_there_is_said_in_one_line(view: Served, path: str) -> None:
    told = view.get("clerk", path)
    assert (told.status, told.headers["content-type"]) == (404, "application/problem+json")
    assert "'none'" in told.json["detail"]


def test_nothing_is_sent_again_within_its_ten_seconds(view: Served) -> None:
    for _ in range(3):
        first = view.get("clerk", "dags/orders/dagRuns/run-4")
        again = view.get("clerk", "dags/orders/dagRuns/run-4", headers={"If-None-Match": first.headers["etag"]})
        if first.headers["x-as-of"] == again.headers["x-as-of"]:
            assert again.status == 304
            return
    raise AssertionError("three times the moment changed between two requests")


def test_the_end_of_a_steps_log_is_shown_and_nothing_of_another_try(view: Served) -> None:
    path = "dags/orders/dagRuns/run-101/steps/post/log"
    file = view.home / "logs" / "dag_id=orders" / "run_id=run-101" / "task_id=post" / "attempt=1.log"
    file.parent.mkdir(parents=True)
    lines = [{"timestamp": f"2026-11-24T05:00:{n:02}Z", "level": "info", "event": f"line {n}"} for n in range(30)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = view.get("clerk", path, lines=2).json
    assert (told["lines"], told["cut"], told["problem"]) == (["05:00:28 line 28", "05:00:29 line 29"], True, None)
    whole = view.get("clerk", path).json
    assert (len(whole["lines"]), whole["lines"][0], whole["cut"]) == (30, "05:00:00 line 0", False)
    assert view.get("clerk", path, try_number=7).status == 404
    none = view.get("clerk", "dags/orders/dagRuns/run-102/steps/approve/log").json
    assert (none["lines"], none["problem"]) == ([], "Airflow has no log of it, or not yet")


def test_a_log_that_may_be_far_away_is_read_in_nobodys_turn(view: Served) -> None:
    view.do("free_turns")
    assert view.get("clerk", "dags/orders/dagRuns/run-102/steps/approve/log").status == 200
    free = view.do("free_turns")
    assert len(free) == 2
    assert free == [AT_ONCE] * 2
