"""Promise 1 under a hostile world: exactly one job ran, or a person was asked."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fakes import POINTS, START, WORK, Cells, Clock, FakeSystem, Killed, Store, World, one_try, store_of
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, new_key
from airflow_enterprise_orch.delegation.job import Phase
from airflow_enterprise_orch.delegation.ledger import Begin, Ledger, TaskTry, opened
from airflow_enterprise_orch.delegation.submission import MAX_SENDS, Parked, Submission, sweep
from airflow_enterprise_orch.delegation.system import Protection
from airflow_enterprise_orch.errors import JobFailed, LoginRefused, OwnershipLost, SystemBusy, SystemUnreachable

ATOMIC, TWO_PHASE, UNPROTECTED = Protection.ATOMIC, Protection.TWO_PHASE, Protection.UNPROTECTED
EVERY = list(Protection)
SUBMIT_FAULTS = ("ok", "lost_before", "lost_after", "late1", "late3", "reject", "busy", "unreachable", "unlisted2")


def dying_at(point: str, nth: int = 1) -> Callable[[str], None]:
    seen = itertools.count(1)

    def reached(name: str) -> None:
        if name == point and next(seen) == nth:
            raise Killed(point)

    return reached


def live(world: World, cells: Cells, clock: Clock, tries: int = 12) -> str:
    """Let tries follow one another, as Airflow does, until one waits, asks, or fails for good."""
    for _ in range(tries):
        ended = asyncio.run(one_try(world, cells, clock))
        if ended != "unreachable":
            return ended
        clock.time += timedelta(seconds=30)
    return ended


def check(world: World, cells: Cells, ended: str) -> None:
    """What must hold however the story ended, once everything that was on the way has landed."""
    world.land_all()
    world.finds.clear()
    for job in world.jobs.values():
        job.invisible = 0
    last = cells.read().last
    assert last is not None
    if last.handle is not None:
        asyncio.run(sweep(FakeSystem(world), last, lambda _line: None))
    assert len(world.ran) <= 1, world.ran
    if ended == "submitted":
        assert last.state is AttemptState.SUBMITTED
        assert last.released
        assert last.handle is not None
        assert world.ran == [last.handle.job_id]
        assert [job for job in world.jobs.values() if job.held] == []
    elif ended.startswith("failed"):
        assert world.ran == []
        assert last.state is AttemptState.CLOSED
    else:
        assert ended.startswith(("parked: ", "unreachable", "closed")), ended
        assert ended == "closed" or last.state is not AttemptState.CLOSED


# A death at every point.


@pytest.mark.parametrize("protection", EVERY)
@pytest.mark.parametrize("fault", SUBMIT_FAULTS)
@pytest.mark.parametrize("nth", [1, 2])
def test_a_death_at_any_point_ends_in_one_job_or_a_question(protection: Protection, fault: str, nth: int) -> None:
    died = 0
    for point in POINTS:
        world, cells, clock = World(protection, submits=[fault]), Cells(), Clock()
        first = asyncio.run(one_try(world, cells, clock, reached=dying_at(point, nth)))
        died += first == "killed"
        ended = live(world, cells, clock) if first != "failed: rejected" else first
        check(world, cells, ended)
        if protection is not UNPROTECTED and fault != "reject":
            assert ended == "submitted", (point, ended)
    assert died or nth == 2


@pytest.mark.parametrize("point", POINTS)
def test_two_deaths_in_a_row_are_no_harder_than_one(point: str) -> None:
    for second in POINTS:
        world, cells, clock = World(TWO_PHASE, submits=["lost_before", "late3"]), Cells(), Clock()
        asyncio.run(one_try(world, cells, clock, reached=dying_at(point)))
        asyncio.run(one_try(world, cells, clock, reached=dying_at(second)))
        ended = live(world, cells, clock)
        assert ended == "submitted"
        check(world, cells, ended)


def test_all_points_are_really_passed() -> None:
    seen: list[str] = []
    world = World(TWO_PHASE)
    assert asyncio.run(one_try(world, Cells(), Clock(), reached=seen.append)) == "submitted"
    assert tuple(seen) == POINTS


# Two tries at once.


class Thread:
    """A try in a thread of its own that stops at one point until it is told to go on."""

    def __init__(self, world: World, cells: Cells, clock: Clock, stop_at: str) -> None:
        self.stopped, self.go = threading.Event(), threading.Event()
        self.ended = ""
        self.stop_at = stop_at

        def reached(point: str) -> None:
            if point == self.stop_at and not self.stopped.is_set():
                self.stopped.set()
                assert self.go.wait(10)

        def run() -> None:
            self.ended = asyncio.run(one_try(world, cells, clock, reached=reached))
            self.stopped.set()

        self.thread = threading.Thread(target=run)
        self.thread.start()
        assert self.stopped.wait(10)

    def finish(self) -> str:
        self.go.set()
        self.thread.join(10)
        assert not self.thread.is_alive()
        return self.ended


@pytest.mark.parametrize("protection", EVERY)
@pytest.mark.parametrize("fault", ["ok", "lost_after", "late3"])
@pytest.mark.parametrize("old_first", [True, False])
def test_two_overlapping_tries_at_every_pair_of_points(protection: Protection, fault: str, old_first: bool) -> None:
    for old_at, new_at in itertools.product(POINTS, POINTS):
        world, cells, clock = World(protection, submits=[fault]), Cells(), Clock()
        old = Thread(world, cells, clock, old_at)
        new = Thread(world, cells, clock, new_at)
        for thread in (old, new) if old_first else (new, old):
            thread.finish()
        # The old one wrote nothing after the new one began, so it cannot have brought a job out after that.
        assert old.ended in ("fenced", "submitted", "unreachable") or old.ended.startswith("parked")
        ended = new.ended if new.ended == "submitted" else live(world, cells, clock)
        check(world, cells, ended)
        if protection is not UNPROTECTED:
            assert ended == "submitted", (old_at, new_at, old.ended, new.ended)


@pytest.mark.parametrize("protection", EVERY)
def test_a_try_that_was_overtaken_before_it_sent_never_sends(protection: Protection) -> None:
    for point in ("before_claim", "after_claim"):
        world, cells, clock = World(protection), Cells(), Clock()
        old = Thread(world, cells, clock, point)
        assert asyncio.run(one_try(world, cells, clock)) == "submitted"
        assert old.finish() == "fenced"
        assert len(world.sent) == 1


# One behaviour each.


def begun(clock: Clock) -> tuple[Ledger, object]:
    attempt = opened(Begin(1, 1), TaskTry(1, 10, 10), new_key(), clock.now())
    return Ledger((attempt,)), attempt


def test_the_claim_is_written_before_the_system_is_asked() -> None:
    world, cells = World(ATOMIC), Cells()
    asyncio.run(one_try(world, cells, Clock(), reached=dying_at("after_claim")))
    assert world.calls == []
    last = cells.read().last
    assert last is not None
    assert (last.state, last.sends, last.work, last.system) == (AttemptState.INTENT, 0, WORK.digest(), "fake://one")


def test_the_send_is_counted_before_it_leaves() -> None:
    world, cells = World(ATOMIC), Cells()
    asyncio.run(one_try(world, cells, Clock(), reached=dying_at("before_send")))
    last = cells.read().last
    assert last is not None
    assert (last.sends, last.sent_at) == (1, START)
    assert world.sent == []


@pytest.mark.parametrize("fault", ["unreachable", "busy", "login"])
def test_what_never_left_is_not_counted_as_sent(fault: str) -> None:
    world, cells, clock = World(UNPROTECTED, submits=[fault]), Cells(), Clock()
    ledger, attempt = begun(clock)
    cells.owner = 1
    submission = Submission(FakeSystem(world), store_of(Store(cells, 1)), clock, lambda _line: None)
    with pytest.raises((SystemUnreachable, SystemBusy, LoginRefused)):
        asyncio.run(submission.hand_over(ledger, attempt, WORK))  # type: ignore[arg-type]
    last = cells.read().last
    assert last is not None
    assert (last.sends, last.sent, last.state) == (0, "", AttemptState.INTENT)
    # ... so that even an unprotected system gets it from the next try, and nobody is asked.
    assert asyncio.run(one_try(world, cells, clock)) == "submitted"
    assert len(world.ran) == 1


def test_a_send_that_failed_does_not_wash_away_an_earlier_ambiguous_one() -> None:
    world, cells, clock = World(TWO_PHASE, submits=["late9", "unreachable"]), Cells(), Clock()
    assert asyncio.run(one_try(world, cells, clock)) == "unreachable"
    last = cells.read().last
    assert last is not None
    assert last.sends == 1


@pytest.mark.parametrize("fault", ["lost_before", "late9"])
def test_an_unprotected_system_is_never_sent_the_work_twice(fault: str) -> None:
    world, cells, clock = World(UNPROTECTED, submits=[fault]), Cells(), Clock()
    for _ in range(3):
        ended = asyncio.run(one_try(world, cells, clock))
        assert ended.startswith("parked: ")
        assert "did it run?" in ended
        assert cells.read().last.key in ended  # type: ignore[union-attr]
    assert len(world.sent) == 1


def test_an_unprotected_job_that_shows_later_is_adopted_by_the_next_look() -> None:
    world, cells, clock = World(UNPROTECTED, submits=["late3"]), Cells(), Clock()
    assert asyncio.run(one_try(world, cells, clock)).startswith("parked: ")
    assert live(world, cells, clock) == "submitted"
    assert (len(world.sent), len(world.ran)) == (1, 1)


def test_absence_proves_nothing_before_the_settle_time() -> None:
    world, cells, clock = World(TWO_PHASE, submits=["late2"]), Cells(), Clock()
    assert asyncio.run(one_try(world, cells, clock)) == "submitted"
    assert clock.slept[0] == world.settle
    assert len(world.sent) == 1


def test_no_settle_time_is_waited_out_twice() -> None:
    world, cells, clock = World(ATOMIC, submits=["lost_before"]), Cells(), Clock()
    asyncio.run(one_try(world, cells, clock, reached=dying_at("after_claim", 2)))
    clock.time += timedelta(hours=1)
    clock.slept.clear()
    assert asyncio.run(one_try(world, cells, clock)) == "submitted"
    assert clock.slept == []


def test_after_a_few_lost_answers_the_next_try_goes_on() -> None:
    world, cells, clock = World(ATOMIC, submits=["lost_before"] * MAX_SENDS), Cells(), Clock()
    assert asyncio.run(one_try(world, cells, clock)) == "unreachable"
    assert len(world.sent) == MAX_SENDS
    assert asyncio.run(one_try(world, cells, clock)) == "submitted"
    assert len(set(world.sent)) == 1


def test_a_system_that_cannot_tell_is_a_question_only_when_something_was_sent() -> None:
    world, cells, clock = World(TWO_PHASE, finds=["unknown"]), Cells(), Clock()
    assert asyncio.run(one_try(world, cells, clock)) == "submitted"
    world, cells = World(TWO_PHASE, submits=["lost_before"], finds=["ok", "unknown", "unknown"]), Cells()
    ended = asyncio.run(one_try(world, cells, clock))
    assert ended.startswith("parked: ")
    assert "its list is incomplete" in ended
    assert len(world.sent) == 1


def test_a_rejection_closes_the_attempt_and_is_not_asked_again() -> None:
    world, cells, clock = World(ATOMIC, submits=["reject"]), Cells(), Clock()
    assert asyncio.run(one_try(world, cells, clock)) == "failed: rejected"
    assert asyncio.run(one_try(world, cells, clock)) == "closed"
    assert len(world.sent) == 1


def test_a_rejection_after_an_unanswered_send_does_not_close_an_atomic_attempt() -> None:
    world, cells, clock = World(ATOMIC, submits=["late9", "reject"]), Cells(), Clock()
    ended = asyncio.run(one_try(world, cells, clock))
    assert ended.startswith("parked: ")
    assert "may still have landed" in ended
    world.land_all()
    assert live(world, cells, clock) == "submitted"
    assert len(world.ran) == 1


def test_an_identity_that_changed_after_a_send_is_a_question() -> None:
    world, cells, clock = World(ATOMIC, submits=["lost_after"]), Cells(), Clock()
    asyncio.run(one_try(world, cells, clock, reached=dying_at("after_persist")))
    elsewhere = World(ATOMIC, identity="fake://two")
    cells_intent = Cells()
    asyncio.run(one_try(World(ATOMIC), cells_intent, clock, reached=dying_at("before_send")))
    ended = asyncio.run(one_try(elsewhere, cells_intent, clock))
    assert ended.startswith("parked: ")
    assert "fake://one" in ended
    assert "fake://two" in ended
    assert elsewhere.sent == []


def test_an_identity_that_changed_before_anything_left_is_no_matter() -> None:
    cells, clock = Cells(), Clock()
    asyncio.run(one_try(World(ATOMIC), cells, clock, reached=dying_at("after_claim")))
    elsewhere = World(ATOMIC, identity="fake://two")
    assert asyncio.run(one_try(elsewhere, cells, clock)) == "submitted"
    last = cells.read().last
    assert last is not None
    assert last.system == "fake://two"


# Two phases.


def test_a_job_is_never_released_before_its_handle_is_written_down() -> None:
    world, cells = World(TWO_PHASE), Cells()
    asyncio.run(one_try(world, cells, Clock(), reached=dying_at("after_answer")))
    assert world.ran == []
    cells = Cells()
    world = World(TWO_PHASE)
    asyncio.run(one_try(world, cells, Clock(), reached=dying_at("after_persist")))
    last = cells.read().last
    assert last is not None
    assert last.handle is not None
    assert not last.released
    assert world.ran == []


def test_every_reader_elects_the_oldest() -> None:
    world, cells, clock = World(TWO_PHASE, submits=["late3", "late2"]), Cells(), Clock()
    assert live(world, cells, clock) == "submitted"
    world.land_all()
    check(world, cells, "submitted")
    last = cells.read().last
    assert last is not None
    assert last.handle is not None
    rest = {job.handle.job_id for job in world.jobs.values()}
    assert rest == {last.handle.job_id}


def test_a_released_job_is_elected_before_an_older_held_one() -> None:
    world, cells, clock = World(TWO_PHASE, submits=["lost_after"]), Cells(), Clock()
    asyncio.run(one_try(world, cells, clock, reached=dying_at("before_send")))
    key = cells.read().last.key  # type: ignore[union-attr]
    world.land(WORK, key)
    younger = world.land(WORK, key)
    asyncio.run(FakeSystem(world).release(younger.handle))
    assert live(world, cells, clock) == "submitted"
    assert world.ran == [younger.handle.job_id]
    assert cells.read().last.handle == younger.handle  # type: ignore[union-attr]
    assert world.discarded == ["JOB00001"]


def test_two_released_jobs_are_a_question() -> None:
    world, cells, clock = World(TWO_PHASE), Cells(), Clock()
    asyncio.run(one_try(world, cells, clock, reached=dying_at("before_send")))
    key = cells.read().last.key  # type: ignore[union-attr]
    for job in (world.land(WORK, key), world.land(WORK, key)):
        asyncio.run(FakeSystem(world).release(job.handle))
    ended = asyncio.run(one_try(world, cells, clock))
    assert "JOB00001, JOB00002" in ended
    assert "which one counts?" in ended


def test_a_copy_that_lands_after_everything_is_swept_and_never_runs() -> None:
    world, cells, clock = World(TWO_PHASE, submits=["late99", "ok"]), Cells(), Clock()
    assert asyncio.run(one_try(world, cells, clock)) == "submitted"
    world.land_all()
    assert len(world.jobs) == 2
    check(world, cells, "submitted")
    assert world.discarded == ["JOB00002"]


@pytest.mark.parametrize("protection", [ATOMIC, UNPROTECTED])
def test_the_sweep_leaves_systems_alone_that_hold_nothing(protection: Protection) -> None:
    world, cells, clock = World(protection), Cells(), Clock()
    asyncio.run(one_try(world, cells, clock))
    world.calls.clear()
    asyncio.run(sweep(FakeSystem(world), cells.read().last, lambda _line: None))  # type: ignore[arg-type]
    assert world.calls == []


def test_a_job_that_is_not_listed_yet_is_waited_for_before_it_is_released() -> None:
    world, cells, clock = World(TWO_PHASE, submits=["unlisted3"]), Cells(), Clock()
    assert asyncio.run(one_try(world, cells, clock)) == "submitted"
    assert len(world.sent) == 1
    world, cells = World(TWO_PHASE, submits=["unlisted99"]), Cells()
    assert asyncio.run(one_try(world, cells, clock)) == "unreachable"
    assert world.ran == []


@pytest.mark.parametrize("fault", ["lost_before", "lost_after", "ignored"])
def test_a_release_is_believed_only_by_the_job_itself(fault: str) -> None:
    world, cells, clock = World(TWO_PHASE, releases=[fault]), Cells(), Clock()
    assert asyncio.run(one_try(world, cells, clock)) == "submitted"
    assert len(world.ran) == 1


def test_a_release_that_is_never_confirmed_is_tried_again_by_the_next_try() -> None:
    world, cells, clock = World(TWO_PHASE, releases=["ignored"] * 8), Cells(), Clock()
    assert asyncio.run(one_try(world, cells, clock)) == "unreachable"
    last = cells.read().last
    assert last is not None
    assert (last.state, last.released) == (AttemptState.SUBMITTED, False)
    assert live(world, cells, clock) == "submitted"
    assert (len(world.sent), len(world.ran)) == (1, 1)


def test_a_release_refused_because_the_job_is_gone_ends_the_release() -> None:
    world, cells, clock = World(TWO_PHASE), Cells(), Clock()
    asyncio.run(one_try(world, cells, clock, reached=dying_at("after_persist")))
    world.jobs.clear()  # an operator over there purged it
    assert asyncio.run(one_try(world, cells, clock)) == "submitted"
    assert len(world.sent) == 1
    assert world.ran == []


def test_a_release_refused_for_a_job_that_is_still_held_is_told() -> None:
    world, cells, clock = World(TWO_PHASE, releases=["reject"]), Cells(), Clock()
    with pytest.raises(Exception, match="does not release JOB00001"):
        asyncio.run(one_try(world, cells, clock))
    assert next(iter(world.jobs.values())).phase is Phase.HELD


# The store refuses.


@pytest.mark.parametrize("protection", EVERY)
@pytest.mark.parametrize("nth", range(1, 5))
def test_a_write_that_fails_stops_the_try_at_once(protection: Protection, nth: int) -> None:
    world, cells, clock = World(protection), Cells(owner=1), Clock()
    writes = itertools.count(1)

    class Refusing(Store):
        def set(self, key: str, value: Any) -> None:
            if next(writes) == nth:
                raise OwnershipLost("refused")
            super().set(key, value)

    ledger, attempt = begun(clock)
    submission = Submission(FakeSystem(world), store_of(Refusing(cells, 1)), clock, lambda _line: None)
    with suppress(OwnershipLost):
        asyncio.run(submission.hand_over(ledger, attempt, WORK))  # type: ignore[arg-type]
    if nth <= 2:
        assert world.sent == []
    if nth == 3 and protection is TWO_PHASE:
        assert world.ran == []
    ended = live(world, cells, clock)
    check(world, cells, ended)
    assert len(world.ran) == 1 or (protection is UNPROTECTED and ended.startswith("parked"))


# Everything at random.

deaths = st.lists(st.one_of(st.none(), st.tuples(st.sampled_from(POINTS), st.integers(1, 2))), max_size=6)
submit_faults = st.lists(st.sampled_from([*SUBMIT_FAULTS, "late9", "login"]), max_size=6)
find_faults = st.lists(st.sampled_from(["ok", "ok", "ok", "unreachable", "unknown"]), max_size=8)
release_faults = st.lists(st.sampled_from(["ok", "lost_before", "lost_after", "ignored", "unreachable"]), max_size=6)


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(st.sampled_from(EVERY), deaths, submit_faults, find_faults, release_faults)
def test_any_schedule_of_faults_and_deaths(
    protection: Protection,
    deaths: list[tuple[str, int] | None],
    submits: list[str],
    finds: list[str],
    releases: list[str],
) -> None:
    world, cells, clock = World(protection, submits=submits, finds=finds, releases=releases), Cells(), Clock()
    ended = ""
    for death in deaths:
        reached = dying_at(*death) if death else (lambda _point: None)
        ended = asyncio.run(one_try(world, cells, clock, reached=reached))
        assert len(world.ran) <= 1
        if ended.startswith(("parked", "failed")):
            break
    for _ in range(30):
        if ended.startswith(("parked", "failed", "submitted", "closed")):
            break
        ended = asyncio.run(one_try(world, cells, clock))
    check(world, cells, ended)
    keys = {attempt.key for attempt in cells.read().attempts}
    assert set(world.sent) <= keys
    assert len(keys) == 1
    if protection is UNPROTECTED:
        assert len(world.sent) <= 1
    assert all(attempt.sends >= 1 for attempt in cells.read().attempts) or not world.sent


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(EVERY), submit_faults, st.tuples(*[st.sampled_from(POINTS)] * 3), st.permutations(range(3)))
def test_any_overlap_of_three_tries(
    protection: Protection, submits: list[str], points: tuple[str, ...], order: list[int]
) -> None:
    world, cells, clock = World(protection, submits=submits), Cells(), Clock()
    threads = [Thread(world, cells, clock, point) for point in points]
    for index in order:
        threads[index].finish()
    ended = threads[-1].ended
    for _ in range(20):
        if ended.startswith(("parked", "failed", "submitted", "closed")):
            break
        ended = asyncio.run(one_try(world, cells, clock))
    check(world, cells, ended)
    if protection is UNPROTECTED:
        assert len(world.sent) <= 1


def test_a_question_carries_the_ledger_it_is_about() -> None:
    world, cells, clock = World(UNPROTECTED, submits=["lost_before"]), Cells(owner=1), Clock()
    ledger, attempt = begun(clock)
    submission = Submission(FakeSystem(world), store_of(Store(cells, 1)), clock, lambda _line: None)
    with pytest.raises(Parked) as parked:
        asyncio.run(submission.hand_over(ledger, attempt, WORK))  # type: ignore[arg-type]
    assert parked.value.ledger == cells.read()
    assert parked.value.ledger.last is not None
    assert parked.value.ledger.last.sends == 1


def test_a_rejected_submission_says_the_systems_words() -> None:
    world, cells, clock = World(ATOMIC, submits=["reject"]), Cells(owner=1), Clock()
    ledger, attempt = begun(clock)
    submission = Submission(FakeSystem(world), store_of(Store(cells, 1)), clock, lambda _line: None)
    with pytest.raises(JobFailed, match="refuses the job: no such class") as failed:
        asyncio.run(submission.hand_over(ledger, attempt, WORK))  # type: ignore[arg-type]
    assert failed.value.kind == "rejected"


@pytest.mark.parametrize("protection", [ATOMIC, TWO_PHASE])
def test_a_key_that_is_absent_after_the_system_forgot_is_a_question(protection: Protection) -> None:
    """The job may have run and been purged over the weekend on which nobody could look."""
    world, cells, clock = World(protection, submits=["lost_after"]), Cells(), Clock()
    assert asyncio.run(one_try(world, cells, clock, reached=dying_at("before_send"))) == "killed"
    world.jobs.clear()
    clock.time += timedelta(hours=25)
    ended = asyncio.run(one_try(world, cells, clock))
    assert ended.startswith("parked")
    assert "may have forgotten a job" in ended
    assert "2026-03-02 06:00 UTC" in ended
    assert world.sent == []


def test_a_copy_that_another_try_released_is_the_one_that_counts() -> None:
    """A late write put the ledger back to the copy that lost: releasing that one too would run the work twice."""
    world, cells, clock = World(TWO_PHASE), Cells(owner=1), Clock()
    key = new_key()
    older, younger = world.land(WORK, key), world.land(WORK, key)
    older.held, older.phase = False, Phase.RUNNING
    world.ran.append(older.handle.job_id)
    late = Attempt(1, key, sends=2, sent=START.isoformat(), system=world.identity, state=AttemptState.SUBMITTED)
    ledger = Ledger((replace(late, handle=younger.handle),))
    submission = Submission(FakeSystem(world), store_of(Store(cells, 1)), clock, lambda _line: None)
    last = asyncio.run(submission.let_run(ledger)).last
    assert last is not None
    assert (last.handle, last.released) == (older.handle, True)
    assert world.ran == [older.handle.job_id]
