"""A remote system in memory that misbehaves on request, and the rest of a world without Airflow.

What counts is :attr:`World.ran`: the jobs that really ran over there, whatever anybody believes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from airflow_enterprise_orch.delegation.attempt import new_key
from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Output, Phase
from airflow_enterprise_orch.delegation.ledger import Begin, Continue, Ledger, RetryRule, TaskTry, opened
from airflow_enterprise_orch.delegation.ledger_store import LedgerStore
from airflow_enterprise_orch.delegation.submission import Parked, Submission
from airflow_enterprise_orch.delegation.system import (
    Absent,
    Candidate,
    Capabilities,
    Found,
    Protection,
    Sighting,
    StepType,
    SystemRegistration,
    Unknown,
)
from airflow_enterprise_orch.delegation.work import Work, rendered_pattern
from airflow_enterprise_orch.errors import (
    AnswerLost,
    JobFailed,
    LoginRefused,
    OwnershipLost,
    RequestRejected,
    SystemBusy,
    SystemUnreachable,
)

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
POINTS = (
    "before_claim",
    "after_claim",
    "before_send",
    "after_answer",
    "after_persist",
    "after_release_sent",
    "after_release",
)


class Killed(BaseException):
    """The process died here; no ``except Exception`` survives a SIGKILL, so this is none."""


class FakeWork(Work):
    """The work of the fake system."""

    command: Annotated[str, rendered_pattern(r"[a-z0-9 -]+", "a command in small letters")]


@dataclass
class Clock:
    """Time that passes only when somebody sleeps."""

    time: datetime = START
    slept: list[timedelta] = field(default_factory=list)

    def now(self) -> datetime:
        return self.time

    async def sleep(self, duration: timedelta) -> None:
        self.slept.append(duration)
        self.time += duration


@dataclass
class Job:
    number: int
    key: str
    work: Work
    held: bool
    phase: Phase = Phase.WAITING
    invisible: int = 0

    @property
    def handle(self) -> JobHandle:
        return JobHandle(self.key, f"JOB{self.number:05d}", "FAKE", {"n": str(self.number)})


@dataclass
class World:
    """The system's side: jobs, requests still on the way, and what ran.

    :param submits: what happens to each submit, in order; then ``ok``.
    :param finds: what happens to each find, in order; then ``ok``.
    :param releases: what happens to each release, in order; then ``ok``.
    :param can_hold: a job that has not started can be held.
    :param queues: what may run waits in a queue, until :meth:`go`.
    :param holds: what happens to each hold, in order; then ``ok``.
    """

    protection: Protection
    submits: list[str] = field(default_factory=list)
    finds: list[str] = field(default_factory=list)
    releases: list[str] = field(default_factory=list)
    opens: list[str] = field(default_factory=list)
    polls: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    jobs: dict[int, Job] = field(default_factory=dict)
    late: list[list[Any]] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    identity: str = "fake://one"
    results: dict[str, JobResult] = field(default_factory=dict)
    tail: str = "line 1\nlast words of the job"
    sources: dict[str, str] = field(default_factory=dict)
    settle: timedelta = timedelta(seconds=10)
    batch: int = 1000
    can_hold: bool = False
    queues: bool = False
    holds: list[str] = field(default_factory=list)
    created: int = 0
    open_now: int = 0

    def land(self, work: Work, key: str) -> Job:
        """Take a job, as this kind of system does."""
        if self.protection is Protection.ATOMIC:
            for job in self.jobs.values():
                if job.key == key:
                    return job
        self.created += 1
        held = self.protection is Protection.TWO_PHASE
        job = Job(self.created, key, work, held, Phase.HELD)
        self.jobs[job.number] = job
        if not held:
            self.let_go(job)
        return job

    def let_go(self, job: Job) -> None:
        job.held = False
        job.phase = Phase.WAITING
        if not self.queues:
            self.go()

    def go(self) -> None:
        """There is room for every job that waits."""
        for job in self.jobs.values():
            if job.phase is Phase.WAITING:
                job.phase = Phase.RUNNING
                self.ran.append(job.handle.job_id)

    def hold(self, job: Job) -> None:
        """Somebody over there, or we, hold a job that waits."""
        if job.phase is Phase.WAITING:
            job.held, job.phase = True, Phase.HELD

    def look(self) -> None:
        """A moment passes: requests that were on the way may land."""
        for entry in list(self.late):
            entry[0] -= 1
            if entry[0] <= 0:
                self.late.remove(entry)
                self.land(entry[1], entry[2])

    def land_all(self) -> None:
        while self.late:
            self.look()

    def end(self, result: JobResult | None = None) -> None:
        """Let every job that runs end."""
        for job in self.jobs.values():
            if job.phase is Phase.RUNNING:
                job.phase = Phase.ENDED
                self.results[job.handle.job_id] = result or JobResult(Ending.COMPLETED, "exit 0", 0)


class FakeSystem:
    """The client of a :class:`World`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.identity = world.identity

    @property
    def capabilities(self) -> Capabilities:
        world = self.world
        return Capabilities(world.protection, settle=world.settle, batch=world.batch, hold=world.can_hold)

    def _next(self, faults: list[str]) -> str:
        return faults.pop(0) if faults else "ok"

    async def find(self, key: str) -> Sighting:
        self.world.calls.append("find")
        fault = self._next(self.world.finds)
        if fault == "unreachable":
            raise SystemUnreachable("fake://one cannot be reached")
        self.world.look()
        if fault == "unknown":
            return Unknown("its list is incomplete")
        found = []
        for job in self.world.jobs.values():
            if job.key != key:
                continue
            if job.invisible:
                job.invisible -= 1
                continue
            found.append(Candidate(job.handle, held=job.held, order=f"{job.number:05d}"))
        return Found(tuple(found)) if found else Absent()

    async def identify(self, job_id: str, key: str) -> JobHandle:
        for job in self.world.jobs.values():
            if job.handle.job_id == job_id:
                return JobHandle(key, job_id, "FAKE", {"n": str(job.number)})
        raise RequestRejected(f"fake://one has no job {job_id}")

    async def submit(self, work: Work, key: str) -> JobHandle:
        self.world.calls.append("submit")
        fault = self._next(self.world.submits)
        if fault == "unreachable":
            raise SystemUnreachable("fake://one cannot be reached")
        if fault == "busy":
            raise SystemBusy("fake://one is busy", timedelta(seconds=30))
        if fault == "login":
            raise LoginRefused("fake_one", "the password is wrong", "correct it")
        self.world.sent.append(key)
        if fault == "reject":
            raise RequestRejected("fake://one refuses the job: no such class")
        if fault == "lost_before":
            raise AnswerLost("fake://one did not answer the submit")
        if fault.startswith("late"):
            self.world.late.append([int(fault.removeprefix("late")), work, key])
            raise AnswerLost("fake://one did not answer the submit")
        job = self.world.land(work, key)
        if fault == "lost_after":
            raise AnswerLost("fake://one did not answer the submit")
        if fault.startswith("unlisted"):
            job.invisible = int(fault.removeprefix("unlisted"))
        return job.handle

    def _job(self, handle: JobHandle) -> Job | None:
        return self.world.jobs.get(int(handle.fields["n"]))

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        self.world.calls.append("poll")
        self.world.batches.append(len(handles))
        fault = self._next(self.world.polls)
        if fault == "unreachable":
            raise SystemUnreachable(f"{self.world.identity} cannot be reached")
        if fault == "busy":
            raise SystemBusy(f"{self.world.identity} is busy", timedelta(milliseconds=10))
        if fault == "bug":
            raise ZeroDivisionError("another fault of ours")
        if fault == "login":
            raise LoginRefused("fake_one", "the password expired", "change it")
        if fault == "nothing":
            return {}
        states = {}
        for handle in handles:
            job = self._job(handle)
            states[handle.key] = JobStatus(Phase.MISSING if job is None else job.phase)
        return states

    async def cancel(self, handle: JobHandle) -> None:
        self.world.calls.append("cancel")
        job = self._job(handle)
        if job is not None and job.phase is not Phase.ENDED:
            job.phase = Phase.ENDED
            self.world.results[handle.job_id] = JobResult(Ending.CANCELLED, "cancelled")

    async def hold(self, handle: JobHandle) -> None:
        self.world.calls.append("hold")
        job = self._job(handle)
        fault = self._next(self.world.holds)
        if fault == "reject" or job is None:
            raise RequestRejected(f"fake://one does not hold {handle.job_id}")
        if fault != "lost_before":
            self.world.hold(job)
        if fault.startswith("lost"):
            raise AnswerLost("fake://one did not answer the hold")

    async def release(self, handle: JobHandle) -> None:
        self.world.calls.append("release")
        fault = self._next(self.world.releases)
        job = self._job(handle)
        if fault == "unreachable":
            raise SystemUnreachable("fake://one cannot be reached")
        if fault == "reject" or job is None:
            raise RequestRejected(f"fake://one does not release {handle.job_id}")
        if fault in ("ok", "lost_after") and job.held:
            self.world.let_go(job)
        if fault.startswith("lost"):
            raise AnswerLost("fake://one did not answer the release")

    async def discard(self, handle: JobHandle) -> None:
        job = self._job(handle)
        if job is None:
            return
        if not job.held:
            raise RequestRejected(f"fake://one: {handle.job_id} has begun to run")
        del self.world.jobs[job.number]
        self.world.discarded.append(handle.job_id)

    async def result(self, handle: JobHandle) -> JobResult:
        self.world.calls.append("result")
        return self.world.results.get(handle.job_id, JobResult(Ending.UNKNOWN, "purged"))

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        return Output(self.world.tail, "")

    async def read_tail(self, handle: JobHandle, *, lines: int = 20) -> str:
        return "\n".join(self.world.tail.splitlines()[-lines:])

    async def read_source(self, handle: JobHandle, source: str) -> str:
        return self.world.sources[source]

    async def restart(self, handle: JobHandle, at_step: str, key: str) -> JobHandle:
        raise RequestRejected("fake://one cannot restart")


# The ledger's home, with Airflow's fence.


@dataclass
class Cells:
    """The task state store: outlives every try; only the newest try may write."""

    texts: dict[str, str] = field(default_factory=dict)
    owner: int = 0
    saved: list[str] = field(default_factory=list)

    def read(self) -> Ledger:
        """Return what the next try would read."""
        return LedgerStore(Store(self, self.owner), TaskTry(self.owner + 1, 10, 10)).ledger


@dataclass
class Store:
    """The store as one try sees it."""

    cells: Cells
    owner: int

    def get(self, key: str) -> object:
        if self.cells.owner != self.owner or key not in self.cells.texts:
            return None
        return json.loads(self.cells.texts[key])

    def set(self, key: str, value: Any) -> None:
        if self.cells.owner != self.owner:
            raise OwnershipLost("another try owns the task instance")
        self.cells.texts[key] = json.dumps(value)
        self.cells.saved.append(self.cells.texts[key])


def store_of(cells: Store) -> LedgerStore:
    """Return the ledger as the first try sees it."""
    return LedgerStore(cells, TaskTry(1, 10, 10))


WORK = FakeWork(command="echo hello")


async def one_try(
    world: World,
    cells: Cells,
    clock: Clock,
    *,
    reached: Callable[[str], None] = lambda _point: None,
    rules: Sequence[RetryRule] = (),
    max_tries: int = 10,
) -> str:
    """Live one try of a task as the operator does, up to the deferral; return how it ended."""
    cells.owner += 1
    now = TaskTry(cells.owner, max_tries, 10)
    store = LedgerStore(Store(cells, cells.owner), now)
    ledger = store.ledger
    move = ledger.next_move(now, rules)
    submission = Submission(FakeSystem(world), store, clock, lambda _line: None, reached)
    try:
        if isinstance(move, Begin):
            attempt = opened(move, now, new_key(), clock.now())
            await submission.hand_over(ledger.with_attempt(attempt), attempt, WORK)
        elif isinstance(move, Continue):
            await submission.hand_over(ledger, move.attempt, WORK)
        elif type(move).__name__ == "Attach":
            await submission.let_run(ledger)
        else:
            return "closed"
    except Parked as parked:
        assert parked.question
        return f"parked: {parked.question}"
    except JobFailed as failed:
        return f"failed: {failed.kind}"
    except SystemUnreachable:
        return "unreachable"
    except LoginRefused:
        return "refused"
    except OwnershipLost:
        return "fenced"
    except Killed:
        return "killed"
    return "submitted"


# What the registry, the poller, the trigger and the operator see of it.

WORLDS: dict[str, World] = {}
"""By connection id."""


@asynccontextmanager
async def open_fake(connection_id: str) -> AsyncIterator[FakeSystem]:
    world = WORLDS[connection_id]
    fault = world.opens.pop(0) if world.opens else "ok"
    world.calls.append("open")
    if fault == "login":
        raise LoginRefused(connection_id, "the password is wrong", "correct the password")
    if fault == "unreachable":
        raise SystemUnreachable(f"{world.identity} cannot be reached")
    if fault == "bug":
        raise ZeroDivisionError("a fault of ours")
    world.open_now += 1
    try:
        yield FakeSystem(world)
    finally:
        world.open_now -= 1
        world.calls.append("close")


STEP = StepType(
    name="fake.job",
    title="Fake job",
    work="fakes:FakeWork",
    operator="airflow_enterprise_orch.delegation.operator:DelegateOperator",
    output_key="log",
)
REGISTRATION = SystemRegistration(
    name="fake", stack="Fake", connection_type="fake", opener="fakes:open_fake", steps=(STEP,)
)
