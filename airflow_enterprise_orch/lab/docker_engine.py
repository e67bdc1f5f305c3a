"""The engine behind :mod:`.docker`: containers that are local processes, their logs, their health, and volumes.

True to moby where a client can see it: states and exit codes (128 plus the signal; 127 and an error where the program
is not there), a name that exists once, a start that runs an ended container again, time stamps with nanoseconds. Not an
isolation: a process sees this machine's files and network, as the user who started the lab.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_enterprise_orch.lab import processes
from airflow_enterprise_orch.lab.stand_in import Fault, LabJob, now

MARK = "ENTERPRISE_ORCH_LAB_CONTAINER"
NEVER = "0001-01-01T00:00:00Z"
KEY_LABEL, REMOVES_LABEL = "orch.key", "orch.removes"
REMOVAL = "removal"
LATE_NEWS = 0.3
"""Seconds from the end of a container until the engine says that its memory was the reason."""


class NameTaken(Exception):
    """A container of that name exists; ``str()`` is its id."""


class StartFailed(Exception):
    """The program cannot be run; ``str()`` says why, in the engine's words."""


@dataclass
class LabContainer:
    """One container.

    :param body: what the create request said.
    :param log: stream, time stamp and bytes of every entry.
    :param healthy_at: when its health check first passed.
    """

    id: str
    name: str
    body: Mapping[str, Any]
    fates: Sequence[Fault]
    record: LabJob
    created: str
    state: str = "created"
    exit_code: int = 0
    error: str = ""
    out_of_memory: bool = False
    started: str = NEVER
    finished: str = NEVER
    health: str = ""
    healthy_at: str = ""
    log: list[tuple[int, str, bytes]] = field(default_factory=list)
    process: asyncio.subprocess.Process | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self.body.get("Labels") or {})

    @property
    def host(self) -> Mapping[str, Any]:
        """Its ``HostConfig``."""
        found: Mapping[str, Any] = self.body.get("HostConfig") or {}
        return found

    @property
    def argv(self) -> list[str]:
        """Program and arguments."""
        words: list[str] = []
        for name in ("Entrypoint", "Cmd"):
            value = self.body.get(name) or []
            words += [value] if isinstance(value, str) else [str(word) for word in value]
        return words

    def note_out_of_memory(self) -> None:
        """Take down that the kernel killed it for its memory limit, if it has one."""
        self.out_of_memory = bool(self.host.get("Memory"))


class LabEngine:
    """All containers and volumes of one stand-in.

    :ivar records: one entry per start, one per container that was never started, and one per removal that was asked for
        (a volume that says so is its record, see :mod:`airflow_enterprise_orch.systems.container.engine`).
    :ivar accepts_starts: False lets a start's effect wait until it is True again, as a stuck runtime does.
    """

    def __init__(self) -> None:
        self.containers: dict[str, LabContainer] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.records: list[LabJob] = []
        self.scratch = Path()
        self.accepts_starts = asyncio.Event()
        self.accepts_starts.set()
        self._mark = secrets.token_hex(16)

    def find(self, reference: str) -> LabContainer | None:
        """Return a container by name, id or the beginning of its id."""
        named = reference.lstrip("/")
        for container in self.containers.values():
            if container.name == named or container.id == named:
                return container
        close = [container for container in self.containers.values() if named and container.id.startswith(named)]
        return close[0] if len(close) == 1 else None

    def create(self, name: str, body: Mapping[str, Any], fates: Sequence[Fault]) -> LabContainer:
        """Make a container that does not run; :raises NameTaken:."""
        name = name or f"lab_{secrets.token_hex(4)}"
        for other in self.containers.values():
            if other.name == name:
                raise NameTaken(other.id)
        identifier = secrets.token_hex(32)
        key = str((body.get("Labels") or {}).get(KEY_LABEL) or "")
        given = dict(str(word).partition("=")[::2] for word in body.get("Env") or [])
        record = LabJob(key, identifier[:12], name, "waiting", given={"image": str(body.get("Image") or ""), **given})
        self.records.append(record)
        container = LabContainer(identifier, name, body, fates, record, created=stamp())
        self.containers[identifier] = container
        return container

    async def start(self, container: LabContainer) -> bool:
        """Run it; return False when it runs already. A container that has ended runs once more, as moby's does."""
        await self.accepts_starts.wait()
        if container.state in ("running", "paused"):
            return False
        if container.record.ran:
            before = container.record
            container.record = LabJob(before.key, before.id, container.name, "waiting", given=dict(before.given))
            self.records.append(container.record)
        argv = _told(container)
        program = shutil.which(argv[0]) if argv else None
        if program is None:
            container.exit_code = 127
            container.error = f'exec: "{argv[0] if argv else ""}": executable file not found in $PATH: unknown'
            raise StartFailed(container.error)
        directory = self.scratch / container.id
        directory.mkdir(exist_ok=True)
        own = dict(word.partition("=")[::2] for word in container.body.get("Env") or [])
        container.process = await asyncio.create_subprocess_exec(
            program,
            *argv[1:],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=directory,
            env={
                "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                "HOSTNAME": container.id[:12],
                **own,
                MARK: self._mark,
            },
            start_new_session=True,
            limit=1 << 20,
        )
        container.state, container.error, container.exit_code = "running", "", 0
        container.started, container.ended = stamp(), asyncio.Event()
        container.record.state, container.record.ran, container.record.started = "running", True, now()
        container.tasks = [asyncio.create_task(self._watch(container, container.process))]
        if (test := (container.body.get("Healthcheck") or {}).get("Test")) and test[0] != "NONE":
            container.health = "starting"
            container.tasks.append(asyncio.create_task(self._check_health(container, list(test))))
        return True

    async def stop(self, container: LabContainer, grace: float) -> None:
        """TERM, and KILL after ``grace`` seconds; return when it has ended."""
        self.signal(container, signal.SIGTERM)
        try:
            await asyncio.wait_for(container.ended.wait(), grace)
        except TimeoutError:
            self.signal(container, signal.SIGKILL)
            await container.ended.wait()

    def signal(self, container: LabContainer, number: int) -> None:
        """Send a signal to all of its processes."""
        if container.process is not None and container.state == "running":
            try:
                os.killpg(container.process.pid, number)
            except ProcessLookupError:
                return  # it ended this very moment; its watcher writes that down

    def remove(self, container: LabContainer, state: str = "discarded") -> None:
        """Forget it. Its record stays."""
        self.containers.pop(container.id, None)
        for removal in self.records:
            if removal.name == REMOVAL and removal.id == container.id[:12] and not removal.ran:
                _removed(removal)
        if container.record.state in ("waiting", "ended"):
            container.record.state = state if not container.record.ran else "purged"
        shutil.rmtree(self.scratch / container.id, ignore_errors=True)

    def volume(self, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
        """Make a volume, or return the one of that name as it is (moby does the same)."""
        if labels.get(REMOVES_LABEL) and name not in self.volumes:
            removal = LabJob(str(labels.get(KEY_LABEL) or ""), labels[REMOVES_LABEL][:12], REMOVAL, "waiting")
            self.records.append(removal)
            if self.find(labels[REMOVES_LABEL]) is None:
                _removed(removal)  # there is nothing left to do
        made = {"Name": name, "Driver": "local", "Labels": dict(labels), "Mountpoint": f"/{name}", "Scope": "local"}
        return self.volumes.setdefault(name, {**made, "CreatedAt": stamp(), "Options": {}})

    async def clear(self) -> None:
        """End and forget everything."""
        self.accepts_starts.set()
        await processes.end_marked(f"{MARK}={self._mark}")
        for container in list(self.containers.values()):
            for task in container.tasks:
                task.cancel()
            if container.tasks:
                await asyncio.wait(container.tasks)
            shutil.rmtree(self.scratch / container.id, ignore_errors=True)
        self.containers.clear()
        self.volumes.clear()
        self.records.clear()

    async def _watch(self, container: LabContainer, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101  both are pipes
        assert process.stderr is not None  # noqa: S101
        for fate in container.fates:
            if fate.do == "abend":
                os.killpg(process.pid, signal.SIGKILL)
                # As of a real engine: the kernel's news may come after the container's end.
                asyncio.get_running_loop().call_later(LATE_NEWS, container.note_out_of_memory)
        await asyncio.gather(_copy(container, 1, process.stdout), _copy(container, 2, process.stderr))
        status = await process.wait()
        container.exit_code = 128 - status if status < 0 else status
        container.state, container.finished = "exited", stamp()
        container.health = "unhealthy" if container.health else ""
        record = container.record
        record.state, record.ended = "ended", now()
        record.result = f"signal {-status}" if status < 0 else f"exit {status}"
        container.ended.set()
        if any(fate.do == "purge" for fate in container.fates) or container.host.get("AutoRemove"):
            self.remove(container)

    async def _check_health(self, container: LabContainer, test: list[str]) -> None:
        check = container.body["Healthcheck"]
        argv = ["/bin/sh", "-c", test[1]] if test[0] == "CMD-SHELL" else test[1:]
        failures, second = 0, 1e9
        while container.state == "running":
            await asyncio.sleep(max((check.get("Interval") or 30 * second) / second, 0.05))
            if container.state != "running":
                return
            probe = await asyncio.create_subprocess_exec(
                *argv,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                cwd=self.scratch / container.id,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), MARK: self._mark},
            )
            good = await probe.wait() == 0
            failures = 0 if good else failures + 1
            if container.state == "running" and good:
                container.health, container.healthy_at = "healthy", container.healthy_at or now()
            elif container.state == "running" and failures >= (check.get("Retries") or 3):
                container.health = "unhealthy"


async def _copy(container: LabContainer, stream: int, source: asyncio.StreamReader) -> None:
    while line := await source.readline():
        for start in range(0, len(line), 16384):  # moby's copier cuts longer lines
            container.log.append((stream, stamp(), line[start : start + 16384]))


def _removed(removal: LabJob) -> None:
    removal.state, removal.ran, removal.result = "ended", True, "removed"
    removal.started = removal.ended = now()


def _told(container: LabContainer) -> list[str]:
    """Return what is run: the container's own words, or what its fate says."""
    argv = container.argv
    for fate in container.fates:
        if fate.do == "fail":
            argv = ["/bin/sh", "-c", "echo 'lab: this container was told to fail'; exit 1"]
        if fate.do == "run":
            argv = ["/bin/sh", "-c", 'sleep "$0"; exec "$@"', str(fate.seconds), *argv]
    return argv


def stamp() -> str:
    """Return the time as the engine writes it: RFC 3339 with nanoseconds."""
    nanoseconds = time.time_ns()
    moment = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 1_000_000_000:09d}Z"
