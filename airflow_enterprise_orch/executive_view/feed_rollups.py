"""What days came to, stream by stream: made anew from the instances whenever one of a day changes, never added up."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, delete, insert, select

from airflow_enterprise_orch.executive_view.forecast import share
from airflow_enterprise_orch.executive_view.tables import INSTANCE, ROLLUP_DAY


def day_of(moment: datetime | None, zone: str) -> date | None:
    """Return the day of a moment in a time zone."""
    return moment.astimezone(ZoneInfo(zone)).date() if moment is not None else None


def roll_up(connection: Connection, dag_id: str, day: date, zone: str) -> None:
    """Make one day of one stream anew."""
    first, last = (
        datetime.combine(one, time.min, ZoneInfo(zone)).astimezone(UTC) for one in (day, day + timedelta(days=1))
    )
    of = INSTANCE.c
    mine = (of.dag_id == dag_id, of.state != "deleted")
    started = connection.execute(select(of.id).where(*mine, of.started_at >= first, of.started_at < last)).all()
    ended = connection.execute(
        select(of.started_at, of.ended_at, of.health, of.late_seconds, of.state, of.steps).where(
            *mine, of.ended_at >= first, of.ended_at < last, of.live.is_(False)
        )
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
            lateness=_lateness(ended),
            paths=_paths(ended),
        )
    )


def _lateness(ended: Any) -> dict[str, dict[str, float]]:
    """Return the lateness of late instances by the stack whose step took the longest."""
    found: dict[str, dict[str, float]] = {}
    for row in ended:
        if not row.late_seconds:
            continue
        lasted = {
            step["stack"]: (datetime.fromisoformat(step["ended"]) - datetime.fromisoformat(step["started"]))
            for step in sorted(
                (one for one in row.steps.values() if {"stack", "started", "ended"} <= one.keys()),
                key=lambda one: datetime.fromisoformat(one["ended"]) - datetime.fromisoformat(one["started"]),
            )
        }
        if lasted:
            stack = max(lasted, key=lambda name: (lasted[name], name))
            told = found.setdefault(stack, {"late": 0, "seconds": 0.0})
            told["late"] += 1
            told["seconds"] += row.late_seconds
    return found


def _paths(ended: Any) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row in ended:
        for name, step in row.steps.items():
            for chosen in step.get("decision", {}).get("chosen", ()):
                found[name][chosen] = found[name].get(chosen, 0) + 1
    return dict(found)
