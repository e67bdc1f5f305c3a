"""A small JES2: takes job streams, holds, runs and cancels jobs, and keeps their spool.

It reads JCL by itself (nothing is shared with the client under test) and knows enough of it to run real-looking
streams: JOB, EXEC PGM=, DD * and SET statements, continuations, symbols. Programs: ``IEFBR14`` (does nothing) and
``LABPROG``, which is told by its PARM what to do: ``RC=4,SLEEP=0.5,SAY=any text`` or ``ABEND=S0C7``; it writes what it
says, and its SYSIN, to SYSPRINT. The company's own programs stand in :mod:`.company`. Any other ends with ABEND S806,
as one does that is in no library.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_enterprise_orch.lab import company
from airflow_enterprise_orch.lab.stand_in import Fault, LabJob, now

SYSTEM = "LAB1"


class JobRefused(ValueError):
    """The internal reader did not take it for a job."""


@dataclass
class Step:
    """One EXEC statement with its in-stream data."""

    name: str
    program: str
    parm: str
    data: dict[str, list[str]] = field(default_factory=dict)
    completion: str = ""


@dataclass
class SpoolData:
    """One spool file."""

    id: int
    ddname: str
    step: str
    records: list[str] = field(default_factory=list)


@dataclass
class JesJob:
    """One job, as JES sees it.

    :param blocked: it waits although nobody holds it (its class is held): the fate ``hold``.
    :param phase: INPUT, ACTIVE or OUTPUT.
    """

    number: int
    name: str
    owner: str
    job_class: str
    user_correlator: str
    held: bool
    steps: list[Step]
    jcl: list[str]
    error: str = ""
    blocked: bool = False
    purge_at_end: bool = False
    slow: float = 0.0
    forced: str = ""
    phase: str = "INPUT"
    retcode: str | None = None
    cancelled: bool = False
    purged: bool = False
    spool: list[SpoolData] = field(default_factory=list)
    stamp: str = field(default_factory=lambda: f"{int(time.time()) & 0xFFFFFFFF:08X}")
    record: LabJob = field(default_factory=lambda: LabJob("", "", "", "waiting"))
    task: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        """As operators say it: JOB00042."""
        return f"JOB{self.number:05d}"

    @property
    def correlator(self) -> str:
        """31 characters of the system, a colon, the user's part."""
        return f"J{self.number:07d}{SYSTEM:.<8}{self.stamp}.......:{self.user_correlator}"

    @property
    def waits_because(self) -> str | None:
        """Why it does not run; the wordings are this lab's own, since IBM does not document them."""
        if self.phase != "INPUT":
            return None
        return "Job is held" if self.held else f"Job class {self.job_class} is held" if self.blocked else None


class Jes:
    """The job queue.

    :param owner: the user that all jobs run under.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.queue: list[JesJob] = []
        self._next = 1

    def submit(
        self, text: str, *, symbols: Mapping[str, str], correlator: str, fates: list[Fault], owner: str = ""
    ) -> JesJob:
        """Take a job stream; :raises JobRefused: when it has no JOB card."""
        job = read_jcl(text, symbols)
        kinds = {fate.do: fate for fate in fates}
        job.number, job.owner, job.user_correlator = self._next, owner or self.owner, correlator
        self._next = self._next % 99999 + 1
        job.blocked = "hold" in kinds
        job.purge_at_end = "purge" in kinds
        job.slow = kinds["run"].seconds if "run" in kinds else 0.0
        job.forced = "ABEND S0C7" if "abend" in kinds else "CC 0012" if "fail" in kinds else ""
        job.record = LabJob(correlator, job.id, job.name, "held" if job.held else "waiting", given=dict(symbols))
        job.spool = [
            SpoolData(2, "JESMSGLG", "JES2"),
            SpoolData(3, "JESJCL", "JES2", job.jcl),
            SpoolData(4, "JESYSMSG", "JES2"),
        ]
        self._say(job, 2, f"J E S 2  J O B  L O G  --  S Y S T E M  {SYSTEM}")
        self._say(job, 2, f"$HASP373 {job.name} {job.id} READ BY INTERNAL READER")
        self.queue.append(job)
        self._start_if_free(job)
        return job

    def job(self, name: str, job_id: str) -> JesJob | None:
        """Return a job by name and id; the youngest, should ids have come round."""
        found = [job for job in self.queue if (job.name, job.id) == (name, job_id) and not job.purged]
        return found[-1] if found else None

    def by_correlator(self, correlator: str) -> JesJob | None:
        """Return a job by its full correlator."""
        return next((job for job in self.queue if job.correlator == correlator and not job.purged), None)

    def hold(self, job: JesJob) -> str:
        """Hold; return the feedback status."""
        if job.phase != "INPUT":
            return "184"
        job.held = True
        job.record.state = "held"
        return "0"

    def release(self, job: JesJob) -> str:
        """Release; return the feedback status."""
        if job.phase == "OUTPUT":
            return "184"
        if job.phase == "INPUT":
            job.held = False
            job.record.state = "waiting"
            self._start_if_free(job)
        return "0"

    def cancel(self, job: JesJob) -> str:
        """Cancel; return the feedback status."""
        if job.phase == "OUTPUT":
            return "156"
        job.cancelled = True
        if job.task is not None:
            job.task.cancel()
        self._say(job, 2, f"$HASP395 {job.name} ENDED - CANCELED BY OPERATOR")
        self._end(job, "CANCELED")
        return "0"

    def purge(self, job: JesJob) -> str:
        """Cancel if needed and remove; return the feedback status."""
        never_ran = job.phase == "INPUT"
        if job.phase != "OUTPUT":
            self.cancel(job)
        job.purged = True
        job.record.state = "discarded" if never_ran else "purged"
        return "0"

    def unblock(self) -> None:
        """Lift the fate ``hold`` from all jobs."""
        for job in self.queue:
            job.blocked = False
            self._start_if_free(job)

    async def clear(self) -> None:
        """End everything and forget it."""
        tasks = [job.task for job in self.queue if job.task is not None and not job.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.queue.clear()

    def _start_if_free(self, job: JesJob) -> None:
        if job.phase != "INPUT" or job.task is not None:
            return
        if job.error:  # found by the converter, which does not wait for a release
            self._say(job, 4, job.error)
            self._say(job, 2, f"IEF452I {job.name} - JOB NOT RUN - JCL ERROR")
            self._end(job, "JCL ERROR")
        elif not job.held and not job.blocked:
            job.task = asyncio.create_task(self._run(job))

    async def _run(self, job: JesJob) -> None:
        job.phase = "ACTIVE"
        job.record.state, job.record.ran, job.record.started = "running", True, now()
        self._say(job, 2, f"IEF403I {job.name} - STARTED")
        await asyncio.sleep(job.slow)
        highest, abend = 0, ""
        for index, step in enumerate(job.steps, 1):
            if abend:
                self._say(job, 4, f"IEF272I {job.name} {step.name} - STEP WAS NOT EXECUTED.")
                continue
            forced = job.forced if index == len(job.steps) else ""
            step.completion = await self._execute(job, step, 100 + index, forced)
            if step.completion.startswith("CC"):
                highest = max(highest, int(step.completion[3:]))
                self._say(
                    job, 4, f"IEF142I {job.name} {step.name} - STEP WAS EXECUTED - COND CODE {step.completion[3:]}"
                )
            else:
                abend = step.completion
                kind = "S=" if "S" in abend[6:7] else "U="
                why = (
                    f"IEF450I {job.name} {step.name} - ABEND={abend[6:]}"
                    if kind == "S="
                    else f"IEF450I {job.name} {step.name} - ABEND S000 {abend[6:]}"
                )
                self._say(job, 2, why)
                self._say(job, 4, why)
        self._say(job, 2, f"$HASP395 {job.name} ENDED - {abend or f'RC={highest:04d}'}")
        self._end(job, abend or f"CC {highest:04d}")

    async def _execute(self, job: JesJob, step: Step, spool_id: int, forced: str) -> str:
        """Run one program; return its completion."""
        if step.program == "IEFBR14":
            return forced or "CC 0000"
        output = SpoolData(spool_id, "SYSPRINT", step.name)
        if step.program in company.MAINFRAME:
            given = dict(record.partition("=")[::2] for record in step.data.get("SYSIN", []))
            ran = company.MAINFRAME[step.program](given)
            job.spool.append(output)
            output.records += ran.lines
            return forced or f"CC {ran.rc:04d}"
        if step.program != "LABPROG":
            self._say(job, 4, f"CSV003I REQUESTED MODULE {step.program} NOT FOUND")
            return "ABEND S806"
        words, _, said = step.parm.partition("SAY=")
        told = dict(word.partition("=")[::2] for word in words.split(",") if word)
        job.spool.append(output)
        output.records += [said] if said else []
        output.records += step.data.get("SYSIN", [])
        await asyncio.sleep(float(told.get("SLEEP") or 0))
        if forced or "ABEND" in told:
            return forced or f"ABEND {told['ABEND']}"
        return f"CC {int(told.get('RC') or 0):04d}"

    def _say(self, job: JesJob, spool_id: int, text: str) -> None:
        next(file for file in job.spool if file.id == spool_id).records.append(f"{now()[11:19]} {text}")

    def _end(self, job: JesJob, retcode: str) -> None:
        if job.phase == "OUTPUT":
            return
        job.phase, job.retcode = "OUTPUT", retcode
        job.record.state, job.record.result, job.record.ended = "ended", retcode, now()
        if job.purge_at_end:
            job.purged, job.record.state = True, "purged"


def read_jcl(text: str, symbols: Mapping[str, str]) -> JesJob:
    """Read a job stream; what is wrong with it goes into the job's ``error``.

    :raises JobRefused: it does not begin with a JOB card.
    """
    known = dict(symbols)
    lines = [line.rstrip() for line in text.splitlines()]
    job: JesJob | None = None
    error = ""
    index = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        if not line.startswith("//") or line.startswith("//*") or line == "//":
            continue
        fields = re.match(r"//(\S*) +(\S+) *(.*)", line[:71])
        if fields is None:
            error = error or f"IEFC605I UNIDENTIFIED OPERATION FIELD: {line}"
            continue
        name, operation, operands = fields.groups()
        operands = _operand_field(operands)
        while operands.endswith(",") and index < len(lines) and (more := re.match(r"// +(\S.*)", lines[index][:71])):
            operands += _operand_field(more[1])
            index += 1
        if operands.endswith(","):
            error = error or f"IEFC621I EXPECTED CONTINUATION NOT RECEIVED: {line}"
        if operation == "SET":
            known |= _keywords(_substitute(operands, known))
            continue
        keywords = _keywords(_substitute(operands, known))
        if operation == "JOB":
            if job is not None:
                break  # a further JOB card begins another job, which this lab does not take
            job = JesJob(0, name, "", keywords.get("CLASS", "A"), "", keywords.get("TYPRUN") == "HOLD", [], list(lines))
        elif job is None:
            raise JobRefused("Job input was not recognized by system as a job.")
        elif operation == "EXEC":
            if "PGM" not in keywords:
                error = error or f"IEFC612I PROCEDURE {operands} WAS NOT FOUND"
                continue
            job.steps.append(Step(name, keywords["PGM"], keywords.get("PARM", "")))
        elif operation == "DD":
            data, index = _in_stream(lines, index, operands)
            if data is not None and job.steps:
                replaced = [_substitute(record, known) for record in data] if "SYMBOLS" in keywords else data
                job.steps[-1].data[name] = replaced
        elif operation not in ("PROC", "PEND", "JCLLIB", "INCLUDE", "OUTPUT", "IF", "ELSE", "ENDIF"):
            error = error or f"IEFC605I UNIDENTIFIED OPERATION FIELD: {operation}"
    if job is None:
        raise JobRefused("Job input was not recognized by system as a job.")
    job.error = error or ("" if job.steps else "IEFC607I JOB HAS NO STEPS")
    return job


def _in_stream(lines: list[str], index: int, operands: str) -> tuple[list[str] | None, int]:
    """Return the records that follow a ``DD *`` or ``DD DATA``, and where the JCL goes on."""
    kind = operands.partition(",")[0]
    if kind not in ("*", "DATA"):
        return None, index
    end = _keywords(operands).get("DLM", "/*")
    data: list[str] = []
    while index < len(lines) and not lines[index].startswith(end):
        if kind == "*" and end == "/*" and lines[index].startswith("//"):
            return data, index
        data.append(lines[index])
        index += 1
    return data, index + 1


def _operand_field(text: str) -> str:
    """Cut the comment off."""
    quoted = False
    for position, character in enumerate(text):
        quoted ^= character == "'"
        if character == " " and not quoted:
            return text[:position]
    return text


def _keywords(operands: str) -> dict[str, str]:
    """Return keyword parameters; apostrophes round a value are taken off, doubled ones inside become one."""
    found = re.findall(r"(?:^|,)([A-Z0-9$#@.]+)=((?:'(?:[^']|'')*'|\([^)]*\)|[^,'(])*)", operands)
    return {name: value[1:-1].replace("''", "'") if value.startswith("'") else value for name, value in found}


def _substitute(text: str, symbols: Mapping[str, str]) -> str:
    """Replace ``&NAME`` and ``&NAME.``; unknown ones stay, and so does ``&&``."""
    return re.sub(
        r"(?<!&)&([A-Z$#@][A-Z0-9$#@]{0,7})(\.?)",
        lambda match: symbols[match[1]] if match[1] in symbols else match[0],
        text,
    )


def document(job: JesJob, base: str, *, exec_data: bool = False, step_data: bool = False) -> dict[str, Any]:
    """Return the JSON job document (IBM, *z/OSMF Programming Guide*, "Job document").

    :param base: URL of the jobs interface.
    """
    from urllib.parse import quote

    url = f"{base}/{quote(job.correlator, safe='')}"
    phases = {"INPUT": (10, "Job is queued for execution"), "ACTIVE": (14, "Job is actively executing")}
    phase, phase_name = phases.get(job.phase, (20, "Job is on the hard copy queue"))
    told: dict[str, Any] = {
        "jobid": job.id,
        "jobname": job.name,
        "subsystem": "JES2",
        "owner": job.owner,
        "status": job.phase,
        "type": "JOB",
        "class": job.job_class,
        "retcode": job.retcode,
        "url": url,
        "files-url": f"{url}/files",
        "job-correlator": job.correlator,
        "phase": phase,
        "phase-name": phase_name,
    }
    if job.waits_because:
        told["reason-not-running"] = job.waits_because
    if exec_data:
        told |= {
            "exec-system": SYSTEM,
            "exec-member": SYSTEM,
            "exec-submitted": job.record.submitted,
            "exec-started": job.record.started or None,
            "exec-ended": job.record.ended or None,
        }
    if step_data:
        told["step-data"] = [
            {
                "smfid": SYSTEM,
                "active": job.phase == "ACTIVE" and not step.completion,
                "step-number": number,
                "proc-step-name": "",
                "step-name": step.name,
                "program-name": step.program,
                "completion": step.completion,
            }
            for number, step in enumerate(job.steps, 1)
        ]
    return told


def password() -> str:
    """Return a password of the length that RACF takes."""
    return secrets.token_hex(4)
