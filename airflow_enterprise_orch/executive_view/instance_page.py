"""The page of one instance: what its row, its stream's picture, its jobs and Airflow's own tables tell, together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from fastapi import HTTPException
from sqlalchemy import func, select

from airflow_enterprise_orch.due import due_at
from airflow_enterprise_orch.executive_view import graphs, jobs, past
from airflow_enterprise_orch.executive_view.access import Viewer
from airflow_enterprise_orch.executive_view.airflow_details import Details, details
from airflow_enterprise_orch.executive_view.answers import InstanceRow
from airflow_enterprise_orch.executive_view.answers_instance import (
    Cause,
    DecisionTold,
    InstanceDetail,
    Link,
    RemoteJob,
    StepJobs,
    StepRun,
    SubStream,
)
from airflow_enterprise_orch.executive_view.decisions import decisions_of
from airflow_enterprise_orch.executive_view.entries import Entry, entries, step_run
from airflow_enterprise_orch.executive_view.forecast import Outlook
from airflow_enterprise_orch.executive_view.instances import JOINED, ROW, instance_row
from airflow_enterprise_orch.executive_view.job_links import with_links
from airflow_enterprise_orch.executive_view.pictures import Picture, Pictures, PictureStep
from airflow_enterprise_orch.executive_view.redacting import OTHER_STREAM, Sight, sight
from airflow_enterprise_orch.executive_view.standing import Hold, blocks_of, holds_of
from airflow_enterprise_orch.executive_view.tables import INSTANCE, STREAM
from airflow_enterprise_orch.executive_view.timeline import as_now, plan, timeline, waits_of
from airflow_enterprise_orch.executive_view.why import Facts, why

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MOST_BELOW = 3
"""How many streams down a chain of causes goes."""

I = INSTANCE.c  # noqa: E741 - read as "I.run_id"
HOLDABLE = frozenset({"open", "queued", "held", "running", "retry"})
"""In which states a step can be held."""
BLOCKABLE = frozenset({"queued", "held", "running", "retry", "failed"})
"""In which states it matters to a step that nobody can log in to its system."""
MORE = (*ROW, I.run_after, I.params, I.steps, I.outputs, I.decisions, I.in_airflow)


@dataclass(frozen=True)
class Known:
    """What there is of one instance, as far as a viewer may see it.

    :param raw: its row in the database.
    """

    raw: Any
    sight: Sight
    row: InstanceRow
    picture: Picture
    entries: Mapping[str, Entry]
    details: Details
    jobs: Sequence[StepJobs]
    decisions: Sequence[DecisionTold]
    steps: Mapping[str, StepRun]
    now: datetime

    @property
    def undoing(self) -> dict[str, StepRun]:
        """How the undoing of steps goes that has begun."""
        return {
            step.id: step_run(entry.undo, _newest(step.undone_by, self.jobs), None, self.now)
            for step in self.picture.steps
            if (entry := self.entries.get(step.id)) is not None and entry.undo is not None
        }

    @property
    def seed(self) -> str:
        """Names the instance."""
        return f"{self.row.dag_id}/{self.row.run_id}"

    @property
    def began(self) -> datetime:
        """When its first steps could begin, or can."""
        return self.row.started_at or max(self.raw.run_after, self.now)

    @property
    def chosen(self) -> dict[str, tuple[str, ...]]:
        """What each deciding step chose."""
        return {
            name: entry.chose
            for name, entry in self.entries.items()
            if entry.chose is not None and self.picture.decides(name)
        }


def known(session: Session, viewer: Viewer, dag_id: str, run_id: str) -> Known:
    """Read an instance; :raises HTTPException: 404 where there is none, or none for this viewer."""
    newest = select(*MORE).select_from(JOINED).where(I.dag_id == dag_id, I.run_id == run_id).order_by(I.id.desc())
    raw = session.execute(newest.limit(1)).one_or_none() if dag_id in viewer.streams else None
    if raw is None or not viewer.may(DagAccessEntity.TASK_INSTANCE, dag_id):
        raise HTTPException(404, f"there is no instance {run_id!r} of {dag_id!r}, or you may not see it")
    now = _moment()
    pictures = Pictures()
    pictures.load(session, {(dag_id, raw.version)})
    picture = pictures.of(dag_id, raw.version)
    seen = sight(viewer, dag_id)
    told = Details()
    if raw.in_airflow:
        told = details(session, dag_id, run_id, viewer.streams, with_outputs=seen.values, live=raw.live)
        told = seen.details(told, picture)
    if seen.values:
        told = replace(told, outputs={**(raw.outputs or {}), **told.outputs})
    jobs_told = jobs.from_ledgers(told.ledgers, told.notes) if told.ledgers else jobs.from_history(session, raw.id)
    all_jobs = seen.jobs(with_links(jobs_told, picture), picture)
    kept = entries(raw.steps)
    runs = {
        name: step_run(entry, _newest(name, all_jobs), _due(picture, name, raw.run_after), now)
        for name, entry in kept.items()
        if name in picture.by_id
    }
    decisions = decisions_of(picture, {**(raw.decisions or {}), **told.decisions}, kept, seen, told.proposals)
    return Known(raw, seen, instance_row(raw, pictures, now), picture, kept, told, all_jobs, decisions, runs, now)


def detail(session: Session, viewer: Viewer, dag_id: str, run_id: str) -> InstanceDetail:
    """Return the page; :raises HTTPException: 404 where there is no such instance for this viewer."""
    one = known(session, viewer, dag_id, run_id)
    history = past.history(session, dag_id, one.raw.version, one.picture)
    live = as_now(one.picture, one.entries, one.now)
    planned = plan(history, live, one.began, one.seed)
    ahead = history.outlook(live, began=one.began, now=one.now, seed=one.seed) if one.row.live else None
    run = graphs.Run(one.steps, one.chosen, _undone(one), one.undoing, _sub_streams(one, viewer))
    titles = _titles(session, {step.runs for step in one.picture.steps if step.runs} & viewer.streams)
    return InstanceDetail(
        as_of=one.now,
        instance=one.row,
        description=one.picture.description,
        params=one.sight.params(one.raw.params or {}),
        outputs=one.sight.outputs(
            {one.picture.of_task.get(task, task): told for task, told in one.details.outputs.items()}, one.picture
        ),
        graph=graphs.graph(one.picture, run, may_see=titles.get),
        decisions=list(one.decisions),
        timeline=timeline(
            one.picture,
            one.steps,
            planned=planned,
            ahead=ahead,
            began=one.row.started_at,
            ended=one.row.ended_at,
            due_at=one.row.due_at,
            now=one.now,
        ),
        jobs=[_of_step(told, one.picture) for told in one.jobs],
        why=why(_facts(session, viewer, one, ahead, 0)),
        links=_links(one),
        gone=not one.raw.in_airflow,
    )


def _moment() -> datetime:
    """Return the moment that a page is of: one of six in a minute, so that not every look is at another page."""
    now = datetime.now(UTC).replace(microsecond=0)
    return now - timedelta(seconds=now.second % 10)


def _newest(step: str, all_jobs: Sequence[StepJobs]) -> RemoteJob | None:
    """Return the newest attempt of a step; of one with a list none, it has many."""
    for told in all_jobs:
        if told.task_id == step and told.map_index == -1 and told.jobs:
            return told.jobs[-1]
    return None


def _of_step(told: StepJobs, picture: Picture) -> StepJobs:
    """Name the step of a task's jobs."""
    step = picture.by_id.get(picture.of_task.get(told.task_id, ""))
    if step is None:
        return told
    return told.model_copy(
        update={"step": picture.step_name(step.id), "undoing": bool(step.undone_by) and told.task_id == step.undone_by}
    )


def _due(picture: Picture, step: str, run_after: datetime) -> datetime | None:
    """Return when a step must be over."""
    due = picture.by_id[step].due
    return due_at(due, run_after=run_after) if due else None


def _undone(one: Known) -> frozenset[str]:
    """Return the steps whose work was undone."""
    return frozenset(
        step.id
        for step in one.picture.steps
        if step.undone_by
        and isinstance(record := one.details.undone.get(step.undone_by), Mapping)
        and record.get("done") is not None
    )


def _sub_streams(one: Known, viewer: Viewer) -> dict[str, SubStream]:
    """Return the instances that its steps started: such a step's job is one, and its id the run's."""
    found = {}
    for step in one.picture.steps:
        run = one.steps.get(step.id)
        if step.runs and step.runs in viewer.streams and run is not None and run.job is not None:
            found[step.id] = SubStream(dag_id=run.job.job_name or step.runs, title=None, run_id=run.job.job_id)
    return found


def _others(session: Session, one: Known) -> dict[str, str]:
    """Return by step the title of the stream that it runs or waits for; "" where the viewer may not see that."""
    of_step = {step.id: one.picture.other_stream(step.id) for step in one.picture.steps if step.kind in OTHER_STREAM}
    titles = _titles(session, set(of_step.values()) & one.sight.streams)
    return {name: titles.get(other, "") for name, other in of_step.items()}


def _titles(session: Session, dag_ids: set[str]) -> dict[str, str]:
    if not dag_ids:
        return {}
    rows = session.execute(
        select(STREAM.c.dag_id, STREAM.c.title).where(STREAM.c.dag_id.in_(sorted(dag_ids)), STREAM.c.is_current)
    )
    return {row.dag_id: row.title for row in rows}


def _facts(session: Session, viewer: Viewer, one: Known, ahead: Outlook | None, depth: int) -> Facts:
    at = one.row.step.id if one.row.step is not None else ""
    others = 0
    if one.row.live and at:
        same = (I.dag_id == one.row.dag_id, I.live, I.current_step == at, I.id != one.row.id)
        others = session.scalar(select(func.count()).select_from(INSTANCE).where(*same)) or 0
    return Facts(
        row=one.row,
        picture=one.picture,
        steps=one.steps,
        undoing=one.undoing,
        past=past.usual(session, one.row.dag_id, one.raw.version, one.picture, one.now),
        now=one.now,
        ahead=ahead,
        questions=one.details.questions,
        pools=one.details.pools,
        holds=_holds(one),
        blocks=blocks_of(session, {step.connection for step in _at_work(one, BLOCKABLE)}) if one.raw.in_airflow else {},
        waits=waits_of(one.entries, one.now),
        others={at: others} if others else {},
        below=_below(session, viewer, one, depth),
        other=_others(session, one),
        zone=one.picture.zone,
    )


def _below(session: Session, viewer: Viewer, one: Known, depth: int) -> dict[str, Sequence[Cause]]:
    """Return why the instances that its steps started are as they are."""
    found: dict[str, Sequence[Cause]] = {}
    if depth >= MOST_BELOW or not one.row.live:
        return found
    for name, sub in _sub_streams(one, viewer).items():
        run = one.steps[name]
        if run.state not in ("running", "retry") or sub.dag_id is None or sub.run_id is None:
            continue
        try:
            below = known(session, viewer, sub.dag_id, sub.run_id)
        except HTTPException:
            continue  # it is not there yet, or this viewer may not see it
        found[name] = why(_facts(session, viewer, below, None, depth + 1)).chain
    return found


def _holds(one: Known) -> dict[str, Hold]:
    """Return what people hold of its open steps."""
    found = holds_of(_at_work(one, HOLDABLE), one.details.wishes, one.details.holds, stream=one.row.dag_id, now=one.now)
    # A job that was handed over before somebody held its system goes on.
    handed_over = {name for name, run in one.steps.items() if run.job is not None and run.job.state != "closed"}
    return {name: hold for name, hold in found.items() if name not in handed_over}


def _at_work(one: Known, states: frozenset[str]) -> list[PictureStep]:
    """Return the steps that are in some states; those that nobody knows anything of are open."""
    open_ = "open" in states
    return [
        step
        for step in one.picture.steps
        if (run.state in states if (run := one.steps.get(step.id)) is not None else open_)
    ]


def _links(one: Known) -> list[Link]:
    if not one.raw.in_airflow:
        return []
    dag, run = quote(one.row.dag_id, safe=""), quote(one.row.run_id, safe="")
    links = [Link(title="Run in Airflow", href=f"/dags/{dag}/runs/{run}")]
    if one.row.waiting_people:
        links.append(Link(title="Required Actions", href=f"/dags/{dag}/runs/{run}/required_actions"))
    if one.row.step is not None:
        task = quote(one.row.step.id, safe="")
        links.append(Link(title="Log of the current step", href=f"/dags/{dag}/runs/{run}/tasks/{task}"))
    return links
