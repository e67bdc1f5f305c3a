"""The read API as Airflow's API server mounts it, in a process of its own: real database, real FAB roles, real tokens.

Tests ask it line by line through a pipe, in its own process: no port, and one start for a whole module.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LINKS = {"sap_erp": "https://erp.example/jobs?id={job_id}&name={job_name}"}
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
ROOT = Path(__file__).parents[2]

HOST = """
import json, sys, time
from importlib import import_module
from importlib import import_module
names = json.loads(sys.argv[1])
seed = import_module(sys.argv[2])
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
with get_application_builder() as builder:
    sm = builder.sm
    sm.sync_roles()
    for name, granted in names.items():
        role = sm.add_role(name)
        for action, resource in granted:
            sm.add_permission_to_role(role, sm.create_permission(action, resource))
        sm.add_user(name, name.title(), "Tester", f"{name}@example.com", role, password="s3cret-" + name)
seed.fill()
from fastapi import FastAPI
from fastapi.testclient import TestClient
from airflow.api_fastapi.app import init_auth_manager
from airflow_enterprise_orch.executive_view.api import make_app
from airflow_enterprise_orch.executive_view import last_write, sharing
# Each request of this client has a loop of its own, in which nothing goes on behind an answer.
sharing.BEFORE = 0.0
outer = FastAPI()
init_auth_manager(outer)
outer.mount("/enterprise-orch", make_app())
client = TestClient(outer, raise_server_exceptions=False)
tokens = {}
for name in names:
    answer = client.post("/auth/token", json={"username": name, "password": "s3cret-" + name})
    assert answer.status_code == 201, (answer.status_code, answer.text)
    tokens[name] = answer.json()["access_token"]
client.cookies.clear()
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "do" in asked:
        module, _, name = asked["do"].rpartition(".")
        told = getattr(import_module("tests.executive_view." + module) if module else seed, name)(**asked["with"])
        last_write.changed()
        print(json.dumps({"told": told}), flush=True)
        continue
    headers = dict(asked["headers"])
    if asked["user"]:
        headers["Authorization"] = "Bearer " + tokens[asked["user"]]
    began = time.perf_counter()
    given = {"params": asked["params"] or None, "headers": headers, "json": asked.get("body")}
    answer = client.request(asked["method"], asked["path"], **given)
    took = time.perf_counter() - began
    told = {"status": answer.status_code, "headers": dict(answer.headers), "text": answer.text, "seconds": took}
    print(json.dumps(told), flush=True)
"""


@dataclass(frozen=True)
class Told:
    """One answer."""

    status: int
    headers: dict[str, str]
    text: str
    seconds: float = field(compare=False, default=0.0)

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.text)


class Served:
    """The process."""

    def __init__(
        self,
        home: Path,
        migrated: Path | str,
        roles: dict[str, list[tuple[str, str]]],
        seed: str = "tests.executive_view.seed",
    ) -> None:
        """Start it.

        :param migrated: an SQLite file to copy, or the URL of a database to use.
        :param seed: the module whose ``fill`` writes what is there, and whose functions :meth:`do` calls.
        """
        url = str(migrated)
        if isinstance(migrated, Path):
            shutil.copy(migrated, home / "airflow.db")
            url = f"sqlite:///{home}/airflow.db"
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__AUTH_MANAGER": FAB,
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            "AIRFLOW__ENTERPRISE_ORCH__JOB_LINKS": json.dumps(LINKS),
        }
        self.home = home
        self._errors = (home / "errors.txt").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOST, json.dumps(roles), seed],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self._read(until="ready")
        except AssertionError:
            self.close()
            raise

    def _read(self, until: str = "") -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if (until and line.strip() == until) or (not until and line.startswith("{")):
                return line
        self._errors.seek(0)
        raise AssertionError(self._errors.read()[-6000:])

    def _send(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._read())
        return told

    def get(self, user: str, path: str, /, headers: dict[str, str] | None = None, **params: Any) -> Told:
        """Ask as a user; "" is nobody."""
        address = f"/enterprise-orch/api/v1/{path}"
        asked = {"user": user, "method": "GET", "path": address, "params": params, "headers": headers or {}}
        return Told(**self._send(asked))

    def post(self, user: str, path: str, body: Any) -> Told:
        """Ask for a change as a user."""
        address = f"/enterprise-orch/api/v1/{path}"
        asked = {"user": user, "method": "POST", "path": address, "params": {}, "headers": {}, "body": body}
        return Told(**self._send(asked))

    def do(self, what: str, /, **given: Any) -> Any:
        """Call a function of the seed, or ``module.function`` beside it, as the feed would write."""
        return self._send({"do": what, "with": given})["told"]

    def errors(self) -> str:
        """Return what it wrote to its log."""
        self._errors.seek(0)
        return self._errors.read()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
