"""What a bundle asks of Airflow's tables, on real ones: SQLite and PostgreSQL, as the DAG processor asks it.

How a user would notice that it is fake: a column was renamed in Airflow, every answer is "nobody can say", and
snapshots are never removed; or an answer misses the instances that only wait, and theirs are.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_enterprise_orch.value_stream import live_runs
from tests.executive_view.databases import KINDS, database, run

PROGRAM = """
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4
import sqlalchemy as sa
from airflow import settings
from airflow.utils.db import initdb
settings.configure_orm()
initdb()
from airflow.models.dag import DagModel
from airflow.models.dag_version import DagVersion
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType
from airflow_enterprise_orch.value_stream import live_runs

with create_session() as session:
    for bundle in ("streams", "others"):
        session.add(DagBundleModel(name=bundle))
    session.flush()
    for name, bundle in (("orders", "streams"), ("claims", "streams"), ("ended", "streams"), ("other", "others")):
        session.add(DagModel(dag_id=name, bundle_name=bundle, relative_fileloc=f"{name}.py"))
        session.flush()
        session.add(DagVersion(dag_id=name, version_number=1, bundle_name=bundle, bundle_version=f"{name}-seen-last"))
    session.flush()
    made = {one.dag_id: one.id for one in session.scalars(sa.select(DagVersion))}
    now = datetime.now(UTC)
    for number, (name, state, version) in enumerate([
        ("orders", "running", "v1"), ("orders", "running", "v3"), ("orders", "success", "v9"),
        ("claims", "queued", "v2"), ("ended", "success", "v4"), ("ended", "failed", "v5"), ("other", "running", None),
    ]):
        one = DagRun(
            dag_id=name, run_id=f"r{number}", run_type="manual", state=state, bundle_version=version,
            logical_date=None, run_after=now, triggered_by=DagRunTriggeredByType.TEST,
        )
        one.created_dag_version_id = made[name]
        session.add(one)
    for name, minutes in (("orders", 1), ("claims", 3)):
        moment = now - timedelta(minutes=minutes)
        row = {"id": uuid4(), "dag_id": name, "dag_version_id": made[name], "dag_hash": name, "data": {}}
        session.execute(sa.insert(SerializedDagModel.__table__).values(**row, created_at=moment, last_updated=moment))

asked = []
@sa.event.listens_for(settings.engine, "before_cursor_execute")
def count(connection, cursor, statement, *rest):
    asked.append(statement)

many = [f"stream_{number}" for number in range(1000)]
told = {
    "streams": sorted(live_runs.live_streams(["orders", "claims", "ended", "nothing", *many])),
    "none": sorted(live_runs.live_streams([])),
    "versions": sorted(live_runs.live_versions()),
    "in_use": dict(live_runs.versions_in_use("streams")),
    "others": dict(live_runs.versions_in_use("others")),
    "written": sorted(live_runs.written_since(["orders", "claims", "ended", *many], now - timedelta(minutes=2))),
    "asked": len(asked),
}
print(json.dumps(told))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_the_questions_on_airflows_own_tables(kind: str, tmp_path: Path, migrated: Path) -> None:
    with database(kind, tmp_path, migrated) as url:
        told = json.loads(run(PROGRAM, tmp_path, url))
    assert told["streams"] == ["claims", "orders"]
    assert told["none"] == []
    assert told["versions"] == ["claims-seen-last", "orders-seen-last", "v1", "v2", "v3"]
    assert told["written"] == ["orders"]
    assert told["in_use"] == {"orders": "v3", "claims": "v2"}
    assert told["others"] == {}, "an instance without a version is served from what is there"
    assert told["asked"] <= 2 * 3 + 2 + 3 + 2 + 3, "a bounded number of questions, however many streams"


def test_a_process_that_may_not_ask_is_told_that_nobody_can_say(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow import settings

    monkeypatch.setattr(settings, "NonScopedSession", None)
    assert live_runs.live_streams(["orders"]) is None
    assert live_runs.live_versions() is None
    assert live_runs.versions_in_use("streams") is None


def test_a_database_that_does_not_answer_is_told_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow import settings
    from sqlalchemy import create_engine
    from sqlalchemy.orm import sessionmaker

    monkeypatch.setattr(settings, "NonScopedSession", sessionmaker(create_engine("sqlite://")))
    assert live_runs.live_versions() is None
    assert "Airflow's database does not say which instances are live (OperationalError)" in caplog.text
