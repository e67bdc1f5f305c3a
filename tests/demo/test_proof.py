"""The proof that every attempt reached its system exactly once must see each way in which it is not so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, Verdict
from airflow_enterprise_orch.demo.proof import StepAttempt, violations

KEY = "A" * 20
OTHER = "B" * 20
DONE = Attempt(1, KEY, state=AttemptState.CLOSED, verdict=Verdict.SUCCESS.value)


def attempt(of: Attempt = DONE) -> StepAttempt:
    return StepAttempt("ORD-100001", "book_order", of)


def job(key: str = KEY, *, ran: bool = True, **more: Any) -> dict[str, Any]:
    return {"key": key, "id": "JOB00001", "name": "BOOKORD", "state": "ended", "ran": ran, **more}


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
