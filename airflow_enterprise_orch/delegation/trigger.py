"""The thin Airflow shell round the waiting: a task that waits for a remote job holds this, and no worker slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_enterprise_orch.delegation import waiting
from airflow_enterprise_orch.delegation.polling import ConnectionPoller, poller, seconds_until
from airflow_enterprise_orch.delegation.remote_note import remote_notes
from airflow_enterprise_orch.delegation.system import SystemRegistration, step_type
from airflow_enterprise_orch.delegation.waiting import Wait

__all__ = ["MIN_WAIT", "DelegateTrigger", "Wait", "min_wait"]

MIN_WAIT = timedelta(seconds=5)
"""No event is fired sooner than this after the deferral: Airflow 3.3 fails a task whose trigger fires before the
scheduler has read the worker's exit from deferring."""
KILL_TIME = timedelta(seconds=20)
"""How long ``on_kill`` waits for its cancel at most, which goes on all the same; Airflow gives up after 30 seconds
(``[triggerer] on_kill_timeout``)."""


def min_wait() -> timedelta:
    """Return :data:`MIN_WAIT`, or more where the worker's supervisor may sleep longer before it sees the exit."""
    from airflow.sdk.configuration import conf

    if not MIN_WAIT:
        return MIN_WAIT
    return shortest_wait(conf.getint("workers", "min_heartbeat_interval", fallback=5))


def shortest_wait(sleeps: int) -> timedelta:
    """Return :data:`MIN_WAIT`, or more for workers whose supervisors sleep that many seconds between two looks."""
    return max(MIN_WAIT, timedelta(seconds=sleeps + 3))


class DelegateTrigger(BaseTrigger):
    """Waits for the end of one remote job.

    :param wait: a :class:`Wait` or its JSON.

    The event is ``{"version", "key", "phase", "timed_out", "elsewhere"}``, and ``look`` where the job goes on and the
    task is to look at it; whatever it means is for the operator.
    """

    def __init__(self, wait: Wait | dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not annotated
        self.wait = wait if isinstance(wait, Wait) else Wait.from_json(wait)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what recreates the trigger in another process."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"wait": self.wait.to_json()}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the job's end, or for its time limit and then its end."""
        note = partial(remote_notes().tell, self.wait)
        event = await waiting.wait_for_end(self._poller(), self.wait, self.log, note=note)
        early = datetime.fromisoformat(self.wait.deferred) + min_wait()
        await asyncio.sleep(seconds_until(early) or 0.0)
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # Airflow's is not annotated

    async def on_kill(self) -> None:
        """Cancel the job when a person marked or cleared the task; see :func:`waiting.kill_cancels`.

        Airflow 3.3 cancels whatever runs here again with every loop of its own, about a second apart, until the
        trigger is done. So the cancel runs beside, and goes on when this is cut short.
        """
        shared = self._poller()
        task = shared.go_on(waiting.kill(shared, self.wait, self.log, self._task_state))
        try:
            async with asyncio.timeout(KILL_TIME.total_seconds()):
                await asyncio.shield(task)
        except TimeoutError:
            self.log.warning("%s: its cancel was not answered in time; it is still asked for", self.wait.job)

    async def _task_state(self) -> str | None:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
        from asgiref.sync import sync_to_async

        wait = self.wait
        states: dict[str, dict[str, Any]] = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=wait.dag_id,
            task_ids=[wait.task_id],
            run_ids=[wait.run_id],
            map_index=wait.map_index if wait.map_index >= 0 else None,
        )
        name = wait.task_id if wait.map_index < 0 else f"{wait.task_id}_{wait.map_index}"
        of_run = states.get(wait.run_id, {})
        known = next((key for key in (name, wait.task_id) if key in of_run), None)
        if known is None:
            return None
        state = of_run[known]
        return waiting.CLEARED if state is None else str(getattr(state, "value", state))

    def _poller(self) -> ConnectionPoller:
        return poller(self.registration(), self.wait.connection)

    def registration(self) -> SystemRegistration:
        """Return the system that has the job."""
        return step_type(self.wait.step)[0]
