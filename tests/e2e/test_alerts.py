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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from company import OVER, Stage, scenario

sys.path.insert(0, str(Path(__file__).parents[1] / "alerts"))
from servers import Desk, Mailbox, incident_desk, mail_server

HEAD = """\
value_stream: {name}
title: Stream {name}
business: {{domain: Tests, owner: testers, criticality: high, key: "{{{{ params.order }}}}"}}
params: {{order: {{type: string}}}}
alerts:
  - on: [failed, late, ambiguous, released, waiting]
    to:
      email: {{connection: smtp_ops, to: [ops@example.com]}}
      webhook: {{connection: alert_desk}}
"""
SILENT = """
import os, time
from pathlib import Path
from airflow.sdk import DAG, task
from airflow_enterprise_orch.alerts.callbacks import StepFailed

TO = [{"kind": "webhook", "connection": "killed_desk"}]
ALERTS = {"title": "Killed", "business": {"domain": "Tests", "owner": "testers", "criticality": "high"}, "key": "",
    "defaults": {}, "due": None, "steps": {}, "timezone": "UTC",
    "rules": [{"on": ["failed"], "severity": "high", "after": 0.0, "to": TO}]}

with DAG("killed", schedule=None):
    @task(task_id="worker_dies", retries=0, on_failure_callback=StepFailed(ALERTS))
    def work(place):
        Path(place).write_text(f"{os.getpid()} {os.getppid()}")
        time.sleep(600)
    work("{{ dag_run.conf['place'] }}")
"""
"""What no step of a template does, which is run again: its worker is killed, and no try is left."""
STREAMS = {
    "unreachable": (
        "steps:\n  work:\n    title: Do the work\n    unix.script: {connection: nobody_host, script: 'true'}\n"
    ),
    "slow": (
        "due: {within: 100s}\nsteps:\n  release:\n    title: Release it\n    due: {within: 95s}\n"
        "    approval: {subject: 'Go on?'}\n"
    ),
    "unclear": (
        "steps:\n  plan:\n    title: Plan it\n"
        "    sap.application_job: {connection: s4, template: ZLAB_PROGRAM, check: false, "
        "parameters: {P_SAY: unclear}}\n"
    ),
}


class Told:
    """What came to both servers."""

    def __init__(self, box: Mailbox, desk: Desk) -> None:
        self.box, self.desk = box, desk

    def events(self) -> Counter[tuple[str, str]]:
        return Counter((data["stream"]["id"], data["event"]) for _, data in self.desk.posts)

    def subjects(self) -> Counter[str]:
        return Counter(mail["Subject"] for _, mail in self.box.mails)

    def post(self, stream: str, event: str) -> dict[str, Any]:
        (data,) = [d for _, d in self.desk.posts if (d["stream"]["id"], d["event"]) == (stream, event)]
        return data


def connect(here: Stage, **connections: str) -> None:
    """Make connections in Airflow's own database, as its interface does."""
    for name, connection in connections.items():
        fields: Mapping[str, Any] = json.loads(connection)
        here.act(
            "/api/v2/connections",
            {"connection_id": name, **fields, "extra": json.dumps(fields.get("extra", {}))},
        )


@scenario({name: HEAD.format(name=name) + steps for name, steps in STREAMS.items()})
def test_each_is_told_once_to_everybody_in_the_right_words(here: Stage) -> None:
    with mail_server() as (box, mail), incident_desk() as (desk, hook):
        told = Told(box, desk)
        connect(here, smtp_ops=mail, alert_desk=hook)
        here.lab.fault("sap_odata", {"on": "submit", "do": "cut_before_commit", "times": 1, "match": "unclear"})
        for name in STREAMS:
            here.api.trigger(name, "one", {"order": f"ORD-{name}"})
        expected = Counter(
            [("unreachable", "failed"), *2 * [("slow", "late")], ("slow", "waiting"), ("unclear", "ambiguous")]
        )
        here.until(lambda: told.events() >= expected and len(box.mails) >= expected.total())

        # A scheduler loop, a DAG processor's round, a triggerer's: nothing comes twice.
        time.sleep(20)
        assert told.events() == expected
        assert told.subjects() == Counter(
            [
                "[high] Stream unreachable ORD-unreachable: Do the work failed",
                "[high] Stream slow ORD-slow is late",
                "[high] Stream slow ORD-slow: Release it is late",
                "[high] Stream slow ORD-slow: Release it waits for an answer",
                "[high] Stream unclear ORD-unclear: Plan it needs a person to look",
            ]
        )
        failed = told.post("unreachable", "failed")
        (late,) = [data for _, data in desk.posts if data["event"] == "late" and data["step"] is None]
        assert "connection 'nobody_host'" in failed["reason"]
        assert failed["link"] == f"{here.airflow.url}/dags/unreachable/runs/one/tasks/work"
        assert (failed["step"]["system"], failed["step"]["connection"]) == ("unix.script", "nobody_host")
        assert "It stands at release (awaiting input)" in late["reason"]
        assert late["due"] == late["since"]
        assert told.post("slow", "waiting")["reason"] == "Go on?"
        assert told.post("unclear", "ambiguous")["step"]["system"] == "sap.application_job"

        # A person answers: those who were told that it stood still are told that it goes on.
        question = "/api/v2/dags/unclear/dagRuns/one/taskInstances/plan/-1/hitlDetails"
        answer = {"chosen_options": ["It did not run: hand it over"], "params_input": {"reason": "it did not"}}
        here.api._send("PATCH", question, answer)
        here.until(lambda: told.events()["unclear", "released"] == 1)
        assert told.subjects()["[high] Stream unclear ORD-unclear: Plan it goes on"] == 1
        here.until(lambda: here.state("unclear", "one") in OVER)
        assert here.state("unclear", "one") == "success"


@scenario(dags={"killed": SILENT})
def test_a_step_whose_worker_is_killed_is_told_too(here: Stage) -> None:
    with incident_desk() as (desk, hook):
        connect(here, killed_desk=hook)
        here.api.trigger("killed", "one", {"place": str(here.place / "worker_dies")})
        here.until((here.place / "worker_dies").exists)
        time.sleep(6)
        task, worker = map(int, (here.place / "worker_dies").read_text().split())
        for pid in (worker, task):
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)
        here.until(lambda: bool(desk.posts))
        time.sleep(15)
        ((_, data),) = desk.posts
        assert data["step"]["id"] == "worker_dies"
        assert data["reason"] == "Airflow lost the worker that ran the step, or could not start one"
