"""A virtual clock and a scheduler of processes that can be stopped between any two calls.

Each simulated process is a greenlet, so that code which waits in the middle of a plain call (the task state store is
one) can be interrupted there too. Only one runs at a time, and which one is a choice of the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from .choices import Choices

T = TypeVar("T")

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
MAX_STEPS = 20_000


class Died(BaseException):
    """The process ends here and now; no ``except Exception`` survives a SIGKILL, so this is none."""


class Endless(Exception):
    """The schedule does not come to an end."""


class Actor:
    """One simulated process, or one trigger in a triggerer."""

    __slots__ = ("body", "dead", "greenlet", "name", "scheduler", "waking")

    def __init__(self, scheduler: Scheduler, name: str, body: Callable[[], None]) -> None:
        self.scheduler = scheduler
        self.name = name
        self.dead = False
        self.waking = 0
        self.body = body
        self.greenlet = greenlet(self._run, scheduler.main)

    def _run(self) -> None:
        try:
            if not self.dead:
                self.body()
        except Died:
            pass
        except BaseException as error:  # of the simulation or of the code under test: never swallowed
            self.scheduler.broken = self.scheduler.broken or error
        self.dead = True


class Scheduler:
    """Runs processes and events, one at a time, in an order that the choices tell."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.time = 0.0
        self.steps = 0
        self.main = getcurrent()
        self.current: Actor | None = None
        self.broken: BaseException | None = None
        self.trace: list[str] | None = None
        self._actors: list[Actor] = []
        self._runnable: list[Actor] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    # The clock, as the code under test sees it.

    def now(self) -> datetime:
        return START + timedelta(seconds=self.time)

    def tell(self, line: str) -> None:
        """Write a line of the trace; callers ask :attr:`trace` first, for speed."""
        if self.trace is not None:
            who = self.current.name if self.current is not None else "-"
            self.trace.append(f"{self.time:9.1f} {who:14} {line}")

    # Processes.

    def spawn(self, name: str, body: Callable[[], None]) -> Actor:
        actor = Actor(self, name, body)
        self._actors.append(actor)
        self._runnable.append(actor)
        return actor

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._events, (self.time + seconds, self._count, event))

    def sleep(self, seconds: float) -> None:
        """Let time pass for the process that calls this."""
        actor = self.current
        assert actor is not None
        if actor.dead:
            raise Died
        actor.waking += 1
        waking = actor.waking

        def wake() -> None:
            if not actor.dead and actor.waking == waking:
                self._runnable.append(actor)

        self.after(seconds, wake)
        self.main.switch()
        if actor.dead:
            raise Died

    def kill(self, actor: Actor) -> None:
        """End a process where it stands. It ends at once, and what it holds is not given back."""
        if actor.dead:
            return
        actor.dead = True
        if actor is self.current:
            raise Died
        if actor in self._runnable:
            self._runnable.remove(actor)
        if actor.greenlet:  # it has begun and has not ended
            before, self.current = self.current, actor
            # From wherever we are, until the process has unwound; all that it calls there raises, so nothing happens.
            actor.greenlet.parent = getcurrent()
            actor.greenlet.throw(Died)
            self.current = before

    def run(self) -> None:
        """Run until nothing is left to happen."""
        runnable, events = self._runnable, self._events
        while self.broken is None:
            if runnable:
                index = self.choices.among("run", len(runnable)) if len(runnable) > 1 else 0
                actor = runnable.pop(index)
                self.current = actor
                actor.greenlet.switch()
                self.current = None
            elif events:
                time, _, event = heappop(events)
                self.time = time
                event()
            else:
                return
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise Endless(f"more than {MAX_STEPS} steps")
        raise self.broken

    def close(self) -> None:
        """End what is left, so that no greenlet lingers."""
        for actor in self._actors:
            self.kill(actor)


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine whose every wait is a switch of this scheduler."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("the code under test waited for something that the simulation does not own")
