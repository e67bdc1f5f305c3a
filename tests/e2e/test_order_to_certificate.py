"""The shipped value stream through real Airflow processes: paths, jobs, values, secrets, and a broken neighbour."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_enterprise_orch.demo import story
from airflow_enterprise_orch.demo.airflow import LocalAirflow
from airflow_enterprise_orch.demo.api import AirflowApi
from airflow_enterprise_orch.demo.lab import LabProcess
from airflow_enterprise_orch.demo.proof import violations
from airflow_enterprise_orch.demo.report import Outcome
from airflow_enterprise_orch.demo.run import READING_TIME, outcome_of, seconds_since, stage
from airflow_enterprise_orch.value_stream.approval import APPROVAL_KEY
from airflow_enterprise_orch.value_stream.branch import DECISION_KEY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.xdist_group("airflow")]

STREAM = story.STREAM
BROKEN = """
value_stream: broken
title: Broken
business: {domain: Tests, owner: tests, criticality: low, key: "{{ run_id }}"}
steps:
  one:
    unix.script: {conection: sap_host, script: "true"}
"""
# Small and safe; medium and risky; large, rejected; large environment by post.
SMALL, RISKY, REJECTED, POST = (story.instances()[number] for number in (0, 2, 3, 15))


@dataclass
class Play:
    """One run of the stream, and everything that could be seen of it."""

    lab: LabProcess
    airflow: LocalAirflow
    api: AirflowApi
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    triggers: list[str] = field(default_factory=list)
    import_errors: list[dict[str, Any]] = field(default_factory=list)

    def load(self) -> None:
        """Wait until both templates were read."""
        while STREAM not in self.api.dag_ids() or not self.import_errors:
            self.airflow.processes.check()
            self.import_errors = self.api.import_errors()
            time.sleep(0.5)

    def run(self, *orders: story.Instance) -> None:
        """Run orders to their end; the approval of ``REJECTED`` is rejected, all others are approved."""
        for order in orders:
            self.api.trigger(STREAM, order.run_id, order.params)
        while any(run["state"] not in ("success", "failed") for run in self.api.runs(STREAM).values()):
            for question in self.api.questions(STREAM):
                where = question["task_instance"]
                if where["state"] == "awaiting_input" and seconds_since(question["created_at"]) > READING_TIME:
                    choice = "Reject" if where["dag_run_id"] == REJECTED.run_id else "Approve"
                    self.api.answer(STREAM, where["dag_run_id"], where["task_id"], choice)
            tasks = self.api.task_instances(STREAM)
            self.triggers += [json.dumps(task["trigger"]) for task in tasks if task["trigger"]]
            self.airflow.processes.check()
            time.sleep(1)
        self.outcomes = {order.run_id: outcome_of(self.api, order) for order in orders}

    def of(self, order: story.Instance) -> Outcome:
        return self.outcomes[order.run_id]

    def seen(self) -> Iterator[tuple[str, str]]:
        """Yield everything that a person could read, with where it stands."""
        for run_id, outcome in self.outcomes.items():
            for task in outcome.states:
                yield f"XComs of {run_id} {task}", json.dumps(self.api.xcoms(STREAM, run_id, task))
                yield f"state store of {run_id} {task}", json.dumps(self.api.state_store(STREAM, run_id, task))
        for arguments in self.triggers:
            yield "trigger arguments", arguments
        for path in (*self.airflow.task_logs.rglob("*.log"), *self.airflow.processes.log_folder.glob("*.log")):
            yield str(path), path.read_text(errors="replace")


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    folder = shutil.copytree(story.templates(), tmp_path / "templates")
    (folder / "broken.yaml").write_text(BROKEN)
    return folder


def secrets_of(lab: LabProcess) -> list[str]:
    """Return what must be seen nowhere."""
    found = [endpoint["password"] for endpoint in lab.endpoints.values() if endpoint.get("password")]
    for endpoint in lab.endpoints.values():
        if endpoint.get("private_key_file"):
            found += Path(endpoint["private_key_file"]).read_text().splitlines()[1:-1]
    return found


def check(play: Play, *completed: story.Instance) -> None:
    """Check what holds for every run, on every database."""
    for order in completed:
        outcome = play.of(order)
        assert outcome.state == "success", (order, outcome.states)
        assert outcome.taken == order.expected
        assert {attempt.step for attempt in outcome.attempts} == {
            next(step for step in steps if outcome.states[step] == "success") for _heading, steps in story.STAGES
        }
    attempts = [attempt for outcome in play.outcomes.values() for attempt in outcome.attempts]
    assert violations(attempts, play.lab.jobs()) == []
    hidden = secrets_of(play.lab)
    assert hidden
    assert play.triggers, "no trigger was seen at work"
    for where, text in play.seen():
        for secret in hidden:
            assert secret not in text, f"a secret stands in {where}"


def test_sqlite(tmp_path: Path, templates: Path):
    with stage(tmp_path / "home", templates) as (lab, airflow), airflow.api() as api:
        play = Play(lab, airflow, api)
        lab.fault("zosmf", {"on": "submit", "do": "cut_after_commit", "times": 1})
        lab.fault(
            "ssh", {"on": "submit", "do": "fail", "times": 1, "match": f"(?s)(?=.*{SMALL.key})(?=.*size: standard)"}
        )
        play.load()
        play.run(SMALL, RISKY, REJECTED, POST)
        check(play, SMALL, RISKY, POST)
        assert lab.open_faults() == []

        # The broken template is an import error of its own, with position and a suggestion, and of nothing else.
        (error,) = play.import_errors
        assert "broken.yaml:7:19" in error["stack_trace"]
        assert "did you mean 'connection'" in error["stack_trace"]
        assert api.dag_ids() >= {STREAM}

        # The script that failed once was run again by its rule; nothing else was.
        again = [one for outcome in play.outcomes.values() for one in outcome.attempts if one.attempt.number > 1]
        assert [(one.instance, one.step, one.attempt.number) for one in again] == [(SMALL.key, "provision_standard", 2)]

        # What steps leave is there for later steps, and says where the job is.
        booked = api.xcoms(STREAM, RISKY.run_id, "book_order")["return_value"]
        assert booked["credit_class"] == RISKY.params["proposed_class"]
        assert (booked["rc"], booked["outcome"]) in ((0, "success"), (4, "warning"))
        job = next(job for job in lab.jobs()["zosmf"] if job["id"] == booked["job_id"])
        assert job["ran"]
        invoice = api.xcoms(STREAM, SMALL.run_id, "post_invoice")["return_value"]
        assert invoice["invoice"] == SMALL.key.replace("ORD", "INV")

        # Decisions and answers are kept where people can look them up.
        decision = api.state_store(STREAM, RISKY.run_id, "route")[DECISION_KEY]
        assert (decision["fired"], decision["chosen"]) == (2, ["approve"])
        assert decision["values"]["steps.book_order.credit_class"] == "B"
        answer = api.state_store(STREAM, REJECTED.run_id, "approve")[APPROVAL_KEY]
        assert (answer["outcome"], answer["by"]) == ("rejected", airflow.user)

        # A rejection stops the instance, and nothing behind it was handed over.
        assert play.of(REJECTED).state == "failed"
        assert {one.step for one in play.of(REJECTED).attempts} == {"book_order", "post_invoice"}

        started = {process.pid for process in psutil.Process().children(recursive=True)}
    assert started
    assert not {process.pid for process in psutil.Process().children(recursive=True)} & started


def test_postgresql(tmp_path: Path, templates: Path, postgresql: str):
    with stage(tmp_path / "home", templates, postgresql) as (lab, airflow), airflow.api() as api:
        play = Play(lab, airflow, api)
        lab.fault("zosmf", {"on": "submit", "do": "cut_before_commit", "times": 1})
        play.load()
        play.run(SMALL, POST)
        check(play, SMALL, POST)
        assert lab.open_faults() == []
