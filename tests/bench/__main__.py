"""Run every benchmark and print its figures."""

from __future__ import annotations

from tests.bench import conditions, polling, submission, templates

for benchmark in (polling, submission, templates, conditions):
    print(f"\n{benchmark.__name__}: {(benchmark.__doc__ or '').splitlines()[0]}")
    benchmark.main()
