"""The feed: keeps our tables equal to what Airflow knows, and keeps what Airflow forgets.

One API server leads (``lease.py``). A look at Airflow compares the live runs by what tells that they changed, takes new
runs by their number, reads what left the live set, and what people did by Airflow's log. Once a day everything is
compared anew, a little with each look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.orm import Session

from airflow_enterprise_orch.executive_view import airflow_tables, feed_instance, last_write
from airflow_enterprise_orch.executive_view.feed_acts import acts
from airflow_enterprise_orch.executive_view.feed_deleted import keep_deleted
from airflow_enterprise_orch.executive_view.feed_events import Happened, Whose, happened, keep, late, whose
from airflow_enterprise_orch.executive_view.feed_forecast import Forecaster
from airflow_enterprise_orch.executive_view.feed_rollups import Day, days_of, roll_up
from airflow_enterprise_orch.executive_view.lease import Lease
from airflow_enterprise_orch.executive_view.tables import EVENT, INSTANCE, JOB, STREAM

BATCH = 500
"""How many runs that are not live one look takes; the others come with the next ones."""
COMPARED = 10
"""How many runs one look compares anew, at least, that nothing happened to: that takes hours, and no processor."""
LOOKS = 7200
"""With so many looks all of them are compared: in six hours, when there is one every three seconds."""
DAYS = 200
"""How many days one look makes anew."""
OVERLAP = 1000
"""Numbers of runs are given before they are committed: so many below the newest may still come."""
TAG, REMOVED = "value-stream", "removed"
_OWN = frozenset({"id", "revision", "changed_at", "acknowledged_by", "acknowledged_at", "first_due_at"})
_COLUMNS = [column.name for column in INSTANCE.columns if column.name not in _OWN]
_COUNTED = [name for name in _COLUMNS if name not in ("outputs", "decisions")]
"""Those that the sums of a day can hang on."""


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
    _logged: set[int] = field(default_factory=set)
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
            more = self._look(taken.cursor, now)
        last_write.changed()
        return more

    def _look(self, cursor: dict[str, Any], now: datetime) -> bool:
        if not self._leads:
            self._seen, self._done, self._pictures, self._leads = {}, set(), {}, True
            self._logged = set()
            self._forecaster.forget()
        comparing = now.date().isoformat() != cursor.get("compared")
        if comparing:
            # Whoever begins reads all anyway.
            cursor |= {"compared": now.date().isoformat(), "compare": 0 if cursor.get("run") else None}
            self._seen = {}
        with self.engine.connect() as connection:
            self._streams(connection, now)
            held = airflow_tables.holds(connection)
            live = airflow_tables.live_runs(connection, now, held)
            newest_run, newest_log = airflow_tables.newest(connection)
            read = cursor.get("log", newest_log)
            # Airflow logs a deletion before it deletes: what was logged lately is looked at again.
            acted = airflow_tables.acted_on(connection, read - OVERLAP // 2, self._logged)
            of = INSTANCE.c
            mine = set(connection.scalars(select(of.airflow_id).where(of.live.is_(True), of.in_airflow.is_(True))))
            new = sorted(set(airflow_tables.run_ids(connection, cursor.get("run", 0) - OVERLAP)) - self._done)
            compared = self._to_compare(connection, cursor)
            named = airflow_tables.runs_named(connection, {(one.dag_id, one.run_id) for one in acted})
            lately = {(one.dag_id, one.run_id) for one in acted if one.id > read}
            touched = {named[name].id for name in lately & named.keys()}
            wanted = {number for number, print_ in live.items() if self._seen.get(number) != print_}
            wanted |= (mine - live.keys()) | touched | set(new[:BATCH]) | set(compared)
            found = airflow_tables.facts(connection, wanted, now, held)
        more = len(new) > BATCH
        # Never back: whoever begins takes in the whole overlap, which is more than one look.
        cursor |= {"run": max(new[BATCH - 1] if more else newest_run, cursor.get("run", 0)), "log": newest_log}
        with self.engine.begin() as connection:
            revision = self._lease.stamp(connection, cursor, now)
            done = self._acts(connection, acted, named)
            # First: SQLite gives the number of a deleted run to the next one, which may have its name, too.
            gone = mine - found.keys() - live.keys()
            days = keep_deleted(connection, gone, acted, named, self._pictures, revision, now)
            days |= self._write(connection, found, revision, now)
            if comparing:
                self._purged(connection, revision, now)
                self._forget(connection, now)
            self._late(connection, revision, now)
            left = self._roll_up(connection, days | _read_days(cursor), now, most=0 if more else DAYS)
            if left or cursor.get("days"):
                cursor |= {"days": [[dag_id, day.isoformat(), zone] for dag_id, day, zone in left]}
                self._lease.reached(connection, cursor)
        self._logged = {number for number in self._logged | done if number > newest_log - OVERLAP}
        self._seen = {number: print_ for number, print_ in live.items()}
        self._done = {number for number in self._done | set(new[:BATCH]) if number > cursor["run"] - 2 * OVERLAP}
        if not more:
            self._foretell(cursor, now)
        return more or bool(left)

    @staticmethod
    def _to_compare(connection: Connection, cursor: dict[str, Any]) -> list[int]:
        """Return what is compared anew with this look, and note in the cursor where the next one goes on."""
        if cursor.get("compare") is None:
            return []
        most = max(COMPARED, -(-cursor.get("run", 0) // LOOKS))
        found = airflow_tables.run_ids(connection, cursor["compare"], most)
        cursor["compare"] = found[-1] if len(found) == most else None
        return found

    def _acts(self, connection: Connection, acted: Iterable[Any], named: Mapping[tuple[str, str], Any]) -> set[int]:
        """Tell what people did in Airflow's own pages; return the entries of the log that were read.

        Numbers of the log are given before they are committed, so those that were not read are looked for again and
        again.
        """
        streams = {dag_id for dag_id, _ in self._pictures}
        new = [one for one in acted if one.id not in self._logged]
        keep(connection, acts((one for one in new if one.dag_id in streams), named))
        return {one.id for one in new}

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
            (row.dag_id, row.version): wanted
            for row in kept
            if (wanted := flags(row.dag_id, row.version))
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
    ) -> set[Day]:
        """Write what was found; return the days that this changes."""
        ours = {number: one for number, one in found.items() if self._is_instance(one)}
        kept: dict[int, Mapping[str, Any]] = {}
        for some in airflow_tables.chunks({one.run.run_id for one in ours.values()}):
            rows = connection.execute(select(INSTANCE).where(INSTANCE.c.run_id.in_(some))).mappings()
            kept.update({row["airflow_id"]: dict(row) for row in rows if _is_of(row, ours)})
        days: set[Day] = set()
        told: list[tuple[Whose, Happened]] = []
        fresh: list[tuple[airflow_tables.Facts, Mapping[str, Any], dict[str, Any]]] = []
        with_jobs: dict[int, tuple[airflow_tables.Facts, Mapping[str, Any]]] = {}
        for number, one in ours.items():
            before = kept.get(number)
            version = self._version(one, before["version"] if before else None) or 0
            picture = self._pictures[one.run.dag_id, version]
            row = feed_instance.instance(one, picture, now, before)
            row |= {"version": version}
            if before is None:
                if self._too_old(row, now):
                    continue
                fresh.append((one, picture, {**row, "revision": revision, "changed_at": now}))
            else:
                # A forecast counts for the health as long as there is one.
                row |= feed_instance.healthy({**row, "forecast_p90": before["forecast_p90"]}, now)
                change = feed_instance.changed(before, row, _COLUMNS)
                if change:
                    values = {**change, "revision": revision, "changed_at": now}
                    connection.execute(update(INSTANCE).where(INSTANCE.c.id == before["id"]).values(**values))
                with_jobs[before["id"]] = one, picture
            told += [(whose(row), event) for event in happened(one, picture, row, now)]
            zone = picture["timezone"]
            if before is None or feed_instance.changed(before, row, _COUNTED):
                days |= days_of(row, zone) | (days_of(before, zone) if before else set())
        new = _insert(connection, [values for *_, values in fresh])
        with_jobs |= {instance_id: (one, picture) for instance_id, (one, picture, _) in zip(new, fresh, strict=True)}
        self._jobs(connection, with_jobs, set(new))
        keep(connection, told)
        return days

    def _roll_up(self, connection: Connection, days: Iterable[Day], now: datetime, most: int) -> list[Day]:
        """Make days anew, at most so many; return those that are left.

        Those whose instances are not all kept any more stay as they are.
        """
        first = (now - timedelta(days=self.keep_days - 1)).date() if self.keep_days else None
        every = sorted(one for one in days if first is None or one[1] > first)
        for dag_id, day, zone in every[:most]:
            roll_up(connection, dag_id, day, zone, self._pictures)
        return every[most:]

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

    @staticmethod
    def _jobs(
        connection: Connection, of: Mapping[int, tuple[airflow_tables.Facts, Mapping[str, Any]]], new: set[int]
    ) -> None:
        """Write the remote jobs of instances; what is ``new`` has none yet."""
        names = ("instance_id", "task_id", "map_index", "attempt")
        kept: dict[tuple[Any, ...], Mapping[str, Any]] = {}
        for some in airflow_tables.chunks(of.keys() - new):
            rows = connection.execute(select(JOB).where(JOB.c.instance_id.in_(some))).mappings()
            kept.update({tuple(row[name] for name in names): dict(row) for row in rows})
        fresh = []
        for instance_id, (one, picture) in of.items():
            for told in feed_instance.jobs(one, picture):
                job = {"instance_id": instance_id, **told}
                key = tuple(job[name] for name in names)
                if key not in kept:
                    fresh.append(job)
                elif change := feed_instance.changed(kept[key], job, job):
                    mine = [JOB.c[name] == value for name, value in zip(names, key, strict=True)]
                    connection.execute(update(JOB).where(*mine).values(**change))
        if fresh:
            connection.execute(insert(JOB), fresh)

    @staticmethod
    def _late(connection: Connection, revision: int, now: datetime) -> None:
        """Tell of live instances that they are late now, though nothing happened."""
        of = INSTANCE.c
        past = (of.live.is_(True), of.due_at < now, of.health.not_in(["late", "failed"]))
        rows = connection.execute(select(of.airflow_id, of.dag_id, of.run_id, of.due_at).where(*past)).mappings()
        keep(connection, [(whose(dict(row)), late(row["due_at"])) for row in rows])
        connection.execute(update(INSTANCE).where(*past).values(health="late", revision=revision, changed_at=now))

    def _too_old(self, row: Mapping[str, Any], now: datetime) -> bool:
        ended = row["ended_at"]
        return bool(self.keep_days and ended and ended < now - timedelta(days=self.keep_days))

    @staticmethod
    def _purged(connection: Connection, revision: int, now: datetime) -> None:
        """See which runs Airflow has purged."""
        of, there = INSTANCE.c, set(airflow_tables.run_ids(connection, 0))
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


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> list[int]:
    """Insert instances, and return their numbers in the order of the rows."""
    if rows and connection.dialect.insert_executemany_returning_sort_by_parameter_order:
        at_once = insert(INSTANCE).returning(INSTANCE.c.id, sort_by_parameter_order=True)
        return list(connection.scalars(at_once, rows))
    made = (connection.execute(insert(INSTANCE).values(**row)).inserted_primary_key for row in rows)
    return [int(key[0]) for key in made if key is not None]


def _read_days(cursor: Mapping[str, Any]) -> set[Day]:
    """Return the days that are to be made anew still."""
    return {(dag_id, date.fromisoformat(day), zone) for dag_id, day, zone in cursor.get("days", ())}


def _is_of(row: Mapping[Any, Any], runs: Mapping[int, airflow_tables.Facts]) -> bool:
    """Tell whether a row is of one of these runs; SQLite gives a number anew when its run was deleted."""
    one = runs.get(row["airflow_id"])
    return one is not None and (one.run.dag_id, one.run.run_id) == (row["dag_id"], row["run_id"])
