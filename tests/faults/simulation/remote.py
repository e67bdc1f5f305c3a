"""The remote systems of one schedule, as they really are: jobs, requests on the way, and what ran.

Everything here is the truth that promises are judged by. :class:`System` is what the code under test sees of it,
through a network that loses, delays and breaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Output, Phase
from airflow_enterprise_orch.delegation.system import (
    Absent,
    Candidate,
    Capabilities,
    Found,
    Protection,
    Sighting,
    Unknown,
)
from airflow_enterprise_orch.delegation.work import Work
from airflow_enterprise_orch.errors import (
    AnswerLost,
    RequestRejected,
    SystemBusy,
    SystemUnreachable,
)

if TYPE_CHECKING:
    from .schedule import Schedule

HOME = "sim://one"
OTHER = "sim://two"
SETTLE = 10.0
LATENCY = 0.2
CAPABILITIES = {
    protection: Capabilities(protection, settle=timedelta(seconds=SETTLE), hold=protection is Protection.TWO_PHASE)
    for protection in Protection
}

SUBMIT_FAULTS = (
    "unreachable",
    "busy 429",
    "lost before commit",
    "lost after commit",
    "500 before commit",
    "500 after commit",
    "half answer",
    "slow answer",
    "lands late",
    "lands late",
    "lands after the settle time",
    "rejected",
)
CHANGE_FAULTS = (
    "unreachable",
    "lost before commit",
    "lost after commit",
    "takes effect later",
    "rejected",
    "slow answer",
)
READ_FAULTS = ("unreachable", "busy 503", "slow answer", "cannot tell", "listing lags")


@dataclass(eq=False, slots=True)
class Job:
    """One job over there."""

    number: int
    key: str
    run: int
    where: str
    created: float
    listed: float
    state: str = "held"  # held, waiting, running, ended, gone
    released: bool = False
    held_by: str = ""  # of one that waits: "us" or "them"; it is one flag, as in most systems
    let_go_by: str = ""
    let_go_sent: float = -1.0
    last_held: float = -1.0
    stray: bool = False
    started: float = -1.0
    ended: float = -1.0
    ending: Ending = Ending.COMPLETED
    rc: int | None = None
    purged: bool = False

    @property
    def ran(self) -> bool:
        return self.started >= 0

    @property
    def ended_well(self) -> bool:
        return self.ended >= 0 and self.ran and self.ending is Ending.COMPLETED and self.rc == 0

    @property
    def over(self) -> bool:
        return self.state in ("ended", "gone")

    @property
    def handle(self) -> JobHandle:
        return JobHandle(self.key, f"J{self.number}", "SIM")

    def __str__(self) -> str:
        return f"J{self.number}"


@dataclass
class Remote:
    """All systems of one schedule."""

    schedule: Schedule
    protection: Protection
    listing_lag: float = 0.0
    points_to: str = HOME
    down_until: float = -1.0
    jobs: list[Job] = field(default_factory=list)
    in_flight: dict[str, int] = field(default_factory=dict)
    """Requests that have left and will land, by key."""

    def by_key(self, key: str, where: str | None = None) -> list[Job]:
        return [job for job in self.jobs if job.key == key and (where is None or job.where == where)]

    def land(self, key: str, where: str) -> Job:
        """A submit arrives."""
        schedule = self.schedule
        known = [job for job in self.by_key(key, where) if not job.purged]
        if self.protection is Protection.ATOMIC and known:
            return known[0]
        lag = self.listing_lag * schedule.choices.among("listing lag", 4) / 3 if self.listing_lag else 0.0
        now = schedule.scheduler.time
        job = Job(len(self.jobs) + 1, key, schedule.run_of(key), where, now, now + lag)
        if lag:
            schedule.count("fault: listed late")
        self.jobs.append(job)
        schedule.scheduler.tell(f"! {job} lands with key {key[-3:]}" + (f", listed {lag:.0f} s later" if lag else ""))
        if self.protection is not Protection.TWO_PHASE:
            self.let_go(job)
        return job

    def let_go(self, job: Job) -> None:
        """The job may run: at once, or when there is room."""
        job.released = True
        if job.state == "waiting" and job.held_by:
            self.unhold(job)
        if job.state != "held":
            return
        job.state = "waiting"
        waits = (0.0, 400.0, 400.0, 3000.0) if self.schedule.holding else (0.0, 0.0, 30.0, 400.0)
        wait = waits[self.schedule.choices.among("queue", 4)]
        if wait:
            self.schedule.scheduler.after(wait, lambda: self.begin(job))
        else:
            self.begin(job)

    def hold(self, job: Job, by: str) -> None:
        if job.state == "waiting" and not job.held_by:
            job.held_by = by
            self.schedule.scheduler.tell(f"! {job} is held by {by}")

    def unhold(self, job: Job) -> None:
        job.held_by, job.last_held, job.stray = "", self.schedule.scheduler.time, False
        self.begin(job)

    def begin(self, job: Job) -> None:
        if job.state != "waiting" or job.held_by:
            return
        choices, scheduler = self.schedule.choices, self.schedule.scheduler
        job.state, job.started = "running", scheduler.time
        scheduler.tell(f"! {job} runs")
        self.schedule.judge.started(job)
        self.schedule.judge.not_in_spite_of_a_hold(job)
        runs = (20.0, 1.0, 60.0, 400.0)[choices.among("runs", 4)]
        how = choices.among("ends", 8)
        ending, rc = (
            (Ending.COMPLETED, 0 if how < 5 else 8) if how < 6 else ((Ending.ABENDED, Ending.LOST)[how - 6], None)
        )
        scheduler.after(runs, lambda: self.end(job, ending, rc))

    def end(self, job: Job, ending: Ending, rc: int | None) -> None:
        if job.over:
            return
        job.state, job.ended, job.ending, job.rc = "ended", self.schedule.scheduler.time, ending, rc
        self.schedule.scheduler.tell(f"! {job} ends: {ending.value} {rc if rc is not None else ''}")

    def purge(self, job: Job) -> None:
        if job.state == "ended":
            job.state, job.purged = "gone", True
            self.schedule.scheduler.tell(f"! {job} is purged")


class System:
    """One system, through a connection that was opened at one moment."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.schedule = remote.schedule
        self.where = remote.points_to
        self.capabilities = CAPABILITIES[remote.protection]

    @property
    def identity(self) -> str:
        return self.where

    # The network.

    def _go(self, what: str, detail: str = "") -> None:
        """A request is about to leave."""
        self.schedule.point(what)
        self.schedule.scheduler.tell(f"{what} {detail}")
        if self.remote.down_until > self.schedule.scheduler.time:
            self.schedule.scheduler.sleep(LATENCY)
            raise SystemUnreachable(f"{self.where} cannot be reached")

    def _fault(self, what: str, faults: Sequence[str]) -> str:
        chosen = self.schedule.fault(what, len(faults))
        if not chosen:
            return ""
        name = faults[chosen - 1]
        self.schedule.happened(f"{what}: {name}")
        return name

    def _slow(self) -> None:
        self.schedule.scheduler.sleep((0.5, 15.0, 90.0, 900.0)[self.schedule.choices.among("slow", 4)])

    def _read(self, what: str, detail: str = "") -> str:
        """A reading call: what goes wrong with it, if that is not fatal for the call."""
        self._go(what, detail)
        fault = self._fault(what, READ_FAULTS)
        self.schedule.scheduler.sleep(LATENCY)
        if fault == "unreachable":
            raise SystemUnreachable(f"{self.where} cannot be reached")
        if fault == "busy 503":
            raise SystemBusy(f"{self.where} is busy", timedelta(seconds=20))
        if fault == "slow answer":
            self._slow()
        return fault

    def _job(self, handle: JobHandle) -> Job | None:
        number = int(handle.job_id[1:])
        if number > len(self.remote.jobs):
            return None
        job = self.remote.jobs[number - 1]
        return None if job.purged or job.state == "gone" or job.where != self.where else job

    # What the code under test calls.

    async def find(self, key: str) -> Sighting:
        fault = self._fault_of_find(key)
        if fault == "cannot tell":
            return Unknown("its list of jobs is being rebuilt")
        now = self.schedule.scheduler.time
        found = [
            Candidate(job.handle, job.state in ("held", "waiting"), f"{job.created:012.3f}|{job.number:06d}")
            for job in self.remote.by_key(key, self.where)
            if job.listed <= now and job.state != "gone"
        ]
        answer = Found(tuple(found)) if found else Absent()
        if self.schedule.after_find is not None:
            answer = self.schedule.after_find(answer)
        # The answer is on its way while the world goes on.
        self.schedule.point("found")
        return answer

    def _fault_of_find(self, key: str) -> str:
        return self._read("find", key[-3:])

    async def identify(self, job_id: str, key: str) -> JobHandle:
        self._read("identify", job_id)
        if not job_id.startswith("J") or not job_id[1:].isdigit():
            raise RequestRejected(f"{self.where} has no job {job_id}")
        job = self._job(JobHandle(key, job_id))
        if job is None:
            raise RequestRejected(f"{self.where} has no job {job_id}")
        return job.handle

    async def submit(self, work: Work, key: str) -> JobHandle:
        schedule, remote = self.schedule, self.remote
        self._go("submit", key[-3:])
        schedule.judge.tried(key)
        fault = self._fault("submit", SUBMIT_FAULTS)
        if fault == "unreachable":
            raise SystemUnreachable(f"{self.where} cannot be reached")
        if fault == "busy 429":
            raise SystemBusy(f"{self.where} is busy", timedelta(seconds=20))
        if fault == "rejected":
            schedule.scheduler.sleep(LATENCY)
            raise RequestRejected(f"{self.where} refuses the job")
        schedule.judge.sent(key)
        where = self.where
        if fault.startswith("lands"):
            late = (3.0, 6.0, 9.0) if fault == "lands late" else (15.0, 60.0, 700.0)
            seconds = late[schedule.choices.among("late", 3)]
            remote.in_flight[key] = remote.in_flight.get(key, 0) + 1

            def arrive() -> None:
                remote.in_flight[key] -= 1
                remote.land(key, where)

            schedule.scheduler.after(seconds, arrive)
            schedule.scheduler.sleep((1.0, 5.0, 30.0)[schedule.choices.among("time-out", 3)])
            raise AnswerLost(f"{where} did not answer")
        if fault in ("lost before commit", "500 before commit"):
            schedule.scheduler.sleep(LATENCY)
            raise AnswerLost(f"{where} did not answer the submit")
        schedule.scheduler.sleep(LATENCY)
        job = remote.land(key, where)
        if fault == "slow answer":
            self._slow()
        elif fault:
            raise AnswerLost(f"{where} did not answer the submit ({fault})")
        schedule.point("submitted")
        return job.handle

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        fault = self._read("poll", handles[0].job_id)
        if fault in ("cannot tell", "listing lags"):
            return {}
        states = {}
        for handle in handles:
            job = self._job(handle)
            if job is None:
                states[handle.key] = JobStatus(Phase.MISSING, "no such job")
            else:
                phase = {"held": Phase.HELD, "waiting": Phase.WAITING, "running": Phase.RUNNING, "ended": Phase.ENDED}
                held = job.state == "waiting" and job.held_by
                states[handle.key] = JobStatus(Phase.HELD if held else phase[job.state])
        return states

    def _change(self, what: str, handle: JobHandle, effect: object) -> None:
        """Send a request that changes one job, through whatever happens to it."""
        assert callable(effect)
        self._go(what, handle.job_id)
        fault = self._fault(what, CHANGE_FAULTS)
        if fault == "unreachable":
            raise SystemUnreachable(f"{self.where} cannot be reached")
        self.schedule.scheduler.sleep(LATENCY)
        if fault == "rejected":
            raise RequestRejected(f"{self.where} does not {what} {handle.job_id} now")
        if fault == "takes effect later":
            self.schedule.scheduler.after(7.0, lambda: self._later(effect))
        elif fault != "lost before commit":
            effect()
        if fault == "slow answer":
            self._slow()
        elif fault.startswith(("lost", "takes")):
            raise AnswerLost(f"{self.where} did not answer the {what}")
        self.schedule.point(f"{what} done")

    @staticmethod
    def _later(effect: object) -> None:
        assert callable(effect)
        try:
            effect()
        except RequestRejected:
            return  # nobody listens to this answer any more

    async def cancel(self, handle: JobHandle) -> None:
        self.schedule.judge.cancel_sent(handle.key)

        def effect() -> None:
            job = self._job(handle)
            if job is not None and not job.over:
                self.remote.end(job, Ending.CANCELLED, None)

        self._change("cancel", handle, effect)

    async def hold(self, handle: JobHandle) -> None:
        stray = self.schedule.judge.hold_sent(handle.key)

        def effect() -> None:
            job = self._job(handle)
            if job is not None and job.state == "waiting" and not job.held_by:
                self.remote.hold(job, "us")
                job.stray = stray or self.schedule.late_landed or not self.schedule.judge.held_now
                self.schedule.scheduler.after(9000.0, lambda: self.schedule.people.notices(job))

        self._change("hold", handle, effect)

    async def release(self, handle: JobHandle) -> None:
        sent, fair = self.schedule.scheduler.time, self.schedule.judge.may_release_theirs(handle.key)

        def effect() -> None:
            job = self._job(handle)
            if job is not None and not job.over:
                if job.held_by == "them" and not fair:
                    self.schedule.judge.violation("nobody's hold over there is lifted from here", str(job))
                job.let_go_by, job.let_go_sent = "us", sent
                self.remote.let_go(job)

        self._change("release", handle, effect)

    async def discard(self, handle: JobHandle) -> None:
        def effect() -> None:
            job = self._job(handle)
            if job is None:
                return
            if job.state not in ("held", "waiting"):
                raise RequestRejected(f"{self.where}: {job} has begun to run")
            self.schedule.judge.discarded(job)
            job.state, job.ended = "gone", self.schedule.scheduler.time
            self.schedule.scheduler.tell(f"! {job} is discarded")

        self._change("discard", handle, effect)

    async def result(self, handle: JobHandle) -> JobResult:
        fault = self._read("result", handle.job_id)
        job = self._job(handle)
        if job is None:
            return JobResult(Ending.UNKNOWN, detail="the job is gone")
        if fault == "cannot tell" or job.state != "ended":
            return JobResult(Ending.UNKNOWN, code=job.state)
        return JobResult(job.ending, f"CC {job.rc}" if job.rc is not None else job.ending.value, job.rc)

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        return Output("", cursor)

    async def read_tail(self, handle: JobHandle, *, lines: int = 20) -> str:
        self._read("read", handle.job_id)
        return "last words"

    async def read_source(self, handle: JobHandle, source: str) -> str:
        return ""

    async def restart(self, handle: JobHandle, at_step: str, key: str) -> JobHandle:
        raise RequestRejected(f"{self.where} cannot restart")
