"""One system under the contract: its lab, and Airflow's Variables and questions."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import TaskAwaitingInput, TaskDeferred
from airflow_life import Task
from subjects import OTHER_STEP, Subject

from airflow_enterprise_orch.delegation import parking
from airflow_enterprise_orch.delegation.operator import DelegateOperator
from airflow_enterprise_orch.delegation.system import step_type
from airflow_enterprise_orch.delegation.trigger import DelegateTrigger
from airflow_enterprise_orch.lab.server import LabThread
from airflow_enterprise_orch.lab.stand_in import LabJob

CONNECTION = "contract_conn"


class World:
    """One system, its lab, and Airflow's Variables and questions."""

    def __init__(self, subject: Subject, lab: LabThread, caplog: pytest.LogCaptureFixture) -> None:
        self.subject = subject
        self.lab = lab
        self.caplog = caplog
        self.variables: dict[str, Any] = {}
        self.questions: list[dict[str, Any]] = []

    @property
    def endpoint(self) -> dict[str, Any]:
        return dict(self.lab.endpoints[self.subject.stand_in])

    def jobs(self) -> list[LabJob]:
        return self.lab.jobs(self.subject.stand_in)

    def ran(self) -> list[LabJob]:
        """Return the jobs that ran, if only for a moment."""
        return [job for job in self.jobs() if job.ran]

    def fault(self, do: str, on: str = "submit", **more: Any) -> None:
        self.lab.fault(self.subject.stand_in, do, on, **more)

    def task(self, work: Any, **more: Any) -> Task:
        """Return a task instance for ``work``, one of the subject's kinds."""

        step, work = work.get(OTHER_STEP, self.subject.step), {**work}
        work.pop(OTHER_STEP, None)

        def make() -> DelegateOperator:
            _, kind = step_type(step)
            made: DelegateOperator = kind.operator_class().from_step(
                task_id="step", step=step, connection=CONNECTION, work=dict(work), **more
            )
            return made

        return Task(make)

    def run(self, task: Task, answer: str = parking.SUBMIT) -> Any:
        """Run one try to its end; where an unprotected system asks whether the work ran, a person answers."""
        try:
            trigger = task.submit()
        except TaskAwaitingInput as asked:
            assert self.subject.unprotected, "only an unprotected system may ask whether the work ran"
            assert tuple(self.questions[-1]["options"]) == parking.AFTER_SUBMIT
            assert self.questions[-1]["defaults"] is None
            trigger = self.answer(task, answer, dict(asked.kwargs or {}))
        return task.collect(task.wait(trigger))

    def answer(self, task: Task, option: str, resumed: dict[str, Any]) -> DelegateTrigger:
        """Let a person answer what a parked try asked; return the trigger that it defers to."""
        said = {"chosen_options": [option], "params_input": {}, "responded_by_user": {"id": "7", "name": "maria"}}
        try:
            value = task.make().answered(task.context(), event=said, **resumed)
        except TaskDeferred as deferred:
            assert isinstance(deferred.trigger, DelegateTrigger)
            return deferred.trigger
        raise AssertionError(f"the answer {option!r} ended the task with {value!r}")

    @property
    def log(self) -> str:
        return self.caplog.text
