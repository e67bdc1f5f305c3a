"""A Windows Task Scheduler with its instances, policies and event log, as far as an outsider can see them.

What is reproduced: an instance has a GUID of its own; MultipleInstances decides what a second start does; anybody may
start a task, and overwrites its last result; the log records one run as 129, 100, 200, 110, 201, 102 and says
"successfully finished" (102) whatever the program returned; the log is off until somebody switches it on, forgets its
oldest records when it is full, and can be cleared; a reboot ends instances without a word.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from itertools import count

PARALLEL, QUEUE, IGNORE_NEW, STOP_EXISTING = 0, 1, 2, 3
"""TASK_INSTANCES_POLICY."""
HAS_NOT_RUN, IS_RUNNING, TERMINATED = 0x41303, 0x41301, 0x41306
DISABLED, ALREADY_RUNNING = 0x80041326, 0x8004131F

Action = Callable[["Instance"], Awaitable[int]]


class State(IntEnum):
    """TASK_STATE."""

    DISABLED = 1
    QUEUED = 2
    READY = 3
    RUNNING = 4


class SchedulerError(Exception):
    """A COM error with its HRESULT."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Event:
    """One record of the operational log."""

    id: int
    record: int
    at: datetime
    task: str
    activity: str = ""
    instance: str = ""
    user: str = ""
    code: int | None = None


class EventLog:
    """Microsoft-Windows-TaskScheduler/Operational.

    :param capacity: how many records it holds before it forgets the oldest.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self.enabled = True
        self.capacity = capacity
        self.records: list[Event] = []
        self._numbers = count(1)

    def write(
        self, event: int, task: str, guid: str = "", *, names: bool = False, user: str = "", code: int | None = None
    ) -> None:
        """Write a record.

        :param guid: the activity; 129 has none.
        :param names: the record's own data carry the instance, too (100, 102, 110, 200, 201).
        """
        if not self.enabled:
            return
        record = Event(event, next(self._numbers), datetime.now(UTC), task, guid, guid if names else "", user, code)
        self.records.append(record)
        del self.records[: -self.capacity]

    def clear(self) -> None:
        """Forget all records, as an administrator can."""
        self.records.clear()

    @property
    def oldest(self) -> int | None:
        """The number of the oldest record."""
        return self.records[0].record if self.records else None

    @property
    def newest(self) -> int | None:
        """The number of the newest record."""
        return self.records[-1].record if self.records else None


@dataclass(eq=False)
class Task:
    """One registered task.

    :param action: what it runs; returns the exit code.
    :param starts: how often its action really began.
    """

    path: str
    action: Action
    policy: int = IGNORE_NEW
    enabled: bool = True
    allow_demand: bool = True
    account: str = ""
    last_result: int = HAS_NOT_RUN
    starts: int = 0
    instances: list[Instance] = field(default_factory=list)

    @property
    def state(self) -> State:
        """Return what IRegisteredTask.State says."""
        states = [instance.state for instance in self.instances]
        if State.RUNNING in states:
            return State.RUNNING
        if State.QUEUED in states:
            return State.QUEUED
        return State.READY if self.enabled else State.DISABLED


@dataclass(eq=False)
class Instance:
    """One run of a task."""

    guid: str
    task: Task
    user: str
    values: tuple[str, ...]
    pid: int
    state: State = State.QUEUED
    runner: asyncio.Task[None] | None = None


class TaskScheduler:
    """The service.

    :ivar boot: when the machine was booted.
    :ivar names_the_running_one: what a start returns that the policy ignores is not documented: the instance that runs
        already, instead of an error.
    :ivar before_run: called once, at the very moment of the next start: somebody else's chance to be faster.
    """

    def __init__(self) -> None:
        self.names_the_running_one = False
        self.before_run: Callable[[], object] | None = None
        self.log = EventLog()
        self.tasks: dict[str, Task] = {}
        self.boot = datetime.now(UTC) - timedelta(days=3)
        self._pids = count(4100, 4)

    def register(self, task: Task) -> None:
        """TASK_CREATE; :raises SchedulerError: when the name is there."""
        if task.path.lower() in self.tasks:
            raise SchedulerError(0x800700B7, "Cannot create a file when that file already exists.")
        self.tasks[task.path.lower()] = task
        self.log.write(106, task.path)

    def task(self, path: str) -> Task:
        """Return a task; :raises SchedulerError: when there is none."""
        found = self.tasks.get(path.lower())
        if found is None:
            raise SchedulerError(0x80070002, "The system cannot find the file specified.")
        return found

    def delete(self, path: str) -> None:
        """Delete a task; what runs goes on."""
        self.tasks.pop(path.lower(), None)

    def running(self) -> list[Instance]:
        """Return what GetRunningTasks returns to an administrator."""
        return [instance for task in self.tasks.values() for instance in task.instances]

    def new_pid(self) -> int:
        """Return a process number that nobody has."""
        return next(self._pids)

    def run(self, task: Task, user: str, values: tuple[str, ...] = ()) -> Instance | None:
        """Start a task as RunEx does; None where it silently does nothing.

        :raises SchedulerError: disabled, or an instance runs and the policy ignores a new one.
        """
        if not task.enabled:
            raise SchedulerError(DISABLED, "The task is disabled.")
        if not task.allow_demand:
            return None
        others, self.before_run = self.before_run, None
        if others is not None:
            others()
        guid = str(uuid.uuid4())
        if task.instances and task.policy == IGNORE_NEW:
            self.log.write(322, task.path, task.instances[0].guid)
            if self.names_the_running_one:
                return task.instances[0]
            raise SchedulerError(ALREADY_RUNNING, "An instance of this task is already running.")
        if task.policy == STOP_EXISTING:
            for other in list(task.instances):
                self.stop(other)
        instance = Instance(guid, task, user, values, self.new_pid())
        waits = bool(task.instances) and task.policy == QUEUE
        task.instances.append(instance)
        if waits:
            self.log.write(110, task.path, guid, names=True, user=user)
            self.log.write(324, task.path, guid)
        else:
            self._begin(instance)
        return instance

    def stop(self, instance: Instance, user: str = "") -> None:
        """End one instance, as IRunningTask.Stop does."""
        if instance.runner is not None:
            instance.runner.cancel()
        self._remove(instance)
        instance.task.last_result = TERMINATED
        self.log.write(111, instance.task.path, instance.guid, user=user)
        self._next(instance.task)

    def reboot(self) -> None:
        """Lose all that runs without a word."""
        for instance in self.running():
            if instance.runner is not None:
                instance.runner.cancel()
            instance.task.instances.clear()
        self.boot = max(self.boot, datetime.now(UTC)) + timedelta(hours=1)

    async def clear(self) -> None:
        """End all that runs and forget all."""
        runners = [instance.runner for instance in self.running() if instance.runner is not None]
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)
        self.tasks.clear()
        self.log = EventLog()
        self.boot = datetime.now(UTC) - timedelta(days=3)

    def _begin(self, instance: Instance) -> None:
        task = instance.task
        instance.state = State.RUNNING
        task.starts += 1
        task.last_result = IS_RUNNING
        self.log.write(129, task.path)
        self.log.write(100, task.path, instance.guid, names=True, user=task.account or instance.user)
        self.log.write(200, task.path, instance.guid, names=True)
        self.log.write(110, task.path, instance.guid, names=True, user=instance.user)
        instance.runner = asyncio.create_task(self._run(instance))

    async def _run(self, instance: Instance) -> None:
        task = instance.task
        try:
            code = await task.action(instance)
        except SchedulerError as error:
            self._remove(instance)
            task.last_result = error.code
            self.log.write(203, task.path, instance.guid, code=error.code)
            self.log.write(103, task.path, instance.guid, code=error.code)
        else:
            self._remove(instance)
            task.last_result = code & 0xFFFFFFFF
            self.log.write(201, task.path, instance.guid, names=True, code=as_hresult(code))
            self.log.write(102, task.path, instance.guid, names=True, user=task.account or instance.user)
        self._next(task)

    def _remove(self, instance: Instance) -> None:
        if instance in instance.task.instances:
            instance.task.instances.remove(instance)

    def _next(self, task: Task) -> None:
        waiting = [instance for instance in task.instances if instance.state is State.QUEUED]
        if waiting and task.state is not State.RUNNING:
            self._begin(waiting[0])


def as_hresult(code: int) -> int:
    """HRESULT_FROM_WIN32: what record 201 makes of an exit code."""
    number = code & 0xFFFFFFFF
    return number if number == 0 or number & 0x80000000 else (number & 0xFFFF) | 0x80070000
