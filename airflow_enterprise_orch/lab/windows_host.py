r"""A Windows machine without Windows: files, processes, and the programs that the lab's tasks run.

The programs are the lab's own, and are all that can be run here:

- ``C:\Lab\LabProg.exe RC=12 SAY=... ERR=... SLEEP=1``: says, sleeps, returns;
- ``C:\Lab\Args.exe ...``: writes its arguments and the variables named ``ORCH_*``, one a line;
- ``C:\Lab\Break.exe``: an access violation.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_enterprise_orch.lab import company
from airflow_enterprise_orch.lab.stand_in import Fault, LabJob, now
from airflow_enterprise_orch.lab.windows_scheduler import IGNORE_NEW, Instance, SchedulerError, Task, TaskScheduler

ACCESS_VIOLATION = -1073741819
USER = r"LABWIN\svc-orch"
ROOT = r"C:\ProgramData\EnterpriseOrch\jobs"
PROGRAMS = (r"c:\lab\labprog.exe", r"c:\lab\args.exe", r"c:\lab\break.exe", r"c:\lab\batch.cmd")


@dataclass(eq=False)
class Process:
    """One process of a program."""

    pid: int
    born: str
    killed: asyncio.Event = field(default_factory=asyncio.Event)


class WindowsHost:
    """The machine.

    :ivar files: the files by path.
    :ivar open_files: files that somebody holds open for writing.
    :ivar powershell_loaded: cleared, the action of an own task does not begin yet although its task runs.
    :ivar journal: one entry per job that was handed over or launched, whatever anybody believes.
    """

    def __init__(self) -> None:
        self.scheduler = TaskScheduler()
        self.files: dict[str, bytes] = {}
        self.folders: set[str] = {ROOT}
        self.open_files: set[str] = set()
        self.processes: dict[int, Process] = {}
        self.journal: list[LabJob] = []
        self.fates: dict[str, list[Fault]] = {}
        self.administrator = True
        self.powershell_loaded = asyncio.Event()
        self.powershell_loaded.set()
        self.install()

    def install(self) -> None:
        """Register the tasks that are there from the beginning."""
        self.add_task(r"\Dynamics\ImportOrders", [r"SAY=ORDER $(Arg0) IMPORTED", "RC=0", "SLEEP=0.3"])
        for path, says in company.WINDOWS_TASKS.items():
            self.add_task(path, [says, "RC=0"])

    def add_task(self, path: str, arguments: list[str], policy: int = IGNORE_NEW) -> Task:
        """Register a task that runs LabProg.exe; ``$(Arg0)`` in its arguments is replaced as text."""

        async def action(instance: Instance) -> int:
            told = arguments
            for number, value in enumerate(instance.values):
                told = [argument.replace(f"$(Arg{number})", value) for argument in told]
            self.launched(instance.guid, path, {f"Arg{number}": value for number, value in enumerate(instance.values)})
            for fate in self.fates.pop(path.lower(), []):
                if fate.do == "run":
                    await asyncio.sleep(fate.seconds)
                elif fate.do in ("fail", "abend"):
                    told = ["RC=1"] if fate.do == "fail" else [f"RC={ACCESS_VIOLATION}"]
            _, _, code = await self._program(r"c:\lab\labprog.exe", told, {}, None)
            self._ended(instance.guid, code)
            return code

        task = Task(path, action, policy)
        self.scheduler.register(task)
        return task

    async def clear(self) -> None:
        """End all that runs and set the machine up anew."""
        for process in self.processes.values():
            process.killed.set()
        await self.scheduler.clear()
        self.files.clear()
        self.folders = {ROOT}
        self.open_files.clear()
        self.processes.clear()
        self.journal.clear()
        self.fates.clear()
        self.administrator = True
        self.powershell_loaded.set()
        self.install()

    def reboot(self) -> None:
        """Lose every process and instance; files and the event log stay."""
        self.scheduler.reboot()
        self.processes.clear()
        for job in self.journal:
            if job.state == "running":
                job.state, job.result, job.ended = "ended", "gone with a reboot", now()

    # Files

    def text(self, path: str) -> str | None:
        """Return a file's text."""
        data = self.files.get(path)
        return None if data is None else data.decode()

    def words(self, path: str) -> dict[str, Any] | None:
        """Return a JSON file's content; None when it is not there or not whole."""
        try:
            value = json.loads(self.text(path) or "")
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def create(self, path: str, content: str) -> bool:
        """FileMode.CreateNew; False when the file is there."""
        if path in self.files:
            return False
        self.files[path] = content.encode()
        return True

    def is_folder(self, path: str) -> bool:
        """True for a directory, or where files are below."""
        return path in self.folders or any(name.startswith(path + "\\") for name in self.files)

    def remove(self, path: str) -> None:
        """Delete a directory with all that is in it."""
        self.folders.discard(path)
        for name in [name for name in self.files if name.startswith(path + "\\")]:
            del self.files[name]

    # Programs

    async def run_action(self, directory: str, instance: Instance) -> int:
        """Do what run.ps1 does, in its order."""

        def place(name: str) -> str:
            return f"{directory}\\{name}"

        def leave(ending: str, code: int | None, message: str = "", *, cancelled: bool = False) -> None:
            self.files[place("result.json")] = encoded(
                {"v": 1, "ending": ending, "code": code, "message": message, "cancelled": cancelled, "at": stamp()}
            )

        await self.powershell_loaded.wait()
        boot = self.scheduler.boot.isoformat()
        if not self.create(
            place("started.json"), json.dumps({"v": 1, "at": stamp(), "pid": instance.pid, "boot": boot})
        ):
            return 0
        if place("cancel.json") in self.files:
            leave("cancelled", None, "cancelled before its program began", cancelled=True)
            return 0
        job = self.words(place("job.json")) or {}
        program = str(job["program"]).lower()
        if program not in PROGRAMS:
            leave("rejected", -2147024894, "The system cannot find the file specified")
            return 1
        key = directory.rpartition("\\")[2]
        self.launched(key, key, {"program": str(job["program"]), "command_line": str(job["command_line"])})
        process = Process(self.scheduler.new_pid(), stamp())
        self.processes[process.pid] = process
        self.files[place("process.json")] = encoded({"v": 1, "pid": process.pid, "born": process.born})
        arguments = split_command_line(str(job["command_line"]))
        running = asyncio.create_task(self._fated(key, program, arguments, dict(job["env"]), directory))
        killed = asyncio.create_task(process.killed.wait())
        cancelled = False
        try:
            while not running.done() and not killed.done():
                await asyncio.wait({running, killed}, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
                if place("cancel.json") in self.files and not running.done():
                    cancelled = True
                    process.killed.set()  # taskkill /T /F
                    await killed
        finally:
            killed.cancel()
            running.cancel()
        code = running.result() if running.done() and not running.cancelled() else 1
        self.processes.pop(process.pid, None)
        leave("exit", code, cancelled=cancelled)
        self._ended(key, code)
        return code

    async def _fated(self, key: str, program: str, arguments: list[str], env: Mapping[str, str], directory: str) -> int:
        code: int | None = None
        purge = False
        for fate in self.fates.pop(key, []):
            if fate.do == "run":
                await asyncio.sleep(fate.seconds)
            elif fate.do == "fail":
                self._append(directory, "out.log", "lab: this job was told to fail\r\n")
                code = 1
            elif fate.do == "abend":
                self._append(directory, "out.log", "lab: this job was told to break\r\n")
                code = ACCESS_VIOLATION
            purge = purge or fate.do == "purge"
        if code is None:
            _, _, code = await self._program(program, arguments, env, directory)
        if purge:
            # Right after its end is written down: nobody can ask for its result in between.
            asyncio.get_running_loop().call_later(0.02, self._purge, key, directory)
        return code

    def _purge(self, key: str, directory: str) -> None:
        self.remove(directory)
        self.scheduler.delete(f"\\EnterpriseOrch\\{key}")
        for job in self.journal:
            if job.key == key:
                job.state = "purged"

    async def _program(
        self, program: str, arguments: list[str], env: Mapping[str, str], directory: str | None
    ) -> tuple[str, str, int]:
        """Run one of the lab's programs."""
        if program.endswith("break.exe"):
            return "", "", ACCESS_VIOLATION
        if program.endswith(("args.exe", "batch.cmd")):
            lines = [*arguments, *(f"{name}={value}" for name, value in env.items() if name.startswith("ORCH_"))]
            self._append(directory, "out.log", "".join(f"{json.dumps(line)}\r\n" for line in lines))
            return "", "", 0
        code = 0
        for argument in arguments:
            word, _, value = argument.partition("=")
            if word == "SLEEP":
                await asyncio.sleep(float(value))
            elif word == "RC":
                code = int(value)
            elif word == "SAY":
                self._append(directory, "out.log", value + "\r\n")
            elif word == "ERR":
                self._append(directory, "err.log", value + "\r\n")
            else:
                raise SchedulerError(0x80070057, f"LabProg.exe does not know {argument!r}")
        return "", "", code

    def _append(self, directory: str | None, name: str, text: str) -> None:
        if directory is not None:
            path = f"{directory}\\{name}"
            self.files[path] = self.files.get(path, b"") + text.encode()

    # The independent record

    def handed_over(self, key: str, identifier: str, name: str) -> None:
        """Note a job that was handed over and has not run."""
        self.journal.append(LabJob(key, identifier, name, "held"))

    def launched(self, identifier: str, name: str, given: Mapping[str, str] | None = None) -> None:
        """Note that a program really began: once more for the same job is a second entry."""
        job = next((job for job in self.journal if job.id == identifier), None)
        if job is None or job.ran:
            job = LabJob(job.key if job else "", identifier, name, "running")
            self.journal.append(job)
        job.state, job.ran, job.started = "running", True, now()
        job.given = dict(given or {})

    def _ended(self, identifier: str, code: int) -> None:
        for job in self.journal:
            if job.id == identifier and job.state == "running":
                job.state, job.result, job.ended = "ended", f"exit {code}", now()

    def stopped(self, identifier: str) -> None:
        """Note that somebody ended a run."""
        for job in self.journal:
            if job.id == identifier and job.state in ("running", "held"):
                job.state, job.result, job.ended = "ended", "stopped", now()


def split_command_line(line: str) -> list[str]:
    """Split arguments as CommandLineToArgvW does (Microsoft C++: parsing command-line arguments)."""
    arguments: list[str] = []
    at = 0
    while at < len(line):
        if line[at] in " \t":
            at += 1
            continue
        text, quoted = "", False
        while at < len(line) and (quoted or line[at] not in " \t"):
            if line[at] == "\\":
                end = at
                while end < len(line) and line[end] == "\\":
                    end += 1
                slashes = end - at
                if end < len(line) and line[end] == '"':
                    text += "\\" * (slashes // 2)
                    if slashes % 2:
                        text, end = text + '"', end + 1
                else:
                    text += "\\" * slashes
                at = end
            elif line[at] == '"':
                if quoted and line[at + 1 : at + 2] == '"':
                    text, at = text + '"', at + 1
                else:
                    quoted = not quoted
                at += 1
            else:
                text, at = text + line[at], at + 1
        arguments.append(text)
    return arguments


def stamp() -> str:
    """Return the time as .NET's round-trip format has it, seven digits and all."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


def encoded(value: Mapping[str, Any]) -> bytes:
    """Return a JSON file's content."""
    return json.dumps(value).encode()
