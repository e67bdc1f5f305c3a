"""SAP background jobs over XBP as a remote system (SAP, *XBP 3.0, External Interface for Background Processing*).

Submit is two-phase: a job is opened, gets its one step and is closed, and then has status P, in which nothing starts
it; release starts it. Job names are not unique in SAP, so status P is what makes a second copy harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

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
from airflow_enterprise_orch.errors import AnswerLost, OutputMissing, RequestRejected, SystemBusy, SystemUnreachable
from airflow_enterprise_orch.systems.sap import xbp_documents as documents
from airflow_enterprise_orch.systems.sap.rfc import Answer, FunctionRefused, Rfc, XbpSettings, rows, structure, text
from airflow_enterprise_orch.systems.sap.xmi import Xmi

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from airflow_enterprise_orch.delegation.work import Work
    from airflow_enterprise_orch.systems.sap.steps import BackgroundJob

log = logging.getLogger(__name__)

BATCH = 1000
"""Jobs in one status call."""
DIRECT = 1
"""Jobs that the status call did not know and that one poll asks for by name, which takes up to three calls; the others
wait for the next poll. With the status call and the check of :data:`CHECK_AFTER`, a poll makes at most five calls."""
CHECK_AFTER = 20
"""A job that was seen running this often is asked for its actual status: a work process that died leaves status R."""
NO_SPOOL = "XM/063"
NO_RC = "XM/232"
LARGEST = 16 * 1024 * 1024
"""Characters of one output source that are read."""


class XbpSystem:
    """The background processing of one SAP system. An async context manager; implements ``RemoteSystem``.

    :param rfc: the way to SAP; opened and closed with this.
    """

    def __init__(self, settings: XbpSettings, rfc: Rfc) -> None:
        self.settings = settings
        self._rfc: Any = rfc
        self._xmi = Xmi(rfc, settings)
        self._zone = ZoneInfo(settings.time_zone)
        self._server = settings.server
        self._running: dict[str, int] = {}
        self._can_check = True
        self._asked: dict[str, int] = {}
        self._polls = 0

    async def __aenter__(self) -> Self:
        await self._rfc.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._xmi.close()
        await self._rfc.__aexit__(kind, error, trace)

    @property
    def identity(self) -> str:
        """Which SAP system and client this is."""
        return self.settings.identity

    @property
    def capabilities(self) -> Capabilities:
        """Two-phase; XBP has no hold for a job that was released."""
        return Capabilities(Protection.TWO_PHASE, batch=BATCH)

    async def check(self) -> str:
        """Log on to SAP and to XMI and select jobs: everything that a connection needs; return the release."""
        info = structure(await self._xmi.plain("RFC_SYSTEM_INFO"), "RFCSI_EXPORT")
        await self._select("ENTERPRISE_ORCH_CHECK")
        return f"{text(info, 'RFCSYSID')} release {text(info, 'RFCSAPRL')}".strip()

    async def find(self, key: str) -> Sighting:
        """Look for jobs whose name begins with ``key``."""
        known = await self._known(key)
        if known is None:
            return Unknown("SAP counts jobs with this name but does not show them; the user lacks rights (S_BTCH_ADM)")
        ours: list[Candidate] = []
        for row in known.jobs:
            held = text(row, "STATUS") == "P"
            # A job that its submitter left half-built runs nothing; it is no candidate, and nothing ever starts it.
            if not held or await self._complete(row):
                ours.append(Candidate(documents.handle_of(row, key), held, documents.order_of(row)))
        return Found(tuple(sorted(ours, key=lambda candidate: candidate.order))) if ours else Absent()

    async def identify(self, job_id: str, key: str) -> JobHandle:
        """Return the handle of the job that a person named as ``NAME/COUNT``; a count alone is one of our key's."""
        name, _, count = job_id.rpartition("/")
        known = documents.split(await self._select(f"{key}*"), key).jobs if not name else await self._select(name)
        for row in known:
            if text(row, "JOBCOUNT") == count.strip() and (not name or text(row, "JOBNAME") == name.strip()):
                return documents.handle_of(row, key)
        raise RequestRejected(
            f"{self.identity} has no job {job_id}; give name and count as SM37 shows them: ZNIGHTLY/15300100"
        )

    async def submit(self, work: Work, key: str) -> JobHandle:
        """Create a job in status P, with ``key`` in its name."""
        from airflow_enterprise_orch.systems.sap.steps import BackgroundJob

        if not isinstance(work, BackgroundJob):
            raise RequestRejected(f"{self.identity} runs sap.background_job, not {type(work).__name__}")
        name = documents.job_name(key, work.label)
        opened = await self._xmi.call("BAPI_XBP_JOB_OPEN", JOBNAME=name, JOBCLASS=work.job_class or "C")
        count = text(opened, "JOBCOUNT")
        if not count:
            raise AnswerLost(f"{self.identity} opened job {name} but tells no JOBCOUNT: it is half-built")
        handle = JobHandle(key, count, name)
        try:
            await self._add_step(handle, work)
            await self._on(handle, "BAPI_XBP_JOB_CLOSE")
        except FunctionRefused:
            # Nothing runs, but what was opened should not stand about; that it stays is said by the caller's error.
            await self._delete(handle)
            raise
        return handle

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """Return the states: one call for all, and a few more for jobs that it does not know or that may be dead."""
        self._polls += 1
        states: dict[str, JobStatus] = {}
        letters: dict[tuple[str, str], str] = {}
        for start in range(0, len(handles), BATCH):
            letters |= await self._letters(handles[start : start + BATCH])
        missing: list[JobHandle] = []
        for handle in handles:
            letter = letters.get((handle.name, handle.job_id), "")
            state = documents.status_of(letter)
            if state is not None:
                states[handle.key] = state
            elif letter != "X":
                missing.append(handle)
        missing.sort(key=lambda handle: self._asked.get(handle.key, 0))
        for handle in missing[:DIRECT]:
            self._asked[handle.key] = self._polls
            if (state := await self._ask(handle)) is not None:
                states[handle.key] = state
        await self._check_one(handles, states)
        return states

    async def cancel(self, handle: JobHandle) -> None:
        """Abort a job that runs; take one that waits back to status P and remove it."""
        letter = await self._letter(handle)
        if letter in ("", "F", "A"):
            return  # polling will say so
        await self._mark(handle.key, documents.ASKED)
        if letter == "R":
            await self._on(handle, "BAPI_XBP_JOB_ABORT")
            return
        if letter != "P":
            await self._on(handle, "BAPI_XBP_DESCHEDULE_JOB")
            letter = await self._letter(handle)
        if letter != "P":
            raise SystemBusy(
                f"{self.identity}: job {handle.job_id} began to run just now; its cancel is asked for again"
            )
        # From here it cannot start any more. The mark comes first: what is removed can tell nothing.
        await self._mark(handle.key, documents.REMOVED)
        await self._on(handle, "BAPI_XBP_JOB_DELETE")

    async def hold(self, handle: JobHandle) -> None:
        """Not offered."""
        raise RequestRejected(f"{self.identity} cannot hold {handle.job_id}: a released job is SAP's")

    async def release(self, handle: JobHandle) -> None:
        """Start a job; SAP refuses to start one that is not in status P."""
        function = (
            "BAPI_XBP_JOB_START_IMMEDIATELY" if self.settings.start == "immediately" else "BAPI_XBP_JOB_START_ASAP"
        )
        if self.settings.server_group:
            where = {"TARGET_SERVER": "", "TARGET_GROUP": self.settings.server_group}
        else:
            where = {"TARGET_SERVER": await self._target()}
        await self._on(handle, function, **where)

    async def discard(self, handle: JobHandle) -> None:
        """Delete a job that never ran; refuse to touch one that was released."""
        letter = await self._letter(handle)
        if letter not in ("", "P"):
            raise RequestRejected(
                f"{self.identity}: {handle.job_id} has been released (status {letter}); it is not deleted"
            )
        if letter:
            await self._on(handle, "BAPI_XBP_JOB_DELETE")

    async def result(self, handle: JobHandle) -> JobResult:
        """Return how the job ended."""
        known = await self._known(handle.key)
        named = await self._select(handle.name) if handle.name and not handle.name.startswith(handle.key) else ()
        found = [*(known.jobs if known else ()), *named]
        header = next((row for row in found if _is(row, handle)), None)
        marks = known.marks if known else frozenset()
        if header is None:
            if known is not None and documents.REMOVED in marks:
                return JobResult(Ending.CANCELLED, "removed", detail="cancelled before it started")
            return JobResult(Ending.UNKNOWN, detail="the job is gone from SAP: deleted before its result was read")
        if text(header, "STATUS") not in ("F", "A"):
            return documents.result_of(header, self._zone, rc=None, asked=False, why="")
        rc = await self._application_rc(handle)
        why = documents.telling(await self._log(handle)) if text(header, "STATUS") == "A" else ""
        return documents.result_of(header, self._zone, rc=rc, asked=documents.ASKED in marks, why=why)

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        """Return what is new in the job log; the cursor counts its lines."""
        seen = int(cursor) if cursor.isdigit() else 0
        told = ""
        for row in (await self._log(handle))[seen:]:
            line = documents.log_line(row) + "\n"
            if told and len(told) + len(line) > limit:
                break
            told += line
            seen += 1
        return Output(told, str(seen))

    async def read_tail(self, handle: JobHandle, *, lines: int = 20) -> str:
        """Return the last lines of the job log."""
        try:
            return "\n".join(documents.log_line(row) for row in (await self._log(handle))[-lines:])
        except FunctionRefused:
            return ""  # a job that is gone has no log

    async def read_source(self, handle: JobHandle, source: str) -> str:
        """Return the job log (``log``) or the list that its step printed (``spool``)."""
        if source == "log":
            lines = [documents.log_line(row) for row in await self._log(handle)]
        elif source == "spool":
            lines = await self._spool(handle)
        else:
            raise OutputMissing(f"job {handle.job_id} has no output {source!r}; it has log and spool")
        told = "".join(f"{line}\n" for line in lines)
        if len(told) > LARGEST:
            raise OutputMissing(
                f"{source} of job {handle.job_id} is larger than {LARGEST >> 20} MiB; no place for a value"
            )
        return told

    async def restart(self, handle: JobHandle, at_step: str, key: str) -> JobHandle:
        """Not offered: a background job has no restart."""
        raise RequestRejected(f"{self.identity} cannot restart {handle.job_id} at {at_step}; run the step again")

    async def _on(self, handle: JobHandle, function: str, **parameters: Any) -> Answer:
        return await self._xmi.call(function, JOBNAME=handle.name, JOBCOUNT=handle.job_id, **parameters)

    async def _add_step(self, handle: JobHandle, work: BackgroundJob) -> None:
        more: dict[str, Any] = {"SAP_USER_NAME": work.user} if work.user else {}
        if work.command is not None:
            more |= {"EXT_PROGRAM_NAME": work.command, "EXT_PROGRAM_PARAMETERS": " ".join(work.arguments)}
            await self._on(
                handle, "BAPI_XBP_JOB_ADD_EXT_STEP", **more, TARGET_HOST=work.host or "", WAIT_FOR_TERMINATION="X"
            )
            return
        from airflow_enterprise_orch.systems.sap.steps import SHORT

        more["ABAP_PROGRAM_NAME"] = work.program
        if work.variant:
            more["ABAP_VARIANT_NAME"] = work.variant
        if work.language:
            more["LANGUAGE"] = work.language
        if work.printer:
            # PRI_PARAMS: held in the spool, not printed, kept for eight days.
            more["ALLPRIPAR"] = {
                "PDEST": work.printer,
                "PRIMM": "",
                "PRREL": "",
                "PEXPI": "8",
                "LINSZ": 255,
                "LINCT": 65,
            }
        if work.selections:
            table = "SELINFO" if all(len(row["LOW"]) <= SHORT for row in work.selections) else "SELINFO_L"
            more[table] = work.selections
        await self._on(handle, "BAPI_XBP_JOB_ADD_ABAP_STEP", **more)

    async def _delete(self, handle: JobHandle) -> None:
        try:
            await self._on(handle, "BAPI_XBP_JOB_DELETE")
        except (RequestRejected, AnswerLost, SystemUnreachable) as error:
            log.warning("%s: half-built job %s %s stays there: %s", self.identity, handle.name, handle.job_id, error)

    async def _select(self, mask: str) -> Sequence[Mapping[str, Any]]:
        """Return the headers of the jobs whose name fits, in whatever status. A blank USERNAME would find none."""
        every = dict.fromkeys(("NO_DATE", "PRELIM", "SCHEDUL", "READY", "RUNNING", "FINISHED", "ABORTED"), "X")
        chosen = {"JOBNAME": mask, "USERNAME": "*", **every}
        try:
            answer = await self._xmi.call(
                "BAPI_XBP_JOB_SELECT", JOB_SELECT_PARAM=chosen, SELECTION="AL", JOB_HEAD=[], SELECTED_JOBS=[]
            )
        except FunctionRefused as refused:
            # MSG_NO_JOBS_FOUND is an error to some releases; whether there are none is proven by the count.
            log.debug("%s", refused)
            return ()
        return rows(answer, "JOB_HEAD")

    async def _known(self, key: str) -> documents.Known | None:
        """Return what SAP has under a key; None when it has jobs that this user is not shown."""
        headers = await self._select(f"{key}*")
        if not headers:
            answer = await self._xmi.call("BAPI_XBP_JOB_COUNT", JOBNAME=f"{key}*", DONT_LIST_JOBS="X")
            counted = text(answer, "NUMBER_OF_JOBS")
            if counted.lstrip("0"):
                return None
        return documents.split(headers, key)

    async def _complete(self, row: Mapping[str, Any]) -> bool:
        """True when a job in status P has its step; the header counts them, and the definition proves it."""
        if text(row, "STEPCOUNT").lstrip("0"):
            return True
        try:
            answer = await self._xmi.call(
                "BAPI_XBP_JOB_DEFINITION_GET",
                JOBNAME=text(row, "JOBNAME"),
                JOBCOUNT=text(row, "JOBCOUNT"),
                STEP_TBL=[],
            )
        except FunctionRefused:
            return False  # MSG_JOB_DOESNT_HAVE_STEPS
        return bool(rows(answer, "STEP_TBL"))

    async def _letters(self, handles: Sequence[JobHandle]) -> dict[tuple[str, str], str]:
        """Return the status letters of many jobs by name and count."""
        asked = [{"JOBNAME": handle.name, "JOBCOUNT": handle.job_id} for handle in handles if handle.name]
        if not asked:
            return {}
        answer = await self._xmi.call("BAPI_XBP_JOBLIST_STATUS_GET", JOBLIST=asked)
        return {(text(row, "JOBNAME"), text(row, "JOBCOUNT")): text(row, "STATUS") for row in rows(answer, "JOBLIST")}

    async def _letter(self, handle: JobHandle) -> str:
        """Return the status letter of one job, "" when SAP has none."""
        return (await self._letters([handle])).get((handle.name, handle.job_id), "")

    async def _ask(self, handle: JobHandle) -> JobStatus | None:
        """Return the state of a job that the status call did not know, by asking for its name."""
        known = await self._known(handle.key)
        if known is None:
            return None
        named = () if handle.name.startswith(handle.key) else await self._select(handle.name)
        row = next((row for row in (*known.jobs, *named) if _is(row, handle)), None)
        if row is not None:
            return documents.status_of(text(row, "STATUS"))
        if documents.REMOVED in known.marks:
            return JobStatus(Phase.ENDED, "cancelled before it started")
        return JobStatus(Phase.MISSING, "SAP has no such job")

    async def _check_one(self, handles: Sequence[JobHandle], states: Mapping[str, JobStatus]) -> None:
        """Let SAP compare one long-running job's status with its work process: that corrects a dead one's."""
        running = {handle.key for handle in handles if states.get(handle.key) == JobStatus(Phase.RUNNING)}
        self._running = {key: self._running.get(key, 0) + 1 for key in running}
        if not self._can_check or not running:
            return
        longest = max(handles, key=lambda handle: self._running.get(handle.key, 0))
        if self._running[longest.key] < CHECK_AFTER:
            return
        self._running[longest.key] = 0
        try:
            await self._on(longest, "BAPI_XBP_JOB_STATUS_CHECK")
        except FunctionRefused as refused:
            self._can_check = False
            log.warning("%s: jobs whose work process died cannot be told: %s", self.identity, refused)

    async def _mark(self, key: str, suffix: str) -> None:
        """Set a mark beside a job, once."""
        known = await self._known(key)
        if known is None or suffix not in known.marks:
            await self._xmi.call("BAPI_XBP_JOB_OPEN", JOBNAME=f"{key}{suffix}", JOBCLASS="C")

    async def _target(self) -> str:
        """Return the server that starts the job: XBP wants one, so the one that answers unless the connection says."""
        if not self._server:
            info = structure(await self._xmi.plain("RFC_SYSTEM_INFO"), "RFCSI_EXPORT")
            self._server = text(info, "RFCDEST")
        return self._server

    async def _application_rc(self, handle: JobHandle) -> int | None:
        """Return the return code that the program set, None when it set none."""
        try:
            answer = await self._on(handle, "BAPI_XBP_GET_APPLICATION_RC", STEPCOUNT=1)
        except FunctionRefused as refused:
            if refused.message_id == NO_RC:
                return None
            raise
        code = text(answer, "APP_RC")
        return int(code) if code.lstrip("-").isdigit() else None

    async def _log(self, handle: JobHandle) -> Sequence[Mapping[str, Any]]:
        answer = await self._on(handle, "BAPI_XBP_JOB_JOBLOG_READ", PROT_NEW="X", JOB_PROTOCOL_NEW=[], JOB_PROTOCOL=[])
        return rows(answer, "JOB_PROTOCOL_NEW") or rows(answer, "JOB_PROTOCOL")

    async def _spool(self, handle: JobHandle) -> list[str]:
        try:
            answer = await self._on(handle, "BAPI_XBP_JOB_SPOOLLIST_READ", STEP_NUMBER=1, SPOOL_LIST=[])
        except FunctionRefused as refused:
            if refused.message_id == NO_SPOOL:
                raise OutputMissing(
                    f"job {handle.job_id} printed nothing: its step has no printer (LP01) or its program writes no list"
                ) from refused
            raise
        # The one column is LINE in some releases and SPOOLLIST in others.
        return [str(next(iter(row.values()), "")).rstrip() for row in rows(answer, "SPOOL_LIST")]


def _is(row: Mapping[str, Any], handle: JobHandle) -> bool:
    return (text(row, "JOBNAME"), text(row, "JOBCOUNT")) == (handle.name, handle.job_id)
