"""A second kind of schedule: many real waits on the real poller, in two triggerers, on a virtual event loop.

The first kind asks whether the right things happen to one step; this one asks whether every one of many waits ends,
once, after its job did, however sick the connection was meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Output, Phase
from airflow_enterprise_orch.delegation.polling import ConnectionPoller, Pace
from airflow_enterprise_orch.delegation.system import Capabilities, Protection
from airflow_enterprise_orch.delegation.waiting import Wait, kill, wait_for_end
from airflow_enterprise_orch.errors import ConnectionBlocked, LoginRefused, SystemBusy, SystemUnreachable
from tests.virtual_time import run, utc_now

IDENTITY = "sim://one"
CALM_AFTER = 900.0
PATIENT_FOR = 900.0
"""After all is calm, the widest back-off and a cancel that is asked for again must have passed by then."""
FAULTS = ("", "", "", "unreachable", "busy", "a fault of ours", "slow", "hangs", "half of the jobs", "nothing")


@dataclass
class SimulatedJob:
    ends: float
    cancelled: float | None = None
    cancel_asked: list[float] = field(default_factory=list)


@dataclass
class PollingWorld:
    """The system of one schedule, and what it was asked."""

    chance: random.Random
    sick: float
    batch: int
    jobs: dict[str, SimulatedJob] = field(default_factory=dict)
    calls: list[float] = field(default_factory=list)
    refused_until: float = -1.0
    broken: list[str] = field(default_factory=list)

    @property
    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def fault(self) -> str:
        if self.time > CALM_AFTER or self.chance.random() > self.sick:
            return ""
        return self.chance.choice(FAULTS)

    # The registration, as the poller uses it.

    @asynccontextmanager
    async def open(self, _connection: str) -> AsyncIterator[PollingWorld]:
        if self.time < CALM_AFTER and self.chance.random() < self.sick / 4:
            raise LoginRefused("sim", "the password expired", "change it")
        if self.fault() == "unreachable":
            raise SystemUnreachable("cannot be reached")
        yield self

    @asynccontextmanager
    async def enter(self, _registration: object, connection: str) -> AsyncIterator[Any]:
        if self.refused_until > self.time:
            raise ConnectionBlocked("sim", "blocked", "lift it")
        try:
            async with self.open(connection) as system:
                yield system
        except LoginRefused:
            self.refused_until = self.time + 120.0
            raise

    # The system.

    identity = IDENTITY

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(Protection.ATOMIC, batch=self.batch)

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        self.calls.append(self.time)
        if len(handles) > self.batch:
            self.broken.append(f"asked for {len(handles)} jobs at once; {self.batch} are allowed")
        fault = self.fault()
        # Clients have time-outs of their own; the poller does not wait for this one.
        await asyncio.sleep({"slow": 60.0, "hangs": 400.0}.get(fault, 0.1))
        if fault in ("unreachable", "hangs"):
            raise SystemUnreachable("cannot be reached")
        if fault == "busy":
            raise SystemBusy("is busy", timedelta(seconds=30))
        if fault == "a fault of ours":
            raise ZeroDivisionError("in a client")
        if fault == "nothing":
            return {}
        shown = handles if fault != "half of the jobs" else handles[::2]
        return {handle.key: JobStatus(self.phase(handle.key)) for handle in shown}

    def phase(self, key: str) -> Phase:
        job = self.jobs[key]
        return Phase.ENDED if self.time >= min(job.ends, job.cancelled or job.ends) else Phase.RUNNING

    async def cancel(self, handle: JobHandle) -> None:
        job = self.jobs[handle.key]
        job.cancel_asked.append(self.time)
        fault = self.fault()
        await asyncio.sleep(0.1)
        if fault in ("unreachable", "busy"):
            raise SystemUnreachable("cannot be reached")
        if fault != "nothing" and job.cancelled is None:
            job.cancelled = self.time

    async def read_output(self, _handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        return Output("", cursor)


async def _life(seed: int) -> tuple[list[str], int]:
    chance = random.Random(seed)
    world = PollingWorld(chance, chance.choice((0.0, 0.1, 0.4, 0.8)), chance.choice((1, 3, 50)))
    pace = Pace(budget=chance.choice((5, 25)))
    # Two triggerers, each with a poller of its own.
    registration: Any = world
    pollers = [
        ConnectionPoller(registration, "sim", pace, enter=world.enter, chance=random.Random(chance.random()))
        for _ in range(2)
    ]
    ended: dict[str, int] = {}
    say = logging.getLogger("simulation.polling")

    async def waits(number: int) -> None:
        key = f"W{number:019d}"
        joins = chance.uniform(0, 300)
        limit = chance.choice((None, None, 200.0))
        job = world.jobs[key] = SimulatedJob(joins + chance.choice((5.0, 100.0, 600.0, 3000.0)))
        moves = [chance.uniform(1, 200) for _ in range(chance.choice((0, 0, 1, 3)))]
        await asyncio.sleep(joins)
        deadline = utc_now() + timedelta(seconds=limit) if limit is not None else None
        wait = Wait("sim.job", "sim", JobHandle(key, f"J{number}"), IDENTITY, utc_now().isoformat(),
                    deadline.isoformat() if deadline else "")  # fmt: skip
        event = None
        for turn, stay in enumerate([*moves, None]):
            poller = pollers[(number + turn) % 2]
            task = asyncio.ensure_future(wait_for_end(poller, wait, say, now=utc_now))
            done, _ = await asyncio.wait({task}, timeout=stay)
            if done:
                event = task.result()
                break
            # Airflow moves it: the old triggerer ends its wait, and calls its on_kill.
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await kill(poller, wait, say, _deferred)
        assert event is not None
        ended[key] = ended.get(key, 0) + 1
        over = min(job.ends, job.cancelled or job.ends)
        if event["phase"] != "ended" or world.time < over:
            world.broken.append(f"{key}: {event} at {world.time:.0f} s, but the job ends at {over:.0f} s")
        if world.time > max(over, CALM_AFTER, joins + (limit or 0)) + PATIENT_FOR:
            world.broken.append(f"{key}: its end at {over:.0f} s was seen only at {world.time:.0f} s")
        early = [at for at in job.cancel_asked if limit is None or at < joins + limit]
        if early:
            world.broken.append(f"{key}: cancelled at {early[0]:.0f} s, and nobody wanted that")

    count = chance.choice((1, 5, 40))
    await asyncio.gather(*(waits(number) for number in range(count)))
    if len(ended) != count or any(times != 1 for times in ended.values()):
        world.broken.append(f"{count} waited, ended: {ended}")
    return world.broken, len(world.calls)


async def _deferred() -> str:
    return "deferred"


def poll(seed: int) -> list[str]:
    """Run one schedule; return what was broken."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # faults of ours are told with their traces, and there are many
    try:
        broken, _ = run(_life(seed))
    finally:
        logging.disable(level)
    return broken
