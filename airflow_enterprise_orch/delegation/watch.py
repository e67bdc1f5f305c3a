"""One job under watch: how often it is asked for, and what whoever waits for it is told."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.output_relay import Reading


class Forgets(Protocol):
    """Who asks for the job: :class:`~.polling.ConnectionPoller`."""

    def forget(self, watch: Watch) -> None:
        """Ask for this job no more."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a connection is asked.

    :param young: seconds between polls of a job that is young or has just changed. Calls that do not fill a batch are
        so far apart too.
    :param young_for: how long a job is young.
    :param calm: seconds between polls of a job whose state does not change; its interval grows towards that.
    :param budget: status calls per ``calm`` at most, unless more jobs wait than so many batches can hold.
    :param widest: seconds between tries at most while the system errs.
    :param blocked: seconds between looks at whether a blocked connection was lifted.
    :param patience: seconds after which a call that does not come back is given up.
    :param linger: seconds for which the client stays open when nobody waits any more.
    """

    young: float = 2.0
    young_for: float = 30.0
    calm: float = 15.0
    budget: int = 25
    widest: float = 300.0
    blocked: float = 30.0
    patience: float = 180.0
    linger: float = 60.0

    def intervals(self) -> tuple[float, ...]:
        """Return the intervals that a calm job goes through."""
        steps = [self.young]
        while steps[-1] < self.calm:
            steps.append(min(steps[-1] * 1.5, self.calm))
        return tuple(steps)

    def gap(self, jobs: int, batch: int) -> float:
        """Return the seconds between the beginnings of two calls; room for two rounds over all jobs in ``calm``."""
        return self.calm / max(self.budget - 1, 2 * math.ceil(jobs / batch))


@dataclass(frozen=True, slots=True)
class News:
    """What a waiting trigger is told.

    :param status: the job's state, when it changed.
    :param trouble: why the system cannot be asked at the moment and when it is asked again.
    :param back: it can be asked again.
    :param elsewhere: the connection leads to another system than the one that has the job.
    :param output: new lines that the job wrote, ready to be shown.
    """

    status: JobStatus | None = None
    trouble: str = ""
    back: bool = False
    elsewhere: str = ""
    output: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Nothing more will be told."""
        return bool(self.elsewhere) or (self.status is not None and self.status.final)


class Watch:
    """One trigger's watch over one job: a context manager and an async iterator of :class:`News`.

    Kept small: a triggerer holds ten thousand of them.
    """

    __slots__ = ("_future", "_news", "_poller", "crowd", "handle", "identity", "last", "level", "reading", "told",
                 "young_until")  # fmt: skip

    def __init__(self, poller: Forgets, handle: JobHandle, identity: str, young_until: float) -> None:
        self.handle = handle
        self.identity = identity
        self.last: JobStatus | None = None
        self.young_until = young_until
        self.level = 0
        self.crowd = 0  # among how many it may be asked for at most, after an answer was spoilt; 0: no limit
        self.told: tuple[str, float] | None = None
        self.reading: Reading | None = None
        self._poller: Forgets | None = poller
        self._news: list[News] | None = None
        self._future: asyncio.Future[None] | None = None

    async def next(self, timeout: float | None = None) -> News | None:
        """Return what is new, as soon as something is; None when ``timeout`` seconds have passed before."""
        if not self._news:
            loop = asyncio.get_running_loop()
            self._future = future = loop.create_future()
            timer = None if timeout is None else loop.call_later(timeout, wake, future)
            try:
                await future
            finally:
                self._future = None
                if timer is not None:
                    timer.cancel()
        if not self._news:
            return None
        news = self._news.pop(0)
        self._news = self._news or None
        return news

    def tell(self, news: News) -> None:
        """Wake who waits; nothing follows what is over."""
        self._news = [*(self._news or ()), news]
        if news.over:
            self._poller = None
        if self._future is not None:
            wake(self._future)

    def tell_lines(self, lines: tuple[str, ...]) -> None:
        """Pass on what the job wrote."""
        self.tell(News(output=lines))

    @property
    def open(self) -> bool:
        """It still wants to be told."""
        return self._poller is not None

    def leave(self) -> None:
        """Be told nothing more."""
        poller, self._poller = self._poller, None
        if poller is not None:
            poller.forget(self)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_error: object) -> None:
        self.leave()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> News:
        if not self.open and not self._news:
            raise StopAsyncIteration
        news = await self.next()
        if news is None:
            raise StopAsyncIteration
        return news

    async def aclose(self) -> None:
        """The same as :meth:`leave`, for ``contextlib.aclosing``."""
        self.leave()


def wake(future: asyncio.Future[None]) -> None:
    """Let whoever awaits ``future`` go on."""
    if not future.done():
        future.set_result(None)
