"""Jobs of the Task Scheduler of one Windows host: the client side of :mod:`.powershell`, which argues why it is safe.

Knows neither Airflow nor its connections. Every operation is one script (a submit of a program: two), and what the
host tells is judged by :mod:`.evidence`.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Output
from airflow_enterprise_orch.delegation.system import (
    Absent,
    Candidate,
    Capabilities,
    Found,
    Protection,
    Sighting,
    Unknown,
)
from airflow_enterprise_orch.errors import (
    AnswerLost,
    OrchestrationError,
    OutputMissing,
    RequestRejected,
    SystemBusy,
    SystemUnreachable,
)
from airflow_enterprise_orch.systems.windows import codes
from airflow_enterprise_orch.systems.windows.evidence import Look, Verdict, Word, judge
from airflow_enterprise_orch.systems.windows.powershell import script
from airflow_enterprise_orch.systems.windows.psrp import CallLost, PsrpHost, Value, lost, one_line
from airflow_enterprise_orch.systems.windows.steps import WindowsTask

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.work import Work

log = logging.getLogger(__name__)

KEY = re.compile(r"[A-Z][A-Z0-9]{19}")
GUID = re.compile(r"\{?([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})\}?")
WHOLE_LOG = 16 * 1024 * 1024
"""The longest log that is read as a whole, for a step's outputs."""
PIECE = 1 << 20
TAIL = 16384
NOT_NOW = frozenset({0x800706BA, 0x800706BE, 0x80070008, 0x8007000E, 0x8007045B, 0x80041315})
"""Failures of a start that pass: RPC gone, no memory, shutting down, the Task Scheduler service is not running."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where and as whom jobs run on the host.

    :param root: the job root, an absolute path that an administrator made.
    :param folder: the folder of our own tasks in the Task Scheduler.
    :param account: as whom a program's task runs; empty for the login itself.
    :param logon: TASK_LOGON_TYPE: 1 for a group managed service account, 2 (S4U) for the login, 5 for SYSTEM and such.
    :param keep_days: how long the task and directory of an ended job stay.
    """

    root: str = r"C:\ProgramData\EnterpriseOrch\jobs"
    folder: str = r"\EnterpriseOrch"
    account: str = ""
    logon: int = 2
    keep_days: int = 30

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]:(\\[A-Za-z0-9_. -]*[A-Za-z0-9_-])+", self.root):
            raise ValueError(f"the job root {self.root!r} is no absolute path of plain words, like C:\\Orch\\jobs")
        if not re.fullmatch(r"(\\[A-Za-z0-9_. -]*[A-Za-z0-9_-])+", self.folder):
            raise ValueError(f"the task folder {self.folder!r} is no path of plain words, like \\EnterpriseOrch")


class WindowsTasks:
    """A :class:`~airflow_enterprise_orch.delegation.system.RemoteSystem` over WinRM; claims by name, so ``atomic``."""

    def __init__(self, host: PsrpHost, place: Place) -> None:
        self._host = host
        self._place = place

    @property
    def identity(self) -> str:
        """Which host, as whom, and where the jobs are."""
        return f"{self._host.endpoint.address}/{self._place.root}"

    @property
    def capabilities(self) -> Capabilities:
        """Atomic; one call tells of many jobs."""
        return Capabilities(Protection.ATOMIC, settle=timedelta(seconds=30), batch=500)

    async def find(self, key: str) -> Sighting:
        """Look for the directory that is the claim; adopt the one instance that can only be ours."""
        verdict = (await self._look([key], "find"))[_checked(key)]
        if verdict.word is Word.NONE:
            return Absent()
        if verdict.word is Word.ADOPT:
            await self._adopt(key, verdict.guid, verdict.reason)
            verdict = (await self._look([key], "find"))[key]
        if verdict.word is Word.DOUBT:
            return Unknown(verdict.reason)
        return Found((Candidate(self._handle(key, verdict.guid), held=verdict.word is Word.HELD, order=key),))

    async def identify(self, job_id: str, key: str) -> JobHandle:
        """Return the handle of the job that a person named: by the key, or by the GUID of an instance."""
        guid = GUID.fullmatch(job_id)
        if guid is None and job_id != key:
            raise RequestRejected(
                f"{self.identity}: only the task {key}, or the GUID of an instance, can be adopted for this attempt"
            )
        verdict = (await self._look([key], "find"))[_checked(key)]
        if guid is not None and not verdict.guid and verdict.word is not Word.NONE:
            await self._adopt(key, guid[1].lower(), "a person named it")
            verdict = (await self._look([key], "find"))[key]
        if verdict.word is Word.NONE or (guid is not None and verdict.guid.lower() != guid[1].lower()):
            raise RequestRejected(f"{self.identity} has no job {job_id} for key {key}")
        return self._handle(key, verdict.guid)

    async def submit(self, work: Work, key: str) -> JobHandle:
        """Hand a program or a task over; where the key is taken, return the handle of the job that has it."""
        if not isinstance(work, WindowsTask):
            raise RequestRejected(f"{self.identity} runs Windows tasks, not {type(work).__name__}")
        if work.task is not None:
            return await self._start_existing(work, key)
        job = {
            "v": 1,
            "program": work.program,
            "command_line": work.command_line,
            "directory": work.directory or "",
            "env": dict(work.env),
        }
        values: dict[str, Value] = {"Key": _checked(key), "Job": json.dumps(job), "Runner": script("run")}
        answer = await self._change("claim", values, f"job {key} may have been handed over")
        self._root_is_there(answer)
        if answer["state"] not in ("claimed", "exists"):
            raise RequestRejected(f"{self.identity} did not take job {key}: {one_line(str(answer['message']))}")
        if answer["state"] == "exists":
            sighting = await self._seen_after_submit(key)
            if not sighting.held:
                return sighting.handle
        await self._start(key)
        if answer.get("due"):
            await self._clean_up()
        return self._handle(key)

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """Return the state of many jobs with one call; one whose task never began is sealed."""
        if not handles:
            return {}
        verdicts = await self._look([handle.key for handle in handles], "poll")
        for key, verdict in verdicts.items():
            if verdict.word is Word.NEVER:
                await self._seal(key, verdict)
            elif verdict.word is Word.ADOPT:
                await self._adopt(key, verdict.guid, verdict.reason)
        return {key: verdict.status for key, verdict in verdicts.items()}

    async def cancel(self, handle: JobHandle) -> None:
        """Ask for the end of exactly our instance; what never began never will."""
        values: dict[str, Value] = {
            "Key": _checked(handle.key),
            "Ending": "cancelled",
            "Message": "cancelled before it began",
        }
        answer = await self._change("cancel", values, f"whether job {handle.key} was told to end is not known")
        if answer["state"] in ("error", "unknown"):
            reason = one_line(str(answer["message"])) or "which instance is ours is not known"
            raise RequestRejected(f"{self.identity} cannot end job {handle.key}: {reason}")

    async def hold(self, handle: JobHandle) -> None:
        """Not possible: a task runs at once."""
        raise RequestRejected(f"{self.identity} cannot hold job {handle.key}: a task runs at once")

    async def release(self, handle: JobHandle) -> None:
        """Start the task of a job that was claimed and whose submit died before it started it."""
        await self._start(_checked(handle.key))

    async def discard(self, handle: JobHandle) -> None:
        """Not possible: there is never a second copy."""
        raise RequestRejected(f"{self.identity} cannot discard job {handle.key}: there is only one")

    async def restart(self, handle: JobHandle, at_step: str, key: str) -> JobHandle:
        """Not possible: a task has no steps to begin at."""
        raise RequestRejected(f"{self.identity} cannot restart job {handle.key} at {at_step!r}: a task has no steps")

    async def result(self, handle: JobHandle) -> JobResult:
        """Return how a job ended, and in ``detail`` what proves it."""
        verdict = (await self._look([handle.key], "result"))[handle.key]
        if verdict.result is not None:
            return verdict.result
        if verdict.word is Word.NONE:
            return JobResult(Ending.UNKNOWN, detail=f"{self.identity} has no job {handle.key} any more")
        return JobResult(Ending.UNKNOWN, detail=f"{self.identity} says that it has not ended: {verdict.word}")

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        """Return what a program wrote, standard output before errors; the cursor is ``OUT,ERR`` in bytes.

        An existing task keeps its output to itself, and costs no call.
        """
        if handle.job_id != handle.key:
            return Output("", cursor)
        out, err = _offsets(cursor)
        first, second = await self._read(handle.key, out, err, max(limit // 2, 4))
        first, second = first[: _whole_characters(first)], second[: _whole_characters(second)]
        return Output(_text(first) + _text(second), f"{out + len(first)},{err + len(second)}")

    async def read_tail(self, handle: JobHandle, *, lines: int = 20) -> str:
        """Return the last lines of what a program wrote, its errors last."""
        if handle.job_id != handle.key:
            return ""
        out, err = await self._read(handle.key, 0, 0, TAIL, tail=True)
        kept = [_text(piece).splitlines(keepends=True)[-lines:] for piece in (out, err)]
        return "".join(kept[0] + kept[1])

    async def read_source(self, handle: JobHandle, source: str) -> str:
        """Return a whole log: ``log`` is standard output, ``errors`` the other one."""
        if source not in ("log", "errors"):
            raise OutputMissing(
                f"{self.identity}: job {handle.key} has no output {source!r}; a program has 'log' and 'errors'"
            )
        if handle.job_id != handle.key:
            raise OutputMissing(
                f"{self.identity}: job {handle.key} has no log: an existing task keeps its output to itself"
            )
        data = b""
        while len(data) <= WHOLE_LOG:
            at = len(data)
            out, err = await self._read(handle.key, at if source == "log" else 0, 0 if source == "log" else at, PIECE)
            piece = out if source == "log" else err
            if not piece:
                return _text(data)
            data += piece
        raise OutputMissing(
            f"{self.identity}: the log of job {handle.key} is longer than {WHOLE_LOG >> 20} MiB; "
            f"let the program write less"
        )

    async def clean(self, days: int) -> int:
        """Remove what is left of programs that ended before so many days; return how many. A key stays taken."""
        values: dict[str, Value] = {"Folder": self._place.folder, "Days": days}
        answer = await self._change("clean", values, "how much was removed is not known")
        if answer["state"] != "cleaned":
            raise RequestRejected(f"{self.identity} could not be cleaned: {one_line(str(answer['message']))}")
        return int(answer["count"])

    async def _clean_up(self) -> None:
        """Clean once a day, after a job was handed over; that it fails is no failure of the job."""
        try:
            count = await self.clean(self._place.keep_days)
        except OrchestrationError as error:
            log.warning("the daily clean-up failed, and is tried again with the next job: %s", error)
        else:
            log.info("%s: the daily clean-up removed %d jobs that ended long ago", self.identity, count)

    async def check(self) -> dict[str, Any]:
        """Return what ``check.ps1`` tells of the host's set-up."""
        try:
            return await self._host.run("check", {"Root": self._place.root})
        except CallLost as error:
            raise lost(error) from error

    async def _start(self, key: str) -> None:
        """Start an own task. What cannot begin is sealed, so that its failure is an end like every other."""
        values: dict[str, Value] = {
            "Key": key,
            "Folder": self._place.folder,
            "User": self._place.account,
            "LogonType": self._place.logon,
        }
        answer = await self._change("start", values, f"whether the task of job {key} was started is not known")
        if answer["state"] == "none":
            raise SystemUnreachable(f"{self.identity} lost the directory of job {key} while it was started")
        if answer["state"] != "error":
            return
        code, message = int(answer["code"]) & 0xFFFFFFFF, one_line(str(answer["message"]))
        if code in NOT_NOW:
            raise SystemUnreachable(f"{self.identity} cannot start the task of job {key} now: {message}")
        reason = f"its task could not be registered or started: {codes.in_words(code)}, {message}"
        await self._change(
            "cancel",
            {"Key": key, "Ending": "rejected", "Message": reason},
            f"whether job {key}, which cannot start, is closed is not known",
        )

    async def _start_existing(self, work: WindowsTask, key: str) -> JobHandle:
        values: dict[str, Value] = {"Key": _checked(key), "Path": work.task or "", "Values": list(work.arguments)}
        answer = await self._change("start_existing", values, f"{work.task} may have been started for job {key}")
        self._root_is_there(answer)
        state, message = str(answer["state"]), one_line(str(answer["message"]))
        code = int(answer["code"])
        words = f"{codes.in_words(code)}, {message}" if code else message
        if state == "started":
            return self._handle(key, str(answer["guid"]).strip("{}").lower())
        if state == "exists":
            return (await self._seen_after_submit(key)).handle
        if state == "busy":
            raise SystemBusy(f"{self.identity}: {work.task} cannot be started now: {message}")
        if state == "refused":
            raise RequestRejected(f"{self.identity} did not start {work.task} for job {key}: {words}")
        if state == "error":
            raise SystemUnreachable(f"{self.identity} could not start {work.task}: {words}")
        raise AnswerLost(f"{self.identity}: whether {work.task} was started for job {key} is not known: {words}")

    async def _seen_after_submit(self, key: str) -> Candidate:
        sighting = await self.find(key)
        if isinstance(sighting, Found):
            return sighting.candidates[0]
        reason = sighting.reason if isinstance(sighting, Unknown) else "it is gone again"
        raise AnswerLost(f"{self.identity} has a job {key} already: {reason}")

    async def _seal(self, key: str, verdict: Verdict) -> None:
        await self._change(
            "cancel", {"Key": key, "Ending": "rejected", "Message": verdict.reason}, f"whether job {key} is closed"
        )

    async def _adopt(self, key: str, guid: str, reason: str) -> None:
        values: dict[str, Value] = {"Key": key, "Guid": guid, "Reason": reason}
        answer = await self._change("adopt", values, f"whether instance {guid} was adopted is not known")
        if answer["state"] == "error":
            raise SystemUnreachable(f"{self.identity}: job {key} cannot be adopted: {one_line(str(answer['message']))}")

    async def _look(self, keys: Sequence[str], purpose: str) -> dict[str, Verdict]:
        checked = [_checked(key) for key in keys]
        values: dict[str, Value] = {
            "Root": self._place.root,
            "Folder": self._place.folder,
            "Keys": checked,
            "Purpose": purpose,
        }
        for last in (False, True):
            try:
                raw = await self._host.run("look", values)
                break
            except CallLost as error:
                if last:
                    raise lost(error) from error  # it changes nothing, so it was asked twice
        try:
            look = Look.model_validate(raw)
        except ValidationError as error:
            raise SystemUnreachable(
                f"{self.identity} tells of its jobs in words that this version does not know: "
                f"{one_line(str(error.errors()[0]))}"
            ) from error
        self._root_is_there({"state": look.state})
        if look.state != "seen":
            raise SystemUnreachable(f"{self.identity} cannot tell of its jobs: {one_line(look.message)}")
        verdicts = {job.key: judge(job, look) for job in look.jobs if job.key in checked}
        if len(verdicts) < len(set(checked)):
            raise SystemUnreachable(f"{self.identity} told of {len(verdicts)} of {len(set(checked))} jobs")
        return verdicts

    async def _read(self, key: str, out: int, err: int, limit: int, *, tail: bool = False) -> tuple[bytes, bytes]:
        values: dict[str, Value] = {
            "Root": self._place.root,
            "Key": _checked(key),
            "Out": out,
            "Err": err,
            "Limit": limit,
            "Tail": tail,
        }
        try:
            answer = await self._host.run("read_log", values)
        except CallLost as error:
            raise lost(error) from error
        if answer["state"] == "error":
            raise SystemUnreachable(f"{self.identity}: the log of job {key}: {one_line(str(answer['message']))}")
        return base64.b64decode(answer["out"]), base64.b64decode(answer["err"])

    async def _change(self, verb: str, values: Mapping[str, Value], doubt: str) -> dict[str, Any]:
        """Run a verb that changes something, once."""
        try:
            return await self._host.run(verb, {"Root": self._place.root, **values})
        except CallLost as error:
            if error.begun:
                raise AnswerLost(f"{error}; {doubt}") from error
            raise lost(error) from error

    def _root_is_there(self, answer: Mapping[str, Any]) -> None:
        if answer["state"] == "noroot":
            raise SystemUnreachable(
                f"{self.identity}: there is no directory {self._place.root}; an administrator makes it as the "
                f"documentation of Windows hosts says"
            )

    def _handle(self, key: str, guid: str = "") -> JobHandle:
        where = guid and f"{self._place.root}\\{key}"
        fields = {"directory": where or f"{self._place.root}\\{key}"}
        if guid:
            return JobHandle(key, guid, name=key, fields={**fields, "mode": "task"})
        return JobHandle(key, key, name=f"{self._place.folder}\\{key}", fields={**fields, "mode": "own"})


@asynccontextmanager
async def windows_tasks(host: PsrpHost, place: Place) -> AsyncIterator[WindowsTasks]:
    """Open the jobs at ``place``; nothing is held open between calls."""
    try:
        yield WindowsTasks(host, place)
    finally:
        host.close()


def _checked(key: str) -> str:
    if not KEY.fullmatch(key):
        raise RequestRejected(f"{key!r} is no delegation key: no job can have it")
    return key


def _offsets(cursor: str) -> tuple[int, int]:
    out, _, err = cursor.partition(",")
    return int(out or 0), int(err or 0)


def _text(data: bytes) -> str:
    return data.decode(errors="replace").replace("\r\n", "\n")


def _whole_characters(data: bytes) -> int:
    """Return how many bytes of ``data`` are whole UTF-8 characters, so that the rest can wait for its other half."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # the first byte of a longer character
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if back < wanted else len(data)
        if byte < 0x80:
            break
    return len(data)
