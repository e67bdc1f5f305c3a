"""The protocol that a remote system implements, and the registry that finds the systems.

A system is a folder with the same rooms as the others and one line in the entry-point group
``airflow_enterprise_orch.systems``, which names a :class:`SystemRegistration`. The registration imports no client:
dotted paths are resolved when a step is used.
"""

from __future__ import annotations

import difflib
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol, cast

from airflow_enterprise_orch.errors import OrchestrationError

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.job import JobHandle, JobResult, JobStatus, Output
    from airflow_enterprise_orch.delegation.work import Work

log = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "airflow_enterprise_orch.systems"


class Protection(StrEnum):
    """How a system's submit is protected against running twice."""

    ATOMIC = "atomic"
    """The key is a name that can exist once; a second submit adopts the first's job."""
    TWO_PHASE = "two_phase"
    """Submit creates the job held; exactly one of those that carry the key is released, the others are discarded."""
    UNPROTECTED = "unprotected"
    """Neither: unanswered and not found means park and ask, never submit again."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a system can do, declared; the core asks for nothing else.

    :param settle: how long after sending a request may still appear on the system's side. Absence proves nothing
        before that.
    :param remembers: for how long at least a job that has run can still be found. A key that is absent later proves
        nothing any more.
    :param batch: how many jobs one poll may ask for.
    :param hold: ``hold`` and ``release`` work on a job that was handed over.
    :param restart: ``restart`` works.
    """

    protection: Protection
    settle: timedelta = timedelta(seconds=10)
    remembers: timedelta = timedelta(days=1)
    batch: int = 1000
    hold: bool = False
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """One remote job that carries our key.

    :param held: it was created held and nobody has released it.
    :param order: sorts candidates from oldest to youngest, the same for every reader.
    """

    handle: JobHandle
    held: bool
    order: str


@dataclass(frozen=True, slots=True)
class Found:
    """The key is on these jobs; never empty. Only a two-phase system can have more than one."""

    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """The system would know, and no job carries the key."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The system cannot tell.

    :param reason: why, for the person who is asked.
    """

    reason: str


Sighting = Found | Absent | Unknown


class RemoteSystem(Protocol):
    """One remote system, seen through one Airflow connection. Async, batch-first.

    Every method may raise ``ConnectionProblem`` and ``SystemUnreachable`` (nothing was handed over). Methods that
    change
    something raise ``AnswerLost`` when the request may have taken effect, and ``RequestRejected`` when the system said
    no. No method repeats a changing request by itself.
    """

    @property
    def identity(self) -> str:
        """Which system this is, e.g. ``zosmf://host:443``: changes when the connection points elsewhere. No secret."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this system can do."""
        ...

    async def find(self, key: str) -> Sighting:
        """Look for jobs that carry ``key``."""
        ...

    async def identify(self, job_id: str, key: str) -> JobHandle:
        """Return the handle of the job that a person named, for the attempt ``key``.

        :raises RequestRejected: when the system has no such job.
        """
        ...

    async def submit(self, work: Work, key: str) -> JobHandle:
        """Hand ``work`` over with ``key`` on it.

        Two-phase: created held. Atomic: where the key exists already, return the handle of the job that has it.
        """
        ...

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """Return the state of many jobs, by key, in as few calls as the protocol allows.

        A job that is not in the answer is not known *this time*; ``Phase.MISSING`` is said only after asking for
        that very job.
        """
        ...

    async def cancel(self, handle: JobHandle) -> None:
        """Ask for the job's end. Idempotent; confirmed by polling, never by this answer."""
        ...

    async def hold(self, handle: JobHandle) -> None:
        """Hold a job that has not started."""
        ...

    async def release(self, handle: JobHandle) -> None:
        """Release a held job. Idempotent; confirmed by polling."""
        ...

    async def discard(self, handle: JobHandle) -> None:
        """Remove a held job that never ran (two-phase only). Idempotent."""
        ...

    async def result(self, handle: JobHandle) -> JobResult:
        """Return the final result of an ended or missing job; ``Ending.UNKNOWN`` where nobody can tell."""
        ...

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        """Return the job's main log from ``cursor``, at most ``limit`` bytes."""
        ...

    async def read_tail(self, handle: JobHandle, *, lines: int = 20) -> str:
        """Return the last lines of the log that tells why the job failed; "" when there is none any more."""
        ...

    async def read_source(self, handle: JobHandle, source: str) -> str:
        """Return the whole text of one output source that the step's ``outputs`` name (a DD name, ``log``)."""
        ...

    async def restart(self, handle: JobHandle, at_step: str, key: str) -> JobHandle:
        """Start the job again at one of its steps, as a new job that carries ``key``."""
        ...


class OpenSystem(Protocol):
    """What ``SystemRegistration.opener`` names: reads the Airflow connection, opens the client, closes it after."""

    def __call__(self, connection_id: str) -> AbstractAsyncContextManager[RemoteSystem]:
        """:raises ConnectionProblem: when the connection cannot serve."""
        ...


class ConnectionTester(Protocol):
    """What ``SystemRegistration.tester`` names: logs in and looks, as the system's steps will."""

    async def __call__(self, connection_id: str) -> tuple[bool, str]:
        """Return whether the connection serves, and in words what is wrong with it."""
        ...


@dataclass(frozen=True, slots=True)
class StepType:
    """One kind of step that a template author can write.

    :param name: as in YAML: ``mainframe.job``.
    :param title: for people: ``Mainframe job``.
    :param work: dotted path ``module:Class`` of the pydantic model of the step (a :class:`~.work.Work`).
    :param operator: dotted path of the operator (a ``DelegateOperator``).
    :param output_key: the YAML key that names an output's source: ``spool``, ``log``.
    :param facts: what conditions can read of every such step beside its outputs; name to CEL type
        (``int``, ``string``, ``bool``, ``double``).
    :param example: ``package:file`` of a whole template that shows the step, for the reference: a file of the package
        that brings the step type. "" gives a page without one. More of them, and what they use, lie in a folder beside
        it that has its name without ``.yaml``.
    :param holds: its jobs can be held after they were handed over, while they have not started.
    """

    name: str
    title: str
    work: str
    operator: str
    output_key: str
    facts: Mapping[str, str] = field(
        default_factory=lambda: {"rc": "int", "code": "string", "job_id": "string", "outcome": "string"}
    )
    example: str = ""
    holds: bool = False

    def work_model(self) -> type[Work]:
        """Return the step's model."""
        return cast("type[Work]", resolve(self.work))

    def examples(self) -> dict[str, str]:
        """Return the templates that show the step, and the files beside them: path to text, the main one first."""
        package, _, name = self.example.partition(":")
        return example_files(package, name) if package else {}

    def operator_class(self) -> type[Any]:
        """Return the step's operator."""
        return cast("type[Any]", resolve(self.operator))


def example_files(package: str, name: str) -> dict[str, str]:
    """Return an example of a package and what lies in the folder of its name: path to text.

    :param name: the example's path in the package; it may be missing where its folder is there.
    """
    from importlib.resources import files  # only the reference reads it, and a task's start should not pay for it

    main = files(package).joinpath(name)
    found = {main.name: main.read_text("utf-8")} if main.is_file() else {}
    folder = files(package).joinpath(name.removesuffix(".yaml"))
    waiting = [(f"{entry.name}", entry) for entry in (folder.iterdir() if folder.is_dir() else ())]
    more = {}
    while waiting:
        path, entry = waiting.pop()
        if entry.is_dir():
            waiting += [(f"{path}/{one.name}", one) for one in entry.iterdir()]
        else:
            more[path] = entry.read_text("utf-8")
    return {**found, **dict(sorted(more.items()))}


@dataclass(frozen=True, slots=True)
class SystemRegistration:
    """One system as the registry knows it.

    :param name: the folder's name: ``mainframe``.
    :param stack: the technology stack in executive words: ``Mainframe``.
    :param connection_type: Airflow's connection type, the usual one where there are several.
    :param opener: dotted path ``module:callable`` of an :class:`OpenSystem`.
    :param steps: the step types that it brings.
    :param clients: the heavy modules that the opener imports when it is used; a process that forks the processes of
        tasks imports them once for all. They must start no thread when they are imported.
    :param other_connection_types: further connection types that the opener takes.
    :param tester: dotted path ``module:callable`` of a :class:`ConnectionTester`; "" where the connection types are the
        system's own, whose hook says as much in its ``test_connection``.
    :param arrivals: the step type that waits for files, where the system can also be looked at for files that arrive
        (:class:`~.arrivals.SeesArrivals`): its ``folder``, ``pattern``, ``stable`` and ``marker`` say where and which.
    """

    name: str
    stack: str
    connection_type: str
    opener: str
    steps: tuple[StepType, ...]
    clients: tuple[str, ...] = ()
    other_connection_types: tuple[str, ...] = ()
    tester: str = ""
    arrivals: str = ""

    @property
    def connection_types(self) -> tuple[str, ...]:
        """Every connection type that the opener takes, the usual one first."""
        return (self.connection_type, *self.other_connection_types)

    def open(self, connection_id: str) -> AbstractAsyncContextManager[RemoteSystem]:
        """Open the system behind an Airflow connection."""
        return cast("OpenSystem", resolve(self.opener))(connection_id)

    async def test(self, connection_id: str) -> tuple[bool, str]:
        """Return what the ``tester`` says of an Airflow connection."""
        return await cast("ConnectionTester", resolve(self.tester))(connection_id)


def resolve(path: str) -> object:
    """Import ``module:attribute``."""
    module, _, attribute = path.partition(":")
    # Asked for each step of each template: where it is imported already, importing it again costs more than the look.
    return getattr(sys.modules.get(module) or import_module(module), attribute)


@cache
def registrations() -> tuple[SystemRegistration, ...]:
    """Return every registered system, ours and third parties', sorted by name."""
    found: list[SystemRegistration] = []
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = entry.load()
        except Exception:
            # A broken package of somebody else must not take every template of every team down: its steps are unknown
            # then, and the template that uses one says so.
            log.exception("the system %r of entry-point group %r cannot be loaded", entry.value, ENTRY_POINT_GROUP)
            continue
        found.append(loaded)
    return tuple(sorted(found, key=lambda registration: registration.name))


@cache
def step_types() -> Mapping[str, tuple[SystemRegistration, StepType]]:
    """Return every step type by its YAML name, with its system."""
    return {step.name: (registration, step) for registration in registrations() for step in registration.steps}


def step_type(name: str) -> tuple[SystemRegistration, StepType]:
    """Return one step type; :raises OrchestrationError: with a suggestion when nobody brings it."""
    known = step_types()
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known)) or 'none'}"
    raise OrchestrationError(
        f"no installed package brings the step {name!r}: {hint}; install the package whose entry point in group "
        f"{ENTRY_POINT_GROUP!r} brings it"
    )
