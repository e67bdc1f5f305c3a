"""The overview: how all streams are, in one look, at the price of one look a process after each write.

All clients share one :class:`Snapshot` of the live instances, of what failed lately and of the days behind. What a
viewer may see is then added up in memory, from the lines of their streams alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, not_, select

from airflow_enterprise_orch.executive_view import last_write
from airflow_enterprise_orch.executive_view.answers import (
    Counts,
    Forecast,
    Level,
    Overview,
    OverviewFilter,
    Stack,
    StackLateness,
    StackLight,
    StreamLine,
    TrendDay,
)
from airflow_enterprise_orch.executive_view.instances import forecast_of
from airflow_enterprise_orch.executive_view.kept import Kept
from airflow_enterprise_orch.executive_view.last_write import Write
from airflow_enterprise_orch.executive_view.pictures import Picture, Pictures
from airflow_enterprise_orch.executive_view.saying import LEVELS, sentence
from airflow_enterprise_orch.executive_view.tables import INSTANCE, ROLLUP_DAY, STREAM

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

LIFETIME = 10.0
"""Seconds for which a snapshot is good at most: what is late becomes later though nothing is written."""
STALE = timedelta(minutes=2)
"""Without word of Airflow for longer, nobody should trust what is shown."""
FAILED_FOR = timedelta(hours=24)
"""For so long a failed instance that nobody acknowledged counts as failed now."""
TREND_DAYS = 30
COMPARED_DAYS = 7

I = INSTANCE.c  # noqa: E741 - read as "I.due_at"
R = ROLLUP_DAY.c


@dataclass
class StreamState:
    """What is known of one stream now.

    :param rows: its live instances, and those that failed lately.
    :param days: its rollups by day.
    """

    stream: Any
    picture: Picture
    rows: list[Any] = field(default_factory=list)
    days: dict[date, Any] = field(default_factory=dict)


@dataclass
class Snapshot:
    """All streams at one moment.

    :param until: how long it is good though nothing is written, on the monotonic clock.
    """

    as_of: datetime
    fed_at: datetime | None
    until: float
    streams: Mapping[str, StreamState]


_snapshots: Kept[Snapshot] = Kept(2)


def snapshot(session: Session) -> Snapshot:
    """Return what all streams are like since the last write, at most some seconds old."""
    write = last_write.current(session)
    past = int(monotonic() // LIFETIME)
    return _snapshots.get((write, past), lambda: take(session, write, (past + 1) * LIFETIME))


def take(session: Session, write: Write, until: float) -> Snapshot:
    """Look at all streams; see :class:`Snapshot`."""
    now = datetime.now(UTC)
    stream = STREAM.c
    columns = (stream.dag_id, stream.version, stream.title, stream.domain, stream.owner, stream.criticality)
    current = session.execute(select(*columns, stream.is_removed, stream.is_paused).where(stream.is_current)).all()
    pictures = Pictures()
    pictures.load(session, {(row.dag_id, row.version) for row in current})
    states = {row.dag_id: StreamState(row, pictures.of(row.dag_id, row.version)) for row in current}
    wanted = (
        *(I.dag_id, I.live, I.state, I.health, I.due_at, I.ended_at, I.late_seconds, I.current_stack, I.waiting_people),
        *(I.parked, I.forecast_p50, I.forecast_p90, I.forecast_n, I.forecast_problem, I.acknowledged_at),
    )
    failed = and_(not_(I.live), I.health == "failed", I.ended_at >= now - FAILED_FOR, I.acknowledged_at.is_(None))
    # Two queries, because an index serves each.
    for where in (I.live, failed):
        for row in session.execute(select(*wanted).where(where)):
            if row.dag_id in states:
                states[row.dag_id].rows.append(row)
    since = now.date() - timedelta(days=TREND_DAYS + COMPARED_DAYS)
    # Not the paths: of thousands of days their JSON alone takes longer than all the rest.
    of_days = (R.dag_id, R.day, R.started, R.ended, R.on_time, R.late, R.failed)
    more = (R.duration_p50, R.duration_p90, R.lateness)
    for row in session.execute(select(*of_days, *more).where(R.day >= since)):
        if row.dag_id in states:
            states[row.dag_id].days[row.day] = row
    return Snapshot(now, write.fed_at, until, states)


def overview(taken: Snapshot, filters: OverviewFilter, streams: frozenset[str]) -> Overview:
    """Return the overview of what a viewer may see.

    :param streams: the ids of the streams that the viewer may see.
    """
    states = _wanted(taken, filters, streams)
    lines = sorted(
        (stream_line(state, taken.as_of) for state in states),
        key=lambda line: (-LEVELS.index(line.level), -line.counts.late, -line.counts.at_risk, line.title),
    )
    rows = [row for state in states for row in state.rows]
    counts = count(rows)
    today = taken.as_of.date()
    days = [today - timedelta(days=back) for back in range(TREND_DAYS - 1, -1, -1)]
    trend = [trend_day(one, [state.days[one] for state in states if one in state.days]) for one in days]
    open_since = [since for since in (_unseen_since(row, taken.as_of) for row in rows) if since is not None]
    oldest = _minutes(taken.as_of - min(open_since)) if open_since else None
    share = _share(states, today - timedelta(days=COMPARED_DAYS), today)
    before = _share(states, today - timedelta(days=2 * COMPARED_DAYS + 1), today - timedelta(days=COMPARED_DAYS + 1))
    level: Level = max((line.level for line in lines), key=LEVELS.index, default="idle")
    return Overview(
        as_of=taken.as_of,
        fed_at=taken.fed_at,
        stale=taken.fed_at is None or taken.as_of - taken.fed_at > STALE,
        sentence=sentence(lines, counts, _late_where(rows, states, taken.as_of)),
        level=level,
        counts=counts,
        unacknowledged=len(open_since),
        oldest_unacknowledged_seconds=oldest,
        on_time_share=share,
        on_time_share_before=before,
        streams=lines,
        trend=trend,
        lateness_by_stack=_lateness(states, days[0]),
    )


def _wanted(taken: Snapshot, filters: OverviewFilter, streams: frozenset[str]) -> list[StreamState]:
    def fits(state: StreamState) -> bool:
        row = state.stream
        return (
            row.dag_id in streams
            and (not row.is_removed or any(one.live for one in state.rows))
            and (not filters.stream or row.dag_id in filters.stream)
            and (not filters.domain or row.domain in filters.domain)
            and (not filters.owner or row.owner in filters.owner)
            and (not filters.criticality or row.criticality in filters.criticality)
        )

    return [state for state in taken.streams.values() if fits(state)]


def stream_line(state: StreamState, now: datetime) -> StreamLine:
    """Return one stream's line."""
    row = state.stream
    counts = count(state.rows)
    at: defaultdict[str, list[Any]] = defaultdict(list)
    for one in state.rows:
        if one.live:
            at[_stack(one, state)].append(one)
    lights = [_light(stack, at[stack.id]) for stack in state.picture.lanes]
    due = min((one for one in state.rows if one.live and one.due_at), key=lambda one: one.due_at, default=None)
    forecast: Forecast | None = forecast_of(due) if due is not None else None
    late = max((_late(one, now) for one in state.rows), default=0)
    return StreamLine(
        dag_id=row.dag_id,
        title=row.title,
        domain=row.domain,
        owner=row.owner,
        criticality=row.criticality,
        level=level_of(counts),
        counts=counts,
        stacks=lights,
        due_at=due.due_at if due is not None else None,
        forecast=forecast,
        late_seconds=late or None,
        on_time_share=_share([state], now.date() - timedelta(days=COMPARED_DAYS), now.date()),
    )


class Tally(NamedTuple):
    """How many instances are how; see :class:`Counts`."""

    live: int
    at_risk: int
    late: int
    failed: int
    waiting_people: int
    parked: int


def count(rows: Sequence[Any]) -> Counts:
    """Count how instances are, each number as the list with that filter counts it."""
    return Counts(**_tally(rows)._asdict())


def _tally(rows: Sequence[Any]) -> Tally:
    live = at_risk = late = failed = waiting_people = parked = 0
    for row in rows:
        health = row.health
        failed += health == "failed" and row.acknowledged_at is None
        if row.live:
            live += 1
            at_risk += health == "at_risk"
            late += health == "late"
            waiting_people += row.waiting_people > 0
            parked += row.parked > 0
    return Tally(live, at_risk, late, failed, waiting_people, parked)


def level_of(counts: Counts | Tally) -> Level:
    """Return the traffic light of counts."""
    if counts.late or counts.failed:
        return "problem"
    if counts.at_risk or counts.waiting_people or counts.parked:
        return "attention"
    return "ok" if counts.live else "idle"


def trend_day(one: date, days: Sequence[Any]) -> TrendDay:
    """Return what happened on a day, from the rollups of some streams; the durations where it is of one alone."""
    alone = days[0] if len(days) == 1 else None
    return TrendDay(
        day=one,
        started=sum([row.started for row in days]),
        ended=sum([row.ended for row in days]),
        on_time=sum([row.on_time for row in days]),
        late=sum([row.late for row in days]),
        failed=sum([row.failed for row in days]),
        on_time_share=on_time_share(days),
        p50_seconds=alone.duration_p50 if alone is not None else None,
        p90_seconds=alone.duration_p90 if alone is not None else None,
    )


def on_time_share(days: Sequence[Any]) -> float | None:
    """Return which part of the instances that had a due time, or failed, ended well and in time."""
    on_time = sum([row.on_time for row in days])
    due = on_time + sum([row.late + row.failed for row in days])
    return round(on_time / due, 4) if due else None


def _share(states: Sequence[StreamState], first: date, last: date) -> float | None:
    days = [first + timedelta(days=ahead) for ahead in range((last - first).days + 1)]
    return on_time_share([state.days[one] for state in states for one in days if one in state.days])


def _lateness(states: Sequence[StreamState], first: date) -> list[StackLateness]:
    seconds: defaultdict[str, float] = defaultdict(float)
    for state in states:
        for one, row in state.days.items():
            if one >= first:
                for stack, told in row.lateness.items():
                    seconds[stack] += float(told["seconds"])
    whole = sum(seconds.values())
    titles = _titles(states)
    return [
        StackLateness(
            stack=Stack(id=stack, title=titles.get(stack, stack)), seconds=round(some, 1), share=round(some / whole, 4)
        )
        for stack, some in sorted(seconds.items(), key=lambda entry: (-entry[1], entry[0]))
        if some > 0
    ]


def _titles(states: Sequence[StreamState]) -> dict[str, str]:
    return {lane.id: lane.title for state in states for lane in state.picture.lanes}


def _light(stack: Stack, rows: Sequence[Any]) -> StackLight:
    counts = _tally(rows)
    return StackLight(
        stack=stack,
        level=level_of(counts),
        live=counts.live,
        late=counts.late,
        at_risk=counts.at_risk,
        failed=counts.failed,
        waiting_people=counts.waiting_people,
    )


def _stack(row: Any, state: StreamState) -> str:
    """Return the stack that an instance is at; one that has not begun is at the first."""
    if row.current_stack:
        return str(row.current_stack)
    return state.picture.lanes[0].id if state.picture.lanes else ""


def _late(row: Any, now: datetime) -> int:
    """Return how late a late instance is, in whole minutes, at least one."""
    if not row.live or row.health != "late" or row.due_at is None or row.due_at >= now:
        return 0
    return max(60, _minutes(now - row.due_at))


def _minutes(some: timedelta) -> int:
    return int(some.total_seconds()) // 60 * 60


def _unseen_since(row: Any, now: datetime) -> datetime | None:
    """Return since when somebody should have acknowledged an instance; None when nobody need."""
    if row.acknowledged_at is not None:
        return None
    if row.live and row.health == "late":
        return row.due_at or now
    if row.health == "failed":
        return row.ended_at or now
    return None


def _late_where(rows: Sequence[Any], states: Sequence[StreamState], now: datetime) -> str:
    """Return the name of the kind of system that most late instances are at; "" where there is none such."""
    at = Counter(row.current_stack for row in rows if _late(row, now) and row.current_stack)
    if not at:
        return ""
    stack, many = at.most_common(1)[0]
    return _titles(states).get(stack, stack) if many * 2 > at.total() else ""
