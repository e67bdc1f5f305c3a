"""The proof that every attempt reached its system exactly once must see each way in which it is not so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, Verdict
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.demo import story
from airflow_enterprise_orch.demo.proof import Recovered, StepAttempt, recovery, violations
from airflow_enterprise_orch.lab.server import LabThread

KEY = "A" * 20
OTHER = "B" * 20
DONE = Attempt(1, KEY, state=AttemptState.CLOSED, verdict=Verdict.SUCCESS.value)


def attempt(of: Attempt = DONE) -> StepAttempt:
    return StepAttempt("ORD-100001", "book_order", of)


def job(key: str = KEY, *, ran: bool = True, **more: Any) -> dict[str, Any]:
    return {"key": key, "id": "JOB00001", "name": "BOOKORD", "state": "ended", "ran": ran} | more


def test_one_job_per_attempt_is_no_violation():
    second = replace(DONE, key=OTHER, number=2)
    assert violations([attempt(), attempt(second)], {"zosmf": [job()], "ssh": [job(OTHER)]}) == []


def test_held_job_that_was_discarded_is_no_violation():
    assert violations([attempt()], {"zosmf": [job(), job(ran=False, state="discarded")]}) == []


def test_job_that_ran_twice_is_seen_even_across_systems():
    (line,) = violations([attempt()], {"zosmf": [job()], "ssh": [job()]})
    assert line == f"ORD-100001 book_order attempt 1 (key {KEY}) ran 2 times"


def test_lost_job_is_seen():
    (line,) = violations([attempt()], {"zosmf": [job(ran=False, state="held")]})
    assert line.endswith("ran 0 times")


def test_job_that_was_cancelled_before_it_began_is_no_violation_and_one_that_failed_without_running_is():
    cancelled = replace(DONE, verdict=Verdict.FAILURE.value, kind="cancelled")
    assert violations([attempt(cancelled)], {"zosmf": [job(ran=False)]}) == []
    assert violations([attempt(cancelled)], {"zosmf": [job(), job()]}) != []
    (line,) = violations([attempt(replace(cancelled, kind="failed"))], {"zosmf": [job(ran=False)]})
    assert line.endswith("ran 0 times")


def test_job_that_nobody_handed_over_is_seen():
    (line,) = violations([attempt()], {"zosmf": [job(), job(OTHER)]})
    assert line == f"zosmf has job JOB00001 (BOOKORD, key {OTHER}) that no attempt handed over"


def test_job_without_a_key_is_seen():
    (line,) = violations([attempt()], {"zosmf": [job(), job("")]})
    assert "key none" in line


def test_open_attempt_is_seen():
    (line,) = violations([attempt(replace(DONE, state=AttemptState.INTENT, verdict=""))], {"zosmf": [job()]})
    assert line.endswith("is still intent")


def test_key_of_two_attempts_is_seen():
    assert f"the key {KEY} belongs to 2 attempts" in violations(
        [attempt(), attempt(replace(DONE, number=2))], {"zosmf": [job()]}
    )


LOST, BROKEN = story.MISHAPS[0], story.MISHAPS[3]
HANDLE = JobHandle(KEY, "JOB00001")
FOUND = replace(DONE, handle=HANDLE)
FAILED = replace(FOUND, verdict=Verdict.FAILURE.value, kind="failed")
AGAIN = replace(DONE, key=OTHER, number=2, handle=JobHandle(OTHER, "JOB00002"))


def made(do: str, *keys: str) -> list[dict[str, Any]]:
    return [{"at": "", "on": "submit", "do": do, "subject": f"PUT jobs {key} ORDER"} for key in keys]


def of(step: str, *attempts: Attempt) -> list[StepAttempt]:
    return [StepAttempt("ORD-100001", step, one) for one in attempts]


def test_lost_answer_whose_only_job_was_found_is_recovered():
    done = recovery(LOST, made("cut_after_commit", KEY), of("check_credit", FOUND), [job()])
    assert done == Recovered(
        "ORD-100001 check_credit, z/OSMF: the answer was lost after the job was taken; "
        "job JOB00001 was found and adopted, and nothing sent again"
    )


@pytest.mark.parametrize(
    ("attempts", "jobs", "said"),
    [
        ([FOUND], [job(), job(id="JOB00009", ran=False, state="discarded")], "JOB00001 ended, JOB00009 discarded"),
        ([FOUND], [job(id="JOB00009")], "the ledger knows the job JOB00001, the system has: JOB00009 ended"),
        ([FOUND], [], "the system has: none"),
        ([FAILED, AGAIN], [job(), job(OTHER)], "2 attempts, the first ended as failure"),
        ([FAILED], [job()], "1 attempts, the first ended as failure"),
        ([replace(FOUND, handle=None)], [job()], "the ledger knows the job none"),
    ],
)
def test_lost_answer_that_led_to_anything_else_is_seen(attempts: list[Attempt], jobs: list[Any], said: str):
    done = recovery(LOST, made("cut_after_commit", KEY), of("check_credit", *attempts), jobs)
    assert done is not None
    assert said in done.problem


def test_failed_job_that_another_one_replaced_is_recovered():
    jobs = [job(), job(OTHER, id="JOB00002")]
    done = recovery(BROKEN, made("fail", KEY), of("provision_standard", FAILED, AGAIN), jobs)
    assert done == Recovered(
        "ORD-100001 provision_standard, UNIX: the script failed; job JOB00001 failed, job JOB00002 did the work"
    )


@pytest.mark.parametrize(
    ("attempts", "jobs", "said"),
    [
        ([FAILED], [job()], "its attempts ended as failure; failure, success is right"),
        ([FOUND], [job()], "its attempts ended as success; failure, success is right"),
        ([FAILED, replace(AGAIN, verdict="")], [job(), job(OTHER)], "ended as failure, open;"),
        ([FAILED, AGAIN], [job(), job(OTHER), job(OTHER)], "3 jobs ran for its two attempts"),
        ([FAILED, AGAIN], [job(), job(OTHER, ran=False)], "1 jobs ran for its two attempts"),
    ],
)
def test_failed_job_that_came_to_anything_else_is_seen(attempts: list[Attempt], jobs: list[Any], said: str):
    done = recovery(BROKEN, made("fail", KEY), of("provision_standard", *attempts), jobs)
    assert done is not None
    assert said in done.problem


def test_another_step_that_was_run_again_proves_nothing():
    """A job of SAP that broke off and was repeated must not stand for the script."""
    others = of("post_invoice", FAILED, AGAIN)
    jobs = [job(), job(OTHER)]
    assert recovery(BROKEN, made("abend", KEY), others, jobs) is None
    done = recovery(BROKEN, made("fail", KEY), others, jobs)
    assert done is not None
    assert done.problem == "it came 1 times, to 0 attempts of provision_standard; once to one"


def test_mishap_that_came_twice_is_seen():
    attempts = [*of("check_credit", FOUND), StepAttempt("ORD-100002", "check_credit", AGAIN)]
    done = recovery(LOST, made("cut_after_commit", KEY, OTHER), attempts, [job(), job(OTHER)])
    assert done is not None
    assert "it came 2 times, to 2 attempts" in done.problem


def test_each_mishap_has_a_fault_of_its_own_that_the_lab_can_make():
    """Two that the lab tells apart by nothing could prove one another."""
    assert len({(mishap.stand_in, mishap.do) for mishap in story.MISHAPS}) == len(story.MISHAPS) == 4
    assert {mishap.recovery for mishap in story.MISHAPS} == set(story.Recovery)
    with LabThread([mishap.stand_in for mishap in story.MISHAPS]) as lab:
        for mishap in story.MISHAPS:
            lab.fault(mishap.stand_in, **mishap.fault)
