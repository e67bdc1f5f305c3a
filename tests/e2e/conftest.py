"""The company in which the scenarios play, on a PostgreSQL of its own where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from company import Company

from tests.faults.airflow_kills.database import PostgresServer, binaries


@pytest.fixture(scope="session")
def company(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """Play all scenarios that were selected beside one another."""
    told = [mark.args[0] for item in request.session.items for mark in item.iter_markers("scenario")]
    with ExitStack() as stack:
        # Without a server the scenarios still play, on SQLite; only more slowly. What needs one is skipped then.
        database = stack.enter_context(PostgresServer()).url if binaries() is not None else ""
        playing = Company(tmp_path_factory.mktemp("company"), database, told)
        stack.callback(playing.stop)
        playing.start()
        yield playing
