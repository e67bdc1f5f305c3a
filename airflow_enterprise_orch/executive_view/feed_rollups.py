"""What days came to, stream by stream: made anew from the instances whenever one of a day changes, never added up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, delete, insert, select

from airflow_enterprise_orch.executive_view.entries import past_run
from airflow_enterprise_orch.executive_view.forecast import MOST_PAST, Step, share
from airflow_enterprise_orch.executive_view.lost_time import lateness
from airflow_enterprise_orch.executive_view.statistics import PastRun, statistics
from airflow_enterprise_orch.executive_view.tables import INSTANCE, ROLLUP_DAY

Day = tuple[str, date, str]
"""A day of a stream: its DAG id, the day, its time zone."""
USUAL_FOR = timedelta(days=30)
"""From how long before a day's end it is told what is usual."""


def days_of(row: Mapping[Any, Any], zone: str) -> set[Day]:
    """Return the days on which an instance began and ended, in the time zone of its stream."""
    moments = (moment for moment in (row["started_at"], row["ended_at"]) if moment is not None)
    return {(row["dag_id"], moment.astimezone(ZoneInfo(zone)).date(), zone) for moment in moments}


def roll_up(connection: Connection, dag_id: str, day: date, zone: str, pictures: Mapping[tuple[str, int], Any]) -> None:
    """Make one day of one stream anew.

    :param pictures: by stream and version.
    """
    first, last = (
        datetime.combine(one, time.min, ZoneInfo(zone)).astimezone(UTC) for one in (day, day + timedelta(days=1))
    )
    of = INSTANCE.c
    mine = (of.dag_id == dag_id, of.state != "deleted")
    started = connection.execute(select(of.id).where(*mine, of.started_at >= first, of.started_at < last)).all()
    ended = connection.execute(
        select(
            of.run_after, of.started_at, of.ended_at, of.health, of.late_seconds, of.state, of.steps, of.version
        ).where(*mine, of.ended_at >= first, of.ended_at < last, of.live.is_(False))
    ).all()
    connection.execute(delete(ROLLUP_DAY).where(ROLLUP_DAY.c.dag_id == dag_id, ROLLUP_DAY.c.day == day))
    if not started and not ended:
        return
    health = Counter(row.health for row in ended)
    took = sorted(
        (row.ended_at - row.started_at).total_seconds()
        for row in ended
        if row.state == "success" and row.started_at is not None
    )
    connection.execute(
        insert(ROLLUP_DAY).values(
            day=day,
            dag_id=dag_id,
            started=len(started),
            ended=len(ended),
            on_time=health["on_time"],
            late=health["late"],
            failed=health["failed"],
            no_due=health["no_due"],
            duration_sum=sum(took),
            duration_p50=share(took, 0.5) if took else None,
            duration_p90=share(took, 0.9) if took else None,
            lateness=_lateness(connection, dag_id, last, ended, pictures),
            paths=_paths(ended),
        )
    )


def _lateness(
    connection: Connection, dag_id: str, last: datetime, ended: Any, pictures: Mapping[tuple[str, int], Any]
) -> dict[str, dict[str, float]]:
    """Return the lateness of late instances by the stacks on which they lost their time.

    What is usual is told from the instances of the month up to the end of the day, so that a day that is made anew
    comes out as before.
    """
    late = [row for row in ended if row.late_seconds and (dag_id, row.version) in pictures]
    found: dict[str, dict[str, float]] = {}
    usual: dict[int, dict[str, float]] = {}
    past: list[PastRun] | None = None
    for row in late:
        steps = pictures[dag_id, row.version]["steps"]
        flow = tuple(Step(step["id"], tuple(step["after"])) for step in steps)
        if row.version not in usual:
            past = _past(connection, dag_id, last) if past is None else past
            usual[row.version] = statistics(flow, past).usual
        run = past_run(row)
        ran = {name: (step.started, step.ended) for name, step in run.steps.items() if step.started and step.ended}
        stacks = {step["id"]: step["stack"] for step in steps}
        parts = lateness(row.late_seconds, flow, run.began, ran, usual[row.version], stacks)
        for stack, seconds in parts.items():
            told = found.setdefault(stack, {"late": 0, "seconds": 0.0})
            told["seconds"] += seconds
        if parts:
            found[max(parts, key=lambda name: (parts[name], name))]["late"] += 1
    return found


def _past(connection: Connection, dag_id: str, last: datetime) -> list[PastRun]:
    of = INSTANCE.c
    rows = connection.execute(
        select(of.run_after, of.started_at, of.ended_at, of.state, of.steps)
        .where(of.dag_id == dag_id, of.live.is_(False), of.state == "success")
        .where(of.ended_at >= last - USUAL_FOR, of.ended_at < last)
        .order_by(of.ended_at.desc())
        .limit(MOST_PAST)
    )
    return [past_run(row) for row in rows]


def _paths(ended: Any) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row in ended:
        for name, step in row.steps.items():
            for chosen in step.get("decision", {}).get("chosen", ()):
                found[name][chosen] = found[name].get(chosen, 0) + 1
    return dict(found)
