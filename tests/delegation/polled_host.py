"""A remote system that notes who asked it what and when, for tests of the polling on a virtual clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Output, Phase
from airflow_enterprise_orch.delegation.output_relay import OutputPace
from airflow_enterprise_orch.delegation.polling import ConnectionPoller, Pace
from airflow_enterprise_orch.delegation.system import Capabilities, Protection, RemoteSystem, SystemRegistration
from airflow_enterprise_orch.errors import ConnectionBlocked, ConnectionChanged, LoginRefused

RUNNING, ENDED = JobStatus(Phase.RUNNING), JobStatus(Phase.ENDED)
IDENTITY = "host://one"


@dataclass
class Host:
    """One system.

    :param takes: seconds that a status call takes.
    :param fails: what a status call for these keys raises, if anything.
    """

    batch: int = 1000
    takes: float = 0.05
    fails: Callable[[Sequence[str]], Exception | None] = lambda _keys: None
    polls: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    states: dict[str, JobStatus] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)
    text: dict[str, str] = field(default_factory=dict)
    reads: list[tuple[float, str, str]] = field(default_factory=list)
    read_fails: Callable[[str], Exception | None] = lambda _key: None
    read_takes: float = 0.05
    cancels: list[str] = field(default_factory=list)
    cancel_takes: float = 0.05
    opens: list[float] = field(default_factory=list)
    closes: list[float] = field(default_factory=list)
    open_fails: list[Exception] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    identity: str = IDENTITY

    @asynccontextmanager
    async def _call(self, takes: float) -> AsyncIterator[None]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(takes)
            yield
        finally:
            self.at_once -= 1

    @asynccontextmanager
    async def open(self, _connection: str) -> AsyncIterator[Client]:
        now = asyncio.get_running_loop().time()
        self.opens.append(now)
        if self.open_fails:
            raise self.open_fails.pop(0)
        client = Client(self)
        try:
            yield client
        finally:
            client.closed = True
            self.closes.append(asyncio.get_running_loop().time())

    def poller(self, door: Door | None = None, *, seed: int = 1, output: OutputPace | None = None,
               pace: Pace | None = None) -> ConnectionPoller:  # fmt: skip
        door = door or Door()
        registration: Any = SimpleNamespace(name="polled", open=self.open)
        return ConnectionPoller(
            registration,
            "polled_one",
            pace or Pace(),
            enter=door.enter,
            chance=random.Random(seed),
            output=output,
        )

    def calls_in(self, begin: float, end: float) -> int:
        return sum(begin <= time < end for time, _ in self.polls)

    def most_calls_within(self, seconds: float) -> int:
        """Return the most calls in any window of that length."""
        times = [time for time, _ in self.polls]
        return max(sum(begin <= time < begin + seconds for time in times) for begin in times)

    def times_of(self, key: str) -> list[float]:
        return [time for time, keys in self.polls if key in keys]


class Client:
    """One open session of a :class:`Host`."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.identity = host.identity
        self.capabilities = Capabilities(Protection.ATOMIC, batch=host.batch)
        self.closed = False

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        keys = tuple(handle.key for handle in handles)
        self.host.polls.append((asyncio.get_running_loop().time(), keys))
        async with self.host._call(self.host.takes):
            error = self.host.fails(keys)
            if error is not None:
                raise error
            return {key: self.host.states.get(key, RUNNING) for key in keys if key not in self.host.unseen}

    async def cancel(self, handle: JobHandle) -> None:
        async with self.host._call(self.host.cancel_takes):
            if self.closed:
                raise ConnectionResetError("the session was closed")
            self.host.cancels.append(handle.key)
            self.host.states[handle.key] = ENDED

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        self.host.reads.append((asyncio.get_running_loop().time(), handle.key, cursor))
        async with self.host._call(self.host.read_takes):
            error = self.host.read_fails(handle.key)
            if error is not None:
                raise error
            start = int(cursor or 0)
            text = self.host.text.get(handle.key, "")[start : start + limit]
            return Output(text, str(start + len(text)))


class Door:
    """How sessions are opened: what the real entrance would say and hear.

    :ivar changed: the connection says something else than when the open session was opened.
    """

    def __init__(self) -> None:
        self.blocked: list[str] = []
        self.closed = False
        self.changed = False

    @asynccontextmanager
    async def enter(self, registration: SystemRegistration, connection_id: str) -> AsyncIterator[RemoteSystem]:
        if self.closed:
            raise ConnectionBlocked(connection_id, "blocked", "delete the Variable")
        try:
            async with registration.open(connection_id) as system:
                yield system
        except LoginRefused as refused:
            if self.changed:
                self.changed = False
                raise ConnectionChanged("the connection was changed since") from refused
            self.blocked.append(refused.reason)
            self.closed = True
            raise


def handle(number: int | str) -> JobHandle:
    return JobHandle(f"K{number}", str(number))


async def settle(done: Callable[[], bool], *, step: float = 0.1, most: float = 3600) -> None:
    """Let virtual time pass until something holds."""
    end = asyncio.get_running_loop().time() + most
    while not done():
        assert asyncio.get_running_loop().time() < end, "it never came to pass"
        await asyncio.sleep(step)


def spawn(work: Awaitable[Any]) -> asyncio.Task[Any]:
    return asyncio.ensure_future(work)  # type: ignore[return-value]
