"""The executive view's own tables: what it has seen of every instance, kept when Airflow forgets its runs.

Plain SQLAlchemy, made by ``airflow db migrate`` (see ``db_manager.py``). No foreign key leads to Airflow's tables: what
Airflow deletes stays here. One process writes, the leader of the feed; every API server reads. All times are aware UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator

LONGEST_KEY = 250
"""Of a business key as it is kept; the rest of a longer one is cut off."""


class Utc(TypeDecorator[datetime]):
    """A moment: aware, in UTC, with microseconds, on databases that keep no time zone too."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return the type of the column; without its precision MySQL would cut fractions of a second off."""
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name == "mysql" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return what the database gets."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return what the database gave, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()
_ID = String(250)
_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only what it calls INTEGER

STREAM = Table(
    "orch_stream",
    metadata,
    Column("dag_id", _ID, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False, doc="Airflow's number of the DAG's version"),
    Column("digest", String(64), nullable=False, doc="hash of what the template says"),
    Column("picture", JSON, nullable=False, doc="see value_stream/picture.py"),
    Column("title", String(500), nullable=False),
    Column("domain", String(500), nullable=False),
    Column("owner", String(500), nullable=False),
    Column("criticality", String(20), nullable=False),
    Column("first_seen", Utc, nullable=False, doc="when Airflow made the version"),
    Column("is_current", Boolean, nullable=False, doc="the newest version of the stream"),
    Column("is_removed", Boolean, nullable=False, doc="the template was taken away, or the DAG deleted"),
    Column("is_paused", Boolean, nullable=False, doc="nothing new starts by schedule"),
)

INSTANCE = Table(
    "orch_instance",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("dag_id", _ID, nullable=False),
    Column("run_id", _ID, nullable=False, doc="may come again after a deletion: the highest id is the newest"),
    Column("airflow_id", BigInteger, nullable=False, doc="id of the row in Airflow's dag_run"),
    Column("in_airflow", Boolean, nullable=False, doc="Airflow has the run still"),
    Column("version", Integer, nullable=False, doc="orch_stream.version"),
    Column("business_key", String(LONGEST_KEY), nullable=False),
    Column("business_key_lower", String(LONGEST_KEY), nullable=False, doc="casefolded, for the search"),
    Column("business_date", Date),
    Column("run_type", String(50), nullable=False, doc="manual, scheduled, asset_triggered, backfill ..."),
    Column("started_by", String(500), doc="who triggered it, if a person did"),
    Column("params", JSON, doc="what it was started with"),
    Column("state", String(20), nullable=False, doc="queued, running, success, failed, deleted"),
    Column("live", Boolean, nullable=False, doc="queued or running"),
    Column("run_after", Utc, nullable=False, doc="from when on Airflow could start it"),
    Column("queued_at", Utc),
    Column("started_at", Utc),
    Column("ended_at", Utc),
    Column("due_at", Utc, doc="when the instance must be over"),
    Column("first_due_at", Utc, doc="when it had to be over before anything changed that"),
    Column("health", String(20), nullable=False, doc="on_time, at_risk, late, failed, waiting, no_due, deleted"),
    Column("late_seconds", Integer, doc="of an ended one how long after due_at it ended, 0 in time; else empty"),
    Column("current_step", _ID, doc="the step that it stands at"),
    Column("current_stack", String(100), doc="id of the technology stack of that step"),
    Column("waits_for", String(20), doc="answers.WaitsFor"),
    Column("waiting_people", Integer, nullable=False, doc="how many questions are open"),
    Column("parked", Integer, nullable=False, doc="how many of these are about a job that nobody can prove"),
    Column("failed_steps", Integer, nullable=False, doc="steps that failed for good"),
    Column("forecast_p50", Utc),
    Column("forecast_p90", Utc),
    Column("forecast_n", Integer, doc="how many ended instances the forecast is made of"),
    Column("steps", JSON, nullable=False, doc="by step id, see feed_instance.py"),
    Column("acknowledged_by", String(500)),
    Column("acknowledged_at", Utc),
    Column("revision", BigInteger, nullable=False, doc="of the feed's write that changed the row last; only grows"),
    Column("changed_at", Utc, nullable=False),
    Column("forecast_problem", String(500), doc="why there is no forecast"),
    Column("outputs", JSON, doc="by task what it gave, as the page tells it; see airflow_tables.outputs_of"),
    Column("decisions", JSON, doc="by task the record of its decision; see value_stream/decision_record.py"),
    UniqueConstraint("dag_id", "run_id", "airflow_id", name="orch_instance_run"),
    Index("ix_orch_instance_live", "live", "due_at", "id"),
    Index("ix_orch_instance_health", "health", "live", "due_at", "id"),
    Index("ix_orch_instance_dag_started", "dag_id", "started_at", "id"),
    Index("ix_orch_instance_started", "started_at", "id"),
    Index("ix_orch_instance_dag_ended", "dag_id", "ended_at"),
    Index("ix_orch_instance_ended", "ended_at", "id"),
    Index("ix_orch_instance_revision", "revision"),
    # For prefixes, whatever the database's collation.
    Index(
        "ix_orch_instance_key",
        "business_key_lower",
        "id",
        postgresql_ops={"business_key_lower": "varchar_pattern_ops"},
    ),
    sqlite_autoincrement=True,
)

JOB = Table(
    "orch_job",
    metadata,
    Column("instance_id", BigInteger, primary_key=True, autoincrement=False),
    Column("task_id", _ID, primary_key=True),
    Column("map_index", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("step", _ID, doc="the step that the task belongs to"),
    Column("system", String(500), nullable=False, doc="identity of the system, as the ledger names it"),
    Column("stack", String(100)),
    Column("job_id", _ID, doc="what the system's operators call it"),
    Column("job_name", _ID),
    Column("state", String(20), nullable=False, doc="intent, submitted, closed"),
    Column("verdict", String(20), doc="of a closed one: success, warning, failure"),
    Column("message", Text),
    Column("closed_by", _ID),
    Column("orphan", Boolean, nullable=False, doc="open, and its task is over or gone"),
    Column("opened", Utc),
    Column("closed", Utc),
    Column("code", _ID, doc="of a closed one: its result in the system's words"),
    Column("rc", BigInteger, doc="of a closed one: its return code, where there is one"),
    Column("parked", Text, doc="what a person was asked about it"),
    Index("ix_orch_job_job_id", "job_id"),
    Index("ix_orch_job_orphan", "orphan"),
)

EVENT = Table(
    "orch_event",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("at", Utc, nullable=False),
    Column("dag_id", _ID, nullable=False),
    Column("run_id", _ID),
    Column("task_id", _ID),
    Column("map_index", Integer, nullable=False),
    Column("kind", String(30), nullable=False, doc="decision, override, answered, deleted ..."),
    Column("actor", String(500), doc="a person, or empty where none did it"),
    Column("reason", Text),
    Column("before", JSON),
    Column("after", JSON),
    Column("key", String(64), nullable=False, unique=True, doc="the same when the same is told twice"),
    Index("ix_orch_event_at", "at", "id"),
    Index("ix_orch_event_run", "dag_id", "run_id", "id"),
    sqlite_autoincrement=True,
)

ROLLUP_DAY = Table(
    "orch_rollup_day",
    metadata,
    Column("day", Date, primary_key=True, doc="in the stream's time zone"),
    Column("dag_id", _ID, primary_key=True),
    Column("started", Integer, nullable=False, doc="instances that began on the day"),
    Column("ended", Integer, nullable=False, doc="instances that ended on the day, deleted ones left out"),
    Column("on_time", Integer, nullable=False, doc="of these: succeeded, and not after their due time"),
    Column("late", Integer, nullable=False, doc="of these: succeeded after their due time"),
    Column("failed", Integer, nullable=False, doc="of these"),
    Column("no_due", Integer, nullable=False, doc="of these: succeeded, without a due time"),
    Column("duration_sum", Float, nullable=False, doc="seconds from start to end, of those that succeeded"),
    Column("duration_p50", Float),
    Column("duration_p90", Float),
    Column("lateness", JSON, nullable=False, doc='by stack {"late": instances, "seconds": sum}: what made them late'),
    Column("paths", JSON, nullable=False, doc="by deciding step and step that was chosen: how often"),
)

LEASE = Table(
    "orch_lease",
    metadata,
    Column("name", String(50), primary_key=True),
    Column("holder", String(250), nullable=False, doc="empty: nobody"),
    Column("until", Utc, nullable=False),
    Column("revision", BigInteger, nullable=False, doc="of the last write; the ETag of all that is answered"),
    Column("cursor", JSON, nullable=False, doc="how far Airflow's tables were read"),
    Column("as_of", Utc, doc="when Airflow's tables were read last"),
)

BULK = Table(
    "orch_bulk",
    metadata,
    Column("id", String(64), primary_key=True, doc="chosen by whoever asked"),
    Column("at", Utc, nullable=False),
    Column("asked_by", String(500), nullable=False),
    Column("action", JSON, nullable=False, doc="answers_actions.ActionAsked"),
    Column("filter", JSON, nullable=False, doc="answers.InstanceFilter"),
    Column("state", String(20), nullable=False, doc="running, stopped, done"),
    Column("matching", Integer, nullable=False, doc="instances that fitted the filter"),
    Column("ended_at", Utc),
    Index("ix_orch_bulk_state", "state", "at"),
)

BULK_ITEM = Table(
    "orch_bulk_item",
    metadata,
    Column("bulk_id", String(64), primary_key=True),
    Column("instance_id", BigInteger, primary_key=True, autoincrement=False),
    Column("dag_id", _ID, nullable=False),
    Column("run_id", _ID, nullable=False),
    Column("outcome", String(20), nullable=False, doc="open, done, refused, failed"),
    Column("text", Text),
    Column("at", Utc),
    Index("ix_orch_bulk_item_outcome", "bulk_id", "outcome", "instance_id"),
)
