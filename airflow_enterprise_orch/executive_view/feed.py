"""The feed: keeps our tables equal to what Airflow knows, and keeps what Airflow forgets.

One API server leads (``lease.py``). A look at Airflow compares the live runs by what tells that they changed, takes new
runs by their number, reads what left the live set, and what people did by Airflow's log. Once a day everything is
compared anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.orm import Session

from airflow_enterprise_orch.executive_view import airflow_tables, feed_instance
from airflow_enterprise_orch.executive_view.feed_events import Happened, Whose, deleted, happened, is_told, keep, late
from airflow_enterprise_orch.executive_view.feed_forecast import Forecaster
from airflow_enterprise_orch.executive_view.feed_rollups import day_of, roll_up
from airflow_enterprise_orch.executive_view.lease import Lease
from airflow_enterprise_orch.executive_view.tables import EVENT, INSTANCE, JOB, STREAM

BATCH = 500
"""How many runs that are not live one look takes; the others come with the next ones."""
OVERLAP = 1000
"""Numbers of runs are given before they are committed: so many below the newest may still come."""
TAG, REMOVED = "value-stream", "removed"
_OWN = frozenset({"id", "revision", "changed_at", "acknowledged_by", "acknowledged_at", "first_due_at"})
_COLUMNS = [column.name for column in INSTANCE.columns if column.name not in _OWN]


@dataclass
class Feed:
    """One process's feed.

    :param holder: names the process.
    :param keep_days: how long ended instances are kept; 0: for ever.
    """

    engine: Engine
    holder: str
    keep_days: int = 0
    _seen: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    _done: set[int] = field(default_factory=set)
    _pictures: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    _leads: bool = False
    _forecaster: Forecaster = field(default_factory=Forecaster)

    def __post_init__(self) -> None:
        """Have no lease yet."""
        self._lease = Lease(self.engine, self.holder)

    def look(self, now: datetime | None = None) -> bool:
        """Look at Airflow once, if this process leads; return whether there is more to be read at once."""
        now = now or datetime.now(UTC)
        taken = self._lease.take(now)
        self._leads = self._leads and taken is not None and not taken.anew
        if taken is None:
            return False
        with self._lease.kept(now):
            return self._look(taken.cursor, now)

    def _look(self, cursor: dict[str, Any], now: datetime) -> bool:
        if not self._leads:
            self._seen, self._done, self._pictures, self._leads = {}, set(), {}, True
            self._forecaster.forget()
        comparing = now.date().isoformat() != cursor.get("compared")
        if comparing:
            cursor |= {"compared": now.date().isoformat(), "run": 0}
            self._seen, self._done = {}, set()
        with self.engine.connect() as connection:
            self._streams(connection, now)
            live = airflow_tables.live_runs(connection)
            newest_run, newest_log = airflow_tables.newest(connection)
            read = cursor.get("log", newest_log)
            # Airflow logs a deletion before it deletes: what was logged lately is looked at again.
            acted = airflow_tables.acted_on(connection, read - OVERLAP // 2)
            of = INSTANCE.c
            mine = set(connection.scalars(select(of.airflow_id).where(of.live.is_(True), of.in_airflow.is_(True))))
            there = set(airflow_tables.run_ids(connection, cursor.get("run", 0) - OVERLAP))
            new = sorted(there - self._done)
            named = airflow_tables.runs_named(connection, {(one.dag_id, one.run_id) for one in acted})
            touched = {named[one.dag_id, one.run_id].id for one in acted if one.id > read and _named(one) in named}
            wanted = {number for number, print_ in live.items() if self._seen.get(number) != print_}
            wanted |= (mine - live.keys()) | touched | set(new[:BATCH])
            found = airflow_tables.facts(connection, wanted)
        more = len(new) > BATCH
        cursor |= {"run": new[BATCH - 1] if more else max(newest_run, cursor.get("run", 0)), "log": newest_log}
        with self.engine.begin() as connection:
            revision = self._lease.stamp(connection, cursor, now)
            # First: SQLite gives the number of a deleted run to the next one, which may have its name, too.
            self._gone(connection, mine - found.keys() - live.keys(), acted, named, revision, now)
            self._write(connection, found, revision, now)
            if comparing:
                self._purged(connection, there, revision, now)
                self._forget(connection, now)
            self._late(connection, revision, now)
        self._seen = {number: print_ for number, print_ in live.items()}
        self._done = {number for number in self._done | set(new[:BATCH]) if number > cursor["run"] - 2 * OVERLAP}
        if not more:
            self._foretell(cursor, now)
        return more

    def _foretell(self, cursor: Mapping[str, Any], now: datetime) -> None:
        with Session(self.engine) as session:
            changes = self._forecaster.changes(session, now)
        if not changes:
            return
        with self.engine.begin() as connection:
            revision = self._lease.stamp(connection, cursor, now)
            for number, values in changes.items():
                live = (INSTANCE.c.id == number, INSTANCE.c.live.is_(True))
                connection.execute(update(INSTANCE).where(*live).values(**values, revision=revision, changed_at=now))
        self._forecaster.written(changes, revision)

    def rebuild(self) -> int:
        """Read all of Airflow's runs anew, whoever leads; return how many instances there are then."""
        self._lease.seize({"run": 0, "compared": None})
        self._leads = False
        while self.look():
            pass
        with self.engine.connect() as connection:
            return len(connection.scalars(select(INSTANCE.c.id)).all())

    def release(self) -> None:
        """Let another process lead at once."""
        self._lease.release()
        self._leads = False

    def _streams(self, connection: Connection, now: datetime) -> None:
        """Take in new versions of streams, and which are paused or gone."""
        if not self._pictures:
            for row in connection.execute(select(STREAM.c.dag_id, STREAM.c.version, STREAM.c.picture)):
                self._pictures[row.dag_id, row.version] = row.picture
        new = list(airflow_tables.versions(connection, self._pictures, TAG))
        there = airflow_tables.streams_now(connection, {name for name, _ in self._pictures} | {v.dag_id for v in new})
        kept = connection.execute(
            select(STREAM.c.dag_id, STREAM.c.version, STREAM.c.is_current, STREAM.c.is_removed, STREAM.c.is_paused)
        ).all()
        newest: dict[str, int] = {}
        for dag_id, number in [*self._pictures, *((one.dag_id, one.number) for one in new)]:
            newest[dag_id] = max(number, newest.get(dag_id, 0))
        pictures = {**self._pictures, **{(one.dag_id, one.number): one.picture for one in new}}

        def flags(dag_id: str, number: int) -> dict[str, bool]:
            gone = dag_id not in there or bool(pictures[dag_id, newest[dag_id]].get(REMOVED))
            current = number == newest[dag_id]
            return {"is_current": current, "is_removed": gone, "is_paused": there.get(dag_id, False)}

        changes = {
            (row.dag_id, row.version): flags(row.dag_id, row.version)
            for row in kept
            if flags(row.dag_id, row.version)
            != {"is_current": row.is_current, "is_removed": row.is_removed, "is_paused": row.is_paused}
        }
        if not new and not changes:
            return
        with self.engine.begin() as writing:
            self._lease.stamp(writing, self._lease.cursor(writing), now)
            for (dag_id, number), values in changes.items():
                mine = (STREAM.c.dag_id == dag_id, STREAM.c.version == number)
                writing.execute(update(STREAM).where(*mine).values(**values))
            for one in new:
                business = one.picture["business"]
                told = {"dag_id": one.dag_id, "version": one.number, "picture": one.picture}
                told |= {name: str(business[name])[:500] for name in ("domain", "owner", "criticality")}
                told |= {"digest": one.picture["digest"], "title": one.picture["title"][:500]}
                first = feed_instance.aware(one.made)
                writing.execute(insert(STREAM).values(**told, first_seen=first, **flags(one.dag_id, one.number)))
        self._pictures = pictures

    def _write(
        self, connection: Connection, found: Mapping[int, airflow_tables.Facts], revision: int, now: datetime
    ) -> None:
        ours = {number: one for number, one in found.items() if self._is_instance(one)}
        kept: dict[int, Mapping[str, Any]] = {}
        for some in airflow_tables.chunks({one.run.run_id for one in ours.values()}):
            rows = connection.execute(select(INSTANCE).where(INSTANCE.c.run_id.in_(some))).mappings()
            kept.update({row["airflow_id"]: dict(row) for row in rows if _is_of(row, ours)})
        days: set[tuple[str, Any, str]] = set()
        told: list[tuple[Whose, Happened]] = []
        for number, one in ours.items():
            before = kept.get(number)
            version = self._version(one, before["version"] if before else None) or 0
            picture = self._pictures[one.run.dag_id, version]
            row = feed_instance.instance(one, picture, now, before["steps"] if before else None)
            row |= {"version": version}
            if before is None:
                if self._too_old(row, now):
                    continue
                values = {**row, "revision": revision, "changed_at": now}
                made = connection.execute(insert(INSTANCE).values(**values)).inserted_primary_key
                instance_id = int(made[0]) if made else 0
            else:
                instance_id = int(before["id"])
                # A forecast counts for the health as long as there is one.
                row |= feed_instance.healthy({**row, "forecast_p90": before["forecast_p90"]}, now)
                change = feed_instance.changed(before, row, _COLUMNS)
                if change:
                    values = {**change, "revision": revision, "changed_at": now}
                    connection.execute(update(INSTANCE).where(INSTANCE.c.id == instance_id).values(**values))
            self._jobs(connection, instance_id, one, picture)
            told += [(_whose(row), event) for event in happened(one, picture, row, now)]
            zone = picture["timezone"]
            for moment in (row["started_at"], row["ended_at"], *_moments(before)):
                if moment is not None and (before is None or feed_instance.changed(before, row, _COLUMNS)):
                    days.add((one.run.dag_id, day_of(moment, zone), zone))
        keep(connection, told)
        self._roll_up(connection, days, now)

    def _roll_up(self, connection: Connection, days: Iterable[tuple[str, Any, str]], now: datetime) -> None:
        """Make days anew; those whose instances are not all kept any more stay as they are."""
        first = (now - timedelta(days=self.keep_days - 1)).date() if self.keep_days else None
        for dag_id, day, zone in sorted(days):
            if first is None or day > first:
                roll_up(connection, dag_id, day, zone, self._pictures)

    def _is_instance(self, one: airflow_tables.Facts) -> bool:
        """Tell whether a run is an instance of a value stream.

        Of a stream that arriving files start, the run of an event only hands over to one run for each file.
        """
        version = self._version(one)
        if version is None:
            return False
        schedule = self._pictures[one.run.dag_id, version].get("schedule") or {}
        kind = str(getattr(one.run.run_type, "value", one.run.run_type))
        return not ("file_arrival" in schedule and kind == "asset_triggered")

    def _version(self, one: airflow_tables.Facts, before: int | None = None) -> int | None:
        """Return the version that a run is shown by; None of what is no value stream.

        :param before: the one that it was shown by: it stays, when Airflow does not know any more.
        """
        numbers = [task.version_number for task in one.tasks if task.version_number is not None]
        wanted = max(numbers, default=one.run.version_number)
        if wanted is None and before is not None:
            return before
        known = [number for dag_id, number in self._pictures if dag_id == one.run.dag_id]
        # A version from before there were pictures is shown by the next one that has one.
        later = [number for number in known if wanted is not None and number >= wanted]
        return min(later, default=max(known, default=None))

    def _jobs(
        self, connection: Connection, instance_id: int, one: airflow_tables.Facts, picture: Mapping[str, Any]
    ) -> None:
        keys = ("task_id", "map_index", "attempt")
        rows = connection.execute(select(JOB).where(JOB.c.instance_id == instance_id)).mappings()
        kept = {tuple(row[name] for name in keys): dict(row) for row in rows}
        for job in feed_instance.jobs(one, picture):
            before = kept.get(tuple(job[name] for name in keys))
            if before is None:
                connection.execute(insert(JOB).values(instance_id=instance_id, **job))
            elif change := feed_instance.changed(before, job, job):
                mine = [JOB.c.instance_id == instance_id, *(JOB.c[name] == job[name] for name in keys)]
                connection.execute(update(JOB).where(*mine).values(**change))

    def _gone(
        self,
        connection: Connection,
        gone: set[int],
        acted: Iterable[Any],
        named: Mapping[tuple[str, str], Any],
        revision: int,
        now: datetime,
    ) -> None:
        """Keep what Airflow has no more: what was live, or what somebody deleted, is ``deleted`` from now on.

        :param named: by name the runs that Airflow has.
        """
        by_log = {_named(one): one for one in acted if one.event == airflow_tables.DELETED}
        of = INSTANCE.c
        rows: dict[int, Any] = {}
        for some in airflow_tables.chunks(gone):
            query = select(INSTANCE).where(of.airflow_id.in_(some), of.in_airflow.is_(True), of.live.is_(True))
            rows.update({row["id"]: row for row in connection.execute(query).mappings()})
        for some in airflow_tables.chunks(by_log):
            its = (of.dag_id.in_({one for one, _ in some}), of.run_id.in_([one for _, one in some]))
            query = select(INSTANCE).where(*its, of.in_airflow.is_(True))
            for row in connection.execute(query).mappings():
                name = row["dag_id"], row["run_id"]
                if name not in by_log:
                    continue
                at = feed_instance.aware(by_log[name].dttm)
                reused = connection.dialect.name == "sqlite"
                if _was_deleted(row, at, named.get(name), reused=reused) and not is_told(connection, *name, at):
                    rows[row["id"]] = row
        days = set()
        for row in rows.values():
            by = by_log.get((row["dag_id"], row["run_id"]))
            values = {
                "state": "deleted",
                "live": False,
                "in_airflow": False,
                "airflow_id": -row["id"],  # its number is free
                "health": "unknown",
                "waits_for": "nothing",
            }
            values |= {"waiting_people": 0, "parked": 0, "current_step": None, "current_stack": None}
            values |= {"ended_at": row["ended_at"] or now, "revision": revision, "changed_at": now}
            connection.execute(update(INSTANCE).where(of.id == row["id"]).values(**values))
            open_jobs = (JOB.c.instance_id == row["id"], JOB.c.state != "closed")
            connection.execute(update(JOB).where(*open_jobs).values(orphan=True))
            at = feed_instance.aware(by.dttm) if by else now
            keep(connection, [(_whose(row), deleted(row, at, by.owner if by else None))])
            zone = self._pictures[row["dag_id"], row["version"]]["timezone"]
            days |= {(row["dag_id"], day_of(one, zone), zone) for one in _moments(row) if one is not None}
        self._roll_up(connection, days, now)

    @staticmethod
    def _late(connection: Connection, revision: int, now: datetime) -> None:
        """Tell of live instances that they are late now, though nothing happened."""
        of = INSTANCE.c
        past = (of.live.is_(True), of.due_at < now, of.health.not_in(["late", "failed"]))
        rows = connection.execute(select(of.airflow_id, of.dag_id, of.run_id, of.due_at).where(*past)).mappings()
        keep(connection, [(_whose(dict(row)), late(row["due_at"])) for row in rows])
        connection.execute(update(INSTANCE).where(*past).values(health="late", revision=revision, changed_at=now))

    def _too_old(self, row: Mapping[str, Any], now: datetime) -> bool:
        ended = row["ended_at"]
        return bool(self.keep_days and ended and ended < now - timedelta(days=self.keep_days))

    @staticmethod
    def _purged(connection: Connection, there: set[int], revision: int, now: datetime) -> None:
        """See which runs Airflow has purged.

        :param there: the numbers of all that it has.
        """
        of = INSTANCE.c
        query = select(of.id, of.airflow_id).where(of.in_airflow.is_(True), of.live.is_(False))
        purged = [row.id for row in connection.execute(query) if row.airflow_id not in there]
        for some in airflow_tables.chunks(purged):
            values = {"in_airflow": False, "revision": revision, "changed_at": now}
            connection.execute(update(INSTANCE).where(of.id.in_(some)).values(**values))

    def _forget(self, connection: Connection, now: datetime) -> None:
        """Forget what is older than it is kept."""
        if not self.keep_days:
            return
        of, limit = INSTANCE.c, now - timedelta(days=self.keep_days)
        old = connection.scalars(select(of.id).where(of.live.is_(False), of.ended_at < limit)).all()
        for some in airflow_tables.chunks(old):
            connection.execute(delete(JOB).where(JOB.c.instance_id.in_(some)))
            connection.execute(delete(INSTANCE).where(of.id.in_(some)))
        # What happened to an instance is kept as long as the instance.
        its = select(of.id).where(of.dag_id == EVENT.c.dag_id, of.run_id == EVENT.c.run_id).exists()
        connection.execute(delete(EVENT).where(EVENT.c.at < limit, EVENT.c.run_id.is_not(None), ~its))


def _named(acted: Any) -> tuple[str, str]:
    return acted.dag_id, acted.run_id


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
    return reused and bool(there.created_at) and row["changed_at"] < feed_instance.aware(there.created_at)


def _whose(row: Mapping[str, Any]) -> Whose:
    return Whose(row["airflow_id"], row["dag_id"], row["run_id"])


def _is_of(row: Mapping[Any, Any], runs: Mapping[int, airflow_tables.Facts]) -> bool:
    """Tell whether a row is of one of these runs; SQLite gives a number anew when its run was deleted."""
    one = runs.get(row["airflow_id"])
    return one is not None and (one.run.dag_id, one.run.run_id) == (row["dag_id"], row["run_id"])


def _moments(row: Mapping[str, Any] | None) -> tuple[datetime | None, ...]:
    return (row["started_at"], row["ended_at"]) if row is not None else ()
