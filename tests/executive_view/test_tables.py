"""Our tables, as ``airflow db migrate`` really makes, upgrades and drops them.

How a user would notice that it is fake: a first install and an upgrade leave different tables, a reset leaves ours
behind, or a moment comes back in another time zone.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from airflow_enterprise_orch.executive_view.tables import Utc
from tests.executive_view.databases import KINDS, database, run

INSTALLED_AND_UPGRADED = """
import json
import sqlalchemy as sa
from airflow import settings
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.db_manager import RunDBManager
from airflow_enterprise_orch.executive_view.db_manager import EnterpriseOrchDBManager as Manager
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

def ours(_, name, kind, *others):
    return kind != "table" or name in Manager.metadata.tables

def seen():
    inspector = sa.inspect(settings.engine)
    found = {}
    for name in sorted(Manager.metadata.tables):
        found[name] = {
            "columns": [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)],
            "key": inspector.get_pk_constraint(name)["constrained_columns"],
            "indexes": sorted((i["name"] or "", i["column_names"], bool(i["unique"]))
                              for i in inspector.get_indexes(name)),
            "unique": sorted(u["column_names"] for u in inspector.get_unique_constraints(name)),
        }
    return found

def differences():
    with settings.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={
            "include_object": ours, "compare_type": True, "version_table": Manager.version_table_name})
        found = compare_metadata(context, Manager.metadata)
    return [repr(one) for one in found if "ix_orch_instance_key_parts" not in repr(one)]

initdb()
answer = {"declared": any(manager is Manager for manager in RunDBManager()._managers)}
answer["installed"], answer["installed_differs"] = seen(), differences()
with create_session() as session:
    manager = Manager(session)
    answer["at"] = manager.get_current_revision()
    answer["heads"] = list(manager.get_script_object().get_heads())
with create_session() as session:
    Manager(session).resetdb(skip_init=True)
with create_session() as session:
    inspector = sa.inspect(settings.engine)
    answer["left"] = [n for n in inspector.get_table_names() if n.startswith("orch_") or "enterprise_orch" in n]
with create_session() as session:
    Manager(session).upgradedb(use_migration_files=True)
answer["upgraded"], answer["upgraded_differs"] = seen(), differences()
with create_session() as session:
    answer["checked"] = Manager(session).check_migration()
print(json.dumps(answer))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_install_and_the_migrations_make_the_same_tables(tmp_path: Path, kind: str) -> None:
    with database(kind, tmp_path) as url:
        answer = json.loads(run(INSTALLED_AND_UPGRADED, tmp_path, url))
    assert answer["declared"], "airflow db migrate does not know our tables"
    assert [answer["at"]] == answer["heads"]
    assert answer["left"] == []
    assert answer["installed"] == answer["upgraded"]
    assert answer["installed_differs"] == answer["upgraded_differs"] == []
    assert answer["checked"]
    parts = [name for name, _, _ in answer["upgraded"]["orch_instance"]["indexes"] if name.endswith("key_parts")]
    assert bool(parts) == (kind == "postgresql")


def test_a_moment_comes_back_as_it_went_in() -> None:
    engine, table = sa.create_engine("sqlite://"), sa.Table("t", sa.MetaData(), sa.Column("at", Utc))
    berlin = datetime(2026, 3, 1, 8, 0, 0, 250, tzinfo=timezone(timedelta(hours=1)))
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert().values(at=berlin))
        back = connection.execute(sa.select(table.c.at)).scalar_one()
        assert back == berlin
        assert back.tzinfo is UTC
        with pytest.raises(sa.exc.StatementError, match="no time zone"):
            connection.execute(table.insert().values(at=berlin.replace(tzinfo=None)))
