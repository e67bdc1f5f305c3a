"""SAP application jobs (S/4HANA) over OData V2 as a remote system.

Submit is unprotected: ``JobSchedule`` starts a job at once, and SAP takes the same request twice. Our key is the job's
text, by which it is found again; what is neither answered nor found is a question for a person.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Output, Phase
from airflow_enterprise_orch.delegation.system import (
    Absent,
    Candidate,
    Capabilities,
    Found,
    Protection,
    Sighting,
    Unknown,
)
from airflow_enterprise_orch.errors import AnswerLost, OutputMissing, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.sap import odata_documents as documents
from airflow_enterprise_orch.systems.sap.odata import JobAbsent, OdataSession, OdataSettings, literal, query
from airflow_enterprise_orch.systems.sap.odata_documents import text

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from airflow_enterprise_orch.delegation.work import Work

PAGE = 1000
"""Jobs that one list call asks for."""
DIRECT = 2
"""Jobs that the list did not show and that one poll asks for on their own; the others wait for the next poll."""
MARGIN = timedelta(days=1)
"""How much earlier than the oldest job the list begins: SAP may tell planned starts in another time zone."""
SETTLE = timedelta(seconds=30)
"""How long a JobSchedule may take to show its job: the gateway queues requests when its work processes are busy."""
LARGEST = 16 * 1024 * 1024
"""Characters of a log that are read."""
RESTARTS = {"failed": "E", "after_failed": "A"}
"""Where JobRestart goes on: at the step that failed, or behind it."""


class ApplicationJobs:
    """The application jobs of one SAP system. An async context manager; implements ``RemoteSystem``."""

    def __init__(self, settings: OdataSettings) -> None:
        self.settings = settings
        self._session = OdataSession(settings)
        self._asked: dict[str, int] = {}
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
        """Which SAP system this is."""
        return f"sap-odata://{self.settings.address}" + (f"/{self.settings.client}" if self.settings.client else "")

    @property
    def capabilities(self) -> Capabilities:
        """Unprotected; a failed job can be restarted."""
        return Capabilities(Protection.UNPROTECTED, settle=SETTLE, batch=PAGE, restart=True)

    async def check(self) -> str:
        """Log in and list jobs: everything that a connection needs; return what was seen."""
        seen = await self._list(documents.stamp(datetime.now(UTC) - MARGIN), top=1, pages=1)
        return "none since yesterday" if not seen else "the service has some"

    async def find(self, key: str) -> Sighting:
        """Look for jobs whose text is ``key``."""
        try:
            content = await self._session.read(f"jobs with text {key}", "JobListGet", query({"JobText": key}))
        except JobAbsent:
            return Absent()
        except RequestRejected as error:
            return Unknown(f"SAP does not list jobs by their text: {error}")
        ours = [
            Candidate(documents.handle_of(job, key), held=False, order=f"{job.get('JobCreaDateTime')}|{_id(job)}")
            for job in documents.listed(content)
            if text(job, "JobText") == key
        ]
        return Found(tuple(sorted(ours, key=lambda candidate: candidate.order))) if ours else Absent()

    async def identify(self, job_id: str, key: str) -> JobHandle:
        """Return the handle of the job that a person named as ``JobName/JobRunCount``."""
        header = await self._header(job_id)
        if header is None:
            raise RequestRejected(f"{self.identity} has no job {job_id}; give it as JobName/JobRunCount")
        return documents.handle_of(header, key)

    async def submit(self, work: Work, key: str) -> JobHandle:
        """Schedule a job to start at once, with ``key`` as its text."""
        from airflow_enterprise_orch.systems.sap.steps import ApplicationJob

        if not isinstance(work, ApplicationJob):
            raise RequestRejected(f"{self.identity} runs sap.application_job, not {type(work).__name__}")
        values = documents.parameter_values(work.parameters)
        user: dict[str, object] = {"JobUser": work.user} if work.user else {}
        if work.check and values:
            await self._check({"JobTemplateName": work.template, "JobParameterValues": values, **user})
        asked: dict[str, object] = {"JobTemplateName": work.template, "JobText": key, **user}
        if work.test_mode:
            asked["TestModeInd"] = True
        if values:
            asked["JobParameterValues"] = values
        since = documents.stamp(datetime.now(UTC))
        content = await self._session.change(f"JobSchedule of {work.template}", "JobSchedule", query(asked))
        told = documents.listed(content)
        try:
            handle = documents.handle_of({"JobTemplateName": work.template, **(told[0] if told else {})}, key, since)
        except ValueError as error:
            self._returned("JobSchedule", told)  # a refusal names no job
            raise AnswerLost(f"{self.identity} took {work.template} but its answer tells no job ({error})") from error
        self._returned("JobSchedule", told)
        return handle

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """Return the states: pages of one list, and a few jobs on their own that it does not show."""
        self._polls += 1
        dated = [handle.fields["since"] for handle in handles if handle.fields.get("since")]
        letters: dict[str, str] = {}
        if dated:
            oldest = documents.moment(min(dated)) or datetime.now(UTC)
            wanted = {handle.job_id for handle in handles}
            letters = await self._list(documents.stamp(oldest - MARGIN), wanted=wanted)
        states: dict[str, JobStatus] = {}
        missing: list[JobHandle] = []
        for handle in handles:
            if handle.job_id not in letters:
                missing.append(handle)
            elif (state := documents.status_of(letters[handle.job_id])) is not None:
                states[handle.key] = state
        missing.sort(key=lambda handle: self._asked.get(handle.key, 0))
        for handle in missing[:DIRECT]:
            self._asked[handle.key] = self._polls
            header = await self._header(handle.job_id)
            if header is None:
                states[handle.key] = JobStatus(Phase.MISSING, "SAP has no such job")
            elif (state := documents.status_of(text(header, "JobStatus"))) is not None:
                states[handle.key] = state
        return states

    async def cancel(self, handle: JobHandle) -> None:
        """Abort a job that runs, cancel one that waits."""
        header = await self._header(handle.job_id)
        state = documents.status_of(text(header, "JobStatus")) if header else None
        if header is None or state is None or state.phase is Phase.ENDED or text(header, "JobStatus") == "c":
            return
        await self._do("JobAbort" if state.phase is Phase.RUNNING else "JobCancel", handle)

    async def hold(self, handle: JobHandle) -> None:
        """Not offered."""
        raise RequestRejected(f"{self.identity} cannot hold {handle.job_id}: application jobs start at once")

    async def release(self, handle: JobHandle) -> None:
        """Nothing to do: application jobs start at once."""

    async def discard(self, handle: JobHandle) -> None:
        """Not offered: there are no held jobs."""
        raise RequestRejected(f"{self.identity}: {handle.job_id} was never held; it is not removed")

    async def result(self, handle: JobHandle) -> JobResult:
        """Return how the job ended."""
        try:
            content = await self._session.read(f"result of {handle.job_id}", "JobinfoGet", query(_names(handle.job_id)))
        except RequestRejected:
            if await self._header(handle.job_id) is not None:
                raise
            return JobResult(Ending.UNKNOWN, detail="the job is gone from SAP: deleted before its result was read")
        return documents.result_of(documents.listed(content))

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        """Return what is new in the application logs of the job's steps; the cursor counts the lines of each."""
        seen = _counts(cursor)
        told = ""
        for log, lines in await self._logs(handle):
            for line in lines[seen.get(log, 0) :]:
                if told and len(told) + len(line) + 1 > limit:
                    return Output(told, json.dumps(seen))
                told += f"{line}\n"
                seen[log] = seen.get(log, 0) + 1
        return Output(told, json.dumps(seen))

    async def read_tail(self, handle: JobHandle, *, lines: int = 20) -> str:
        """Return the last lines of the application logs."""
        try:
            return "\n".join([line for _, log in await self._logs(handle) for line in log][-lines:])
        except JobAbsent:
            return ""

    async def read_source(self, handle: JobHandle, source: str) -> str:
        """Return all lines of the application logs, which are the one source: ``log``."""
        if source != "log":
            raise OutputMissing(f"job {handle.job_id} has no output {source!r}; an application job has its log only")
        told = "".join(f"{line}\n" for _, log in await self._logs(handle) for line in log)
        if len(told) > LARGEST:
            raise OutputMissing(
                f"the log of job {handle.job_id} is larger than {LARGEST >> 20} MiB; no place for a value"
            )
        return told

    async def restart(self, handle: JobHandle, at_step: str, key: str) -> JobHandle:
        """Restart a failed job at the step that failed, or behind it.

        SAP keeps the job's text, so the restarted job is found by the key of the first, not by ``key``.

        :param at_step: ``failed`` or ``after_failed``.
        """
        if at_step not in RESTARTS:
            raise RequestRejected(f"{self.identity} restarts a job at {' or '.join(RESTARTS)}, not at {at_step!r}")
        told = await self._do("JobRestart", handle, JobRestartMode=RESTARTS[at_step])
        named = told[0] if told and text(told[0], "JobName") else dict(_names(handle.job_id))
        return documents.handle_of({"JobTemplateName": handle.name, **named}, key, handle.fields.get("since", ""))

    async def _do(self, function: str, handle: JobHandle, **more: object) -> list[documents.Document]:
        parameters = query({**_names(handle.job_id), **more})
        told = documents.listed(await self._session.change(f"{function} of {handle.job_id}", function, parameters))
        self._returned(function, told)
        return told

    async def _check(self, asked: Mapping[str, object]) -> None:
        """Let SAP check the parameters; :raises RequestRejected: with what is wrong with them."""
        what = f"JobScheduleCheck of {asked['JobTemplateName']}"
        told = documents.listed(await self._session.change(what, "JobScheduleCheck", query(asked), changing=False))
        if not told:
            raise SystemUnreachable(f"{self.identity} answered {what} with nothing")
        if told[0].get("SuccessfulInd") not in (True, "true", "X"):
            why = text(told[0], "ErrMessages") or "no reason given"
            raise RequestRejected(
                f"{self.identity}: {asked['JobTemplateName']} cannot run with these parameters: {why}"
            )

    def _returned(self, function: str, told: Sequence[documents.Document]) -> None:
        """Look at the return code, which says no where the HTTP status says yes."""
        code = text(told[0], "ReturnCode") if told else ""
        if code.lstrip("0"):
            raise RequestRejected(f"{self.identity} refused {function}: return code {code}")

    async def _list(
        self, since: str, *, wanted: set[str] | None = None, top: int = PAGE, pages: int = 0
    ) -> dict[str, str]:
        """Return the status letters of the jobs that were planned to start after ``since``, by id.

        :param wanted: the ids that are looked for; further pages are not read when all are there.
        """
        letters: dict[str, str] = {}
        read = 0
        while True:
            system = {
                "$select": "JobName,JobRunCount,JobStatus",
                "$filter": f"JobPlannedStartDateTime ge {literal(since)}",
                "$top": str(top),
                "$skip": str(read),
            }
            content = await self._session.read("list of jobs", "JobHeaderSet", query({}, system=system))
            page = documents.listed(content)
            letters |= {_id(job): text(job, "JobStatus") for job in page}
            read += len(page)
            pages -= 1
            more = isinstance(content, Mapping) and "__next" in content
            if (
                pages == 0
                or not page
                or (len(page) < top and not more)
                or (wanted is not None and wanted <= set(letters))
            ):
                return letters

    async def _header(self, job_id: str, *, expand: bool = False) -> documents.Document | None:
        """Return the header of one job, None when SAP has none."""
        names = ",".join(f"{name}={literal(value)}" for name, value in _names(job_id).items())
        options = {"$expand": "JobStepSet/JobStepLogInfoSet/JobLogMessageSet"} if expand else {}
        try:
            content = await self._session.read(
                f"status of {job_id}", f"JobHeaderSet({_path(names)})", query({}, system=options)
            )
        except JobAbsent:
            return None
        found = documents.listed(content)
        return found[0] if found else None

    async def _logs(self, handle: JobHandle) -> list[tuple[str, list[str]]]:
        header = await self._header(handle.job_id, expand=True)
        if header is None:
            raise JobAbsent(f"{self.identity} has no job {handle.job_id} any more, and its log with it")
        return documents.logs(header)


def _names(job_id: str) -> dict[str, object]:
    name, _, run = job_id.rpartition("/")
    return {"JobName": name, "JobRunCount": run}


def _id(document: documents.Document) -> str:
    return f"{text(document, 'JobName')}/{text(document, 'JobRunCount')}"


def _path(text_of_keys: str) -> str:
    from urllib.parse import quote

    return quote(text_of_keys, safe="=,'")


def _counts(cursor: str) -> dict[str, int]:
    """Read a cursor; one that is not ours starts from the beginning."""
    try:
        counts = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return {str(log): int(count) for log, count in counts.items()} if isinstance(counts, dict) else {}
