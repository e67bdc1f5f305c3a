"""The other shipped value streams through real Airflow processes, several instances each, in one Airflow.

How a user would notice that it is fake: the bank's difference is booked although it is large; a customer is paid
without the deductible; a supplier on a list gets a vendor number; a number in a letter is not the one that SAP gave; a
job that Airflow never started, or one that ran twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from company import OVER, Stage, jobs_of, scenario

from airflow_enterprise_orch.demo import story
from airflow_enterprise_orch.demo.proof import StepAttempt, violations
from airflow_enterprise_orch.demo.run import READING_TIME, seconds_since
from airflow_enterprise_orch.value_stream.model import ValueStream


@dataclass(frozen=True)
class Instance:
    """One run: what it is started with, and the steps that must run."""

    stream: str
    run_id: str
    params: Mapping[str, Any]
    taken: str

    @property
    def steps(self) -> set[str]:
        return set(self.taken.split())


RECONCILED = "close_channels clearing_file post_ledger accrue_interest charge_fees reconcile treatment route"
CLAIM = {"line": "motor", "amount": 900, "loss_date": "2026-11-20", "payee": "Erika Example"}
ONBOARDED = (
    "screen check_vat risk route create_vendor portal documents retire_portal activate_vendor update_crm confirm"
)
SMALL_GAP = Instance(
    "bank_end_of_day",
    "at01",
    {"entity": "AT01", "business_date": "2026-11-23"},
    f"{RECONCILED} book_difference load_gl roll_date build_report deliver_report",
)
LARGE_GAP = Instance("bank_end_of_day", "ch01", {"entity": "CH01", "business_date": "2026-11-23"}, RECONCILED)
"""Nobody releases it: the approval fails, and nothing behind it may run."""
PAID = Instance(
    "insurance_claim",
    "clm-100001",
    {**CLAIM, "claim": "CLM-100001", "policy": "POL-200005"},
    "check_cover score triage route pay payment_letter close_claim",
)
LOOKED_AT = Instance(
    "insurance_claim",
    "clm-100002",
    {**CLAIM, "claim": "CLM-100002", "policy": "POL-200004"},
    "check_cover score triage route assign_adjuster adjuster_report settle pay payment_letter close_claim",
)
REFUSED = Instance(
    "insurance_claim",
    "clm-100007",
    {**CLAIM, "claim": "CLM-100007", "policy": "POL-200009"},
    "check_cover score triage route refusal_letter close_claim",
)
CLOSED = Instance(
    "month_end_close",
    "2026-12",
    {"period": "2026-12"},
    "lock_subledgers payroll_file accruals_1000 accruals_2000 depreciation intercompany route controller adjust "
    "consolidate sign_off close_period certificate pack refresh",
)
TAKEN_ON = Instance(
    "supplier_onboarding",
    "sup-100001",
    {"supplier_id": "SUP-100001", "name": "Orleans SA", "country": "FR", "vat": "FR12345678901", "spend": 60000},
    f"{ONBOARDED} compliance procurement",
)
BLOCKED = Instance(
    "supplier_onboarding",
    "sup-100002",
    {"supplier_id": "SUP-100002", "name": "Orlanda Trading", "country": "XX", "vat": "XX1", "spend": 9000},
    "screen check_vat risk route refuse",
)
INSTANCES = (SMALL_GAP, LARGE_GAP, PAID, LOOKED_AT, REFUSED, CLOSED, TAKEN_ON, BLOCKED)
ANSWERS = {(LARGE_GAP.run_id, "release"): "Reject", (LOOKED_AT.run_id, "settle"): "Pay it"}
"""What is answered to a question; to all others ``Approve``."""
STREAMS = sorted({instance.stream for instance in INSTANCES})


class Play:
    """All instances on one stage, and what can be seen of them."""

    def __init__(self, here: Stage) -> None:
        self.here, self.lab, self.api = here, here.lab, here.api
        self.asked: set[tuple[str, str]] = set()

    def run(self) -> None:
        """Start all instances and go on to their end; every approval is answered by the API."""
        for one in INSTANCES:
            self.api.trigger(one.stream, one.run_id, one.params)
        self.here.until(self.over)

    def over(self) -> bool:
        """Answer what is asked, and tell whether all has ended."""
        for stream in self.here.tables.asks(*STREAMS):
            self.answer(stream)
        return all(state in OVER for state in self.states().values())

    def answer(self, stream: str) -> None:
        for question in self.api.questions(stream):
            where = question["task_instance"]
            if where["state"] == "awaiting_input" and seconds_since(question["created_at"]) > READING_TIME:
                asked = (where["dag_run_id"], where["task_id"])
                self.api.answer(stream, *asked, ANSWERS.get(asked, "Approve"))
                self.asked.add(asked)

    def states(self) -> dict[str, str]:
        return self.here.tables.states(*STREAMS)

    def left(self, one: Instance, step: str) -> dict[str, Any]:
        """Return what a step left for later ones."""
        return dict(self.api.xcoms(one.stream, one.run_id, step)["return_value"])

    def attempts(self, one: Instance) -> list[StepAttempt]:
        return self.here.attempts(one.stream, one.run_id)

    def given(self, one: Instance, step: str) -> dict[str, str]:
        """Return what the lab says that the last job of a step was started with."""
        keys = [attempt.attempt.key for attempt in self.attempts(one) if attempt.step == step]
        (job,) = [job for jobs in self.lab.jobs().values() for job in jobs if job["key"] == keys[-1]]
        return dict(job["given"])

    def file(self, name: str) -> str:
        """Read a file off the share, as its reader would."""
        endpoint = self.lab.endpoints["s3"]
        client = boto3.client(
            "s3",
            endpoint_url=endpoint["url"],
            aws_access_key_id=endpoint["user"],
            aws_secret_access_key=endpoint["password"],
            region_name="eu-central-1",
        )
        return client.get_object(Bucket=endpoint["bucket"], Key=name)["Body"].read().decode()


@scenario()
def test_every_shipped_stream_takes_its_paths(here: Stage) -> None:
    here.streams = STREAMS
    here.until(lambda: set(STREAMS) <= here.api.dag_ids())
    play = Play(here)
    here.lab.fault("sap_soap_rfc", {"on": "submit", "do": "abend", "times": 1, "match": "ZGL_LOAD_EOD .*AT01"})
    here.lab.fault("sap_odata", {"on": "submit", "do": "cut_after_commit", "times": 1, "match": "ZICMR_MATCH"})
    play.run()
    check_paths(play)
    check_jobs(play)
    check_alerts(play)
    check_bank(play)
    check_claims(play)
    check_close(play)
    check_suppliers(play)


def check_paths(play: Play) -> None:
    """Each instance took exactly its steps, and everybody was asked who had to be."""
    for one in INSTANCES:
        states = {task["task_id"]: task["state"] for task in play.api.task_instances(one.stream, one.run_id)}
        steps = ValueStream.load(story.templates() / f"{one.stream}.yaml").steps
        assert {step for step in steps if states[step] == "success"} == one.steps, one.run_id
        others = {"failed", "upstream_failed"} if one is LARGE_GAP else {"skipped"}
        assert {states[step] for step in set(steps) - one.steps} <= others, one.run_id
    assert {run_id for run_id, state in play.states().items() if state != "success"} == {LARGE_GAP.run_id}
    assert play.asked == {
        (LARGE_GAP.run_id, "release"),
        (LOOKED_AT.run_id, "settle"),
        (CLOSED.run_id, "controller"),
        (CLOSED.run_id, "sign_off"),
        (TAKEN_ON.run_id, "compliance"),
        (TAKEN_ON.run_id, "procurement"),
    }


def check_jobs(play: Play) -> None:
    """Every attempt reached its system exactly once, and only what broke off was run again."""
    attempts = [attempt for one in INSTANCES for attempt in play.attempts(one)]
    assert violations(attempts, jobs_of(play.lab, attempts)) == []
    again = {(one.instance, one.step) for one in attempts if one.attempt.number > 1}
    assert again == {(SMALL_GAP.run_id, "load_gl")}


def check_alerts(play: Play) -> None:
    """The incident desk heard of the one step that failed for good, in words, and of nothing else that failed."""
    mine = [alert for alert in play.lab.alerts() if alert["stream"]["id"] in STREAMS]
    (told,) = [alert for alert in mine if alert["event"] == "failed"]
    assert (told["stream"]["id"], told["instance"]["key"]) == (LARGE_GAP.stream, "CH01 2026-11-23")
    assert (told["step"]["id"], told["severity"]) == ("release", "critical")


def check_bank(play: Play) -> None:
    posted = play.left(SMALL_GAP, "post_ledger")
    assert (posted["rejected"], posted["outcome"]) == (2, "warning")
    assert play.given(SMALL_GAP, "post_ledger") == {
        "ENTITY": "AT01",
        "BDATE": "20261123",
        "BATCH": "7731",
        "FILE": "clearing/AT01/2026-11-23/pacs-001.xml",
    }
    assert play.left(SMALL_GAP, "treatment")["treatment"] == "suspense"
    assert play.given(SMALL_GAP, "book_difference")["AMOUNT"] == "37.5"
    assert play.given(SMALL_GAP, "book_difference")["ACCOUNT"] == "299900"
    assert play.left(LARGE_GAP, "treatment")["treatment"] == "release"
    assert play.left(LARGE_GAP, "reconcile")["difference"] == 18250.0
    voucher, document = play.left(SMALL_GAP, "book_difference")["voucher"], play.left(SMALL_GAP, "load_gl")["document"]
    report = play.file("supervisor/AT01/eod-2026-11-23.csv")
    assert report.splitlines() == ["entity;day;document;voucher", f"AT01;2026-11-23;{document};{voucher}"]


def check_claims(play: Play) -> None:
    # The policy covers half, and 150 are deductible: (900 - 150) / 2.
    assert play.left(PAID, "pay")["paid"] == 375.0
    assert play.given(PAID, "pay")["program"] == "ZFICA_CLAIM_PAYOUT"
    assert "375.0 EUR for your claim CLM-100001" in play.file("letters/CLM-100001/payment.txt")
    # A small motor claim, but the premium is unpaid: that warning sends it to a person.
    assert play.left(LOOKED_AT, "triage")["handling"] == "fast"
    assert play.left(LOOKED_AT, "check_cover")["outcome"] == "warning"
    assert play.given(LOOKED_AT, "assign_adjuster") == {"Arg0": "CLM-100002", "Arg1": "motor"}
    assert (play.left(LOOKED_AT, "settle")["outcome"], play.left(LOOKED_AT, "pay")["paid"]) == ("settle", 750.0)
    # It looks like fraud as well, but without cover nobody investigates.
    assert play.left(REFUSED, "score")["score"] == 91
    assert play.given(REFUSED, "score")["image"] == "lab/fraud-score:1"
    assert play.given(REFUSED, "close_claim") == {"CLAIM": "CLM-100007", "RESULT": "REFUSED"}
    assert play.given(PAID, "close_claim")["RESULT"] == play.left(PAID, "pay")["payment"]


def check_close(play: Play) -> None:
    matched = play.left(CLOSED, "intercompany")
    assert (matched["difference"], matched["outcome"]) == (61000.0, "warning")
    assert play.left(CLOSED, "accruals_2000")["outcome"] == "warning"
    assert play.given(CLOSED, "adjust")["P_AMOUNT"] == "61000.0"
    assert play.given(CLOSED, "lock_subledgers")["P_TYPES"] == "K,D,A"
    pack = play.file("packs/2026-12/pack.csv").splitlines()[1].split(";")
    assert pack[:2] == ["2026-12", "1284300.0"]
    assert pack[4] == play.left(CLOSED, "certificate")["verification"]


def check_suppliers(play: Play) -> None:
    vendor = play.left(TAKEN_ON, "create_vendor")["vendor"]
    assert play.given(TAKEN_ON, "activate_vendor")["P_LIFNR"] == vendor
    assert play.given(TAKEN_ON, "activate_vendor")["P_ZTERM"] == "14"
    welcome = play.file("suppliers/SUP-100001/welcome.txt")
    assert "We have your 2 documents" in welcome
    assert f"{vendor}; we pay within 14 days" in welcome
    # The portal was open while documents were waited for, and is gone.
    (portal,) = [attempt.attempt.key for attempt in play.attempts(TAKEN_ON) if attempt.step == "portal"]
    (container,) = [job for job in play.lab.jobs()["docker"] if job["key"] == portal]
    assert (container["ran"], container["state"]) == (True, "purged")
    # Who stands on a list gets no vendor number.
    assert "best with 97" in play.file("suppliers/SUP-100002/refusal.txt")
    created = [job for job in play.lab.jobs()["sap_soap_rfc"] if job["given"]["program"] == "ZMM_VENDOR_CREATE"]
    assert [job["given"]["P_NAME"] for job in created] == ["Orleans SA"]
