"""The read API: the remote jobs of one instance. Authorised per DAG by Airflow's own permissions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from airflow_enterprise_orch.delegation.attempt import Attempt, LedgerBroken
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import LEDGER_PREFIX, newest_ledger

if TYPE_CHECKING:
    from fastapi import FastAPI
    from sqlalchemy.orm import Session


class RemoteJob(BaseModel):
    """One attempt of one step.

    :param state: ``intent`` (being handed over), ``submitted`` (out there) or ``closed``.
    :param verdict: of a closed attempt: ``success``, ``warning`` or ``failure``.
    :param parked: the question that a person has to answer, if any.
    """

    attempt: int
    key: str
    system: str
    job_id: str | None
    job_name: str | None
    state: str
    verdict: str | None
    message: str | None
    parked: str | None
    closed_by: str | None
    opened: str | None
    closed: str | None


class StepJobs(BaseModel):
    """The remote jobs of one step; ``problem`` says so when its ledger cannot be read."""

    task_id: str
    map_index: int
    problem: str | None = None
    jobs: list[RemoteJob] = []


class InstanceJobs(BaseModel):
    """The remote jobs of one instance, by step."""

    dag_id: str
    run_id: str
    steps: list[StepJobs]


def make_app() -> FastAPI:
    """Return the application that the plugin mounts."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.common.db.common import SessionDep
    from airflow.api_fastapi.core_api.security import auth_manager_from_app, requires_access_dag
    from fastapi import Depends, FastAPI

    app = FastAPI(title="Enterprise orchestration", docs_url="/docs", openapi_url="/openapi.json")
    # In a mounted application `request.app` is ours and has no auth manager of its own.
    app.dependency_overrides[auth_manager_from_app] = get_auth_manager

    def jobs_of_instance(dag_id: str, run_id: str, session: Any) -> InstanceJobs:
        """Every remote job of one instance: which system, which job, how it ended."""
        return read_jobs(session, dag_id, run_id)

    # This module postpones its annotations; FastAPI needs the dependency itself.
    jobs_of_instance.__annotations__["session"] = SessionDep
    app.get(
        "/api/v1/dags/{dag_id}/dagRuns/{run_id}/jobs",
        dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))],
        response_model=InstanceJobs,
        tags=["Jobs"],
    )(jobs_of_instance)
    return app


def read_jobs(session: Session, dag_id: str, run_id: str) -> InstanceJobs:
    """Return the remote jobs of one instance; :raises HTTPException: 404 when there is no such instance."""
    from airflow.models.dagrun import DagRun
    from airflow.models.task_state_store import TaskStateStoreModel as Cell
    from fastapi import HTTPException
    from sqlalchemy import select

    if session.scalar(select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)) is None:
        raise HTTPException(404, f"stream {dag_id!r} has no instance {run_id!r}")
    rows = session.execute(
        select(Cell.task_id, Cell.map_index, Cell.key, Cell.value)
        .where(Cell.dag_id == dag_id, Cell.run_id == run_id, Cell.key.startswith(LEDGER_PREFIX, autoescape=True))
        .order_by(Cell.task_id, Cell.map_index)
    )
    steps: dict[tuple[str, int], dict[str, str]] = {}
    for task_id, map_index, key, value in rows:
        steps.setdefault((task_id, map_index), {})[key] = value
    ledgers = [_step(*step, newest_ledger(cells) or "null") for step, cells in steps.items()]
    return InstanceJobs(dag_id=dag_id, run_id=run_id, steps=ledgers)


def _step(task_id: str, map_index: int, value: str) -> StepJobs:
    try:
        ledger = Ledger.from_json(json.loads(value))
    except (LedgerBroken, ValueError) as error:
        return StepJobs(task_id=task_id, map_index=map_index, problem=str(error))
    return StepJobs(task_id=task_id, map_index=map_index, jobs=[_job(attempt) for attempt in ledger.attempts])


def _job(attempt: Attempt) -> RemoteJob:
    return RemoteJob(
        attempt=attempt.number,
        key=attempt.key,
        system=attempt.system,
        job_id=attempt.handle.job_id if attempt.handle else None,
        job_name=attempt.handle.name or None if attempt.handle else None,
        state=attempt.state.value,
        verdict=attempt.verdict or None,
        message=attempt.message or None,
        parked=attempt.parked or None,
        closed_by=attempt.closed_by or None,
        opened=attempt.opened or None,
        closed=attempt.closed or None,
    )
