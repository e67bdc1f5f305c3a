"""Why there is no forecast of an instance."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("orch_instance", sa.Column("forecast_problem", sa.String(length=500), nullable=True))


def downgrade() -> None:
    """Drop it."""
    with op.batch_alter_table("orch_instance") as table:
        table.drop_column("forecast_problem")
