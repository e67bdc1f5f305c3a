"""What a remote system says of a job that does not get on, kept beside its task: "held in JES", "waits for a printer".

Only the triggerer sees that, and nobody else should have to ask the system for it. So what has lasted for some seconds
is kept as an XCom of the waiting task, and again now and then for as long as it lasts: a note that was not renewed for
long was true once, and whoever reads it must not believe it any more. A job that runs leaves none, so ten thousand
waits write as good as nothing; and when a whole system is held, the notes are written one after the other, slowly
enough for the triggerer to have time for what matters. A note that cannot be written is left, for it holds up nothing.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.delegation.job import JobStatus, Phase

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.waiting import Wait

log = logging.getLogger(__name__)

NOTE_KEY = "orch.remote"
"""Of the XCom."""
NOTE_VERSION = 1
GOOD_FOR = timedelta(minutes=30)
"""A note that is older was not renewed, so nobody knows."""
SETTLES = 10.0
"""Seconds for which a state must have lasted to be worth a note: most jobs wait a moment in a queue."""
GAP = 0.1
"""Seconds between two notes. Each is a request that the triggerer's supervisor answers, one after the other."""
RENEWED = 600.0
"""Seconds after which a note is written again; ten thousand take some 17 minutes, which is within their time."""
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class RemoteNote:
    """A note that was read.

    :param key: the delegation key of the attempt that it is about.
    :param at: when it was true; aware UTC.
    """

    key: str
    phase: Phase
    reason: str
    at: datetime

    @classmethod
    def read(cls, data: object, now: datetime) -> RemoteNote | None:
        """Read a note; None of one that is too old, of another version, or none at all: anybody may write an XCom."""
        try:
            if not isinstance(data, Mapping) or data["version"] != NOTE_VERSION:
                return None
            at = datetime.fromisoformat(str(data["at"])).astimezone(UTC)
            note = cls(str(data["key"]), Phase(data["phase"]), str(data["reason"])[:LONGEST_REASON], at)
        except (KeyError, ValueError):
            return None
        return note if now - at <= GOOD_FOR else None


@dataclass(slots=True)
class _Known:
    wait: Wait
    status: JobStatus
    due: float
    written: bool = False


Write = Callable[["Wait", dict[str, Any]], Awaitable[None]]


class RemoteNotes:
    """The notes of one event loop.

    :param write: keeps one beside the task of a wait.
    """

    def __init__(self, write: Write, *, settles: float = SETTLES, gap: float = GAP, renewed: float = RENEWED) -> None:
        self._write = write
        self._settles, self._gap, self._renewed = settles, gap, renewed
        self._known: dict[str, _Known] = {}
        self._due: list[tuple[float, int, str]] = []
        self._count = 0
        self._task: asyncio.Task[None] | None = None
        self._woken: asyncio.Event | None = None
        self._trouble = ""

    def tell(self, wait: Wait, status: JobStatus | None) -> None:
        """Take in a job's new state; None: nobody waits for it here any more."""
        key = wait.handle.key
        known = self._known.get(key)
        if status is None or status.final or not (_worth_a_note(status) or (known is not None and known.written)):
            # Of a job that has ended the task tells more than any note.
            self._known.pop(key, None)
            return
        if known is not None and known.status == status:
            return
        due = asyncio.get_running_loop().time() + self._settles
        self._known[key] = _Known(wait, status, due, written=known is not None and known.written)
        self._push(due, key)
        if self._task is None or self._task.done():
            # In a context of its own: else all that is logged here would be in that task's log.
            self._woken = asyncio.Event()
            self._task = asyncio.get_running_loop().create_task(self._run(), name="remote notes", context=Context())
        elif self._woken is not None:
            self._woken.set()

    def _push(self, due: float, key: str) -> None:
        self._count += 1
        heappush(self._due, (due, self._count, key))
        if len(self._due) > 64 and len(self._due) > 4 * len(self._known):
            self._due = [one for one in self._due if self._is_due(one)]
            heapify(self._due)

    def _is_due(self, one: tuple[float, int, str]) -> bool:
        known = self._known.get(one[2])
        return known is not None and known.due == one[0]

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._due:
            if not self._is_due(self._due[0]):
                heappop(self._due)
                continue
            delay = self._due[0][0] - loop.time()
            if delay > 0:
                await self._wait(delay)
                continue
            key = heappop(self._due)[2]
            await self._note(key, self._known[key])
            await asyncio.sleep(self._gap)

    async def _wait(self, seconds: float) -> None:
        if self._woken is None:
            raise AssertionError("nothing wakes what runs")
        self._woken.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _note(self, key: str, known: _Known) -> None:
        status = known.status
        note = {
            "version": NOTE_VERSION,
            "key": key,
            "phase": status.phase.value,
            "reason": status.reason[:LONGEST_REASON],
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            await self._write(known.wait, note)
        except Exception as error:  # whatever it is, the wait goes on, and so does the next note
            told = str(error) or type(error).__name__
            if told != self._trouble:
                log.warning("what a remote system says of its waiting jobs cannot be kept: %s", told)
            self._trouble = told
        else:
            self._trouble = ""
        if self._known.get(key) is not known:
            return  # something new was told meanwhile
        if _worth_a_note(status):
            known.written, known.due = True, asyncio.get_running_loop().time() + self._renewed
            self._push(known.due, key)
        else:
            del self._known[key]


def _worth_a_note(status: JobStatus) -> bool:
    return status.phase is Phase.HELD or (status.phase is Phase.WAITING and bool(status.reason))


async def write(wait: Wait, note: dict[str, Any]) -> None:
    """Keep a note as an XCom, from within a triggerer."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import SetXCom
    from asgiref.sync import sync_to_async

    message = SetXCom(
        key=NOTE_KEY,
        value=note,
        dag_id=wait.dag_id,
        run_id=wait.run_id,
        task_id=wait.task_id,
        map_index=wait.map_index,
    )
    await sync_to_async(task_runner.SUPERVISOR_COMMS.send)(message)


_notes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, RemoteNotes] = weakref.WeakKeyDictionary()


def remote_notes() -> RemoteNotes:
    """Return the notes of this event loop; the same ones for all who wait on it."""
    return _notes.setdefault(asyncio.get_running_loop(), RemoteNotes(write))
