"""Run the benchmarks and print their figures; ``--all`` also a large delivery and those that start real Airflow."""

from __future__ import annotations

import argparse

from tests.bench import (
    bombs,
    bulk,
    conditions,
    delivery,
    executive_view,
    polling,
    steps,
    submission,
    template_scale,
    templates,
)

parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").splitlines()[0])
parser.add_argument(
    "--all", action="store_true", help="also the large ones and those on real Airflow (some 70 minutes)"
)
options = parser.parse_args()

for benchmark in (polling, submission, templates, conditions):
    print(f"\n{benchmark.__name__}: {(benchmark.__doc__ or '').splitlines()[0]}")
    benchmark.main()
kept = []
for program in (bombs, *((template_scale, delivery, steps, bulk, executive_view) if options.all else ())):
    print(f"\n{program.__name__}: {(program.__doc__ or '').splitlines()[0]}")
    kept.append(program.main([]) == 0)
raise SystemExit(0 if all(kept) else 1)
