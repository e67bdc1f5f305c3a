"""Why an instance is late or waits: the chain ends at what somebody can do something about.

How a user would notice that it is fake: it says that a job is slow while somebody holds it, blames a step that took
what it always takes, or stops at "running".
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_enterprise_orch.delegation.control import Wish
from airflow_enterprise_orch.executive_view.airflow_details import PoolWait, Question
from airflow_enterprise_orch.executive_view.answers import InstanceRow, Stack
from airflow_enterprise_orch.executive_view.answers_instance import Cause, RemoteJob, StepRun
from airflow_enterprise_orch.executive_view.forecast import Outlook
from airflow_enterprise_orch.executive_view.pictures import Picture, PictureStep
from airflow_enterprise_orch.executive_view.standing import Block, Hold
from airflow_enterprise_orch.executive_view.statistics import OfStep, Statistics
from airflow_enterprise_orch.executive_view.why import Facts, why

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
PICTURE = Picture(
    steps=(
        PictureStep("book", "Book it", "mainframe.job", Stack(id="mainframe", title="Mainframe")),
        PictureStep(
            "post",
            "Post it",
            "sap.background_job",
            Stack(id="sap", title="SAP"),
            "sap",
            "sap_erp",
            after=("book",),
            tasks=("post-each",),
        ),
    )
)
PAST = Statistics(
    20, 900, 1800, {"book": OfStep(20, 300, 400, own_p50=300), "post": OfStep(20, 720, 1200, own_p50=720)}, {}
)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def run(state: str, started: float | None = None, ended: float | None = None, **more: Any) -> StepRun:
    given: dict[str, Any] = {
        "state": state, "airflow_state": None, "try_number": 1, "queued_at": None, "due_at": None, "late": False,
        "started_at": ago(started) if started is not None else None, "message": None,
        "ended_at": ago(ended) if ended is not None else None, "job": None,
    }  # fmt: skip
    return StepRun(**{**given, **more})


def job(**more: Any) -> RemoteJob:
    given: dict[str, Any] = {
        "attempt": 1, "key": None, "system": "sap://erp", "job_id": "08150001", "job_name": "ZPOST",
        "state": "submitted", "verdict": None, "message": None, "parked": None, "closed_by": None, "opened": None,
        "closed": None,
    }  # fmt: skip
    return RemoteJob(**{**given, **more})


def facts(post: StepRun, *, due: float | None = -30, book: StepRun | None = None, **more: Any) -> Facts:
    """``due`` in minutes from now; the instance is at "Post it"."""
    row = more.pop("row", {})
    given: dict[str, Any] = {
        "id": 1, "dag_id": "orders", "run_id": "r", "key": "ORD-1", "stream": "Orders", "version": 1, "domain": "",
        "owner": "", "criticality": "", "business_date": None, "run_type": "manual", "state": "running", "live": True,
        "health": "on_time", "queued_at": ago(61), "started_at": ago(60), "ended_at": None,
        "due_at": NOW + timedelta(minutes=due) if due is not None else None, "first_due_at": None,
        "late_seconds": None, "step": PICTURE.step_name("post"), "waits_for": "nothing", "waiting_people": False,
        "parked": False, "forecast": None, "acknowledged": None, "changed_at": None,
    }  # fmt: skip
    steps = {"book": book or run("success", 60, 55), "post": post}
    return Facts(row=InstanceRow(**{**given, **row}), picture=PICTURE, steps=steps, past=PAST, now=NOW, **more)


def told(of: Facts) -> list[tuple[str, str]]:
    return [(cause.kind, cause.text) for cause in why(of).chain]


def test_a_slow_job_is_named_down_to_the_remote_system() -> None:
    of = facts(run("running", 41, job=job()), ahead=Outlook(20, outlasted=("post",)))
    assert told(of) == [
        ("stream", "ORD-1 is late by 30 min: it was due at 13:30"),
        ("step", "“Post it” (SAP) is at work for 41 min; half of 20 instances took 12 min, nine of ten 20 min"),
        ("remote_job", "Job ZPOST 08150001 has not ended on sap://erp, and has lasted longer than ever before"),
    ]
    assert [cause.level for cause in why(of).chain] == ["problem", "problem", "attention"]


def test_an_earlier_step_that_took_too_long_is_named_too() -> None:
    of = facts(run("running", 2, job=job()), book=run("success", 60, 3))
    assert told(of)[-1] == ("step", "“Book it” took 57 min, 52 min more than its usual 5 min")
    in_time = facts(run("running", 2, job=job()), due=30, book=run("success", 60, 3))
    assert [kind for kind, _ in told(in_time)] == ["stream", "step", "remote_job"]


@pytest.mark.parametrize(
    ("post", "more", "last"),
    [
        (
            run("waiting_person", 14),
            {"questions": [Question("post", "Release ORD-1?", ["Approve", "Reject"], ["Ann"], ago(14))]},
            ("person", "Ann can answer “Release ORD-1?”: Approve, Reject"),
        ),
        (
            run("parked", 14, job=job(parked="What became of ZPOST?")),
            {},
            ("person", "A person has to answer: What became of ZPOST?"),
        ),
        (
            run("held", None, queued_at=ago(5)),
            {"holds": {"post": Hold(Wish("hold", "bob", "month end", NOW + timedelta(hours=2)))}},
            ("hold", "bob holds it until 16:00: month end"),
        ),
        (
            run("held", None, queued_at=ago(5)),
            {"holds": {"post": Hold(Wish("hold", "bob", "month end"), "stream", "orders")}},
            ("hold", "bob holds the whole stream: month end"),
        ),
        (
            run("held", None, queued_at=ago(5)),
            {"holds": {"post": Hold(Wish("hold", "bob", "month end"), "system", "sap")}},
            ("system", "bob holds all work for system sap: month end"),
        ),
        (
            run("running", 5, job=job()),
            {"blocks": {"sap_erp": Block("sap_erp", "user PROD is locked", ago(3))}},
            (
                "system",
                "Connection sap_erp is blocked since 13:57, because its login was refused: user PROD is locked. "
                "Somebody has to correct it, or to delete the Variable enterprise_orch.blocked.sap_erp when the login "
                "works again",
            ),
        ),
        (
            run("queued", None, queued_at=ago(5)),
            {"pools": [PoolWait("post-each", "sap_batch", 1, 0, 4)]},
            ("resource", "Resource “sap_batch” is used up, 4 slots of it by streams that you see; it wants 1 slot"),
        ),
        (
            run("queued", None, queued_at=ago(5)),
            {"pools": [PoolWait("post", "default_pool", 1, 124, 4)]},
            ("queue", "Airflow has no free worker for it yet, or a limit of the stream is reached"),
        ),
        (
            run("running", 5),
            {"waits": {"post": NOW + timedelta(hours=4)}},
            ("calendar", "It goes on at 18:00"),
        ),
        (
            run("retry", 5, message="the system is down", try_number=2),
            {},
            ("retry", "The last try failed: the system is down"),
        ),
        (
            run("running", 5, job=job(state="intent", job_id=None)),
            {},
            ("remote_job", "Its work is being handed over to sap://erp"),
        ),
        (
            run("held", 5, job=job(phase="held", reason="Job is held")),
            {},
            ("remote_job", "Job ZPOST 08150001 is held over there, on sap://erp: Job is held"),
        ),
        (
            run("running", 5, job=job(phase="waiting", reason="")),
            {},
            ("remote_job", "Job ZPOST 08150001 waits over there, on sap://erp"),
        ),
        (
            run("running", 5),
            {"below": {"post": [Cause(kind="person", level="attention", text="Ann can answer")]}},
            ("person", "Ann can answer"),
        ),
    ],
)
def test_the_chain_ends_at_what_it_waits_for(post: StepRun, more: dict[str, Any], last: tuple[str, str]) -> None:
    assert told(facts(post, due=30, **more))[-1] == last


def test_a_failure_is_told_with_its_job_and_nothing_beside_it() -> None:
    of = facts(run("failed", 40, 30, try_number=3, job=job(state="closed", verdict="failure", message="rc 12")), due=9)
    assert told(of) == [
        ("stream", "ORD-1 has a failed step"),
        ("step", "“Post it” failed after 3 tries"),
        ("remote_job", "Job ZPOST 08150001 ended as failure: rc 12"),
    ]


def test_a_failure_whose_message_names_the_job_is_not_told_twice() -> None:
    message = "sap.background_job ZPOST 08150001 on sap://erp failed: rc 12\nlast lines of its log:\nno such account"
    of = facts(run("failed", 40, 30, job=job(state="closed", verdict="failure", message=message)), due=9)
    assert told(of)[-1] == ("remote_job", message)


def test_a_number_in_a_message_is_no_job_because_it_has_the_same_digits() -> None:
    short = job(state="closed", verdict="failure", job_name=None, job_id="12", message="rc 120 (0x12)")
    assert told(facts(run("failed", 40, 30, job=short), due=9))[-1] == (
        "remote_job",
        "Job 12 ended as failure: rc 120 (0x12)",
    )


def test_work_that_was_sent_and_never_answered_is_not_told_as_on_its_way() -> None:
    of = facts(run("parked", 5, job=job(state="intent", job_id=None, parked="did it run?")), due=30)
    assert [kind for kind, _ in told(of)] == ["stream", "step", "person"]
    assert told(of)[-1] == ("person", "A person has to answer: did it run?")


def test_what_a_step_usually_takes_is_told_from_enough_instances_only() -> None:
    def words(instances: int) -> str:
        steps = {"post": OfStep(instances, 60, 60, own_p50=60)}
        of = replace(facts(run("running", 5, job=job()), due=30), past=Statistics(instances, 60, 60, steps, {}))
        return told(of)[1][1]

    assert words(7) == "“Post it” (SAP) is at work for 5 min"
    assert words(8) == "“Post it” (SAP) is at work for 5 min; half of 8 instances took 1 min, nine of ten 1 min"


def test_a_failure_whose_login_was_refused_ends_at_the_connection() -> None:
    of = facts(run("failed", 40, 30, job=job(state="closed", verdict="failure")), due=9,
               blocks={"sap_erp": Block("sap_erp", "wrong password", None)})  # fmt: skip
    assert told(of)[-1][0] == "system"
    assert told(of)[-1][1].startswith("Connection sap_erp is blocked, because its login was refused: wrong password.")
    assert (
        why(facts(run("failed", 40, 30), due=9, blocks={"other": Block("other", "x", None)})).chain[-1].kind == "step"
    )


def test_one_that_ended_late_names_what_took_longer_than_usual_or_else_the_longest() -> None:
    ended = {"live": False, "state": "success", "ended_at": NOW, "late_seconds": 1800, "step": None}
    assert told(facts(run("success", 55, 0), row=ended)) == [
        ("stream", "ORD-1 ended at 14:00, late by 30 min: it was due at 13:30"),
        ("step", "“Post it” took 55 min, 43 min more than its usual 12 min"),
    ]
    waited = told(facts(run("success", 12, 0), row=ended))[-1]
    assert waited[1] == "“Post it” took 55 min (43 min of it before it began), 43 min more than its usual 12 min"
    as_always = facts(run("success", 12, 0), book=run("success", 17, 12), row={**ended, "started_at": ago(17)})
    assert told(as_always)[-1] == ("step", "“Post it” took longest, 12 min, as it usually does")


@pytest.mark.parametrize(("p50", "said"), [(20, "is at risk"), (40, "will probably be late")])
def test_one_at_risk_is_told_from_one_that_is_expected_after_its_due_time(p50: float, said: str) -> None:
    at = [NOW + timedelta(minutes=minutes) for minutes in (p50, 60)]
    forecast = {"p50": at[0], "p90": at[1], "instances": 20, "enough": True}
    of = facts(run("running", 5, job=job()), due=30, row={"health": "at_risk", "forecast": forecast})
    assert told(of)[0][1] == (
        f"ORD-1 {said}: it is due at 14:30, and expected at {at[0]:%H:%M}, in nine of ten cases by 15:00"
    )
    assert why(of).level == "attention"


def test_one_in_good_order_is_not_made_a_problem() -> None:
    of = facts(run("running", 5, job=job()), due=30)
    assert told(of)[0] == ("stream", "ORD-1 is under way, due at 14:30")
    assert {cause.level for cause in why(of).chain} == {"ok"}
    queued = facts(run("open"), due=None, row={"state": "queued", "started_at": None, "step": None})
    assert told(queued) == [
        ("stream", "ORD-1 has not begun"),
        ("queue", "Airflow is about to go on: its first step has not begun"),
    ]


def test_clocks_are_those_of_the_stream() -> None:
    assert told(facts(run("running", 5), zone="Europe/Berlin"))[0][1] == "ORD-1 is late by 30 min: it was due at 14:30"
