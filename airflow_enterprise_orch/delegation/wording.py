"""Lines about a job that several parts say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.attempt import Attempt
    from airflow_enterprise_orch.delegation.job import JobResult


def named(attempt: Attempt) -> str:
    """Return name and id of the attempt's job, "" when it has none."""
    handle = attempt.handle
    return "" if handle is None else " ".join(filter(None, (handle.name, handle.job_id)))


def failure_line(who: str, kind: str, result: JobResult, limit: float | None, tail: str) -> str:
    """Return the line that a task fails with, and the end of the job's log below it."""
    words = f"ran longer than its limit of {limit:g} s and was cancelled" if kind == "timed_out" and limit else kind
    detail = f" ({result.detail})" if result.detail else ""
    last = f"\nlast lines of its log:\n{tail.rstrip()}" if tail.strip() else "\nits log is empty or gone"
    return f"{who} {words}: {result.code or 'no code'}{detail}{last}"


def repointed(attempt: Attempt, leads_to: str) -> str:
    """Return the question when a connection was pointed elsewhere while a job was out there."""
    job = attempt.handle.job_id if attempt.handle else f"with key {attempt.key}"
    return (
        f"job {job} is on {attempt.system}, but the connection now leads to {leads_to}: point it back and look again, "
        f"or say how the job ended"
    )
