"""The Control-M/Server behind the lab's Automation API: folder definitions, active jobs, and what becomes of them.

Its jobs are one program that does as their variables say: ``SAY`` is written to the output, ``SLEEP`` seconds pass, and
the job ends with completion code ``RC``. A job of a SMART folder starts when those that it waits for ended OK.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_enterprise_orch.lab import company
from airflow_enterprise_orch.lab.stand_in import Fault, LabJob, now

SERVER = "lab"
KEY_VARIABLE = "ORCH_KEY"


class OrderRefused(ValueError):
    """Control-M says no, in its words."""


@dataclass(frozen=True)
class JobDefinition:
    """One job of a folder.

    :param after: the jobs of the folder that must have ended OK.
    :param says: what it writes, with ``%%NAME`` for variables.
    """

    name: str
    after: tuple[str, ...] = ()
    says: str = ""
    cyclic: bool = False


@dataclass(frozen=True)
class FolderDefinition:
    """A folder; ``smart`` ones are an entry of their own among the active jobs."""

    name: str
    jobs: tuple[JobDefinition, ...]
    smart: bool = True


FOLDERS = (
    FolderDefinition("LAB", (JobDefinition("LABJOB"),)),
    FolderDefinition(
        "ORDERS",
        (
            JobDefinition("CHECK", says="ORDER %%ORDER CHECKED"),
            JobDefinition("BOOK", after=("CHECK",), says="CREDIT CLASS=%%CLASS"),
        ),
    ),
    FolderDefinition("BOOKING", (JobDefinition("BOOKORD", says="BOOKING=BK-%%ORDER CLASS=%%CLASS"),)),
    FolderDefinition("LOOSE", (JobDefinition("ONE"), JobDefinition("TWO")), smart=False),
    FolderDefinition("PULSE", (JobDefinition("BEAT", cyclic=True),)),
    *(
        FolderDefinition(name, tuple(JobDefinition(job, says=says) for job, says in jobs.items()))
        for name, jobs in company.SCHEDULED.items()
    ),
)
"""What the lab's Control-M knows when it starts."""


@dataclass
class Entry:
    """One active folder or job.

    :param variables: those that its definition shows.
    :param told: those that it runs with, its folder's among them.
    """

    id: str
    name: str
    folder: str
    kind: str
    folder_id: str = ""
    status: str = "Wait Condition"
    held: bool = False
    deleted: bool = False
    cyclic: bool = False
    runs: int = 0
    started: str = ""
    ended: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    says: str = ""
    log: list[tuple[str, str, int]] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    forced: int = 0
    slow: float = 0.0
    blocked: bool = False
    purge_at_end: bool = False
    gone: bool = False
    task: asyncio.Task[None] | None = None
    record: LabJob | None = None

    @property
    def over(self) -> bool:
        """It ended."""
        return self.status.startswith("Ended")

    def note(self, message: str, code: int) -> None:
        """Add a line to the log."""
        self.log.append((_clock(), message, code))


class ControlmServer:
    """Active jobs. All methods run in one event loop.

    :ivar hold_on: where an order's hold is put: ``both``, ``folder`` or ``jobs``.
    :ivar variables_on: where an order's variables are put: ``both``, ``folder`` or ``jobs``.
    """

    def __init__(self, user: str) -> None:
        self.user = user
        self.folders = {folder.name: folder for folder in FOLDERS}
        self.active: list[Entry] = []
        self.runs: dict[str, list[str]] = {}
        self.hold_on = self.variables_on = "both"
        self._numbers = 0

    def order(self, asked: Mapping[str, Any], fates: Sequence[Fault]) -> str:
        """Order a folder or jobs of it; return the run's id. :raises OrderRefused: in Control-M's words."""
        folder = self.folders.get(str(asked.get("folder")))
        if str(asked.get("ctm")) != SERVER:
            raise OrderRefused(f"Control-M Server {asked.get('ctm')} was not found")
        if folder is None:
            raise OrderRefused(f"Folder {asked.get('folder')} was not found in Control-M Server {SERVER}")
        wanted = str(asked.get("jobs") or "*")
        jobs = [job for job in folder.jobs if matches(wanted, job.name)]
        if not jobs:
            raise OrderRefused(f"No job matches {wanted} in folder {folder.name}")
        pairs = asked.get("variables") or []
        variables = {str(name).lstrip("%"): str(value) for pair in pairs for name, value in dict(pair).items()}
        hold = str(asked.get("hold", False)).lower() == "true"
        alone = not folder.smart or (wanted != "*" and asked.get("orderIntoFolder") == "Standalone")
        entries: list[Entry] = []
        if not alone:
            top = Entry(self._next_id(), folder.name, "", "Folder")
            top.held = hold and self.hold_on in ("both", "folder")
            top.variables = dict(variables) if self.variables_on in ("both", "folder") else {}
            entries.append(top)
        for job in jobs:
            entry = Entry(self._next_id(), job.name, folder.name, "Command", cyclic=job.cyclic)
            entry.folder_id = entries[0].id if not alone else ""
            entry.held = hold and (alone or self.hold_on in ("both", "jobs"))
            entry.variables = dict(variables) if alone or self.variables_on in ("both", "jobs") else {}
            # A folder's variables are its jobs' too; what differs is where "get" shows them.
            entry.says, entry.after = _resolve(job.says, variables), job.after if wanted == "*" else ()
            entry.told = dict(variables)
            entries.append(entry)
        for entry in entries:
            entry.note(f"ORDERED JOB:{entry.id.partition(':')[2]}; DAILY FORCED, ODATE {_clock('%Y%m%d')}", 5065)
            if entry.held:
                entry.note(f"HELD BY USER {self.user}", 5401)
        main = entries[0] if wanted == "*" else next(entry for entry in entries if entry.kind != "Folder")
        main.record = LabJob(variables.get(KEY_VARIABLE, ""), main.id, main.name, "held" if hold else "waiting")
        main.record.given = {name: value for name, value in variables.items() if not name.startswith("ORCH_")}
        for entry in entries:
            for fate in fates:
                self._give(entry, fate)
        self.active += entries
        run_id = secrets.token_hex(16)
        self.runs[run_id] = [entry.id for entry in entries]
        self.go()
        return run_id

    def entry(self, job_id: str) -> Entry | None:
        """Return an active entry; an id without the server's name will do."""
        full = job_id if ":" in job_id else f"{SERVER}:{job_id}"
        return next((entry for entry in self.active if entry.id == full and not entry.gone), None)

    def hold(self, entry: Entry) -> str:
        """Hold; :raises OrderRefused: when it is held."""
        if entry.held:
            raise OrderRefused(f"Job {entry.id} is already held")
        entry.held = True
        entry.note(f"HELD BY USER {self.user}", 5401)
        self._recount(entry)
        return "held"

    def free(self, entry: Entry) -> str:
        """Free; :raises OrderRefused: when it is not held."""
        if not entry.held or entry.deleted:
            raise OrderRefused(f"Job {entry.id} is not held")
        entry.held = False
        entry.note(f"FREED BY USER {self.user}", 5402)
        self.go()
        self._recount(entry)
        return "freed"

    def kill(self, entry: Entry) -> str:
        """End what runs; :raises OrderRefused: when it does not."""
        if entry.status != "Executing" or entry.task is None:
            raise OrderRefused(f"Job {entry.id} is not executing")
        entry.task.cancel()
        entry.note(f"JOB KILLED BY USER {self.user}", 5119)
        self._end(entry, 9)
        return "killed"

    def delete(self, entry: Entry) -> str:
        """Mark as deleted; :raises OrderRefused: when it is not held, or runs."""
        jobs = self._inside(entry) if entry.kind == "Folder" else [entry]
        if any(job.status == "Executing" for job in jobs):
            raise OrderRefused(f"Job {entry.id} is executing and cannot be deleted")
        if not entry.held:
            raise OrderRefused(f"Job {entry.id} must be held before it is deleted")
        for each in (entry, *self._inside(entry)):
            each.deleted = True
            each.note(f"DELETED BY USER {self.user}", 5404)
            self._recount(each)
        return "deleted"

    def rerun(self, entry: Entry) -> str:
        """Run once more; :raises OrderRefused: when it has not ended."""
        if not entry.over or entry.kind == "Folder":
            raise OrderRefused(f"Job {entry.id} has not ended")
        entry.status, entry.ended, entry.task = "Wait Condition", "", None
        entry.note(f"RERUN BY USER {self.user}", 5116)
        self.go()
        return "rerun"

    def set_to_ok(self, entry: Entry) -> str:
        """Make a failure a success; :raises OrderRefused: when it has not ended."""
        if not entry.over:
            raise OrderRefused(f"Job {entry.id} has not ended")
        entry.status = "Ended OK"
        entry.note(f"SET TO OK BY USER {self.user}", 5408)
        self.go()
        return "set to OK"

    def waits_for(self, entry: Entry) -> list[str]:
        """Return why an entry waits, in Control-M's words."""
        top = self.entry(entry.folder_id) if entry.folder_id else None
        told = [f"Job {entry.id} is held"] if entry.held else []
        told += [f"Folder {top.name} is held"] if top is not None and top.held else []
        told += [f"Waiting for event {name}-OK" for name in self._missing(entry)]
        return told + (["No host is available for the job"] if entry.blocked and not entry.over else [])

    def unblock(self) -> None:
        """Lift the fate ``hold`` from all jobs."""
        for entry in self.active:
            entry.blocked = False
        self.go()

    async def clear(self) -> None:
        """End everything and forget it."""
        tasks = [entry.task for entry in self.active if entry.task is not None and not entry.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.active.clear()
        self.runs.clear()
        self.hold_on = self.variables_on = "both"

    def records(self) -> Iterable[LabJob]:
        """Return what the lab tells of every order."""
        return [entry.record for entry in self.active if entry.record is not None]

    def go(self) -> None:
        """Start what may start."""
        for entry in self.active:
            if entry.kind == "Folder" or entry.task is not None or entry.over or entry.held or entry.deleted:
                continue
            top = self.entry(entry.folder_id) if entry.folder_id else None
            if top is not None and (top.held or top.deleted):
                continue
            if entry.blocked:
                entry.status = "Wait Host"
                continue
            if not self._missing(entry):
                entry.task = asyncio.create_task(self._run(entry))
            if top is not None:
                self._recount(top)
            self._recount(entry)

    async def _run(self, entry: Entry) -> None:
        entry.status, entry.started, entry.runs = "Executing", _clock(), entry.runs + 1
        entry.outputs.append("")
        entry.note(f"SUBMITTED TO {SERVER}", 5105)
        entry.note(f"STARTED AT {entry.started} ON {SERVER}", 5101)
        top = self.entry(entry.folder_id) if entry.folder_id else None
        for each in (entry, top):
            if each is not None:
                each.started = each.started or entry.started
                self._recount(each)
        told = entry.told
        said = [line for line in (entry.says, told.get("SAY", "")) if line]
        # Control-M shows a job's output when the job has ended.
        await asyncio.sleep(entry.slow + float(told.get("SLEEP") or 0))
        entry.outputs[-1] = "".join(f"{line}\n" for line in said)
        self._end(entry, entry.forced or int(told.get("RC") or 0))

    def _end(self, entry: Entry, code: int) -> None:
        entry.ended = _clock()
        entry.status = "Ended OK" if code == 0 else "Ended Not OK"
        entry.note(f"ENDED AT {entry.ended}. OSCOMPSTAT {code}. RUNCNT {entry.runs}", 5100)
        verdict, failures, number = ("OK", 0, 5133) if code == 0 else ("NOTOK", 1, 5134)
        entry.note(f"ENDED {verdict}. NUMBER OF FAILURES SET TO {failures}", number)
        entry.gone = entry.gone or entry.purge_at_end
        self._recount(entry)
        self.go()
        top = next((each for each in self.active if each.id == entry.folder_id), None)
        if top is not None:
            self._recount(top)

    def _recount(self, entry: Entry) -> None:
        """Work a folder's state out from its jobs', and the lab's record from the entry's."""
        if entry.kind == "Folder":
            jobs = self._inside(entry)
            states = {job.status for job in jobs}
            if all(job.over for job in jobs):
                entry.status = "Ended OK" if states == {"Ended OK"} else "Ended Not OK"
            elif any(job.task is not None for job in jobs):
                stuck = not any(job.task is not None and not job.over for job in jobs)
                entry.status = "Ended Not OK" if stuck and "Ended Not OK" in states else "Executing"
            entry.ended = entry.ended or (_clock() if entry.over else "")
            entry.gone = entry.gone or (entry.over and entry.purge_at_end)
        record = entry.record
        if record is None:
            return
        # A job that was started and not yet run a line has run for the record: it can no longer be taken back.
        record.ran = record.ran or bool(entry.started)
        # Control-M's own times are as coarse as seconds, and local ones.
        record.started = record.started or (now() if entry.started else "")
        record.ended = (record.ended or now()) if entry.over or entry.deleted else ""
        top = self.entry(entry.folder_id) if entry.folder_id else None
        if entry.gone:
            record.state = "purged"
        elif entry.over or (entry.deleted and record.ran):
            record.state = "ended"
        elif entry.deleted:
            record.state = "discarded"
        elif entry.status == "Executing":
            record.state = "running"
        else:
            record.state = "held" if entry.held or (top is not None and top.held) else "waiting"
        record.result = entry.status if entry.over else "Deleted" if entry.deleted else ""

    def _inside(self, entry: Entry) -> list[Entry]:
        return [job for job in self.active if job.folder_id == entry.id] if entry.kind == "Folder" else []

    def _missing(self, entry: Entry) -> list[str]:
        """Return the jobs of the same folder that must end OK first and have not."""
        good = {job.name for job in self.active if job.folder_id == entry.folder_id and job.status == "Ended OK"}
        return [name for name in entry.after if name not in good]

    @staticmethod
    def _give(entry: Entry, fate: Fault) -> None:
        """Let a fault of a job come upon an entry."""
        entry.purge_at_end = entry.purge_at_end or fate.do == "purge"
        if entry.kind != "Folder":
            entry.blocked = entry.blocked or fate.do == "hold"
            entry.forced = {"fail": 1, "abend": 139}.get(fate.do, entry.forced)
            entry.slow = fate.seconds if fate.do == "run" else entry.slow

    def _next_id(self) -> str:
        self._numbers += 1
        digits, number = "", self._numbers
        while number:
            number, rest = divmod(number, 36)
            digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
        return f"{SERVER}:{digits.rjust(5, '0')}"


def matches(pattern: str, value: str) -> bool:
    """True where one of comma-separated patterns with ``*`` and ``?`` fits."""
    return any(
        re.fullmatch(re.escape(one.strip()).replace(r"\*", ".*").replace(r"\?", "."), value)
        for one in pattern.split(",")
    )


def _resolve(text: str, variables: Mapping[str, str]) -> str:
    return re.sub(r"%%(\w+)", lambda found: variables.get(found[1], found[0]), text)


def _clock(shape: str = "%Y%m%d%H%M%S") -> str:
    return datetime.now(UTC).strftime(shape)
