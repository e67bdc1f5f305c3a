"""Who had a decision otherwise, from the branch that obeyed to the page that tells it, also when Airflow has forgotten.

How a user would notice that it is fake: an order went past the approval, an auditor asks a year later who wanted that
and why, and the page says that the rules did, or a name without a reason.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from streams_for_tests import Store
from test_branch import branch, run, wish

from airflow_enterprise_orch.executive_view.answers_instance import DecisionTold, Overridden
from airflow_enterprise_orch.executive_view.decisions import decisions_of
from airflow_enterprise_orch.executive_view.entries import entries
from airflow_enterprise_orch.executive_view.pictures import Picture, read_picture
from airflow_enterprise_orch.executive_view.redacting import Sight
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY
from tests.executive_view.test_feed_instance import task, told

RULE = "params.amount > 10000.0"
STEP: dict[str, Any] = {
    "id": "route", "title": "Route", "kind": "branch", "stack": "decisions", "after": [], "tasks": {},
    "rules": [{"when": RULE, "then": ["approve"]}], "otherwise": ["provision"],
}  # fmt: skip
PICTURE: dict[str, Any] = {"title": "Orders", "business": {"key": ""}, "steps": [STEP]}
NOBODY_ELSES = Sight(frozenset())


def record(*, overridden: bool) -> Any:
    """What a real branch leaves, where the rules say ``approve``."""
    _, store = run(branch(), 20000.0, store=wish("provision") if overridden else Store())
    return store[DECISION_KEY]


def fed(kept: Any, before: Any = None) -> dict[str, Any]:
    """The step as the feed keeps it; ``kept`` is None when Airflow has no record any more."""
    cells = {("route", -1): {DECISION_KEY: json.dumps(kept)}} if kept is not None else {}
    steps: dict[str, Any] = told(task("route", "success"), cells=cells, before={"steps": before}, picture=PICTURE)[
        "steps"
    ]
    return steps


def shown(records: dict[str, Any], steps: dict[str, Any]) -> DecisionTold:
    picture: Picture = read_picture(PICTURE)
    (one,) = decisions_of(picture, records, entries(steps), NOBODY_ELSES, {})
    return one


def test_an_override_is_told_whole_while_airflow_has_the_record_and_after_it_was_deleted() -> None:
    kept = record(overridden=True)
    steps = fed(kept)
    now = shown({"route": kept}, steps)
    assert now.overridden == Overridden(by="eve", reason="the customer called", instead=["approve"])
    # `airflow db clean` takes the record; the feed looks at the run once more and keeps what it knew.
    later = shown({}, fed(None, before=steps))
    assert later.overridden == now.overridden
    assert (later.by, later.chosen, later.values) == ("eve", ["provision"], [])
    assert later.problem == "Airflow has deleted the record: the values that were seen are gone"


def test_where_the_rules_decided_nobody_had_it_otherwise() -> None:
    kept = record(overridden=False)
    for one in (shown({"route": kept}, fed(kept)), shown({}, fed(kept))):
        assert (one.by, one.overridden, one.chosen[0]) == ("the rules", None, "approve")


@pytest.mark.parametrize(
    ("kept", "expected"), [(True, Overridden(by="eve", reason="", instead=[])), (False, None), (None, None)]
)
def test_what_earlier_feeds_kept_of_an_override_is_read_too(kept: bool | None, expected: Overridden | None) -> None:
    steps = fed(record(overridden=True))
    steps["route"]["decision"]["overridden"] = kept
    assert shown({}, steps).overridden == expected
