"""What people read of each event, from what Airflow calls to what a mail server, a desk and Slack get.

How a user would notice that it is fake: the mail about a failed payment names no job, so nobody can look for it in SAP;
the one about a question leads nowhere; Slack says less than the mail.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import GetTaskStates, SetXCom, TaskStatesResult, XComResult
from servers import incident_desk, mail_server

from airflow_enterprise_orch.alerts import callbacks, late
from airflow_enterprise_orch.alerts.callbacks import StepFailed, StepWentOn
from airflow_enterprise_orch.alerts.open_job import NotesItsJob
from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import ledger_cell
from airflow_enterprise_orch.delegation.trigger import DelegateTrigger, Wait
from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.model import ValueStream

pytestmark = [
    # The server is on loopback; a login that it insists on is what matters here.
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:slack_sdk"),
]

TO = [
    {"kind": "email", "connection": "smtp_ops", "to": ["ops@example.com"]},
    {"kind": "webhook", "connection": "incident_desk"},
    {"kind": "slack", "connection": "slack_ops"},
]
EVENTS = ("failed", "late", "waiting", "ambiguous", "released")
ALERTS = {
    "title": "Order to certificate",
    "business": {"domain": "Customer onboarding", "owner": "customer-operations", "criticality": "high"},
    "key": "{{ params.order }}",
    "defaults": {},
    "due": {"within": 3600.0},
    "steps": {},
    "timezone": "UTC",
    "rules": [{"on": list(EVENTS), "severity": "high", "after": 0.0, "to": TO}],
}
RUN_AFTER = datetime(2026, 7, 1, 6, 0, tzinfo=UTC)
WHERE = "https://airflow.example.com/dags/order_to_certificate/runs/one/tasks/"


@dataclass(frozen=True)
class Got:
    """What came of one event, as each of the three shows it."""

    subject: str
    mail: str
    desk: dict[str, Any]
    slack: str


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Got]]:
    """Return what gives what came last."""
    variables: dict[str, Any] = {}
    monkeypatch.setattr(Variable, "get", lambda name, default=None, **_: variables.get(name, default))
    monkeypatch.setattr(Variable, "set", lambda name, value, **_: variables.update({name: value}))
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com")
    with ExitStack() as servers:
        box, mail = servers.enter_context(mail_server())
        desk, hook = servers.enter_context(incident_desk())
        channel, slack = servers.enter_context(incident_desk())
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_OPS", mail)
        monkeypatch.setenv("AIRFLOW_CONN_INCIDENT_DESK", hook)
        hidden = {"conn_type": "slackwebhook", "host": json.loads(slack)["host"] + "/", "password": "T0/B0/x"}
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_OPS", json.dumps(hidden))

        def got() -> Got:
            (_, one), (_, data), (_, post) = box.mails[-1], desk.posts[-1], channel.posts[-1]
            assert len(box.mails) == len(desk.posts) == len(channel.posts)
            text, _html = one.iter_parts()
            return Got(str(one["Subject"]), text.get_content().replace("\r\n", "\n"), data, post["text"])

        yield got


class Supervisor:
    """What keeps XComs, for the worker that a step begins to wait in and for the triggerer that tells what is late."""

    def __init__(self) -> None:
        self.xcoms: dict[tuple[str, ...], Any] = {}
        self.states: dict[str, str] = {}

    def send(self, message: Any) -> Any:
        if isinstance(message, GetTaskStates):
            return TaskStatesResult(task_states={"one": self.states})
        place = (message.dag_id, message.run_id, message.task_id, str(message.map_index), message.key)
        if isinstance(message, SetXCom):
            self.xcoms[place] = message.value
            return None
        return XComResult(key=message.key, value=self.xcoms.get(place))


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    found = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", found, raising=False)
    return found


def wait(task_id: str = "post_invoice", job_id: str = "08150000", map_index: int = -1) -> Wait:
    return Wait(
        step="sap.background_job",
        connection="sap_erp",
        handle=JobHandle("K" * 20, job_id, "ZPOST"),
        identity="sap://erp",
        deferred=RUN_AFTER.isoformat(),
        dag_id="order_to_certificate",
        run_id="one",
        task_id=task_id,
        map_index=map_index,
    )


def context(*, delegated: bool, error: Exception | None = None) -> Any:
    """Return what Airflow hands to a callback of a step: one that a remote system does, or a question."""
    own = {"step": "sap.background_job", "connection": "sap_erp"} if delegated else {}
    task = SimpleNamespace(on_failure_callback=[StepFailed(ALERTS)], task_display_name="Post the invoice", **own)
    ti = SimpleNamespace(
        dag_id="order_to_certificate", run_id="one", task_id="post_invoice", map_index=-1, try_number=1, task=task
    )
    run = SimpleNamespace(
        run_id="one", run_after=RUN_AFTER, logical_date=None, data_interval_start=None, data_interval_end=None
    )
    handle = JobHandle("K" * 20, "08150000", "ZPOST")
    sent = Attempt(1, "K" * 20, state=AttemptState.SUBMITTED, system="sap://erp", handle=handle)
    found = {
        "ti": ti,
        "dag_run": run,
        "params": {"order": "ORD-100017"},
        "task_state_store": {ledger_cell(1): Ledger((sent,)).to_json()} if delegated else {},
    }
    return found if error is None else {**found, "exception": error}


def fail() -> str:
    error = AirflowFailException("job ZPOST was cancelled in SAP")
    StepFailed(ALERTS)(context(delegated=True, error=error))
    return "job ZPOST was cancelled in SAP"


def tell_late(step: dict[str, str]) -> None:
    run = {
        "dag_id": "order_to_certificate",
        "dag_run_id": "one",
        "conf": {"order": "ORD-100017"},
        "run_after": RUN_AFTER.isoformat(),
        "state": "running",
    }
    asyncio.run(late.tell(ALERTS, {"within": 3600.0}, step, context={"dag_run": run, "deadline": {}}))


STEP = {"id": "post_invoice", "title": "Post the invoice", "system": "sap.background_job", "connection": "sap_erp"}


def be_late() -> str:
    assert isinstance(NotesItsJob(DelegateTrigger)(wait()), DelegateTrigger)
    tell_late(STEP)
    return "The step is not over. It stands at post_invoice (deferred)."


def ask() -> str:
    callbacks.waiting(context(delegated=False), "Release ORD-100017?")
    return "Release ORD-100017?"


def park() -> str:
    callbacks.parked(context(delegated=True), "Nobody can tell whether the job ran: did it?", "K1")
    return "Nobody can tell whether the job ran: did it?"


def go_on() -> str:
    park()
    StepWentOn(ALERTS)(context(delegated=True))
    return "the step succeeded"


HAPPENS: dict[str, Callable[[], str]] = dict(zip(EVENTS, (fail, be_late, ask, park, go_on), strict=True))
"""Of each event what makes it happen, and the reason that people are to read."""


@pytest.mark.parametrize("event", EVENTS)
def test_people_read_key_stream_step_system_job_reason_and_link(
    told: Callable[[], Got], supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    async def states(_run: Any) -> dict[str, str]:
        return {"post_invoice": "deferred"}

    monkeypatch.setattr(late, "_states", states)
    reason = HAPPENS[event]()
    got = told()
    assert (got.desk["event"], got.desk["severity"]) == (event, "high")
    assert got.subject.startswith("[high] Order to certificate ORD-100017: Post the invoice ")

    system = {} if event == "waiting" else {"system": "sap.background_job", "connection": "sap_erp"}
    job = {} if event == "waiting" else {"job_id": "08150000"}
    assert got.desk["instance"] == {"key": "ORD-100017", "run_id": "one"}
    assert got.desk["stream"]["title"] == "Order to certificate"
    assert {"id": "post_invoice", "title": "Post the invoice", **system, **job}.items() <= got.desk["step"].items()
    assert (got.desk["reason"], got.desk["link"]) == (reason, f"{WHERE}post_invoice")

    lines = dict(line.split(":", 1) for line in got.mail.splitlines() if ":" in line)
    read = {name: lines.get(name, "").strip() for name in ("Business key", "Step", "System", "Remote job", "Reason")}
    assert read == {
        "Business key": "ORD-100017",
        "Step": "Post the invoice",
        "System": "sap.background_job, connection sap_erp" if system else "",
        "Remote job": job.get("job_id", ""),
        "Reason": reason,
    }
    assert "Order to certificate (Customer onboarding; owner customer-operations)" in lines["Stream"]
    assert lines["In Airflow"].strip() == f"{WHERE}post_invoice"
    assert got.slack.splitlines() == got.mail.splitlines()


def test_who_hears_of_a_late_instance_reads_all_jobs_that_it_waits_for(
    told: Callable[[], Got], supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def states(_run: Any) -> dict[str, str]:
        return {"post_invoice": "deferred", "archive": "deferred", "await_file": "deferred", "book": "success"}

    monkeypatch.setattr(late, "_states", states)
    for task_id, job_id in (("post_invoice", "08150000"), ("archive", "0816\nBcc: x"), ("book", "0817")):
        NotesItsJob(DelegateTrigger)(wait(task_id, job_id))
    tell_late({})
    got = told()
    assert (got.desk["step"], [(one["step"], one["job_id"]) for one in got.desk["open_jobs"]]) == (
        None, [("archive", "0816 Bcc: x"), ("post_invoice", "08150000")],
    )  # fmt: skip
    jobs = [line.split(":", 1)[1].strip() for line in got.mail.splitlines() if line.startswith("Remote job:")]
    assert jobs[1] == "08150000 of post_invoice (sap.background_job, connection sap_erp)"
    # A step's own job is the step's; what it waits for before it is another.
    tell_late(STEP)
    got = told()
    assert (got.desk["step"]["job_id"], [one["step"] for one in got.desk["open_jobs"]]) == ("08150000", ["archive"])


LISTED = """
value_stream: order_to_certificate
title: Order to certificate
business: {domain: Customer onboarding, owner: customer-operations}
due: {within: 1h}
alerts: [{on: [late], to: {webhook: {connection: incident_desk}}}]
params: {banks: {type: list, items: string}}
steps:
  pay:
    title: Pay
    due: {within: 30m}
    unix.script: {connection: host, command: /pay, args: ["{{ item }}"]}
    for_each: {item: params.banks, max: 50}
"""
PAY = {"id": "pay", "title": "Pay", "system": "unix.script", "connection": "host"}


def test_of_a_step_with_a_list_people_read_the_job_of_each_item(
    told: Callable[[], Got], supervisor: Supervisor
) -> None:
    each = compile_stream(ValueStream.load(LISTED)).get_task("pay-each")
    for index, bank in enumerate(("BANK-A", "BANK-B", "B\nBcc: x", "")):
        each.unmap({"item": bank}).trigger_class(wait("pay-each", f"pid-{index}", index))
    NotesItsJob(DelegateTrigger)(wait("archive", "0816"))
    # As Airflow tells them; of an item that is over the note is still there.
    items = {f"pay-each_{index}": "deferred" for index in (0, 2, 3)}
    supervisor.states = {"archive": "deferred", "pay-items": "success", "pay-each_1": "success", **items}
    tell_late({})
    got = told()
    assert [(one["step"], one["item"], one["job_id"]) for one in got.desk["open_jobs"]] == [
        ("archive", "", "0816"), ("pay", "BANK-A", "pid-0"), ("pay", "B Bcc: x", "pid-2"), ("pay", "#3", "pid-3"),
    ]  # fmt: skip
    assert "pid-0 of pay, item BANK-A (sap.background_job, connection sap_erp)" in got.mail
    assert got.desk["reason"].endswith("It stands at archive (deferred), pay (3 of 4 items deferred).")
    # Of the step itself: its items come first, and no one of them is the step's job.
    supervisor.states |= {f"pay-each_{index}": "deferred" for index in range(4, 15)}
    supervisor.states["pay-each_14"] = "failed"
    tell_late(PAY)
    got = told()
    assert (got.desk["step"]["job_id"], got.desk["open_jobs"][0]["item"]) == ("", "BANK-A")
    assert "pay (1 of 15 items failed), archive (deferred), pay (13 of 15 items deferred)" in got.desk["reason"]


def test_a_step_is_over_whatever_becomes_of_one_whose_name_begins_alike(
    told: Callable[[], Got], supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    supervisor.states = {"pay": "success", "pay_2": "running", "pay-each_0": "success"}
    tell_late(PAY)
    assert "it was over by the time its due time was looked at" in caplog.text
    with pytest.raises(IndexError):
        told()  # nothing came


def test_a_job_that_cannot_be_noted_or_read_is_waited_for_and_lateness_is_told_all_the_same(
    told: Callable[[], Got], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Down:
        def send(self, _message: Any) -> Any:
            raise OSError("the API server is down")

    async def states(_run: Any) -> dict[str, str]:
        return {"post_invoice": "deferred"}

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Down(), raising=False)
    monkeypatch.setattr(late, "_states", states)
    assert NotesItsJob(DelegateTrigger)(wait()).wait.handle.job_id == "08150000"
    assert "should the instance be late" in caplog.text
    tell_late(STEP)
    assert told().desk["step"]["job_id"] == ""
