"""Alerts on real Airflow processes: who is told of what, once, by a real mail server and a real HTTP server.

How a user would notice that it is fake: a step fails and nobody is told, or everybody twice; an instance is late and
nothing happens; a worker is killed and its step fails in silence.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_enterprise_orch.demo.airflow import LocalAirflow
from airflow_enterprise_orch.demo.api import AirflowApi
from airflow_enterprise_orch.demo.run import stage

sys.path.insert(0, str(Path(__file__).parents[1] / "alerts"))
from servers import Desk, Mailbox, incident_desk, mail_server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("airflow"),
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
]

HEAD = """\
value_stream: {name}
title: Stream {name}
business: {{domain: Tests, owner: testers, criticality: high, key: "{{{{ params.order }}}}"}}
params: {{order: {{type: string}}}}
alerts:
  - on: [failed, late, ambiguous, released, waiting]
    to:
      email: {{connection: smtp_ops, to: [ops@example.com]}}
      webhook: {{connection: incident_desk}}
"""
SILENT = """
import os, time
from pathlib import Path
from airflow.sdk import DAG, task
from airflow_enterprise_orch.alerts.callbacks import StepFailed

TO = [{"kind": "webhook", "connection": "incident_desk"}]
ALERTS = {"title": "Killed", "business": {"domain": "Tests", "owner": "testers", "criticality": "high"}, "key": "",
    "defaults": {}, "due": None, "steps": {}, "timezone": "UTC",
    "rules": [{"on": ["failed"], "severity": "high", "after": 0.0, "to": TO}]}

with DAG("killed"):
    @task(task_id="worker_dies", retries=0, on_failure_callback=StepFailed(ALERTS))
    def work(place):
        Path(place).write_text(f"{os.getpid()} {os.getppid()}")
        time.sleep(600)
    work(f"{PLACE}/worker_dies")
"""
"""What no step of a template does, which is run again: its worker is killed, and no try is left."""
STREAMS = {
    "broken": "steps:\n  work:\n    title: Do the work\n    unix.script: {connection: nobody_host, script: 'true'}\n",
    "slow": (
        "due: {within: 20s}\nsteps:\n  release:\n    title: Release it\n    due: {within: 15s}\n"
        "    approval: {subject: 'Go on?'}\n"
    ),
    "unclear": (
        "steps:\n  plan:\n    title: Plan it\n"
        "    sap.application_job: {connection: s4, template: ZLAB_PROGRAM, check: false}\n"
    ),
}


class Told:
    """What came to both servers."""

    def __init__(self, airflow: LocalAirflow, api: AirflowApi, box: Mailbox, desk: Desk) -> None:
        self.airflow, self.api, self.box, self.desk = airflow, api, box, desk

    def events(self) -> Counter[tuple[str, str]]:
        return Counter((data["stream"]["id"], data["event"]) for _, data in self.desk.posts)

    def subjects(self) -> Counter[str]:
        return Counter(mail["Subject"] for _, mail in self.box.mails)

    def post(self, stream: str, event: str) -> dict[str, Any]:
        (data,) = [d for _, d in self.desk.posts if (d["stream"]["id"], d["event"]) == (stream, event)]
        return data

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 300
        while not holds():
            self.airflow.processes.check()
            if time.monotonic() > deadline:
                pytest.fail(self._all_that_is_known())
            time.sleep(0.5)

    def _all_that_is_known(self) -> str:
        told = [f"{self.events()}\n{self.subjects()}\n{self.api.import_errors()}"]
        for stream in sorted(self.api.dag_ids()):
            for run in self.api.runs(stream):
                for task in self.api.task_instances(stream, run):
                    name, tries = task["task_id"], range(1, task["try_number"] + 1)
                    told += [
                        f"--- {stream} {run} {name} {n} {task['state']}\n{self.api.log(stream, run, name, n)}"
                        for n in tries
                    ]
        logs = [*(self.airflow.home / "process-logs").glob("*.log")]
        return "\n".join([*told, *(f"--- {log.name}\n{log.read_text()[-6000:]}" for log in sorted(logs))])


def test_each_is_told_once_to_everybody_in_the_right_words(tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    for name, steps in STREAMS.items():
        (folder / f"{name}.yaml").write_text(HEAD.format(name=name) + steps)
    with (
        mail_server() as (box, mail),
        incident_desk() as (desk, hook),
        stage(tmp_path / "home", folder, connections={"s4": "sap_odata"}) as (lab, airflow),
        airflow.api() as api,
    ):
        told = Told(airflow, api, box, desk)
        for name, connection in (("smtp_ops", mail), ("incident_desk", hook)):
            fields = json.loads(connection)
            body = {"connection_id": name, **fields, "extra": json.dumps(fields.get("extra", {}))}
            api._send("POST", "/api/v2/connections", body)
        told.until(lambda: set(STREAMS) <= api.dag_ids())
        lab.fault("sap_odata", {"on": "submit", "do": "cut_before_commit", "times": 1})
        for name in ("broken", "slow", "unclear"):
            api.trigger(name, "one", {"order": f"ORD-{name}"})
        expected = Counter(
            [("broken", "failed"), *2 * [("slow", "late")], ("slow", "waiting"), ("unclear", "ambiguous")]
        )
        told.until(lambda: told.events() >= expected and len(box.mails) >= expected.total())

        # A scheduler loop, a DAG processor's round, a triggerer's: nothing comes twice.
        time.sleep(20)
        assert told.events() == expected
        assert told.subjects() == Counter(
            [
                "[high] Stream broken ORD-broken: Do the work failed",
                "[high] Stream slow ORD-slow is late",
                "[high] Stream slow ORD-slow: Release it is late",
                "[high] Stream slow ORD-slow: Release it waits for an answer",
                "[high] Stream unclear ORD-unclear: Plan it needs a person to look",
            ]
        )
        failed = told.post("broken", "failed")
        (late,) = [data for _, data in desk.posts if data["event"] == "late" and data["step"] is None]
        assert "connection 'nobody_host'" in failed["reason"]
        assert failed["link"] == f"{airflow.url}/dags/broken/runs/one/tasks/work"
        assert (failed["step"]["system"], failed["step"]["connection"]) == ("unix.script", "nobody_host")
        assert "It stands at release (awaiting input)" in late["reason"]
        assert late["due"] == late["since"]
        assert told.post("slow", "waiting")["reason"] == "Go on?"
        assert told.post("unclear", "ambiguous")["step"]["system"] == "sap.application_job"

        # A person answers: those who were told that it stood still are told that it goes on.
        question = "/api/v2/dags/unclear/dagRuns/one/taskInstances/plan/-1/hitlDetails"
        answer = {"chosen_options": ["It did not run: hand it over"], "params_input": {"reason": "it did not"}}
        api._send("PATCH", question, answer)
        told.until(lambda: told.events()["unclear", "released"] == 1)
        assert told.subjects()["[high] Stream unclear ORD-unclear: Plan it goes on"] == 1


def test_a_step_whose_worker_is_killed_is_told_too(tmp_path: Path) -> None:
    dags, marks = tmp_path / "dags", tmp_path / "marks"
    dags.mkdir()
    marks.mkdir()
    (dags / "killed.py").write_text(SILENT.replace("{PLACE}", str(marks)))
    bundle = {
        "name": "own",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dags)},
    }
    settings = {
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    }
    with incident_desk() as (desk, hook):
        local = LocalAirflow(
            tmp_path / "airflow", bundles=[bundle], connections={"incident_desk": hook}, settings=settings
        )
        with local as airflow, airflow.api() as api:
            told = Told(airflow, api, Mailbox(), desk)
            told.until(lambda: "killed" in api.dag_ids())
            api.trigger("killed", "one", {})
            told.until((marks / "worker_dies").exists)
            time.sleep(6)
            task, worker = map(int, (marks / "worker_dies").read_text().split())
            for pid in (worker, task):
                if psutil.pid_exists(pid):
                    os.kill(pid, signal.SIGKILL)
            told.until(lambda: bool(desk.posts))
            time.sleep(15)
            ((_, data),) = desk.posts
            assert data["step"]["id"] == "worker_dies"
            assert data["reason"] == "Airflow lost the worker that ran the step, or could not start one"
