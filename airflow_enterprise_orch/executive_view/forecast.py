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
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from math import log
from typing import Literal

MOST_PAST = 200
"""How many ended instances are looked at, the newest."""
FEWEST_PAST = 8
"""With fewer there is not enough history."""
DRAWS = 100
"""How often an instance is played to its end: P90 is then as sure as that of 100 instances, which few streams have."""

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
        play = _Play(self, live, began.timestamp(), now.timestamp())
        if play.unknown:
            return Outlook(len(self.past), problem=f"not enough history: no instance went through {play.unknown!r}")
        dice = random.Random(seed)  # noqa: S311 - a simulation, no secret
        agreeing = [one for one in self.past if self._agrees(one, live)] or self.past
        ends: list[float] = []
        for _ in range(DRAWS):
            if not play.once(dice.random, agreeing, ends):
                return Outlook(len(self.past), problem=f"not enough history: no instance went through {play.unknown!r}")
        zone = now.tzinfo
        ends.sort()
        return Outlook(
            len(self.past),
            datetime.fromtimestamp(share(ends, 0.5), zone),
            datetime.fromtimestamp(share(ends, 0.9), zone),
            steps={name: _step_outlook(starts, seen, zone) for name, starts, seen in play.seen() if seen},
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

    def rest(self, name: str, elapsed: float) -> Rest | None:
        """Return what is known of how long a step goes on that has lasted ``elapsed``; None without history of it."""
        known = self._lasted.get(name)
        if not known:
            return None
        longer = bisect_right(known, elapsed)
        if longer < len(known):
            return Rest(tuple(one - elapsed for one in known[longer:]))
        # Longer than ever: it goes on as those beyond the median went beyond it. Where all took alike, that is nothing.
        median = share(known, 0.5)
        beyond = [one - median for one in known if one > median]
        return Rest((0.0,), sum(beyond) / len(beyond) if beyond else 0.0)

    def went(self, decider: str) -> Sequence[Mapping[str, Took]]:
        """Return the past instances that decided at a step."""
        return self._went.get(decider, ())

    def named_by(self, step: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the deciding steps that name a step, and those that it comes after on another path of theirs."""
        return self._named.get(step, ((), ()))


@dataclass(frozen=True, slots=True)
class Rest:
    """How long a step goes on.

    :param some: seconds, of which chance picks one.
    :param mean: of what comes on top, which nobody has seen the end of; 0 for nothing.
    """

    some: tuple[float, ...]
    mean: float = 0.0

    def pick(self, chance: Callable[[], float]) -> float:
        """Return one."""
        picked = self.some[int(chance() * len(self.some))]
        return picked - self.mean * log(1.0 - chance()) if self.mean else picked


@dataclass(slots=True)
class _Turn:
    """One step that is not over, and all that is the same however often it is played.

    :param after: places of the steps that it comes after.
    :param deciders: places of the deciding steps that name it; ``others``: of what it comes after on another path.
    :param rest: of one at work.
    :param decides: whether it chooses, and nobody knows what.
    """

    place: int
    name: str
    after: tuple[int, ...]
    deciders: tuple[int, ...]
    others: tuple[int, ...]
    took: Sequence[Took]
    started: float | None
    until: float | None
    rest: Rest | None
    decides: bool
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)


class _Play:
    """One instance, played to its end again and again. It is played for each live instance: every line counts."""

    def __init__(self, history: History, live: Mapping[str, Now], began: float, now: float) -> None:
        self.history, self.now, self.began = history, now, began
        self.unknown = ""
        places = {step.id: place for place, step in enumerate(history.steps)}
        self.ran = [False] * len(places)
        self.over = [began] * len(places)
        known: set[str] = set()
        self.floor = began
        for name, step in live.items():
            if name not in places or step.state not in ("over", "skipped"):
                continue
            known.add(name)
            ran = step.state == "over"
            ended = step.ended or (step.started if ran else None)
            self.ran[places[name]] = ran
            self.over[places[name]] = ended.timestamp() if ended else now if ran else began
            if ran:
                self.floor = max(self.floor, self.over[places[name]])
        self.chose: list[Container[str] | None] = [None] * len(places)
        for name, step in live.items():
            if name in places and step.chose is not None:
                self.chose[places[name]] = step.chose
        self.turns = [self._turn(step, places, live.get(step.id)) for step in history.steps if step.id not in known]

    def _turn(self, step: Step, places: Mapping[str, int], now: Now | None) -> _Turn:
        started = until = rest = None
        if now is not None:
            until = now.until.timestamp() if now.until is not None else None
            if now.state == "running":
                started = now.started.timestamp() if now.started else self.now
                rest = Rest((max(0.0, until - self.now),)) if until is not None else None
                rest = rest or self.history.rest(step.id, self.now - started)
                if rest is None:
                    self.unknown = step.id
        deciders, others = self.history.named_by(step.id)
        place = places[step.id]
        return _Turn(
            place,
            step.id,
            tuple(places[one] for one in step.after if one in places),
            tuple(places[one] for one in deciders),
            tuple(places[one] for one in others if one in places),
            self.history.took(step.id),
            started,
            until,
            rest,
            bool(step.leads_to) and self.chose[place] is None,
        )

    def seen(self) -> Iterator[tuple[str, list[float], list[float]]]:
        """Yield when each step that is not over began and ended, each time that it ran."""
        for turn in self.turns:
            yield turn.name, turn.starts, turn.ends

    def once(self, chance: Callable[[], float], agreeing: Sequence[Mapping[str, Took]], ends: list[float]) -> bool:
        """Play it once; return False where there is no history for a step that comes.

        :param agreeing: past instances that went the way of this one.
        :param ends: gets the end.
        """
        base = agreeing[int(chance() * len(agreeing))]
        ran, over, chose = self.ran.copy(), self.over.copy(), self.chose.copy()
        last, now = self.floor, self.now
        for turn in self.turns:
            place = turn.place
            ready = max([over[one] for one in turn.after]) if turn.after else self.began
            if turn.rest is not None and turn.started is not None:
                started = turn.started
                end = now + turn.rest.pick(chance)
            elif not self._runs(turn, ran, chose):
                over[place] = ready
                continue
            else:
                if not turn.took:
                    self.unknown = turn.name
                    return False
                one = turn.took[int(chance() * len(turn.took))]
                started = ready + one.waited
                if started < now:
                    started = now
                end = started + one.lasted if turn.until is None else max(started, turn.until)
            ran[place], over[place] = True, end
            if end > last:
                last = end
            turn.starts.append(started)
            turn.ends.append(end)
            if turn.decides:
                way = base
                if turn.name not in base:
                    went = self.history.went(turn.name)
                    if not went:
                        self.unknown = turn.name
                        return False
                    way = went[int(chance() * len(went))]
                chose[place] = way
        ends.append(last if last > now else now)
        return True

    @staticmethod
    def _runs(turn: _Turn, ran: Sequence[bool], chose: Sequence[Container[str] | None]) -> bool:
        if not turn.deciders:
            return not turn.after or any([ran[one] for one in turn.after])
        for decider in turn.deciders:
            if ran[decider]:
                # One that has decided in a way that nobody knows did not skip the step.
                chosen = chose[decider]
                if chosen is None or turn.name in chosen:
                    return True
        return any([ran[one] for one in turn.others])


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
    seconds = {name: (start.timestamp(), end.timestamp()) for name, (start, end) in ran.items()}
    return took_seconds(began.timestamp(), steps, seconds)


def took_seconds(began: float, steps: Sequence[Step], ran: Mapping[str, tuple[float, float]]) -> dict[str, Took]:
    """Do the same for moments in seconds."""
    over: dict[str, float] = {}
    result: dict[str, Took] = {}
    for step in steps:
        ready = max([over[one] for one in step.after if one in over], default=began)
        moments = ran.get(step.id)
        if moments is None:
            over[step.id] = ready
            continue
        start, end = moments
        over[step.id] = max(end, ready)
        result[step.id] = Took(max(0.0, start - ready), max(0.0, end - start))
    return result
