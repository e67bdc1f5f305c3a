"""The frozen values that travel between a system, the ledger, the trigger and the operator.

All are plain JSON when serialized, carry no secret, and are small: handles ride in trigger arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Phase(StrEnum):
    """Where a remote job is, in the words that all systems share."""

    WAITING = "waiting"
    """Handed over, not started: in an input queue, waiting for a resource or a duplicate name."""
    HELD = "held"
    """It will not start until it is released."""
    RUNNING = "running"
    ENDED = "ended"
    """Terminal: ``result`` can be asked."""
    MISSING = "missing"
    """The system was asked for this very job and says that it has none (purged, or lost)."""


class Ending(StrEnum):
    """How a job ended, as the system proves it. Whether that is a success is for the outcome rules."""

    COMPLETED = "completed"
    """It ran to its end and left a return code."""
    ABENDED = "abended"
    """It broke: ABEND, signal, out of memory."""
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    """It never ran: JCL error, security error."""
    LOST = "lost"
    """It provably runs no more and provably left no result (process gone, host rebooted)."""
    UNKNOWN = "unknown"
    """Nobody can tell. Never a success."""


@dataclass(frozen=True, slots=True)
class JobHandle:
    """What finds one remote job again: enough for a process that knows nothing else.

    :param key: our delegation key, as written on the remote job.
    :param job_id: what the system's own operators call it, e.g. ``JOB00042`` or ``4711``.
    :param name: the job's name there, for people.
    :param fields: what the system needs beside (correlator, directory ...); strings only, no secret.
    """

    key: str
    job_id: str
    name: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return {"key": self.key, "job_id": self.job_id, "name": self.name, "fields": dict(self.fields)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JobHandle:
        """Read the plain JSON form; :raises ValueError: when it is not one."""
        try:
            fields = {str(name): str(value) for name, value in dict(data.get("fields") or {}).items()}
            return cls(str(data["key"]), str(data["job_id"]), str(data.get("name") or ""), fields)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"this is no job handle: {error!r}") from error


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The state of one job at one moment.

    :param reason: why it waits or is held, in the system's words; empty when there is nothing to say.
    """

    phase: Phase
    reason: str = ""

    @property
    def final(self) -> bool:
        """True when polling it again brings nothing new."""
        return self.phase in (Phase.ENDED, Phase.MISSING)


@dataclass(frozen=True, slots=True)
class JobResult:
    """The final, provable result of one job.

    :param code: the result in the system's own words: ``CC 0004``, ``ABEND S0C7``, ``exit 3``, ``signal 9``.
    :param rc: the numeric return code where there is one.
    :param started: when it began to run; aware UTC.
    :param ended: when it ended; aware UTC.
    :param detail: one more line for people (failed step, reason), may be empty.
    """

    ending: Ending
    code: str = ""
    rc: int | None = None
    started: datetime | None = None
    ended: datetime | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of a job's log or spool.

    :param cursor: where to go on reading; opaque, belongs to the system; "" is the beginning.
    """

    text: str
    cursor: str
