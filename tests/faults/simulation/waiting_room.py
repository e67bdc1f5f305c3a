"""The triggers of one schedule: they start late, move, run twice for a while, and die with their triggerer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.delegation import waiting
from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus
from airflow_enterprise_orch.delegation.polling import News
from airflow_enterprise_orch.errors import ConnectionBlocked, OrchestrationError

from .remote import System
from .scheduler import Actor, drive

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.conduct_types import Wait
    from airflow_enterprise_orch.delegation.system import RemoteSystem

    from .schedule import Schedule

POLL_EVERY = 20.0


class Said:
    """The triggerer's log."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def info(self, msg: str, *args: Any) -> None:
        if self.schedule.scheduler.trace is not None:
            self.schedule.scheduler.tell(msg % args)

    warning = info


class SimulatedWatch:
    """One wait for one job, polling for itself: how many share a call does not matter here."""

    def __init__(self, schedule: Schedule, handle: JobHandle, identity: str) -> None:
        self.schedule = schedule
        self.handle = handle
        self.identity = identity
        self.last: JobStatus | None = None
        self.pause = 2.0

    def __enter__(self) -> SimulatedWatch:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    async def next(self, timeout: float | None = None) -> News | None:
        scheduler = self.schedule.scheduler
        ends = None if timeout is None else scheduler.time + timeout
        while True:
            if ends is not None and scheduler.time + self.pause > ends:
                scheduler.sleep(max(ends - scheduler.time, 0.001))
                self.schedule.point("waits")
                return None
            scheduler.sleep(self.pause)
            self.schedule.point("waits")
            self.pause = min(self.pause * 2, POLL_EVERY)
            if self.schedule.blocked_until > scheduler.time:
                continue
            system = System(self.schedule.remote)
            if system.identity != self.identity:
                return News(elsewhere=system.identity)
            try:
                status = (await system.poll([self.handle])).get(self.handle.key)
            except OrchestrationError:
                continue
            if status is not None and status != self.last:
                self.last = status
                return News(status)


class SimulatedPoller:
    """What :func:`~airflow_enterprise_orch.delegation.waiting.wait_for_end` needs of a poller."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.output = self

    def watch(self, handle: JobHandle, identity: str, *, waited: float = 0.0, output: bool = False) -> SimulatedWatch:
        return SimulatedWatch(self.schedule, handle, identity)

    async def last(self, watch: SimulatedWatch) -> Sequence[str]:
        return ()

    async def call(self, action: Callable[[RemoteSystem], Awaitable[None]]) -> None:
        self.schedule.point("open")
        if self.schedule.blocked_until > self.schedule.scheduler.time:
            raise ConnectionBlocked("sim", "blocked", "lift it")
        await action(System(self.schedule.remote))


class TriggerRow:
    """One trigger, and the triggerers that run it."""

    def __init__(self, schedule: Schedule, ti_id: int, told: Wait, try_number: int) -> None:
        attempt, deadline = told.attempt, told.deadline
        assert attempt.handle is not None
        self.schedule = schedule
        self.ti_id = ti_id
        self.wait = waiting.Wait(
            step="sim.job",
            connection="sim",
            handle=attempt.handle,
            identity=attempt.system,
            deferred=schedule.scheduler.now().isoformat(),
            deadline=deadline.isoformat() if deadline else "",
            try_number=try_number,
            look=told.look.isoformat() if told.look else "",
            stands=told.stands,
        )
        self.over = False
        self.running: list[Actor] = []

    def begin(self) -> None:
        """Airflow assigns it to a triggerer."""
        delay = (1.0, 40.0)[self.schedule.choices.among("trigger starts", 2)]
        self.schedule.scheduler.after(delay, self.start)

    def start(self) -> None:
        if not self.over:
            self.schedule.idle()
        if self.over:
            self.schedule.count("trigger: dropped before it started")
            return
        schedule = self.schedule

        def body() -> None:
            poller: Any = SimulatedPoller(schedule)
            event = drive(waiting.wait_for_end(poller, self.wait, Said(schedule), now=schedule.scheduler.now))
            schedule.point("fires")
            if not self.over:
                schedule.count("trigger: fired")
                schedule.life.fired(self, event)
                self.over = True

        actor = schedule.scheduler.spawn(f"trigger {self.wait.handle.job_id}", body)
        self.running.append(actor)
        schedule.trigger_of[actor] = self

    def dropped(self) -> None:
        """The task waits no more: whoever runs this is told to end it, a moment later."""
        self.over = True
        for actor in self.running:
            if not actor.dead:
                self._ends(actor, (1.0, 15.0)[self.schedule.choices.among("kill comes", 2)])

    def _ends(self, actor: Actor, seconds: float) -> None:
        def end() -> None:
            if actor.dead:
                return
            self.schedule.scheduler.kill(actor)
            self.schedule.scheduler.spawn("on_kill", self._on_kill)

        self.schedule.scheduler.after(seconds, end)

    def _on_kill(self) -> None:
        schedule = self.schedule
        schedule.count(f"on_kill: while {schedule.life.state}")
        poller: Any = SimulatedPoller(schedule)

        async def state() -> str | None:
            schedule.point("task state")
            if schedule.fault("task state", 1):
                schedule.happened("task state: cannot be told")
                raise OrchestrationError("the API server does not answer")
            return None if schedule.life.state == "gone" else schedule.life.state

        drive(waiting.kill(poller, self.wait, Said(schedule), state))

    def moves(self, actor: Actor) -> None:
        """Airflow gives the trigger to another triggerer; both run it for a while."""
        self.schedule.count("trigger: moved")
        self.start()
        self._ends(actor, (1.0, 50.0)[self.schedule.choices.among("moves", 2)])

    def dies(self, actor: Actor) -> None:
        """Its triggerer dies; another one takes it over later."""
        self.schedule.count("trigger: its triggerer died")
        self.schedule.scheduler.after(35.0, self.start)
        self.schedule.scheduler.kill(actor)
