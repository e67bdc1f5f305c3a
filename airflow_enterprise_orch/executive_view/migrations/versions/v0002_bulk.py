"""Actions on many instances, and what became of each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from airflow_enterprise_orch.executive_view.tables import Utc

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make their tables."""
    op.create_table(
        "orch_bulk",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("asked_by", sa.String(length=500), nullable=False),
        sa.Column("action", sa.JSON(), nullable=False),
        sa.Column("filter", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("matching", sa.Integer(), nullable=False),
        sa.Column("ended_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_orch_bulk_state", "orch_bulk", ["state", "at"], unique=False)
    op.create_table(
        "orch_bulk_item",
        sa.Column("bulk_id", sa.String(length=64), nullable=False),
        sa.Column("instance_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("dag_id", sa.String(length=250), nullable=False),
        sa.Column("run_id", sa.String(length=250), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("bulk_id", "instance_id"),
    )
    op.create_index("ix_orch_bulk_item_outcome", "orch_bulk_item", ["bulk_id", "outcome", "instance_id"], unique=False)


def downgrade() -> None:
    """Drop them."""
    op.drop_table("orch_bulk_item")
    op.drop_table("orch_bulk")
