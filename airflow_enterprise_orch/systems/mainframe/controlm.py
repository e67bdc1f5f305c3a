"""BMC Control-M's Automation API as a remote system (BMC, *Control-M Automation API*, "Run Service").

An order is two-phase: ``run order`` with ``hold`` and with our key among its variables, then ``free``. The API has no
idempotency key, so the hold is what makes a second copy harmless until one is freed.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote
from zoneinfo import ZoneInfo

from airflow_enterprise_orch.delegation.https import Call
from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Output, Phase
from airflow_enterprise_orch.delegation.system import Capabilities, Protection, Sighting
from airflow_enterprise_orch.errors import AnswerLost, RemoteError, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.mainframe import controlm_documents as documents
from airflow_enterprise_orch.systems.mainframe import controlm_orders as orders
from airflow_enterprise_orch.systems.mainframe.controlm_lookup import WIDE, Lookup
from airflow_enterprise_orch.systems.mainframe.controlm_session import (
    JSON_BODY,
    ControlmSession,
    ControlmSettings,
    OutputAbsent,
)
from airflow_enterprise_orch.systems.mainframe.session import JobAbsent

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from airflow_enterprise_orch.delegation.work import Work
    from airflow_enterprise_orch.systems.mainframe.controlm_documents import Document

DIRECT = 50
"""How many jobs that no page showed one poll asks for one by one, two requests each at most; the others wait for the
next poll."""
REASONS = 2
"""How many waiting jobs one poll asks for the reason."""
FORGET = 100_000
"""How many jobs a long-lived poller remembers."""
LOOKS = 6
LOOK_PAUSE = 0.5
"""How often, and how many seconds apart, an order's jobs are asked for: they may appear a moment after the answer."""


class ControlmSystem:
    """One Control-M/Server behind one Automation API. An async context manager; implements ``RemoteSystem``."""

    def __init__(self, settings: ControlmSettings) -> None:
        self.settings = settings
        self._session = ControlmSession(settings)
        self._lookup = Lookup(self._session)
        self._asked: dict[str, int] = {}
        self._reasons: dict[str, tuple[int, str]] = {}
        self._polls = 0

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.__aexit__(kind, error, trace)

    @property
    def identity(self) -> str:
        """Which Control-M/Server this is."""
        return f"controlm://{self.settings.address}/{self.settings.server}"

    @property
    def capabilities(self) -> Capabilities:
        """Two-phase; jobs can be held and freed.

        Control-M's new-day procedure takes ended jobs out of the active ones, at an hour that is each site's own: what
        was sent longer ago than ``remembers`` and is not to be seen proves nothing.
        """
        return Capabilities(Protection.TWO_PHASE, remembers=timedelta(hours=1), batch=WIDE, hold=True)

    async def check(self) -> str:
        """Log in and list a job: everything that a connection needs; return the API's version."""
        version = await self._session.version()
        await self._lookup.entries(limit="1")
        return version

    async def find(self, key: str) -> Sighting:
        """Look for orders whose variables carry ``key``."""
        return await self._lookup.find(key)

    async def identify(self, job_id: str, key: str) -> JobHandle:
        """Return the handle of the job or folder that a person named: ``server:0001a``, or ``0001a`` alone."""
        full = job_id if ":" in job_id else f"{self.settings.server}:{job_id}"
        try:
            entry = await self._entry(full)
        except JobAbsent as error:
            raise RequestRejected(f"{self.identity} has no job {job_id}") from error
        name = documents.text(entry, "name" if documents.is_folder(entry) else "folder")
        return documents.handle_of(entry, key, name)

    async def submit(self, work: Work, key: str) -> JobHandle:
        """Order a folder or job held, with ``key`` among its variables."""
        from airflow_enterprise_orch.systems.mainframe.steps import SchedulerJob

        if not isinstance(work, SchedulerJob):
            raise RequestRejected(f"{self.identity} runs mainframe.scheduler_job, not {type(work).__name__}")
        what = f"order of {work.folder}" + (f"/{work.job}" if work.job else "")
        self._lookup.sends(key, work.folder)
        order = orders.order_document(work, self.settings.server, key)
        answer = await self._session.document(
            Call(what, "POST", "/run/order", changing=True, headers=JSON_BODY, content=json.dumps(order).encode())
        )
        run_id = documents.text(answer, "runId")
        if not run_id:
            raise AnswerLost(f"{self.identity} took the {what} but its answer tells no runId")
        entries = await self._ordered(run_id, what)
        if problem := orders.problem(entries, work):
            await self._undo(entries)
            raise RequestRejected(f"{self.identity}: the {what} cannot be watched: {problem}")
        return documents.handle_of(orders.tracked(entries, work)[0], key, work.folder)

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """Return the states: one list call for most, more where its answer is cut off.

        What is still not to be seen is asked for directly, at most :data:`DIRECT` jobs a poll.
        """
        self._polls += 1
        shown, left = await self._lookup.shown(handles)
        inside: dict[str, list[Document]] = defaultdict(list)
        for entry in shown.values():
            inside[documents.folder_id(entry)].append(entry)
        states: dict[str, JobStatus] = {}
        for handle in handles:
            around = shown.get(handle.fields.get("folder_id", ""))
            state = documents.status_of(shown.get(handle.job_id, {}), around, inside.get(handle.job_id, ()))
            if state is not None:
                states[handle.key] = state
        left.sort(key=lambda handle: self._asked.get(handle.key, 0))
        for handle in left[:DIRECT]:
            self._asked[handle.key] = self._polls
            state = await self._state(handle)
            if state is not None:
                states[handle.key] = state
        await self._tell_reasons(handles, states)
        if len(self._asked) > FORGET:
            self._asked.clear()
        return states

    async def cancel(self, handle: JobHandle) -> None:
        """Kill what runs; hold and delete what waits. A folder is held first, so that nothing more of it starts."""
        try:
            entry = await self._entry(handle.job_id)
            if documents.ended(entry):
                return
            if documents.is_folder(entry):
                await self._cancel_folder(entry)
            elif documents.text(entry, "status").lower() == "executing":
                await self._act(handle.job_id, "kill")
            else:
                await self._delete(entry)
        except JobAbsent:
            return  # polling will say so

    async def hold(self, handle: JobHandle) -> None:
        """Hold a job that has not started."""
        await self._settle(handle.job_id, "hold")

    async def release(self, handle: JobHandle) -> None:
        """Free a job and the folder that was ordered around it, or a folder and the jobs in it.

        Which of folder and jobs an order's hold holds differs between versions. What the step waits for is freed last,
        so that it is held still, for everybody to see, when an answer is lost half way.
        """
        if handle.fields.get("kind") == "folder":
            jobs = [documents.text(job, "jobId") for job in await self._inside(handle) if documents.held(job)]
            if jobs:
                await self._settle(handle.job_id, "hold")
            for job_id in jobs:
                await self._settle(job_id, "free")
        elif handle.fields.get("folder_id"):
            await self._settle(handle.fields["folder_id"], "free")
        await self._settle(handle.job_id, "free")

    async def discard(self, handle: JobHandle) -> None:
        """Delete a held order that never ran; refuse to touch one that did."""
        for job_id in (handle.job_id, handle.fields.get("folder_id", "")):
            if not job_id:
                continue
            try:
                entry = await self._entry(job_id)
            except JobAbsent:
                continue
            if documents.flag(entry, "deleted"):
                continue
            if documents.began(entry) and not (documents.is_folder(entry) and documents.flag(entry, "held")):
                raise RequestRejected(f"{self.identity}: {job_id} has begun to run; it is not deleted")
            await self._delete(entry)

    async def result(self, handle: JobHandle) -> JobResult:
        """Return how the job or folder ended."""
        try:
            entry = await self._entry(handle.job_id)
            log = ""
            failed: list[str] = []
            if documents.is_folder(entry):
                jobs = await self._inside(handle) if documents.text(entry, "status").lower() != "ended ok" else []
                failed = [
                    f"{documents.text(job, 'name')} ({documents.text(job, 'jobId')})"
                    for job in jobs
                    if documents.text(job, "status").lower() == "ended not ok" and not documents.is_folder(job)
                ]
            else:
                log = await self._text(handle.job_id, "log")
        except JobAbsent:
            gone = "the job is gone from Control-M's active jobs: removed before its result was read"
            return JobResult(Ending.UNKNOWN, detail=gone)
        zone = ZoneInfo(self.settings.timezone) if self.settings.timezone else None
        return documents.result_of(entry, log, tuple(sorted(failed)), zone)

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        """Return what is new in the job's log, and in its output, which Control-M shows once the job has ended."""
        read = [int(part) for part in cursor.split(",")] if cursor else [0, 0]
        pieces: list[str] = []
        for place, kind in enumerate(("log", "output")):
            try:
                text = await self._text(handle.job_id, kind)
            except JobAbsent:
                continue
            # A cursor counts characters; one has at most four bytes.
            room = max(0, limit // 4 - sum(len(piece) for piece in pieces))
            piece = text[read[place] : read[place] + room]
            read[place] += len(piece)
            pieces.append(piece)
        return Output("".join(pieces), ",".join(map(str, read)))

    async def read_tail(self, handle: JobHandle, *, lines: int = 20) -> str:
        """Return the last lines of the job's output; of its log, where it left no output."""
        for kind in ("output", "log"):
            try:
                text = await self._text(handle.job_id, kind)
            except JobAbsent:
                return ""
            if text.strip():
                return "\n".join(text.rstrip().splitlines()[-lines:])
        return ""

    async def read_source(self, handle: JobHandle, source: str) -> str:
        """Return ``output`` or ``log`` of the job; of a folder, the output of its job named ``source``."""
        folder = handle.fields.get("kind") == "folder"
        if source == "log":
            return await self._text(handle.job_id, "log")
        if source == "output" and not folder:
            return await self._text(handle.job_id, "output")
        jobs = [job for job in await self._inside(handle) if documents.text(job, "name") == source] if folder else []
        if len(jobs) != 1:
            known = "log, or the name of one of its jobs" if folder else "output and log"
            raise RequestRejected(f"{self.identity}: {handle.job_id} has no {source!r} to read; it has {known}")
        return await self._text(documents.text(jobs[0], "jobId"), "output")

    async def restart(self, handle: JobHandle, at_step: str, key: str) -> JobHandle:
        """Not offered to the core: Control-M's rerun is the same job with the same variables, so with the old key."""
        raise RequestRejected(
            f"{self.identity} cannot restart {handle.job_id} as a new job at {at_step}; rerun it in Control-M, or run "
            f"the step again"
        )

    async def rerun(self, handle: JobHandle, from_step: str = "") -> None:
        """Run an ended job once more, as the same job; for people and DAGs, never called by the core.

        :param from_step: a z/OS job's step to restart at, ``STEP`` or ``STEP.PROCSTEP``; "" for all of it.
        """
        content = None
        if from_step:
            step, _, inner = from_step.partition(".")
            place = {"pgm": inner or step, **({"proc": step} if inner else {})}
            content = json.dumps({"zosParameters": {"from": place}}).encode()
        call = Call(f"rerun of {handle.job_id}", "POST", _path(handle.job_id, "rerun"), True, {}, JSON_BODY, content)
        await self._session.call(call)

    async def _state(self, handle: JobHandle) -> JobStatus | None:
        """Ask for that very job; for one that waits, also whether the folder around it is held."""
        around: Document | None = None
        try:
            entry = await self._entry(handle.job_id)
        except JobAbsent:
            return JobStatus(Phase.MISSING, "Control-M has no such job among the active ones")
        state = documents.status_of(entry)
        if _waits(state) and handle.fields.get("folder_id"):
            try:
                around = await self._entry(handle.fields["folder_id"])
            except JobAbsent:
                return state
        return documents.status_of(entry, around)

    async def _tell_reasons(self, handles: Sequence[JobHandle], states: dict[str, JobStatus]) -> None:
        """Add why jobs wait: two are asked a poll, the longest not asked first; the others keep what was said last."""
        waiting = [handle for handle in handles if _waits(states.get(handle.key))]
        waiting.sort(key=lambda handle: self._reasons.get(handle.key, (0, ""))[0])
        for handle in waiting[:REASONS]:
            said: object = ""
            try:
                said = await self._session.json(
                    Call(f"waiting info of {handle.job_id}", "GET", _path(handle.job_id, "waitingInfo"))
                )
            except RequestRejected:
                said = ""  # older versions have none: the state alone is told
            told = "; ".join(" ".join(str(line).split()) for line in said) if isinstance(said, list) else ""
            self._reasons[handle.key] = (self._polls, told[:300])
        for handle in waiting:
            state, (_, told) = states[handle.key], self._reasons.get(handle.key, (0, ""))
            if told:
                states[handle.key] = JobStatus(state.phase, f"{state.reason}: {told}")
        if len(self._reasons) > FORGET:
            self._reasons.clear()

    async def _ordered(self, run_id: str, what: str) -> list[Document]:
        """Return the entries of an order just made.

        :raises AnswerLost: when they cannot be told; the order is held, and its key finds it.
        """
        for look in range(LOOKS):
            if look:
                await asyncio.sleep(LOOK_PAUSE)
            try:
                entries = await self._run(run_id)
            except RemoteError as error:
                raise AnswerLost(f"{self.identity} took the {what}, but its jobs cannot be told: {error}") from error
            if entries:
                return entries
        raise AnswerLost(f"{self.identity} took the {what}, but run {run_id} shows no job")

    async def _run(self, run_id: str) -> list[Document]:
        """Return all entries of a run; BMC, ``run status``: pages by ``startIndex``."""
        entries: list[Document] = []
        while True:
            params = {"startIndex": str(len(entries))} if entries else {}
            path = f"/run/status/{quote(run_id, safe='')}"
            answer = await self._session.document(Call(f"status of run {run_id}", "GET", path, params=params))
            page = answer.get("statuses") or []
            if not isinstance(page, list) or not all(isinstance(entry, dict) for entry in page):
                raise SystemUnreachable(f"{self.identity} answered the status of run {run_id} with something else")
            entries += page
            total = answer.get("total")
            if not page or not isinstance(total, int) or len(entries) >= total:
                return entries

    async def _undo(self, entries: list[Document]) -> None:
        """Delete an order that cannot be watched; all of it is held still."""
        ids = {documents.text(entry, "jobId") for entry in entries}
        for entry in entries:
            if documents.is_order(entry, ids):
                await self._delete(entry)

    async def _entry(self, job_id: str) -> Document:
        """Return the entry of that very job; :raises JobAbsent: when Control-M has none."""
        return await self._session.document(Call(f"status of {job_id}", "GET", _path(job_id, "status")))

    async def _inside(self, handle: JobHandle) -> list[Document]:
        """Return the entries of the jobs in an ordered folder, those of its sub-folders too."""
        entries, _ = await self._lookup.entries(handle.fields.get("folder", ""), limit=str(WIDE))
        by_folder: dict[str, list[Document]] = defaultdict(list)
        for entry in entries:
            by_folder[documents.folder_id(entry)].append(entry)
        found: list[Document] = []
        look_in = [handle.job_id]
        while look_in:
            for entry in by_folder.pop(look_in.pop(), []):
                found.append(entry)
                look_in.append(documents.text(entry, "jobId"))
        return found

    async def _cancel_folder(self, folder: Document) -> None:
        """Hold a folder, kill what runs in it, and delete it once nothing does."""
        job_id = documents.text(folder, "jobId")
        await self._settle(job_id, "hold")
        handle = documents.handle_of(folder, "", documents.text(folder, "name"))
        for look in range(LOOKS):
            running = [
                job
                for job in await self._inside(handle)
                if documents.text(job, "status").lower() == "executing" and not documents.is_folder(job)
            ]
            if not running:
                return await self._act(job_id, "delete")
            if look == 0:
                for job in running:
                    await self._act(documents.text(job, "jobId"), "kill")
            await asyncio.sleep(LOOK_PAUSE)
        return None  # asked for again later, when the killed jobs have ended

    async def _delete(self, entry: Document) -> None:
        """Delete an entry; Control-M deletes only what is held."""
        job_id = documents.text(entry, "jobId")
        if not documents.flag(entry, "held"):
            await self._settle(job_id, "hold")
        await self._act(job_id, "delete")

    async def _settle(self, job_id: str, action: str) -> None:
        """Hold or free; where the job is in that state already, or past it, there is nothing to say."""
        try:
            await self._act(job_id, action)
        except JobAbsent:
            return  # polling will say so
        except RequestRejected:
            try:
                entry = await self._entry(job_id)
            except JobAbsent:
                return
            if not documents.ended(entry) and documents.flag(entry, "held") is not (action == "hold"):
                raise

    async def _act(self, job_id: str, action: str) -> None:
        await self._session.call(Call(f"{action} of {job_id}", "POST", _path(job_id, action), changing=True))

    async def _text(self, job_id: str, kind: str) -> str:
        """Return a job's log or output; "" where there is none."""
        params = {"runNo": "0"} if kind == "output" else {}
        try:
            answer = await self._session.call(Call(f"{kind} of {job_id}", "GET", _path(job_id, kind), params=params))
        except OutputAbsent:
            return ""
        return answer.text


def _waits(state: JobStatus | None) -> bool:
    return state is not None and state.phase is Phase.WAITING


def _path(job_id: str, action: str) -> str:
    return f"/run/job/{quote(job_id, safe='')}/{action}"
