"""The remote jobs of one instance: from Airflow's task state store, or from our own history once that is gone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from sqlalchemy import select

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, LedgerBroken
from airflow_enterprise_orch.delegation.job import Phase
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.remote_note import RemoteNote
from airflow_enterprise_orch.executive_view.airflow_details import details, run_exists
from airflow_enterprise_orch.executive_view.answers_instance import InstanceJobs, RemoteJob, StepJobs
from airflow_enterprise_orch.executive_view.job_links import with_links
from airflow_enterprise_orch.executive_view.pictures import Picture, Pictures
from airflow_enterprise_orch.executive_view.redacting import sight
from airflow_enterprise_orch.executive_view.tables import INSTANCE, JOB

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from airflow_enterprise_orch.executive_view.access import Viewer


def read_jobs(session: Session, viewer: Viewer, dag_id: str, run_id: str) -> InstanceJobs:
    """Return the remote jobs of one instance, as far as the viewer may see them.

    :raises HTTPException: 404 when there is no such instance.
    """
    instance_id, picture = shown_by(session, dag_id, run_id)
    steps: Sequence[StepJobs]
    if run_exists(session, dag_id, run_id):
        known = details(session, dag_id, run_id, (), with_outputs=False, live=False)
        steps = from_ledgers(known.ledgers, known.notes)
    elif instance_id is not None:
        steps = from_history(session, instance_id)
    else:
        raise HTTPException(404, f"stream {dag_id!r} has no instance {run_id!r}")
    return InstanceJobs(
        dag_id=dag_id, run_id=run_id, steps=sight(viewer, dag_id).jobs(with_links(steps, picture), picture)
    )


def shown_by(session: Session, dag_id: str, run_id: str) -> tuple[int | None, Picture]:
    """Return the number of an instance in our tables, and the picture that it is shown by.

    Of one that the feed has not seen yet None, and the picture of the current version.
    """
    of = INSTANCE.c
    newest = select(of.id, of.version).where(of.dag_id == dag_id, of.run_id == run_id).order_by(of.id.desc())
    row = session.execute(newest.limit(1)).one_or_none()
    pictures = Pictures()
    if row is None:
        pictures.load_current(session, [dag_id])
        return None, pictures.of(dag_id)
    pictures.load(session, [(dag_id, row.version)])
    return row.id, pictures.of(dag_id, row.version)


def from_ledgers(ledgers: Mapping[tuple[str, int], str], notes: Mapping[tuple[str, int], RemoteNote]) -> list[StepJobs]:
    """Return the jobs of each step.

    :param ledgers: by task and map index the JSON text of the ledger that counts.
    :param notes: by task and map index what the system says that has the job.
    """
    return [_step(*where, text, notes.get(where)) for where, text in ledgers.items()]


def from_history(session: Session, instance_id: int) -> list[StepJobs]:
    """Return the jobs of each step as the feed saw them."""
    found: dict[tuple[str, int], list[RemoteJob]] = {}
    order = (JOB.c.task_id, JOB.c.map_index, JOB.c.attempt)
    for row in session.execute(select(JOB).where(JOB.c.instance_id == instance_id).order_by(*order)):
        found.setdefault((row.task_id, row.map_index), []).append(_kept(row))
    return [StepJobs(task_id=task, map_index=index, jobs=jobs) for (task, index), jobs in found.items()]


def _step(task_id: str, map_index: int, text: str, note: RemoteNote | None) -> StepJobs:
    try:
        ledger = Ledger.from_json(json.loads(text))
    except (LedgerBroken, ValueError) as error:
        return StepJobs(task_id=task_id, map_index=map_index, problem=str(error))
    return StepJobs(task_id=task_id, map_index=map_index, jobs=[_job(one, note) for one in ledger.attempts])


def _job(attempt: Attempt, note: RemoteNote | None) -> RemoteJob:
    if note is not None and (note.key != attempt.key or attempt.state is not AttemptState.SUBMITTED):
        note = None
    stuck = note is not None and note.phase in (Phase.HELD, Phase.WAITING)
    return RemoteJob(
        attempt=attempt.number,
        key=attempt.key,
        system=attempt.system,
        job_id=attempt.handle.job_id if attempt.handle else None,
        job_name=attempt.handle.name or None if attempt.handle else None,
        state=attempt.state.value,
        verdict=attempt.verdict or None,
        code=attempt.code or None,
        rc=attempt.rc,
        phase=note.phase.value if note is not None and stuck else None,
        reason=note.reason or None if note is not None and stuck else None,
        message=attempt.message or None,
        parked=attempt.parked or None,
        closed_by=attempt.closed_by or None,
        opened=attempt.opened or None,
        closed=attempt.closed or None,
    )


def _kept(row: Any) -> RemoteJob:
    def moment(value: datetime | None) -> str | None:
        return value.isoformat() if value is not None else None

    return RemoteJob(
        attempt=row.attempt,
        key=None,
        system=row.system,
        job_id=row.job_id,
        job_name=row.job_name,
        state=row.state,
        verdict=row.verdict or None,
        message=row.message or None,
        code=row.code,
        rc=row.rc,
        parked=row.parked,
        closed_by=row.closed_by or None,
        opened=moment(row.opened),
        closed=moment(row.closed),
    )
