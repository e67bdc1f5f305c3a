"""The world that is struck: PostgreSQL, the lab, and Airflow with two triggerers; whatever dies is started again."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from airflow_enterprise_orch.demo.airflow import LocalAirflow
from airflow_enterprise_orch.demo.lab import LabProcess
from airflow_enterprise_orch.demo.processes import ProcessGroup
from airflow_enterprise_orch.demo.run import template_bundle

from . import streams
from .database import PostgresServer
from .plan import How, Strike, Victim

MUTATIONS = Path(__file__).parent / "mutations"
FAST_RECOVERY = {
    # Whoever is silent for this long is taken for dead. Shorter than a pause, so that what is paused is replaced and
    # wakes up as a zombie.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "45",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    # What Airflow itself waits before it tries again; the package's own delays stay as they are.
    "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "3",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "120",
}
STOP_TIME = 300.0
"""Seconds for a scheduler to end its tasks and itself; on a crowded machine that takes minutes."""
SEEN_WITHIN = 15.0
"""Seconds in which a task must turn up to be struck; without one the strike is noted as a miss and comes again."""
SUPERVISOR = "airflow worker -- LocalExecutor:"
IDLE = "<idle>"


@dataclass(frozen=True, slots=True)
class Struck:
    """A strike that was carried out, or that met nobody.

    :param whom: process and pid; "" when there was nobody.
    """

    strike: Strike
    at: float
    whom: str


class World:
    """All processes of a run; a context manager.

    :param mutation: a name from ``mutations/sitecustomize.py``: breaks the package in Airflow's processes.
    :ivar struck: what was done.
    :ivar collateral: how often a component ended by itself and was started again: the scheduler without a database.
    """

    def __init__(self, home: Path, mutation: str = "") -> None:
        self.home = home
        self.database = PostgresServer()
        self._lab_processes = ProcessGroup(home / "process-logs")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        self.lab = LabProcess(self._lab_processes, clean)
        self._mutation = mutation
        self.struck: list[Struck] = []
        self.collateral: Counter[str] = Counter()
        self._due: dict[str, float] = {}
        self._paused: list[tuple[float, list[psutil.Process]]] = []
        self._leftovers: set[psutil.Process] = set()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.database)
            stack.callback(self._lab_processes.stop)
            self.lab.start()
            settings = dict(FAST_RECOVERY)
            if self._mutation:
                path = os.pathsep.join(filter(None, [str(MUTATIONS), os.environ.get("PYTHONPATH", "")]))
                settings |= {"PYTHONPATH": path, "KILLS_MUTATION": self._mutation}
            self.airflow = LocalAirflow(
                self.home / "airflow",
                bundles=[template_bundle(streams.write(self.home / "templates"))],
                connections={name: self.lab.connection(stand_in) for name, stand_in in streams.CONNECTIONS.items()},
                database=self.database.url,
                settings=settings,
                triggerers=2,
            )
            stack.enter_context(self.airflow)
            stack.callback(self._end_leftovers)
            stack.callback(self._wake, everybody=True)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # What happens by itself.

    def tend(self) -> None:
        """Start what is down and due, wake what was paused long enough, clear away what is left over."""
        now = time.monotonic()
        self._wake()
        if not self.database.running and now >= self._due.setdefault("database", now):
            # A server whose last processes are not gone yet refuses to start, and is started again.
            self.database.start()
            self._due["database"] = now + 1.0
        for name, process in list(self.airflow.processes.running.items()):
            if process.poll() is None:
                continue
            if name not in self._due:
                self.collateral[name] += 1
                self._due[name] = now + 1.0
            if now >= self._due[name]:
                del self._due[name]
                self.airflow.launch(name)
        self._lab_processes.check()
        for process in list(self._leftovers):
            if not process.is_running() or _title(process).endswith(IDLE):
                _kill([process])
                self._leftovers.discard(process)

    @property
    def whole(self) -> bool:
        """Everything runs, nothing is paused."""
        running = all(process.poll() is None for process in self.airflow.processes.running.values())
        return running and self.database.running and not self._paused

    def restart_scheduler(self) -> None:
        """Do what an operator does about steps that stay queued.

        Airflow 3.3's LocalExecutor forgets what it had handed to a process of its own that was killed before it began,
        and it cannot be told to take a queued task back (it has no ``revoke_task``): only a new scheduler finds it.
        """
        process = self.airflow.processes.running["scheduler"]
        process.terminate()
        process.wait(STOP_TIME)
        self._due["scheduler"] = time.monotonic()

    # What is done to it.

    def strike(self, strike: Strike) -> bool:
        """Carry out one strike; return whether it met somebody."""
        if strike.victim is Victim.DATABASE:
            whom = self._strike_database(strike)
        elif strike.victim in (Victim.TASK, Victim.WORKER):
            whom = self._strike_worker(strike)
        else:
            whom = self._strike_component(strike)
        self.struck.append(Struck(strike, time.monotonic(), whom))
        return bool(whom)

    def _strike_database(self, strike: Strike) -> str:
        if not self.database.running:
            return ""
        self._due["database"] = time.monotonic() + strike.down
        if strike.how is How.STOP:
            self.database.stop_at_once()
        else:
            self.database.kill()
        return "database"

    def _strike_component(self, strike: Strike) -> str:
        names = [name for name in self.airflow.commands if name.rstrip("-0123456789") == strike.victim.value]
        alive = [name for name in names if self.airflow.processes.running[name].poll() is None]
        if not alive:
            return ""
        name = alive[int(strike.pick * len(alive))]
        process = self.airflow.processes.running[name]
        below = _children(process.pid)
        if strike.how is How.PAUSE:
            self._pause([psutil.Process(process.pid), *below], strike.down)
            return f"{name} {process.pid}"
        self._due[name] = time.monotonic() + strike.down
        process.kill()
        process.wait()
        if strike.how is How.KILL_ALL:
            _kill(below)
        else:
            self._leftovers |= set(below)
        return f"{name} {process.pid}"

    def _strike_worker(self, strike: Strike) -> str:
        """Strike a task at work, with or without the supervisor that started it."""

        def at_work() -> tuple[psutil.Process, psutil.Process] | None:
            scheduler = self.airflow.processes.running["scheduler"]
            everybody = [*_children(scheduler.pid), *self._leftovers]
            pairs = [
                (one, child)
                for one in everybody
                if _title(one).startswith(SUPERVISOR) and not _title(one).endswith(IDLE)
                for child in _children(one.pid)
            ]
            return pairs[int(strike.pick * len(pairs))] if pairs else None

        deadline = time.monotonic() + SEEN_WITHIN
        while (found := self._until(at_work, deadline)) is not None:
            supervisor, task = found
            time.sleep(strike.delay)
            if not (task.is_running() and task.status() != psutil.STATUS_ZOMBIE):
                continue
            title = _title(task)
            if strike.how is How.PAUSE:
                self._pause([supervisor, task], strike.down)
            elif strike.victim is Victim.TASK:
                _kill([task])
            elif strike.how is How.KILL_ALL:
                _kill([supervisor, task])
            else:
                self._leftovers.add(task)
                _kill([supervisor])
            return f"{title.removeprefix('airflow worker -- ')} {task.pid}"
        return ""

    def _until(
        self, look: Callable[[], tuple[psutil.Process, psutil.Process] | None], deadline: float
    ) -> tuple[psutil.Process, psutil.Process] | None:
        while time.monotonic() < deadline:
            try:
                if (found := look()) is not None:
                    return found
            except psutil.NoSuchProcess:
                continue  # it ended while we looked
            self.tend()
            time.sleep(0.1)
        return None

    # Small things.

    def _pause(self, processes: list[psutil.Process], seconds: float) -> None:
        _signal(processes, signal.SIGSTOP)
        self._paused.append((time.monotonic() + seconds, processes))

    def _wake(self, *, everybody: bool = False) -> None:
        for entry in list(self._paused):
            until, processes = entry
            if everybody or time.monotonic() >= until:
                self._paused.remove(entry)
                _signal(processes, signal.SIGCONT)

    def _end_leftovers(self) -> None:
        _kill(self._leftovers)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _title(process: psutil.Process) -> str:
    """Return what ``ps`` shows, "" for a process that has ended."""
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def _signal(processes: Iterable[psutil.Process], number: int) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue  # it ended by itself: as good


def _kill(processes: Iterable[psutil.Process]) -> None:
    """Kill, and reap those that became our children when their parents died."""
    chosen = list(processes)
    _signal(chosen, signal.SIGKILL)
    psutil.wait_procs(chosen, timeout=5)
