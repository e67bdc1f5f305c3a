"""What many requests wait for in the loop that serves all of them: worked out once, in a thread, and given to all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

T = TypeVar("T")


class Flights(Generic[T]):
    """Things that are being worked out, by what they are. Nothing is kept: whoever comes later has it worked out anew.

    For those who wait in threads there is ``single_flight.py``.
    """

    def __init__(self) -> None:
        self._going: dict[tuple[asyncio.AbstractEventLoop, Hashable], asyncio.Future[T]] = {}

    async def run(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make`` returns in a thread, or raise what it raises, to all who wait for the same."""
        return await self.join(key, lambda: run_in_threadpool(make))

    async def join(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """Return what ``make`` returns, or raise what it raises, to all who wait for the same.

        Whoever goes away meanwhile ends it for nobody.
        """
        return await asyncio.shield(self.begin(key, make))

    def begin(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> asyncio.Future[T]:
        """Begin to work it out, unless that goes on already; nobody has to wait for it."""
        mine = asyncio.get_running_loop(), key
        going = self._going.get(mine)
        if going is None:
            going = self._going[mine] = asyncio.ensure_future(make())
            going.add_done_callback(lambda _: self._going.pop(mine, None))
        return going

    def __len__(self) -> int:
        """Return how many things are being worked out."""
        return len(self._going)
