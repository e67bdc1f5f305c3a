"""Time that runs faster for the tries: the event loop's, and the clock's, at the same rate in every process.

Waits are not skipped but shortened evenly, so whatever has to happen within a settle time happens within it here, too.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

RATE = 20
"""How many seconds pass for a try in one real second: a settle time of ten takes half a second."""

_began = time.time()


def begin(at: float) -> None:
    """Say when the case began: fast time and real time were the same then."""
    global _began
    _began = at


def now() -> datetime:
    """Return the time as tries see it."""
    return fast(time.time())


def fast(real: float) -> datetime:
    """Return a real moment as tries see it."""
    return datetime.fromtimestamp(_began + (real - _began) * RATE, UTC)


class FastClock:
    """The submission's clock."""

    def now(self) -> datetime:
        return now()

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())


class _Selector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Waits a shorter time than the loop asks for."""

    def select(self, timeout: float | None = None) -> Any:
        return super().select(timeout / RATE if timeout is not None and timeout > 0 else timeout)


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop on fast time: sleeps and time-outs are shorter, in the clients' libraries, too."""

    def __init__(self) -> None:
        super().__init__(_Selector())

    def time(self) -> float:
        return super().time() * RATE


def run(main: Any, **_options: Mapping[str, Any]) -> Any:
    """Do what ``asyncio.run`` does, on fast time."""
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(main)
