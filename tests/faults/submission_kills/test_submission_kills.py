"""The stratified sample: every named point with every kind of fault, on real protocols, judged by the lab's record.

A fake would show here as a point that is never struck, as a verdict that cannot fail (see ``test_mutations`` and
``test_verdict``), or as a case that is another one when it is played again.
"""

from __future__ import annotations

import pytest

from . import plan
from .bench import Bench
from .plan import Incident, from_seed, grid, randomised
from .runner import Totals, play

GRID = grid()
PARTS = 8
BY_SYSTEM = sorted(GRID, key=lambda case: case.system)
"""A worker that plays one part needs the labs of a few systems only."""
LENGTH = -(-len(GRID) // PARTS)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_blow_at_any_point_makes_a_job_run_twice_or_loses_it(bench: Bench, part: int):
    totals = Totals()
    missed = []
    chosen = BY_SYSTEM[part * LENGTH : (part + 1) * LENGTH]
    for case in chosen:
        told = play(case, bench)
        totals.add(told)
        missed += [(each.point, each.kind) for each in case.incidents if [each.point, each.kind] not in told["struck"]]
    for point, kind in missed:  # an earlier blow of its case had the step come by another way
        told = play(plan.alone(point, kind), bench)
        totals.add(told)
        assert [point, kind] in told["struck"], f"nothing was struck by {kind} at {point}"
    assert totals.wrong == {}
    assert (totals.duplicates, totals.lost) == (0, 0)
    assert totals.cases >= len(chosen) > 0


def test_the_sample_has_every_point_and_every_kind_of_fault():
    struck = {(each.point, each.kind) for case in GRID for each in case.incidents}
    assert struck == set(plan.cells())
    assert {point for point, _ in struck} == set(plan.POINTS)
    assert {kind for _, kind in struck} == set(plan.KINDS)
    assert {case.system for case in GRID} == set(plan.SYSTEMS)


def test_a_seed_is_a_case():
    assert list(randomised(7, 20)) == list(randomised(7, 20))
    assert list(randomised(7, 20)) != list(randomised(8, 20))
    for case in (*GRID, *randomised(7, 5), plan.alone("sent", "kill")):
        assert from_seed(case.seed) == case


def test_a_case_that_is_played_again_meets_the_same_blows(bench: Bench):
    case = plan.Case(
        "twice",
        "zosmf",
        (
            Incident("before_send", "zombie", after="zombie", wake_at="after_persist"),
            Incident("after_persist", "clear", after="go_on"),
            Incident("after_close", "kill"),
        ),
    )
    first, second = play(case, bench), play(case, bench)
    assert first == second
    assert first["struck"] == [["before_send", "zombie"], ["after_persist", "clear"], ["after_close", "kill"]]
    assert first["problems"] == []
