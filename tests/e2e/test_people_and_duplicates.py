"""What people do to live instances, on real Airflow processes: start one twice, kill a step, clear it, ask what it is.

How a user would notice that it is fake: the same order booked by two instances; a job that runs on after its step was
cleared; a job killed because somebody restarted a triggerer; a wrong password tried again and again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_enterprise_orch.delegation.ledger_store import newest_ledger
from airflow_enterprise_orch.demo.airflow import LocalAirflow
from airflow_enterprise_orch.demo.api import AirflowApi
from airflow_enterprise_orch.demo.lab import LabProcess
from airflow_enterprise_orch.demo.run import stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400), pytest.mark.xdist_group("airflow")]

STREAM = """
value_stream: {name}
title: {name}
business: {{domain: Tests, owner: tests, criticality: low, key: "{{{{ params.order }}}}", duplicates: {duplicates}}}
params:
  order: {{type: string}}
  seconds: {{type: string}}
steps:
  work:
    unix.script:
      connection: {connection}
      script: 'echo "$ORDER"; sleep "$SECONDS_TO_RUN"'
      env: {{ORDER: "{{{{ params.order }}}}", SECONDS_TO_RUN: "{{{{ params.seconds }}}}"}}
"""


class Stage:
    """The lab, Airflow, and small ways to look at them."""

    def __init__(self, lab: LabProcess, airflow: LocalAirflow, api: AirflowApi) -> None:
        self.lab, self.airflow, self.api = lab, airflow, api

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that must come, and tell everything that is known when it does not come."""
        deadline = time.monotonic() + 150
        while not holds():
            self.airflow.processes.check()
            if time.monotonic() > deadline:
                pytest.fail(self._all_that_is_known())
            time.sleep(0.5)

    def _all_that_is_known(self) -> str:
        told = [json.dumps(self.jobs(), indent=1)]
        for stream in sorted(self.api.dag_ids()):
            for run in self.api.runs(stream):
                for task in self.api.task_instances(stream, run):
                    name, tries = task["task_id"], range(1, task["try_number"] + 1)
                    told += [json.dumps(task), json.dumps(self.api.state_store(stream, run, name), default=str)]
                    told += [f"--- {stream} {run} {name} {n}\n{self.api.log(stream, run, name, n)}" for n in tries]
        for log in sorted((self.airflow.home / "process-logs").glob("*.log")):
            told.append(f"--- {log.name}\n{log.read_text()[-4000:]}")
        return "\n".join(told)

    def start(self, stream: str, run: str, seconds: int) -> None:
        self.api.trigger(stream, run, {"order": "ORD-1", "seconds": str(seconds)})

    def state(self, stream: str, run: str) -> str:
        return str(self.api.runs(stream)[run]["state"])

    def task(self, stream: str, run: str, name: str = "work") -> dict[str, Any]:
        (found,) = [task for task in self.api.task_instances(stream, run) if task["task_id"] == name]
        return found

    def jobs(self) -> list[dict[str, Any]]:
        return self.lab.jobs()["ssh"]

    def key(self, stream: str, run: str) -> str:
        """Return what the only job of an instance carries."""
        (key,) = _keys(self.api, stream, run)
        return key

    def act(self, path: str, body: dict[str, Any]) -> Any:
        return self.api._send("POST", path, body)


def test_duplicates_kills_and_clears(tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    for name, duplicates, connection in (
        ("queued", "queue", "virtual_server"),
        ("rejected", "reject", "print_shop"),
        ("free", "allow", "virtual_server"),
        ("locked", "allow", "nobody_host"),
    ):
        text = STREAM.format(name=name, duplicates=duplicates, connection=connection)
        (folder / f"{name}.yaml").write_text(text)
    with stage(tmp_path / "home", folder) as (lab, airflow), airflow.api() as api:
        here = Stage(lab, airflow, api)
        here.until(lambda: {"queued", "rejected", "free"} <= api.dag_ids())

        # Three instances of one order: one runs, one of `queue` waits for it, one of `reject` fails beside its own.
        here.start("queued", "first", 12)
        here.until(lambda: len(here.jobs()) == 1)
        here.start("queued", "second", 0)
        here.start("rejected", "first", 30)
        here.until(lambda: len(here.jobs()) == 2)
        here.start("rejected", "second", 0)
        here.until(lambda: here.state("rejected", "second") == "failed")
        assert "first" in api.log("rejected", "second", "admit", 1), "the other instance is not named"
        assert not api.state_store("rejected", "second", "work"), "the duplicate was handed over"
        here.until(lambda: here.state("queued", "second") == "success")
        queued = [job for job in here.jobs() if job["key"] in _keys(api, "queued", "first", "second")]
        assert len(queued) == 2
        assert queued[0]["ended"] <= queued[1]["submitted"], "the second instance did not wait for the first"

        # A person clears a waiting step: its job ends, and the work runs anew as a second attempt.
        here.start("free", "cleared", 30)
        here.until(lambda: here.task("free", "cleared")["state"] == "deferred")
        clear = {"dry_run": False, "dag_run_id": "cleared", "task_ids": ["work"], "only_failed": False}
        here.act("/api/v2/dags/free/clearTaskInstances", clear)
        here.until(lambda: len(_keys(api, "free", "cleared")) == 2)
        first, second = (_job(here, key) for key in _keys(api, "free", "cleared"))
        assert first["ended"] <= second["submitted"], "two attempts of one step ran at once"
        here.until(lambda: here.state("free", "cleared") == "success")

        # The plugin's API tells the remote jobs, and only to those who may see the stream.
        path = "/enterprise-orch/api/v1/dags/free/dagRuns/cleared/jobs"
        told = api._send("GET", path)["steps"][0]["jobs"]
        assert [(job["attempt"], job["verdict"]) for job in told] == [(1, "failure"), (2, "success")]
        assert api._client.get(path, headers={"Authorization": ""}).status_code == 401

        # A connection that is not there is one line that says so, at once and for good.
        here.start("locked", "lost", 0)
        here.until(lambda: here.state("locked", "lost") == "failed")
        log = api.log("locked", "lost", "work", 1)
        assert "connection 'nobody_host'" in log
        assert here.task("locked", "lost")["try_number"] == 1


def _keys(api: AirflowApi, stream: str, *runs: str) -> list[str]:
    keys: list[str] = []
    for run in runs:
        ledger = newest_ledger(api.state_store(stream, run, "work"))
        ledger = json.loads(ledger) if isinstance(ledger, str) else ledger
        keys += [attempt["key"] for attempt in (ledger or {}).get("attempts", [])]
    return keys


def _job(here: Stage, key: str) -> dict[str, Any]:
    here.until(lambda: any(job["key"] == key for job in here.jobs()))
    (job,) = [job for job in here.jobs() if job["key"] == key]
    return job
