"""Real Airflow on this machine: its own processes and home, loopback only; for the demo and for end-to-end tests."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from airflow_enterprise_orch.demo.api import AirflowApi, ApiFailed
from airflow_enterprise_orch.demo.processes import ProcessFailed, ProcessGroup, adopt_orphans, free_ports, tail

COMPONENTS = ("api-server", "dag-processor", "scheduler", "triggerer")
"""Airflow's processes, in the order in which they start; docker-compose.yml starts the same."""

CORE_SETTINGS: Mapping[str, str] = {
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "AIRFLOW__TRIGGERER__CAPACITY": "1000",
    # A worker may notice this much too late that its task has ended (it sleeps in select() meanwhile). That blocks the
    # slot, and a task that resumes before the scheduler was told of its deferral is taken for dead and tried anew.
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    # A demo and a compose file on somebody's laptop tell nobody that they run.
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}
"""What docker-compose.yml sets as well."""

SMALL_MACHINE: Mapping[str, str] = {
    # A task costs a worker start of some 0.6 CPU seconds: more workers than this only make each of them slower.
    "AIRFLOW__CORE__PARALLELISM": "4",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
    "AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": "4",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "15",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
}
"""What keeps twenty instances on two cores within a few minutes."""

START_TIMEOUT = 180.0


@dataclass
class LocalAirflow:
    """One Airflow: started by ``with``, gone after it.

    :param home: its AIRFLOW_HOME; everything that it writes is below.
    :param bundles: what ``[dag_processor] dag_bundle_config_list`` gets.
    :param connections: connection id to the connection as JSON; they reach Airflow as AIRFLOW_CONN_ variables.
    :param database: SQLAlchemy URL; SQLite below ``home`` without one.
    :param settings: more AIRFLOW__ variables.
    :param triggerers: how many; each but the first carries its number: ``triggerer-2``.
    """

    home: Path
    bundles: Sequence[Mapping[str, Any]] = ()
    connections: Mapping[str, str] = field(default_factory=dict, repr=False)
    database: str = field(default="", repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)
    user: str = "admin"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)
    triggerers: int = 1

    def __post_init__(self) -> None:
        """Choose the ports and the secrets, once."""
        self.home = self.home.absolute()
        self.port, self.execution_port = free_ports(2)
        # The API server writes its audit log in its event loop. SQLite has one lock for the whole database: a task's
        # request that holds it waits for the loop to commit, while the loop waits for the lock. So with SQLite tasks
        # talk to an API server of their own; with PostgreSQL one serves both.
        self.split = not self.database
        self.execution_url = f"http://127.0.0.1:{self.execution_port if self.split else self.port}"
        self.processes = ProcessGroup(self.home / "process-logs")
        self.environment = self._environment()
        self.commands = self._commands()

    @property
    def url(self) -> str:
        """Where the UI is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def task_logs(self) -> Path:
        """Where tasks and triggers log."""
        return self.home / "logs"

    def __enter__(self) -> Self:
        """Start everything; nothing is left running when that fails."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        self.stop()

    def start(self) -> None:
        """Create the database and start the processes; returns when all report healthy.

        :raises ProcessFailed: with the end of the log of the process that did not come up.
        """
        adopt_orphans()
        self.home.mkdir(parents=True, exist_ok=True)
        passwords = Path(self.environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
        passwords.write_text(json.dumps({self.user: self.password}))
        passwords.chmod(0o600)
        self._run("migrate", "db", "migrate")
        if not self.database:
            # Readers and the one writer of SQLite get out of each other's way; the file remembers the mode.
            with closing(sqlite3.connect(self.home / "airflow.db")) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        for name in self.commands:
            self.launch(name)
        self._wait_until_healthy()

    def launch(self, name: str) -> None:
        """Start one of :attr:`commands`, for the first time or anew; does not wait until it is up."""
        self.processes.start(name, self.commands[name], self.environment)

    def stop(self) -> None:
        """Stop every process, and whatever these started."""
        self.processes.stop()

    def api(self) -> AirflowApi:
        """Return a client of Airflow's REST API, logged in."""
        return AirflowApi(self.url, self.user, self.password)

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "airflow", *arguments]

    def _commands(self) -> dict[str, list[str]]:
        """Return the command of every process that stays, in the order in which they start."""
        serve = ("--host", "127.0.0.1", "--workers", "1", "--port")
        options = {
            "api-server": (*serve, str(self.port), "--apps", "core" if self.split else "all"),
            "scheduler": ("--skip-serve-logs",),
            "triggerer": ("--skip-serve-logs",),
        }
        commands = {component: self._command(component, *options.get(component, ())) for component in COMPONENTS}
        for number in range(2, self.triggerers + 1):
            commands[f"triggerer-{number}"] = commands["triggerer"]
        if self.split:
            commands["execution-api-server"] = self._command(
                "api-server", *serve, str(self.execution_port), "--apps", "execution"
            )
        return commands

    def _run(self, name: str, *arguments: str) -> None:
        process = self.processes.start(name, self._command(*arguments), self.environment)
        try:
            code = process.wait(START_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise self.processes.failure(name, f"did not finish within {START_TIMEOUT:.0f} s") from None
        if code:
            raise self.processes.failure(name, f"ended with exit code {code}")
        del self.processes.running[name]

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        missing = list(COMPONENTS)
        while missing:
            self.processes.check()
            if time.monotonic() > deadline:
                name = missing[0]
                raise self.processes.failure(name, f"is not healthy after {START_TIMEOUT:.0f} s")
            time.sleep(0.5)
            missing = self._unhealthy()

    def _unhealthy(self) -> list[str]:
        try:
            with self.api() as api:
                health = api.health()
            with AirflowApi(self.execution_url, "", "") as api:
                api.execution_health()
        except ApiFailed:
            return list(COMPONENTS)
        parts = {"dag-processor": "dag_processor", "scheduler": "scheduler", "triggerer": "triggerer"}
        return [name for name, part in parts.items() if (health.get(part) or {}).get("status") != "healthy"]

    def _environment(self) -> dict[str, str]:
        """Return the environment of every process: what we inherit, without anybody's own Airflow settings."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        database = self.database or f"sqlite:///{self.home / 'airflow.db'}?timeout=60"
        return {
            **inherited,
            **CORE_SETTINGS,
            **SMALL_MACHINE,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.home / "dags"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{self.user}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.execution_url}/execution/",
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(list(self.bundles)),
            # Below the temporary folder by default, where others would meet it.
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(self.home / "bundles"),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.task_logs),
            **{f"AIRFLOW_CONN_{name.upper()}": value for name, value in self.connections.items()},
            **self.settings,
            # One line per event in the log files, no colours.
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }


__all__ = ["COMPONENTS", "CORE_SETTINGS", "LocalAirflow", "ProcessFailed", "tail"]
