"""What a run says in the end: how many were killed of each kind, what was in flight, what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .runner import Run
from .verdict import Evidence, Verdict


def lines(run: Run, evidence: Evidence, verdict: Verdict) -> Iterator[str]:
    """Yield the report line by line."""
    met = [struck.strike for struck in run.world.struck if struck.whom]
    kills = Counter(f"{strike.victim.value} ({strike.how.value})" for strike in met if strike.kills)
    pauses = Counter(strike.victim.value for strike in met if not strike.kills)
    yield f"seed {run.plan.seed}: {sum(kills.values())} kills, {sum(pauses.values())} pauses, {run.started} instances"
    yield f"  killed: {_told(kills)}"
    yield f"  paused and woken up again: {_told(pauses)}"
    yield f"  came down by themselves and were started again: {_told(run.world.collateral)}"
    acts = Counter(f"{act.wish.value} while {act.before or 'cleared with another'}" for act in evidence.acts)
    yield f"  people: {_told(acts)}; not answered: {sum(act.accepted is None for act in evidence.acts)}"
    yield f"  at most {run.most_in_flight} instances in flight; calm {run.calmed_after:.0f} s after the last strike"
    yield f"  {_told(verdict.counts)}"
    for step, reason in verdict.parked.items():
        yield f"  parked: {step}: {reason}"
    for problem in verdict.problems:
        yield f"  NOT AS PROMISED: {problem}"
    doubled = sum(problem.startswith(("DUPLICATE", "TWO AT ONCE")) for problem in verdict.problems)
    lost = sum(problem.startswith(("LOST", "OPEN FOR EVER")) for problem in verdict.problems)
    yield f"  {doubled} duplicates, {lost} lost or open for ever, {len(verdict.parked)} parked with a reason"


def kinds_killed(run: Run) -> set[str]:
    """Return who was really killed."""
    return {struck.strike.victim.value for struck in run.world.struck if struck.whom and struck.strike.kills}


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
