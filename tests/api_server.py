"""One real Airflow API server: a process of its own on any database, with nothing beside it that would run anything."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from airflow_enterprise_orch.demo.processes import free_ports, tail
from tests.bench import cpu

START_TIMEOUT = 180.0
API = "/enterprise-orch/api/v1"
USER = "operator"


@dataclass
class ApiServer:
    """One server, with the simple auth manager and one user, who is its administrator; a context manager.

    :param home: an AIRFLOW_HOME that may be shared with other servers.
    :param database: SQLAlchemy URL of a migrated database.
    :param settings: more variables of Airflow's configuration; one without a value is taken away.
    """

    home: Path
    database: str = field(repr=False)
    settings: Mapping[str, str | None] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Choose the port and the password, once."""
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.home / f"api-server-{self.port}.log"
        self._password = secrets.token_urlsafe(12)
        self._token = ""

    def __enter__(self) -> ApiServer:
        try:
            self.launch()
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the server, and of what is to work on its database: nobody's own settings are in it."""
        mine: dict[str, str | None] = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__AUTH_MANAGER": (
                "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
            ),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / f"passwords-{self.port}.json"),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.database,
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(self.home / "bundles"),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "NO_COLOR": "1",
            **self.settings,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        return inherited | {name: value for name, value in mine.items() if value is not None}

    @property
    def pid(self) -> int:
        """The process's."""
        assert self.process is not None
        return self.process.pid

    @property
    def cookies(self) -> str:
        """What a browser sends after the login."""
        return f"_token={self.token}"

    @property
    def token(self) -> str:
        """What the login gives."""
        if not self._token:
            body = {"username": USER, "password": self._password}
            answer = httpx.post(f"{self.url}/auth/token", json=body, timeout=60, trust_env=False)
            answer.raise_for_status()
            self._token = answer.json()["access_token"]
        return self._token

    def launch(self) -> None:
        """Start it; does not wait until it is up."""
        self.home.mkdir(parents=True, exist_ok=True)
        environment = self.environment
        passwords = environment.get("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE")
        if passwords:
            Path(passwords).write_text(json.dumps({USER: self._password}))
            Path(passwords).chmod(0o600)
        # As many workers as Airflow comes with: one.
        command = [sys.executable, "-m", "airflow", "api-server", "--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--apps", "core"], stdout=output, stderr=output, env=environment, start_new_session=True
            )

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + START_TIMEOUT
        while self.process is not None and self.process.poll() is None and time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/api/v2/version", timeout=5, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.3)
        raise AssertionError(f"the API server did not come up:\n{tail(self.log)}")

    def ask(self, path: str, **query: Any) -> httpx.Response:
        """Ask once, as somebody who is logged in."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.get(self.url + path, params=query, headers=headers, timeout=60, trust_env=False)

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that it has used so far."""
        return sum(cpu.of_tree(self.pid))

    def stop(self) -> None:
        """Have it end in peace."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Have it end as if its machine had: without a word to anybody."""
        os.killpg(self.pid, signal.SIGKILL)
        assert self.process is not None
        self.process.wait()
