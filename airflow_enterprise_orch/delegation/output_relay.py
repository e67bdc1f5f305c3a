"""New lines of remote logs, on their way to the logs of the tasks that wait.

One relay per connection and process, beside the status polls and never in their way: it reads in turn from the jobs
that run, within a budget of its own. A job that writes nothing is read ever more seldom, a job that writes more than a
task's log should hold is not read any further, and what goes wrong with reading is said once and harms no wait.

At least once: a triggerer that takes a wait over knows not what was shown before, so it reads from the beginning.
"""

from __future__ import annotations

import asyncio
import random
import unicodedata
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from airflow_enterprise_orch.errors import LoginRefused, SystemBusy

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.job import Output
    from airflow_enterprise_orch.delegation.system import RemoteSystem
    from airflow_enterprise_orch.delegation.watch import Watch

LONGEST_LINE = 4000
"""A longer line is shown in pieces."""
AT_ONCE = 100
"""Lines that a task is told at once: each is a record in its log, and others want the event loop too."""
READS = 2
"""Reads at once on one connection."""
ROUNDING = 1e-6
"""Parts of a token: times are floats."""
LAST_READS = 4
"""Reads at most for what an ended job wrote last."""


@dataclass(frozen=True, slots=True)
class OutputPace:
    """How much a connection may be asked for output.

    :param per_second: reads a second, over all jobs of the connection.
    :param burst: reads that may come at once after a quiet time.
    :param every: seconds between two reads of one job, at least.
    :param seldom: seconds between two reads of a job that writes nothing, at most.
    :param read: bytes of one read.
    :param whole: characters shown of one job in one wait.
    :param patience: seconds after which a read is given up.
    :param at_the_end: seconds that the end of a wait may take for what the job wrote last.
    :param busy: seconds of rest after the system said that it is busy.
    """

    per_second: float = 2.0
    burst: int = 10
    every: float = 5.0
    seldom: float = 60.0
    read: int = 65536
    whole: int = 1024 * 1024
    patience: float = 60.0
    at_the_end: float = 5.0
    busy: float = 60.0


class Reading:
    """How far one wait's output was read.

    :param again: somebody else may have shown some of it before.
    """

    __slots__ = ("again", "complained", "cursor", "followed", "full", "partial", "pause", "shown")

    def __init__(self, *, again: bool = False) -> None:
        self.again = again
        self.cursor = ""
        self.partial = ""
        self.shown = 0
        self.pause = 0.0
        self.followed = False
        self.full = False
        self.complained = False

    def take(self, piece: Output, whole: int, job: str) -> list[str]:
        """Return the lines of a piece that can be shown; a last line that is not whole yet waits for its rest."""
        self.cursor = piece.cursor
        if not piece.text or self.full:
            return []
        lines: list[str] = []
        if self.again:
            self.again = False
            lines.append("[from the beginning: another triggerer may have shown some of it before]")
        text = piece.text[: max(whole - self.shown, 0)]
        self.shown += len(text)
        self.full = len(text) < len(piece.text)
        *ended, self.partial = (self.partial + text).split("\n")
        if len(self.partial) > LONGEST_LINE:
            ended.append(self.partial)
            self.partial = ""
        lines += [shown for line in ended for shown in printable(line)]
        if self.full:
            lines += [*self.rest(), f"[more than {whole} characters: the rest is in the output of {job}]"]
        return lines

    def rest(self) -> list[str]:
        """Return the last line, which nothing will follow any more."""
        partial, self.partial = self.partial, ""
        return printable(partial) if partial else []


class OutputRelay:
    """Reads for the watches of one connection.

    :param system: gives the open session while the system is well.
    """

    def __init__(self, system: Callable[[], RemoteSystem | None], pace: OutputPace, chance: random.Random) -> None:
        self.pace = pace
        self.calls = 0
        self._system = system
        self._chance = chance
        self._due: list[tuple[float, int, Watch]] = []
        self._count = 0
        self._tokens = float(pace.burst)
        self._filled = 0.0
        self._rests_until = 0.0
        self._reads = asyncio.Semaphore(READS)
        self._task: asyncio.Task[None] | None = None

    def follow(self, watch: Watch) -> None:
        """Begin to read what a running job writes."""
        reading = watch.reading
        if reading is None or reading.followed:
            return
        reading.followed = True
        # Spread, so that jobs that began together are not read together for ever.
        self._push(watch, self.pace.every * self._chance.random())
        if self._task is None or self._task.done():
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._run(), name="output", context=Context())

    async def last(self, watch: Watch) -> list[str]:
        """Return what an ended job wrote last, if the budget allows to read it; never raises, never takes long."""
        reading = watch.reading
        if reading is None or reading.full:
            return []
        lines: list[str] = []
        try:
            async with asyncio.timeout(self.pace.at_the_end):
                complete = await self._read_on(watch, reading, lines)
        except TimeoutError:
            complete = False
        lines += reading.rest()
        if not complete and not reading.full:
            lines.append(f"[the last lines are not shown here: see the output of {_job(watch)}]")
        return lines

    async def _read_on(self, watch: Watch, reading: Reading, lines: list[str]) -> bool:
        """Read to the end; return whether it was reached."""
        for _ in range(LAST_READS):
            system = self._system()
            if system is None or not self._take_token():
                return False
            before = reading.shown
            try:
                lines += await self._read(system, watch, reading)
            except Exception as error:
                lines += self._complaint(reading, error)
                return False
            if reading.full or reading.shown == before:
                return True
        return False

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._due:
            due, _, watch = self._due[0]
            if not watch.open:
                heappop(self._due)
                continue
            moment = max(due, self._rests_until, self._next_token())
            if moment > loop.time():
                await asyncio.sleep(min(moment - loop.time(), self.pace.every))
                continue
            system = self._system()
            if system is None:
                await asyncio.sleep(self.pace.every)
                continue
            if not self._take_token():
                continue  # an ended job took it
            heappop(self._due)
            await self._serve(system, watch)

    async def _serve(self, system: RemoteSystem, watch: Watch) -> None:
        reading = watch.reading
        if reading is None or reading.full:
            return
        before = reading.shown
        try:
            async with asyncio.timeout(self.pace.patience):
                lines = await self._read(system, watch, reading)
        except Exception as error:
            if isinstance(error, SystemBusy):
                asked = error.retry_after.total_seconds() if error.retry_after else 0.0
                self._rests_until = asyncio.get_running_loop().time() + max(asked, self.pace.busy)
            # A session that was closed while we read says nothing about this job.
            lines = self._complaint(reading, error) if system is self._system() else []
        for start in range(0, len(lines), AT_ONCE):
            if watch.open:
                watch.tell_lines(tuple(lines[start : start + AT_ONCE]))
        if watch.open and not reading.full:
            quiet = reading.shown == before
            reading.pause = min(max(reading.pause * 1.5, self.pace.every), self.pace.seldom) if quiet else 0.0
            self._push(watch, max(reading.pause, self.pace.every))

    async def _read(self, system: RemoteSystem, watch: Watch, reading: Reading) -> list[str]:
        async with self._reads:
            self.calls += 1
            piece = await system.read_output(watch.handle, reading.cursor, limit=self.pace.read)
        lines = reading.take(piece, self.pace.whole, _job(watch))
        if lines:
            reading.complained = False
        return lines

    @staticmethod
    def _complaint(reading: Reading, error: Exception) -> list[str]:
        if reading.complained:
            return []
        reading.complained = True
        # The status polls meet a refused login too, and they say it to all.
        reason = "the login was refused" if isinstance(error, LoginRefused) else str(error) or type(error).__name__
        return [f"[its output cannot be read now, which does not touch the job: {' '.join(reason.split())}]"]

    def _push(self, watch: Watch, delay: float) -> None:
        self._count += 1
        heappush(self._due, (asyncio.get_running_loop().time() + delay, self._count, watch))

    # The budget: a bucket of tokens.

    def _fill(self) -> None:
        now = asyncio.get_running_loop().time()
        self._tokens = min(self._tokens + (now - self._filled) * self.pace.per_second, float(self.pace.burst))
        self._filled = now

    def _next_token(self) -> float:
        self._fill()
        short = 1.0 - self._tokens
        return self._filled + (short / self.pace.per_second if short > ROUNDING else 0.0)

    def _take_token(self) -> bool:
        self._fill()
        if self._tokens < 1.0 - ROUNDING:
            return False
        self._tokens -= 1.0
        return True


def printable(line: str) -> list[str]:
    """Return a line as it can be shown: without control characters, in pieces when it is very long.

    A remote program must not move the cursor of whoever reads the log, hide text from them or reverse it.
    """
    line = line.removesuffix("\r")
    if not line.isprintable():
        line = "".join(
            char if char == "\t" or char.isprintable() or unicodedata.category(char) == "Zs" else _escaped(char)
            for char in line
        )
    return [line[start : start + LONGEST_LINE] for start in range(0, len(line), LONGEST_LINE)] or [""]


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _job(watch: Watch) -> str:
    return f"{watch.handle.job_id} on {watch.identity}"
