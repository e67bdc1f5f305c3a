"""z/OSMF's REST jobs interface as a remote system (IBM, *z/OSMF Programming Guide*, "z/OS jobs REST interface").

Submit is two-phase: JES takes the job with ``TYPRUN=HOLD`` and with our key as the user's part of its correlator. JES
does not enforce that a correlator is unique, so the hold is what makes a second copy harmless until one is released.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_enterprise_orch.delegation.https import Call
from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Output, Phase
from airflow_enterprise_orch.delegation.system import Absent, Capabilities, Found, Protection, Sighting, Unknown
from airflow_enterprise_orch.errors import AnswerLost, RequestRejected, SystemBusy, SystemUnreachable
from airflow_enterprise_orch.systems.mainframe import documents, jcl
from airflow_enterprise_orch.systems.mainframe.session import JobAbsent, ZosmfSession, ZosmfSettings
from airflow_enterprise_orch.systems.mainframe.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from airflow_enterprise_orch.delegation.work import Work
    from airflow_enterprise_orch.systems.mainframe.documents import Document

JOBS = "/zosmf/restjobs/jobs"
FILES = "/zosmf/restfiles"
PAGE = 1000
"""IBM, "List the jobs for an owner, prefix, or job ID": the most that ``max-jobs`` allows."""
DIRECT = 100
"""How many jobs that no page showed one poll asks for one by one; the others wait for the next poll."""
FORGET = 100_000
"""How many jobs a long-lived poller remembers to have asked for directly."""


class ZosmfSystem:
    """One JES behind one z/OSMF. An async context manager; implements ``RemoteSystem``."""

    def __init__(self, settings: ZosmfSettings) -> None:
        self.settings = settings
        self._session = ZosmfSession(settings)
        self._spool = Spool(self._session, self._path_of)
        self._asked: dict[str, int] = {}
        self._polls = 0
        self._has_correlators: bool | None = None

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.__aexit__(kind, error, trace)

    @property
    def identity(self) -> str:
        """Which JES this is."""
        return f"zosmf://{self.settings.address}" + (f"/{self.settings.subsystem}" if self.settings.subsystem else "")

    @property
    def capabilities(self) -> Capabilities:
        """Two-phase; jobs can be held and released."""
        return Capabilities(Protection.TWO_PHASE, batch=PAGE, hold=True)

    async def check(self) -> str:
        """Log in and list one job: everything that a connection needs; return z/OSMF's version."""
        info = await self._session.info()
        await self._list(owner=self._owner, prefix="*", max_jobs=1)
        return str(info.get("zosmf_full_version") or info.get("zosmf_version") or "")

    async def find(self, key: str) -> Sighting:
        """Look for jobs whose correlator carries ``key``."""
        jobs = await self._list(owner=self._owner, prefix="*", correlator=key, exec_data=True)
        ours = [documents.candidate_of(job, key) for job in jobs if documents.user_correlator(job) == key]
        if ours:
            return Found(tuple(sorted(ours, key=lambda candidate: candidate.order)))
        if await self._keeps_no_correlators():
            return Unknown("its JES keeps no job correlators (JES3), so a job cannot be found by its key")
        return Absent()

    async def identify(self, job_id: str, key: str) -> JobHandle:
        """Return the handle of the job that a person named."""
        jobs = await self._list(owner="*", prefix="*", job_id=job_id, exec_data=True)
        if not jobs:
            raise RequestRejected(f"{self.identity} has no job {job_id}")
        newest = max(jobs, key=lambda job: documents.text(job, "exec-submitted"))
        try:
            return documents.handle_of(newest, key)
        except ValueError as error:
            raise SystemUnreachable(f"{self.identity} answered a list of jobs with something else: {error}") from error

    async def submit(self, work: Work, key: str) -> JobHandle:
        """Hand a job over held, with ``key`` on it."""
        from airflow_enterprise_orch.systems.mainframe.steps import MainframeJob

        if not isinstance(work, MainframeJob):
            raise RequestRejected(f"{self.identity} runs mainframe.job, not {type(work).__name__}")
        if self._has_correlators is False:
            raise RequestRejected(
                f"{self.identity}: its JES keeps no job correlators (JES3), so a submit cannot be protected; "
                f"use a JES2 system"
            )
        text = work.jcl if work.jcl is not None else await self._read(str(work.dataset))
        try:
            held = jcl.held(text, work.job_class or "")
            name = jcl.job_name(held)
        except jcl.JclProblem as error:
            source = f" in {work.dataset}" if work.dataset else ""
            raise RequestRejected(f"{self.identity}: the JCL{source} cannot be handed over: {error}") from error
        headers = {
            "Content-Type": "text/plain",
            "X-IBM-Intrdr-Mode": "TEXT",
            "X-IBM-Intrdr-Recfm": "F",
            "X-IBM-Intrdr-Lrecl": "80",
            "X-IBM-User-Correlator": key,
            **{f"X-IBM-JCL-Symbol-{symbol}": value for symbol, value in work.symbols.items()},
        }
        call = Call(f"submit {name}", "PUT", self._jobs, changing=True, headers=headers, content=held.encode("ascii"))
        document = await self._session.json(call)
        try:
            return documents.handle_of(_job(document), key)
        except ValueError as error:
            raise AnswerLost(f"{self.identity} took {name} but its answer tells no job ({error})") from error

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """Return the states: one list call for most, direct calls for those that a page does not show.

        Ended jobs stay on the output queue and can fill a page. Then each job name is listed on its own, and what is
        still not to be seen is asked for directly, at most :data:`DIRECT` jobs a poll.
        """
        self._polls += 1
        by_owner: dict[str, list[JobHandle]] = defaultdict(list)
        for handle in handles:
            by_owner[handle.fields.get("owner") or self._owner].append(handle)
        states: dict[str, JobStatus] = {}
        missing: list[JobHandle] = []
        for owner, group in by_owner.items():
            left, full = await self._poll_list(owner, "*", group, states)
            if full:
                for name in sorted({handle.name for handle in left if handle.name})[:DIRECT]:
                    left, _ = await self._poll_list(owner, name, left, states)
            missing += left
        missing.sort(key=lambda handle: self._asked.get(handle.key, 0))
        for handle in missing[:DIRECT]:
            self._asked[handle.key] = self._polls
            document = await self._ask(handle)
            if document is None:
                states[handle.key] = JobStatus(Phase.MISSING, "the system has no such job")
            elif (state := documents.status_of(document)) is not None:
                states[handle.key] = state
        if len(self._asked) > FORGET:
            self._asked.clear()
        return states

    async def cancel(self, handle: JobHandle) -> None:
        """Ask JES to cancel the job; its output stays."""
        await self._modify(handle, "cancel")

    async def hold(self, handle: JobHandle) -> None:
        """Hold a job that has not started."""
        await self._modify(handle, "hold")

    async def release(self, handle: JobHandle) -> None:
        """Release a held job."""
        await self._modify(handle, "release")

    async def discard(self, handle: JobHandle) -> None:
        """Purge a held job that never ran; refuse to touch one that did."""
        document = await self._ask(handle)
        if document is None:
            return
        if documents.text(document, "status") != "INPUT":
            raise RequestRejected(f"{self.identity}: {handle.job_id} has begun to run; it is not purged")
        headers = {"X-IBM-Job-Modify-Version": "2.0"}
        try:
            path = await self._path_of(handle)
            call = Call(f"purge {handle.job_id}", "DELETE", path, changing=True, headers=headers)
            response = await self._session.call(call)
        except JobAbsent:
            return
        status = "" if response.status_code == 202 else _feedback(response.content)
        if status not in ("", documents.MODIFY_OK, "140"):
            self._not_done(call, status)

    async def result(self, handle: JobHandle) -> JobResult:
        """Return how the job ended."""
        document = await self._ask(handle, exec_data=True)
        if document is None:
            return JobResult(Ending.UNKNOWN, detail="the job is gone from JES: purged before its result was read")
        return documents.result_of(document)

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        """Return what is new in the job's spool files."""
        return await self._spool.read_new(handle, cursor, limit=limit)

    async def read_tail(self, handle: JobHandle, *, lines: int = 20) -> str:
        """Return the lines of the spool that explain a failure."""
        try:
            return await self._spool.explain(handle, lines=lines)
        except JobAbsent:
            return ""

    async def read_source(self, handle: JobHandle, source: str) -> str:
        """Return all records of the spool files of a DD name; ``log`` is what JES wrote itself."""
        return await self._spool.read_dd(handle, source)

    async def restart(self, handle: JobHandle, at_step: str, key: str) -> JobHandle:
        """Not offered: z/OSMF does not give back the symbols that a job was submitted with."""
        raise RequestRejected(f"{self.identity} cannot restart {handle.job_id} at {at_step}; run the step again")

    @property
    def _owner(self) -> str:
        return (self.settings.owner or self.settings.login).upper()

    @property
    def _jobs(self) -> str:
        return JOBS + (f"/-{quote(self.settings.subsystem, safe='')}" if self.settings.subsystem else "")

    async def _path_of(self, handle: JobHandle) -> str:
        """Return a job's URL path: by correlator, since job ids come round again.

        A secondary JES takes only name and id (IBM, "Obtain the status of a job"). A job that a person named by its id
        alone is looked up first.
        """
        name, correlator = handle.name, handle.fields.get("correlator", "")
        if not name and not correlator:
            document = await self._by_id(handle)
            if document is None:
                raise JobAbsent(f"{self.identity} has no job {handle.job_id}")
            name, correlator = documents.text(document, "jobname"), documents.text(document, "job-correlator")
        if correlator and (not self.settings.subsystem or not name):
            return f"{self._jobs}/{quote(correlator, safe='')}"
        return f"{self._jobs}/{quote(name, safe='')}/{quote(handle.job_id, safe='')}"

    async def _by_id(self, handle: JobHandle, *, exec_data: bool = False) -> Document | None:
        found = await self._list(owner="*", prefix="*", job_id=handle.job_id, exec_data=exec_data)
        return next((job for job in found if _same(job, handle)), None)

    async def _list(
        self,
        *,
        owner: str,
        prefix: str,
        max_jobs: int | None = None,
        correlator: str = "",
        job_id: str = "",
        exec_data: bool = False,
    ) -> list[Document]:
        params = {"owner": owner, "prefix": prefix, "max-jobs": str(max_jobs or PAGE)}
        if correlator:
            params["user-correlator"] = correlator
        if job_id:
            params["jobid"] = job_id
        if exec_data:
            params["exec-data"] = "Y"
        answer = await self._session.json(Call("list of jobs", "GET", self._jobs, params=params))
        if not isinstance(answer, list) or not all(isinstance(job, Mapping) for job in answer):
            raise SystemUnreachable(f"{self.identity} answered a list of jobs with something else")
        return answer

    async def _poll_list(
        self, owner: str, prefix: str, group: list[JobHandle], states: dict[str, JobStatus]
    ) -> tuple[list[JobHandle], bool]:
        """Fill in the states that one page shows; return the handles that it does not, and whether it is full."""
        jobs = await self._list(owner=owner, prefix=prefix)
        by_correlator = {documents.text(job, "job-correlator"): job for job in jobs}
        by_id = {(documents.text(job, "jobname"), documents.text(job, "jobid")): job for job in jobs}
        left = []
        for handle in group:
            correlator = handle.fields.get("correlator")
            job = by_correlator.get(correlator) if correlator else by_id.get((handle.name, handle.job_id))
            if job is None or not _same(job, handle):
                left.append(handle)
            elif (state := documents.status_of(job)) is not None:
                states[handle.key] = state
        return left, len(jobs) >= PAGE

    async def _ask(self, handle: JobHandle, *, exec_data: bool = False) -> Document | None:
        """Return the document of that very job, None when the system has none."""
        if not handle.name and not handle.fields.get("correlator"):
            return await self._by_id(handle, exec_data=exec_data)
        params = {"exec-data": "Y"} if exec_data else {}
        call = Call(f"status of {handle.job_id}", "GET", await self._path_of(handle), params=params)
        try:
            document = _job(await self._session.json(call))
        except JobAbsent:
            return None
        except ValueError as error:
            raise SystemUnreachable(f"{self.identity} answered {call.what} with something else") from error
        return document if _same(document, handle) else None

    async def _modify(self, handle: JobHandle, request: str) -> None:
        """Change a job: synchronously (2.0), and where that is refused asynchronously (1.0, promises nothing)."""
        for version in ("2.0", "1.0"):
            try:
                call = Call(
                    f"{request} {handle.job_id}",
                    "PUT",
                    await self._path_of(handle),
                    changing=True,
                    headers={"Content-Type": "application/json"},
                    content=json.dumps({"request": request, "version": version}).encode(),
                )
                response = await self._session.call(call)
            except JobAbsent:
                return  # polling will say so
            except RequestRejected:
                if version == "1.0":
                    raise
                continue
            status = "" if response.status_code == 202 else _feedback(response.content)
            if status not in ("", documents.MODIFY_OK):
                await self._not_modified(handle, request, call, status)
            return

    async def _not_modified(self, handle: JobHandle, request: str, call: Call, status: str) -> None:
        """Judge a refusal: where the job is past that change already, there is nothing to say."""
        document = await self._ask(handle)
        state = documents.text(document, "status") if document is not None else "OUTPUT"
        if state == "OUTPUT" or (state == "ACTIVE" and request == "release"):
            return
        self._not_done(call, status)

    def _not_done(self, call: Call, status: str) -> None:
        words = documents.MODIFY_WORDS.get(status, "see SSJFSTAT in IBM's MVS Using the Subsystem Interface")
        message = f"{self.identity} did not {call.what}: {words} (status {status})"
        if status in documents.MODIFY_LATER:
            raise SystemBusy(message)
        raise RequestRejected(message)

    async def _read(self, source: str) -> str:
        """Return the text of a data set, member or UNIX file. READ access is what submitting it would need too."""
        place = f"/fs{quote(source)}" if source.startswith("/") else f"/ds/{quote(source, safe='()')}"
        call = Call(f"read of {source}", "GET", FILES + place, headers={"X-IBM-Data-Type": "text"})
        return (await self._session.call(call)).text

    async def _keeps_no_correlators(self) -> bool:
        """True when jobs are there and none has a correlator: JES3. Asked once."""
        if self._has_correlators is None:
            jobs: Iterable[Document] = await self._list(owner="*", prefix="*", max_jobs=10)
            batch = [job for job in jobs if documents.text(job, "type") == "JOB"]
            if batch:
                self._has_correlators = any(documents.text(job, "job-correlator") for job in batch)
        return self._has_correlators is False


def _job(answer: object) -> Document:
    if not isinstance(answer, Mapping):
        raise ValueError("it is no job document")  # noqa: TRY004 - callers know one kind of wrong answer
    return answer


def _same(document: Document, handle: JobHandle) -> bool:
    """False when the job id has come round and belongs to another job now."""
    carried = documents.user_correlator(document)
    return not carried or carried == handle.key


def _feedback(content: bytes) -> str:
    """Return the status of a feedback document; "" when there is none, which promises nothing."""
    try:
        document = json.loads(content)
    except ValueError:
        return ""
    return documents.text(document, "status") if isinstance(document, Mapping) else ""
