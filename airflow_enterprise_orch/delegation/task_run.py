"""One try at work: its ledger in Airflow's task state store, and its words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from airflow_enterprise_orch.delegation.control import ControlBroken
from airflow_enterprise_orch.delegation.ledger import LEDGER_KEY, Attempt, Ledger, LedgerBroken, TaskTry
from airflow_enterprise_orch.errors import ConnectionProblem, OwnershipLost, RequestRejected

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor

    from airflow_enterprise_orch.delegation.job import JobResult


class TaskRun:
    """One try at work: its ledger and where that is kept."""

    def __init__(self, context: Context, retries: int) -> None:
        self.context = context
        self.cells: TaskStateStoreAccessor = context["task_state_store"]
        self.ledger = Ledger.from_json(self.cells.get(LEDGER_KEY))
        ti = context["ti"]
        self.now = TaskTry(ti.try_number, ti.max_tries, retries)

    def save(self, changed: Ledger | Attempt) -> None:
        """Write the ledger; a write that fails means that this try owns the task instance no more."""
        self.ledger = changed if isinstance(changed, Ledger) else self.ledger.with_attempt(changed)
        try:
            self.cells.set(LEDGER_KEY, self.ledger.to_json(), retention=NEVER_EXPIRE)
            # Airflow looks at the owner before it writes, not while: a write that was under way when the next try began
            # still lands. Reading it back, with the same owner, proves that the next try began (and read) after it.
            kept = self.cells.get(LEDGER_KEY)
        except AirflowRuntimeError as error:
            raise OwnershipLost(
                f"the ledger cannot be written ({error}): this try may own the task instance no more, "
                f"so it does nothing more"
            ) from error
        if kept != self.ledger.to_json():
            raise OwnershipLost("the ledger was written by another try meanwhile, so this one does nothing more")


class told_in_one_line:
    """Turn what only a person can change into Airflow's definitive failure, so that no retry is wasted on it."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Translate."""
        definitive = (ConnectionProblem, ControlBroken, LedgerBroken, RequestRejected)
        if isinstance(error, definitive):
            raise AirflowFailException(str(error)) from error


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
