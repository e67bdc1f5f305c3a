"""The record of a decision: one shape for all, and the shapes of before."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_enterprise_orch.value_stream.decision_record import (
    MOST_WAYS,
    RULES,
    Decision,
    DecisionUnreadable,
    Override,
    read_decision,
    ways_of_rules,
)

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
BRANCH = Decision(
    "branch",
    "all",
    ways_of_rules([{"when": "params.n > 1", "then": ["a"]}, {"when": "params.n > 2", "then": ["b"]}], ["c"]),
    {"params.n": 3},
    (1, 2),
    "eve",
    AT,
    chosen=("c",),
    overridden=Override("eve", "the customer called", ("a", "b")),
)
TABLE = Decision(
    "table",
    "first",
    ways_of_rules([{"when": {"amount": "> 1"}, "then": {"risk": "high"}}], {"risk": "low"}),
    {"amount": 0},
    ("otherwise",),
    RULES,
    AT,
    outputs={"risk": "low"},
    reads={"amount": "params.amount"},
)
CHOICE = Decision(
    "choice",
    "one",
    ({"id": "ship", "title": "Ship now", "then": ["ship"]}, {"id": "hold", "title": "Hold", "then": []}),
    {},
    ("ship",),
    "Eve",
    AT,
    chosen=("ship",),
)


@pytest.mark.parametrize("decision", [BRANCH, TABLE, CHOICE], ids=lambda one: one.kind)
def test_what_is_kept_is_what_is_read(decision: Decision) -> None:
    assert read_decision(json.loads(json.dumps(decision.to_json()))) == decision


@pytest.mark.parametrize(
    ("decision", "line"),
    [
        (
            BRANCH,
            "goes on with c, as eve wants (the customer called), instead of a, b: "
            "rule 1 holds: params.n > 1; rule 2 holds: params.n > 2",
        ),
        (TABLE, "risk = 'low': no row fits, so otherwise (with amount = 0)"),
        (CHOICE, "goes on with ship: Ship now by Eve"),
    ],
)
def test_each_is_one_line_for_people(decision: Decision, line: str) -> None:
    assert decision.sentence() == line


def test_a_branchs_record_of_before_is_readable() -> None:
    old = {
        "version": 1,
        "rules": [{"when": "params.n > 1", "then": ["a"]}],
        "otherwise": ["b"],
        "values": {"params.n": 3},
        "fired": 1,
        "by_rule": ["a"],
        "chosen": ["b"],
        "overridden_by": {"by": "eve", "reason": "why not"},
        "problem": "",
        "at": "2026-03-01T09:30:00+00:00",
    }
    read = read_decision(old)
    assert (read.kind, read.policy, read.fired, read.by, read.at) == ("branch", "first", (1,), "eve", AT)
    assert read.overridden == Override("eve", "why not", ("a",))
    assert [way["id"] for way in read.ways] == [1, "otherwise"]
    assert read_decision({**old, "fired": None, "problem": "no value"}).fired == ()


def test_a_tables_record_of_before_is_readable() -> None:
    old = {
        "version": 1,
        "kind": "table",
        "hit": "unique",
        "reads": {"amount": "params.amount"},
        "values": {"amount": 2},
        "fired": "otherwise",
        "result": {"risk": "low"},
        "at": "2026-03-01T09:30:00+00:00",
    }
    read = read_decision(old)
    assert (read.kind, read.policy, read.fired, read.outputs) == ("table", "unique", ("otherwise",), {"risk": "low"})


@pytest.mark.parametrize(
    "data",
    [
        None,
        "branch",
        {},
        {"version": 3},
        {**BRANCH.to_json(), "kind": "oracle"},
        {**BRANCH.to_json(), "at": "2026-03-01T09:30:00"},
        {**BRANCH.to_json(), "overridden": {"by": "eve"}},
        {key: value for key, value in BRANCH.to_json().items() if key != "values"},
        {"version": 1, "fired": 1},
    ],
)
def test_what_is_no_record_is_refused_in_one_line(data: Any) -> None:
    with pytest.raises(DecisionUnreadable, match="no record of a decision") as refused:
        read_decision(data)
    assert "\n" not in str(refused.value)


def test_long_texts_and_long_tables_are_kept_in_part() -> None:
    rows = [{"when": {"n": number}, "then": {"risk": "x"}} for number in range(MOST_WAYS + 1)]
    kept = Decision("table", "first", ways_of_rules(rows, None), {"n": "x" * 600}, (7,), RULES, AT).to_json()
    assert [way["id"] for way in kept["ways"]] == [7]
    assert len(kept["values"]["n"]) == 503
