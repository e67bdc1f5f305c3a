"""What the browser tests play on: a real Airflow API server with our plugin, and a real Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Route

from tests.api_server import ApiServer
from tests.chromium import UI

SEEDED = "order_to_certificate"
"""The DAG that Airflow knows."""


def server(home: Path, migrated: Path) -> ApiServer:
    """Return an API server whose every visitor is its administrator, on a copy of a migrated SQLite file."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(migrated, home / "airflow.db")
    everybody = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": None,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": None,
    }
    made = ApiServer(home, f"sqlite:///{home / 'airflow.db'}?timeout=60", everybody)
    seed = [sys.executable, str(Path(__file__).with_name("seed.py")), SEEDED]
    done = subprocess.run(seed, capture_output=True, text=True, env=made.environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return made


def samples(node: Path) -> Any:
    """Return the answers that the front end's own tests use: typed as the API describes itself, and of one moment."""
    program = f"""
import * as samples from {json.dumps((UI / "src" / "testing" / "samples.ts").as_uri())};
const all = {{}};
for (const [name, make] of Object.entries(samples)) {{
  all[name] = typeof make !== "function" ? make : name === "at" ? null : name === "page" ? make(1, 200, 100000, "201")
    : name === "row" ? make(1) : name === "graph" ? make(true) : make();
}}
console.log(JSON.stringify(all));
"""
    command = [str(node), "--input-type=module", "--eval", program]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@dataclass
class FakeApi:
    """Answers for our API in the browser, so that a page can be looked at in every state.

    :param data: what :func:`samples` returned.
    :param override: the last part of a path to what is answered instead: JSON, or a status.
    :param rows: what is different in every row of the list of instances.
    """

    data: Mapping[str, Any]
    override: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        path = url.path.split("/api/v1/")[1]
        self.asked.append(f"{path}?{url.query}")
        name = self._name(path)
        body = self.override.get(name, self.data.get(name))
        if name == "previews" and isinstance(body, Mapping):
            body = body[route.request.post_data_json["action"]]
        if name == "bulks" and route.request.method == "POST":
            body = self.data["bulk"]
        if name == "page" and "page" not in self.override:
            body = self._page(parse_qs(url.query))
        if isinstance(body, int):
            problem = {"type": "about:blank", "title": "", "status": body, "detail": "The database does not answer."}
            route.fulfill(status=body, content_type="application/problem+json", body=json.dumps(problem))
        elif isinstance(body, str):
            route.fulfill(status=200, content_type="application/json", body=body)
        else:
            route.fulfill(status=200, content_type="application/json", body=json.dumps(body))

    def _name(self, path: str) -> str:
        rules: list[tuple[Callable[[str], bool], str]] = [
            (lambda p: p == "instances", "page"),
            (lambda p: p == "orphans", "orphans"),
            (lambda p: p == "bulk", "bulks"),
            (lambda p: p.startswith("bulk/"), "bulkResults" if path.endswith("/results") else "bulk"),
            (lambda p: p.endswith("/log"), "log"),
            (lambda p: p.endswith("/actions/preview"), "previews"),
            (lambda p: p.endswith("/actions"), "actions"),
            (lambda p: p.endswith("/statistics"), "statistics"),
            (lambda p: p.endswith("/versions"), "versions"),
            (lambda p: "/versions/" in p, "comparison"),
            (lambda p: p.endswith("/runs-ahead"), "runsAhead"),
            (lambda p: p.startswith("dags/"), "instance"),
            (lambda p: p.startswith("streams/"), "streamDetail"),
        ]
        return next((name for fits, name in rules if fits(path)), path)

    def _page(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        """A hundred thousand instances; a cursor is the number of rows before it."""
        before = int((query.get("cursor") or query.get("row") or ["0"])[0])
        last = min(100_000, before + int(query.get("limit", ["100"])[0]))
        made = self.data["page"]["items"]
        items = [
            {
                **made[(number - 1) % len(made)],
                **self.rows,
                "id": number,
                "key": f"ORD-{number:06d}",
                "run_id": f"manual__{number}",
            }
            for number in range(before + 1, last + 1)
        ]
        return {**self.data["page"], "items": items, "next_cursor": str(last) if last < 100_000 else None}
