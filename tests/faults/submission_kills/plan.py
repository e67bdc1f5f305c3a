"""What is to happen in one case: drawn from its seed alone, so a seed is a case."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

SYSTEMS = ("zosmf", "ssh", "zosmf_unprotected")
"""Two-phase, atomic, and what z/OSMF would be without the hold: one of each class of protection."""

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
STORE = ("refuse_write", "refuse_written", "stall_write")
WORLD = ("kill", "zombie", "clear", "gone", "recreated", "repointed", "sigterm")
KINDS = (*NETWORK, *STORE, *WORLD)

FAULTS: dict[str, dict[str, Any]] = {
    "timeout": {"do": "slow", "seconds": 1.6},
    "timeout_committed": {"do": "slow_answer", "seconds": 1.6},
    # Within and beyond the settle time, which takes half a second here.
    "late": {"do": "late_commit", "seconds": 0.2},
    "too_late": {"do": "late_commit", "seconds": 1.0},
}
"""How the lab is told; the others are named there as they are here."""

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
    :param seconds: how long its fault takes, if not as in :data:`FAULTS`.
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
        told = {"on": self.on, **FAULTS.get(self.kind, {"do": self.kind})}
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
    def stand_in(self) -> str:
        return self.system.partition("_")[0]

    @property
    def unprotected(self) -> bool:
        return self.system == "zosmf_unprotected"


def possible(system: str, point: str, kind: str) -> bool:
    """Tell whether a kind of fault can strike a system at a point at all."""
    if system != "zosmf" and point in ("after_release_sent", "after_release"):
        return False  # only what was created held is released
    if kind == "html_503" and system == "ssh":
        return False  # no HTTP there
    if kind in LATE:
        # Only what changes something can take effect late; and what landed in time is found, not answered.
        if point == "waiting" or point in COLLECT:
            return False
        return point != "after_answer" or (kind == "too_late" and system != "zosmf_unprotected")
    if kind in STORE:
        return point in WRITES_FOLLOW and (point != "after_persist" or system == "zosmf")
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


def grid() -> list[Case]:
    """Return as few cases as strike every point with every kind of fault that is possible there."""
    chance = random.Random("grid")
    lanes = [[cell for cell in cells() if cell[0] in points] for points in LANES]
    for lane in lanes:
        chance.shuffle(lane)
    cases = []
    while any(lanes):
        system = chance.choice(SYSTEMS)
        struck: list[tuple[str, str]] = []
        for lane in lanes:
            fits = next((cell for cell in lane if possible(system, *cell)), None)
            if fits is not None and not any(kind == "gone" for _, kind in struck):
                lane.remove(fits)
                struck.append(fits)
        if struck:
            cases.append(drawn(f"grid:{len(cases)}", system, struck))
    return cases


def randomised(seed: int, cases: int) -> Iterator[Case]:
    """Yield cases at random, the same for the same seed."""
    for number in range(cases):
        yield drawn(f"{seed}:{number}")


def from_seed(seed: str) -> Case:
    """Return the case of a seed, for a replay."""
    kind, _, which = seed.partition(":")
    if kind == "grid":
        return grid()[int(which)]
    if kind == "alone":
        point, _, fault = which.partition(":")
        return alone(point, fault)
    return drawn(seed)


def alone(point: str, kind: str) -> Case:
    """Return the case of one blow."""
    seed = f"alone:{point}:{kind}"
    systems = [system for system in SYSTEMS if possible(system, point, kind)]
    return drawn(seed, random.Random(seed).choice(systems), [(point, kind)])


def drawn(seed: str, system: str = "", blows: Sequence[tuple[str, str]] = ()) -> Case:
    """Draw one case.

    :param blows: points and kinds, if they are chosen already.
    """
    chance = random.Random(seed)
    system = system or chance.choices(SYSTEMS, (5, 4, 2))[0]
    struck = list(blows)
    while not blows and len(struck) < 6 and (not struck or chance.random() < 0.5):
        point, kind = chance.choice(POINTS), chance.choice(KINDS)
        if possible(system, point, kind):
            struck.append((point, kind))
    if not blows:
        # A later try is rarely at an earlier point than the one before it, unless the work begins anew.
        struck.sort(key=lambda blow: POINTS.index(blow[0]) + chance.choice((0, 0, 0, 4)))
    incidents = tuple(_incident(chance, system, point, kind, varied=not blows) for point, kind in struck)
    good = chance.random() < 0.85
    rules = ({"on": ["failed", "cancelled"], "times": 1, "delay": 1},) if chance.random() < 0.3 else ()
    fates = ()
    if chance.random() < (0.0 if blows else 0.12):
        fates = (chance.choice(("fail", "purge", "abend")),)
    if system == "ssh" and fates == ("purge",) and any(point in EXECUTE for point, _ in struck):
        # A hand that removes a job's directory without a trace removes its claim, too: nobody can tell that it ran.
        fates = ()
    long = any(incident.point == "waiting" for incident in incidents)
    return Case(seed, system, incidents, good, rules, fates, 0.9 if long else 0.03)


def _incident(chance: random.Random, system: str, point: str, kind: str, *, varied: bool) -> Incident:
    on = MEETS[point]
    if varied and chance.random() < 0.3:
        on = chance.choice(("submit", "find", "poll", "release", "output", "any"))
    if on == "release" and system != "zosmf":
        on = "submit"
    if kind in LATE and on not in ("submit", "release"):
        on = "submit"  # a question that arrives late has no effect
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
    )
