"""Run the benchmarks and print their figures; ``--all`` also those that start real Airflow, which take minutes."""

from __future__ import annotations

import argparse

from tests.bench import conditions, polling, steps, submission, templates

parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").splitlines()[0])
parser.add_argument("--all", action="store_true", help="also the benchmarks on real Airflow (some 15 minutes)")
options = parser.parse_args()

for benchmark in (polling, submission, templates, conditions):
    print(f"\n{benchmark.__name__}: {(benchmark.__doc__ or '').splitlines()[0]}")
    benchmark.main()
if options.all:
    print(f"\n{steps.__name__}: {(steps.__doc__ or '').splitlines()[0]}")
    raise SystemExit(steps.main([]))
