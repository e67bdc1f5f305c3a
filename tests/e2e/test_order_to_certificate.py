"""The shipped value stream through real Airflow processes: paths, jobs, values, secrets, and a broken neighbour."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from company import Stage, jobs_of, scenario

from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import newest_ledger
from airflow_enterprise_orch.demo import certificates, story
from airflow_enterprise_orch.demo.airflow import LocalAirflow
from airflow_enterprise_orch.demo.api import AirflowApi
from airflow_enterprise_orch.demo.lab import LabProcess
from airflow_enterprise_orch.demo.proof import StepAttempt, violations
from airflow_enterprise_orch.demo.report import Outcome
from airflow_enterprise_orch.demo.run import BY_HAND, READING_TIME, outcome_of, seconds_since, stage
from airflow_enterprise_orch.value_stream.approval import APPROVAL_KEY
from airflow_enterprise_orch.value_stream.branch import DECISION_KEY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1100)]

STREAM = story.STREAM
TYPO = """
value_stream: typo
title: With a typo
business: {domain: Tests, owner: tests, criticality: low, key: "{{ run_id }}"}
steps:
  one:
    unix.script: {conection: virtual_server, script: "true"}
"""
ANSWERS = """
value_stream: answers
title: What systems answer decides
business: {domain: Tests, owner: tests, criticality: low, key: "{{ params.order }}"}
params:
  order: {type: string}
  warn: {type: string, default: ""}
  grade: {type: string, default: A}
  rc: {type: integer, default: 0}
steps:
  close:
    sap.application_job: {connection: s4, template: ZLAB_PROGRAM, parameters: {P_WARN: "{{ params.warn }}"}}
  book:
    mainframe.scheduler_job:
      connection: controlm_prod
      folder: BOOKING
      job: BOOKORD
      variables: {ORDER: "{{ params.order }}", CLASS: "{{ params.grade }}"}
    outputs: {grade: {read: output, match: 'CLASS=(\\w+)', type: string}}
  rate:
    container.run:
      connection: container_host
      image: lab/tools:1
      command: [sh, -c, 'exit "$RC"']
      env: {RC: "{{ params.rc }}"}
    outcome: {success: rc <= 4}
  by_sap:
    after: [close]
    branch: [{when: 'steps.close.outcome == "warning"', then: [warned]}, {otherwise: [clean]}]
  by_controlm:
    after: [book]
    branch: [{when: 'steps.book.grade == "C"', then: [risky]}, {otherwise: [safe]}]
  by_container:
    after: [rate]
    branch: [{when: steps.rate.rc == 3, then: [third]}, {otherwise: [other]}]
  warned: {unix.script: {connection: virtual_server, script: "echo warned"}}
  clean: {unix.script: {connection: virtual_server, script: "echo clean"}}
  risky: {unix.script: {connection: virtual_server, script: "echo risky"}}
  safe: {unix.script: {connection: virtual_server, script: "echo safe"}}
  third: {unix.script: {connection: virtual_server, script: "echo third"}}
  other: {unix.script: {connection: virtual_server, script: "echo other"}}
"""
# What is asked for, and the steps that run because of what SAP, Control-M and the container answer.
ANSWERED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "answers-1": ({"order": "ORD-1"}, {"clean", "safe", "other"}),
    "answers-2": ({"order": "ORD-2", "warn": "X", "grade": "C", "rc": 3}, {"warned", "risky", "third"}),
}
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
    answered: dict[str, tuple[dict[str, Any], set[str]]] = field(default_factory=dict)

    def load(self) -> None:
        """Wait until the templates were read."""
        wanted = {STREAM, "answers"} if self.answered else {STREAM}
        while not wanted <= self.api.dag_ids() or (self.answered and not self.import_errors):
            self.airflow.processes.check()
            self.import_errors = self.api.import_errors()
            time.sleep(0.5)

    def run(self, *orders: story.Instance) -> None:
        """Run orders to their end; the approval of ``REJECTED`` is rejected, all others are approved."""
        for order in orders:
            self.api.trigger(STREAM, order.run_id, order.params)
        for run_id, (params, _taken) in self.answered.items():
            self.api.trigger("answers", run_id, params)
        while any(run["state"] not in ("success", "failed") for run in self._runs()):
            for question in self.api.questions(STREAM):
                where = question["task_instance"]
                if where["state"] == "awaiting_input" and seconds_since(question["created_at"]) > READING_TIME:
                    choice = "Reject" if where["dag_run_id"] == REJECTED.run_id else "Approve"
                    self.api.answer(STREAM, where["dag_run_id"], where["task_id"], choice)
            tasks = self.api.task_instances(STREAM)
            self.triggers += [json.dumps(task["trigger"]) for task in tasks if task["trigger"]]
            self.airflow.processes.check()
            time.sleep(2)
        self.outcomes = {order.run_id: outcome_of(self.api, order) for order in orders}

    def _runs(self) -> list[dict[str, Any]]:
        streams = [STREAM, "answers"] if self.answered else [STREAM]
        return [run for stream in streams for run in self.api.runs(stream).values()]

    @property
    def attempts(self) -> list[StepAttempt]:
        """Every attempt of the instances that were started."""
        found = [attempt for outcome in self.outcomes.values() for attempt in outcome.attempts]
        for run_id in self.answered:
            for task in self.api.task_instances("answers", run_id):
                ledger = Ledger.from_json(newest_ledger(self.api.state_store("answers", run_id, task["task_id"])))
                found += [StepAttempt(run_id, task["task_id"], attempt) for attempt in ledger.attempts]
        return found

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


def secrets_of(lab: LabProcess) -> list[str]:
    """Return what must be seen nowhere."""
    found = [endpoint["password"] for endpoint in lab.endpoints.values() if endpoint.get("password")]
    for endpoint in lab.endpoints.values():
        found += [endpoint[name] for name in ("api_token", "registry_password") if name in endpoint]
        extra = endpoint["connection"].get("extra", {})
        found += [extra["certificate_secret"]] if "certificate_secret" in extra else []
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
    assert violations(play.attempts, jobs_of(play.lab, play.attempts)) == []
    hidden = secrets_of(play.lab)
    assert hidden
    assert play.triggers, "no trigger was seen at work"
    for where, text in play.seen():
        for secret in hidden:
            assert secret not in text, f"a secret stands in {where}"


@scenario({"typo": TYPO, "answers": ANSWERS}, postgresql=True)
def test_whole_streams_on_postgresql(here: Stage):
    lab, airflow, api = here.lab, here.airflow, here.api
    play = Play(lab, airflow, api, answered=ANSWERED)
    lab.fault("zosmf", {"on": "submit", "do": "cut_after_commit", "times": 1})
    lab.fault("controlm", {"on": "submit", "do": "cut_after_commit", "times": 1})
    lab.fault("sap_soap_rfc", {"on": "submit", "do": "abend", "times": 1, "match": f"ZPOST_INVOICE .*{RISKY.key}"})
    lab.fault("ssh", {"on": "submit", "do": "fail", "times": 1, "match": f"(?s)(?=.*{SMALL.key})(?=.*size: standard)"})
    play.load()
    play.run(SMALL, RISKY, REJECTED, POST)
    check(play, SMALL, RISKY, POST)

    # The broken template is an import error of its own, with position and a suggestion, and of nothing else.
    (error,) = play.import_errors
    assert "typo.yaml:7:19" in error["stack_trace"]
    assert "did you mean 'connection'" in error["stack_trace"]
    assert api.dag_ids() >= {STREAM}

    # What failed once, a script and a job in SAP, was run again by its rule; nothing else was.
    again = [one for outcome in play.outcomes.values() for one in outcome.attempts if one.attempt.number > 1]
    assert {(one.instance, one.step, one.attempt.number) for one in again} == {
        (SMALL.key, "provision_standard", 2),
        (RISKY.key, "post_invoice", 2),
    }

    # What SAP, Control-M and a container answered decided which way each instance went.
    for run_id, (_params, taken) in ANSWERED.items():
        states = {task["task_id"]: task["state"] for task in api.task_instances("answers", run_id)}
        decided = {name for _params, names in ANSWERED.values() for name in names}
        assert {name for name in decided if states[name] == "success"} == taken
        assert {name for name in decided if states[name] == "skipped"} == decided - taken

    # The customer has a certificate that is genuine, and a manifest that says the same; one changed byte is seen.
    got = certificates.fetch(api, lab, STREAM, [(SMALL.run_id, SMALL.key), (POST.run_id, POST.key)])
    assert [one.problem for one in got] == ["", ""]
    file = here.place / "certificate.pdf"
    file.write_bytes(got[0].pdf)
    genuine, said = certificates.verify(airflow, file)
    assert genuine, said
    assert SMALL.key in said
    file.write_bytes(got[0].pdf.replace(SMALL.key.encode(), POST.key.encode()))
    assert not certificates.verify(airflow, file)[0]

    # What steps leave is there for later steps, and says where the job is.
    booked = api.xcoms(STREAM, RISKY.run_id, "check_credit")["return_value"]
    assert booked["credit_class"] == RISKY.params["proposed_class"]
    assert (booked["rc"], booked["outcome"]) in ((0, "success"), (4, "warning"))
    job = next(job for job in lab.jobs()["zosmf"] if job["id"] == booked["job_id"])
    assert job["ran"]
    invoice = api.xcoms(STREAM, SMALL.run_id, "post_invoice")["return_value"]
    assert invoice["invoice"] == SMALL.key.replace("ORD", "INV")

    # Decisions and answers are kept where people can look them up.
    decision = api.state_store(STREAM, RISKY.run_id, "route")[DECISION_KEY]
    assert (decision["fired"], decision["chosen"]) == ([2], ["approve"])
    assert decision["values"]["steps.check_credit.credit_class"] == "B"
    answer = api.state_store(STREAM, REJECTED.run_id, "approve")[APPROVAL_KEY]
    assert (answer["outcome"], answer["by"]) == ("rejected", airflow.user)

    # A rejection stops the instance, and nothing behind it was handed over.
    assert play.of(REJECTED).state == "failed"
    assert {one.step for one in play.of(REJECTED).attempts} == {"check_credit", "book_order", "post_invoice"}


def as_in_containers(root: Path, place: Path) -> tuple[dict[str, str], list[str]]:
    """Return where docker-compose.yml has connections from, and how it starts the lab, with its folder at ``place``."""
    services = yaml.safe_load((root / "docker-compose.yml").read_text())["services"]
    settings = services["scheduler"]["environment"]
    found = {name: settings[f"AIRFLOW__SECRETS__{name}"] for name in ("BACKEND", "BACKEND_KWARGS")}
    command, words = services["lab"]["entrypoint"][:3], services["lab"]["entrypoint"][3:]
    assert command == ["enterprise-orch", "lab", "--json"]
    return (
        {f"AIRFLOW__SECRETS__{name}": value.replace("/opt/lab", str(place)) for name, value in found.items()},
        [word.replace("/opt/lab", str(place)) for word in words],
    )


def below() -> set[int]:
    """Return the numbers of the processes below this one: when they began moves for psutil when the clock is set."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_two_orders_on_sqlite(tmp_path: Path, root: Path):
    """No connection is in the environment or the database: all come from the lab's file, as they do in containers."""
    known = below()
    settings, words = as_in_containers(root, tmp_path)
    home, templates = tmp_path / "home", story.templates()
    with (
        stage(home, templates, connections={}, settings={**BY_HAND, **settings}, lab_words=words) as (lab, airflow),
        airflow.api() as api,
    ):
        play = Play(lab, airflow, api)
        lab.fault("zosmf", {"on": "submit", "do": "cut_before_commit", "times": 1})
        play.load()
        play.run(SMALL, POST)
        check(play, SMALL, POST)
        assert violations(play.attempts, lab.jobs()) == []
        assert lab.open_faults() == []
        started = below() - known
    assert started
    assert not below() & started
