"""A sample of the harness on real Airflow: every kind of victim is struck while steps are in flight and people act."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import plan, report
from .database import binaries
from .runner import Run, keep
from .verdict import judge
from .world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SEED = 3
AT_ONCE = 4
CALM_WITHIN = 300.0


def test_nothing_is_doubled_or_lost_when_each_process_dies_once(tmp_path: Path):
    if binaries() is None:
        pytest.skip("no PostgreSQL server is installed (apt-get install postgresql)")
    chosen = plan.sample(SEED)
    with World(tmp_path) as world:
        run = Run(chosen, world, AT_ONCE, CALM_WITHIN, print)
        evidence = run.play()
    keep(evidence, tmp_path / "evidence.json")
    verdict = judge(evidence)
    told = "\n".join(report.lines(run, evidence, verdict))
    print(told)
    assert verdict.problems == [], told
    assert report.kinds_killed(run) == {victim.value for victim in plan.Victim}
    assert verdict.counts["jobs that ran"] > len(chosen.strikes), told
    assert evidence.acts, "nobody acted"
