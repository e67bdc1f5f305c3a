"""Instances to act on in a real API server, and who acts on them there.

Run as a program of its own, in the environment of the API server, it fills the database: ``acting.py RUN_ID ...``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, BrowserContext

from tests.api_server import API, USER, ApiServer

WATCHER = "watcher"
"""Who may look at everything, and change nothing."""
DAG = "orders"
PAGE = f"/plugin/streams/instance/{DAG}"


@dataclass
class House:
    """An API server with two who may log in, and a browser for each."""

    server: ApiServer
    browser: Browser

    def token(self, user: str) -> str:
        """Log in; return what that gives."""
        if user == USER:
            return self.server.token
        passwords = json.loads(Path(self.server.environment[_PASSWORDS]).read_text())
        body = {"username": user, "password": passwords[user]}
        answer = httpx.post(f"{self.server.url}/auth/token", json=body, timeout=60, trust_env=False)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def act(self, user: str, run_id: str, **asked: Any) -> httpx.Response:
        """Ask for an action, as a script does."""
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        address = f"{self.server.url}{API}/dags/{DAG}/dagRuns/{run_id}/actions"
        return httpx.post(address, json=asked, headers=headers, timeout=60, trust_env=False)

    def acts(self, run_id: str) -> list[str]:
        """Return what people did to an instance, by the audit trail."""
        answer = self.server.ask(f"{API}/events", stream=DAG, run_id=run_id)
        answer.raise_for_status()
        return [one["kind"] for one in reversed(answer.json()["items"]) if one["actor"] in (USER, WATCHER)]

    def context(self, user: str) -> BrowserContext:
        """Return a browser in which somebody is logged in."""
        made = self.browser.new_context(viewport={"width": 1440, "height": 900}, timezone_id="UTC")
        made.set_default_timeout(60_000)
        made.add_init_script("localStorage.setItem('theme', 'light'); localStorage.setItem('i18nextLng', 'en');")
        made.add_cookies([{"name": "_token", "value": self.token(user), "url": self.server.url}])
        return made


_PASSWORDS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"


def server(home: Path, migrated: Path, runs: Sequence[str]) -> ApiServer:
    """Return an API server on a copy of a migrated SQLite file, with runs whose first step waits for its turn."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(migrated, home / "airflow.db")
    users = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin,{WATCHER}:viewer"}
    made = ApiServer(home, f"sqlite:///{home / 'airflow.db'}?timeout=60", users)
    command = [sys.executable, str(Path(__file__)), *runs]
    done = subprocess.run(command, capture_output=True, text=True, env=made.environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return made


def main() -> None:
    from tests.executive_view import acting_seed

    acting_seed.fill()
    for run_id in sys.argv[1:]:
        acting_seed.start(DAG, run_id, {"order": f"KEY-{run_id}"}, {"book": "scheduled"})


if __name__ == "__main__":
    main()
