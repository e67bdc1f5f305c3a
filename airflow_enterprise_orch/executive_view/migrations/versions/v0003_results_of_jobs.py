"""The result of a remote job, and what was asked about it, once Airflow has forgotten both."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add their columns."""
    op.add_column("orch_job", sa.Column("code", sa.String(length=250), nullable=True))
    op.add_column("orch_job", sa.Column("rc", sa.BigInteger(), nullable=True))
    op.add_column("orch_job", sa.Column("parked", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("orch_job") as table:
        for name in ("parked", "rc", "code"):
            table.drop_column(name)
