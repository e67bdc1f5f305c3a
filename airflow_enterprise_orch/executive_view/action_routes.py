"""The addresses at which people act. Each asks who may do what, in the path's own DAG, and answers what came of it.

Nothing here is done by a GET. Whoever may see an instance and not act on it is told so (403); whoever may not see it,
that there is none (404).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response

from airflow_enterprise_orch.executive_view.access import Viewer, ViewerDep, seen
from airflow_enterprise_orch.executive_view.actions import bulk, holding_many
from airflow_enterprise_orch.executive_view.actions.carrying_out import Refused, act
from airflow_enterprise_orch.executive_view.actions.foreseeing import preview
from airflow_enterprise_orch.executive_view.actions.held_jobs import held_jobs
from airflow_enterprise_orch.executive_view.actions.planning import offers, plan_of
from airflow_enterprise_orch.executive_view.actions.situation import Situation, read_situation
from airflow_enterprise_orch.executive_view.answering import answered
from airflow_enterprise_orch.executive_view.answers import Problem
from airflow_enterprise_orch.executive_view.answers_actions import (
    ActionDone,
    ActionPreview,
    ActionRequest,
    Bulk,
    BulkAsked,
    BulkResults,
    Bulks,
    Hold,
    HoldAsked,
    Holds,
    InstanceActions,
    Outcome,
    ReleaseAsked,
)
from airflow_enterprise_orch.executive_view.parts_of_paths import DagId, RunId
from airflow_enterprise_orch.executive_view.turns import InTurn, SessionDep

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

ActionId = Annotated[str, Path(max_length=80)]

router = APIRouter(prefix="/api/v1", responses=PROBLEMS, tags=["Actions"], route_class=InTurn)


@router.get("/dags/{dag_id}/dagRuns/{run_id}/actions", response_model=InstanceActions)
def actions(request: Request, viewer: ViewerDep, session: SessionDep, dag_id: DagId, run_id: RunId) -> Response:
    """What the user may do with one instance, as a whole and step by step."""
    situation = _situation(session, viewer, dag_id, run_id)
    if not viewer.may_act(dag_id):
        return answered(request, InstanceActions(as_of=situation.now, may_act=False, instance=[], steps={}))
    of_all, of_steps = offers(situation)
    told = InstanceActions(
        as_of=situation.now, may_act=True, instance=of_all, steps=of_steps, held_jobs=held_jobs(situation)
    )
    return answered(request, told)


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
    with refusing():
        return act(session, viewer.name, dag_id, run_id, asked)


@router.get("/holds", response_model=Holds, tags=["Holds"])
def holds(request: Request, viewer: ViewerDep, session: SessionDep) -> Response:
    """The holds of streams, systems and connections."""
    with refusing():
        return answered(request, holding_many.all_holds(session, viewer))


@router.post("/holds", response_model=Hold, tags=["Holds"])
def hold_many(viewer: ViewerDep, session: SessionDep, asked: HoldAsked) -> Hold:
    """Hold all that has not begun of a stream, of a kind of system, or of a connection."""
    with refusing():
        return holding_many.place(session, viewer, asked)


@router.post("/holds/{hold_id}/release", response_model=Hold, tags=["Holds"])
def release_many(viewer: ViewerDep, session: SessionDep, hold_id: ActionId, asked: ReleaseAsked) -> Hold:
    """End a hold, and let what it held go on."""
    with refusing():
        return holding_many.release(session, viewer, hold_id, asked)


@router.post("/bulk", response_model=Bulk, tags=["Bulk"])
def act_on_many(viewer: ViewerDep, session: SessionDep, asked: BulkAsked) -> Bulk:
    """Ask the same of all instances that fit a filter, or count them only. Carried out in the background."""
    with refusing():
        return bulk.ask(session, viewer, asked)


@router.get("/bulk", response_model=Bulks, tags=["Bulk"])
def bulks(request: Request, viewer: ViewerDep, session: SessionDep) -> Response:
    """The newest actions on many instances."""
    return answered(request, bulk.newest(session, viewer))


@router.get("/bulk/{bulk_id}", response_model=Bulk, tags=["Bulk"])
def one_bulk(viewer: ViewerDep, session: SessionDep, bulk_id: ActionId) -> Bulk:
    """How far an action on many instances is."""
    with refusing():
        return bulk.one(session, viewer, bulk_id)


@router.get("/bulk/{bulk_id}/results", response_model=BulkResults, tags=["Bulk"])
def bulk_results(
    viewer: ViewerDep,
    session: SessionDep,
    bulk_id: ActionId,
    outcome: Annotated[Outcome | None, Query()] = None,
    cursor: Annotated[str, Query(max_length=500)] = "",
) -> BulkResults:
    """One page of what became of each instance."""
    with refusing():
        return bulk.results(session, viewer, bulk_id, outcome, cursor)


@router.post("/bulk/{bulk_id}/stop", response_model=Bulk, tags=["Bulk"])
def stop_bulk(viewer: ViewerDep, session: SessionDep, bulk_id: ActionId, asked: ReleaseAsked) -> Bulk:
    """Go no further; what was done stays."""
    with refusing():
        return bulk.stop(session, viewer, bulk_id, asked)


@contextmanager
def refusing() -> Iterator[None]:
    """Answer what is refused as a problem; the transaction is rolled back with it."""
    try:
        yield
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
