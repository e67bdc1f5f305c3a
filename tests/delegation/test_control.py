"""People's wishes: obeyed when they are signed and clear, refused loudly otherwise, never ignored."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import Variable
from fakes import START

from airflow_enterprise_orch.delegation.control import (
    MOST_PAST,
    WISHES,
    ControlBroken,
    Wish,
    Wishes,
    control_digest,
    read_holds,
    read_variable,
    read_wishes,
    with_hold,
    with_wish,
    without_hold,
    without_wish,
)

SIGNED = {"by": "maria", "reason": "month end"}
FULL = {**SIGNED, "id": "k1", "at": START.isoformat()}
SAYS = {
    "override": {"targets": ["approve"]},
    "restart_at": {"point": "STEP3"},
    "complete": {"value": {"rc": 0}},
}


def full(what: str, wish_id: str = "k1", **more: Any) -> dict[str, Any]:
    return {**FULL, "id": wish_id, **SAYS.get(what, {}), **more}


def wishes(control: object = None, holds: object = None) -> Wishes:
    return read_wishes(control, holds, stream="orders", system="mainframe", connection="zos_prod", now=START)


def held(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "holds": list(entries)}


def test_nothing_is_wished_for() -> None:
    assert wishes() == Wishes()
    assert wishes({"version": 1}, {"version": 1}) == Wishes()


@pytest.mark.parametrize(("scope", "name"), [("stream", "orders"), ("system", "mainframe"), ("connection", "zos_prod")])
def test_a_hold_of_each_scope_reaches_the_step(scope: str, name: str) -> None:
    hold = wishes(None, held({"scope": scope, "name": name, **SIGNED})).hold
    assert str(hold) == "hold by maria: month end"
    assert wishes(None, held({"scope": scope, "name": "another", **SIGNED})).hold is None


def test_a_hold_ends_by_itself() -> None:
    before, after = START - timedelta(seconds=1), START + timedelta(seconds=1)
    for until, holds in ((before, False), (START, False), (after, True)):
        entry = {**SIGNED, "until": until.isoformat()}
        assert (wishes({"version": 1, "hold": entry}).hold is not None) is holds
        assert (wishes(None, held({"scope": "stream", "name": "orders", **entry})).hold is not None) is holds


def test_an_expired_hold_does_not_hide_another() -> None:
    past = {**SIGNED, "until": (START - timedelta(hours=1)).isoformat()}
    entries = held({"scope": "stream", "name": "orders", **past}, {"scope": "system", "name": "mainframe", **SIGNED})
    assert wishes({"version": 1, "hold": past}, entries).hold is not None


def test_skip_and_override_are_read() -> None:
    found = wishes({"version": 1, "skip": SIGNED, "override": {**SIGNED, "targets": ["approve"]}})
    assert found.skip is not None
    assert found.override is not None
    assert found.override.targets == ("approve",)


@pytest.mark.parametrize(
    ("control", "holds", "line"),
    [
        ("x", None, "task state store key 'orch.control' is no control record of version 1 or 2"),
        ({"version": 3}, None, "task state store key 'orch.control' is no control record of version 1 or 2"),
        ({"version": 2, "pause": FULL}, None, "pause: no wish is called that; correct or delete it"),
        ({"version": 2, "skip": SIGNED}, None, "skip lacks id, at; correct or delete it"),
        ({"version": 2, "skip": {**FULL, "until": "x"}}, None, "skip cannot say until; correct or delete it"),
        ({"version": 2, "skip": {**FULL, "at": "now"}}, None, "skip: at is no ISO 8601 time"),
        ({"version": 2, "complete": {**FULL, "value": [1]}}, None, "value is no object of outputs by name"),
        ({"version": 2, "override": {**FULL, "targets": "approve"}}, None, "targets is no list of steps"),
        ({"version": 1, "hold": {"by": "maria"}}, None, "hold must say by whom and for what reason"),
        ({"version": 1, "skip": True}, None, "skip must say by whom and for what reason"),
        ({"version": 1, "hold": {**SIGNED, "until": "noon"}}, None, "until is no ISO 8601 time"),
        ({"version": 1, "hold": {**SIGNED, "until": "2026-03-02T06:00:00"}}, None, "until has no time zone"),
        (None, [], "Variable 'enterprise_orch.holds' is no control record of version 1"),
        (None, {"version": 1, "holds": 7}, "Variable 'enterprise_orch.holds': holds is no list"),
        (None, held({"scope": "planet", "name": "earth"}), "each hold needs a scope (stream, system, connection)"),
        (None, held({"scope": "stream", "name": "orders"}), "hold must say by whom and for what reason"),
    ],
)
def test_an_unclear_wish_stops_everything_in_one_line(control: object, holds: object, line: str) -> None:
    with pytest.raises(ControlBroken, match=re.escape(line)) as broken:
        wishes(control, holds)
    assert "\n" not in str(broken.value)


def test_a_variable_that_is_no_json_is_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's ``deserialize_json`` logs the mistake and returns the default, which would lift a hold."""
    monkeypatch.setenv("AIRFLOW_VAR_ENTERPRISE_ORCH.HOLDS", "{version: 1}")
    assert Variable.get("enterprise_orch.holds", default=None, deserialize_json=True) is None
    with pytest.raises(ControlBroken, match=r"Variable 'enterprise_orch\.holds' is no JSON: .*; correct or delete it"):
        read_variable("enterprise_orch.holds")


def test_a_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_ENTERPRISE_ORCH.HOLDS", '{"version": 1}')
    assert read_variable("enterprise_orch.holds") == {"version": 1}
    monkeypatch.delenv("AIRFLOW_VAR_ENTERPRISE_ORCH.HOLDS")
    assert read_variable("enterprise_orch.holds") is None


# What the actions of people write.


@pytest.mark.parametrize("what", WISHES)
def test_each_wish_is_written_and_read_again(what: str) -> None:
    before = {"version": 2}
    record = with_wish(before, what, full(what))
    assert before == {"version": 2}
    assert record == {"version": 2, what: full(what)}
    found = getattr(wishes(record), what)
    assert (found.what, found.id, found.by, found.reason, found.at) == (what, "k1", "maria", "month end", START)


def test_what_a_wish_says_beside_is_read() -> None:
    record = with_wish(None, "complete", full("complete", leave_job=True))
    record = with_wish(record, "restart_at", full("restart_at"))
    record = with_wish(record, "override", full("override"))
    record = with_wish(record, "hold", full("hold", until=(START + timedelta(hours=1)).isoformat()))
    found = wishes(record)
    assert found.complete is not None and found.complete.leave_job and found.complete.value == {"rc": 0}
    assert found.restart_at is not None and found.restart_at.point == "STEP3"
    assert found.override is not None and found.override.targets == ("approve",)
    assert found.hold is not None and found.hold.until == START + timedelta(hours=1)


def test_the_same_key_again_changes_nothing() -> None:
    record = with_wish(None, "skip", full("skip"))
    assert with_wish(record, "skip", full("skip", reason="another")) == record
    gone = without_wish(record, "skip", {**FULL, "id": "k2"})
    assert with_wish(gone, "skip", full("skip")) == gone, "a late repeat must not wish anew for what was taken back"


@pytest.mark.parametrize(("first", "second"), [("skip", "complete"), ("complete", "cancel"), ("cancel", "skip")])
def test_of_the_wishes_that_end_a_step_the_newest_counts_and_the_other_is_kept_as_past(first: str, second: str) -> None:
    record = with_wish(with_wish(None, "hold", full("hold", "k0")), first, full(first))
    record = with_wish(record, second, full(second, "k2", by="otto"))
    found = wishes(record)
    assert found.end is not None and (found.end.what, found.end.by) == (second, "otto")
    assert getattr(found, first) is None
    assert found.hold is not None, "a hold is no end"
    (past,) = record["past"]
    assert past == {
        "what": first,
        **full(first),
        "replaced": {"by": "otto", "at": START.isoformat(), "id": "k2", "what": second},
    }


def test_of_two_ends_that_a_hand_wrote_the_newest_counts() -> None:
    later = (START + timedelta(seconds=1)).isoformat()
    found = wishes({"version": 2, "cancel": FULL, "skip": {**FULL, "at": later}})
    assert found.end is not None and found.end.what == "skip"
    assert wishes().end is None


def test_what_is_taken_back_applies_no_more_and_stays_as_evidence() -> None:
    back = {"id": "k9", "by": "otto", "reason": "SAP is up", "at": START.isoformat()}
    record = without_wish(with_wish(None, "hold", full("hold")), "hold", back)
    assert wishes(record) == Wishes(
        taken_back=Wish("release", "otto", "SAP is up", id="k9", at=START), held_before=("k1",)
    )
    assert record["past"] == [{"what": "hold", **full("hold"), "taken_back": back}]
    assert without_wish(record, "hold", back) == record


def test_the_past_does_not_grow_for_ever() -> None:
    record: dict[str, Any] = {"version": 2}
    for number in range(MOST_PAST + 3):
        record = with_wish(record, "hold", full("hold", f"k{number}"))
    assert len(record["past"]) == MOST_PAST
    assert record["past"][-1]["id"] == f"k{MOST_PAST + 1}"


def test_a_record_of_version_1_is_carried_over() -> None:
    record = with_wish({"version": 1, "skip": SIGNED, "hold": SIGNED}, "override", full("override", "k2"))
    found = wishes(record)
    assert record["version"] == 2
    assert found.skip is not None and str(found.skip) == "skip by maria: month end"
    assert found.skip.id == wishes({"version": 1, "skip": SIGNED}).skip.id  # type: ignore[union-attr]
    newer = wishes(with_wish(record, "cancel", full("cancel", "k3")))
    assert newer.end is not None and newer.end.what == "cancel"


@pytest.mark.parametrize(
    ("what", "wish", "line"),
    [
        ("pause", FULL, "'pause' is no wish; wishes are hold, skip"),
        ("skip", SIGNED, "the new skip: skip lacks id, at"),
        ("skip", {**FULL, "reason": ""}, "the new skip: skip must say by whom and for what reason"),
        ("skip", {**FULL, "value": {}}, "the new skip: skip cannot say value"),
        ("hold", {**FULL, "until": "noon"}, "the new hold: hold: until is no ISO 8601 time"),
        ("override", FULL, "the new override: targets must name the steps"),
        ("restart_at", FULL, "the new restart_at: point must say where"),
        ("complete", {**FULL, "value": 7}, "the new complete: complete: value is no object"),
    ],
)
def test_a_wish_that_cannot_be_obeyed_is_not_written(what: str, wish: dict[str, Any], line: str) -> None:
    with pytest.raises(ControlBroken, match=re.escape(line)):
        with_wish(None, what, wish)


def test_a_record_that_cannot_be_read_is_not_written_over() -> None:
    with pytest.raises(ControlBroken, match="no control record of version 1 or 2"):
        with_wish({"version": 9, "hold": FULL}, "skip", FULL)
    with pytest.raises(ControlBroken, match="what takes the hold back: hold must say by whom"):
        without_wish(None, "hold", {"id": "k", "at": START.isoformat()})


def test_holds_of_whole_scopes_are_added_and_lifted() -> None:
    by_hand = held({"scope": "stream", "name": "orders", **SIGNED})
    value = with_hold(by_hand, "system", "mainframe", {**FULL, "until": (START + timedelta(hours=6)).isoformat()})
    assert with_hold(value, "system", "mainframe", FULL) == value, "the same key again"
    assert [(scope, name) for scope, name, _ in read_holds(value)] == [("stream", "orders"), ("system", "mainframe")]
    (_, _, first), _ = read_holds(value)
    value = without_hold(value, first.id)
    assert [(scope, name) for scope, name, _ in read_holds(value)] == [("system", "mainframe")]
    hold = wishes(None, value).hold
    assert hold is not None and hold.id == "k1"
    assert without_hold(value, "k1") == {"version": 1, "holds": []}
    with pytest.raises(ControlBroken, match="the new hold needs a scope"):
        with_hold(None, "planet", "earth", FULL)


def test_each_change_of_a_record_has_another_digest() -> None:
    record = with_wish(None, "hold", full("hold"))
    digests = [control_digest(None), control_digest({"version": 2}), control_digest(record)]
    assert len(set(digests)) == len(digests)
    assert control_digest(dict(reversed(record.items()))) == control_digest(record)


def test_a_release_takes_the_place_of_a_hold_and_a_hold_that_of_a_release() -> None:
    record = with_wish(with_wish(None, "hold", full("hold")), "release", full("release", "k2"))
    found = wishes(record)
    assert found.hold is None
    assert found.let_go is not None and (found.let_go.what, found.let_go.id) == ("release", "k2")
    record = with_wish(record, "hold", full("hold", "k3"))
    assert wishes(record).let_go is None


def test_the_newest_word_ends_a_hold_and_none_does_while_the_step_is_held_again() -> None:
    record: Any = None
    for number in (1, 2):
        record = with_wish(record, "hold", full("hold", f"k{number}"))
        record = without_wish(record, "hold", full("hold", f"b{number}"))
    found = wishes(record)
    assert found.let_go is not None and found.let_go.id == "b2"
    assert wishes(with_wish(record, "hold", full("hold", "k3"))).let_go is None


def test_a_hold_of_many_steps_says_so() -> None:
    found = wishes(None, with_hold(None, "system", "mainframe", full("hold")))
    assert found.hold is not None and found.hold.scope == "system"
    assert wishes(with_wish(None, "hold", full("hold"))).hold == replace(found.hold, scope="")
