"""A small SAP background processing: job table, work processes, job logs and spool, behind both SAP stand-ins.

Programs of the lab: ``ZLABPROG`` is told by its selection screen what to do (``P_SLEEP``, ``P_SAY``, ``P_RC``,
``P_ABEND``, ``P_WARN``); ``ZPOST_INVOICE`` posts the invoice of an order (``P_ORDER``, ``P_AMOUNT``, ``P_CUST``); the
company's own stand in :mod:`.company`; any other aborts, as one does that is in no system. External steps know
``echo``.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from airflow_enterprise_orch.lab import company
from airflow_enterprise_orch.lab.stand_in import Fault, LabJob, now


@dataclass
class Step:
    """One step of a job.

    :param values: of its selection screen, or ``arguments`` for an external one.
    :param printer: its output device; "" for none, and then there is no spool.
    """

    program: str
    values: Mapping[str, str]
    external: bool = False
    printer: str = ""
    rc: int | None = None
    warned: bool = False
    spool: list[str] = field(default_factory=list)


@dataclass
class LogLine:
    """One message of a job log."""

    at: datetime
    kind: str
    message_class: str
    number: str
    text: str
    dump: str = ""


@dataclass
class SapJob:
    """One background job.

    :param status: TBTCO-STATUS: P, S, Y, R, F or A; the OData service has further letters, see ``letter``.
    :param letter: what the application job interface says instead, "" for the same.
    :param blocked: no work process gets free for it: the fate ``hold``.
    """

    name: str
    count: str
    user: str
    created: datetime
    status: str = "P"
    letter: str = ""
    text: str = ""
    template: str = ""
    job_class: str = "C"
    steps: list[Step] = field(default_factory=list)
    log: list[LogLine] = field(default_factory=list)
    started: datetime | None = None
    ended: datetime | None = None
    fates: list[Fault] = field(default_factory=list)
    blocked: bool = False
    record: LabJob = field(default_factory=lambda: LabJob("", "", "", "held"))
    task: asyncio.Task[None] | None = None

    def fate(self, kind: str) -> Fault | None:
        """Return a fate of that kind, if the job has it."""
        return next((fate for fate in self.fates if fate.do == kind), None)

    @property
    def seen(self) -> str:
        """The status as application jobs show it."""
        return self.letter or self.status


class SapJobs:
    """The jobs of one system.

    :param key_of: finds the delegation key in a job's name or text; "" when there is none.
    """

    def __init__(self, user: str, key_of: Callable[[SapJob], str]) -> None:
        self.user = user
        self.table: list[SapJob] = []
        self.gone: list[SapJob] = []
        self._key_of = key_of
        self._sequence = 0

    def records(self) -> list[LabJob]:
        """Return what was handed over, oldest first: jobs with a step. One without is not a job that could run."""
        every = sorted([*self.table, *self.gone], key=lambda job: (job.created, job.count))
        return [job.record for job in every if job.steps]

    def open(self, name: str, job_class: str = "C", text: str = "") -> SapJob:
        """Create a job in status P."""
        created = datetime.now(UTC)
        self._sequence += 1
        job = SapJob(name, f"{created:%H%M%S}{self._sequence % 100:02d}", self.user, created, text=text)
        job.job_class = job_class
        while self.find(name, job.count):  # within one second, name and count stay unique
            job.count = f"{int(job.count) + 1:08d}"
        job.record = LabJob(self._key_of(job), job.count, name, "held")
        self.table.append(job)
        return job

    def find(self, name: str, count: str) -> SapJob | None:
        """Return one job by its key in SAP."""
        return next((job for job in self.table if (job.name, job.count) == (name, count)), None)

    def like(self, mask: str) -> list[SapJob]:
        """Return the jobs whose name fits a mask with ``*``."""
        wild = re.compile(re.escape(mask).replace(r"\*", ".*"))
        return [job for job in self.table if wild.fullmatch(job.name)]

    def add(self, job: SapJob, step: Step, fates: list[Fault]) -> int:
        """Add a step; return its number."""
        if not job.steps:
            job.record.submitted = now()  # before that there was nothing that could run
        job.steps.append(step)
        job.record.given |= {"program": step.program, **step.values}
        job.fates += fates
        job.blocked = job.blocked or any(fate.do == "hold" for fate in fates)
        return len(job.steps)

    def release(self, job: SapJob) -> None:
        """Start a job as soon as a work process is free."""
        job.status, job.letter = "Y" if job.blocked else "S", ""
        job.record.state = "waiting"
        if not job.blocked:
            job.task = asyncio.create_task(self._run(job))

    def deschedule(self, job: SapJob) -> bool:
        """Take a job that has not started back to status P; return whether that was so."""
        if job.status not in ("S", "Y"):
            return False
        if job.task is not None:
            job.task.cancel()
            job.task = None
        job.status, job.record.state = "P", "held"
        return True

    def abort(self, job: SapJob, letter: str = "") -> bool:
        """End a running job; return whether it ran."""
        if job.status != "R" or job.task is None:
            return False
        job.task.cancel()
        self.say(job, "A", "00", "554", "Job canceled due to terminated process or program")
        self._end(job, "A", letter)
        return True

    def delete(self, job: SapJob) -> bool:
        """Remove a job that does not run; return whether it did not."""
        if job.status == "R":
            return False
        if job.task is not None:
            job.task.cancel()
        job.record.state = "purged" if job.record.ran else "discarded"
        if job in self.table:
            self.table.remove(job)
            self.gone.append(job)
        return True

    def unblock(self) -> None:
        """Lift the fate ``hold`` from all jobs."""
        for job in self.table:
            if job.blocked:
                job.blocked = False
                if job.status == "Y":
                    self.release(job)

    async def clear(self) -> None:
        """End everything and forget it."""
        tasks = [job.task for job in self.table if job.task is not None and not job.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.table.clear()
        self.gone.clear()

    @staticmethod
    def say(job: SapJob, kind: str, message_class: str, number: str, text: str, dump: str = "") -> None:
        """Write a message to a job's log."""
        job.log.append(LogLine(datetime.now(UTC), kind, message_class, number, text, dump))

    async def _run(self, job: SapJob) -> None:
        await asyncio.sleep(0)
        job.status, job.started = "R", datetime.now(UTC)
        job.record.state, job.record.ran, job.record.started = "running", True, now()
        self.say(job, "S", "00", "516", "Job started")
        if slow := job.fate("run"):
            await asyncio.sleep(slow.seconds)
        warned = False
        for number, step in enumerate(job.steps, 1):
            self.say(job, "S", "00", "550", f"Step {number:03d} started (program {step.program}, user ID {job.user})")
            last = number == len(job.steps)
            broken = await self._execute(job, step, last=last)
            if broken:
                self.say(job, "A", "00", "671", broken, dump=f"{now()[:19]}lab_LAB_00 {secrets.token_hex(3).upper()}")
                self.say(job, "A", "00", "554", "Job canceled due to terminated process or program")
                self._end(job, "A")
                return
            warned = warned or step.warned or step.values.get("P_WARN", "") == "X"
        self.say(job, "S", "00", "517", "Job finished")
        self._end(job, "F", "W" if warned else "")

    async def _execute(self, job: SapJob, step: Step, *, last: bool) -> str:
        """Run one program; return why it broke, "" when it did not."""
        values = step.values
        if step.external:
            if not step.program.endswith("echo"):
                return f"External program {step.program} terminated: cannot be started"
            self._write(job, step, values.get("arguments", ""))
            return ""
        if step.program == "ZPOST_INVOICE":
            order = values.get("P_ORDER", "")
            if not order:
                return "Program ZPOST_INVOICE: no order given"
            invoice = f"INV-{order.removeprefix('ORD-')}"
            self._write(job, step, f"INVOICE={invoice} ORDER={order} AMOUNT={values.get('P_AMOUNT', '')}")
            self._write(job, step, f"CUSTOMER={values.get('P_CUST', '')}")
        elif step.program == "ZLABPROG":
            if values.get("P_SAY"):
                self._write(job, step, values["P_SAY"])
            await asyncio.sleep(float(values.get("P_SLEEP") or 0))
            if values.get("P_RC"):
                step.rc = int(values["P_RC"])
            if values.get("P_ABEND"):
                return f"Internal session terminated with a runtime error {values['P_ABEND']} (see ST22)"
        elif step.program in company.ABAP:
            ran = company.ABAP[step.program](values)
            for line in ran.lines:
                self._write(job, step, line)
            step.rc, step.warned = ran.rc or None, ran.warned
            if ran.broken:
                return ran.broken
        else:
            return f"Program {step.program} does not exist"
        if last and job.fate("fail"):
            self.say(job, "E", "ZLAB", "001", "lab: this job was told to fail")
            step.rc = 12
        if last and job.fate("abend"):
            return "Internal session terminated with a runtime error LAB_TOLD_SO (see ST22)"
        return ""

    def _write(self, job: SapJob, step: Step, line: str) -> None:
        self.say(job, "I", "ZLAB", "000", line)
        if step.printer:
            step.spool.append(line)

    def _end(self, job: SapJob, status: str, letter: str = "") -> None:
        job.status, job.letter, job.ended = status, letter, datetime.now(UTC)
        code = next((step.rc for step in reversed(job.steps) if step.rc is not None), None)
        job.record.state, job.record.ended = "ended", now()
        job.record.result = job.seen + (f" RC {code}" if code else "")
        if job.fate("purge"):
            self.table.remove(job)
            self.gone.append(job)
            job.record.state = "purged"
