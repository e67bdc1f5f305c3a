"""One task instance of a delegated step as Airflow leads it, with its stores in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Self
from uuid import uuid4

import pytest
from airflow.sdk import DAG, Variable
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType, TaskAwaitingInput, TaskDeferred
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.context import NEVER_EXPIRE
from fakes import START, World

from airflow_enterprise_orch.delegation.attempt import Attempt
from airflow_enterprise_orch.delegation.job import Ending, JobResult
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import newest_ledger
from airflow_enterprise_orch.delegation.operator import DelegateOperator
from airflow_enterprise_orch.delegation.trigger import DelegateTrigger

SIGNED = {"by": "maria", "reason": "month end"}
FAILED = JobResult(Ending.COMPLETED, "exit 3", 3)


class Store:
    """The task state store as one try sees it, with Airflow's fence and its refusals."""

    def __init__(self, life: Life, owner: object) -> None:
        self.life = life
        self.owner = owner

    def get(self, key: str, default: Any = None) -> Any:
        if self.owner != self.life.id:
            return default  # Airflow: a task instance that is gone reads as an empty store
        value = self.life.cells.get(key)
        return default if value is None else json.loads(value)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        assert retention is NEVER_EXPIRE
        self.life.before_write()
        if self.owner != self.life.id:
            detail = {"status_code": 404, "message": "Task instance not found"}
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))
        self.life.while_writing()
        self.life.cells[key] = json.dumps(value)


class Life:
    """One task instance over all of its tries."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments: dict[str, Any] = {
            "step": "fake.job",
            "connection": "fake_one",
            "work": {"command": "echo hello"},
            **arguments,
        }
        self.cells: dict[str, str] = {}
        self.id = uuid4()
        self.try_number = 1
        self.max_tries = self.operator().retries or 0
        self.before_write: Callable[[], None] = lambda: None
        self.while_writing: Callable[[], None] = lambda: None
        self.xcoms: dict[str, Any] = {}
        self.params: dict[str, Any] = {}

    def operator(self) -> DelegateOperator:
        with DAG("orders", schedule=None):
            return DelegateOperator(task_id="book", **self.arguments)

    def context(self) -> Any:
        ti = SimpleNamespace(
            id=self.id,
            dag_id="orders",
            run_id="run-1",
            task_id="book",
            map_index=-1,
            try_number=self.try_number,
            max_tries=self.max_tries,
            xcom_pull=lambda task_ids, key: self.xcoms.get(task_ids),
            xcom_push=lambda key, value: None,
        )
        run = SimpleNamespace(
            run_id="run-1", run_after=START, logical_date=START, data_interval_start=START, data_interval_end=START
        )
        store = Store(self, self.id)
        return {"ti": ti, "task_instance": ti, "task_state_store": store, "dag_run": run, "params": self.params}

    def retry(self) -> Self:
        self.try_number += 1
        self.id = uuid4()
        return self

    def clear(self) -> Self:
        self.max_tries = self.try_number + (self.operator().retries or 0)
        return self.retry()

    def execute(self) -> DelegateTrigger:
        operator = self.operator()
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(self.context())
        assert deferred.value.method_name == "collect"
        assert deferred.value.timeout is None
        trigger = deferred.value.trigger
        assert isinstance(trigger, DelegateTrigger)
        return trigger

    def collect(self, **changed: Any) -> Any:
        key = self.last.key
        event = {"version": 1, "key": key, "phase": "ended", "timed_out": False, "elsewhere": "", **changed}
        return self.operator().collect(self.context(), event)

    def park(self, act: Callable[[], object]) -> dict[str, Any]:
        with pytest.raises(TaskAwaitingInput) as asked:
            act()
        assert asked.value.method_name == "answered"
        assert asked.value.timeout is None
        return dict(asked.value.kwargs or {})

    def answer(self, resumed: dict[str, Any], option: str, job_id: str = "", reason: str = "I looked") -> Any:
        event = {
            "chosen_options": [option],
            "params_input": {"job_id": job_id or None, "reason": reason},
            "responded_at": START,
            "responded_by_user": {"id": "7", "name": "maria"},
            "timedout": False,
        }
        return self.operator().answered(self.context(), event=event, **resumed)

    @property
    def ledger(self) -> Ledger:
        value = newest_ledger(self.cells)
        return Ledger.from_json(json.loads(value) if value else None)

    @property
    def last(self) -> Attempt:
        last = self.ledger.last
        assert last is not None
        return last


VARIABLES: dict[str, str] = {}
QUESTIONS: list[dict[str, Any]] = []


@pytest.fixture
def airflow(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Airflow's Variables and Required Actions in memory."""
    world.settle = timedelta(0)
    VARIABLES.clear()
    QUESTIONS.clear()

    def get(key: str, default: Any = None, deserialize_json: bool = False) -> Any:
        return VARIABLES.get(key, default)

    monkeypatch.setattr(Variable, "get", staticmethod(get))
    monkeypatch.setattr(
        "airflow.sdk.execution_time.hitl.upsert_hitl_detail", lambda **question: QUESTIONS.append(question)
    )
    yield
