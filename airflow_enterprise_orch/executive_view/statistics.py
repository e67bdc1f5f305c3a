"""What ended instances of one stream tell: how long steps take, which ways are taken, where the time goes. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from airflow_enterprise_orch.executive_view.forecast import FEWEST_PAST, Step, share
from airflow_enterprise_orch.executive_view.lost_time import longest_way, own_times

MOST_PATHS = 20
OTHERWISE = "otherwise"


@dataclass(frozen=True)
class PastStep:
    """One step of an ended instance.

    :param state: how it ended: success, warning, failed, or anything else where it did not run.
    :param fired: of a deciding step the ids of the ways that counted.
    :param chose: of a deciding step the steps that it chose; None where that is not known.
    """

    state: str
    queued: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    tries: int = 1
    fired: tuple[str, ...] = ()
    chose: tuple[str, ...] | None = None
    overridden: bool = False

    @property
    def ran(self) -> bool:
        """Whether it ran to its end."""
        return self.state in ("success", "warning") and self.started is not None and self.ended is not None


@dataclass(frozen=True)
class PastRun:
    """One ended instance.

    :param began: when its first steps could begin.
    """

    began: datetime
    ended: datetime
    well: bool
    steps: Mapping[str, PastStep]

    def moments(self) -> dict[str, tuple[datetime, datetime]]:
        """Return beginning and end of the steps that ran to their end."""
        return {
            name: (step.started, step.ended)
            for name, step in self.steps.items()
            if step.ran and step.started is not None and step.ended is not None
        }


@dataclass(frozen=True)
class OfStep:
    """One step, over all instances; durations in seconds.

    :param own_p50: of its own time, which begins when the last step ended that it comes after; see ``lost_time.py``.
    """

    instances: int = 0
    p50: float | None = None
    p90: float | None = None
    queued_p50: float | None = None
    failed: int = 0
    retried: int = 0
    share: float | None = None
    own_p50: float | None = None


@dataclass(frozen=True)
class OfDecision:
    """One deciding step, over all instances.

    :param ways: how often each way counted, by its id.
    :param chose: how often each step was chosen.
    """

    decisions: int
    overridden: int
    ways: Mapping[str, int]
    chose: Mapping[str, int]


@dataclass(frozen=True)
class Statistics:
    """All instances together.

    :param paths: the ids of the steps that ran, and how often exactly these; the most frequent first.
    """

    instances: int
    p50: float | None
    p90: float | None
    steps: Mapping[str, OfStep]
    decisions: Mapping[str, OfDecision]
    paths: Sequence[tuple[tuple[str, ...], int]] = field(default_factory=tuple)

    @property
    def usual(self) -> dict[str, float]:
        """The usual own times of the steps that ran often enough to say so."""
        return {
            name: step.own_p50
            for name, step in self.steps.items()
            if step.own_p50 is not None and step.instances >= FEWEST_PAST
        }

    @property
    def bottleneck(self) -> str | None:
        """The step with the largest share."""
        known = {name: step.share for name, step in self.steps.items() if step.share}
        return max(known, key=lambda name: (known[name], name)) if known else None

    @property
    def heat(self) -> dict[str, float]:
        """The shares."""
        return {name: step.share for name, step in self.steps.items() if step.share is not None}

    @property
    def ways(self) -> dict[tuple[str, str], float]:
        """How often a deciding step led to a step."""
        return {
            (name, target): round(many / told.decisions, 4)
            for name, told in self.decisions.items()
            if told.decisions
            for target, many in told.chose.items()
        }


def statistics(flow: Sequence[Step], runs: Sequence[PastRun]) -> Statistics:
    """Add instances up.

    :param flow: the steps, each after those that it comes after.
    """
    lasted = sorted((run.ended - run.began).total_seconds() for run in runs if run.well)
    shares = _shares(flow, runs)
    own = _own(flow, runs)
    decisions = {step.id: _decision(step, runs) for step in flow}
    paths = Counter(tuple(step.id for step in flow if step.id in ran) for ran in (run.moments() for run in runs))
    return Statistics(
        len(runs),
        _part(lasted, 0.5),
        _part(lasted, 0.9),
        {step.id: _step(step.id, runs, shares.get(step.id), own.get(step.id, [])) for step in flow},
        {name: told for name, told in decisions.items() if told.decisions},
        sorted(paths.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST_PATHS],
    )


def _own(flow: Sequence[Step], runs: Sequence[PastRun]) -> dict[str, list[float]]:
    found: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        for name, seconds in own_times(flow, run.began, run.moments()).items():
            found[name].append(seconds)
    return {name: sorted(every) for name, every in found.items()}


def _step(name: str, runs: Sequence[PastRun], part: float | None, own: Sequence[float]) -> OfStep:
    lasted: list[float] = []
    queued: list[float] = []
    failed = retried = 0
    for run in runs:
        step = run.steps.get(name)
        if step is None:
            continue
        failed += step.state == "failed"
        retried += step.tries > 1
        if step.ran and step.started is not None and step.ended is not None:
            lasted.append((step.ended - step.started).total_seconds())
            if step.queued is not None:
                queued.append(max(0.0, (step.started - step.queued).total_seconds()))
    lasted.sort()
    queued.sort()
    parts = (_part(lasted, 0.5), _part(lasted, 0.9), _part(queued, 0.5))
    return OfStep(len(lasted), *parts, failed, retried, part, _part(own, 0.5))


def _decision(step: Step, runs: Sequence[PastRun]) -> OfDecision:
    ways: Counter[str] = Counter()
    chose: Counter[str] = Counter()
    decisions = overridden = 0
    for run in runs:
        past = run.steps.get(step.id)
        if past is None or not past.ran or (past.chose is None and not past.fired):
            continue
        decisions += 1
        overridden += past.overridden
        ways.update(past.fired)
        chose.update(past.chose or ())
    return OfDecision(decisions, overridden, ways, chose)


def _shares(flow: Sequence[Step], runs: Sequence[PastRun]) -> dict[str, float]:
    """Return each step's part of the time of the instances' longest ways; see ``lost_time.py``."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for run in runs:
        ran = run.moments()
        if not run.well or not ran:
            continue
        own = own_times(flow, run.began, ran)
        for name in longest_way(flow, ran):
            seconds[name] += own[name]
    whole = sum(seconds.values())
    return {name: round(some / whole, 4) for name, some in seconds.items()} if whole else {}


def _part(ordered: Sequence[float], part: float) -> float | None:
    return share(ordered, part) if ordered else None
