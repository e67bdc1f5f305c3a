"""Everything that can go wrong, drawn once.

::

    OrchestrationError
    |-- TemplateError             a value-stream template is wrong: file:line:column path: what, what to do
    |   `-- ProgramMistake        ... or right, and this package failed on it: told so, and hurts no other template
    |-- ConnectionProblem         nothing can be said to the system until a person changes something
    |   |-- ConnectionInvalid     the Airflow connection is missing or a field of it is wrong
    |   |-- ConnectionUntrusted   unknown host key, bad certificate
    |   |-- LoginRefused          the system refused the login: blocks the connection, is never retried
    |   `-- ConnectionBlocked     an earlier refused login blocks this connection
    |-- RemoteError               the system, or the way to it
    |   |-- SystemUnreachable     nothing was handed over: trying again is safe
    |   |   |-- ConnectionChanged ... because the connection says something else by now; a new session may work
    |   |   `-- SystemBusy        ... and the system said so itself (429, 503): wait ``retry_after``
    |   |-- AnswerLost            the request may have taken effect: look before doing anything
    |   `-- RequestRejected       the system said no: asking again is of no use
    |-- JobFailed                 the job ended, and not well
    |   `-- JobTimedOut           ... because its time limit passed and the cancel is proven
    |-- RunAgain                  ... and a retry rule or a person's clear lets it run once more (delegation.retry)
    |-- OutcomeUnknown            nobody can prove how the job ended: not a success
    |-- OutputMissing             the job ended well, but an output that its step promises is not there
    |-- ExpressionError           a condition is wrong or a value it needs is missing (expressions)
    |-- OperatorRefused         no template may use this operator here (value_stream.airflow_operators)
    |-- LedgerBroken              the task state store holds no ledger that this version reads (delegation.ledger)
    |-- ControlBroken             a hold, skip or override cannot be read (delegation.control)
    |-- AnswerInvalid             a person's answer cannot be used; it is asked again (delegation.parking)
    `-- OwnershipLost             this try no longer owns the task instance: stop, touch nothing

Every message is one line that a tired operator can use: which system or file, which job, why, what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta


class OrchestrationError(Exception):
    """The root of the tree."""


class TemplateError(OrchestrationError):
    """A value-stream template is wrong.

    ``str()`` has one line per problem: ``file:line:column path: what, did you mean ..., what to do``.

    :param problems: the same, each as a ``value_stream.problems.Problem``, for those who need positions.
    """

    def __init__(self, message: str, problems: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class ProgramMistake(TemplateError):
    """This package failed on a template: a mistake of ours, which hurts that template alone (value_stream.mistakes)."""


class ConnectionProblem(OrchestrationError):
    """Nothing can be said to the system until a person changes something."""

    def __init__(self, connection: str, reason: str, remedy: str) -> None:
        super().__init__(f"connection {connection!r}: {reason}; {remedy}")
        self.connection = connection
        self.reason = reason
        self.remedy = remedy


class ConnectionInvalid(ConnectionProblem):
    """The Airflow connection is missing, or a field of it is wrong."""


class ConnectionUntrusted(ConnectionProblem):
    """The system could not prove who it is: unknown host key, bad certificate."""


class LoginRefused(ConnectionProblem):
    """The system refused the login. Trying again may revoke the user."""


class ConnectionBlocked(ConnectionProblem):
    """An earlier refused login blocks this connection until a person lifts it."""


class RemoteError(OrchestrationError):
    """The system answered with an error, or did not answer."""


class SystemUnreachable(RemoteError):
    """Nothing was handed over; trying again is safe."""


class ConnectionChanged(SystemUnreachable):
    """The login was refused, but the connection was changed since; a new session uses what it says now."""


class SystemBusy(SystemUnreachable):
    """The system asked for patience (429, 503); nothing was handed over."""

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AnswerLost(RemoteError):
    """The request may have taken effect; look before doing anything."""


class RequestRejected(RemoteError):
    """The system said no, provably without effect; asking again is of no use."""


class JobFailed(OrchestrationError):
    """A remote job ended, and not well.

    :param kind: what a retry rule names: ``failed``, ``abended``, ``cancelled``, ``rejected``, ``lost``, ``timed_out``.
    """

    def __init__(self, message: str, *, kind: str = "failed") -> None:
        super().__init__(message)
        self.kind = kind


class JobTimedOut(JobFailed):
    """The step's time limit passed; the job's cancel is proven."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="timed_out")


class OutcomeUnknown(OrchestrationError):
    """Nobody can prove how the job ended; that is not a success."""


class OutputMissing(OrchestrationError):
    """The job ended well, but an output that its step promises is not in its log."""


class OwnershipLost(OrchestrationError):
    """This try no longer owns the task instance; it must touch nothing more."""
