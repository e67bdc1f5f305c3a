"""The addresses at which people act. Each asks who may do what, in the path's own DAG, and answers what came of it.

Nothing here is done by a GET. Whoever may see an instance and not act on it is told so (403); whoever may not see it,
that there is none (404).
"""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter, HTTPException, Request, Response

from airflow_enterprise_orch.executive_view.access import Viewer, ViewerDep, seen
from airflow_enterprise_orch.executive_view.actions.carrying_out import Refused, act
from airflow_enterprise_orch.executive_view.actions.foreseeing import preview
from airflow_enterprise_orch.executive_view.actions.planning import offers, plan_of
from airflow_enterprise_orch.executive_view.actions.situation import Situation, read_situation
from airflow_enterprise_orch.executive_view.answering import answered
from airflow_enterprise_orch.executive_view.answers import Problem
from airflow_enterprise_orch.executive_view.answers_actions import (
    ActionDone,
    ActionPreview,
    ActionRequest,
    InstanceActions,
)
from airflow_enterprise_orch.executive_view.parts_of_paths import DagId, RunId

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        401: "Nobody is logged in.",
        403: "The user may see it, and not act on it.",
        404: "There is no such thing, or not for this user.",
        409: "Somebody was faster: look again.",
        422: "It cannot be done, or the request cannot be understood; the detail says what to do.",
    }.items()
}

router = APIRouter(prefix="/api/v1", responses=PROBLEMS, tags=["Actions"])


@router.get("/dags/{dag_id}/dagRuns/{run_id}/actions", response_model=InstanceActions)
def actions(request: Request, viewer: ViewerDep, session: SessionDep, dag_id: DagId, run_id: RunId) -> Response:
    """What the user may do with one instance, as a whole and step by step."""
    situation = _situation(session, viewer, dag_id, run_id)
    if not viewer.may_act(dag_id):
        return answered(request, InstanceActions(as_of=situation.now, may_act=False, instance=[], steps={}))
    of_all, of_steps = offers(situation)
    return answered(request, InstanceActions(as_of=situation.now, may_act=True, instance=of_all, steps=of_steps))


@router.post("/dags/{dag_id}/dagRuns/{run_id}/actions/preview", response_model=ActionPreview)
def preview_action(
    viewer: ViewerDep, session: SessionDep, dag_id: DagId, run_id: RunId, asked: ActionRequest
) -> ActionPreview:
    """What an action would do. Changes nothing."""
    situation = _situation(session, viewer, dag_id, run_id)
    acting(viewer, dag_id)
    return preview(session, situation, asked, plan_of(situation, asked))


@router.post("/dags/{dag_id}/dagRuns/{run_id}/actions", response_model=ActionDone)
def do_action(viewer: ViewerDep, session: SessionDep, dag_id: DagId, run_id: RunId, asked: ActionRequest) -> ActionDone:
    """Act on one instance, once for each id."""
    seen(viewer, dag_id)
    acting(viewer, dag_id)
    try:
        return act(session, viewer.name, dag_id, run_id, asked)
    except Refused as refused:
        raise HTTPException(refused.status, refused.detail) from refused


def acting(viewer: Viewer, dag_id: str) -> None:
    """Let pass who may act on a stream's instances.

    :raises HTTPException: 403, with the permissions that it takes.
    """
    if not viewer.may_act(dag_id):
        raise HTTPException(
            403,
            f"you may see {dag_id!r}, and not act on it: that takes the permission to edit its DAG runs and its task "
            f"instances; ask an administrator of Airflow",
        )


def _situation(session: SessionDep, viewer: Viewer, dag_id: str, run_id: str) -> Situation:
    seen(viewer, dag_id)
    situation = read_situation(session, dag_id, run_id, lock=False)
    if situation is None:
        raise HTTPException(404, f"there is no instance {run_id!r} of {dag_id!r} in Airflow, or you may not see it")
    return situation
