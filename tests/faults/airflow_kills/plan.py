"""The plan of one run: who is struck when, what people do, what the remote systems do. All from one seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Victim(StrEnum):
    """Who is struck."""

    TASK = "task process"
    WORKER = "worker"
    TRIGGERER = "triggerer"
    SCHEDULER = "scheduler"
    API_SERVER = "api-server"
    DATABASE = "database"


class How(StrEnum):
    """What is done to it."""

    KILL = "kill"
    """SIGKILL for this process alone; what it started lives on as an orphan (the kernel's OOM killer)."""
    KILL_ALL = "kill all"
    """SIGKILL for it and all that it started (a container or a machine that goes)."""
    STOP = "immediate stop"
    """The database's own immediate shutdown."""
    PAUSE = "pause"
    """SIGSTOP for it and all that it started, SIGCONT later: a zombie that wakes up and goes on."""


class Wish(StrEnum):
    """What a person does to a step."""

    CLEAR = "clear"
    FAIL = "mark failed"
    SUCCEED = "mark success"


@dataclass(frozen=True, slots=True)
class Strike:
    """One kill or pause.

    :param at: seconds after the first instances came to wait.
    :param down: seconds until it is started again, or until SIGCONT.
    :param pick: which one of several, 0 to 1.
    :param delay: for tasks: seconds after the task was seen.
    """

    at: float
    victim: Victim
    how: How
    down: float
    pick: float
    delay: float = 0.0

    @property
    def kills(self) -> bool:
        """A pause kills nobody."""
        return self.how is not How.PAUSE


@dataclass(frozen=True, slots=True)
class Act:
    """What a person does at a moment.

    :param pick: which of the steps that are there then, 0 to 1.
    :param finished: a clear of a step that has ended, where there is one.
    :param downstream: a clear takes what comes after with it.
    """

    at: float
    wish: Wish
    pick: float
    finished: bool = False
    downstream: bool = False


@dataclass(frozen=True, slots=True)
class LabFault:
    """What a remote system does wrong by itself."""

    at: float
    stand_in: str
    on: str
    do: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance: of the mixed stream, or of the one whose first job never ends unless somebody ends it."""

    number: int
    endless: bool
    seconds: tuple[int, int, int]

    @property
    def run_id(self) -> str:
        """Its run id and business key."""
        return f"kill-{self.number:04d}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run does on its own account."""

    seed: int
    strikes: tuple[Strike, ...]
    acts: tuple[Act, ...]
    faults: tuple[LabFault, ...]

    @property
    def ends(self) -> float:
        """When the last strike falls."""
        return max((strike.at for strike in self.strikes), default=0.0)

    def instance(self, number: int) -> Instance:
        """Return the instance with this number; there are as many as the machine can run in the time."""
        chance = random.Random(f"{self.seed} {number}")
        endless = number % 3 == 0
        return Instance(number, endless, (chance.randint(5, 25), chance.randint(5, 25), chance.randint(5, 40)))


SHARES: tuple[tuple[Victim, How, int], ...] = (
    (Victim.TASK, How.KILL, 10),
    (Victim.WORKER, How.KILL, 4),
    (Victim.WORKER, How.KILL_ALL, 6),
    (Victim.TRIGGERER, How.KILL, 6),
    (Victim.TRIGGERER, How.KILL_ALL, 10),
    (Victim.SCHEDULER, How.KILL, 6),
    (Victim.SCHEDULER, How.KILL_ALL, 4),
    (Victim.API_SERVER, How.KILL_ALL, 7),
    (Victim.DATABASE, How.STOP, 3),
    (Victim.DATABASE, How.KILL_ALL, 4),
)
"""How many of sixty kills go where."""
PAUSES: tuple[tuple[Victim, int], ...] = (
    (Victim.TRIGGERER, 4),
    (Victim.WORKER, 4),
    (Victim.SCHEDULER, 1),
    (Victim.API_SERVER, 1),
)
"""How many of ten pauses go where; a run has one for six kills."""
AFTER: dict[Victim, float] = {
    Victim.TASK: 5.0,
    Victim.WORKER: 6.0,
    Victim.TRIGGERER: 10.0,
    Victim.SCHEDULER: 17.0,
    Victim.API_SERVER: 17.0,
    Victim.DATABASE: 15.0,
}
"""Seconds until the next strike: about what it takes to be up again, so that the next one meets work under way."""
PAUSED = (20.0, 24.0)
FIRST_STRIKE = 3.0
ACT_EVERY = 4.0
FAULT_EVERY = 20.0
SAMPLE: tuple[tuple[Victim, How], ...] = (
    (Victim.TRIGGERER, How.PAUSE),
    (Victim.TASK, How.KILL),
    (Victim.WORKER, How.KILL_ALL),
    (Victim.TRIGGERER, How.PAUSE),
    (Victim.SCHEDULER, How.KILL),
    (Victim.DATABASE, How.KILL_ALL),
    (Victim.API_SERVER, How.KILL_ALL),
    (Victim.TRIGGERER, How.KILL_ALL),
)
"""Each kind of victim once: what ``make test`` runs. The pauses come while the database is up, so that triggers move to
the other triggerer meanwhile; between them they reach every trigger."""

# A job of the host is not purged: its directory is its claim, and whoever takes that away while nobody has heard yet
# that the job was handed over has it handed over again. On z/OS nothing runs before its handle is written down.
LAB_FAULTS: tuple[tuple[str, str, str], ...] = (
    ("ssh", "submit", "cut_after_commit"),
    ("zosmf", "submit", "cut_after_commit"),
    ("ssh", "submit", "cut_before_commit"),
    ("zosmf", "submit", "error_500"),
    ("ssh", "submit", "fail"),
    ("zosmf", "submit", "abend"),
    ("zosmf", "submit", "purge"),
    ("zosmf", "poll", "cut_before_commit"),
)


def full(seed: int, kills: int) -> Plan:
    """Return a plan with this many kills and a sixth as many pauses."""
    chance = random.Random(seed)
    strikes = _spread([(victim, how) for victim, how, share in SHARES for _ in range(share)], kills, chance)
    strikes += _spread([(victim, How.PAUSE) for victim, share in PAUSES for _ in range(share)], kills // 6, chance)
    chance.shuffle(strikes)
    return _timed(seed, strikes, chance)


def sample(seed: int) -> Plan:
    """Return the small stratified plan: every kind of victim once."""
    chance = random.Random(seed)
    return _timed(seed, list(SAMPLE), chance)


def _spread(whole: list[tuple[Victim, How]], count: int, chance: random.Random) -> list[tuple[Victim, How]]:
    """Return ``count`` of them in their shares: the whole as often as it fits, then a part that leaves no kind out."""
    times, rest = divmod(count, len(whole))
    kinds = list(dict.fromkeys(victim for victim, _how in whole))
    part: list[tuple[Victim, How]] = []
    for number in range(rest):
        kind = kinds[number] if number < len(kinds) and times == 0 else None
        part.append(chance.choice([one for one in whole if kind in (None, one[0])]))
    return whole * times + part


def _timed(seed: int, kinds: Sequence[tuple[Victim, How]], chance: random.Random) -> Plan:
    strikes: list[Strike] = []
    at, paused = FIRST_STRIKE, 0
    for victim, how in kinds:
        down = chance.uniform(*PAUSED) if how is How.PAUSE else chance.uniform(0.5, 4.0)
        pick = chance.random()
        if how is How.PAUSE and victim is Victim.TRIGGERER:
            # One after the other.
            pick = 0.99 if (paused := paused + 1) % 2 else 0.0
        strikes.append(Strike(at, victim, how, down, pick, chance.uniform(0.0, 1.5)))
        # What is paused stays so while the next ones are struck: half of it is time enough.
        at += (down / 2 if how is How.PAUSE else AFTER[victim]) * chance.uniform(0.8, 1.2)
    acts: list[Act] = []
    # A pause that comes first is left to itself: what wakes up then finds steps that nobody has touched.
    moment = FIRST_STRIKE + (strikes[0].down + ACT_EVERY if strikes[0].how is How.PAUSE else 0.0)
    while moment < at:
        wish = chance.choices(list(Wish), weights=(3, 1, 1))[0]
        acts.append(Act(moment, wish, chance.random(), chance.random() < 0.25, chance.random() < 0.5))
        moment += ACT_EVERY * chance.uniform(0.5, 1.5)
    faults: list[LabFault] = []
    moment = 1.0
    while moment < at:
        faults.append(LabFault(moment, *chance.choice(LAB_FAULTS)))
        moment += FAULT_EVERY * chance.uniform(0.5, 1.5)
    return Plan(seed, tuple(strikes), tuple(acts), tuple(faults))
