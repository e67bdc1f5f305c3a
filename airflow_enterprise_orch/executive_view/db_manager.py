"""Our tables in Airflow's database: ``airflow db migrate`` makes and upgrades them, ``airflow db reset`` drops them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.utils.db_manager import BaseDBManager
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from airflow_enterprise_orch.executive_view import tables

if TYPE_CHECKING:
    from sqlalchemy import Engine

MIGRATIONS = Path(__file__).with_name("migrations")

log = logging.getLogger(__name__)


class EnterpriseOrchDBManager(BaseDBManager):
    """Airflow finds it by the provider info's ``db-managers``."""

    metadata = tables.metadata
    version_table_name = "alembic_version_enterprise_orch"
    migration_dir = MIGRATIONS.as_posix()
    alembic_file = (MIGRATIONS / "alembic.ini").as_posix()
    supports_table_dropping = True
    revision_heads_map = {"0.1.0": "0006"}  # noqa: RUF012  # as Airflow declares it

    def create_db_from_orm(self) -> None:
        """Make all tables at once, on a database that has none."""
        super().create_db_from_orm()  # type: ignore[no-untyped-call]
        self._search()

    def upgradedb(self, *args: Any, **kwargs: Any) -> None:
        """Make or upgrade the tables."""
        super().upgradedb(*args, **kwargs)  # type: ignore[no-untyped-call]
        if not kwargs.get("show_sql_only"):
            self._search()

    def _search(self) -> None:
        search_within_keys(self.session.get_bind().engine)


def search_within_keys(engine: Engine) -> bool:
    """Index the business keys for the search of any part of them, where the database can; return whether it can.

    The extension ships with PostgreSQL, and whoever owns a database may add it; where it may not be added the search
    reads all keys, which takes longer and finds the same.
    """
    if engine.dialect.name != "postgresql":
        return False
    try:
        with engine.begin() as connection:
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
            connection.execute(
                text(
                    "CREATE INDEX IF NOT EXISTS ix_orch_instance_key_parts ON orch_instance "
                    "USING gin (business_key_lower gin_trgm_ops)"
                )
            )
    except DBAPIError as error:
        log.warning(
            "business keys are searched without an index: PostgreSQL's extension pg_trgm cannot be added (%s); let the "
            "owner of the database run CREATE EXTENSION pg_trgm, then airflow db migrate",
            str(error.orig).strip().splitlines()[0],
        )
        return False
    return True
