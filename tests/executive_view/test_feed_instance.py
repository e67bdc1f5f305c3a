"""One run told as an instance: items that failed, work that is undone, what Airflow has purged meanwhile.

How a user would notice that it is fake: a campaign whose letters were not printed stands there in green; goods are
still reserved because the job that gives them back is parked, and no list says so.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState
from airflow_enterprise_orch.delegation.control import CONTROL_KEY, with_hold, with_wish
from airflow_enterprise_orch.delegation.job import JobHandle, Phase
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import ledger_cell
from airflow_enterprise_orch.delegation.remote_note import RemoteNote
from airflow_enterprise_orch.executive_view.airflow_tables import LONGEST_OUTPUT, Facts, outputs_of
from airflow_enterprise_orch.executive_view.entries import entries
from airflow_enterprise_orch.executive_view.feed_instance import instance
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY, RULES, Decision
from airflow_enterprise_orch.value_stream.override_window import PROPOSAL_KEY, Proposal
from airflow_enterprise_orch.value_stream.wait_until import WAIT_KEY

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
PICTURE: dict[str, Any] = {
    "business": {"key": ""},
    "steps": [
        {"id": "reserve", "kind": "unix.script", "stack": "unix", "tasks": {"reserve--undo": "undo"},
         "undo": {"kind": "unix.script"}},
        {"id": "print", "kind": "unix.script", "stack": "unix",
         "tasks": {"print-items": "items", "print-each": "each"}},
        {"id": "ship", "kind": "sap.background_job", "stack": "sap"},
    ],
}  # fmt: skip


def task(name: str, state: str | None, index: int = -1, **more: Any) -> Any:
    moments = {"queued_dttm": NOW, "scheduled_dttm": NOW, "start_date": NOW - timedelta(minutes=5), "end_date": NOW}
    given = {"task_id": name, "map_index": index, "state": state, "try_number": 1, "max_tries": 1, **moments}
    return SimpleNamespace(**{**given, **more})


def told(
    *tasks: Any,
    before: Any = None,
    cells: Any = None,
    state: str = "running",
    notes: Any = None,
    picture: dict[str, Any] = PICTURE,
    outputs: Any = None,
    holds: Any = None,
) -> dict[str, Any]:
    run = SimpleNamespace(
        id=1, dag_id="orders", run_id="r", state=state, run_type="manual", triggering_user_name=None, conf={},
        run_after=NOW, logical_date=None, data_interval_start=None, data_interval_end=None, queued_at=NOW,
        start_date=NOW, end_date=NOW,
    )  # fmt: skip
    one = Facts(run, list(tasks), holds=holds)
    one.cells = defaultdict(dict, cells or {})
    one.notes = notes or {}
    one.outputs = outputs or {}
    return instance(one, picture, NOW, before)


def test_a_step_whose_item_failed_has_failed_though_its_own_task_was_not_reached() -> None:
    items = [task("print-each", state, index) for index, state in enumerate(("success", "failed", "success"))]
    row = told(task("print", "upstream_failed"), *items)
    assert row["steps"]["print"]["state"] == "failed"
    assert (row["failed_steps"], row["health"], row["current_step"]) == (1, "failed", "print")
    # Not reached at all: a step before it failed.
    assert told(task("print", "upstream_failed"), task("ship", "failed"))["steps"]["print"]["state"] == "blocked"


def test_work_that_is_being_undone_is_where_the_instance_stands() -> None:
    row = told(task("reserve", "success"), task("ship", "failed"), task("reserve--undo", "deferred"))
    assert (row["current_step"], row["waits_for"], row["failed_steps"]) == ("reserve", "remote_job", 1)
    assert row["steps"]["reserve"]["state"] == "success"
    undo = entries(row["steps"])["reserve"].undo
    assert undo is not None
    assert undo.state == "running"


def test_undoing_that_nobody_can_prove_waits_for_a_person() -> None:
    row = told(task("reserve", "success"), task("ship", "failed"), task("reserve--undo", "awaiting_input"))
    assert row["steps"]["reserve"]["undo"]["state"] == "parked"
    assert (row["parked"], row["waiting_people"], row["waits_for"]) == (1, 1, "person")


def test_undoing_that_failed_counts_and_one_that_had_nothing_to_do_is_not_told() -> None:
    failed = told(task("reserve", "success"), task("ship", "failed"), task("reserve--undo", "failed"), state="failed")
    assert failed["failed_steps"] == 2
    for state in (None, "skipped", "upstream_failed"):
        assert "undo" not in told(task("reserve", "success"), task("reserve--undo", state))["steps"]["reserve"]


def test_a_job_that_its_system_holds_makes_the_step_held() -> None:
    def at(note: RemoteNote | None, key: str = "K" * 20) -> str:
        out = Attempt(1, key, state=AttemptState.SUBMITTED, system="zosmf://a", handle=JobHandle(key, "JOB1"))
        cells = {("ship", -1): {ledger_cell(1): json.dumps(Ledger((out,)).to_json())}}
        row = told(task("ship", "deferred"), cells=cells, notes={("ship", -1): note} if note else {})
        assert row["waits_for"] == ("hold" if row["steps"]["ship"]["state"] == "held" else "remote_job")
        return str(row["steps"]["ship"]["state"])

    held = RemoteNote("K" * 20, Phase.HELD, "by the operator", NOW)
    assert at(held) == "held"
    assert at(None) == at(replace(held, phase=Phase.WAITING)) == at(replace(held, phase=Phase.RUNNING)) == "running"
    assert at(held, key="L" * 20) == "running", "the note is of an attempt before"


def test_a_step_with_a_list_is_held_when_all_that_is_under_way_is() -> None:
    keys = [name * 20 for name in "KL"]
    cells, notes = {}, {}
    for index, key in enumerate(keys):
        out = Attempt(1, key, state=AttemptState.SUBMITTED, system="zosmf://a", handle=JobHandle(key, "JOB1"))
        cells["print-each", index] = {ledger_cell(1): json.dumps(Ledger((out,)).to_json())}
        notes["print-each", index] = RemoteNote(key, Phase.HELD, "", NOW)
    items = [task("print-each", state, index) for index, state in enumerate(("deferred", "deferred", "success"))]
    assert told(*items, cells=cells, notes=notes)["steps"]["print"]["state"] == "held"
    del notes["print-each", 1]
    assert told(*items, cells=cells, notes=notes)["steps"]["print"]["state"] == "running"


def test_what_airflow_purged_of_a_run_that_stays_is_kept() -> None:
    over = Attempt(1, "K" * 20, state=AttemptState.CLOSED, system="ssh://a", verdict="warning", closed_by="system")
    cells = {("ship", -1): {ledger_cell(1): json.dumps(Ledger((over,)).to_json())}}
    before = told(task("ship", "success"), cells=cells, state="success")
    assert before["steps"]["ship"]["state"] == "warning"
    assert told(before=before, state="success")["steps"]["ship"] == before["steps"]["ship"]
    # Its store alone is gone.
    later = told(task("ship", "success"), before=before, state="success")
    assert later["steps"]["ship"] == before["steps"]["ship"]


def test_what_a_step_gave_is_kept_when_airflow_purged_it_and_not_when_the_step_began_anew() -> None:
    gave = {"ship": {"rc": 0}, "reserve--undo": {"rc": 4}}
    over = (task("ship", "success"), task("reserve", "success"))
    before = told(*over, outputs=gave)
    assert before["outputs"] == gave

    def later(*tasks: Any, **outputs: Any) -> Any:
        return told(*tasks, before=before, outputs=outputs)["outputs"]

    assert later() == later(*over) == gave, "Airflow purged all of the steps, or their XComs alone"
    assert later(*over, ship={"rc": 1}) == {**gave, "ship": {"rc": 1}}
    assert later(task("reserve", "success"), task("ship", None)) == {"reserve--undo": {"rc": 4}}
    anew = task("ship", "success", end_date=NOW + timedelta(minutes=1))
    assert later(anew, task("reserve", "running")) is None


def test_what_a_decision_looked_at_is_kept_when_airflow_purged_its_record_until_it_is_taken_anew() -> None:
    def decided(rate: float) -> Any:
        record = Decision("branch", "first", (), {"steps.ship.rate": rate}, ("otherwise",), RULES, NOW)
        return {("ship", -1): {DECISION_KEY: json.dumps(record.to_json())}}

    def values(row: Any) -> Any:
        return row["decisions"] and row["decisions"]["ship"]["values"]

    over = task("ship", "success")
    assert told(over)["decisions"] is None
    before = told(over, cells=decided(0.5))
    assert values(before) == {"steps.ship.rate": 0.5}
    assert json.loads(json.dumps(before["decisions"])) == before["decisions"], "else each look finds it changed"
    for later in (told(over, before=before), told(before=before)):
        assert values(later) == {"steps.ship.rate": 0.5}, "Airflow purged the record, or all of the step"
    assert values(told(over, before=before, cells=decided(0.7))) == {"steps.ship.rate": 0.7}
    assert values(told(over, cells=decided(float("nan")))) == {"steps.ship.rate": "NaN"}


def test_what_is_kept_of_an_output_is_what_a_page_can_tell() -> None:
    assert outputs_of({"rc": 0, "of": [1, "ä"], 7: None}) == {"rc": 0, "of": [1, "ä"], "7": None}
    assert outputs_of({"log": "x" * 5000}) == {"log": '"' + "x" * (LONGEST_OUTPUT - 1) + "..."}
    # No JSON: PostgreSQL would refuse it, and the feed with it.
    assert outputs_of({"rate": float("nan"), "of": [float("inf")]}) == {"rate": "NaN", "of": "[Infinity]"}
    assert outputs_of("no names") == outputs_of(None) == {}


def test_a_step_that_waits_for_a_moment_says_which_and_only_while_it_waits() -> None:
    kept = {("ship", -1): {WAIT_KEY: json.dumps({"version": 1, "until": "2026-03-10T18:00:00+01:00"})}}
    waits = entries(told(task("ship", "deferred"), cells=kept)["steps"])["ship"]
    assert waits.until == datetime(2026, 3, 10, 17, 0, tzinfo=UTC)
    assert entries(told(task("ship", "success"), cells=kept)["steps"])["ship"].until is None
    for broken in ("nonsense", "{}", '{"until": "18:00"}', '{"until": "2026-03-10T18:00:00"}'):
        cells = {("ship", -1): {WAIT_KEY: broken}}
        assert entries(told(task("ship", "deferred"), cells=cells)["steps"])["ship"].until is None


def test_a_step_that_was_cleared_is_open_again() -> None:
    before = told(task("ship", "skipped", try_number=0), state="success")
    cleared = told(task("ship", None, try_number=0, end_date=None, start_date=None), before=before)
    assert cleared["steps"]["ship"]["state"] == "open"


def test_a_branch_that_leaves_people_time_is_held_by_nobody_and_says_until_when() -> None:
    picture = {**PICTURE, "steps": [{"id": "route", "kind": "branch", "stack": "decisions"}]}
    until = NOW + timedelta(hours=2)
    proposal = Proposal(Decision("branch", "first", (), {}, (1,), RULES, NOW, chosen=("ship",)), until)
    cells: Any = {("route", -1): {PROPOSAL_KEY: json.dumps(proposal.to_json())}}
    row = told(task("route", "up_for_reschedule"), cells=cells, picture=picture)
    assert (row["steps"]["route"]["state"], row["waits_for"]) == ("running", "calendar")
    assert entries(row["steps"])["route"].until == until
    assert row["decisions"] is None, "nothing is decided"
    later = Decision("branch", "first", (), {}, (1,), RULES, NOW + timedelta(hours=3), chosen=("ship",))
    cells["route", -1][DECISION_KEY] = json.dumps(later.to_json())
    held = told(task("route", "up_for_reschedule"), cells=cells, picture=picture)
    assert (held["steps"]["route"]["state"], held["waits_for"]) == ("held", "hold"), "it went on from that proposal"


def test_a_branch_that_leaves_people_time_is_held_when_the_branch_itself_will_find_that_it_is() -> None:
    picture = {**PICTURE, "steps": [{"id": "route", "kind": "branch", "stack": "decisions"}]}
    until = NOW + timedelta(hours=2)
    proposal = Proposal(Decision("branch", "first", (), {}, (1,), RULES, NOW, chosen=("ship",)), until)
    wish = {"id": "k1", "by": "ann", "reason": "wait", "at": NOW.isoformat()}
    over = {**wish, "until": NOW.isoformat()}

    def state(own: Any = None, **held: Any) -> tuple[str, str]:
        kept = {PROPOSAL_KEY: json.dumps(proposal.to_json())}
        if own is not None:
            kept[CONTROL_KEY] = json.dumps(own)
        row = told(task("route", "up_for_reschedule"), cells={("route", -1): kept}, picture=picture, **held)
        return row["steps"]["route"]["state"], row["waits_for"]

    held, goes_on = ("held", "hold"), ("running", "calendar")
    assert state(with_wish(None, "hold", wish)) == held
    assert state(with_wish(None, "hold", over)) == goes_on, "that hold is over"
    assert state(holds=with_hold(None, "stream", "orders", wish)) == held
    assert state(holds=with_hold(None, "stream", "orders", over)) == goes_on
    for scope, name in (("stream", "claims"), ("system", "unix"), ("connection", "host")):
        assert state(holds=with_hold(None, scope, name, wish)) == goes_on, "no branch is of a system"
    assert state(holds={"version": 99}) == state({"version": 99}) == goes_on, "the branch stops there and says so"
