"""When Airflow may start another try of a delegated step, and how long it waits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

from airflow_enterprise_orch.errors import ConnectionProblem, OrchestrationError, SystemBusy

if TYPE_CHECKING:
    from airflow.sdk import Context

INFRASTRUCTURE_RETRIES = 10
"""Tries beyond those that retry rules allow: a worker that died or a system out of reach never runs a job twice,
because
the next try attaches to what is there."""
FIRST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(minutes=10)


class RunAgain(OrchestrationError):
    """The job failed, and a rule or a person's clear lets it run once more.

    :param delay: how long to wait before that.
    """

    def __init__(self, message: str, delay: timedelta) -> None:
        super().__init__(message)
        self.delay = delay


class DelegationRetryPolicy(RetryPolicy):
    """A failed job waits as its rule says; trouble on the way waits longer each time; the rest fails."""

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        """Decide; Airflow asks in the worker, with the exception itself."""
        if isinstance(exception, RunAgain):
            return RetryDecision.retry(exception.delay, "a retry rule runs the job again")
        if isinstance(exception, ConnectionProblem):
            return RetryDecision.fail("a person must change something first")
        used = INFRASTRUCTURE_RETRIES - (max_tries - try_number) - 1
        delay = min(FIRST_DELAY * 2 ** min(max(used, 0), 10), LONGEST_DELAY)
        if isinstance(exception, SystemBusy) and exception.retry_after is not None:
            delay = max(delay, exception.retry_after)
        return RetryDecision.retry(delay, "the next try attaches to what is there; nothing runs twice")

    def serialize(self) -> dict[str, Any]:
        """Return nothing: the policy has no settings."""
        return {}
