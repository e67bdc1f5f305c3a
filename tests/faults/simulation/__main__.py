"""Run the simulation by hand: ``python -m tests.faults.simulation --schedules 1000000``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from .campaign import Report, coverage, run_many, told
from .choices import Script
from .mutations import MUTATIONS, mutated
from .schedule import Outcome, shrunk, simulate

_told = [0]


def main() -> int:
    """Run what the arguments say; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=20_000, help="how many")
    parser.add_argument("--seed-from", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), default="", help="break the code on purpose")
    parser.add_argument("--coverage", action="store_true", help="print how often each fault and point came up")
    parser.add_argument("--seed", type=int, help="run this one schedule only")
    parser.add_argument("--script", type=Path, help="with --seed: replay these choices (JSON) instead")
    parser.add_argument("--trace", action="store_true", help="with --seed: print what happens")
    parser.add_argument("--shrink", action="store_true", help="with --seed: find the smallest schedule that breaks")
    given = parser.parse_args()
    if given.seed is not None:
        with mutated(given.mutation):
            script = json.loads(given.script.read_text()) if given.script else None
            return _one(given.seed, script, trace=given.trace, smaller=given.shrink)
    report = run_many(given.seed_from, given.schedules, given.workers, given.mutation, _progress)
    print(file=sys.stderr)
    print(told(report))
    if given.coverage:
        print(coverage(report))
    if report.broken:
        again = f"--seed {report.broken[0].seed}" + (f" --mutation {given.mutation}" if given.mutation else "")
        print(f"\nto see the first: python -m tests.faults.simulation {again} --trace --shrink")
    return 1 if report.broken else 0


def _one(seed: int, script: Script | None, *, trace: bool, smaller: bool) -> int:
    outcome: Outcome = simulate(seed, script, trace=trace and not smaller)
    if smaller and outcome.broken:
        small = shrunk(outcome)
        print(f"shrunk from {len(outcome.script)} choices to {len(small)}: {json.dumps(small)}")
        outcome = simulate(seed, small, trace=trace)
    print("\n".join(outcome.trace))
    print(f"seed {seed}: {outcome.detail or 'every promise was kept'}")
    return 1 if outcome.broken else 0


def _progress(report: Report, seconds: float) -> None:
    for outcome in report.broken[_told[0] :]:
        print(f"\nBROKEN seed {outcome.seed}: {outcome.detail}", file=sys.stderr)
    _told[0] = len(report.broken)
    rate = report.schedules / max(seconds, 0.001)
    print(f"\r{report.schedules} schedules, {rate:.0f}/s, {len(report.broken)} broken", end="", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
