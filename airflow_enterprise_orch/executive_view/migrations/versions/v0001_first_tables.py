"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from airflow_enterprise_orch.executive_view.tables import Utc

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "orch_event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("dag_id", sa.String(length=250), nullable=False),
        sa.Column("run_id", sa.String(length=250), nullable=True),
        sa.Column("task_id", sa.String(length=250), nullable=True),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("actor", sa.String(length=500), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=True),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_orch_event_at", "orch_event", ["at", "id"], unique=False)
    op.create_index("ix_orch_event_run", "orch_event", ["dag_id", "run_id", "id"], unique=False)
    op.create_table(
        "orch_instance",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("dag_id", sa.String(length=250), nullable=False),
        sa.Column("run_id", sa.String(length=250), nullable=False),
        sa.Column("airflow_id", sa.BigInteger(), nullable=False),
        sa.Column("in_airflow", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("business_key", sa.String(length=250), nullable=False),
        sa.Column("business_key_lower", sa.String(length=250), nullable=False),
        sa.Column("business_date", sa.Date(), nullable=True),
        sa.Column("run_type", sa.String(length=50), nullable=False),
        sa.Column("started_by", sa.String(length=500), nullable=True),
        sa.Column("params", sa.JSON(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("run_after", Utc(), nullable=False),
        sa.Column("queued_at", Utc(), nullable=True),
        sa.Column("started_at", Utc(), nullable=True),
        sa.Column("ended_at", Utc(), nullable=True),
        sa.Column("due_at", Utc(), nullable=True),
        sa.Column("first_due_at", Utc(), nullable=True),
        sa.Column("health", sa.String(length=20), nullable=False),
        sa.Column("late_seconds", sa.Integer(), nullable=True),
        sa.Column("current_step", sa.String(length=250), nullable=True),
        sa.Column("current_stack", sa.String(length=100), nullable=True),
        sa.Column("waits_for", sa.String(length=20), nullable=True),
        sa.Column("waiting_people", sa.Integer(), nullable=False),
        sa.Column("parked", sa.Integer(), nullable=False),
        sa.Column("failed_steps", sa.Integer(), nullable=False),
        sa.Column("forecast_p50", Utc(), nullable=True),
        sa.Column("forecast_p90", Utc(), nullable=True),
        sa.Column("forecast_n", sa.Integer(), nullable=True),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("acknowledged_by", sa.String(length=500), nullable=True),
        sa.Column("acknowledged_at", Utc(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dag_id", "run_id", "airflow_id", name="orch_instance_run"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_orch_instance_dag_ended", "orch_instance", ["dag_id", "ended_at"], unique=False)
    op.create_index("ix_orch_instance_dag_started", "orch_instance", ["dag_id", "started_at", "id"], unique=False)
    op.create_index("ix_orch_instance_ended", "orch_instance", ["ended_at", "id"], unique=False)
    op.create_index("ix_orch_instance_health", "orch_instance", ["health", "live", "due_at", "id"], unique=False)
    op.create_index(
        "ix_orch_instance_key",
        "orch_instance",
        ["business_key_lower", "id"],
        unique=False,
        postgresql_ops={"business_key_lower": "varchar_pattern_ops"},
    )
    op.create_index("ix_orch_instance_live", "orch_instance", ["live", "due_at", "id"], unique=False)
    op.create_index("ix_orch_instance_revision", "orch_instance", ["revision"], unique=False)
    op.create_index("ix_orch_instance_started", "orch_instance", ["started_at", "id"], unique=False)
    op.create_table(
        "orch_job",
        sa.Column("instance_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("task_id", sa.String(length=250), nullable=False),
        sa.Column("map_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.String(length=250), nullable=True),
        sa.Column("system", sa.String(length=500), nullable=False),
        sa.Column("stack", sa.String(length=100), nullable=True),
        sa.Column("job_id", sa.String(length=250), nullable=True),
        sa.Column("job_name", sa.String(length=250), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("closed_by", sa.String(length=250), nullable=True),
        sa.Column("orphan", sa.Boolean(), nullable=False),
        sa.Column("opened", Utc(), nullable=True),
        sa.Column("closed", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("instance_id", "task_id", "map_index", "attempt"),
    )
    op.create_index("ix_orch_job_job_id", "orch_job", ["job_id"], unique=False)
    op.create_index("ix_orch_job_orphan", "orch_job", ["orphan"], unique=False)
    op.create_table(
        "orch_lease",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("holder", sa.String(length=250), nullable=False),
        sa.Column("until", Utc(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.JSON(), nullable=False),
        sa.Column("as_of", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "orch_rollup_day",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("dag_id", sa.String(length=250), nullable=False),
        sa.Column("started", sa.Integer(), nullable=False),
        sa.Column("ended", sa.Integer(), nullable=False),
        sa.Column("on_time", sa.Integer(), nullable=False),
        sa.Column("late", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("no_due", sa.Integer(), nullable=False),
        sa.Column("duration_sum", sa.Float(), nullable=False),
        sa.Column("duration_p50", sa.Float(), nullable=True),
        sa.Column("duration_p90", sa.Float(), nullable=True),
        sa.Column("lateness", sa.JSON(), nullable=False),
        sa.Column("paths", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("day", "dag_id"),
    )
    op.create_table(
        "orch_stream",
        sa.Column("dag_id", sa.String(length=250), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("picture", sa.JSON(), nullable=False),
        sa.Column("title", sa.String(length=500), nullable=False),
        sa.Column("domain", sa.String(length=500), nullable=False),
        sa.Column("owner", sa.String(length=500), nullable=False),
        sa.Column("criticality", sa.String(length=20), nullable=False),
        sa.Column("first_seen", Utc(), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("is_removed", sa.Boolean(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("dag_id", "version"),
    )


def downgrade() -> None:
    """Drop them."""
    for name in ("stream", "rollup_day", "lease", "job", "instance", "event"):
        op.drop_table(f"orch_{name}")
