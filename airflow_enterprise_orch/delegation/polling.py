"""One poll loop per connection and process, shared by all triggers that wait on it.

Ten thousand waiting jobs cost about as many status calls as ten. Each job has its own next moment: soon while it is
young or has just changed, seldom when it is calm. One call takes whatever is due, up to what the system's protocol
allows, and the calls of a connection are spaced so that their number stays within a budget whatever happens. A sick
connection never delays another, because each has its own loop; and it never fails a wait: the job goes on over there,
whether or not we can see it.

Everything here runs on the event loop's own clock, so a simulation can run it on a virtual one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import Context
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.delegation.entrance import Enter, entered
from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.delegation.output_relay import OutputPace, OutputRelay, Reading
from airflow_enterprise_orch.delegation.watch import News, Pace, Watch, wake
from airflow_enterprise_orch.errors import (
    ConnectionBlocked,
    ConnectionChanged,
    ConnectionProblem,
    LoginRefused,
    OrchestrationError,
    SystemBusy,
    SystemUnreachable,
)

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.system import RemoteSystem, SystemRegistration

__all__ = ["ConnectionPoller", "News", "Pace", "Watch", "poller", "seconds_until", "utc_now"]

log = logging.getLogger(__name__)

ACTIONS = 4
"""Cancels at once on one connection. With one status call and two reads of output that makes seven calls at once at
most: sshd takes ten on one connection (sshd_config(5), MaxSessions)."""
WAKE = 50
"""So many waiting tasks are told at once before the event loop may do something else: each writes to its log."""
LONGEST_RETRY_AFTER = 3600.0
"""A system that asks for more patience than this is asked again all the same."""


class ConnectionPoller:
    """The loop of one connection. It runs while somebody waits, and closes the client some time after the last left.

    :param enter: opens a session, and blocks the connection after a refused login.
    :param chance: where jitter comes from.
    """

    def __init__(
        self,
        registration: SystemRegistration,
        connection_id: str,
        pace: Pace,
        *,
        enter: Enter = entered,
        chance: random.Random | None = None,
        output: OutputPace | None = None,
    ) -> None:
        self.registration = registration
        self.connection_id = connection_id
        self.pace = pace
        self.calls = 0
        self.system: RemoteSystem | None = None
        self.chance = chance or random.Random()  # noqa: S311 - no secret hangs on it
        self.output = OutputRelay(self._healthy, output or OutputPace(), self.chance)
        self._intervals = pace.intervals()
        self._enter = enter
        self._watches: set[Watch] = set()
        self._due: list[tuple[float, int, Watch]] = []
        self._count = 0
        self._joining = 0.0
        self._not_before = 0.0
        self._errors = 0
        self._trouble: tuple[str, float] | None = None
        self._task: asyncio.Task[None] | None = None
        self._sleeper: asyncio.Future[None] | None = None
        self._wakes_at = -math.inf
        self._actions = asyncio.Semaphore(ACTIONS)
        self._background: set[asyncio.Task[Any]] = set()

    def watch(self, handle: JobHandle, identity: str, *, waited: float = 0.0, output: bool = False) -> Watch:
        """Begin to watch one job: each change of its state, and each change of the connection's health.

        :param identity: the system that has the job.
        :param waited: for how many seconds it was waited for before, e.g. in another process: it may be calm already.
        :param output: tell the lines that it writes, too.
        """
        now = asyncio.get_running_loop().time()
        watch = Watch(self, handle, identity, now + self.pace.young_for - waited)
        if watch.young_until <= now:
            watch.level = len(self._intervals) - 1
        if output:
            watch.reading = Reading(again=waited > self.pace.young_for)
        self._watches.add(watch)
        if self._joining <= now:
            # All that join until then are asked for together: a triggerer that starts has thousands at once. Chance
            # keeps several triggerers from asking in step.
            self._joining = now + self.pace.young * self.chance.uniform(0.25, 1.0)
        self._push(watch, self._joining)
        if self._trouble is not None:
            self._worry([watch], self._trouble)
        if self._task is None or self._task.done():
            # In a context of its own: the first trigger's would put all that is logged here into that trigger's log.
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name=f"poll {self.connection_id}", context=Context()
            )
        return watch

    def forget(self, watch: Watch) -> None:
        """Ask for this job no more."""
        self._watches.discard(watch)
        if len(self._due) > 64 and len(self._due) > 4 * len(self._watches):
            self._due = [entry for entry in self._due if entry[2] in self._watches]
            heapify(self._due)
        if not self._watches:
            self._wake()

    async def call(self, action: Callable[[RemoteSystem], Awaitable[None]]) -> None:
        """Do one thing with the system that may be done twice, in the open session or in one of its own.

        :raises SystemUnreachable: when it takes longer than the pace's ``patience``.
        """
        async with self._actions:
            try:
                async with asyncio.timeout(self.pace.patience):
                    await self._call(action)
            except TimeoutError as error:
                raise SystemUnreachable(
                    f"connection {self.connection_id}: no answer within {self.pace.patience:g} s"
                ) from error

    async def _call(self, action: Callable[[RemoteSystem], Awaitable[None]]) -> None:
        shared = self._healthy()
        if shared is not None:
            try:
                await action(shared)
            except Exception as error:
                if shared is self._healthy() and not isinstance(error, ConnectionChanged):
                    raise
                log.info("connection %s was closed meanwhile: once more in a new session", self.connection_id)
            else:
                return
        async with self._enter(self.registration, self.connection_id) as system:
            await action(system)

    def go_on(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` to its end even if whoever asks for it is cancelled meanwhile."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # The loop.

    async def _run(self) -> None:
        while self._watches:
            try:
                await self._session()
            except Exception as error:
                await self._failed(error)

    async def _session(self) -> None:
        """Poll with one open client until nobody waits or something goes wrong."""
        async with self._enter(self.registration, self.connection_id) as system:
            self.system = system
            try:
                while await self._somebody_is_due():
                    batch = self._take(system)
                    if batch:
                        await self._ask(system, batch)
            finally:
                self.system = None

    async def _somebody_is_due(self) -> bool:
        """Wait until a call may be made for somebody; False when nobody came for a while."""
        loop = asyncio.get_running_loop()
        gives_up: float | None = None
        while True:
            while self._due and self._due[0][2] not in self._watches:
                heappop(self._due)
            now = loop.time()
            if self._due:
                gives_up = None
                moment = max(self._due[0][0], self._not_before)
                if moment <= now:
                    return True
            else:
                gives_up = moment = now + self.pace.linger if gives_up is None else gives_up
                if moment <= now:
                    return False
            await self._sleep_until(moment)

    def _take(self, system: RemoteSystem) -> list[Watch]:
        """Return those who are due, the most overdue first; also who would be due before the next call could come."""
        horizon = asyncio.get_running_loop().time() + self.pace.young
        batch: list[Watch] = []
        most = system.capabilities.batch
        while self._due and self._due[0][0] <= horizon:
            watch = self._due[0][2]
            most = min(most, watch.crowd or most)
            if len(batch) >= most:
                break
            heappop(self._due)
            if watch not in self._watches:
                continue
            if watch.identity != system.identity:
                self._watches.discard(watch)
                watch.tell(News(elsewhere=system.identity))
                continue
            batch.append(watch)
        return batch

    async def _ask(self, system: RemoteSystem, batch: list[Watch]) -> None:
        now = asyncio.get_running_loop().time()
        gap = self.pace.gap(len(self._watches), system.capabilities.batch)
        more = bool(self._due) and self._due[0][0] <= now + self.pace.young
        self._not_before = now + (gap if more else max(gap, self.pace.young * self._jitter()))
        self.calls += 1
        try:
            async with asyncio.timeout(self.pace.patience) as patience:
                states = await system.poll([watch.handle for watch in batch])
        except Exception as error:
            alone = len(batch) == 1 and not isinstance(error, (ConnectionProblem, SystemUnreachable, TimeoutError))
            # Who was asked for in vain is due again after the others: nobody waits behind a call that fails.
            self._push_all(batch, self._intervals[-1] if alone else self.pace.young)
            if isinstance(error, TimeoutError) and patience.expired():
                raise SystemUnreachable(
                    f"{system.identity} did not answer a status call within {self.pace.patience:g} s"
                ) from error
            if isinstance(error, (ConnectionProblem, SystemUnreachable)):
                raise
            self._suspect(batch, error)
            return
        self._errors, self._trouble = 0, None
        await self._hear(batch, states)

    async def _hear(self, batch: list[Watch], states: Any) -> None:
        now = asyncio.get_running_loop().time()
        jitter = self._jitter()
        woken = 0
        for watch in batch:
            status = states.get(watch.handle.key)
            if watch not in self._watches:
                continue
            watch.crowd = 0
            news = self._news(watch, status, now)
            if news is None or not news.over:
                self._push(watch, now + self._intervals[watch.level] * jitter)
            else:
                self._watches.discard(watch)
            if news is not None:
                watch.tell(news)
                woken += 1
                if woken % WAKE == 0:
                    await asyncio.sleep(0)

    def _news(self, watch: Watch, status: JobStatus | None, now: float) -> News | None:
        """Take in one answer. A job that is not in it is simply not known this time: that proves nothing."""
        changed = status is not None and status != watch.last
        first = watch.last is None
        if changed:
            watch.last = status
            if watch.reading is not None and status is not None and status.phase is Phase.RUNNING:
                self.output.follow(watch)
        if changed and not first:
            watch.young_until = max(watch.young_until, now + self.pace.young_for)
            watch.level = 0
        elif now >= watch.young_until:
            watch.level = min(watch.level + 1, len(self._intervals) - 1)
        if status is None:
            return None
        back, watch.told = watch.told is not None, None
        return News(status if changed else None, back=back) if changed or back else None

    # What goes wrong.

    def _suspect(self, batch: list[Watch], error: Exception) -> None:
        """One job may spoil the answer for a thousand: ask for ever fewer together until it stands alone."""
        if not isinstance(error, OrchestrationError):
            log.error("polling connection %s", self.connection_id, exc_info=error)
        for watch in batch:
            watch.crowd = max(len(batch) // 2, 1)
        if len(batch) == 1:
            self._worry(batch, (str(error) or repr(error), self.pace.calm))

    async def _failed(self, error: Exception) -> None:
        """Say what is wrong to all who wait, and let the time pass that the system needs."""
        pause = self.pace.blocked
        at_least = 0.0
        if isinstance(error, ConnectionChanged):
            log.info("%s", error)
            return
        if not isinstance(error, (ConnectionBlocked, LoginRefused)):
            self._errors += 1
            pause = min(self.pace.young * 2.0**self._errors, self.pace.widest)
            if isinstance(error, SystemBusy) and error.retry_after is not None:
                at_least = min(error.retry_after.total_seconds(), LONGEST_RETRY_AFTER)
                pause = max(pause, at_least)
            if not isinstance(error, OrchestrationError):
                log.error("polling connection %s", self.connection_id, exc_info=error)
        self._trouble = (str(error) or repr(error), pause)
        watches = list(self._watches)
        for start in range(0, len(watches), WAKE):
            self._worry(watches[start : start + WAKE], self._trouble)
            await asyncio.sleep(0)
        now = asyncio.get_running_loop().time()
        self._not_before = now + max(pause * self.chance.uniform(0.85, 1.15), at_least)
        while self._watches and self._not_before > asyncio.get_running_loop().time():
            await self._sleep_until(self._not_before)

    @staticmethod
    def _worry(watches: Iterable[Watch], trouble: tuple[str, float]) -> None:
        """Say it once, and again when the pause gets longer."""
        reason, pause = trouble
        news = News(trouble=f"{reason}; asked again in {pause:g} s")
        for watch in watches:
            if watch.open and (watch.told is None or watch.told[0] != reason or pause > watch.told[1]):
                watch.told = trouble
                watch.tell(news)

    # Little things.

    def _healthy(self) -> RemoteSystem | None:
        """Return the open session, unless the system is in trouble."""
        return self.system if self._trouble is None else None

    def _push(self, watch: Watch, due: float) -> None:
        self._count += 1
        heappush(self._due, (due, self._count, watch))
        if max(due, self._not_before) < self._wakes_at:
            self._wake()

    def _push_all(self, batch: list[Watch], delay: float) -> None:
        due = asyncio.get_running_loop().time() + delay
        for watch in batch:
            if watch in self._watches:
                self._push(watch, due)

    async def _sleep_until(self, moment: float) -> None:
        loop = asyncio.get_running_loop()
        self._sleeper = future = loop.create_future()
        self._wakes_at = moment
        timer = loop.call_at(moment, wake, future)
        try:
            await future
        finally:
            timer.cancel()
            self._sleeper, self._wakes_at = None, -math.inf

    def _wake(self) -> None:
        if self._sleeper is not None:
            wake(self._sleeper)

    def _jitter(self) -> float:
        """Never more than one: an interval is a promise."""
        return self.chance.uniform(0.85, 1.0)


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


def utc_now() -> datetime:
    """Return the time, aware UTC."""
    return datetime.now(UTC)


def seconds_until(moment: datetime | None, now: datetime | None = None) -> float | None:
    """Return the seconds left until ``moment``; None when there is none."""
    return None if moment is None else max((moment - (now or utc_now())) / timedelta(seconds=1), 0.0)
