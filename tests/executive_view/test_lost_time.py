"""Where lateness arose: on the stack where time beyond the usual was lost, and nowhere else.

How a user would notice that it is fake: the mainframe is blamed every day because its job is the longest, while the
hour was lost waiting for an approval; or a step that ran beside the others is blamed though nobody waited for it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_enterprise_orch.executive_view.forecast import Step
from airflow_enterprise_orch.executive_view.lost_time import lateness, longest_way, lost, own_times

BEGAN = datetime(2026, 3, 10, 8, 0, tzinfo=UTC)
FLOW = (
    Step("book"),
    Step("report", ("book",)),
    Step("route", ("book",), ("approve", "post")),
    Step("approve", ("route",)),
    Step("post", ("route", "approve")),
)
USUAL = {"book": 3600.0, "report": 600.0, "route": 0.0, "approve": 600.0, "post": 600.0}
STACKS = {"book": "mainframe", "report": "share", "route": "logic", "approve": "people", "post": "sap"}


def at(minutes: float) -> datetime:
    return BEGAN + timedelta(minutes=minutes)


def ran(**steps: tuple[float, float]) -> dict[str, tuple[datetime, datetime]]:
    return {name: (at(start), at(end)) for name, (start, end) in steps.items()}


USUALLY = ran(book=(0, 60), report=(60, 70), route=(60, 60), approve=(60, 70), post=(70, 80))


def test_the_longest_step_is_not_to_blame_when_it_took_what_it_always_takes():
    slow = {**USUALLY, **ran(approve=(60, 100), post=(100, 110))}
    assert lost(FLOW, BEGAN, slow, USUAL) == {"approve": 1800.0}
    assert lateness(1200, FLOW, BEGAN, slow, USUAL, STACKS) == {"people": 1200.0}


def test_what_a_step_waited_before_it_began_is_its_own():
    waited = {**USUALLY, **ran(post=(95, 105))}
    assert own_times(FLOW, BEGAN, waited)["post"] == 35 * 60
    assert lateness(60, FLOW, BEGAN, waited, USUAL, STACKS) == {"sap": 60.0}


def test_a_step_beside_the_longest_way_is_not_to_blame():
    beside = {**USUALLY, **ran(report=(60, 79), approve=(60, 75), post=(75, 85))}
    assert longest_way(FLOW, beside) == ["post", "approve", "route", "book"]
    assert lateness(300, FLOW, BEGAN, beside, USUAL, STACKS) == {"people": 300.0}


def test_two_that_lost_time_share_the_lateness_by_what_each_lost():
    both = ran(book=(0, 90), route=(90, 90), approve=(90, 110), post=(110, 120))
    parts = lateness(400, FLOW, BEGAN, both, USUAL, STACKS)
    assert parts == {"mainframe": pytest.approx(300), "people": pytest.approx(100)}


def test_the_way_goes_on_through_steps_that_did_not_run():
    small = ran(book=(0, 60), route=(60, 60), post=(60, 90))
    assert longest_way(FLOW, small) == ["post", "route", "book"]
    assert lost(FLOW, BEGAN, small, USUAL) == {"post": 1200.0}


def test_where_nothing_was_lost_the_due_time_was_too_early_for_the_whole_way():
    parts = lateness(800, FLOW, BEGAN, USUALLY, USUAL, STACKS)
    assert parts == {
        "mainframe": pytest.approx(600), "people": pytest.approx(100), "sap": pytest.approx(100), "logic": 0.0,
    }  # fmt: skip
    assert lateness(800, FLOW, BEGAN, USUALLY, {}, STACKS) == parts, "nothing is known of the past"


def test_an_instance_without_a_step_that_ran_blames_nobody():
    assert lateness(800, FLOW, BEGAN, {}, USUAL, STACKS) == {}


def test_steps_that_the_picture_does_not_have_are_left_out():
    assert longest_way(FLOW, {**USUALLY, **ran(gone=(80, 200))})[0] == "post"
