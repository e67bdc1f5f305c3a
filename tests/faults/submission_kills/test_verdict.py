"""The verdict on made-up evidence: each broken promise is seen, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_enterprise_orch.lab.stand_in import LabJob

from .life import Evidence, Incarnation, Park, reason_of
from .plan import Case
from .systems import SYSTEMS
from .verdict import judge
from .zygote import Try

A, B = "A" * 20, "B" * 20
OWNER = "try-1"


def stamp(second: float) -> str:
    return f"2026-01-01T00:00:{second:06.3f}+00:00"


def at(second: float) -> float:
    return 1767225600.0 + second


def job(key: str = A, number: int = 1, came: float = 2.0, ended: float | None = 3.0, **more: Any) -> LabJob:
    made = LabJob(
        key, f"JOB{number}", "KILLS", "ended", "CC 0000", ran=True, submitted=stamp(came), started=stamp(came)
    )
    return replace(made, ended="" if ended is None else stamp(ended), **more)


def attempt(key: str = A, number: int = 1, **more: Any) -> dict[str, Any]:
    return {"number": number, "key": key, "state": "closed", "verdict": "success", "closed_by": "system", **more}


def process(*events: dict[str, Any]) -> Try:
    made = Try.__new__(Try)
    made.owner, made.events, made.told = OWNER, list(events), None
    return made


def sent(key: str = A, looked: float = 1.0, about: float = 1.5) -> list[dict[str, Any]]:
    return [
        {"t": at(looked), "find": key},
        {"t": at(about), "at": "before_send"},
        {"t": at(about), "submit": key},
    ]


def evidence(*attempts: dict[str, Any], ended: str = "success", system: str = "zosmf", **more: Any) -> Evidence:
    """Return what is known of a case whose one run ended so."""
    ledger = {"attempts": list(attempts or [attempt()])}
    life = Incarnation({OWNER: float("inf")}, ended, {"message": "the reason"}, ledger=ledger)
    made = Evidence(Case("made-up", system, ()), [life], processes=[process(*sent())])
    made.history = [(at(1), OWNER, "orch.ledger.1", ledger)]
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_one_job_that_ran_well_is_right():
    verdict = judge(evidence(), [job()])
    assert (verdict.problems, verdict.held_copies) == ([], 0)


def test_a_key_that_ran_twice_is_a_duplicate():
    assert "ran 2 times" in judge(evidence(), [job(), job(number=2)]).duplicates[0]


def test_a_copy_is_wrong_when_the_first_was_there_to_be_found():
    again = [*sent(), *sent(looked=8.0, about=8.1)]
    copies = [job(came=2.0), job(number=2, came=8.2, ran=False, state="discarded")]
    told = judge(evidence(processes=[process(*again)]), copies)
    assert any("was there to be found" in line for line in told.other)


def test_a_copy_is_right_when_the_first_landed_late():
    again = [*sent(), *sent(looked=8.0, about=8.1)]
    copies = [job(came=8.2), job(number=2, came=9.0, ended=None, ran=False, state="held")]
    told = judge(evidence(processes=[process(*again)]), copies)
    assert (told.problems, told.held_copies) == ([], 1)


def test_a_copy_that_nobody_sent_is_wrong():
    told = judge(evidence(), [job(), job(number=2, ran=False, state="discarded")])
    assert any("was sent 1 times" in line for line in told.other)


@pytest.mark.parametrize(("gap", "taken_back", "wrong"), [(10.5, False, False), (4.0, False, True), (4.0, True, False)])
def test_sending_again_within_the_settle_time_is_wrong(gap, taken_back, wrong):
    cell = "orch.sent.1.1"
    history = [
        (at(1), OWNER, "orch.ledger.1", {"attempts": [attempt()]}),
        (at(1), OWNER, cell, {"key": A, "sends": 1, "sent": stamp(1.0)}),
        *([(at(2), OWNER, cell, {"key": A})] if taken_back else []),
        (at(3), OWNER, cell, {"key": A, "sends": 1 if taken_back else 2, "sent": stamp(1.0 + gap)}),
    ]
    again = [process(*sent(), *sent(looked=1.8, about=1.9))]
    copies = [job(came=2.0), job(number=2, came=2.1, ran=False, state="discarded")]
    told = judge(evidence(history=history, processes=again), copies)
    assert any("within the settle time" in line for line in told.other) is wrong


def test_a_job_that_no_try_claimed_is_lost():
    assert "no try ever claimed" in judge(evidence(), [job(), job(key=B, number=2)]).lost[0]


def test_a_job_that_the_ledger_forgot_is_lost():
    known = evidence()
    known.history.append((at(1), OWNER, "orch.sent.2.1", {"key": B}))
    assert "the ledger has forgotten" in judge(known, [job(), job(key=B, number=2)]).lost[0]


def test_the_job_of_a_run_that_was_deleted_is_nobodys():
    known = evidence(ended="gone")
    known.history = [(at(1), OWNER, "orch.ledger.1", {"attempts": [attempt(B)]})]
    assert judge(known, [job(key=B)]).problems == []


def test_a_try_that_lost_the_task_may_not_begin_to_send():
    known = evidence()
    known.lives[0].owners = {OWNER: at(1.2)}
    assert "had lost the task" in judge(known, [job()]).other[0]
    known.lives[0].owners = {OWNER: at(1.7)}
    assert judge(known, [job()]).problems == []


def test_an_attempt_begins_after_the_end_of_the_one_before():
    both = [attempt(closed_by="system", verdict="failure"), attempt(B, 2)]
    known = evidence(*both)
    known.lives[0].clears = 1
    assert judge(known, [job(), job(B, 2, came=3.5, ended=4.0)]).problems == []
    assert (
        "before JOB1 of the attempt before had ended" in judge(known, [job(), job(B, 2, came=2.5, ended=4.0)]).other[0]
    )


def test_more_attempts_than_were_allowed_are_wrong():
    both = [attempt(verdict="failure"), attempt(B, 2)]
    assert judge(evidence(*both), [job(), job(B, 2, came=3.5, ended=4.0)]).other == [
        "2 attempts, but only 1 were allowed"
    ]


@pytest.mark.parametrize(
    ("known", "jobs", "says"),
    [
        (evidence(ended=""), [job()], "never came to an end"),
        (evidence(attempt(state="submitted")), [job()], "while its attempt is open"),
        (evidence(), [job(result="CC 0012")], "the step succeeded, but its job came to CC 0012"),
        (evidence(), [], "the step succeeded, but its job came to nothing"),
        (evidence(attempt(verdict="failure"), ended="failed"), [job()], "the step failed, but its job came to CC 0000"),
        (evidence(attempt(verdict="failure"), ended="failed"), [job(result="CANCELED")], "which nobody asked for"),
        (evidence(attempt(verdict="failure"), ended="failed"), [job(result="CC 0012")], "which nobody asked for"),
        (evidence(attempt(verdict="failure"), ended="failed"), [], "failed without a job"),
        (evidence(ended="skipped"), [job()], "the step ended as skipped"),
        (evidence(), [job(), job(number=2, ran=False, state="held", came=0.5, ended=None)], "is held for ever"),
        (evidence(), [job(state="running", ended=None)], "is running for ever"),
        (evidence(problems=["something"]), [job()], "something"),
    ],
)
def test_an_end_that_is_not_the_jobs_end_is_wrong(known, jobs, says):
    assert any(says in line for line in judge(known, jobs).problems)


def test_a_bad_end_of_a_job_that_ended_badly_is_right():
    failed = evidence(attempt(verdict="failure"), ended="failed", case=Case("made-up", "zosmf", (), good=False))
    assert judge(failed, [job(result="CC 0012")]).problems == []


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_system_has_its_own_words_for_a_good_end(system):
    about = SYSTEMS[system]
    assert judge(evidence(system=system), [job(result=about.well)]).problems == []
    if about.badly != about.well:  # a wait or a removal that ends has ended well
        assert judge(evidence(system=system), [job(result=about.badly)]).problems != []


@pytest.mark.parametrize(("declared", "right"), [(["two_phase", 10.0], True), (["two_phase", 5.0], False)])
def test_a_client_that_declares_something_else_is_told(declared, right):
    submit = {"t": at(1.5), "submit": A, "declares": declared}
    told = judge(evidence(processes=[process({"t": at(1.0), "find": A}, submit)]), [job()])
    assert (told.problems == []) is right


def test_each_system_has_its_own_settle_time():
    cell = "orch.sent.1.1"
    history = [
        (at(1), OWNER, "orch.ledger.1", {"attempts": [attempt()]}),
        (at(1), OWNER, cell, {"key": A, "sends": 1, "sent": stamp(1.0)}),
        (at(3), OWNER, cell, {"key": A, "sends": 2, "sent": stamp(21.0)}),
    ]
    again = [process(*sent(), *sent(looked=1.8, about=1.9))]
    copies = [job(came=2.0), job(number=2, came=2.1, ran=False, state="discarded")]
    for system, wrong in (("ssh", False), ("winrm", True)):
        told = judge(evidence(system=system, history=history, processes=again), copies)
        assert any("within the settle time" in line for line in told.other) is wrong


def park(question: str, *, repointed: bool = False, committed: float | None = None) -> Park:
    came = {} if committed is None else {A: [stamp(committed)]}
    return Park(reason_of(question), question, A, at(5), repointed, came)


POINTED = "job 1 is on x, but the connection now leads to y: point it back"
NO_ANSWER = "the work was sent to x with key A, no answer came and no job shows the key"


@pytest.mark.parametrize(
    ("asked", "system", "right"),
    [
        (park(POINTED, repointed=True), "zosmf", True),
        (park(POINTED), "zosmf", False),
        (park(NO_ANSWER), "zosmf_unprotected", True),
        (park(NO_ANSWER, committed=4.0), "zosmf_unprotected", True),
        (park(NO_ANSWER, committed=0.5), "zosmf_unprotected", False),
        (park(NO_ANSWER), "zosmf", False),
        (park("the job is gone from JES: purged before its result was read. Did it succeed?"), "zosmf", False),
        (park("something else"), "zosmf", False),
    ],
)
def test_a_question_without_ambiguity_is_wrong(asked, system, right):
    told = judge(evidence(system=system, parks=[asked]), [job()])
    assert (told.problems == []) is right
