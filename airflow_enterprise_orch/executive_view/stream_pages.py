"""The pages of one stream: its choreography, its past, its versions, and what its schedule will start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import HTTPException
from sqlalchemy import and_, func, select

from airflow_enterprise_orch.due import due_at, in_words
from airflow_enterprise_orch.executive_view import graphs, past
from airflow_enterprise_orch.executive_view.ahead import Schedule, params_of, schedule_of, serialized
from airflow_enterprise_orch.executive_view.answers import Facet, Facets, Me, MyStream, StepFacet, TrendDay
from airflow_enterprise_orch.executive_view.answers_instance import Link
from airflow_enterprise_orch.executive_view.answers_stream import (
    BranchStatistics,
    Comparison,
    PathStatistics,
    RunAhead,
    RunsAhead,
    StepStatistics,
    StreamDetail,
    StreamRow,
    Streams,
    StreamStatistics,
    Version,
    Versions,
    WayStatistics,
)
from airflow_enterprise_orch.executive_view.changes import changes
from airflow_enterprise_orch.executive_view.event_kinds import EVENT_KINDS
from airflow_enterprise_orch.executive_view.overview import (
    Snapshot,
    StreamState,
    count,
    level_of,
    on_time_share,
    trend_day,
)
from airflow_enterprise_orch.executive_view.pictures import Picture, Pictures
from airflow_enterprise_orch.executive_view.redacting import Sight
from airflow_enterprise_orch.executive_view.statistics import OfDecision, Statistics
from airflow_enterprise_orch.executive_view.tables import INSTANCE, ROLLUP_DAY, STREAM

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_enterprise_orch.executive_view.access import Viewer

FARTHEST = timedelta(days=400)
"""How far ahead a schedule is asked."""

I = INSTANCE.c  # noqa: E741 - read as "I.version"
S = STREAM.c


def facets(taken: Snapshot, streams: frozenset[str]) -> Facets:
    """Return what can be filtered by."""
    states = [state for state in taken.streams.values() if state.stream.dag_id in streams]

    def plain(read: Callable[[Any], str]) -> list[Facet]:
        return [Facet(id=one, title=one) for one in sorted({read(state.stream) for state in states})]

    lanes = {lane.id: lane.title for state in states for lane in state.picture.lanes}
    steps = [step for state in states for step in state.picture.steps]
    systems = {step.system: step.stack.title for step in steps if step.system}
    return Facets(
        streams=sorted(
            (Facet(id=one.stream.dag_id, title=one.stream.title) for one in states), key=lambda one: (one.title, one.id)
        ),
        domains=plain(lambda row: row.domain),
        owners=plain(lambda row: row.owner),
        criticalities=plain(lambda row: row.criticality),
        stacks=[Facet(id=one, title=title) for one, title in sorted(lanes.items(), key=lambda entry: entry[1])],
        steps=[
            StepFacet(dag_id=state.stream.dag_id, id=step.id, title=step.title, stack=step.stack.id)
            for state in states
            for step in state.picture.steps
        ],
        systems=[Facet(id=one, title=title) for one, title in sorted(systems.items(), key=lambda entry: entry[1])],
        connections=[Facet(id=one, title=one) for one in sorted({step.connection for step in steps} - {""})],
        kinds=list(EVENT_KINDS),
    )


def me(taken: Snapshot, viewer: Viewer) -> Me:
    """Return who is asking."""
    mine = [state.stream for state in taken.streams.values() if state.stream.dag_id in viewer.streams]
    return Me(
        name=viewer.name,
        streams=[
            MyStream(dag_id=row.dag_id, title=row.title, may_act=viewer.may_act(row.dag_id))
            for row in sorted(mine, key=lambda row: (row.title, row.dag_id))
        ],
    )


def streams(taken: Snapshot, visible: frozenset[str]) -> Streams:
    """Return all streams, by domain and title."""
    states = [state for state in taken.streams.values() if state.stream.dag_id in visible]
    rows = [_row(state, None) for state in states]
    return Streams(as_of=taken.as_of, items=sorted(rows, key=lambda row: (row.domain, row.title, row.dag_id)))


def _row(state: StreamState, next_run: datetime | None) -> StreamRow:
    stream, counts = state.stream, count(state.rows)
    return StreamRow(
        dag_id=stream.dag_id,
        title=stream.title,
        description=state.picture.description,
        domain=stream.domain,
        owner=stream.owner,
        criticality=stream.criticality,
        version=stream.version,
        paused=stream.is_paused,
        removed=stream.is_removed,
        level=level_of(counts),
        counts=counts,
        next_run=next_run,
    )


def _state(taken: Snapshot, dag_id: str) -> StreamState:
    """Return a stream; one that is seconds old is there with the next snapshot."""
    found = taken.streams.get(dag_id)
    if found is None:
        raise HTTPException(404, f"there is no stream {dag_id!r}, or you may not see it")
    return found


def _picture(session: Session, dag_id: str, version: int) -> Picture:
    pictures = Pictures()
    pictures.load(session, {(dag_id, version)})
    found = pictures.of(dag_id, version)
    if not found.steps:
        raise HTTPException(404, f"there is no version {version} of stream {dag_id!r}")
    return found


def stream(session: Session, taken: Snapshot, viewer: Viewer, dag_id: str, version: int | None) -> StreamDetail:
    """Return one stream."""
    state = _state(taken, dag_id)
    number = version or state.stream.version
    picture = _picture(session, dag_id, number)
    dag = serialized(session, dag_id)
    schedule = schedule_of(dag)
    told = past.usual(session, dag_id, number, picture, taken.as_of)
    titles = {
        one.stream.dag_id: one.stream.title for one in taken.streams.values() if one.stream.dag_id in viewer.streams
    }
    next_run = None if state.stream.is_paused else next(schedule.runs(taken.as_of), None)
    due = picture.due
    return StreamDetail(
        as_of=taken.as_of,
        stream=_row(state, next_run),
        business_key=picture.key,
        due=in_words(due) if due else "",
        schedule=schedule.words,
        params=params_of(dag),
        graph=graphs.graph(picture, past=graphs.Past(told.heat, told.ways), may_see=titles.get),
        links=[Link(title="DAG in Airflow", href=f"/dags/{quote(dag_id, safe='')}")],
    )


# ------------------------------------------------------------------------------------------------------ statistics


def statistics(session: Session, taken: Snapshot, dag_id: str, days: int) -> StreamStatistics:
    """Return the past of a stream."""
    state = _state(taken, dag_id)
    since = taken.as_of - timedelta(days=days)
    picture = state.picture
    told, total = past.told(session, dag_id, state.stream.version, picture, since)
    rollups = {
        row.day: row
        for row in session.execute(
            select(ROLLUP_DAY).where(ROLLUP_DAY.c.dag_id == dag_id, ROLLUP_DAY.c.day > since.date())
        )
    }
    today = taken.as_of.date()
    shown = [today - timedelta(days=back) for back in range(days - 1, -1, -1)]
    trend: list[TrendDay] = [trend_day(one, [rollups[one]] if one in rollups else []) for one in shown]
    return StreamStatistics(
        as_of=taken.as_of,
        since=since.replace(minute=0, second=0, microsecond=0),
        instances=total,
        looked_at=told.instances,
        on_time_share=on_time_share(list(rollups.values())),
        p50_seconds=told.p50,
        p90_seconds=told.p90,
        bottleneck=picture.step_name(told.bottleneck) if told.bottleneck else None,
        steps=_of_steps(picture, told),
        branches=[_of_branch(picture, name, one) for name, one in told.decisions.items()],
        paths=[
            PathStatistics(steps=list(steps), count=many, share=round(many / told.instances, 4))
            for steps, many in told.paths
        ],
        trend=trend,
    )


def _of_steps(picture: Picture, told: Statistics) -> list[StepStatistics]:
    return [
        StepStatistics(
            step=picture.step_name(name),
            instances=one.instances,
            p50_seconds=one.p50,
            p90_seconds=one.p90,
            queued_p50_seconds=one.queued_p50,
            failed=one.failed,
            retried=one.retried,
            share=one.share,
        )
        for name, one in told.steps.items()
    ]


def _of_branch(picture: Picture, name: str, told: OfDecision) -> BranchStatistics:
    step = picture.by_id[name]
    known = {way.id: way for way in step.ways}
    ways = [
        WayStatistics(
            id=way,
            title=(known[way].when if way in known else "") or way,
            leads_to=(known[way].gives or list(known[way].then)) if way in known else None,
            count=told.ways.get(way, 0),
            share=round(told.ways.get(way, 0) / told.decisions, 4),
        )
        for way in dict.fromkeys([*known, *sorted(told.ways)])
    ]
    return BranchStatistics(
        step=picture.step_name(name), decisions=told.decisions, overridden=told.overridden, ways=ways
    )


# -------------------------------------------------------------------------------------------------------- versions


def versions(session: Session, taken: Snapshot, viewer: Viewer, dag_id: str) -> Versions:
    """Return all versions of a stream, the newest first, each with what changed since the one before."""
    columns = (S.version, S.digest, S.title, S.first_seen, S.is_current)
    rows = session.execute(select(*columns).where(S.dag_id == dag_id).order_by(S.version)).all()
    pictures = Pictures()
    pictures.load(session, ((dag_id, row.version) for row in rows))
    used, seen = _used(session, dag_id), Sight(viewer.streams)
    items: list[Version] = []
    before: Picture | None = None
    for row in rows:
        picture = pictures.of(dag_id, row.version)
        every, live = used.get(row.version, (0, 0))
        items.append(
            Version(
                version=row.version,
                digest=row.digest,
                title=row.title,
                first_seen=row.first_seen,
                current=row.is_current,
                instances=every,
                live=live,
                changes=changes(before, picture, seen) if before is not None else [],
            )
        )
        before = picture
    return Versions(as_of=taken.as_of, items=items[::-1])


def _used(session: Session, dag_id: str) -> Mapping[int, tuple[int, int]]:
    """Return how many instances ran each version, and how many of them are live."""
    every = select(I.version, func.count().label("n")).where(I.dag_id == dag_id).group_by(I.version)
    live = select(I.version, func.count().label("n")).where(and_(I.dag_id == dag_id, I.live)).group_by(I.version)
    of_live = {row.version: row.n for row in session.execute(live)}
    return {row.version: (row.n, of_live.get(row.version, 0)) for row in session.execute(every)}


def comparison(session: Session, viewer: Viewer, dag_id: str, old: int, new: int) -> Comparison:
    """Return what is different between two versions."""
    before, after = (_picture(session, dag_id, one) for one in (old, new))
    return Comparison(old=old, new=new, changes=changes(before, after, Sight(viewer.streams)))


# ----------------------------------------------------------------------------------------------------------- ahead


def runs_ahead(session: Session, taken: Snapshot, dag_id: str, most: int) -> RunsAhead:
    """Return what the schedule of a stream will start."""
    state = _state(taken, dag_id)
    picture, schedule = state.picture, schedule_of(serialized(session, dag_id))
    told = past.usual(session, dag_id, state.stream.version, picture, taken.as_of)
    moments = list(islice(schedule.runs(taken.as_of), most + 1))
    soon = [at for at in moments if at - taken.as_of <= FARTHEST]
    items = [_run(at, picture, schedule, told) for at in soon[:most]]
    return RunsAhead(
        as_of=taken.as_of,
        schedule=schedule.words,
        timezone=schedule.timezone,
        paused=state.stream.is_paused,
        history=told.instances if told.p50 is not None else 0,
        items=items,
        problem=_problem(schedule, len(moments), len(soon), most, paused=bool(state.stream.is_paused)),
    )


def _run(at: datetime, picture: Picture, schedule: Schedule, told: Statistics) -> RunAhead:
    enough = told.instances >= past.FEWEST_PAST
    return RunAhead(
        at=at,
        business_date=schedule.local_day(at),
        due_at=due_at(picture.due, run_after=at, logical_date=at) if picture.due else None,
        expected_end=at + timedelta(seconds=told.p50) if enough and told.p50 is not None else None,
        expected_end_p90=at + timedelta(seconds=told.p90) if enough and told.p90 is not None else None,
    )


def _problem(schedule: Schedule, found: int, soon: int, most: int, *, paused: bool) -> str | None:
    if schedule.timetable is None:
        return f"No time starts it: it runs {schedule.words or 'when somebody starts it'}"
    if paused:
        return "It is paused: Airflow starts none of these until somebody lets it go on"
    if soon < found and soon < most:
        return f"It runs no more within {FARTHEST.days} days"
    if found < most:
        return "The schedule ends: its calendar covers no later day"
    return None
