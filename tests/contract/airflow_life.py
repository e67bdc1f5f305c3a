"""The life of one task instance as Airflow leads it: tries, clears, deferrals, and a store that outlives them all.

Airflow gives a task instance a new id for every try; a write with an old id is refused. That is the fence which the
ledger relies on, so it is here too. Everything else is the real operator, the real trigger and the real client.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from airflow.sdk.exceptions import (
    AirflowRuntimeError,
    ErrorType,
    TaskAwaitingInput,
    TaskDeferred,
)
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_enterprise_orch.delegation.attempt import Attempt
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import newest_ledger
from airflow_enterprise_orch.delegation.operator import DelegateOperator
from airflow_enterprise_orch.delegation.trigger import DelegateTrigger


class FastClock:
    """A clock on which a long wait takes a moment, and has passed all the same."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def sleep(self, duration: timedelta) -> None:
        pause = min(duration, timedelta(seconds=0.2))
        self.ahead += duration - pause
        await asyncio.sleep(pause.total_seconds())


class Store:
    """The task state store, as one try sees it."""

    def __init__(self, task: Task, owner: uuid.UUID) -> None:
        self.task = task
        self.owner = owner

    def get(self, key: str, default: Any = None) -> Any:
        if self.owner != self.task.id:
            return default  # a vanished task instance reads as an empty store
        value = self.task.cells.get(key)
        return default if value is None else json.loads(value)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        if self.owner != self.task.id:
            raise AirflowRuntimeError(
                ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 404, "message": "not found"})
            )
        self.task.cells[key] = json.dumps(value)


class Task:
    """One task instance.

    :param make: makes the operator anew for every try, as Airflow parses the DAG anew.
    """

    def __init__(self, make: Callable[[], DelegateOperator]) -> None:
        self.make = make
        self.cells: dict[str, str] = {}
        self.id = uuid.uuid4()
        self.try_number = 1
        self.retries = make().retries
        self.max_tries = self.retries
        self.triggers: list[DelegateTrigger] = []

    def context(self) -> dict[str, Any]:
        ti = SimpleNamespace(
            id=self.id,
            dag_id="contract",
            run_id="run-1",
            task_id="step",
            map_index=-1,
            try_number=self.try_number,
            max_tries=self.max_tries,
        )
        return {"ti": ti, "task_instance": ti, "task_state_store": Store(self, self.id)}

    def next_try(self) -> None:
        """Airflow's retry: one more try, and a new id."""
        self.try_number += 1
        self.id = uuid.uuid4()

    def clear(self) -> None:
        """A person's clear of a finished task."""
        self.max_tries = self.try_number + self.retries
        self.next_try()

    def submit(self) -> DelegateTrigger:
        """Run the worker's first half; return the trigger that it defers to."""
        try:
            value = self.make().execute(self.context())
        except TaskDeferred as deferred:
            trigger = deferred.trigger
            assert isinstance(trigger, DelegateTrigger)
            assert deferred.method_name == "collect"
            self.triggers.append(trigger)
            return trigger
        raise AssertionError(f"the task ended with {value!r} instead of waiting")

    def wait(self, trigger: DelegateTrigger) -> dict[str, Any]:
        """Let the trigger wait, in another process as far as it can tell; return its event."""
        _, arguments = trigger.serialize()

        async def run() -> dict[str, Any]:
            async for event in DelegateTrigger(**json.loads(json.dumps(arguments))).run():
                payload: dict[str, Any] = event.payload
                return payload
            raise AssertionError("the trigger ended without an event")

        return asyncio.run(run())

    def collect(self, event: Mapping[str, Any]) -> Any:
        """Run the worker's second half."""
        return self.make().collect(self.context(), dict(event))

    def run(self) -> Any:
        """Run one try from beginning to end; return what the task returns."""
        return self.collect(self.wait(self.submit()))

    def parked(self, act: Callable[[], Any]) -> dict[str, Any]:
        """Run ``act``, which must park; return what it resumes with."""
        try:
            value = act()
        except TaskAwaitingInput as asked:
            assert asked.method_name == "answered"
            return dict(asked.kwargs or {})
        raise AssertionError(f"a person should have been asked, but it went on with {value!r}")

    @property
    def ledger(self) -> Ledger:
        value = newest_ledger(self.cells)
        return Ledger.from_json(json.loads(value) if value else None)

    @property
    def last(self) -> Attempt:
        last = self.ledger.last
        assert last is not None
        return last


class Killed(BaseException):
    """The process died here. No ``except Exception`` survives a SIGKILL, so this is none."""


async def kill_in_wait(trigger: DelegateTrigger, state: str | None, seconds: float) -> None:
    """Let a trigger wait for a moment, then end it as Airflow does when somebody acted on the task."""
    _, arguments = trigger.serialize()
    waiting = DelegateTrigger(**arguments)

    async def told() -> str | None:
        return state

    waiting._task_state = told  # type: ignore[method-assign]

    async def run() -> None:
        async for _ in waiting.run():
            raise AssertionError("the job ended before it could be killed")

    task = asyncio.create_task(run())
    await asyncio.sleep(seconds)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await waiting.on_kill()
