"""What Airflow has no more: instances whose runs somebody deleted stay, as ``deleted``, and it is told who did that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from airflow_enterprise_orch.executive_view import airflow_tables
from airflow_enterprise_orch.executive_view.feed_events import deleted, is_told, keep, whose
from airflow_enterprise_orch.executive_view.feed_instance import aware
from airflow_enterprise_orch.executive_view.feed_rollups import Day, days_of
from airflow_enterprise_orch.executive_view.tables import INSTANCE, JOB

OVER: Mapping[str, Any] = {
    "state": "deleted",
    "live": False,
    "in_airflow": False,
    "health": "unknown",
    "waits_for": "nothing",
    "waiting_people": 0,
    "parked": 0,
    "current_step": None,
    "current_stack": None,
}


def keep_deleted(
    connection: Connection,
    gone: set[int],
    acted: Iterable[Any],
    named: Mapping[tuple[str, str], Any],
    pictures: Mapping[tuple[str, int], Mapping[str, Any]],
    revision: int,
    now: datetime,
) -> set[Day]:
    """Keep what was live and is not there any more, and what somebody deleted; return the days that this changes.

    :param gone: the numbers of the former.
    :param acted: what people did lately, by Airflow's log.
    :param named: by name the runs that Airflow has.
    :param pictures: by stream and version.
    """
    by_log = {(one.dag_id, one.run_id): one for one in acted if one.event == airflow_tables.DELETED}
    days: set[Day] = set()
    for row in {row["id"]: row for row in (*_gone(connection, gone), *_logged(connection, by_log, named))}.values():
        by = by_log.get((row["dag_id"], row["run_id"]))
        values = {**OVER, "airflow_id": -row["id"]}  # its number is free
        values |= {"ended_at": row["ended_at"] or now, "revision": revision, "changed_at": now}
        connection.execute(update(INSTANCE).where(INSTANCE.c.id == row["id"]).values(**values))
        open_jobs = (JOB.c.instance_id == row["id"], JOB.c.state != "closed")
        connection.execute(update(JOB).where(*open_jobs).values(orphan=True))
        at = aware(by.dttm) if by else now
        keep(connection, [(whose(row), deleted(row, at, by.owner if by else None))])
        days |= days_of(row, pictures[row["dag_id"], row["version"]]["timezone"])
    return days


def _gone(connection: Connection, numbers: set[int]) -> Iterator[Mapping[Any, Any]]:
    of = INSTANCE.c
    for some in airflow_tables.chunks(numbers):
        mine = (of.airflow_id.in_(some), of.in_airflow.is_(True), of.live.is_(True))
        yield from connection.execute(select(INSTANCE).where(*mine)).mappings().all()


def _logged(
    connection: Connection, by_log: Mapping[tuple[str, str], Any], named: Mapping[tuple[str, str], Any]
) -> Iterator[Mapping[Any, Any]]:
    of, reused = INSTANCE.c, connection.dialect.name == "sqlite"
    for some in airflow_tables.chunks(by_log):
        its = (of.dag_id.in_({one for one, _ in some}), of.run_id.in_([one for _, one in some]))
        for row in connection.execute(select(INSTANCE).where(*its, of.in_airflow.is_(True))).mappings().all():
            name = row["dag_id"], row["run_id"]
            if name not in by_log:
                continue
            at = aware(by_log[name].dttm)
            if _was_deleted(row, at, named.get(name), reused=reused) and not is_told(connection, *name, at):
                yield row


def _was_deleted(row: Mapping[Any, Any], at: datetime, there: Any, *, reused: bool) -> bool:
    """Tell whether the run of a row is gone by the deletion that was logged at a moment.

    Airflow logs a deletion before it deletes, also one that it then refuses; and a name can be given again.

    :param there: the run of that name that Airflow has.
    :param reused: the database may give a number twice.
    """
    if row["queued_at"] is not None and row["queued_at"] > at:
        return False  # it was made after that, or cleared, so it was there still
    if there is None or there.id != row["airflow_id"]:
        return True
    # Only SQLite gives the number of a deleted run again; it has one clock, so what was written before the run of that
    # number was made is about another.
    return reused and bool(there.created_at) and row["changed_at"] < aware(there.created_at)
