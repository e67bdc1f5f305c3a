"""The end of a step's log, read as Airflow reads it, wherever its logs are kept."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.trigger import Trigger
from airflow.utils.log.log_reader import TaskLogReader
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from airflow_enterprise_orch.each import EACH
from airflow_enterprise_orch.executive_view.answers_instance import StepLog
from airflow_enterprise_orch.executive_view.redacting import ANOTHER

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

LONGEST_LINE = 2000
MARKS = ("::group::", "::endgroup::")
"""Airflow's UI folds what is between these."""
MOST_ITEMS = 1000
TRIGGERER = joinedload(TaskInstance.trigger).joinedload(Trigger.triggerer_job)
"""Where the log is of a task that waits; with the run, all that is read of a task instance after its turn."""
SOURCES = "::group::Log message source"
"""Begins what Airflow says of the files that it looked for."""


def find(
    session: Session, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int | None
) -> Any | None:
    """Return the task instance whose log it is; None where there is no such step or try.

    Of a step with a list that has not come to its own task, it is the item that most needs to be looked at.
    """
    ti = _find(session, dag_id, run_id, task_id, map_index, try_number)
    if ti is None:
        return None
    if ti.try_number == 0 and map_index < 0:
        return _item(session, dag_id, run_id, task_id) or ti
    return ti


def tail(ti: Any, lines: int) -> StepLog:
    """Return the last lines of the log of a task instance. It may be far away: nobody waits for this with a connection.

    :param ti: see :func:`find`; needs its session no more.
    """
    about = {"task_id": ti.task_id, "map_index": ti.map_index, "try_number": ti.try_number}
    told = StepLog(**about, lines=[], cut=False, problem=None)
    reader = TaskLogReader()
    if not reader.supports_read:
        return told.model_copy(update={"problem": "Airflow is set up with logs that cannot be read here"})
    if ti.try_number == 0:
        return told.model_copy(update={"problem": "it has not begun, so it has no log"})
    stream, _ = reader.read_log_chunks(ti, ti.try_number, {"end_of_log": False})
    kept: deque[str] = deque(maxlen=lines + 1)
    about_files = False
    for message in stream:
        text = str(message.event)
        if text.startswith(MARKS):
            about_files = text.startswith(SOURCES)
        elif not about_files:
            moment = f"{message.timestamp:%H:%M:%S} " if message.timestamp is not None else ""
            kept.append(f"{moment}{text}"[:LONGEST_LINE])
    if not kept:
        return told.model_copy(update={"problem": "Airflow has no log of it, or not yet"})
    cut = len(kept) > lines
    return told.model_copy(update={"lines": list(kept)[1:] if cut else list(kept), "cut": cut})


def hidden(task_id: str, map_index: int, try_number: int | None) -> StepLog:
    """Return what is told of the log of a step that runs a stream which the viewer may not see: its lines name it."""
    about = {"task_id": task_id, "map_index": map_index, "try_number": try_number or 0}
    return StepLog(**about, lines=[], cut=False, problem=f"It tells of {ANOTHER}")


def _item(session: Session, dag_id: str, run_id: str, step: str) -> Any:
    """Return the item that failed, else one at work, else the last one; None of a step without a list."""
    of = TaskInstance
    where = (of.dag_id == dag_id, of.run_id == run_id, of.task_id == f"{step}{EACH}", of.try_number > 0)
    rank = {"failed": 0, "awaiting_input": 1, "up_for_retry": 2, "running": 3, "deferred": 3}
    newest = select(of).where(*where).options(TRIGGERER).order_by(of.map_index.desc()).limit(MOST_ITEMS)
    items = session.scalars(newest).all()
    return min(items, key=lambda one: rank.get(str(one.state), 4), default=None)


def _find(session: Session, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int | None) -> Any:
    def same(of: Any) -> list[Any]:
        return [of.dag_id == dag_id, of.run_id == run_id, of.task_id == task_id, of.map_index == map_index]

    # Its DAG is not read: joined with, one that was deleted would hide its logs.
    ti = session.scalar(select(TaskInstance).where(*same(TaskInstance)).options(TRIGGERER))
    if ti is None or try_number in (None, ti.try_number):
        return ti
    before = select(TaskInstanceHistory).where(*same(TaskInstanceHistory), TaskInstanceHistory.try_number == try_number)
    return session.scalar(before.options(joinedload(TaskInstanceHistory.dag_run)))
