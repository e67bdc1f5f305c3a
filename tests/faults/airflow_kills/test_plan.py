"""The plan is the repeatable part: the same seed, the same strikes, and nobody left out."""

from __future__ import annotations

from collections import Counter

import pytest

from . import plan
from .plan import How, Victim, Wish


def test_a_seed_gives_the_same_plan_again_and_another_seed_another():
    assert plan.full(7, 60) == plan.full(7, 60) != plan.full(8, 60)
    assert plan.full(7, 60).instance(3) == plan.full(7, 60).instance(3)


@pytest.mark.parametrize("seed", range(5))
def test_sixty_kills_reach_every_victim_in_every_way(seed: int):
    made = plan.full(seed, 60)
    kills = Counter(strike.victim for strike in made.strikes if strike.kills)
    assert kills.total() == 60
    assert set(kills) == set(Victim)
    assert sum(not strike.kills for strike in made.strikes) == 10
    assert {strike.how for strike in made.strikes} == set(How)
    assert {act.wish for act in made.acts} == set(Wish)


@pytest.mark.parametrize("kills", [6, 10, 59, 61, 150])
def test_any_number_of_kills_can_be_asked_for(kills: int):
    strikes = [strike for strike in plan.full(1, kills).strikes if strike.kills]
    assert len(strikes) == kills
    assert {strike.victim for strike in strikes} == set(Victim)


def test_the_sample_strikes_each_kind_of_victim():
    strikes = plan.sample(1).strikes
    assert {strike.victim for strike in strikes if strike.kills} == set(Victim)
    assert any(strike.how is How.PAUSE for strike in strikes)


def test_pauses_outlast_what_airflow_takes_for_dead():
    from .world import FAST_RECOVERY

    threshold = max(
        float(FAST_RECOVERY[f"AIRFLOW__{name}"])
        for name in (
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT",
            "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD",
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD",
        )
    )
    assert plan.PAUSED[0] > threshold
