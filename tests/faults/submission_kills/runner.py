"""Plays many cases on a few workers, and reports."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any

from . import plan
from .bench import Bench
from .life import Life
from .mutations import MUTATIONS
from .plan import Case
from .systems import SYSTEMS, played_on
from .verdict import Verdict, judge
from .zygote import PACKAGE, environment

MODULE = "tests.faults.submission_kills"


@dataclass
class Totals:
    """What all cases came to."""

    cases: int = 0
    processes: int = 0
    points: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    parked: Counter[str] = field(default_factory=Counter)
    systems: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    lost: int = 0
    held_copies: int = 0
    landed: int = 0
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def add(self, told: dict[str, Any]) -> None:
        """Count one case, as :func:`tell` tells it."""
        self.cases += 1
        self.processes += told["processes"]
        self.points.update(point for point, _ in told["struck"])
        self.kinds.update(kind for _, kind in told["struck"])
        self.ends.update(told["ends"])
        self.parked.update(told["parked"])
        self.systems[told["system"]] += 1
        self.duplicates += told["duplicates"]
        self.lost += told["lost"]
        self.held_copies += told["held_copies"]
        self.landed += told["landed"]
        if told["problems"]:
            self.wrong[told["seed"]] = told["problems"]

    def lines(self) -> list[str]:
        """Return the report."""
        return [
            f"cases: {self.cases} ({_counts(self.systems)}), {self.processes} processes",
            f"struck at: {_counts(self.points)}",
            f"faults: {_counts(self.kinds)}; {self.landed} stalled writes landed late",
            f"ended as: {_counts(self.ends)}",
            f"parked: {sum(self.parked.values())} ({_counts(self.parked) or 'none'})",
            f"copies that landed after all was over and stay held: {self.held_copies}",
            f"{self.duplicates} duplicates, {self.lost} lost, {len(self.wrong)} cases with a broken promise",
        ]


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counter.most_common())


def play(
    case: Case, bench: Bench, mutation: str = "", say: Callable[[str], None] = lambda _line: None
) -> dict[str, Any]:
    """Play one case and judge it; return what is to be told of it, as plain JSON."""
    case = replace(case, system=played_on(case.system))
    evidence = Life(case, bench, mutation, say).play()
    verdict: Verdict = judge(evidence, bench.jobs(case))
    return {
        "seed": case.seed,
        "system": case.system,
        "processes": len(evidence.processes),
        "struck": [list(blow) for blow in evidence.struck],
        "ends": [life.ended or "open" for life in evidence.lives],
        "parked": [park.reason for park in evidence.parks],
        "landed": evidence.landed,
        "duplicates": len(verdict.duplicates),
        "lost": len(verdict.lost),
        "held_copies": verdict.held_copies,
        "problems": verdict.problems,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 when every promise held, or, with a mutation, when the harness noticed it."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="at random, beside the grid (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the random cases (default: %(default)s)")
    parser.add_argument("--system", default="", choices=["", *SYSTEMS], help="cases of this system only")
    parser.add_argument("--case", default="", help="replay one case by its seed, e.g. 1:42")
    parser.add_argument("--verbose", action="store_true", help="tell every step of the replayed case")
    parser.add_argument("--mutation", default="", choices=["", *MUTATIONS], help="break the package on purpose")
    parser.add_argument("--workers", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--part", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.part:
        number, of = map(int, options.part.split("/"))
        return _worker(_cases(options)[number::of], options.mutation)
    if options.case:
        case = plan.from_seed(options.case)
        say(f"{case}")
        with Bench() as bench:
            told = play(case, bench, options.mutation, say if options.verbose else lambda _line: None)
        say(json.dumps(told, indent=1))
        return int(bool(told["problems"]) != bool(options.mutation))
    began = time.monotonic()
    totals = Totals()
    for told in _on_workers(options):
        totals.add(told)
        if told["problems"]:
            mutated = f" --mutation {options.mutation}" if options.mutation else ""
            say(f"case {told['seed']} on {told['system']}: {'; '.join(told['problems'])}")
            say(f"    replay: python -m {MODULE} --case {told['seed']}{mutated} --verbose")
        if totals.cases % 100 == 0:
            say(
                f"... {totals.cases} cases, {time.monotonic() - began:.0f} s, {len(totals.wrong)} with a broken promise"
            )
    for line in totals.lines():
        say(line)
    say(f"{time.monotonic() - began:.0f} s, seed {options.seed}")
    if totals.cases < len(_cases(options)):
        say("a worker died: not all cases were played")
        return 1
    if options.mutation:
        say(f"the mutation {options.mutation} was {'noticed' if totals.wrong else 'NOT noticed'}")
    return int(bool(totals.wrong) != bool(options.mutation))


def _cases(options: argparse.Namespace) -> list[Case]:
    """Return the grid, as far as there is room, and then random ones."""
    grid = plan.grid(options.system)[: options.cases]
    return [*grid, *plan.randomised(options.seed, options.cases - len(grid), options.system)]


def _worker(cases: Iterable[Case], mutation: str) -> int:
    with Bench() as bench:
        for case in cases:
            say(json.dumps(play(case, bench, mutation)))
    return 0


def _on_workers(options: argparse.Namespace) -> Iterable[dict[str, Any]]:
    """Play the cases on workers of their own; yield what they tell as it comes."""
    told: SimpleQueue[str] = SimpleQueue()

    def read(worker: subprocess.Popen[str]) -> None:
        for line in worker.stdout or ():
            told.put(line)
        told.put("")

    workers = []
    try:
        for number in range(options.workers):
            line = [sys.executable, "-m", PACKAGE, "--part", f"{number}/{options.workers}"]
            line += ["--cases", str(options.cases), "--seed", str(options.seed), "--mutation", options.mutation]
            line += ["--system", options.system]
            worker = subprocess.Popen(line, stdout=subprocess.PIPE, env=environment(), text=True)
            workers.append(worker)
            threading.Thread(target=read, args=(worker,), daemon=True).start()
        left = len(workers)
        while left:
            line_told = told.get()
            if line_told:
                yield json.loads(line_told)
            else:
                left -= 1
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait()


def say(line: str) -> None:
    """Tell one line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
