"""One system under the contract: its lab, and Airflow's Variables and questions."""

from __future__ import annotations

from typing import Any

import pytest
from airflow_life import Task
from subjects import Subject

from airflow_enterprise_orch.delegation.operator import DelegateOperator
from airflow_enterprise_orch.delegation.system import step_type
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

        def make() -> DelegateOperator:
            _, kind = step_type(self.subject.step)
            made: DelegateOperator = kind.operator_class().from_step(
                task_id="step", step=self.subject.step, connection=CONNECTION, work=dict(work), **more
            )
            return made

        return Task(make)

    @property
    def log(self) -> str:
        return self.caplog.text
