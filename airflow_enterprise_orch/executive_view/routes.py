"""The addresses of the read API. Each asks who may see what, reads, and answers; the reading itself is elsewhere.

Whoever may not see a stream is told the same as of one that does not exist.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from time import monotonic
from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.utils.session import create_session
from fastapi import APIRouter, HTTPException, Query, Request, Response
from sqlalchemy.orm import Session

from airflow_enterprise_orch.executive_view import (
    answers,
    answers_instance,
    answers_stream,
    audit,
    instance_page,
    logs,
    stream_pages,
)
from airflow_enterprise_orch.executive_view import instances as instance_list
from airflow_enterprise_orch.executive_view import overview as overviews
from airflow_enterprise_orch.executive_view.access import ViewerDep, seen
from airflow_enterprise_orch.executive_view.answering import answered
from airflow_enterprise_orch.executive_view.exporting import as_csv, download
from airflow_enterprise_orch.executive_view.jobs import read_jobs, shown_by
from airflow_enterprise_orch.executive_view.parts_of_paths import DagId, RunId, TaskId
from airflow_enterprise_orch.executive_view.redacting import Sights, sight
from airflow_enterprise_orch.executive_view.sharing import Sharing, answered_to_all, shared, shared_within
from airflow_enterprise_orch.executive_view.turns import SessionDep, takes_turns, turn

CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
LINES: dict[int | str, dict[str, Any]] = {200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    304: {"description": "Nothing changed since the answer whose ETag was given as If-None-Match."},
    **{
        status: {"model": answers.Problem, "description": text}
        for status, text in {
            401: "Nobody is logged in.",
            404: "There is no such thing, or not for this user.",
            422: "The filter cannot be understood.",
        }.items()
    },
}

OF_AIRFLOW = 2.0
"""Seconds for which an answer is good that tells what is in Airflow's own tables, whose writes nobody tells us of."""

router = APIRouter(prefix="/api/v1", responses=PROBLEMS, route_class=Sharing)


@router.get("/overview", response_model=answers.Overview, tags=["Overview"])
@shared
def overview(
    request: Request, viewer: ViewerDep, session: SessionDep, filters: Annotated[answers.OverviewFilter, Query()]
) -> Response:
    """How all streams are: one sentence, counts, a traffic light for each stream and kind of system, 30 days."""
    taken = overviews.snapshot(session)
    return answered_to_all(request, overviews.overview(taken, filters, viewer.streams), taken.until)


@router.get("/facets", response_model=answers.Facets, tags=["Overview"])
@shared
def facets(request: Request, viewer: ViewerDep, session: SessionDep) -> Response:
    """What instances and streams can be filtered by."""
    taken = overviews.snapshot(session)
    return answered_to_all(request, stream_pages.facets(taken, viewer.streams), taken.until)


@router.get("/me", response_model=answers.Me, tags=["Overview"])
def me(request: Request, viewer: ViewerDep, session: SessionDep) -> Response:
    """Who is asking, and which streams they may see and act on."""
    return answered(request, stream_pages.me(overviews.snapshot(session), viewer))


@router.get("/instances", response_model=answers.InstancePage, tags=["Instances"])
@shared
def instances(
    request: Request, viewer: ViewerDep, session: SessionDep, query: Annotated[answers.InstanceQuery, Query()]
) -> Response:
    """One page of the instances that fit a filter, and how many fit in all."""
    until = instance_list.until()  # asked first: the minute may pass meanwhile
    return answered_to_all(request, instance_list.page(session, query, viewer.streams), until)


@router.get("/instances.csv", response_class=Response, responses=CSV, tags=["Instances"])
def instances_csv(viewer: ViewerDep, query: Annotated[answers.InstanceFilter, Query()]) -> Response:
    """All instances that fit a filter, as CSV."""
    rows = instance_list.csv_rows(_opened, query, viewer.streams)
    return download(as_csv(list(instance_list.COLUMNS), rows), "instances.csv", "text/csv")


@router.get("/dags/{dag_id}/dagRuns/{run_id}", response_model=answers_instance.InstanceDetail, tags=["Instances"])
@shared_within
def instance(request: Request, viewer: ViewerDep, session: SessionDep, dag_id: DagId, run_id: RunId) -> Response:
    """One instance: its graph, decisions, timeline, remote jobs, and why it is late or what it waits for."""
    until = monotonic() + OF_AIRFLOW
    return answered_to_all(request, instance_page.detail(session, viewer, dag_id, run_id), until)


@router.get("/dags/{dag_id}/dagRuns/{run_id}/jobs", response_model=answers_instance.InstanceJobs, tags=["Instances"])
@shared_within
def jobs(request: Request, viewer: ViewerDep, session: SessionDep, dag_id: DagId, run_id: RunId) -> Response:
    """Every remote job of one instance: which system, which job, how it ended."""
    until = monotonic() + OF_AIRFLOW
    seen(viewer, dag_id, DagAccessEntity.TASK_INSTANCE)
    return answered_to_all(request, read_jobs(session, viewer, dag_id, run_id), until)


@router.get(
    "/dags/{dag_id}/dagRuns/{run_id}/steps/{task_id}/log", response_model=answers_instance.StepLog, tags=["Instances"]
)
@takes_turns
def step_log(
    request: Request,
    viewer: ViewerDep,
    session: SessionDep,
    dag_id: DagId,
    run_id: RunId,
    task_id: TaskId,
    map_index: Annotated[int, Query(ge=-1, description="The item of a step with a list; -1 without.")] = -1,
    try_number: Annotated[int | None, Query(ge=1, description="The newest when it is not given.")] = None,
    lines: Annotated[int, Query(ge=1, le=2000, description="How many of the last lines.")] = 200,
) -> Response:
    """The end of the log of one step."""
    with turn(session):
        seen(viewer, dag_id, DagAccessEntity.TASK_LOGS)
        _, picture = shown_by(session, dag_id, run_id)
        if sight(viewer, dag_id).hides(picture, picture.of_task.get(task_id, "")):
            return answered(request, logs.hidden(task_id, map_index, try_number))
        found = logs.find(session, dag_id, run_id, task_id, map_index, try_number)
    if found is None:
        raise HTTPException(404, f"step {task_id!r} of {run_id!r} has no such try")
    return answered(request, logs.tail(found, lines))


@router.get("/streams", response_model=answers_stream.Streams, tags=["Streams"])
@shared
def streams(request: Request, viewer: ViewerDep, session: SessionDep) -> Response:
    """All streams."""
    taken = overviews.snapshot(session)
    return answered_to_all(request, stream_pages.streams(taken, viewer.streams), taken.until)


@router.get("/streams/{dag_id}", response_model=answers_stream.StreamDetail, tags=["Streams"])
@shared
def stream(
    request: Request,
    viewer: ViewerDep,
    session: SessionDep,
    dag_id: DagId,
    version: Annotated[int | None, Query(ge=1, description="The current one when it is not given.")] = None,
) -> Response:
    """One stream: what it does, as choreography."""
    seen(viewer, dag_id)
    taken = overviews.snapshot(session)
    return answered_to_all(request, stream_pages.stream(session, taken, viewer, dag_id, version), taken.until)


@router.get("/streams/{dag_id}/statistics", response_model=answers_stream.StreamStatistics, tags=["Streams"])
@shared
def statistics(
    request: Request,
    viewer: ViewerDep,
    session: SessionDep,
    dag_id: DagId,
    days: Annotated[int, Query(ge=1, le=366, description="How far back, from now.")] = 30,
) -> Response:
    """How long the steps of a stream took, which ways its instances went, and where the time went."""
    seen(viewer, dag_id)
    taken = overviews.snapshot(session)
    return answered_to_all(request, stream_pages.statistics(session, taken, dag_id, days), taken.until)


@router.get("/streams/{dag_id}/versions", response_model=answers_stream.Versions, tags=["Streams"])
@shared
def versions(request: Request, viewer: ViewerDep, session: SessionDep, dag_id: DagId) -> Response:
    """All versions of a stream, and what changed from each to the next."""
    seen(viewer, dag_id)
    taken = overviews.snapshot(session)
    return answered_to_all(request, stream_pages.versions(session, taken, viewer, dag_id), taken.until)


@router.get("/streams/{dag_id}/versions/{old}/{new}", response_model=answers_stream.Comparison, tags=["Streams"])
@shared
def comparison(request: Request, viewer: ViewerDep, session: SessionDep, dag_id: DagId, old: int, new: int) -> Response:
    """What is different between two versions of a stream."""
    seen(viewer, dag_id)
    compared = stream_pages.comparison(session, viewer, dag_id, old, new)
    return answered_to_all(request, compared, overviews.snapshot(session).until)


@router.get("/streams/{dag_id}/runs-ahead", response_model=answers_stream.RunsAhead, tags=["Streams"])
@shared
def runs_ahead(
    request: Request,
    viewer: ViewerDep,
    session: SessionDep,
    dag_id: DagId,
    count: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """What the schedule of a stream will start, and when it is expected to be over."""
    seen(viewer, dag_id)
    taken = overviews.snapshot(session)
    return answered_to_all(request, stream_pages.runs_ahead(session, taken, dag_id, count), taken.until)


@router.get("/events", response_model=answers.EventPage, tags=["Audit"])
def events(
    request: Request, viewer: ViewerDep, session: SessionDep, query: Annotated[answers.EventQuery, Query()]
) -> Response:
    """One page of the audit trail: who decided, changed or answered what, when and why."""
    may_see = viewer.only(DagAccessEntity.AUDIT_LOG)
    return answered(request, audit.page(session, query, may_see, Sights(viewer, may_see)))


@router.get("/events.csv", response_class=Response, responses=CSV, tags=["Audit"])
def events_csv(viewer: ViewerDep, query: Annotated[answers.EventFilter, Query()]) -> Response:
    """The audit trail as CSV."""
    may_see = viewer.only(DagAccessEntity.AUDIT_LOG)
    told = audit.everything_told(_opened, query, may_see, Sights(viewer, may_see))
    rows = ([read(event) for read in audit.CSV.values()] for event in told)
    return download(as_csv(list(audit.CSV), rows), "events.csv", "text/csv")


@router.get("/events.jsonl", response_class=Response, responses=LINES, tags=["Audit"])
def events_jsonl(viewer: ViewerDep, query: Annotated[answers.EventFilter, Query()]) -> Response:
    """The audit trail as JSON Lines."""
    may_see = viewer.only(DagAccessEntity.AUDIT_LOG)
    told = audit.everything_told(_opened, query, may_see, Sights(viewer, may_see))
    lines = (f"{event.model_dump_json()}\n" for event in told)
    return download(lines, "events.jsonl", "application/x-ndjson")


def _opened() -> AbstractContextManager[Session]:
    """Open a session of a file's own: that of the request is closed before the first line goes out."""
    return create_session(scoped=False)


@router.get("/orphans", response_model=answers.Orphans, tags=["Audit"])
def orphans(request: Request, viewer: ViewerDep, session: SessionDep) -> Response:
    """Remote jobs that nobody waits for any more."""
    return answered(request, audit.orphans(session, viewer.only(DagAccessEntity.TASK_INSTANCE), viewer.streams))
