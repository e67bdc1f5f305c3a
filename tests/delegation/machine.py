"""One machine whose processes log in: its folder of turns, its Airflow's connections and Variables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_enterprise_orch.delegation.guard import BLOCK_PREFIX, AirflowBlocks


class Machine:
    """What a session finds on this machine.

    :ivar variables: Airflow's, by name.
    :ivar reads: how often somebody looked whether a connection is blocked.
    :ivar broken: Airflow takes no Variables.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self._monkeypatch = monkeypatch
        self.home = home
        self.variables: dict[str, Any] = {}
        self.reads = 0
        self.broken = False
        monkeypatch.setenv("AIRFLOW_HOME", str(home))

        async def read(_blocks: AirflowBlocks, connection_id: str) -> object:
            self.reads += 1
            return self.variables.get(BLOCK_PREFIX + connection_id)

        async def write(_blocks: AirflowBlocks, connection_id: str, record: dict[str, Any]) -> None:
            if self.broken:
                raise OSError("Airflow's API server is away")
            self.variables[BLOCK_PREFIX + connection_id] = json.loads(json.dumps(record))

        monkeypatch.setattr(AirflowBlocks, "read", read)
        monkeypatch.setattr(AirflowBlocks, "write", write)

    def connection(self, connection_id: str, **fields: Any) -> None:
        """Give Airflow a connection, or change it."""
        said = {"conn_type": "http", "host": "one", "login": "BATCH", "password": "secret", **fields}
        self._monkeypatch.setenv(f"AIRFLOW_CONN_{connection_id.upper()}", json.dumps(said))

    def blocked(self) -> dict[str, str]:
        """Return the reasons of all blocks, by connection."""
        return {name.removeprefix(BLOCK_PREFIX): record["reason"] for name, record in self.variables.items()}

    @property
    def records(self) -> list[dict[str, Any]]:
        """What this machine's processes tell each other."""
        folder = self.home / "enterprise_orch" / "logins"
        return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
