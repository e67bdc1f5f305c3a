"""The data that the executive view's benchmark runs on, made small: what the feed tells of them is what Airflow holds.

How a user would notice that it is fake: figures of a page that shows nothing, or not what Airflow knows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from airflow.utils.types import DagRunTriggeredByType

from tests.bench.executive_cluster import Cluster
from tests.bench.executive_data import make
from tests.faults.airflow_kills.database import binaries

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(binaries() is None, reason="no PostgreSQL server is installed"),
]

STREAMS, INSTANCES, LIVE = 11, 200, 40


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Not pytest's tmp_path: no other account may look into that.
    with tempfile.TemporaryDirectory(prefix="enterprise-orch-bench-") as folder:
        Path(folder).chmod(0o755)
        with Cluster(Path(folder)) as cluster:
            make(cluster, number_of_streams=STREAMS, instances=INSTANCES, live=LIVE)
            yield cluster


def test_the_feed_tells_of_the_made_data_what_airflow_holds(cluster: Cluster) -> None:
    engine = sa.create_engine(cluster.url)
    with engine.connect() as connection:

        def all_of(query: str) -> list[tuple[object, ...]]:
            return [tuple(row) for row in connection.execute(sa.text(query))]

        runs = all_of("SELECT state, count(*) FROM dag_run GROUP BY 1 ORDER BY 1")
        assert runs == all_of("SELECT state, count(*) FROM orch_instance GROUP BY 1 ORDER BY 1")
        assert all_of("SELECT count(*) FROM orch_instance WHERE live") == [(LIVE,)]
        asked = "SELECT count(*) FROM task_instance WHERE state = 'awaiting_input'"
        assert all_of(asked) == all_of("SELECT sum(waiting_people) FROM orch_instance")
        keys = "SELECT dag_id, run_id, conf ->> 'key' FROM dag_run ORDER BY 1, 2"
        assert all_of(keys) == all_of("SELECT dag_id, run_id, business_key FROM orch_instance ORDER BY 1, 2")
        # Two of the eleven streams, the first and the last, changed on the way.
        assert all_of("SELECT dag_id FROM orch_stream WHERE version = 2 ORDER BY 1") == [
            ("orders_000",),
            ("settlements_010",),
        ]
        decided = "SELECT count(*) FROM task_state_store WHERE key = 'orch.decision'"
        by = {str(row[0]) for row in all_of("SELECT DISTINCT triggered_by FROM dag_run")}
        assert by <= set(DagRunTriggeredByType.__members__), "else Airflow cannot read its own runs"
        assert all_of(decided) == all_of("SELECT count(*) FROM orch_event WHERE kind = 'decision'")
    engine.dispose()
