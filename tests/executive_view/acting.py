"""An instance to act on, and those who act."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.executive_view.databases import environment
from tests.executive_view.served import Served

SEES = [("can_read", resource) for resource in ("DAG Runs", "Task Instances", "Task Logs", "XComs", "Audit Logs")]
ROLES = {
    "boss": [
        ("can_read", "DAGs"), *SEES, ("can_edit", "DAGs"), ("can_edit", "DAG Runs"), ("can_edit", "Task Instances"),
    ],
    # May look at everything, and change nothing.
    "viewer": [("can_read", "DAGs"), *SEES],
    # May act on one of the streams, and does not see the other.
    "clerk": [
        ("can_read", "DAG:claims"), ("can_edit", "DAG:claims"), *SEES, ("can_edit", "DAG Runs"),
        ("can_edit", "Task Instances"),
    ],
}  # fmt: skip
REASON = "the month must close"
SEED = "tests.executive_view.acting_seed"
_numbers = itertools.count(1)


def migrate(home: Path, url: str) -> None:
    """Make Airflow's tables, and ours."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=environment(home, url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


class Instance:
    """One instance of a stream, and those who act on it."""

    def __init__(
        self, view: Served, dag_id: str = "orders", states: dict[str, Any] | None = None, key: str = "", **conf: Any
    ) -> None:
        self.view, self.dag_id = view, dag_id
        self.run_id = f"run-{next(_numbers)}"
        self.key = key or f"KEY-{self.run_id}"
        conf = {"order": self.key, **conf} if dag_id == "orders" else {"claim": self.key, **conf}
        view.do("start", dag_id=dag_id, run_id=self.run_id, conf=conf, states=states or {})

    @property
    def path(self) -> str:
        return f"dags/{self.dag_id}/dagRuns/{self.run_id}/actions"

    def job(self, name: str, verdict: str = "") -> None:
        self.view.do("job", dag_id=self.dag_id, run_id=self.run_id, name=name, verdict=verdict)

    def ask(self, action: str, step: str | None = None, *, user: str = "boss", at: str = "", **more: Any) -> Any:
        number = next(_numbers)
        body = {"id": f"action-{number:05}", "action": action, "step": step, "reason": REASON, **more}
        return self.view.post(user, self.path + at, body)

    def does(self, action: str, step: str | None = None, **more: Any) -> dict[str, Any]:
        told = self.ask(action, step, **more)
        assert told.status == 200, told.text
        return dict(told.json)

    def refuses(self, action: str, step: str | None = None, *, status: int = 422, **more: Any) -> str:
        before = self.look()
        told = self.ask(action, step, **more)
        assert told.status == status, told.text
        assert self.look() == before, "what is refused changes nothing"
        return str(told.json["detail"])

    def look(self) -> dict[str, Any]:
        return dict(self.view.do("look", dag_id=self.dag_id, run_id=self.run_id))

    def wish(self, name: str, what: str) -> dict[str, Any]:
        wish = dict(self.look()["wishes"][name][what])
        assert (wish.pop("by"), wish.pop("reason")) == ("boss", REASON) or wish
        return wish

    def events(self) -> list[dict[str, Any]]:
        return list(self.view.do("events", dag_id=self.dag_id, run_id=self.run_id))
