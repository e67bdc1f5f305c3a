"""What is to happen in one case: drawn from its seed alone, so a seed is a case."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from .fast_time import RATE
from .systems import SYSTEMS, Releases, System

EXECUTE = (
    "before_claim",
    "after_claim",
    "before_send",
    "sent",
    "after_answer",
    "after_persist",
    "after_release_sent",
    "after_release",
    "before_defer",
)
RELEASE = ("after_release_sent", "after_release")
COLLECT = ("before_result", "after_result", "after_close")
POINTS = (*EXECUTE, "waiting", *COLLECT)

WRITES_FOLLOW = frozenset(POINTS) - {"after_release", "before_defer", "waiting", "after_close"}
"""Points after which the same process writes once more; a trigger never does."""

NETWORK = (
    "cut_before_commit",
    "cut_after_commit",
    "half_answer",
    "timeout",
    "timeout_committed",
    "error_500",
    "html_503",
    "late",
    "too_late",
)
LATE = ("late", "too_late")
AFTER_SETTLE = ("too_late", "timeout")
"""Those after which a request may take effect when the settle time is over; a client gives up before that."""
STORE = ("refuse_write", "refuse_written", "stall_write")
WORLD = ("kill", "zombie", "clear", "gone", "recreated", "repointed", "sigterm")
KINDS = (*NETWORK, *STORE, *WORLD)

FAULTS = {
    "timeout": "slow",
    "timeout_committed": "slow_answer",
    "late": "late_commit",
    "too_late": "late_commit",
}
"""What the lab calls them; the others are named there as they are here."""
LATE_SECONDS = 0.2
"""Real ones: well within every settle time."""

MEETS = {
    "before_claim": "find",
    "after_claim": "find",
    "before_send": "submit",
    "sent": "submit",
    "after_answer": "find",
    "after_persist": "release",
    "after_release_sent": "release",
    "after_release": "poll",
    "before_defer": "poll",
    "waiting": "poll",
    "before_result": "poll",
    "after_result": "any",
    "after_close": "any",
}
"""Which operation meets the network's fault of an incident at a point, by default."""


@dataclass(frozen=True)
class Incident:
    """One blow.

    :param point: the named point that it strikes.
    :param kind: one of :data:`KINDS`; those of the network come with a kill at the point.
    :param on: of a fault of the network: the operation that meets it.
    :param after: what becomes of a process that was stopped: ``kill``, ``go_on`` at once, or ``zombie``.
    :param wake_at: the point of a later try at which a zombie wakes up, and a stalled write lands; "" for the very end.
    :param bump: Airflow counts the clear in ``max_tries``, as it may or may not do for a task that runs.
    :param heard: the waiting trigger is told that it was killed.
    :param seconds: how many real seconds its fault takes.
    """

    point: str
    kind: str
    on: str = ""
    after: str = "kill"
    wake_at: str = ""
    bump: bool = True
    heard: bool = True
    seconds: float = 0.0

    @property
    def fault(self) -> dict[str, Any]:
        """What the lab is told."""
        told = {"on": self.on, "do": FAULTS.get(self.kind, self.kind)}
        return {**told, "seconds": self.seconds} if self.seconds else told


@dataclass(frozen=True)
class Case:
    """One case.

    :param good: the job ends well.
    :param rules: the step's retry rules.
    :param fates: what the lab makes of the next jobs.
    :param seconds: how long the job runs, in real ones.
    """

    seed: str
    system: str
    incidents: tuple[Incident, ...]
    good: bool = True
    rules: tuple[dict[str, Any], ...] = ()
    fates: tuple[str, ...] = ()
    seconds: float = 0.03

    @property
    def about(self) -> System:
        """What is peculiar to its system."""
        return SYSTEMS[self.system]


def possible(system: str, point: str, kind: str) -> bool:
    """Tell whether a kind of fault can strike a system at a point at all."""
    about = SYSTEMS[system]
    if point in RELEASE:
        if about.releases is Releases.NEVER:
            return False  # only what was created held, or is found so, is released
        if kind in AFTER_SETTLE and "release" not in about.after_settle:
            return False
    if point == "waiting" and not about.waits:
        return False  # its job is over before anybody waits for it
    if kind in about.cannot:
        return False
    if kind in LATE:
        # Only what changes something can take effect late; and what landed in time is found, not answered.
        if point == "waiting" or point in COLLECT:
            return False
        return point != "after_answer" or (kind == "too_late" and not about.unprotected)
    if kind in STORE:
        # Without a release nothing is left to be written once the handle is.
        return point in WRITES_FOLLOW and (point != "after_persist" or about.releases is Releases.ALWAYS)
    return True


LANES: tuple[tuple[str, ...], ...] = (
    ("before_claim", "after_claim", "before_send"),
    ("sent", "after_answer"),
    ("after_persist", "after_release_sent", "after_release", "before_defer"),
    ("waiting",),
    COLLECT,
)
"""Points in the order in which the tries of one step come by: one blow in each makes one case."""


def cells() -> list[tuple[str, str]]:
    """Return every point with every kind of fault that is possible there."""
    return [(point, kind) for point in POINTS for kind in KINDS if any(possible(s, point, kind) for s in SYSTEMS)]


@cache
def grid(only: str = "") -> tuple[Case, ...]:
    """Return as few cases as strike every point with every kind of fault that is possible there.

    :param only: on this system; on all of them, each in its share, for "".
    """
    name = f"grid@{only}" if only else "grid"
    chance = random.Random(name)
    names = [only] if only else list(SYSTEMS)
    lanes = [
        [cell for cell in cells() if cell[0] in points and any(possible(each, *cell) for each in names)]
        for points in LANES
    ]
    for lane in lanes:
        chance.shuffle(lane)
    cases: list[Case] = []
    while any(lanes):
        # Whoever can take the first cell of the lane that has most left: so none is left over for the end.
        longest = max(lanes, key=len)
        able = [each for each in names if possible(each, *longest[0])]
        had = Counter(case.system for case in cases)
        system = min(able, key=lambda each: (had[each] + chance.random()) / SYSTEMS[each].share)
        struck: list[tuple[str, str]] = []
        for lane in lanes:
            fits = next((cell for cell in lane if possible(system, *cell) and _comes_after(system, cell, struck)), None)
            if fits is not None:
                lane.remove(fits)
                struck.append(fits)
        if struck:
            cases.append(drawn(f"{name}:{len(cases)}", system, struck))
    return tuple(cases)


def _comes_after(system: str, cell: tuple[str, str], struck: Sequence[tuple[str, str]]) -> bool:
    """Tell whether a step still comes by a cell's point when it was struck so before."""
    if any(kind == "gone" for _, kind in struck):
        return False
    # Whether a job is found held is then decided by the blow that its submit got.
    adopted = SYSTEMS[system].releases is Releases.ADOPTED and cell[0] in RELEASE
    return not (adopted and any(point in ("sent", "after_answer") for point, _ in struck))


def randomised(seed: int, cases: int, only: str = "") -> Iterator[Case]:
    """Yield cases at random, the same for the same seed."""
    for number in range(cases):
        yield drawn(f"{seed}@{only}:{number}" if only else f"{seed}:{number}", only)


def from_seed(seed: str) -> Case:
    """Return the case of a seed, for a replay."""
    kind, _, which = seed.partition(":")
    kind, _, only = kind.partition("@")
    if kind == "grid":
        return grid(only)[int(which)]
    if kind == "alone":
        point, _, fault = which.partition(":")
        return alone(point, fault, only)
    return drawn(seed, only)


def alone(point: str, kind: str, only: str = "") -> Case:
    """Return the case of one blow."""
    seed = f"alone@{only}:{point}:{kind}" if only else f"alone:{point}:{kind}"
    systems = [only] if only else [system for system in SYSTEMS if possible(system, point, kind)]
    return drawn(seed, random.Random(seed).choice(systems), [(point, kind)])


def drawn(seed: str, system: str = "", blows: Sequence[tuple[str, str]] = ()) -> Case:
    """Draw one case.

    :param blows: points and kinds, if they are chosen already.
    """
    chance = random.Random(seed)
    system = system or chance.choices(list(SYSTEMS), [about.weight for about in SYSTEMS.values()])[0]
    about = SYSTEMS[system]
    struck = list(blows)
    while not blows and len(struck) < 6 and (not struck or chance.random() < 0.5):
        point, kind = chance.choice(POINTS), chance.choice(KINDS)
        if possible(system, point, kind):
            struck.append((point, kind))
    if not blows:
        # A later try is rarely at an earlier point than the one before it, unless the work begins anew.
        struck.sort(key=lambda blow: POINTS.index(blow[0]) + chance.choice((0, 0, 0, 4)))
    released = next((number for number, (point, _) in enumerate(struck) if point in RELEASE), len(struck))
    adopted = released < len(struck) and about.releases is Releases.ADOPTED
    if adopted and _comes_after(system, struck[released], struck[:released]):
        # It is released when it is found held: when its submit died after the job was made and before it was started.
        struck.insert(released, ("sent", "kill"))
    incidents = tuple(_incident(chance, about, point, kind, varied=not blows) for point, kind in struck)
    good = chance.random() < 0.85
    rules = ({"on": ["failed", "cancelled"], "times": 1, "delay": 1},) if chance.random() < 0.3 else ()
    fates: tuple[str, ...] = ()
    if chance.random() < (0.0 if blows else 0.12):
        fates = (chance.choice(about.fates),)
    if about.forgets_with_the_claim and fates == ("purge",) and any(point in EXECUTE for point, _ in struck):
        # A hand that removes a job's directory without a trace removes its claim, too: nobody can tell that it ran.
        fates = ()
    long = any(incident.point == "waiting" for incident in incidents)
    return Case(seed, system, incidents, good, rules, fates, about.long if long else 0.03)


def _incident(chance: random.Random, about: System, point: str, kind: str, *, varied: bool) -> Incident:
    on = about.meets.get(point, MEETS[point])
    if varied and chance.random() < 0.3:
        on = chance.choice(("submit", "find", "poll", "release", "output", "any"))
    on = about.knows.get(on, on)
    if kind in LATE and on not in ("submit", "release"):
        # A question that arrives late has no effect; and nothing is submitted any more where a held job was adopted.
        on = "release" if point in RELEASE and about.releases is Releases.ADOPTED else "submit"
    if kind in AFTER_SETTLE and on == "release" and on not in about.after_settle:
        on = "submit"
    after = chance.choice(("kill", "go_on", "zombie")) if kind in ("clear", "gone", "recreated") else "kill"
    if kind == "zombie":
        after = "zombie"
    return Incident(
        point,
        kind,
        on if kind in NETWORK else "",
        after,
        chance.choice((*EXECUTE, *COLLECT, "")),
        chance.random() < 0.5,
        chance.random() < 0.7,
        seconds_of(kind, about),
    )


def seconds_of(kind: str, about: System) -> float:
    """Return how many real seconds a fault takes; 0 for those that take none."""
    if kind in ("timeout", "timeout_committed"):
        return 1.6 * about.patience / RATE
    return {"late": LATE_SECONDS, "too_late": 2 * about.settle / RATE}.get(kind, 0.0)
