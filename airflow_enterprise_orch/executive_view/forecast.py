"""When a live instance will probably end, told from instances of the same stream that have ended well. Pure.

The instance is played to its end some hundred times. Each time the steps that are still to come last as long as they
did in a past instance that chance picks, deciding steps choose as they did in one, and a step that is at work lasts as
long as one that had lasted at least as long as it has until now. P50 and P90 are taken over all endings.

Chance is seeded by the instance, so the same history and the same instance give the same answer, in every process; and
as the instance goes on, the answer moves because something happened, not because the dice fell otherwise.

What it does not do is invent: with too few instances, or where a step is to come that none of them went through, it
says so and gives no times. What nobody can know, a person's answer to a parked job or the end of a hold, counts as if
it came at once: such a forecast is "not before".
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Literal

MOST_PAST = 200
"""How many ended instances are looked at, the newest."""
FEWEST_PAST = 8
"""With fewer there is not enough history."""
DRAWS = 200
"""How often an instance is played to its end."""

State = Literal["open", "running", "over", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a stream.

    :param after: the steps that it waits for, deciding ones that name it among them.
    :param leads_to: of a deciding step, all steps that its ways lead to.
    """

    id: str
    after: tuple[str, ...] = ()
    leads_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Took:
    """How long a step took in a past instance, in seconds.

    :param waited: from the end of all that it comes after to its beginning.
    :param lasted: from its beginning to its end, all tries.
    """

    waited: float
    lasted: float


@dataclass(frozen=True, slots=True)
class Now:
    """How a step of a live instance is.

    :param until: when it ends, where that is known: the moment that it waits for.
    :param chose: of a deciding step the steps that it chose, or is to choose, where that is known.
    """

    state: State = "open"
    started: datetime | None = None
    ended: datetime | None = None
    until: datetime | None = None
    chose: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class StepOutlook:
    """What is expected of one step that is not over.

    :param odds: in how many of the endings it ran; 0 to 1. The moments are over these.
    """

    odds: float
    start: datetime
    p50: datetime
    p90: datetime


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is expected of an instance.

    :param instances: how many past instances it is told from.
    :param problem: why there are no moments; "" where there are.
    :param outlasted: steps at work that have lasted longer than they ever did.
    """

    instances: int
    p50: datetime | None = None
    p90: datetime | None = None
    problem: str = ""
    steps: Mapping[str, StepOutlook] = field(default_factory=dict)
    outlasted: tuple[str, ...] = ()


class History:
    """What the past of one stream says, ready to be asked for many instances.

    :param steps: of the stream as it is now, each after those that it comes after.
    :param past: how long the steps of instances that ended well took; steps that did not run are not in them.
    """

    def __init__(self, steps: Sequence[Step], past: Iterable[Mapping[str, Took]]) -> None:
        self.steps = tuple(steps)
        known = {step.id for step in self.steps}
        self.past = [
            {name: took for name, took in one.items() if name in known} for one in list(past)[:MOST_PAST] if one
        ]
        self._took: dict[str, list[Took]] = {step.id: [] for step in self.steps}
        for one in self.past:
            for name, took in one.items():
                self._took[name].append(took)
        self._lasted = {name: sorted(took.lasted for took in all_) for name, all_ in self._took.items()}
        self._went = {step.id: [one for one in self.past if step.id in one] for step in self.steps if step.leads_to}
        self._named = _named(self.steps)

    def outlook(self, live: Mapping[str, Now], *, began: datetime, now: datetime, seed: str) -> Outlook:
        """Tell when an instance ends.

        :param live: its steps; those that are not in it are open.
        :param began: when it began, or will: the first steps are ready from then on.
        :param seed: names the instance.
        """
        problem = self._problem(live)
        if problem:
            return Outlook(len(self.past), problem=problem)
        dice = random.Random(seed)  # noqa: S311 - a simulation, no secret
        agreeing = [one for one in self.past if self._agrees(one, live)] or self.past
        ends: list[float] = []
        starts_of: dict[str, list[float]] = {}
        ends_of: dict[str, list[float]] = {}
        play = _Play(self, live, began.timestamp(), now.timestamp())
        for _ in range(DRAWS):
            if not play.once(dice, agreeing, starts_of, ends_of, ends):
                return Outlook(len(self.past), problem=f"not enough history: no instance went through {play.unknown!r}")
        zone = now.tzinfo
        ends.sort()
        steps = {name: _step_outlook(starts_of[name], seen, zone) for name, seen in ends_of.items()}
        return Outlook(
            len(self.past),
            datetime.fromtimestamp(share(ends, 0.5), zone),
            datetime.fromtimestamp(share(ends, 0.9), zone),
            steps=steps,
            outlasted=tuple(
                name
                for name, step in live.items()
                if step.state == "running" and step.started and step.until is None and self._outlasted(name, step, now)
            ),
        )

    def _problem(self, live: Mapping[str, Now]) -> str:
        if any(step.state == "failed" for step in live.values()):
            return "a step failed: somebody has to act before it goes on"
        if len(self.past) < FEWEST_PAST:
            ended = f"{len(self.past)} instance{'' if len(self.past) == 1 else 's'} ended well"
            return f"not enough history: {ended}, {FEWEST_PAST} are needed"
        return ""

    def _outlasted(self, name: str, step: Now, now: datetime) -> bool:
        known = self._lasted.get(name)
        return bool(known) and step.started is not None and (now - step.started).total_seconds() > known[-1]  # type: ignore[index]

    @staticmethod
    def _agrees(one: Mapping[str, Took], live: Mapping[str, Now]) -> bool:
        """Tell whether a past instance went the way that this one has gone so far."""
        for name, step in live.items():
            if step.state in ("over", "running"):
                if name not in one:
                    return False
            elif step.state == "skipped" and name in one:
                return False
        return True

    def took(self, name: str) -> list[Took]:
        """Return all times that a step took."""
        return self._took.get(name, [])

    def rest(self, name: str, elapsed: float, dice: random.Random) -> float | None:
        """Return how long a step goes on that has lasted ``elapsed``; None without any history of it."""
        known = self._lasted.get(name)
        if not known:
            return None
        longer = bisect_right(known, elapsed)
        if longer < len(known):
            return known[dice.randrange(longer, len(known))] - elapsed
        # Longer than ever: it goes on as those beyond the median went beyond it. Where all took alike, that is nothing.
        median = share(known, 0.5)
        beyond = [one - median for one in known if one > median]
        return dice.expovariate(len(beyond) / sum(beyond)) if beyond and sum(beyond) > 0 else 0.0

    def chosen(self, decider: str, base: Mapping[str, Took], dice: random.Random) -> Mapping[str, Took] | None:
        """Return the past instance whose choice a deciding step makes; None when none decided there."""
        if decider in base:
            return base
        went = self._went[decider]
        return went[dice.randrange(len(went))] if went else None

    def named_by(self, step: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the deciding steps that name a step, and those that it comes after on another path of theirs."""
        return self._named.get(step, ((), ()))


class _Play:
    """One instance, played to its end again and again."""

    def __init__(self, history: History, live: Mapping[str, Now], began: float, now: float) -> None:
        self.history, self.now, self.began = history, now, began
        self.unknown = ""
        self.known: dict[str, tuple[bool, float]] = {}
        self.running: dict[str, tuple[float, float | None]] = {}
        self.until = {name: step.until.timestamp() for name, step in live.items() if step.until is not None}
        for name, step in live.items():
            if step.state == "over":
                ended = step.ended or step.started
                self.known[name] = (True, ended.timestamp() if ended else now)
            elif step.state == "skipped":
                self.known[name] = (False, step.ended.timestamp() if step.ended else began)
            elif step.state == "running":
                self.running[name] = (step.started.timestamp() if step.started else now, self.until.get(name))
        self.chose = {name: step.chose for name, step in live.items() if step.chose is not None}
        self.open = [step for step in history.steps if step.id not in self.known]
        self.floor = max([began, *(end for ran, end in self.known.values() if ran)])

    def once(
        self,
        dice: random.Random,
        agreeing: Sequence[Mapping[str, Took]],
        starts_of: dict[str, list[float]],
        ends_of: dict[str, list[float]],
        ends: list[float],
    ) -> bool:
        """Play it once; return False where there is no history for a step that comes."""
        base = agreeing[dice.randrange(len(agreeing))]
        over = dict(self.known)
        chose: dict[str, Container[str]] = dict(self.chose)
        last = self.floor
        for step in self.open:
            name = step.id
            ready = max((over[one][1] for one in step.after if one in over), default=self.began)
            if name in self.running:
                started, until = self.running[name]
                rest = max(0.0, (until or 0.0) - self.now)
                if until is None:
                    told = self.history.rest(name, self.now - started, dice)
                    if told is None:
                        self.unknown = name
                        return False
                    rest = told
            elif not self._runs(step, over, chose):
                over[name] = (False, ready)
                continue
            else:
                took = self.history.took(name)
                if not took:
                    self.unknown = name
                    return False
                one = took[dice.randrange(len(took))]
                started = max(self.now, ready + one.waited)
                end_at = self.until.get(name)
                rest = one.lasted if end_at is None else max(0.0, end_at - started)
            end = (self.now if name in self.running else started) + rest
            over[name] = (True, end)
            last = max(last, end)
            starts_of.setdefault(name, []).append(started)
            ends_of.setdefault(name, []).append(end)
            if step.leads_to and name not in self.chose:
                way = self.history.chosen(name, base, dice)
                if way is None:
                    self.unknown = name
                    return False
                chose[name] = way
        ends.append(max(last, self.now))
        return True

    def _runs(self, step: Step, over: Mapping[str, tuple[bool, float]], chose: Mapping[str, Container[str]]) -> bool:
        if not step.after:
            return True
        deciders, others = self.history.named_by(step.id)
        if not deciders:
            return any(over.get(one, (False, 0.0))[0] for one in step.after)
        for decider in deciders:
            # One that has decided in a way that nobody knows did not skip the step.
            if over.get(decider, (False, 0.0))[0] and step.id in chose.get(decider, (step.id,)):
                return True
        return any(over.get(one, (False, 0.0))[0] for one in others)


def _named(steps: Sequence[Step]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return, of each step that is named by deciding ones, these, and what it comes after on another of their paths."""
    before: dict[str, set[str]] = {}
    for step in steps:
        before[step.id] = set(step.after).union(*(before.get(one, set()) for one in step.after))
    named: dict[str, list[str]] = {}
    for step in steps:
        for target in step.leads_to:
            named.setdefault(target, []).append(step.id)
    after = {step.id: step.after for step in steps}
    return {
        target: (
            tuple(deciders),
            tuple(
                one
                for one in after.get(target, ())
                if one not in deciders and any(decider in before[one] for decider in deciders)
            ),
        )
        for target, deciders in named.items()
    }


def _step_outlook(starts: list[float], ends: list[float], zone: tzinfo | None) -> StepOutlook:
    starts.sort()
    ends.sort()
    start, p50, p90 = share(starts, 0.5), share(ends, 0.5), share(ends, 0.9)
    return StepOutlook(len(ends) / DRAWS, *(datetime.fromtimestamp(one, zone) for one in (start, p50, p90)))


def share(ordered: Sequence[float], part: float) -> float:
    """Return the value that ``part`` of the values do not exceed, between its neighbours.

    :param ordered: at least one, the smallest first.
    """
    place = part * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def took(began: datetime, steps: Sequence[Step], ran: Mapping[str, tuple[datetime, datetime]]) -> dict[str, Took]:
    """Return how long the steps of an ended instance took.

    :param began: when the first steps could have begun.
    :param steps: of the stream, each after those that it comes after.
    :param ran: beginning and end of the steps that ran.
    """
    over: dict[str, datetime] = {}
    result: dict[str, Took] = {}
    for step in steps:
        ready = max((over[one] for one in step.after if one in over), default=began)
        if step.id not in ran:
            over[step.id] = ready
            continue
        start, end = ran[step.id]
        over[step.id] = max(end, ready)
        waited, lasted = (start - ready).total_seconds(), (end - start).total_seconds()
        result[step.id] = Took(max(0.0, waited), max(0.0, lasted))
    return result
