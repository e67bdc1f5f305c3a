"""Statistics over ended instances that were made up so that the answers are known.

How a user would notice that it is fake: the shares of a branch do not add up, or the step that is named as the
bottleneck runs beside the one that everything waits for.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_enterprise_orch.executive_view.forecast import Step
from airflow_enterprise_orch.executive_view.statistics import PastRun, PastStep, statistics

BEGAN = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
DIAMOND = (Step("a"), Step("quick", ("a",)), Step("slow", ("a",)), Step("end", ("quick", "slow")))


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def ran(start: float, end: float, **more: object) -> PastStep:
    return PastStep("success", at(start - 2), at(start), at(end), **more)  # type: ignore[arg-type]


def diamond(slow: float) -> PastRun:
    steps = {"a": ran(2, 10), "quick": ran(12, 20), "slow": ran(12, 12 + slow), "end": ran(14 + slow, 24 + slow)}
    return PastRun(BEGAN, at(24 + slow), True, steps)


def test_the_bottleneck_is_on_the_longest_way_and_shares_are_of_it() -> None:
    told = statistics(DIAMOND, [diamond(100), diamond(200), diamond(300)])
    assert told.bottleneck == "slow"
    assert told.steps["quick"].share is None, "nobody waited for it"
    # 10 of a, 2 + slow of the slow one with its waiting, 12 of the end.
    whole = 3 * 24 + 600
    assert told.steps["slow"].share == pytest.approx(606 / whole, abs=1e-4)
    assert sum(told.heat.values()) == pytest.approx(1, abs=1e-3)
    assert (told.steps["slow"].p50, told.steps["slow"].queued_p50, told.p50) == (200, 2, 224)


def test_a_way_that_was_not_taken_leads_back_to_the_one_that_was() -> None:
    flow = (Step("a"), Step("b", ("a",)), Step("c", ("b",)))
    run = PastRun(BEGAN, at(30), True, {"a": ran(0, 10), "b": PastStep("skipped"), "c": ran(12, 30)})
    told = statistics(flow, [run])
    assert told.heat == {"a": pytest.approx(1 / 3, abs=1e-3), "c": pytest.approx(2 / 3, abs=1e-3)}
    assert told.paths == [(("a", "c"), 1)]


def test_branches_are_counted_by_what_fired_and_what_was_chosen() -> None:
    flow = (Step("route", leads_to=("x", "y")), Step("x", ("route",)), Step("y", ("route",)))

    def run(fired: str, chose: str, *, overridden: bool = False) -> PastRun:
        steps = {"route": ran(0, 1, fired=(fired,), chose=(chose,), overridden=overridden), chose: ran(1, 2)}
        return PastRun(BEGAN, at(2), True, steps)

    told = statistics(flow, [run("1", "x"), run("1", "x"), run("otherwise", "y"), run("1", "y", overridden=True)])
    route = told.decisions["route"]
    assert (route.decisions, route.overridden, dict(route.ways)) == (4, 1, {"1": 3, "otherwise": 1})
    assert told.ways == {("route", "x"): 0.5, ("route", "y"): 0.5}
    assert told.paths == [(("route", "x"), 2), (("route", "y"), 2)]


def test_failures_and_retries_are_counted_and_do_not_count_as_durations() -> None:
    flow = (Step("a"),)
    failed = PastRun(BEGAN, at(9), False, {"a": PastStep("failed", None, at(0), at(9), 3)})
    told = statistics(flow, [failed, PastRun(BEGAN, at(5), True, {"a": ran(0, 5)})])
    assert (told.steps["a"].instances, told.steps["a"].failed, told.steps["a"].retried) == (1, 1, 1)
    assert (told.p50, told.steps["a"].p90) == (5, 5)


def test_without_history_there_is_nothing_not_zero() -> None:
    told = statistics(DIAMOND, [])
    assert (told.instances, told.p50, told.bottleneck, told.heat) == (0, None, None, {})
    assert told.steps["slow"].p50 is None
