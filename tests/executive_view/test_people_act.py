"""What actions write, at each phase of a step: on real tables of Airflow's, by its own functions, with FAB's roles.

How a user would notice that it is fake: the button says "skipped" and the step runs; a clerk who may only look can
hold; the same click twice makes two of it; the audit trail does not say who; an override delivers a second certificate.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.executive_view.acting import REASON, Instance
from tests.executive_view.served import Served

AHEAD: dict[str, Any] = {}
AT_WORK = {"book": "deferred"}
# ship is at work; the branch went to pack
SHIPPING = {
    "book": "success", "route": "success", "approve": "skipped", "notify": "skipped", "pack": "success",
    "label": "success", "ship": "deferred",
}  # fmt: skip
# all is over
SHIPPED = {**SHIPPING, "ship": "success", "certify": "success", "tell": "success"}


# Hold and release.


@pytest.mark.parametrize("state", [None, "scheduled", "queued", "up_for_reschedule", "up_for_retry"])
def test_a_step_that_has_not_begun_is_held_and_nothing_else_of_it_is_touched(acting: Served, state: str | None) -> None:
    one = Instance(acting, states={"book": state})
    before = one.look()["states"]
    told = one.does("hold", "book", until="2099-01-01T06:00:00Z")
    assert told["effects"][0]["what"] == "held"
    assert told["sentence"].startswith("“Book it” is held until 2099-01-01 06:00 UTC")
    wish = one.look()["wishes"]["book"]["hold"]
    assert (wish["by"], wish["reason"], wish["until"]) == ("boss", REASON, "2099-01-01T06:00:00+00:00")
    assert one.look()["states"] == before, "no worker begins for that"


@pytest.mark.parametrize("state", ["running", "deferred", "success", "failed", "skipped", "upstream_failed"])
def test_a_step_that_has_begun_or_is_over_cannot_be_held(acting: Served, state: str) -> None:
    one = Instance(acting, states={"book": state})
    assert "“Book it” cannot be held" in one.refuses("hold", "book")


def test_a_release_wakes_what_is_held_at_once(acting: Served) -> None:
    one = Instance(acting, states={"book": "up_for_reschedule"})
    one.does("hold", "book")
    asked = datetime.now(UTC)
    assert datetime.fromisoformat(one.look()["looks"]["book"]) <= asked, "it looks by what moment it is held now"
    told = one.does("release", "book")
    assert told["effects"][0]["what"] == "released"
    after = one.look()
    assert "hold" not in after["wishes"]["book"]
    assert after["wishes"]["book"]["past"][0]["taken_back"]["by"] == "boss"
    assert asked <= datetime.fromisoformat(after["looks"]["book"]) <= datetime.now(UTC) + timedelta(seconds=1)
    assert "is not held" in one.refuses("release", "book")


def test_what_is_held_with_others_is_not_released_alone(acting: Served) -> None:
    one = Instance(acting, states={"book": "up_for_reschedule"})
    hold = {"scope": "connection", "name": "host", "by": "ann", "reason": "the host is moved"}
    acting.do("holds", value={"version": 1, "holds": [hold]})
    try:
        line = one.refuses("release", "book")
        assert line == "“Book it” is held with others, by ann (the host is moved): release that hold"
    finally:
        acting.do("holds", value={"version": 1, "holds": []})


def test_a_job_that_is_out_there_is_held_where_its_system_can(acting: Served) -> None:
    one = Instance(acting, "closing", states={"post": "deferred"})
    one.job("post")
    told = one.does("hold", "post", until="2099-01-01T06:00:00Z")
    assert told["sentence"] == (
        "“post”: the hold of its job is asked of its system until 2099-01-01 06:00 UTC; a job that has started goes on."
    )
    after = one.look()
    assert after["wishes"]["post"]["hold"]["until"] == "2099-01-01T06:00:00+00:00"
    assert after["states"]["post"] is None, "its next try asks for it"
    acting.do("put", dag_id="closing", run_id=one.run_id, states={"post": "deferred"})
    one.does("release", "post")
    after = one.look()
    assert after["wishes"]["post"]["past"][0]["taken_back"]["by"] == "boss"
    assert after["states"]["post"] is None, "its next try lets it go"


def test_what_an_operator_holds_over_there_is_released_after_a_confirmation(acting: Served) -> None:
    one = Instance(acting, "closing", states={"post": "deferred"})
    one.job("post")
    line = one.refuses("release", "post")
    assert "to be confirmed first" in line
    assert "is released, whoever holds it over there" in line
    one.does("release", "post", confirm=["release:post:-1"])
    assert one.wish("post", "release")["at"]
    ship = Instance(acting, states=SHIPPING)
    ship.job("ship")
    assert "its system cannot hold a job" in ship.refuses("hold", "ship")
    assert "is not held" in ship.refuses("release", "ship")


def test_an_instance_is_held_as_a_whole_and_only_what_has_not_begun(acting: Served) -> None:
    one = Instance(acting, states=SHIPPING)
    told = one.does("hold")
    assert sorted(one.look()["wishes"]) == ["certify", "tell"]
    assert [effect["step"]["id"] for effect in told["effects"]] == ["certify", "tell"]
    one.does("release")
    assert all("hold" not in wishes for wishes in one.look()["wishes"].values())


# Skip, complete, cancel.


@pytest.mark.parametrize("action", ["skip", "complete", "cancel"])
@pytest.mark.parametrize("state", [None, "scheduled", "queued"])
def test_a_step_that_has_not_begun_ends_when_its_turn_comes(acting: Served, state: str | None, action: str) -> None:
    one = Instance(acting, states={"book": state})
    outputs = {"total": 7} if action == "complete" else {}
    one.does(action, "book", outputs=outputs)
    wish = one.look()["wishes"]["book"][action]
    assert wish.get("value", {}) == outputs
    assert one.look()["states"]["book"] == state


@pytest.mark.parametrize("action", ["skip", "complete", "cancel"])
@pytest.mark.parametrize("state", ["running", "deferred", "up_for_retry", "awaiting_input"])
def test_a_step_at_work_is_made_to_look_by_a_clear_of_it_alone(acting: Served, state: str, action: str) -> None:
    one = Instance(acting, states={**SHIPPING, "ship": state})
    one.job("ship")
    told = one.does(action, "ship")
    states = one.look()["states"]
    assert states["ship"] == ("restarting" if state == "running" else None)
    assert {name: states[name] for name in SHIPPING if name != "ship"} == {
        name: SHIPPING[name] for name in SHIPPING if name != "ship"
    }
    assert action in one.look()["wishes"]["ship"]
    assert "the end of JOB-ship on ssh://host is asked for" in told["effects"][0]["text"]


def test_a_skip_tells_which_steps_do_not_run_because_of_it(acting: Served) -> None:
    one = Instance(acting, states=SHIPPING)
    preview = one.ask("skip", "ship", at="/preview").json
    told = [(effect["step"]["id"], effect["what"]) for effect in preview["effects"]]
    assert ("certify", "not_run") in told and ("tell", "not_run") in told
    both = Instance(acting, states={"book": "success", "route": "success", "approve": "skipped", "notify": "skipped"})
    preview = both.ask("skip", "label", at="/preview").json
    assert {effect["step"]["id"] for effect in preview["effects"]} == {"label", "ship", "certify", "tell"}


def test_what_a_completed_step_must_leave_is_asked_for_by_name_and_type(acting: Served) -> None:
    one = Instance(acting, states=AT_WORK)
    assert "give a value for total (integer)" in one.refuses("complete", "book")
    assert "which is no integer" in one.refuses("complete", "book", outputs={"total": "7"})
    assert "did you mean 'total'" in one.refuses("complete", "book", outputs={"totals": 7, "total": 1})
    one.does("complete", "book", outputs={"total": 7, "rc": 4, "outcome": "warning"})
    assert one.look()["wishes"]["book"]["complete"]["value"] == {"total": 7, "rc": 4, "outcome": "warning"}


def test_to_leave_a_job_alone_is_confirmed_by_its_own(acting: Served) -> None:
    one = Instance(acting, states={**SHIPPING})
    one.job("ship")
    line = one.refuses("skip", "ship", leave_job=True)
    assert line == "to be confirmed first: JOB-ship on ssh://host is left alone, and I take it to be over"
    preview = one.ask("skip", "ship", leave_job=True, at="/preview").json
    assert "JOB-ship on ssh://host goes on, and nobody waits for it" in preview["cannot_be_undone"][0]
    one.does("skip", "ship", leave_job=True, confirm=[preview["confirmations"][0]["token"]])
    assert one.look()["wishes"]["ship"]["skip"]["leave_job"] is True
    assert "is not left alone" in one.refuses("cancel", "ship", leave_job=True)


@pytest.mark.parametrize("action", ["skip", "complete", "cancel"])
@pytest.mark.parametrize("state", ["success", "skipped", "upstream_failed"])
def test_what_is_over_does_not_end_another_way(acting: Served, state: str, action: str) -> None:
    one = Instance(acting, states={**SHIPPED, "tell": state})
    assert "cannot be" in one.refuses(action, "tell")


@pytest.mark.parametrize("action", ["skip", "complete", "retry"])
def test_behind_a_step_that_failed_the_instance_goes_on(acting: Served, action: str) -> None:
    failed = {**SHIPPING, "ship": "failed", "certify": "upstream_failed", "tell": "upstream_failed"}
    one = Instance(acting, states=failed)
    one.job("ship", "failure")
    acting.do("put", dag_id="orders", run_id=one.run_id, states={}, run="failed")
    acting.do("feed")
    told = one.does(action, "ship")
    states = one.look()
    assert {name: states["states"][name] for name in ("ship", "certify", "tell")} == {
        "ship": None, "certify": None, "tell": None,
    }  # fmt: skip
    assert states["run"] == "queued"
    assert states["states"]["label"] == "success"
    assert {effect["step"]["id"] for effect in told["effects"] if effect["what"] == "runs"} == {"certify", "tell"}


def test_a_step_that_failed_is_not_cancelled_unless_its_job_may_be_out_there(acting: Served) -> None:
    failed = {**SHIPPING, "ship": "failed", "certify": "upstream_failed", "tell": "upstream_failed"}
    one = Instance(acting, states=failed)
    assert "cannot be cancelled: it failed" in one.refuses("cancel", "ship")
    one.job("ship")
    one.does("cancel", "ship")
    assert one.look()["states"]["ship"] is None
    assert one.look()["states"]["certify"] == "upstream_failed", "a cancelled step fails; nothing goes on"


# Retry, restart and their guards.


def test_a_step_that_is_tried_again_later_is_tried_again_now(acting: Served) -> None:
    one = Instance(acting, states={"book": "up_for_retry"})
    one.does("retry", "book")
    assert one.look()["states"]["book"] is None


def test_a_restart_runs_the_step_and_all_behind_it_and_nothing_before(acting: Served) -> None:
    one = Instance(acting, states={**SHIPPED, "certify": None, "tell": None})
    for name in ("pack", "label", "ship"):
        one.job(name, "success")
    preview = one.ask("restart", "label", at="/preview").json
    assert preview["allowed"], preview
    assert [effect["step"]["id"] for effect in preview["effects"]] == ["label", "ship"]
    assert len(preview["cannot_be_undone"]) == 2
    one.does("restart", "label", version=preview["version"])
    states = one.look()["states"]
    assert (states["pack"], states["label"], states["ship"], states["certify"]) == ("success", None, None, None)


def test_what_must_never_run_again_stops_a_restart_before_it(acting: Served) -> None:
    one = Instance(acting, states=SHIPPED)
    line = one.refuses("restart", "ship")
    assert "“certify” is never run again by an action: its template says restart: never" in line


def test_what_is_to_be_asked_before_it_runs_again_is_confirmed_by_name(acting: Served) -> None:
    one = Instance(acting, states=SHIPPED)
    assert "“tell” may run again" in one.refuses("restart", "tell")
    one.does("restart", "tell", confirm=["restart:tell"])
    states = one.look()["states"]
    assert (states["tell"], states["certify"]) == (None, "success")


def test_items_that_failed_are_tried_again_and_the_others_are_not(acting: Served) -> None:
    states = {
        "reserve": "success", "pay-items": "success", "pay-each[0]": "success", "pay-each[1]": "failed",
        "pay-each[2]": "success", "pay": "upstream_failed", "close": "upstream_failed",
    }  # fmt: skip
    one = Instance(acting, "claims", states=states)
    one.does("retry", "pay")
    after = one.look()["states"]
    assert (after["pay-each[0]"], after["pay-each[1]"], after["pay-each[2]"]) == ("success", None, "success")
    assert (after["pay"], after["close"], after["pay-items"]) == (None, None, "success")


def test_one_item_is_skipped_or_completed_by_its_number(acting: Served) -> None:
    states = {
        "reserve": "success", "pay-items": "success", "pay-each[0]": "deferred", "pay-each[1]": "deferred",
    }  # fmt: skip
    one = Instance(acting, "claims", states=states)
    assert "complete its items one by one" in one.refuses("complete", "pay")
    assert one.refuses("skip", "pay", map_index=7) == "step 'pay' has no item 8"
    one.does("skip", "pay", map_index=1)
    after = one.look()
    assert (after["states"]["pay-each[0]"], after["states"]["pay-each[1]"]) == ("deferred", None)
    assert list(after["wishes"]) == ["pay-each[1]"]
    one.does("cancel", "pay")
    assert one.look()["states"]["pay-each[0]"] is None


def test_nothing_runs_on_work_that_is_undone(acting: Served) -> None:
    states = {
        "reserve": "success", "pay-items": "success", "pay-each[0]": "failed", "pay": "upstream_failed",
        "close": "upstream_failed", "reserve--failure": "success", "reserve--settled": "success",
        "reserve--undo": "success", "stream--end": "upstream_failed",
    }  # fmt: skip
    one = Instance(acting, "claims", states=states)
    for action in ("retry", "skip"):
        line = one.refuses(action, "pay", map_index=0)
        assert "what “reserve” did is undone, or is being" in line
        assert line.endswith("restart the instance at “reserve”")
    one.does("restart", "reserve")
    assert one.look()["states"]["reserve"] is None


def test_a_cancel_tells_what_the_stream_would_undo(acting: Served) -> None:
    one = Instance(acting, "claims", states={"reserve": "success", "pay-items": "success", "pay-each[0]": "deferred"})
    preview = one.ask("cancel", "pay", at="/preview").json
    assert preview["compensations"] == ["“reserve” is undone once nothing that comes after it is at work"]


# Overrides.


def test_a_branch_is_told_its_way_before_it_decides(acting: Served) -> None:
    one = Instance(acting, states={"book": "deferred"})
    one.does("override", "route", targets=["approve"])
    assert one.look()["wishes"]["route"]["override"]["targets"] == ["approve"]
    assert one.look()["states"]["route"] is None
    assert "choose some of approve, pack" in one.refuses("override", "route", targets=["ship"])
    assert "choose some of approve, pack" in one.refuses("override", "route")


def test_an_override_after_the_fact_runs_only_what_is_gained_and_delivers_nothing_twice(acting: Served) -> None:
    one = Instance(acting, states=SHIPPED)
    for name in ("pack", "label", "certify"):
        one.job(name, "success")
    acting.do("decided", dag_id="orders", run_id=one.run_id, step="route", chosen=["pack"])
    acting.do("put", dag_id="orders", run_id=one.run_id, states={}, run="success")
    acting.do("feed")
    preview = one.ask("override", "route", targets=["approve"], at="/preview").json
    assert preview["allowed"], preview
    told = {(effect["step"]["id"], effect["what"]) for effect in preview["effects"]}
    assert told == {
        ("route", "changed"), ("approve", "runs"), ("notify", "runs"), ("pack", "stays"), ("label", "stays"),
    }  # fmt: skip
    assert len(preview["cannot_be_undone"]) == 2
    one.does("override", "route", targets=["approve"], version=preview["version"])
    after = one.look()
    for name in ("route", "approve", "notify"):
        assert after["states"][name] is None, name
    for name in ("pack", "label", "ship", "certify", "tell"):
        assert after["states"][name] == "success", name
    assert after["run"] == "queued"
    (event,) = [event for event in one.events() if event["kind"] == "override_asked"]
    assert (event["before"], event["after"]["chosen"]) == ({"chosen": ["pack"]}, ["approve"])


def test_what_is_at_work_on_the_way_that_is_left_must_end_first(acting: Served) -> None:
    one = Instance(acting, states={**SHIPPING, "label": "deferred", "ship": None})
    one.job("label")
    acting.do("decided", dag_id="orders", run_id=one.run_id, step="route", chosen=["pack"])
    line = one.refuses("override", "route", targets=["approve"])
    assert "“label” lies on the way that is left and it is at work (JOB-label on ssh://host)" in line


def test_what_has_not_begun_on_the_way_that_is_left_is_skipped_and_what_failed_there_holds_nothing_up(
    acting: Served,
) -> None:
    one = Instance(acting, states={**SHIPPING, "pack": "failed", "label": "upstream_failed", "ship": "upstream_failed"})
    acting.do("decided", dag_id="orders", run_id=one.run_id, step="route", chosen=["pack"])
    one.does("override", "route", targets=["approve"])
    after = one.look()
    assert {name for name, wishes in after["wishes"].items() if "skip" in wishes} == {"pack", "label"}
    for name in ("route", "approve", "notify", "pack", "label", "ship"):
        assert after["states"][name] is None, name


# What is ahead: params, priority, due time; acknowledgement.


def test_params_change_for_what_has_not_begun_and_by_the_rules_of_the_stream(acting: Served) -> None:
    one = Instance(acting, states={"book": "deferred"}, amount=5.0)
    assert "the stream does not take that" in one.refuses("params", params={"amount": -1})
    assert "has no param colour" in one.refuses("params", params={"colour": "red"})
    assert "order is part of what the instance is called" in one.refuses("params", params={"order": "other"})
    one.does("params", params={"amount": 500.0})
    assert one.look()["conf"] == {"order": one.key, "amount": 500.0}
    (event,) = [event for event in one.events() if event["kind"] == "params"]
    assert (event["before"], event["after"]["params"]) == ({"params": {"amount": 5.0}}, {"amount": 500.0})


def test_a_priority_counts_for_what_has_not_begun(acting: Served) -> None:
    one = Instance(acting, states=SHIPPING)
    before = one.look()["weights"]
    one.does("priority", priority=900)
    after = one.look()["weights"]
    assert (after["certify"], after["tell"]) == (900, 900)
    assert after["ship"] == before["ship"]


def test_a_due_time_is_changed_the_first_one_is_kept_and_airflow_watches_the_new_one(acting: Served) -> None:
    one = Instance(acting, states=AT_WORK)
    row = acting.get("boss", "instances", q=one.key).json["items"][0]
    due = (datetime.now(UTC) + timedelta(hours=9)).replace(microsecond=0)
    one.does("due", due_at=due.isoformat())
    for _ in range(2):  # at once, and after the feed has looked again
        now = acting.get("boss", "instances", q=one.key).json["items"][0]
        assert datetime.fromisoformat(now["due_at"]) == due
        assert now["first_due_at"] == row["due_at"]
        acting.do("put", dag_id="orders", run_id=one.run_id, states={"book": "success"})
        acting.do("feed")


def test_whoever_looks_after_an_instance_says_so_and_takes_it_back(acting: Served) -> None:
    one = Instance(acting, states=AT_WORK)
    one.does("acknowledge")
    row = acting.get("boss", "instances", q=one.key).json["items"][0]
    assert row["acknowledged"]["by"] == "boss"
    assert "acknowledged already, by boss" in one.refuses("acknowledge")
    one.does("unacknowledge")
    assert acting.get("boss", "instances", q=one.key).json["items"][0]["acknowledged"] is None


# Once, in order, by whom, and by nobody else.


def test_the_same_id_again_changes_nothing_and_is_answered_alike(acting: Served) -> None:
    one = Instance(acting, states=AHEAD)
    body = {"id": "click-0001", "action": "hold", "step": "book", "reason": REASON}
    first, second = (acting.post("boss", one.path, body) for _ in range(2))
    assert (first.status, second.status) == (200, 200)
    assert second.json["replayed"] is True and first.json["replayed"] is False
    assert second.json["sentence"] == first.json["sentence"]
    assert len([event for event in one.events() if event["kind"] == "hold"]) == 1
    other = acting.post("boss", one.path, {**body, "action": "skip"})
    assert other.status == 422 and "was used for another action" in other.json["detail"]


def test_who_was_not_fast_enough_is_told_and_changes_nothing(acting: Served) -> None:
    one = Instance(acting, states=AHEAD)
    version = one.ask("hold", "book", at="/preview").json["version"]
    one.does("skip", "book")
    assert "has changed since you looked" in one.refuses("hold", "book", status=409, version=version)


def test_each_action_is_told_in_the_audit_trail_and_in_the_log_of_airflow(acting: Served) -> None:
    one = Instance(acting, states=AHEAD)
    one.does("hold", "book")
    (event,) = [event for event in one.events() if event["kind"] == "hold"]
    assert (event["actor"], event["reason"], event["task_id"]) == ("boss", REASON, "book")
    assert event["after"]["asked"] == {"action": "hold", "step": "book"}
    assert one.look()["log"][-1] == ["enterprise_orch.hold", "boss", "book", REASON]
    told = acting.get("boss", "events", stream="orders", run_id=one.run_id).json["items"]
    assert [(row["kind"], row["actor"], row["reason"]) for row in told if row["kind"] == "hold"] == [
        ("hold", "boss", REASON)
    ]


@pytest.mark.parametrize("at", ["", "/preview"])
def test_who_may_look_and_not_act_is_refused_and_who_may_not_look_finds_nothing(acting: Served, at: str) -> None:
    one = Instance(acting, states=AHEAD)
    told = one.ask("hold", "book", user="viewer", at=at)
    assert told.status == 403
    assert "you may see 'orders', and not act on it" in told.json["detail"]
    assert one.ask("hold", "book", user="clerk", at=at).status == 404
    assert one.ask("hold", "book", user="", at=at).status == 401
    assert one.look()["wishes"] == {}
    offers = acting.get("viewer", one.path).json
    assert (offers["may_act"], offers["instance"], offers["steps"]) == (False, [], {})
    assert acting.get("clerk", one.path).status == 404
    claim = Instance(acting, "claims")
    assert claim.ask("hold", "reserve", user="clerk").status == 200


@pytest.mark.parametrize("reason", ["", "  ", "no"])
def test_no_action_without_a_reason(acting: Served, reason: str) -> None:
    one = Instance(acting, states=AHEAD)
    body = {"id": "without-reason", "action": "hold", "step": "book", "reason": reason}
    assert acting.post("boss", one.path, body).status == 422


def test_what_is_offered_is_what_is_not_refused(acting: Served) -> None:
    failed = {**SHIPPING, "ship": "failed", "certify": "upstream_failed", "tell": "upstream_failed"}
    one = Instance(acting, states=failed)
    offers = acting.get("boss", one.path).json
    of_ship = {offer["action"]: offer for offer in offers["steps"]["ship"]}
    assert {name for name, offer in of_ship.items() if offer["allowed"]} == {"skip", "complete", "retry", "restart"}
    assert of_ship["hold"]["why_not"].startswith("“ship” cannot be held: it failed")
    of_route = {offer["action"]: offer for offer in offers["steps"]["route"]}
    assert "complete" not in of_route
    assert [target["id"] for target in of_route["override"]["targets"]] == ["approve", "pack"]
    assert of_ship["complete"]["outputs"] == {}
    of_book = {offer["action"]: offer for offer in offers["steps"]["book"]}
    assert of_book["complete"]["outputs"] == {"total": "integer"}
    assert {offer["action"] for offer in offers["instance"]} == {
        "hold", "release", "cancel", "retry", "params", "priority", "due", "acknowledge",
    }  # fmt: skip


def test_a_paused_stream_is_told(acting: Served) -> None:
    one = Instance(acting, states={"book": "failed"})
    acting.do("pause", dag_id="orders", paused=True)
    try:
        assert "paused in Airflow" in one.ask("retry", "book", at="/preview").json["sentence"]
    finally:
        acting.do("pause", dag_id="orders", paused=False)
