"""What a try remembers, however late a write of an earlier one lands.

How a user would notice that it is fake: after a stalled API server came back, a job that was sent is sent again.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fakes import Cells, Store

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, LedgerBroken, Verdict, closed, new_key
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.delegation.ledger import Ledger, TaskTry
from airflow_enterprise_orch.delegation.ledger_store import LedgerStore, ledger_cell, newest_ledger, sent_cell
from airflow_enterprise_orch.errors import OwnershipLost

AT = datetime(2026, 3, 2, tzinfo=UTC)


def intent(number: int, sends: int = 0) -> Attempt:
    attempt = Attempt(number, new_key(), work="w", system="fake://one")
    return replace(attempt, sends=sends, sent=AT.isoformat() if sends else "")


def submitted(number: int) -> Attempt:
    attempt = intent(number, 1)
    return replace(attempt, state=AttemptState.SUBMITTED, handle=JobHandle(attempt.key, "JOB1"))


def failed(number: int) -> Attempt:
    return closed(submitted(number), Verdict.FAILURE, at=AT, kind="failed", message="rc 8")


def read(cells: Cells, try_number: int = 2) -> Ledger:
    return LedgerStore(Store(cells, cells.owner), TaskTry(try_number, 10, 10)).ledger


def holding(*attempts: Attempt, sent: tuple[Attempt, ...] = ()) -> Cells:
    cells = Cells({ledger_cell(1): json.dumps(Ledger(attempts).to_json())})
    for attempt in sent:
        cells.texts[sent_cell(attempt.number, 1)] = json.dumps(attempt.to_json())
    return cells


def test_what_was_announced_is_read_by_the_next_try() -> None:
    cells = Cells(owner=1)
    first = LedgerStore(Store(cells, 1), TaskTry(1, 10, 10))
    attempt = intent(1)
    first.save(attempt)
    first.announce(replace(attempt, sends=1, sent=AT.isoformat()))
    assert read(cells).last == replace(attempt, sends=1, sent=AT.isoformat())


def test_what_did_not_leave_after_all_is_taken_back() -> None:
    cells = Cells(owner=1)
    first = LedgerStore(Store(cells, 1), TaskTry(1, 10, 10))
    attempt = intent(1)
    first.save(attempt)
    first.announce(replace(attempt, sends=1, sent=AT.isoformat()))
    taken_back = replace(attempt, unsent=1)
    first.save(taken_back)
    assert read(cells).last == taken_back
    again = replace(taken_back, sends=2, sent=AT.isoformat())
    first.announce(again)
    assert read(cells).last == again


def test_a_taking_back_that_lands_late_washes_no_later_announcement_away() -> None:
    attempt = intent(1)
    later = replace(attempt, unsent=1, sends=2, sent=AT.isoformat())
    assert read(holding(replace(attempt, unsent=1), sent=(later,))).attempts == (later,)


def test_nothing_that_an_earlier_try_writes_late_changes_what_the_newest_knows() -> None:
    """Neither its claim nor its announcement: they may even name another system, if the connection was repointed."""
    cells = Cells()
    sent = replace(intent(1, sends=1), system="fake://two")
    done = replace(submitted(1), key=sent.key, handle=JobHandle(sent.key, "JOB1"), system="fake://two")
    cells.texts[sent_cell(1, 2)] = json.dumps(sent.to_json())
    for late in (intent(1), replace(sent, sends=0, sent=""), failed(1)):
        for newest in (sent, done):
            cells.texts[ledger_cell(2)] = json.dumps(Ledger((newest,)).to_json())
            cells.texts[ledger_cell(1)] = json.dumps(Ledger((late,)).to_json())
            cells.texts[sent_cell(1, 1)] = json.dumps(replace(sent, system="fake://one").to_json())
            cells.texts[sent_cell(2, 1)] = json.dumps(intent(2, sends=1).to_json())
            assert read(cells, 2).attempts == read(cells, 3).attempts == (newest,)
            assert newest_ledger(cells.texts) == cells.texts[ledger_cell(2)]


def test_the_tenth_try_is_newer_than_the_ninth() -> None:
    cells = Cells({ledger_cell(number): json.dumps(Ledger((submitted(1),)).to_json()) for number in (2, 9, 10)})
    assert newest_ledger(cells.texts) == cells.texts[ledger_cell(10)]
    assert read(cells, 12).last == Ledger.from_json(json.loads(cells.texts[ledger_cell(10)])).last
    assert newest_ledger({"orch.asked.1": "{}", "orch.ledger.x": "{}"}) is None


def test_two_late_claims_do_not_hide_the_key_that_was_announced() -> None:
    announced = intent(1, sends=1)
    assert read(holding(intent(1), sent=(announced,))).attempts == (announced,)


def test_a_late_claim_of_another_key_does_not_hide_what_was_sent() -> None:
    late, sent = intent(1), intent(1, sends=1)
    assert read(holding(late, sent=(sent,))).attempts == (sent,)


def test_a_late_write_of_an_earlier_attempt_does_not_hide_the_next_one() -> None:
    for late in (intent(1, 1), submitted(1), failed(1)):
        second = intent(2, sends=1)
        ledger = read(holding(late, sent=(intent(1, 1), second)))
        assert ledger.attempts[-1] == second
        assert ledger.attempts[0].state is AttemptState.CLOSED, "an attempt before the last is open"
        assert Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger


def test_several_forgotten_attempts_come_back() -> None:
    second, third = intent(2, sends=1), intent(3, sends=1)
    ledger = read(holding(intent(1, 1), sent=(intent(1, 1), second, third)))
    assert [attempt.number for attempt in ledger.attempts] == [1, 2, 3]
    assert ledger.attempts[-1] == third
    assert {attempt.kind for attempt in ledger.attempts[:2]} == {"forgotten"}


def test_an_empty_ledger_after_the_first_try_remembers_too() -> None:
    sent = intent(1, sends=1)
    assert read(holding(sent=(sent,))).attempts == (sent,)


def test_what_is_known_better_is_not_replaced() -> None:
    done = failed(1)
    assert read(holding(done, sent=(replace(intent(1, 1), key=done.key),))).attempts == (done,)


def test_a_refusal_that_is_written_down_late_does_not_close_what_was_sent_again() -> None:
    refused = closed(intent(1, sends=1), Verdict.FAILURE, at=AT, kind="rejected", message="no such class")
    again = replace(intent(1, sends=2), key=refused.key)
    assert read(holding(refused, sent=(again,))).attempts == (again,)
    assert read(holding(refused, sent=(replace(again, sends=1),))).attempts == (refused,)


def test_a_record_that_was_tampered_with_is_refused_in_one_line() -> None:
    cells = holding(intent(1))
    for wrong in ("[]", '{"number": 2, "key": "AAAAAAAAAAAAAAAAAAAA", "state": "intent"}', '{"number": 1}'):
        cells.texts[sent_cell(1, 1)] = wrong
        with pytest.raises(LedgerBroken, match="what was sent in attempt 1 cannot be read") as broken:
            read(cells)
        assert "\n" not in str(broken.value)


def test_an_announcement_that_another_try_overtook_is_no_leave_to_send() -> None:
    cells = Cells(owner=1)
    first = LedgerStore(Store(cells, 1), TaskTry(1, 10, 10))
    first.save(intent(1))
    cells.owner = 2
    with pytest.raises(OwnershipLost):
        first.announce(intent(1, sends=1))


def test_an_announcement_that_landed_late_is_no_leave_to_send() -> None:
    """Airflow looked at the owner before it wrote: only the read-back, with the owner looked at again, tells."""
    cells = Cells(owner=1)

    class Late(Store):
        def set(self, key: str, value: object) -> None:
            super().set(key, value)
            self.cells.owner = 2

    first = LedgerStore(Late(cells, 1), TaskTry(1, 10, 10))
    with pytest.raises(OwnershipLost, match="belongs to another try"):
        first.announce(intent(1, sends=1))
