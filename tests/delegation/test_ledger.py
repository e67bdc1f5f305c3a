"""What may leave next, and what is believed of a stored ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from fakes import START
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_enterprise_orch.delegation.attempt import (
    KEY_LENGTH,
    Attempt,
    AttemptState,
    LedgerBroken,
    Verdict,
    closed,
    new_key,
)
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.delegation.ledger import (
    LEDGER_VERSION,
    AskAgain,
    Attach,
    Begin,
    Cleared,
    Continue,
    FailAgain,
    Ledger,
    RetryRule,
    Reuse,
    TaskTry,
    counters_changed,
    opened,
    succeeded,
)

KEY = "ABCDEFGHIJ0123456789"
HANDLE = JobHandle(KEY, "JOB00042", "PAYROLL", {"dir": "x"})
INTENT = Attempt(1, KEY, max_tries=10, retries=10)
SUBMITTED = replace(INTENT, state=AttemptState.SUBMITTED, handle=HANDLE)
FAILED = closed(SUBMITTED, Verdict.FAILURE, at=START, kind="failed", message="CC 0008")
DONE = closed(SUBMITTED, Verdict.SUCCESS, at=START, value={"rc": 0})
WARNED = closed(SUBMITTED, Verdict.WARNING, at=START, value={"rc": 4})

RETRY = TaskTry(2, 10, 10)
CLEARED = TaskTry(2, 11, 10)
EDITED = TaskTry(2, 11, 11)
RULE = RetryRule(("failed",), times=1)
OTHER = RetryRule(("abended",), times=5)


@pytest.mark.parametrize(
    ("attempt", "now", "rules", "expected"),
    [
        (None, RETRY, (), Begin(1, 1)),
        (INTENT, RETRY, (RULE,), Continue(INTENT)),
        (INTENT, CLEARED, (), Continue(INTENT)),
        (INTENT, EDITED, (), Continue(INTENT)),
        (SUBMITTED, RETRY, (RULE,), Attach(SUBMITTED)),
        (SUBMITTED, CLEARED, (), Attach(SUBMITTED)),
        (SUBMITTED, EDITED, (), Attach(SUBMITTED)),
        (DONE, RETRY, (RULE,), Reuse(DONE)),
        (WARNED, RETRY, (), Reuse(WARNED)),
        (DONE, CLEARED, (), Begin(2, 2)),
        (WARNED, CLEARED, (), Begin(2, 2)),
        (DONE, EDITED, (), AskAgain(DONE)),
        (FAILED, RETRY, (), FailAgain(FAILED)),
        (FAILED, RETRY, (OTHER,), FailAgain(FAILED)),
        (FAILED, RETRY, (OTHER, RULE), Begin(2, 1)),
        (FAILED, CLEARED, (), Begin(2, 2)),
        (FAILED, CLEARED, (RULE,), Begin(2, 2)),
        (FAILED, EDITED, (RULE,), AskAgain(FAILED)),
    ],
)
def test_next_move(attempt: Attempt | None, now: TaskTry, rules: tuple[RetryRule, ...], expected: object) -> None:
    assert Ledger((attempt,) if attempt else ()).next_move(now, rules) == expected


@pytest.mark.parametrize("kind", ["rejected", "failed_by_person", "did_not_run", ""])
def test_no_rule_can_name_what_only_a_person_may_repeat(kind: str) -> None:
    failed = replace(FAILED, kind=kind)
    rule = RetryRule(RetryRule.KINDS, times=9)
    assert Ledger((failed,)).next_move(RETRY, (rule,)) == FailAgain(failed)


def test_a_rule_counts_its_own_failures_of_this_generation_only() -> None:
    rules = (RetryRule(("failed", "abended"), times=2),)
    history = [
        replace(FAILED, number=1),
        replace(FAILED, number=2, kind="abended"),
        replace(FAILED, number=3),
    ]
    moves = [Ledger(tuple(history[:count])).next_move(RETRY, rules) for count in (1, 2, 3)]
    assert moves == [Begin(2, 1), Begin(3, 1), FailAgain(history[2])]
    # A clear starts the count anew.
    fresh = (*history, replace(FAILED, number=4, generation=2, max_tries=11))
    assert Ledger(fresh).next_move(CLEARED, rules) == Begin(5, 2)


def test_a_failure_of_another_kind_does_not_use_a_rule_up() -> None:
    lost = replace(FAILED, kind="lost")
    rules = (RetryRule(("lost",), times=1), RULE)
    assert Ledger((lost, replace(FAILED, number=2))).next_move(RETRY, rules) == Begin(3, 1)


@pytest.mark.parametrize(("now", "expected"), [(RETRY, Cleared.NO), (CLEARED, Cleared.YES), (EDITED, Cleared.UNSURE)])
def test_counters_changed(now: TaskTry, expected: Cleared) -> None:
    assert counters_changed(FAILED, now) is expected


def test_a_clear_while_a_job_is_out_is_answered_by_its_success_but_not_by_its_failure() -> None:
    done = succeeded(SUBMITTED, CLEARED, Verdict.SUCCESS, {"rc": 0}, START)
    assert Ledger((done,)).next_move(CLEARED, ()) == Reuse(done)
    assert Ledger((done,)).next_move(TaskTry(3, 12, 10), ()) == Begin(2, 2)
    failed = closed(SUBMITTED, Verdict.FAILURE, at=START, kind="cancelled")
    assert Ledger((failed,)).next_move(CLEARED, ()) == Begin(2, 2)


def test_keys_are_what_every_system_can_carry() -> None:
    keys = {new_key() for _ in range(500)}
    assert len(keys) == 500
    assert all(len(key) == KEY_LENGTH and key.isascii() and key.isalnum() and key.isupper() for key in keys)
    assert all(key[0].isalpha() for key in keys)


def test_only_the_attempt_with_its_number_is_replaced() -> None:
    ledger = Ledger((FAILED,)).with_attempt(opened(Begin(2, 1), RETRY, KEY, START))
    assert ledger.is_open
    changed = ledger.with_attempt(closed(ledger.attempts[1], Verdict.FAILURE, at=START))
    assert changed.attempts[0] == FAILED
    assert not changed.is_open


# JSON.

texts = st.text(max_size=12)
keys = st.from_regex(r"[A-Z][A-Z0-9]{19}", fullmatch=True)


@st.composite
def attempts(draw: st.DrawFn, number: int, *, done: bool) -> Attempt:
    state = AttemptState.CLOSED if done else draw(st.sampled_from(AttemptState))
    key = draw(keys)
    fields = draw(st.dictionaries(texts, texts, max_size=2))
    handle = JobHandle(key, draw(texts), draw(texts), fields)
    sends = draw(st.integers(0, 4))
    return Attempt(
        number,
        key,
        generation=draw(st.integers(1, 9)),
        state=state,
        work=draw(texts),
        system=draw(texts),
        try_number=draw(st.integers(0, 99)),
        max_tries=draw(st.integers(0, 99)),
        retries=draw(st.integers(0, 99)),
        sends=sends,
        sent=START.isoformat() if sends else "",
        handle=handle if state is AttemptState.SUBMITTED or draw(st.booleans()) else None,
        released=draw(st.booleans()),
        parked=draw(texts),
        verdict=draw(st.sampled_from(Verdict)).value if state is AttemptState.CLOSED else "",
        kind=draw(texts),
        message=draw(texts),
        closed_by=draw(texts),
        value=draw(st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts, max_size=3)),
        opened=draw(texts),
        closed=draw(texts),
    )


@st.composite
def ledgers(draw: st.DrawFn) -> Ledger:
    count = draw(st.integers(0, 4))
    return Ledger(tuple(draw(attempts(number, done=number < count)) for number in range(1, count + 1)))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ledgers())
def test_json_there_and_back(ledger: Ledger) -> None:
    assert Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger


def stored(**changed: Any) -> dict[str, Any]:
    return {"version": LEDGER_VERSION, "attempts": [{**SUBMITTED.to_json(), **changed}]}


def without(name: str) -> dict[str, Any]:
    data = stored()
    del data["attempts"][0][name]
    return data


def test_a_backoff_without_a_limit_comes_to_a_day_and_no_overflow() -> None:
    rule = RetryRule(("failed",), times=100, backoff=10.0)
    assert [rule.wait(used).total_seconds() for used in (1, 2, 3, 100)] == [60, 600, 6000, 86400]
    assert RetryRule(("failed",), times=1, delay=200_000, backoff=2.0).wait(1).total_seconds() == 200_000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], "it is not an object"),
        ("x", "it is not an object"),
        ({}, "its version is None, this package reads 1"),
        ({"version": 2, "attempts": []}, "its version is 2, this package reads 1"),
        ({"version": 1}, "'attempts'"),
        ({"version": 1, "attempts": None}, "not iterable"),
        ({"version": 1, "attempts": [None]}, "not iterable"),
        ({"version": 1, "attempts": [[]]}, "'list' object"),
        (stored(later_field=1), "unknown fields ['later_field']"),
        (stored(state="maybe"), "'maybe' is not a valid AttemptState"),
        (stored(number=2), "not numbered 1, 2, 3"),
        (stored(number="one"), "'one'"),
        (stored(max_tries=float("inf")), "infinity"),
        (stored(key="../../etc/passwd"), "which is no delegation key"),
        (stored(key="abc"), "which is no delegation key"),
        (stored(handle={"key": "Z" * 20, "job_id": "JOB1"}), "another key than its job"),
        (stored(handle={"job_id": "JOB1"}), "no job handle"),
        (stored(handle="JOB1"), "no job handle"),
        (stored(sent="yesterday"), "'yesterday'"),
        (stored(sent="2026-03-02T06:00:00"), "has no time zone"),
        (stored(sends=1), "does not say when"),
        (stored(state="closed"), "closed but has no verdict"),
        (stored(state="closed", verdict="great"), "closed but has no verdict"),
        (without("handle"), "submitted but has no handle"),
        (without("key"), "'key'"),
        (
            {"version": 1, "attempts": [INTENT.to_json(), replace(INTENT, number=2).to_json()]},
            "an attempt before the last is open",
        ),
    ],
)
def test_a_broken_ledger_is_one_clear_line(data: object, reason: str) -> None:
    with pytest.raises(LedgerBroken) as broken:
        Ledger.from_json(data)
    line = str(broken.value)
    assert reason in line
    assert "\n" not in line
    assert "nothing was handed over: restore the value" in line


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(Attempt.__slots__)), json_values)
def test_no_edit_of_a_stored_ledger_raises_anything_else(name: str, value: object) -> None:
    try:
        ledger = Ledger.from_json(stored(**{name: value}))
    except LedgerBroken:
        return
    assert ledger.last is not None
    assert ledger.last.sent_at is None or ledger.last.sent_at.tzinfo is not None
    ledger.next_move(RETRY, (RULE,))


def test_nothing_stored_is_an_empty_ledger() -> None:
    assert Ledger.from_json(None) == Ledger()
    assert Ledger().last is None
    assert not Ledger().is_open


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "not nothing"),
        ({"on": ["rejected"]}, r"not \['rejected'\]"),
        ({"on": ["failed"], "times": 0}, "at least 1"),
        ({"on": ["failed"], "delay": -1}, "not be negative"),
        ({"on": ["failed"], "backoff": 0.5}, "backoff must be at least 1"),
        ({"on": ["failed"], "delay": 60, "max_delay": 30}, "max_delay at least delay"),
    ],
)
def test_a_wrong_retry_rule(data: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        RetryRule.from_json(data)
