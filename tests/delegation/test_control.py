"""People's wishes: obeyed when they are signed and clear, refused loudly otherwise, never ignored."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import Variable
from fakes import START

from airflow_enterprise_orch.delegation.control import ControlBroken, Wishes, read_variable, read_wishes

SIGNED = {"by": "maria", "reason": "month end"}


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
        ("x", None, "task state store key 'orch.control' is no control record of version 1"),
        ({"version": 2}, None, "task state store key 'orch.control' is no control record of version 1"),
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
