"""An event loop on which waiting takes no time: its clock jumps to the next timer when nothing else is to be done.

``run(main())`` runs a coroutine like ``asyncio.run``; ``loop.time()``, ``asyncio.sleep``, ``asyncio.timeout`` and
``call_later`` go by the virtual clock, which begins at 0. Hours of waiting take milliseconds and are the same in every
run. When everybody waits and no timer is set, nothing could ever happen again: that is an error here, not a hang.
Threads and sockets work as ever, in real time; code that uses neither never waits for anything real.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

BEGINNING = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
STUCK_AFTER = 5.0
"""Real seconds in which a thread or a socket may still bring something when no timer is set."""


class Stuck(RuntimeError):
    """Everybody waits for something that nobody will do."""


class _Selector(selectors.DefaultSelector):
    """Asks the real selector without waiting, and lets the virtual clock jump instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            found = super().select(STUCK_AFTER)
            if not found:
                raise Stuck("everybody waits and no timer is set")
            return found
        found = super().select(0)
        if not found and timeout > 0:
            self.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector event loop with a clock of its own."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual seconds since the beginning."""
        return self._virtual.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a virtual loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def utc_now() -> datetime:
    """Return the running virtual loop's time as a date."""
    return BEGINNING + timedelta(seconds=asyncio.get_running_loop().time())
