"""Deliveries to a share, and waits for files on it, as jobs.

A share has no scheduler, so a delivery is work that we do: ``submit`` stages, verifies, publishes if absent, confirms,
writes the manifest and, last, the record that *is* the job (see :mod:`.journal`). Once ``submit`` has answered, the job
has ended. Why every crash point is safe:

1. *Dies before the publication:* nobody sees anything; the next try removes the stage and begins anew.
2. *Dies after it:* the claim, written right before, says that this content under this key is ours. The next try finds
   it in place, publishes nothing, and goes on with confirmation, manifest and record.
3. *Two tries at once:* of two publications the store lets one win; the loser finds the winner's claim, or the same
   content. Records are created if absent, so both report the same end.

So whoever sends a second time does no harm, and ``submit`` is atomic. ``find`` looks for the record: a delivery without
one is not done, and sending it again finishes it.

A wait is a record in ``open/``; handing it over twice creates it once. ``poll`` lists each folder once for all waits in
it; whoever sees a wait fulfilled writes its end, if nobody has. A cancel writes the end, too, so exactly one of the two
counts, for ever. (Without a record, a cancel that one process asks for could not be proven to another.)
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Output, Phase
from airflow_enterprise_orch.delegation.system import (
    Absent,
    Candidate,
    Capabilities,
    Found,
    Protection,
    Sighting,
)
from airflow_enterprise_orch.errors import (
    AnswerLost,
    OutputMissing,
    RequestRejected,
    SystemUnreachable,
)
from airflow_enterprise_orch.systems.fileshare.certificate import Seal, render
from airflow_enterprise_orch.systems.fileshare.journal import OPEN, End, Journal, now
from airflow_enterprise_orch.systems.fileshare.steps import (
    MANIFEST,
    FileshareAwait,
    FileshareCertificate,
    FileshareDeliver,
    duration,
)
from airflow_enterprise_orch.systems.fileshare.store import Source, Staged, Store
from airflow_enterprise_orch.systems.fileshare.waits import Look, Wait, arrived

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.arrivals import Arrival, Place
    from airflow_enterprise_orch.delegation.work import Work

KEY = re.compile(r"[A-Z][A-Z0-9]{19}")
AT_ONCE = 8
"""So many requests of one poll are on their way at once."""
REMEMBERS = timedelta(days=30)
"""How long records must be kept by whoever cleans them away."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Arrival:
    """What became of the content: the first three words of an :class:`End`, and what belongs to it."""

    code: str
    sha256: str
    size: int
    lines: tuple[str, ...]
    values: Mapping[str, str]


class FileShare:
    """A :class:`~airflow_enterprise_orch.delegation.system.RemoteSystem` on a :class:`~.store.Store`; ``atomic``.

    :param seal: what certificates are sealed with; None when the connection has no secret for that.
    """

    def __init__(self, store: Store, seal: Callable[[], Seal]) -> None:
        self._store = store
        self._seal = seal
        self._journal = Journal(store)
        self._look = Look()
        self._gate = asyncio.Semaphore(AT_ONCE)

    @property
    def identity(self) -> str:
        """Which share."""
        return self._store.identity

    @property
    def capabilities(self) -> Capabilities:
        """Atomic: every name is given once."""
        return Capabilities(Protection.ATOMIC, settle=timedelta(seconds=10), remembers=REMEMBERS, batch=1000)

    async def prepare(self) -> None:
        """Make sure that a delivery can be safe here."""
        await self._store.prepare()

    async def find(self, key: str) -> Sighting:
        """Look for the record that is the job."""
        if not await self._journal.has(_checked(key)):
            return Absent()
        return Found((Candidate(await self._handle(key), held=False, order=""),))

    async def identify(self, job_id: str, key: str) -> JobHandle:
        """Return the handle of the job that a person named by its key: here a job is its record."""
        if job_id != key:
            raise RequestRejected(f"{self.identity}: only the record of {key} can be adopted for this attempt")
        sighting = await self.find(key)
        if not isinstance(sighting, Found):
            raise RequestRejected(f"{self.identity} has no record of {key}")
        return sighting.candidates[0].handle

    async def submit(self, work: Work, key: str) -> JobHandle:
        """Deliver, or begin to wait."""
        _checked(key)
        await self.prepare()
        if isinstance(work, FileshareAwait):
            return await self._begin_wait(work, key)
        if not isinstance(work, FileshareDeliver | FileshareCertificate):
            raise RequestRejected(f"{self.identity} delivers files, it has no use for {type(work).__name__}")
        if await self._journal.end(key) is None:
            await self._deliver(work, key)
        return JobHandle(key, key, work.to, {"kind": "delivery", "link": work.link})

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """List the records of waits once, and each folder that is waited in once; look for other records one by one."""
        waits = [handle for handle in handles if handle.fields.get("kind") == "wait"]
        found: dict[str, JobStatus] = {}
        others = [handle for handle in handles if handle.fields.get("kind") != "wait"]
        if waits:
            records = await self._journal.opened()
            going = [handle for handle in waits if f"{handle.key}.json" in records]
            ended = {handle.key for handle in waits if f"{handle.key}.end" in records}
            found |= dict.fromkeys(ended, JobStatus(Phase.ENDED))
            others += [handle for handle in waits if handle not in going and handle.key not in ended]
            found |= await self._poll_waits([handle for handle in going if handle.key not in ended])

        async def state(handle: JobHandle) -> tuple[str, JobStatus]:
            async with self._gate:
                has = await self._journal.has(_checked(handle.key))
            if has == "open":
                return handle.key, JobStatus(Phase.RUNNING)
            return handle.key, JobStatus(Phase.ENDED if has else Phase.MISSING)

        found |= dict(await asyncio.gather(*(state(handle) for handle in others)))
        return found

    async def cancel(self, handle: JobHandle) -> None:
        """End a wait. A delivery that has a handle is done, and stays done."""
        if handle.fields.get("kind") != "wait" or await self._journal.has(_checked(handle.key)) != "open":
            return
        wait = Wait.from_fields(handle.fields)
        end = End("cancelled", 1, wait.since, now(), ("the wait was cancelled",), wait.remembered)
        try:
            await self._journal.end_wait(handle.key, end)
        except SystemUnreachable as error:
            raise AnswerLost(f"{error}; whether the wait {handle.key} was ended is not known") from error

    async def hold(self, handle: JobHandle) -> None:
        """Not possible: a delivery is done at once."""
        raise RequestRejected(f"{self.identity} cannot hold job {handle.key}: a delivery is done at once")

    async def release(self, handle: JobHandle) -> None:
        """Do nothing: no job is ever held."""

    async def discard(self, handle: JobHandle) -> None:
        """Not possible: no job is ever held."""
        raise RequestRejected(f"{self.identity} cannot discard job {handle.key}: it is not held")

    async def restart(self, handle: JobHandle, at_step: str, key: str) -> JobHandle:
        """Not possible: a delivery has no steps."""
        raise RequestRejected(f"{self.identity} cannot restart job {handle.key} at {at_step!r}: it has no steps")

    async def result(self, handle: JobHandle) -> JobResult:
        """Return how a job ended; the record of a wait moves to those of the past."""
        end = await self._journal.end(_checked(handle.key))
        if end is None:
            return JobResult(Ending.UNKNOWN, detail=f"{self.identity} has no readable record of {handle.key}")
        if handle.fields.get("kind") == "wait":
            await self._journal.retire(handle.key, end)
        ending = Ending.CANCELLED if end.code == "cancelled" else Ending.COMPLETED
        detail = end.lines[-1] if end.rc else ""
        return JobResult(ending, end.code, end.rc, _when(end.started), _when(end.ended), detail)

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        """Return the job's log from an offset on: what is waited for, and how it ended."""
        whole = (await self._log(handle)).encode()
        begin = int(cursor or 0)
        piece = whole[begin : begin + limit].decode(errors="ignore")  # half a character waits for its other half
        return Output(piece, str(begin + len(piece.encode())))

    async def read_tail(self, handle: JobHandle, *, lines: int = 20) -> str:
        """Return the last lines of the job's log."""
        return "\n".join((await self._log(handle)).splitlines()[-lines:])

    async def read_source(self, handle: JobHandle, source: str) -> str:
        """Return ``log``, ``link``, ``manifest``, or one of the values of the job's record."""
        if source == "log":
            return await self._log(handle)
        end = await self._journal.end(_checked(handle.key))
        values = end.values if end else {}
        path = values.get("path", "")
        if source == "link" and path:
            link = await self._store.link(path, duration(handle.fields.get("link", "24h")))
            if link is None:
                raise OutputMissing(f"{self.identity} has no links that expire; only S3 has; take the output out")
            return link
        if source == "manifest" and path:
            return (await self._store.read(path + MANIFEST) or b"").decode(errors="replace")
        if source not in values:
            known = ", ".join(sorted({"log", *values, *(("link", "manifest") if path else ())}))
            raise OutputMissing(f"{self.identity}: job {handle.key} has no output {source!r}; it has {known}")
        return values[source]

    async def close(self) -> None:
        """Close the connections."""
        await self._store.close()

    # Deliveries.

    async def _deliver(self, work: FileshareDeliver | FileshareCertificate, key: str) -> None:
        started = now()
        source, values = await self._source(work, key)
        arrival = await self._arrive(work.to, key, source, values)
        lines = arrival.lines
        if arrival.code != "conflict":
            refusal = await _uncertain(self._write_manifest(work.to, key, arrival))
            if refusal:
                arrival = _Arrival("conflict", arrival.sha256, arrival.size, (*lines, refusal), arrival.values)
        told = {
            **arrival.values,
            "path": work.to,
            "sha256": arrival.sha256,
            "size": str(arrival.size),
            "address": f"{self.identity}/{work.to}",
        }
        end = End(arrival.code, int(arrival.code == "conflict"), started, now(), arrival.lines, told)
        await _uncertain(self._journal.end_delivery(key, end))

    async def _source(
        self, work: FileshareDeliver | FileshareCertificate, key: str
    ) -> tuple[Source, Mapping[str, str]]:
        """Return what is delivered, and what is to be known of it."""
        if isinstance(work, FileshareCertificate):
            seal = self._seal()
            made = await asyncio.to_thread(render, work, key, datetime.now(UTC), seal)
            return Source(len(made.pdf), made.pdf), {"code": made.code, "issued": made.issued}
        if work.content is not None:
            data = work.content.encode()
            return Source(len(data), data), {}
        file = Path(work.file or "")
        try:
            size = await asyncio.to_thread(lambda: file.stat().st_size if file.is_file() else -1)
        except OSError as error:
            raise RequestRejected(f"the file {file} cannot be read on this worker: {error.strerror}") from error
        if size < 0:
            raise RequestRejected(f"the file {file} is not there, or no file, on the worker that runs this step")
        return Source(size, file=file), {}

    async def _arrive(self, path: str, key: str, source: Source, values: Mapping[str, str]) -> _Arrival:
        """Bring the content to its place, or find out what lies there."""
        left = await self._journal.discard_stages(key)
        lines = (f"removed {left} unfinished stage(s) of an earlier try",) if left else ()
        if await self._store.stat(path) is not None:
            mine = await asyncio.to_thread(_sha256, source)
            return await self._compare(path, key, mine, source.size, (values, lines))
        token = await self._store.begin(path, source)
        if token:
            await self._journal.note_stage(key, path, token)
        staged = await self._store.fill(path, token, source)
        await self._journal.claim(key, staged.sha256, values)
        published = await _uncertain(self._store.publish(staged, source))
        if not published:
            await self._forget(key, path, token)
            return await self._compare(path, key, staged.sha256, staged.size, (values, lines))
        return await self._confirmed(staged, key, lines, values)

    async def _confirmed(self, staged: Staged, key: str, lines: tuple[str, ...], values: Mapping[str, str]) -> _Arrival:
        if not await _uncertain(self._store.confirm(staged)):
            said = f"{staged.path} was published and then changed by another hand before it could be confirmed"
            return _Arrival("conflict", staged.sha256, staged.size, (*lines, said), values)
        await _uncertain(self._forget(key, staged.path, staged.token))
        said = f"delivered {staged.path}: {staged.size} bytes, SHA-256 {staged.sha256}"
        return _Arrival("delivered", staged.sha256, staged.size, (*lines, said), values)

    async def _forget(self, key: str, path: str, token: str) -> None:
        if token:
            await self._store.discard(path, token)
            await self._journal.forget_stage(key, token)

    async def _compare(
        self, path: str, key: str, mine: str, size: int, told: tuple[Mapping[str, str], tuple[str, ...]]
    ) -> _Arrival:
        """Something lies there: our own, the same content, or a conflict."""
        values, lines = told
        theirs = await self._store.sha256(path)
        entry = await self._store.stat(path)
        if theirs is None or entry is None:
            raise SystemUnreachable(f"{self.identity}: {path} was there and is gone; the next try delivers it")
        ours = await self._journal.claimed(key, theirs)
        if ours is not None:
            said = f"delivered {path} by an earlier try: {entry.size} bytes, SHA-256 {theirs}"
            return _Arrival("delivered", theirs, entry.size, (*lines, said), ours)
        if theirs == mine:
            said = f"{path} holds the same content already: {size} bytes, SHA-256 {mine}"
            return _Arrival("present", mine, size, (*lines, said), values)
        said = (
            f"{path} holds other content ({entry.size} bytes, SHA-256 {theirs}) than what was to be delivered "
            f"({size} bytes, SHA-256 {mine}); nothing was overwritten"
        )
        return _Arrival("conflict", theirs, entry.size, (*lines, said), values)

    async def _write_manifest(self, path: str, key: str, arrival: _Arrival) -> str:
        """Write the manifest; return "" or why that is refused."""
        name = path.rpartition("/")[2]
        manifest = {
            "version": 1,
            "name": name,
            "size": arrival.size,
            "sha256": arrival.sha256,
            "key": key,
            "written": now(),
            **arrival.values,
        }
        if await self._store.create(path + MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode()):
            return ""
        there = await self._store.read(path + MANIFEST) or b""
        try:
            told = json.loads(there)["sha256"]
        except (ValueError, KeyError, TypeError):
            told = "nothing that can be read"
        if told == arrival.sha256:
            return ""
        return f"{path}{MANIFEST} lay there already and says SHA-256 {told}, the file has {arrival.sha256}"

    # Waits.

    async def arrived(self, places: Sequence[Place]) -> Mapping[Place, tuple[Arrival, ...]]:
        """Return the complete files in some places; nothing is written down."""
        return await arrived(self._store, self._look, places, asyncio.get_running_loop().time())

    async def _begin_wait(self, work: FileshareAwait, key: str) -> JobHandle:
        if await self._store.listing(work.folder) is None:
            raise RequestRejected(f"{self.identity} has no folder {work.folder!r} to wait in; create it, or correct it")
        wait = Wait.from_work(work, now())
        try:
            if not await self._journal.has(key):
                await self._journal.open_wait(key, wait.to_fields())
        except SystemUnreachable as error:
            raise AnswerLost(f"{error}; whether the wait {key} was recorded is not known") from error
        return await self._handle(key)

    async def _handle(self, key: str) -> JobHandle:
        """Return the handle of a job that has a record."""
        data = await self._store.read(f"{OPEN}/{key}.json")
        if data is not None:
            record = {str(name): str(value) for name, value in json.loads(data).items()}
            wait = Wait.from_fields(record)
            return JobHandle(key, key, wait.place, wait.to_fields())
        end = await self._journal.end(key)
        values = end.values if end else {}
        if "waited" in values:
            wait = Wait.from_fields(json.loads(values["waited"]))
            return JobHandle(key, key, wait.place, wait.to_fields())
        return JobHandle(key, key, values.get("path", ""), {"kind": "delivery"})

    async def _poll_waits(self, handles: Sequence[JobHandle]) -> dict[str, JobStatus]:
        found: dict[str, JobStatus] = {}
        waits = {handle.key: Wait.from_fields(handle.fields) for handle in handles}
        moment = asyncio.get_running_loop().time()
        for folder in sorted({wait.folder for wait in waits.values()}):
            entries = await self._store.listing(folder)
            for key, wait in waits.items():
                if wait.folder != folder:
                    continue
                arrived, reason = self._look.at(self.identity, wait, entries, moment)
                if len(arrived) >= wait.count:
                    await self._journal.end_wait(key, wait.arrived(arrived, now()))
                    found[key] = JobStatus(Phase.ENDED)
                else:
                    found[key] = JobStatus(Phase.RUNNING, reason)
        return found

    async def _log(self, handle: JobHandle) -> str:
        lines: list[str] = []
        if handle.fields.get("kind") == "wait":
            wait = Wait.from_fields(handle.fields)
            lines.append(f"waiting for {wait.told} since {wait.since}")
        end = await self._journal.end(_checked(handle.key))
        lines += end.lines if end else ()
        return "".join(f"{line}\n" for line in lines)


async def _uncertain(change: Awaitable[T]) -> T:
    """Await a change from which on the delivery may be visible: what fails now may have taken effect."""
    try:
        return await change
    except SystemUnreachable as error:
        raise AnswerLost(f"{error}; the delivery may have taken effect") from error


@asynccontextmanager
async def file_share(store: Store, seal: Callable[[], Seal]) -> AsyncIterator[FileShare]:
    """Open the share; its connections are closed at the end."""
    share = FileShare(store, seal)
    try:
        yield share
    finally:
        await share.close()


def _sha256(source: Source) -> str:
    digest = hashlib.sha256()
    for block in source.blocks(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _checked(key: str) -> str:
    if not KEY.fullmatch(key):
        raise RequestRejected(f"{key!r} is no delegation key: no job can have it")
    return key


def _when(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None  # an unreadable time in a record must not hide the result
