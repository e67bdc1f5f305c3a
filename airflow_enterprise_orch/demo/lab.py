"""The lab as the demo uses it: a process of its own, watched through its control API."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_enterprise_orch.demo.processes import ProcessGroup
from airflow_enterprise_orch.errors import OrchestrationError

START_TIMEOUT = 60.0


class LabFailed(OrchestrationError):
    """The lab's control API did not answer, or refused."""


class LabProcess:
    """``enterprise-orch lab --json`` in the process group of the demo.

    :param words: more words of its command line.
    :ivar endpoints: what it printed.
    """

    def __init__(self, processes: ProcessGroup, environment: Mapping[str, str], words: Sequence[str] = ()) -> None:
        self._processes = processes
        self._words = words
        self._environment = environment
        self.endpoints: dict[str, dict[str, Any]] = {}

    def start(self) -> None:
        """Start it and read where everything is; :raises ProcessFailed: with the end of its log."""
        import subprocess

        command = [sys.executable, "-m", "airflow_enterprise_orch.lab.server", "--json", "--with-parent", *self._words]
        process = self._processes.start("lab", command, self._environment, stdout=subprocess.PIPE)
        # Without an answer in time the process is ended, and so is the wait for its line.
        alarm = threading.Timer(START_TIMEOUT, process.kill)
        alarm.start()
        try:
            line = process.stdout.readline() if process.stdout else b""
        finally:
            alarm.cancel()
        if not line:
            process.wait()
            raise self._processes.failure("lab", f"did not come up (exit code {process.returncode})")
        self.endpoints = json.loads(line)

    def connection(self, stand_in: str) -> str:
        """Return the Airflow connection to a stand-in as JSON."""
        connection = self.endpoints[stand_in]["connection"]
        return connection if isinstance(connection, str) else json.dumps(connection)

    def fault(self, stand_in: str, fault: Mapping[str, Any]) -> None:
        """Plan a fault."""
        self._send("POST", stand_in, "faults", fault)

    def open_faults(self) -> list[str]:
        """Return the faults that nothing has met yet."""
        return [f"{name}: {fault['do']}" for name in self.endpoints for fault in self._send("GET", name, "faults")]

    def made_faults(self, stand_in: str) -> list[dict[str, Any]]:
        """Return the faults that a stand-in made, oldest first, each with the request that met it."""
        return list(self._send("GET", stand_in, "made"))

    def jobs(self) -> dict[str, list[dict[str, Any]]]:
        """Return every job ever handed over, by stand-in."""
        return {name: self._send("GET", name, "jobs") for name in self.endpoints}

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that came to the incident desk, oldest first."""
        return [message["data"] for message in self._send("GET", "desk", "messages")]

    def _send(self, method: str, stand_in: str, path: str, body: Any = None) -> Any:
        import httpx

        url = f"{self.endpoints[stand_in]['control'].rstrip('/')}/{path}"
        try:
            response = httpx.request(method, url, json=body, timeout=30.0, trust_env=False)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise LabFailed(f"the lab's control API refuses {method} {url}: {error}") from error
        return response.json()
