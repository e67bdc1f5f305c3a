"""The thin Airflow shell round the polling: a task that waits for a remote job holds this, and no worker slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.delegation.polling import ConnectionPoller, News, poller, seconds_until, utc_now
from airflow_enterprise_orch.delegation.system import RemoteSystem, step_type
from airflow_enterprise_orch.errors import OrchestrationError

TRIGGER_VERSION = 1
WAITING_KEY = "waiting_for"
"""The XCom that says which try waits, and for which remote job."""
MIN_WAIT = timedelta(seconds=5)
"""No event is fired sooner than this after the deferral: Airflow 3.3 fails a task whose trigger fires before the
scheduler has read the worker's exit from deferring."""
KILL_TIME = timedelta(seconds=20)
"""How long a cancel on behalf of a person may take; Airflow gives up on the trigger soon after."""
CANCEL_AGAIN = timedelta(seconds=60)
"""A cancel that did not end the job is asked for again after this."""


def min_wait() -> timedelta:
    """Return :data:`MIN_WAIT`, or more where the worker's supervisor may sleep longer before it sees the exit."""
    from airflow.sdk.configuration import conf

    if not MIN_WAIT:
        return MIN_WAIT
    sleeps = conf.getint("workers", "min_heartbeat_interval", fallback=5)
    return max(MIN_WAIT, timedelta(seconds=sleeps + 3))


@dataclass(frozen=True, slots=True)
class Wait:
    """What a trigger carries: all that another process needs to go on waiting. Versioned JSON, no secret.

    :param identity: the system that has the job.
    :param deferred: when the task was deferred; ISO 8601.
    :param deadline: when the job is to be cancelled; "" for never. ISO 8601.
    :param dag_id: with ``run_id``, ``task_id`` and ``map_index``: whose state to ask for before a cancel.
    :param try_number: the try that waits; 0 when that is not known.
    """

    step: str
    connection: str
    handle: JobHandle
    identity: str
    deferred: str
    deadline: str = ""
    dag_id: str = ""
    run_id: str = ""
    task_id: str = ""
    map_index: int = -1
    try_number: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {"version": TRIGGER_VERSION, **plain, "handle": self.handle.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Wait:
        """Read the plain JSON form; :raises ValueError: when another version wrote it."""
        fields = dict(data)
        version = fields.pop("version", None)
        if version != TRIGGER_VERSION:
            raise ValueError(f"a trigger of version {version!r} waits here; this package reads {TRIGGER_VERSION}")
        return cls(**{**fields, "handle": JobHandle.from_json(fields["handle"])})


class DelegateTrigger(BaseTrigger):
    """Waits for the end of one remote job.

    :param wait: a :class:`Wait` or its JSON.

    The event is ``{"version", "key", "phase", "timed_out", "elsewhere"}``; whatever it means is for the operator.
    """

    def __init__(self, wait: Wait | dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not annotated
        self.wait = wait if isinstance(wait, Wait) else Wait.from_json(wait)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what recreates the trigger in another process."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"wait": self.wait.to_json()}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the job's end, or for its time limit and then its end."""
        wait = self.wait
        deadline = datetime.fromisoformat(wait.deadline) if wait.deadline else None
        timed_out = False
        async with aclosing(self._poller().watch(wait.handle, wait.identity)) as news_of_job:
            while True:
                try:
                    async with asyncio.timeout(seconds_until(deadline)):
                        news = await anext(news_of_job)
                except TimeoutError:
                    timed_out = True
                    deadline = utc_now() + CANCEL_AGAIN
                    await self._cancel("its time limit has passed")
                    # The generator was cancelled with the time-out: this wait goes on in a new one.
                    break
                if self._over(news):
                    yield await self._event(news, timed_out=False)
                    return
        while timed_out:
            async with aclosing(self._poller().watch(wait.handle, wait.identity)) as news_of_job:
                try:
                    async with asyncio.timeout(CANCEL_AGAIN.total_seconds()):
                        async for news in news_of_job:
                            if self._over(news):
                                break
                except TimeoutError:
                    await self._cancel("it has not ended since its time limit passed")
                    continue
            yield await self._event(news, timed_out=True)
            return

    async def on_kill(self) -> None:
        """Cancel the job when a person marked or cleared the task.

        Airflow calls this also when it moves triggers to another triggerer: a task that is still deferred is left
        alone.
        """
        try:
            state = await self._task_state()
        except Exception as error:
            self.log.warning("%s: not cancelled, the task's state cannot be told: %s", self._job, error)
            return
        if state == "deferred" and not await self._was_cleared():
            self.log.info("%s: the wait moves to another triggerer; the job is left alone", self._job)
            return
        try:
            async with asyncio.timeout(KILL_TIME.total_seconds()):
                await self._cancel(f"the task is now {state or 'cleared or deleted'}")
        except TimeoutError:
            self.log.warning("%s: its cancel was not answered in time; it may still run", self._job)

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
        state = of_run.get(name, of_run.get(wait.task_id))
        return None if state is None else str(getattr(state, "value", state))

    async def _was_cleared(self) -> bool:
        """Tell a trigger that moves from a clear whose next try is waiting already: the wait is another try's then."""
        from airflow.sdk.bases.xcom import BaseXCom
        from asgiref.sync import sync_to_async

        wait = self.wait
        try:
            told = await sync_to_async(BaseXCom.get_one)(
                key=WAITING_KEY,
                dag_id=wait.dag_id,
                task_id=wait.task_id,
                run_id=wait.run_id,
                map_index=wait.map_index,
            )
        except Exception as error:
            self.log.warning("%s: not cancelled, it cannot be told which try waits: %s", self._job, error)
            return False
        waits = told.get("try_number") if isinstance(told, dict) else None
        return isinstance(waits, int) and wait.try_number > 0 and waits > wait.try_number

    async def _cancel(self, why: str) -> None:
        """Ask for the job's end; whether it ended is for the polling to see."""
        self.log.info("%s: asking for its cancel: %s", self._job, why)

        async def cancel(system: RemoteSystem) -> None:
            if system.identity != self.wait.identity:
                self.log.warning("%s: not cancelled, the connection now leads to %s", self._job, system.identity)
                return
            await system.cancel(self.wait.handle)

        try:
            await self._poller().call(cancel)
        except OrchestrationError as error:
            self.log.warning("%s: the cancel could not be asked for: %s", self._job, error)

    def _poller(self) -> ConnectionPoller:
        registration, _ = step_type(self.wait.step)
        return poller(registration, self.wait.connection)

    def _over(self, news: News) -> bool:
        """Log what is new; return whether the wait is over."""
        if news.elsewhere:
            return True
        if news.status is None:
            self.log.warning("%s: cannot be seen now, waiting on: %s", self._job, news.trouble)
            return False
        reason = f": {news.status.reason}" if news.status.reason else ""
        self.log.info("%s: %s%s", self._job, news.status.phase.value, reason)
        return news.status.final

    async def _event(self, news: News, *, timed_out: bool) -> TriggerEvent:
        early = datetime.fromisoformat(self.wait.deferred) + min_wait()
        await asyncio.sleep(seconds_until(early) or 0.0)
        status = news.status or JobStatus(Phase.MISSING)
        return TriggerEvent(  # type: ignore[no-untyped-call]  # Airflow's is not annotated
            {
                "version": TRIGGER_VERSION,
                "key": self.wait.handle.key,
                "phase": status.phase.value,
                "timed_out": timed_out,
                "elsewhere": news.elsewhere,
            }
        )

    @property
    def _job(self) -> str:
        return f"{self.wait.step} {self.wait.handle.job_id} on {self.wait.identity}"
