"""What people wish of a step that is no job of a connected system: looked for before it runs and before it goes on.

Steps that delegate obey by themselves, because they have a job to bring down first (``delegation/wished.py``). All
others, from branch to ``airflow`` step, look here, in Airflow's ``pre_execute``, which is also called when a task that
waited goes on. It is a method of their class: a callable that is handed to a task would be written into the serialized
DAG, and cost something whenever the DAG is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)

from airflow_enterprise_orch.delegation.completing import OutputsInvalid, checked_outputs
from airflow_enterprise_orch.delegation.control import CONTROL_KEY, HOLDS_VARIABLE, read_variable, read_wishes
from airflow_enterprise_orch.delegation.task_run import StateStoreCells, told_in_one_line

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.control import Wish
    from airflow_enterprise_orch.delegation.obeying import Obedience

ALL = frozenset({"hold", "skip", "cancel", "complete"})
WITHOUT_COMPLETE = ALL - {"complete"}


class ActedOn(BaseOperator):
    """A step that holds, is skipped, cancelled or completed when a person wishes so."""

    obeys: ClassVar[frozenset[str]] = ALL
    """Which wishes make sense for it; others are told as refused, and it goes on."""
    must_leave: Mapping[str, str] = {}
    """What must be given to complete it: type by name."""
    may_leave: ClassVar[Mapping[str, str]] = {}
    """What may be given besides."""
    asks_again: ClassVar[bool] = False
    """Begun anew it would ask, or do its work, once more: once it has begun to wait, no hold applies to it."""

    def pre_execute(self, context: Any) -> None:
        """Do what a person wishes instead; return when the step is to run."""
        look(self, context)

    def completed(self, context: Mapping[str, Any], end: Wish) -> dict[str, Any]:
        """Return what the step leaves when a person completes it.

        :raises OutputsInvalid: in one line, when what is given is not what it leaves.
        """
        return checked_outputs(end.value, self.must_leave, self.may_leave)


def obedience_of(context: Mapping[str, Any], cells: StateStoreCells) -> Obedience:
    """Return how the running try obeys wishes."""
    from airflow_enterprise_orch.delegation.ledger import TaskTry
    from airflow_enterprise_orch.delegation.obeying import Obedience

    ti = context["ti"]
    return Obedience(cells, TaskTry(ti.try_number, ti.max_tries, ti.task.retries or 0), lambda: datetime.now(UTC))


def look(task: ActedOn, context: Mapping[str, Any]) -> None:
    """Do what a person wishes of ``task`` instead of running it; return when it is to run.

    :raises AirflowRescheduleException: it is held; it has no worker slot then.
    :raises AirflowSkipException: it is skipped.
    :raises AirflowFailException: it is cancelled, or what is wished cannot be read.
    :raises DownstreamTasksSkipped: it is done: Airflow's only way to end a task well from here. Nothing is skipped.
    """
    ti = context["ti"]
    cells = StateStoreCells(context["task_state_store"])
    with told_in_one_line():
        control, holds = cells.get(CONTROL_KEY), read_variable(HOLDS_VARIABLE)
        if control is None and holds is None:
            return
        now = datetime.now(UTC)
        wishes = read_wishes(control, holds, stream=ti.dag_id, system="", connection="", now=now)
        if wishes.end is None and wishes.hold is None:
            return
        obedience = obedience_of(context, cells)
        if wishes.end is not None and obedience.applies(wishes.end):
            _end(task, context, wishes.end, obedience)
        if wishes.hold is not None and not (task.asks_again and _goes_on(ti)):
            _hold(task, wishes.hold, obedience)


def _goes_on(ti: Any) -> bool:
    """Tell whether a task that waited goes on; a hold would make it begin anew, for Airflow forgets where it was."""
    told = getattr(ti, "_ti_context_from_server", None)
    return bool(told is not None and told.next_method)


def _hold(task: ActedOn, hold: Wish, obedience: Obedience) -> None:
    from airflow_enterprise_orch.delegation.obeying import HOLD_LOOK

    task.log.info("it does not run: %s", hold)
    obedience.mark(hold, "held: it does not run")
    look_again = datetime.now(UTC) + HOLD_LOOK
    when = look_again if hold.until is None else min(look_again, hold.until)
    raise AirflowRescheduleException(when)  # type: ignore[no-untyped-call]  # Airflow's


def _end(task: ActedOn, context: Mapping[str, Any], end: Wish, obedience: Obedience) -> None:
    """End the task as wished; return when that is refused."""
    value: dict[str, Any] = {}
    try:
        if end.what not in task.obeys:
            raise OutputsInvalid(f"a step of this kind cannot be told to {end.what}")
        if end.what == "complete":
            value = task.completed(context, end)
    except OutputsInvalid as invalid:
        task.log.warning("%s: refused: %s", end, invalid)
        obedience.mark(end, f"refused: {invalid}")
        return
    done = {"skip": "skipped", "complete": "completed", "cancel": "cancelled"}[end.what]
    task.log.info("%s: %s", end, done)
    obedience.mark(end, done)
    if end.what == "skip":
        raise AirflowSkipException(str(end))
    if end.what == "cancel":
        raise AirflowFailException(f"step {task.task_id!r}: {end}")
    # Airflow pushes no return value when a task ends by an exception.
    context["ti"].xcom_push(key="return_value", value=value)
    # The task itself, which runs and so is not skipped: Airflow wants a list, and none is to be skipped.
    raise DownstreamTasksSkipped(tasks=[task.task_id])  # type: ignore[no-untyped-call]  # Airflow's
