"""Alembic's surroundings: Airflow's database, and of it only our own tables."""

from __future__ import annotations

from typing import Any

from airflow import settings
from alembic import context

from airflow_enterprise_orch.executive_view.db_manager import EnterpriseOrchDBManager as Manager


def ours(_: object, name: str | None, kind: str, *_others: Any) -> bool:
    """Leave Airflow's tables alone."""
    return kind != "table" or name in Manager.metadata.tables


if context.is_offline_mode():
    context.configure(
        url=settings.get_sql_alchemy_conn(),
        target_metadata=Manager.metadata,
        literal_binds=True,
        version_table=Manager.version_table_name,
        include_object=ours,
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    with settings.get_engine().connect() as connection:  # type: ignore[no-untyped-call]
        context.configure(
            connection=connection,
            transaction_per_migration=True,
            target_metadata=Manager.metadata,
            version_table=Manager.version_table_name,
            include_object=ours,
            render_as_batch=True,  # SQLite changes a table only by making it anew
        )
        with context.begin_transaction():
            context.run_migrations()
