"""A system that exists for these tests only, and what Airflow gives a task while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator

from airflow_enterprise_orch.delegation import system
from airflow_enterprise_orch.delegation.system import StepType, SystemRegistration
from airflow_enterprise_orch.delegation.work import Work
from airflow_enterprise_orch.value_stream.model import ValueStream


class DoWork(Work):
    """The work of the test system."""

    text: str = ""


SCHEDULED_BY = ("pool", "pool_slots", "max_active_tis_per_dag", "priority_weight")
"""What only Airflow's scheduler reads of a step."""


class Delegate(EmptyOperator):
    """Stands for a system's operator: keeps what it was given, does nothing."""

    made_from: dict[str, Any]

    @classmethod
    def from_step(cls, **arguments: Any) -> Delegate:
        own = {"task_id", "dag", "trigger_rule", "task_display_name", *SCHEDULED_BY}
        operator = cls(**{name: value for name, value in arguments.items() if name in own})
        operator.made_from = {name: value for name, value in arguments.items() if name not in own}
        return operator


TEST_SYSTEM = SystemRegistration(
    name="test",
    stack="Test",
    connection_type="http",
    opener=f"{__name__}:nothing",
    steps=(
        StepType(
            name="test.job",
            title="Test job",
            work=f"{__name__}:DoWork",
            operator=f"{__name__}:Delegate",
            output_key="log",
        ),
    ),
)


@pytest.fixture
def test_system(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the test system the only one that is installed."""
    system.registrations.cache_clear()
    system.step_types.cache_clear()
    entry = SimpleNamespace(load=lambda: TEST_SYSTEM)
    monkeypatch.setattr(system, "entry_points", lambda group: [entry])
    yield
    system.registrations.cache_clear()
    system.step_types.cache_clear()


JOB = "{test.job: {connection: c, text: x}"


def stream(steps: str, *, head: str = "") -> ValueStream:
    """Return a stream; ``J`` in the steps stands for the test system's job."""
    text = f"value_stream: s\ntitle: S\nbusiness: {{domain: D, owner: o{head}}}\n"
    text += "params: {n: {type: integer, default: 0}}\nsteps:\n"
    lines = steps.replace("J}", f"{JOB}}}").replace("J,", f"{JOB},")
    return ValueStream.load(text + "".join(f"  {line.strip()}\n" for line in lines.strip().splitlines()), name="s.yaml")


class Store(dict[str, Any]):
    """The task state store of one task instance."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        assert retention is not None, "a record of a decision must not expire"
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


class TaskInstance:
    """A running task instance: what earlier steps left, and what this one leaves."""

    map_index = -1
    id = "0"
    try_number, max_tries = 1, 3

    def __init__(self, task_id: str, left: Mapping[str, Any], dag_id: str = "s") -> None:
        self.task_id, self.dag_id, self.left = task_id, dag_id, left
        self.pushed: dict[str, Any] = {}
        self.task: Any = None

    def xcom_pull(self, *, task_ids: str, key: str) -> Any:
        assert key == "return_value"
        return self.left.get(task_ids)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def context_for(
    operator: Any,
    *,
    params: Mapping[str, Any] | None = None,
    left: Mapping[str, Any] | None = None,
    store: Store | None = None,
    run_id: str = "run-1",
) -> dict[str, Any]:
    """Return what Airflow hands to ``execute``."""
    at = datetime(2026, 3, 1, 8, tzinfo=UTC)
    ti = TaskInstance(operator.task_id, left or {})
    ti.task = operator
    run = SimpleNamespace(
        run_id=run_id, run_after=at, logical_date=None, data_interval_start=None, data_interval_end=None
    )
    return {
        "ti": ti,
        "task_instance": ti,
        "task": operator,
        "dag_run": run,
        "run_id": run_id,
        "params": dict(params or {}),
        "task_state_store": store if store is not None else Store(),
    }
