"""Which remote job a waiting step has, for whoever tells that the instance is late.

What is late is told from a triggerer, and Airflow lets nothing there read what a task keeps in its task state store. So
a step of a stream that wants lateness told notes its job as an XCom of its task when it begins to wait. Airflow takes
the note away when a new try begins, and whoever reads it believes it only of a task that waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.alerts.message import OpenJob
from airflow_enterprise_orch.each import EACH

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.trigger import DelegateTrigger
    from airflow_enterprise_orch.delegation.waiting import Wait

log = logging.getLogger(__name__)

JOB_KEY = "orch.job"
"""Of the XCom."""
NOTE_VERSION = 1


@dataclass(frozen=True)
class NotesItsJob:
    """In the place of a delegated step's class of triggers: notes the job that the step is about to wait for.

    :param trigger: the class itself.
    :param item: of a step that is done for each item of a list the item, as people read it.
    """

    trigger: Callable[[Wait], DelegateTrigger]
    item: str = ""

    def __call__(self, wait: Wait) -> DelegateTrigger:
        """Return the trigger; a note that cannot be written holds up nothing."""
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import SetXCom

        note = {
            "version": NOTE_VERSION,
            "job_id": wait.handle.job_id,
            "system": wait.step,
            "connection": wait.connection,
            **({"item": self.item} if self.item else {}),
        }
        place = {"dag_id": wait.dag_id, "run_id": wait.run_id, "task_id": wait.task_id, "map_index": wait.map_index}
        try:
            task_runner.SUPERVISOR_COMMS.send(SetXCom(key=JOB_KEY, value=note, **place))
        except Exception as error:  # whatever it is, the job is out there and is waited for
            log.warning("should the instance be late, %s is not named: it cannot be noted: %r", wait.job, error)
        return self.trigger(wait)


async def open_jobs(dag_id: str, run_id: str, tasks: Iterable[tuple[str, int]]) -> list[OpenJob]:
    """Return the jobs of tasks that wait, in their order, from within a triggerer.

    :param tasks: id and map index of each, -1 for a task that is no item of a list; of one that waits for no job
        nothing is told.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetXCom
    from asgiref.sync import sync_to_async

    found = []
    for task_id, map_index in tasks:
        asked = GetXCom(key=JOB_KEY, dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
        told: Any = await sync_to_async(task_runner.SUPERVISOR_COMMS.send)(asked)
        note = getattr(told, "value", None)
        # Whoever may edit a task may edit its XComs.
        if isinstance(note, Mapping) and note.get("version") == NOTE_VERSION and note.get("job_id"):
            system, connection, job_id, item = (
                str(note.get(name, "")) for name in ("system", "connection", "job_id", "item")
            )
            if map_index < 0:
                found.append(OpenJob(task_id, system, connection, job_id))
            else:
                # An item may read as nothing; Airflow's own number of it is what people find it by then.
                found.append(OpenJob(task_id.removesuffix(EACH), system, connection, job_id, item or f"#{map_index}"))
    return found
