"""Many schedules on many processors, and what they came to."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .mutations import mutated
from .schedule import Outcome, simulate

CHUNK = 500


@dataclass
class Report:
    """The sum of many schedules."""

    schedules: int = 0
    steps: int = 0
    ran: int = 0
    orphans: int = 0
    left_held: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    parks: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    broken: list[Outcome] = field(default_factory=list)
    calm: int = 0

    def add(self, outcome: Outcome) -> None:
        self.schedules += 1
        self.steps += outcome.steps
        self.ran += outcome.ran
        self.orphans += outcome.orphans
        self.left_held += outcome.left_held
        self.counts.update(outcome.counts)
        self.parks.update(outcome.parks)
        self.states[outcome.state] += 1
        self.calm += not outcome.faulty
        if outcome.broken and len(self.broken) < 100:
            self.broken.append(outcome)

    def merge(self, other: Report) -> None:
        self.schedules += other.schedules
        self.steps += other.steps
        self.ran += other.ran
        self.orphans += other.orphans
        self.left_held += other.left_held
        self.counts.update(other.counts)
        self.parks.update(other.parks)
        self.states.update(other.states)
        self.calm += other.calm
        self.broken += other.broken

    def broken_promises(self, *words: str) -> int:
        """Count the broken schedules whose promise holds one of these words."""
        return sum(any(word in outcome.promise for word in words) for outcome in self.broken)


def run_range(first: int, count: int, mutation: str = "", *, stop_at_first: bool = False) -> Report:
    """Run the schedules of consecutive seeds in this process."""
    report = Report()
    with mutated(mutation):
        for seed in range(first, first + count):
            outcome = simulate(seed)
            report.add(outcome)
            if outcome.broken and stop_at_first:
                break
    return report


def _job(job: tuple[int, int, str]) -> Report:
    return run_range(*job)


def run_many(
    first: int, count: int, workers: int, mutation: str = "", progress: Callable[[Report, float], None] | None = None
) -> Report:
    """Run the schedules of consecutive seeds in several processes; the report is the same for any number of them."""
    report, began = Report(), time.monotonic()
    jobs: Iterator[tuple[int, int, str]] = (
        (start, min(CHUNK, first + count - start), mutation) for start in range(first, first + count, CHUNK)
    )
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers or os.cpu_count() or 1) as pool:
        for part in pool.imap(_job, jobs):
            report.merge(part)
            if progress is not None:
                progress(report, time.monotonic() - began)
    return report


def told(report: Report) -> str:
    """Return the report for people."""
    faults = sum(count for name, count in report.counts.items() if ": " in name and name.split(":")[0] in FAULTY)
    lines = [
        f"{report.schedules} schedules, {report.steps} steps, {report.ran} jobs ran, {faults} faults; "
        f"{report.calm} schedules without a fault",
        f"{report.broken_promises('one job', 'no attempt', 'no resend')} duplicates, "
        f"{report.broken_promises('lost', 'comes to an end')} lost, {len(report.broken)} broken promises in all",
        f"{report.orphans} jobs of deleted runs, {report.left_held} second copies left held (never ran)",
        "ended as: " + ", ".join(f"{state} {count}" for state, count in sorted(report.states.items())),
        f"parked {sum(report.parks.values())} times:",
        *(f"  {count:8d}  {reason}" for reason, count in sorted(report.parks.items(), key=lambda item: -item[1])),
    ]
    for outcome in report.broken[:10]:
        lines.append(f"BROKEN seed {outcome.seed}: {outcome.detail}")
    return "\n".join(lines)


FAULTY = ("submit", "find", "poll", "release", "cancel", "discard", "result", "read", "identify", "act", "answer",
          "store get", "store set", "task state", "fault", "worker", "triggerer", "trigger")  # fmt: skip


def coverage(report: Report) -> str:
    """Return how often each fault, point and pair of state and act came up."""
    return "\n".join(f"{count:9d}  {name}" for name, count in sorted(report.counts.items()))
