"""The read API in a process of its own, one for all modules that ask it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executive_view import acting as people
from tests.executive_view.databases import KINDS, database
from tests.executive_view.served import Served

RUNS = [("can_read", resource) for resource in ("DAG Runs", "Task Instances", "Task Logs", "XComs", "HITL Detail")]
ROLES = {
    # Sees and may do all.
    "boss": [
        *(("can_edit", resource) for resource in ("DAGs", "DAG Runs", "Task Instances")),
        *(("can_read", "DAGs"), *RUNS, ("can_read", "Audit Logs")),
    ],
    # One stream of three.
    "clerk": [("can_read", "DAG:orders"), *RUNS, ("can_read", "Audit Logs")],
    # All DAGs, but no runs of them.
    "author": [("can_read", "DAGs")],
    # One stream, without what steps left, their logs, what people are asked, and the audit.
    "guest": [("can_read", "DAG:orders"), *RUNS[:2]],
    # One stream with its audit, without what steps left and what people are asked.
    "auditor": [("can_read", "DAG:orders"), *RUNS[:3], ("can_read", "Audit Logs")],
    "nobody": [],
}


@pytest.fixture(scope="session")
def view(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Served]:
    """The served API, with the seed's instances."""
    served = Served(tmp_path_factory.mktemp("view"), migrated, ROLES)
    yield served
    served.close()


@pytest.fixture(scope="session", params=KINDS)
def acting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, migrated: Path
) -> Iterator[Served]:
    """The served API, with streams in Airflow's own tables to act on."""
    home = tmp_path_factory.mktemp("acting")
    with database(request.param, home) as url:
        if request.param != "sqlite":
            people.migrate(home, url)
        given = migrated if request.param == "sqlite" else url
        served = Served(home, given, people.ROLES, people.SEED)
        yield served
        served.close()
