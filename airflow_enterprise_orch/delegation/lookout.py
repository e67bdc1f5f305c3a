"""One look at all places of a connection for all who wait for files there.

A stream that a file starts waits for ever, beside others on the same connection. So a process has one session with each
connection and looks at all their places in one go; a sick connection delays nobody on another one, and ends no wait.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from typing import Any

from airflow_enterprise_orch.delegation.arrivals import Arrival, Place, SeesArrivals
from airflow_enterprise_orch.delegation.entrance import entered
from airflow_enterprise_orch.delegation.system import SystemRegistration
from airflow_enterprise_orch.errors import ConnectionBlocked, OrchestrationError, RequestRejected

log = logging.getLogger(__name__)

EVERY = 15.0
"""Seconds between two looks."""
PATIENCE = 180.0
"""Seconds after which a look that does not come back is given up."""
WIDEST = 300.0
"""Seconds between two tries at most while a connection errs."""


class Lookout:
    """Looks for all who wait for files on one connection of this process. It works while somebody waits."""

    def __init__(self, registration: SystemRegistration, connection_id: str, *, every: float = EVERY) -> None:
        self._registration = registration
        self._connection_id = connection_id
        self._every = every
        self._places: dict[Place, list[asyncio.Queue[tuple[Arrival, ...]]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._errors = 0
        self._refused: dict[Place, str] = {}

    async def looks(self, place: Place) -> AsyncIterator[tuple[Arrival, ...]]:
        """Yield the complete files of a place, look by look; who is slow gets the newest look only."""
        with self._waiting(place) as queue:
            while True:
                yield await queue.get()

    @contextmanager
    def _waiting(self, place: Place) -> Iterator[asyncio.Queue[tuple[Arrival, ...]]]:
        queue: asyncio.Queue[tuple[Arrival, ...]] = asyncio.Queue(maxsize=1)
        self._places.setdefault(place, []).append(queue)
        if self._task is None or self._task.done():
            # In a context of its own: the first trigger's would put all that is logged here into that trigger's log.
            name = f"files on {self._connection_id}"
            self._task = asyncio.get_running_loop().create_task(self._run(), name=name, context=Context())
        try:
            yield queue
        finally:
            self._places[place].remove(queue)
            if not self._places[place]:
                del self._places[place]

    async def _run(self) -> None:
        while self._places:
            try:
                await self._session()
            except Exception as error:
                await asyncio.sleep(self._failed(error))

    async def _session(self) -> None:
        """Look with one open client until nobody waits or something goes wrong."""
        async with entered(self._registration, self._connection_id) as system:
            sees: Any = system
            if not hasattr(sees, "arrived"):
                raise RequestRejected(f"{system.identity} cannot be looked at for files")
            while self._places:
                found = await self._look(sees)
                if self._errors:
                    log.info("connection %s can be looked at for files again", self._connection_id)
                self._errors = 0
                for place, files in found.items():
                    for queue in self._places.get(place, ()):
                        if queue.full():
                            queue.get_nowait()
                        queue.put_nowait(files)
                await asyncio.sleep(self._every)

    async def _look(self, sees: SeesArrivals) -> Mapping[Place, tuple[Arrival, ...]]:
        """Return what is there; a place that the system refuses to look at takes no other down."""
        places = list(self._places)
        async with asyncio.timeout(PATIENCE):
            try:
                found = await sees.arrived(places)
                self._refused.clear()
            except RequestRejected:
                found = {}
                for place in places:
                    try:
                        found |= await sees.arrived([place])
                    except RequestRejected as error:
                        if self._refused.get(place) != str(error):
                            log.error("connection %s: %s", self._connection_id, error)  # noqa: TRY400 - it says all
                        self._refused[place] = str(error)
        return found

    def _failed(self, error: Exception) -> float:
        """Say what is wrong, once; return the seconds until the next try."""
        self._errors += 1
        known = isinstance(error, (OrchestrationError, TimeoutError))
        if self._errors == 1 or not known:
            why = str(error) or type(error).__name__
            log.error("connection %s cannot be looked at for files: %s", self._connection_id, why,
                      exc_info=None if known else error)  # fmt: skip
        if isinstance(error, ConnectionBlocked):
            return 2 * EVERY
        return min(self._every * 2.0 ** min(self._errors, 10), WIDEST)


_lookouts: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], Lookout]] = (
    weakref.WeakKeyDictionary()
)


def lookout(registration: SystemRegistration, connection_id: str) -> Lookout:
    """Return this process's lookout for a connection; the same one for everybody on this event loop."""
    hub = _lookouts.setdefault(asyncio.get_running_loop(), {})
    name = (registration.name, connection_id)
    if name not in hub:
        hub[name] = Lookout(registration, connection_id)
    return hub[name]
