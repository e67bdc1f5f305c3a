"""How instances stand, out of Airflow's tables: what scenarios wait for is looked up often, and beside one another.

Asked by its API, forty scenarios that wait cost the api-server more than all the tasks that it serves. What people and
programs are told of an instance is asked of the API all the same, once it has come to where it was waited for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import create_engine, text

from airflow_enterprise_orch.delegation.ledger import Attempt, Ledger
from airflow_enterprise_orch.delegation.ledger_store import newest_ledger

TASKS = """select task_id, map_index, state, try_number from task_instance
  where dag_id = :stream and run_id = :run order by task_id, map_index"""
RUNS = "select run_id, state from dag_run where dag_id = :stream"
KEPT = """select task_id, map_index, key, value from task_state_store
  where dag_id = :stream and run_id = :run order by id"""
ASKING = "select count(*) as count from task_instance where dag_id = :stream and state = 'awaiting_input'"


class Tables:
    """Airflow's tables, to be read only.

    :param url: for SQLAlchemy.
    """

    def __init__(self, url: str) -> None:
        # A connection for each of the scenarios, should all look at once; each has it for one query.
        self._engine = create_engine(url, pool_size=5, max_overflow=60)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def states(self, *streams: str) -> dict[str, str]:
        """Return how all instances of some streams stand, by run id."""
        return {row["run_id"]: row["state"] for stream in streams for row in self._all(RUNS, stream=stream)}

    def tasks(self, stream: str, run: str) -> list[dict[str, Any]]:
        """Return the task instances of an instance: ``task_id``, ``map_index``, ``state``, ``try_number``."""
        return self._all(TASKS, stream=stream, run=run)

    def attempts(self, stream: str, run: str) -> list[tuple[str, int, Attempt]]:
        """Return what all ledgers of an instance say: step, map index and attempt."""
        kept: dict[tuple[str, int], dict[str, Any]] = {}
        for row in self._all(KEPT, stream=stream, run=run):
            kept.setdefault((row["task_id"], row["map_index"]), {})[row["key"]] = json.loads(row["value"])
        return [
            (*where, attempt)
            for where, cells in kept.items()
            for attempt in Ledger.from_json(newest_ledger(cells)).attempts
        ]

    def asks(self, *streams: str) -> Sequence[str]:
        """Return in which of some streams a task waits for somebody's answer."""
        return [stream for stream in streams if self._all(ASKING, stream=stream)[0]["count"]]

    def _all(self, query: str, **values: str) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(query), values).mappings()]
