"""What :class:`~.conduct.Conduct` answers with, and what it needs of the step and of the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from airflow_enterprise_orch.delegation.attempt import Attempt
from airflow_enterprise_orch.delegation.control import Wishes
from airflow_enterprise_orch.delegation.ledger import RetryRule
from airflow_enterprise_orch.delegation.system import RemoteSystem

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.outcome import OutcomeRules, OutputRule
    from airflow_enterprise_orch.delegation.work import Work


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for the job of ``attempt`` without a worker; :meth:`~.conduct.Conduct.collect` goes on.

    :param deadline: when the job is to be cancelled; None for never.
    :param look: when the task is to look at its job and its wishes again, whatever the job does; None for never.
    :param stands: the phase of the job that the task knows and that a person's hold depends on: another one that is
        not its end sends the task to look again. "" for none.
    """

    attempt: Attempt
    deadline: datetime | None
    look: datetime | None = None
    stands: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The step succeeded and returns ``value``."""

    value: Mapping[str, Any]
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The step failed for good, until a person acts."""

    message: str


@dataclass(frozen=True, slots=True)
class Again:
    """Another try of the step goes on after ``delay``."""

    message: str
    delay: timedelta


@dataclass(frozen=True, slots=True)
class Asked:
    """A person must say what nobody can prove; :meth:`~.conduct.Conduct.answered` goes on.

    :param key: of the attempt that the question is about.
    """

    subject: str
    question: str
    options: tuple[str, ...]
    key: str


@dataclass(frozen=True, slots=True)
class Held:
    """A person holds the step: look again later.

    :param until: when it ends by itself; None for never.
    """

    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A person skipped the step."""

    reason: str


Next = Wait | Done | Failed | Again | Asked | Held | Skipped


class Site(Protocol):
    """What one try reaches beyond its ledger."""

    def open(self) -> AbstractAsyncContextManager[RemoteSystem]:
        """Open the system; a refused login blocks the connection for everybody.

        :raises ConnectionProblem: while it is blocked, or cannot serve.
        """
        ...

    def wishes(self, *, holds: bool = True) -> Wishes:
        """Return what people want of this step now.

        :param holds: those of whole streams, systems and connections too.
        """
        ...


class Step(Protocol):
    """What the template says of the step."""

    @property
    def rules(self) -> Sequence[RetryRule]:
        """When a failed job may be run again."""
        ...

    @property
    def time_limit(self) -> float | None:
        """Seconds from the hand-over after which the job is cancelled."""
        ...

    def work(self) -> Work:
        """Return what is to be done; :raises TemplateError: when that cannot be told."""
        ...

    def judge(self, consequence: str) -> tuple[OutcomeRules, Sequence[OutputRule]]:
        """Return how a result is read.

        :param consequence: what it means that it cannot be told, for people.
        :raises TemplateError: when it cannot be told.
        """
        ...

    def completed(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the outputs that a person gave for the step.

        :raises OutputsInvalid: in one line, when they are not what the step declares.
        """
        ...
