"""The forecast: what it says of made-up pasts, and what it must never say.

How a user would notice that it is fake: it gives times where there is no history, moves when nothing happened, forgets
that a step is late already, or its P90 is passed by far more than one instance in ten.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_enterprise_orch.executive_view.forecast import FEWEST_PAST, History, Now, Step, Took, share, took

BEGAN = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
CHAIN = (Step("a"), Step("b", ("a",)), Step("c", ("b",)))
BRANCHED = (
    Step("route", leads_to=("quick", "slow")),
    Step("quick", ("route",)),
    Step("slow", ("route",)),
    Step("end", ("quick", "slow")),
)

seconds = st.floats(0, 86_400, allow_nan=False)
tooks = st.builds(Took, seconds, seconds)
pasts = st.lists(st.fixed_dictionaries({"a": tooks, "b": tooks, "c": tooks}), min_size=FEWEST_PAST, max_size=40)


def after(value: float) -> datetime:
    return BEGAN + timedelta(seconds=value)


def test_a_chain_that_always_takes_the_same_ends_exactly_then() -> None:
    history = History(CHAIN, [{"a": Took(1, 60), "b": Took(2, 600), "c": Took(0, 30)}] * FEWEST_PAST)
    told = history.outlook({}, began=BEGAN, now=BEGAN, seed="orders/1")
    assert (told.p50, told.p90, told.instances) == (after(693), after(693), FEWEST_PAST)
    assert (told.steps["b"].start, told.steps["b"].p50) == (after(63), after(663))


def test_a_diamond_waits_for_its_longer_side() -> None:
    steps = (Step("a"), Step("b", ("a",)), Step("c", ("a",)), Step("d", ("b", "c")))
    one = {"a": Took(0, 10), "b": Took(0, 100), "c": Took(0, 500), "d": Took(0, 5)}
    assert History(steps, [one] * 9).outlook({}, began=BEGAN, now=BEGAN, seed="s").p50 == after(515)


@pytest.mark.parametrize("number", range(FEWEST_PAST))
def test_too_little_history_gives_no_times_and_says_how_little(number: int) -> None:
    told = History(CHAIN, [{"a": Took(0, 1)}] * number).outlook({}, began=BEGAN, now=BEGAN, seed="s")
    assert (told.p50, told.p90, dict(told.steps)) == (None, None, {})
    assert told.problem.startswith(f"not enough history: {number} instance")


def test_a_new_step_that_nobody_went_through_gives_no_times() -> None:
    told = History(CHAIN, [{"a": Took(0, 1), "b": Took(0, 1)}] * 20).outlook({}, began=BEGAN, now=BEGAN, seed="s")
    assert told.p50 is None
    assert told.problem == "not enough history: no instance went through 'c'"


def test_a_failed_step_gives_no_times() -> None:
    history = History(CHAIN, [{name: Took(0, 1) for name in "abc"}] * 20)
    told = history.outlook({"a": Now("failed")}, began=BEGAN, now=BEGAN, seed="s")
    assert (told.p50, told.problem) == (None, "a step failed: somebody has to act before it goes on")


def branched(slow: int, of: int) -> History:
    quick = {"route": Took(0, 1), "quick": Took(0, 60), "end": Took(0, 9)}
    detour = {"route": Took(0, 1), "slow": Took(0, 3600), "end": Took(0, 9)}
    return History(BRANCHED, [detour if number < slow else quick for number in range(of)])


def test_branch_odds_decide_what_is_likely() -> None:
    told = branched(5, 20).outlook({}, began=BEGAN, now=BEGAN, seed="s")
    assert (told.p50, told.p90) == (after(70), after(3610))
    assert told.steps["slow"].odds == pytest.approx(0.25, abs=0.1)
    assert branched(0, 20).outlook({}, began=BEGAN, now=BEGAN, seed="s").steps.keys() == {"route", "quick", "end"}


@pytest.mark.parametrize("skipped", [{"quick": Now("skipped", ended=after(1))}, {}])
def test_once_it_is_decided_the_odds_are_over(skipped: dict[str, Now]) -> None:
    live = {"route": Now("over", BEGAN, after(1), chose=("slow",)), **skipped}
    told = branched(1, 20).outlook(live, began=BEGAN, now=after(2), seed="s")
    assert (told.p50, told.p90) == (after(3610), after(3610)) or told.p50 == after(2 + 3600 + 9)
    assert "quick" not in told.steps


def test_a_path_that_meets_another_runs_its_step_once_either_ran() -> None:
    steps = (
        Step("route", leads_to=("approve", "provision")),
        Step("approve", ("route",)),
        Step("provision", ("route", "approve")),
    )
    approved = {"route": Took(0, 1), "approve": Took(0, 100), "provision": Took(0, 10)}
    live = {"route": Now("over", BEGAN, after(1), chose=("approve",))}
    told = History(steps, [approved] * 10).outlook(live, began=BEGAN, now=after(1), seed="s")
    assert told.p50 == after(111)


def test_a_step_at_work_goes_on_as_those_that_had_lasted_as_long() -> None:
    history = History((Step("a"),), [{"a": Took(0, 60)}] * 18 + [{"a": Took(0, 3600)}] * 2)
    at_first = history.outlook({"a": Now("running", BEGAN)}, began=BEGAN, now=after(1), seed="s")
    later = history.outlook({"a": Now("running", BEGAN)}, began=BEGAN, now=after(120), seed="s")
    assert (at_first.p50, later.p50, later.outlasted) == (after(60), after(3600), ())


def test_a_step_that_outlasts_all_is_named_and_not_said_to_end_in_the_past() -> None:
    history = History((Step("a"),), [{"a": Took(0, value)} for value in range(60, 80)])
    told = history.outlook({"a": Now("running", BEGAN)}, began=BEGAN, now=after(600), seed="s")
    assert told.outlasted == ("a",)
    assert told.p50 is not None
    assert after(600) < told.p50 < after(660)


def test_a_moment_that_is_waited_for_counts_whatever_history_says() -> None:
    history = History(CHAIN, [{"a": Took(0, 5), "b": Took(0, 900), "c": Took(0, 1)}] * 20)
    live = {"a": Now("over", BEGAN, after(5)), "b": Now("running", after(5), until=after(7200))}
    assert history.outlook(live, began=BEGAN, now=after(60), seed="s").p50 == after(7201)


@settings(max_examples=50, deadline=None)
@given(pasts, st.text(max_size=5), st.floats(0, 86_400))
def test_it_is_the_same_every_time_ordered_and_never_in_the_past(past: list, seed: str, elapsed: float) -> None:
    live = {"a": Now("over", BEGAN, BEGAN), "b": Now("running", BEGAN)}
    now = after(elapsed)
    told = History(CHAIN, past).outlook(live, began=BEGAN, now=now, seed=seed)
    again = History(CHAIN, past).outlook(dict(reversed(live.items())), began=BEGAN, now=now, seed=seed)
    assert told == again
    assert told.p50 is not None
    assert told.p90 is not None
    assert now <= told.p50 <= told.p90
    for step in told.steps.values():
        assert step.start <= step.p50 <= step.p90
        assert 0 < step.odds <= 1


@settings(max_examples=50, deadline=None)
@given(pasts, st.sampled_from([2.0, 4.0, 0.5]))
def test_twice_as_slow_a_past_takes_twice_as_long(past: list, factor: float) -> None:
    slower = [{name: Took(one.waited * factor, one.lasted * factor) for name, one in run.items()} for run in past]
    told, other = (History(CHAIN, one).outlook({}, began=BEGAN, now=BEGAN, seed="s") for one in (past, slower))
    assert told.p90 is not None
    assert other.p90 is not None
    assert (other.p90 - BEGAN).total_seconds() == pytest.approx((told.p90 - BEGAN).total_seconds() * factor, abs=0.01)


@settings(max_examples=50, deadline=None)
@given(pasts)
def test_it_stays_between_the_quickest_and_the_slowest_that_could_be(past: list) -> None:
    told = History(CHAIN, past).outlook({}, began=BEGAN, now=BEGAN, seed="s")
    assert told.p50 is not None
    assert told.p90 is not None
    least, most = (
        sum(way(run[name].waited + run[name].lasted for run in past) for name in "abc") for way in (min, max)
    )
    # A millisecond for the arithmetic of moments.
    assert after(least - 0.001) <= told.p50 <= told.p90 <= after(most + 0.001)


def test_about_one_instance_in_ten_passes_its_p90_and_half_their_p50() -> None:
    world = random.Random(7)

    def run() -> dict[str, Took]:
        way = "slow" if world.random() < 0.3 else "quick"
        lasted = world.lognormvariate(6, 0.8) if way == "slow" else world.lognormvariate(4, 0.4)
        return {
            "route": Took(0, world.uniform(1, 5)),
            way: Took(world.uniform(0, 20), lasted),
            "end": Took(0, world.gammavariate(2, 30)),
        }

    before_p50 = before_p90 = 0
    for number in range(480):
        if number % 40 == 0:  # one history alone is off by chance
            history = History(BRANCHED, [run() for _ in range(200)])
        truth = sum(one.waited + one.lasted for one in run().values())
        told = history.outlook({}, began=BEGAN, now=BEGAN, seed=str(number))
        assert told.p50 is not None
        assert told.p90 is not None
        before_p50 += after(truth) <= told.p50
        before_p90 += after(truth) <= told.p90
    assert before_p50 / 480 == pytest.approx(0.5, abs=0.08)
    assert before_p90 / 480 == pytest.approx(0.9, abs=0.05)


def test_what_steps_took_is_counted_from_the_end_of_what_they_come_after() -> None:
    ran = {"a": (after(5), after(65)), "c": (after(100), after(101))}
    assert took(BEGAN, CHAIN, ran) == {"a": Took(5, 60), "c": Took(35, 1)}


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_a_share_of_values_lies_among_them(values: list[float]) -> None:
    values.sort()
    parts = [share(values, part / 10) for part in range(11)]
    assert parts == sorted(parts)
    assert (parts[0], parts[-1]) == (values[0], values[-1])
