"""What every stand-in shares: the record of its jobs, the faults it was told to make, and its lifecycle."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

DISRUPTIONS = (
    "cut_before_commit",
    "cut_after_commit",
    "late_commit",
    "half_answer",
    "error_500",
    "html_503",
    "slow",
    "slow_answer",
    "unauthorized",
)
"""Faults of a request: what happens to the one that meets it. ``slow`` (before it takes effect), ``slow_answer`` (after
it took effect) and ``late_commit`` (cut at once, takes effect later) take ``seconds``."""
FATES = ("hold", "fail", "abend", "purge", "run")
"""Faults of a job: what becomes of the next job submitted. ``run`` takes ``seconds``: how long it runs."""


class FaultRefused(ValueError):
    """The control API was asked for a fault that this stand-in cannot make."""


@dataclass
class Fault:
    """One entry of the fault plan.

    :param on: the operation that meets it: ``submit``, ``find``, ``poll``, ``release``, ``cancel``, ``output`` or
        ``any``.
    :param do: one of :data:`DISRUPTIONS` or :data:`FATES`.
    :param times: how often.
    :param match: only requests whose subject (key, job name, command) this regular expression finds.
    :param seconds: for ``slow``, ``slow_answer``, ``late_commit`` and ``run``.
    """

    on: str
    do: str
    times: int = 1
    match: str = ""
    seconds: float = 1.0

    OPERATIONS: ClassVar[tuple[str, ...]] = ("submit", "find", "poll", "release", "cancel", "output", "any")

    @classmethod
    def from_json(cls, data: Any) -> Fault:
        """Read what a client posted; :raises FaultRefused: in one line that says what is wrong."""
        if not isinstance(data, dict):
            raise FaultRefused("a fault is an object like {'on': 'submit', 'do': 'cut_after_commit', 'times': 1}")
        unknown = set(data) - {"on", "do", "times", "match", "seconds"}
        if unknown:
            raise FaultRefused(f"unknown {sorted(unknown)}; a fault has on, do, times, match, seconds")
        fault = cls(
            str(data.get("on", "submit")),
            str(data.get("do", "")),
            int(data.get("times", 1)),
            str(data.get("match", "")),
            float(data.get("seconds", 1.0)),
        )
        if fault.on not in cls.OPERATIONS:
            raise FaultRefused(f"on: {fault.on!r} is none of {', '.join(cls.OPERATIONS)}")
        if fault.do not in DISRUPTIONS + FATES:
            raise FaultRefused(f"do: {fault.do!r} is none of {', '.join(DISRUPTIONS + FATES)}")
        if fault.do in FATES and fault.on not in ("submit", "any"):
            raise FaultRefused(f"do: {fault.do!r} is the fate of a job, so it goes with on: submit")
        try:
            re.compile(fault.match)
        except re.error as error:
            raise FaultRefused(f"match: {error}") from error
        return fault


@dataclass(frozen=True, slots=True)
class MadeFault:
    """A fault that was made.

    :param at: when, ISO 8601 in UTC.
    :param on: the operation that met it, as the fault plan names it.
    :param subject: what ``match`` was looked for in: the request, with the key of the job that it was about.
    """

    at: str
    on: str
    do: str
    subject: str


@dataclass
class FaultPlan:
    """The faults that are still to be made, in the order in which they were asked for, and those that were made.

    :ivar made: the newest thousand, oldest first.
    """

    faults: list[Fault] = field(default_factory=list)
    made: deque[MadeFault] = field(default_factory=lambda: deque(maxlen=1000))

    def add(self, fault: Fault) -> None:
        """Plan one more."""
        self.faults.append(fault)

    def clear(self) -> None:
        """Forget them all, also those that were made."""
        self.faults.clear()
        self.made.clear()

    def disruption(self, on: str, subject: str = "") -> Fault | None:
        """Take the next fault that this request meets, if any."""
        return self._take(on, subject, DISRUPTIONS)

    def fate(self, subject: str = "") -> list[Fault]:
        """Take the fates of a job that is being submitted: at most one of each kind."""
        taken = [self._take("submit", subject, (kind,)) for kind in FATES]
        return [fault for fault in taken if fault]

    def refusal(self) -> bool:
        """Take a planned ``unauthorized``, whatever operation it names: a login comes before any operation."""
        found = next((fault for fault in self.faults if fault.do == "unauthorized"), None)
        if found is not None:
            self._make(found, "login", "")
        return found is not None

    def put_back(self, fault: Fault, subject: str) -> None:
        """Let a fault that was taken for this request, and not made after all, be met by the next one."""
        self.faults.insert(0, replace(fault, times=1))
        taken = [made for made in self.made if (made.do, made.subject) == (fault.do, subject)]
        self.made.remove(taken[-1])

    def _take(self, on: str, subject: str, kinds: tuple[str, ...]) -> Fault | None:
        for fault in self.faults:
            if fault.do in kinds and fault.on in (on, "any") and re.search(fault.match, subject):
                self._make(fault, on, subject)
                return fault
        return None

    def _make(self, fault: Fault, on: str, subject: str) -> None:
        fault.times -= 1
        if fault.times <= 0:
            self.faults.remove(fault)
        self.made.append(MadeFault(now(), on, fault.do, subject))


@dataclass
class LabJob:
    """One job that was ever handed over, as ``GET jobs`` tells it.

    :param key: the delegation key found on the job; "" where a client wrote none.
    :param state: ``held``, ``waiting``, ``running``, ``ended``, ``purged`` or ``discarded`` (deleted, never ran).
    :param ran: it ran, if only for a moment. One key with two such jobs is a duplicate.
    :param result: the system's own words, "" until it ended.
    :param given: what it was started with, by name: symbols, variables, parameters, environment.
    """

    key: str
    id: str
    name: str
    state: str
    result: str = ""
    ran: bool = False
    submitted: str = field(default_factory=lambda: now())
    started: str = ""
    ended: str = ""
    given: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


def now() -> str:
    """Return the time as ISO 8601 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class StandIn(Protocol):
    """One stand-in. It binds to 127.0.0.1 and a free port, and keeps all it writes below its scratch directory."""

    name: ClassVar[str]
    """Its key in the lab's JSON: ``zosmf``, ``ssh``."""
    cannot: ClassVar[tuple[str, ...]]
    """Faults that its protocol has no meaning for; the control API refuses them."""
    faults: FaultPlan

    async def start(self, scratch: Path) -> dict[str, Any]:
        """Start serving; return its part of the lab's JSON without ``control``."""
        ...

    async def stop(self) -> None:
        """Stop serving and end every process it started."""
        ...

    def jobs(self) -> list[LabJob]:
        """Return every job ever submitted, oldest first."""
        ...

    async def reset(self) -> None:
        """Forget all jobs (ending those that run) and faults."""
        ...


async def pause(fault: Fault | None) -> None:
    """Make a ``slow`` fault felt."""
    if fault is not None and fault.do == "slow":
        await asyncio.sleep(fault.seconds)
