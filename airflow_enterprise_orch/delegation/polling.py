"""One poll loop per connection and process, shared by all triggers that wait on it.

Ten thousand waiting jobs cost about as many status calls as ten: the loop asks for all of them at once, in batches of
what the system's protocol allows. The interval adapts: short while jobs are young, long when nothing changes, wider
with
every error, with jitter so that many triggerers do not march in step. A sick connection never delays another, because
each has its own loop; and it never fails a wait: the job goes on over there, whether or not we can see it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_enterprise_orch.delegation import guard
from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus
from airflow_enterprise_orch.errors import (
    ConnectionBlocked,
    ConnectionProblem,
    LoginRefused,
    OrchestrationError,
    SystemBusy,
)

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.system import RemoteSystem, SystemRegistration

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a connection is asked.

    :param young: seconds between polls while the youngest job is younger than ``young_for``.
    :param calm: seconds between polls when no state changed for a while; the interval grows towards it.
    :param widest: seconds between tries at most while the system errs.
    :param blocked: seconds between looks at whether a blocked connection was lifted.
    """

    young: float = 2.0
    young_for: float = 30.0
    calm: float = 15.0
    widest: float = 300.0
    blocked: float = 30.0


@dataclass(frozen=True, slots=True)
class News:
    """What a waiting trigger is told.

    :param status: the job's state; None when only the connection's trouble changed.
    :param trouble: why the system cannot be asked at the moment, "" when it can.
    :param elsewhere: the connection leads to another system than the one that has the job.
    """

    status: JobStatus | None = None
    trouble: str = ""
    elsewhere: str = ""


@dataclass(eq=False)
class _Watcher:
    handle: JobHandle
    identity: str
    queue: asyncio.Queue[News] = field(default_factory=asyncio.Queue)
    since: float = 0.0
    last: JobStatus | None = None
    trouble: str = ""

    def tell(self, status: JobStatus) -> bool:
        """Pass on what is new; return whether it was."""
        self.trouble = ""
        if status == self.last:
            return False
        self.last = status
        self.queue.put_nowait(News(status))
        return True

    def worry(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self.queue.put_nowait(News(None, trouble))


class ConnectionPoller:
    """The loop of one connection. It runs while somebody waits, and closes the client when nobody does.

    :param refuse_blocked: raises while the connection is blocked; :func:`guard.refuse_blocked` outside of tests.
    """

    def __init__(
        self,
        registration: SystemRegistration,
        connection_id: str,
        pace: Pace,
        *,
        refuse_blocked: Callable[[str], Awaitable[None]] = guard.refuse_blocked,
        block: Callable[[str, LoginRefused], Awaitable[None]] = guard.block,
    ) -> None:
        self.registration = registration
        self.connection_id = connection_id
        self.pace = pace
        self.calls = 0
        self._refuse_blocked = refuse_blocked
        self._block = block
        self._watchers: set[_Watcher] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._interval = pace.young
        self._errors = 0

    async def watch(self, handle: JobHandle, identity: str) -> AsyncGenerator[News, None]:
        """Yield each change of one job's state, and each change of the connection's health; never ends by itself.

        :param identity: the system that has the job.
        """
        watcher = _Watcher(handle, identity, since=asyncio.get_running_loop().time())
        self._watchers.add(watcher)
        self._interval = self.pace.young
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"poll {self.connection_id}")
        try:
            while True:
                yield await watcher.queue.get()
        finally:
            self._watchers.discard(watcher)
            self._wake.set()

    async def call(self, action: Callable[[RemoteSystem], Awaitable[None]]) -> None:
        """Do one thing with the system, in a session of its own."""
        await self._refuse_blocked(self.connection_id)
        try:
            async with self.registration.open(self.connection_id) as system:
                await action(system)
        except LoginRefused as refused:
            await self._block(self.connection_id, refused)
            raise

    async def _run(self) -> None:
        while self._watchers:
            try:
                await self._session()
            except LoginRefused as refused:
                self._worry(str(refused))
                try:
                    await self._block(self.connection_id, refused)
                except Exception:
                    # The wait goes on all the same; trying the login again soon could revoke the user, though.
                    log.exception("connection %s could not be blocked", self.connection_id)
                    await self._pause(self.pace.widest)
                else:
                    await self._pause(self.pace.blocked)
            except ConnectionProblem as problem:
                self._worry(str(problem))
                await self._pause(self.pace.blocked if isinstance(problem, ConnectionBlocked) else self._widened())
            except SystemBusy as busy:
                self._worry(str(busy))
                asked = busy.retry_after.total_seconds() if busy.retry_after else 0.0
                await self._pause(max(asked, self._widened()))
            except Exception as error:
                # Anything else, a fault of ours included, is told to every waiting task and tried again.
                if not isinstance(error, OrchestrationError):
                    log.exception("polling connection %s", self.connection_id)
                self._worry(str(error) or repr(error))
                await self._pause(self._widened())

    async def _session(self) -> None:
        """Poll with one open client until nobody waits or something goes wrong."""
        await self._refuse_blocked(self.connection_id)
        async with self.registration.open(self.connection_id) as system:
            while self._watchers:
                # Watchers that join from here on wake the pause below.
                self._wake.clear()
                changed = await self._round(system)
                self._errors = 0
                await self._pause(self._next_interval(changed))

    async def _round(self, system: RemoteSystem) -> bool:
        here: list[_Watcher] = []
        for watcher in list(self._watchers):
            if watcher.identity == system.identity:
                here.append(watcher)
            else:
                watcher.queue.put_nowait(News(elsewhere=system.identity))
        changed = False
        for batch in _batches(here, system.capabilities.batch):
            states = await system.poll([watcher.handle for watcher in batch])
            self.calls += 1
            for watcher in batch:
                status = states.get(watcher.handle.key)
                if status is not None and watcher in self._watchers:
                    changed = watcher.tell(status) or changed
        return changed

    def _next_interval(self, changed: bool) -> float:
        now = asyncio.get_running_loop().time()
        young = any(now - watcher.since < self.pace.young_for for watcher in self._watchers)
        self._interval = self.pace.young if changed or young else min(self._interval * 1.5, self.pace.calm)
        return self._interval

    def _widened(self) -> float:
        self._errors += 1
        return float(min(self.pace.young * 2**self._errors, self.pace.widest))

    def _worry(self, trouble: str) -> None:
        for watcher in self._watchers:
            watcher.worry(trouble)

    async def _pause(self, seconds: float) -> None:
        """Wait, with jitter; cut short only when the last watcher leaves or a new one joins a healthy connection."""
        seconds *= random.uniform(0.85, 1.15)  # noqa: S311 - no secret hangs on it
        deadline = asyncio.get_running_loop().time() + seconds
        while self._watchers and (left := deadline - asyncio.get_running_loop().time()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), left)
                self._wake.clear()
                if not self._errors and any(watcher.last is None for watcher in self._watchers):
                    # Let the others of a burst join first: one call for all of them.
                    await asyncio.sleep(min(0.2, self.pace.young))
                    return


_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], ConnectionPoller]] = (
    weakref.WeakKeyDictionary()
)


def poller(registration: SystemRegistration, connection_id: str, pace: Pace | None = None) -> ConnectionPoller:
    """Return this process's poller for a connection; the same one for everybody on this event loop."""
    hub = _hubs.setdefault(asyncio.get_running_loop(), {})
    name = (registration.name, connection_id)
    if name not in hub:
        hub[name] = ConnectionPoller(registration, connection_id, pace or Pace())
    return hub[name]


def _batches(watchers: Sequence[_Watcher], size: int) -> list[Sequence[_Watcher]]:
    return [watchers[start : start + size] for start in range(0, len(watchers), max(size, 1))]


def utc_now() -> datetime:
    """Return the time, aware UTC."""
    return datetime.now(UTC)


def seconds_until(moment: datetime | None) -> float | None:
    """Return the seconds left until ``moment``; None when there is none."""
    return None if moment is None else max((moment - utc_now()) / timedelta(seconds=1), 0.0)
