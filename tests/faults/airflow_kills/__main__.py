"""Run the harness: ``python -m tests.faults.airflow_kills --seed 1 --kills 60``."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from airflow_enterprise_orch.demo.processes import adopt_orphans, raise_on_sigterm

from . import plan, report
from .runner import Run, keep
from .verdict import judge
from .world import World

CALM_WITHIN = 700.0
"""Seconds. A step that met six dead processes in a row waits more than five minutes before its next try."""


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 when every promise held, or, with a mutation, when the harness noticed it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.airflow_kills", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the plan (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=60, help="how many; 0 for the small sample (default: %(default)s)")
    parser.add_argument("--instances", type=int, default=14, help="kept in flight (default: %(default)s)")
    parser.add_argument("--mutation", default="", help="break the package on purpose: trust_on_kill")
    parser.add_argument("--home", type=Path, help="where everything is written and kept (default: a temporary folder)")
    options = parser.parse_args(argv)
    raise_on_sigterm()
    adopt_orphans()
    home = options.home or Path(tempfile.mkdtemp(prefix="enterprise-orch-kills-"))
    home.mkdir(parents=True, exist_ok=True)
    chosen = plan.full(options.seed, options.kills) if options.kills else plan.sample(options.seed)
    say(f"seed {options.seed}: {len(chosen.strikes)} strikes in some {chosen.ends:.0f} s; everything goes to {home}")
    with World(home, options.mutation) as world:
        run = Run(chosen, world, options.instances, CALM_WITHIN, say)
        evidence = run.play()
    keep(evidence, home / "evidence.json")
    verdict = judge(evidence)
    for line in report.lines(run, evidence, verdict):
        say(line)
    if options.mutation:
        say(f"the mutation {options.mutation} was {'noticed' if verdict.problems else 'NOT noticed'}")
    elif not verdict.problems and not options.home:
        shutil.rmtree(home, ignore_errors=True)
    return int(bool(verdict.problems) != bool(options.mutation))


def say(line: str) -> None:
    """Tell one line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
