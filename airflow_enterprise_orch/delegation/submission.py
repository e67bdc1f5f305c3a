"""Claim, find, submit, confirm: how a job leaves exactly once.

Pure asynchronous code that knows neither Airflow nor any system: the store, the clock and the system are handed in, so
that the same lines run in a worker, in the contract suite, and under a simulator.

Why nothing is lost or doubled, whatever dies between two lines:

- The *claim* (the intent, with its key) is written before anything leaves, and announced once more, in a cell of its
  own, right before sending. A try that no longer owns the task instance cannot write, so it cannot send.
- The key is on the remote job. After anything ambiguous we look for it, once the time has passed in which the request
  may still land, and adopt what is there.
- *Atomic* systems refuse a second job with the same key. *Two-phase* systems create jobs held; the handle of exactly
  one is written down before that one is released, and every reader elects the same one. *Unprotected* systems that do
  not answer and do not show the job are a question for a person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from airflow_enterprise_orch.delegation.attempt import REJECTED, Attempt, AttemptState, Verdict, closed
from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.system import Absent, Candidate, Found, Protection, RemoteSystem, Unknown
from airflow_enterprise_orch.errors import (
    AnswerLost,
    ConnectionProblem,
    JobFailed,
    OutcomeUnknown,
    RequestRejected,
    SystemUnreachable,
)

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.work import Work

MAX_SENDS = 3
"""How often one try sends the work; then Airflow's retry takes over."""
CONFIRM_POLLS = 8
"""How often one try looks whether a release took effect."""
CONFIRM_PAUSE = timedelta(seconds=1)


class Clock(Protocol):
    """Time, handed in so that a simulator can own it."""

    def now(self) -> datetime:
        """Return the time, aware UTC."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Wait."""
        ...


class SystemClock:
    """The real one."""

    def now(self) -> datetime:
        """Return the time, aware UTC."""
        return datetime.now(UTC)

    async def sleep(self, duration: timedelta) -> None:
        """Wait."""
        await asyncio.sleep(duration.total_seconds())


class Records(Protocol):
    """Where the ledger is kept: :class:`~.ledger_store.LedgerStore`."""

    def save(self, changed: Ledger) -> None:
        """Write it; :raises OwnershipLost: when this try owns the task instance no more."""
        ...

    def prove_owner(self) -> None:
        """Prove that this try owns the task instance; :raises OwnershipLost: when it does not."""
        ...

    def announce(self, attempt: Attempt) -> None:
        """Write that the work is about to leave, where no late write can touch it.

        :raises OwnershipLost: when this try owns the task instance no more.
        """
        ...


class Parked(Exception):
    """Nobody can prove what happened: a person must say.

    :param question: one line: what is known, and what is asked.
    """

    def __init__(self, question: str, ledger: Ledger) -> None:
        super().__init__(question)
        self.question = question
        self.ledger = ledger


class HeldBack(Exception):
    """Nothing of the attempt is to be seen out there, and nothing may leave now.

    :param may_land: it was sent and never answered, so a job may still come of it, which would run at once.
    """

    def __init__(self, *, may_land: bool = False) -> None:
        super().__init__()
        self.may_land = may_land


@dataclass
class Submission:
    """Brings one open attempt to the point where its job is known and allowed to run.

    :param say: writes one line for people, into the task's log.
    :param reached: called with the name of each point where a death must do no harm; tests die there, and the operator
        stops there when Airflow told it to.
    :param try_number: Airflow's try, which waits for the job when this is done.
    """

    system: RemoteSystem
    store: Records
    clock: Clock
    say: Callable[[str], None]
    reached: Callable[[str], None] = lambda _point: None
    try_number: int = 0

    async def hand_over(self, ledger: Ledger, attempt: Attempt, work: Work, *, may_send: bool = True) -> Ledger:
        """Hand an attempt over whose job may or may not exist yet; return the ledger with it ``submitted``.

        :param may_send: otherwise a job that is there is adopted as it is, and nothing leaves or is released.
        :raises HeldBack: it is not there and may not be sent.
        :raises Parked: a person must say what happened.
        :raises JobFailed: the system said no (kind ``rejected``); the attempt is closed.
        :raises SystemUnreachable: not possible now; the intent stays, and the next try goes on from it.
        :raises OwnershipLost: this try is not the task's any more.
        """
        self._same_system(ledger, attempt)
        if attempt.sends and attempt.work and attempt.work != work.digest():
            self.say(
                f"the step was changed since its work was sent with key {attempt.key}: a job found is the earlier one"
            )
        self.reached("before_claim")
        attempt = replace(attempt, system=self.system.identity, work=work.digest(), parked="")
        ledger = self._save(ledger, attempt)
        self.reached("after_claim")
        sent_now = 0
        while True:
            found = await self._look(ledger, attempt)
            if found is not None:
                if attempt.sends:
                    self.say(f"found {_names(found)} with key {attempt.key}: adopted, nothing is sent again")
                break
            if not may_send:
                atomic = self.system.capabilities.protection is Protection.ATOMIC
                raise HeldBack(may_land=bool(attempt.sends) and atomic)
            if sent_now == MAX_SENDS:
                raise SystemUnreachable(
                    f"{self.system.identity} lost the answer {sent_now} times and shows no job with key {attempt.key}; "
                    f"the next try looks again"
                )
            before = attempt
            announced = max(attempt.sends, attempt.unsent) + 1
            attempt = replace(attempt, sent=self.clock.now().isoformat(), sends=announced)
            self.store.announce(attempt)
            # Once more, for the time limit: the announcement may have taken long.
            attempt = replace(attempt, sent=self.clock.now().isoformat())
            ledger = ledger.with_attempt(attempt)
            self.reached("before_send")
            try:
                handle = await self.system.submit(work, attempt.key)
            except AnswerLost as error:
                sent_now += 1
                self.say(f"{error}; looking for key {attempt.key} before anything else")
                continue
            except (SystemUnreachable, ConnectionProblem):
                # Nothing left: an unprotected system must not be suspected of having got it.
                # Taken back in the ledger: were this write stalled, it could not wash away a later announcement.
                self._save(ledger, replace(before, unsent=attempt.sends))
                raise
            except RequestRejected as error:
                if before.sends and self.system.capabilities.protection is Protection.ATOMIC:
                    # An earlier send may still land, and would run. (A two-phase copy that lands late stays held.)
                    raise Parked(
                        f"{error}; but an earlier send of key {attempt.key} was never answered and may still have "
                        f"landed: did it run?",
                        self._save(ledger, before),
                    ) from error
                failed = closed(attempt, Verdict.FAILURE, at=self.clock.now(), kind=REJECTED, message=str(error))
                self._save(ledger, failed)
                raise JobFailed(str(error), kind=REJECTED) from error
            self.reached("after_answer")
            found = await self._all_with(handle, attempt)
            break
        chosen = self._elect(found, ledger, attempt)
        ledger = self._save(ledger, _submitted(attempt, chosen, self.try_number))
        self.reached("after_persist")
        await self._discard_others(found, chosen)
        return await self.let_run(ledger) if may_send else ledger

    async def withdraw(self, ledger: Ledger, attempt: Attempt) -> Ledger:
        """Find what became of an attempt that may have left and is not wanted any more; nothing is sent or released.

        :return: the ledger with it ``submitted``, for its end to be asked for, or closed because it provably never ran.
        :raises Parked: a person must say what happened.
        """
        found = await self.came_of(ledger, attempt)
        if found is None:
            message = f"{attempt.stopping}; no job came of what was sent, and a copy that lands late stays held"
            return self._save(
                ledger,
                closed(attempt, Verdict.FAILURE, at=self.clock.now(), kind="cancelled", message=message),
            )
        chosen = self._elect(found, ledger, attempt)
        self.say(f"found {_names(found)} with key {attempt.key}: adopted, so that its end can be asked for")
        ledger = self._save(ledger, _submitted(attempt, chosen, self.try_number))
        self.reached("after_persist")
        await self._discard_others(found, chosen)
        return ledger

    async def came_of(self, ledger: Ledger, attempt: Attempt) -> Found | None:
        """Find what became of an attempt that may have left, and is not to be sent again; None: nothing, for ever.

        :raises Parked: nothing is to be seen, but a request without an answer may still land and run.
        """
        self._same_system(ledger, attempt)
        found = await self._look(ledger, attempt)
        # Sending once more would be safe, but a request that lands late would run. Where it would be held it may land.
        if found is None and attempt.sends and self.system.capabilities.protection is not Protection.TWO_PHASE:
            raise Parked(
                f"the work was sent to {self.system.identity} with key {attempt.key}, no answer came and no job shows "
                f"the key; it may still land: did it run?",
                ledger,
            )
        return found

    async def keep_to_released(self, ledger: Ledger) -> Ledger:
        """Return the ledger with the copy that was released, where its choice may be that of a late write."""
        attempt = ledger.last
        if attempt is None or attempt.handle is None or attempt.released:
            return ledger
        other = await self._released_by_another_try(ledger, attempt)
        return ledger if other is None else self._save(ledger, replace(attempt, handle=other, released=True))

    async def let_run(self, ledger: Ledger) -> Ledger:
        """Make sure that the last attempt's known job is allowed to run; return the ledger.

        :raises SystemUnreachable: the release is not confirmed; the next try goes on from here.
        """
        ledger = await self.keep_to_released(ledger)
        attempt = ledger.last
        if attempt is None or attempt.handle is None or attempt.released:
            return ledger
        await self.release(attempt.handle)
        ledger = self._save(ledger, replace(attempt, released=True))
        self.reached("after_release")
        return ledger

    async def _released_by_another_try(self, ledger: Ledger, attempt: Attempt) -> JobHandle | None:
        """Return the copy that was released already, where the ledger's choice may be that of a late write."""
        if self.system.capabilities.protection is not Protection.TWO_PHASE or attempt.sends < 2:
            return None
        sighting = await self.system.find(attempt.key)
        if not isinstance(sighting, Found):
            return None
        chosen = self._elect(sighting, ledger, attempt)
        if chosen.held or attempt.handle is None or chosen.handle.job_id == attempt.handle.job_id:
            return None
        self.say(f"{chosen.handle.job_id} was released already: it is the one that counts")
        return chosen.handle

    def _save(self, ledger: Ledger, attempt: Attempt) -> Ledger:
        changed = ledger.with_attempt(attempt)
        self.store.save(changed)
        return changed

    def _same_system(self, ledger: Ledger, attempt: Attempt) -> None:
        if attempt.sends and attempt.system and attempt.system != self.system.identity:
            raise Parked(
                f"the work was sent to {attempt.system} with key {attempt.key}, but the connection now leads to "
                f"{self.system.identity}: did it run there?",
                ledger,
            )

    async def _look(self, ledger: Ledger, attempt: Attempt) -> Found | None:
        """Look for the key. None means: it may be sent, because nothing was sent yet or that is provably gone."""
        sighting = await self.system.find(attempt.key)
        if isinstance(sighting, Found):
            return sighting
        if not attempt.sends:
            return None
        capabilities = self.system.capabilities
        sent_at = attempt.sent_at
        wait = (sent_at + capabilities.settle - self.clock.now()) if sent_at else timedelta(0)
        if wait > timedelta(0):
            self.say(f"key {attempt.key} is not to be seen yet; looking again in {wait.total_seconds():.0f} s")
            await self.clock.sleep(wait)
            sighting = await self.system.find(attempt.key)
            if isinstance(sighting, Found):
                return sighting
        if isinstance(sighting, Unknown):
            raise Parked(
                f"the work was sent to {self.system.identity} with key {attempt.key} and no answer came; "
                f"the system cannot tell whether it arrived ({sighting.reason}): did it run?",
                ledger,
            )
        if sent_at and self.clock.now() - sent_at > capabilities.remembers:
            raise Parked(
                f"the work was sent to {self.system.identity} with key {attempt.key} at {sent_at:%Y-%m-%d %H:%M} UTC, "
                f"no answer came, and the system may have forgotten a job that ended since: did it run?",
                ledger,
            )
        if capabilities.protection is Protection.UNPROTECTED:
            raise Parked(
                f"the work was sent to {self.system.identity} with key {attempt.key}, no answer came and no job shows "
                f"the key; sending again could run it twice: did it run?",
                ledger,
            )
        return None

    async def _all_with(self, handle: JobHandle, attempt: Attempt) -> Found:
        """Return every job that carries the key, now that ours is one of them."""
        if self.system.capabilities.protection is not Protection.TWO_PHASE:
            return Found((Candidate(handle, held=False, order=""),))
        for _ in range(CONFIRM_POLLS):
            sighting = await self.system.find(attempt.key)
            if isinstance(sighting, Found) and any(
                candidate.handle.job_id == handle.job_id for candidate in sighting.candidates
            ):
                return sighting
            await self.clock.sleep(CONFIRM_PAUSE)
        raise SystemUnreachable(
            f"{self.system.identity} took job {handle.job_id} but does not list its key {attempt.key} yet; "
            f"it is held and the next try looks again"
        )

    def _elect(self, found: Found, ledger: Ledger, attempt: Attempt) -> Candidate:
        """Choose the one job that runs: the released one or else the oldest, the same for every reader."""
        running = [candidate for candidate in found.candidates if not candidate.held]
        if len(running) > 1:
            raise Parked(
                f"{_names(Found(tuple(running)))} on {self.system.identity} all carry key {attempt.key} and were all "
                f"released, by a hand that is not ours: which one counts?",
                ledger,
            )
        return running[0] if running else min(found.candidates, key=lambda candidate: candidate.order)

    async def _discard_others(self, found: Found, chosen: Candidate) -> None:
        for candidate in found.candidates:
            if candidate.held and candidate.handle.job_id != chosen.handle.job_id:
                self.say(f"{candidate.handle.job_id} is a second copy that never ran: discarded")
                await self.system.discard(candidate.handle)

    async def release(self, handle: JobHandle) -> None:
        """Release, and believe only the job's own state.

        :raises SystemUnreachable: it is held still; the next try releases it again.
        :raises OwnershipLost: another try owns the task instance; nothing is released.
        """
        status: JobStatus | None = None
        refused: RequestRejected | None = None
        for attempt in range(CONFIRM_POLLS):
            if attempt == 0 or (status is not None and status.phase is Phase.HELD):
                # A try that slept, and woke after another one held the job again, lifts nothing.
                self.store.prove_owner()
                try:
                    await self.system.release(handle)
                except AnswerLost as error:
                    self.say(f"{error}; looking whether {handle.job_id} is released")
                except RequestRejected as error:
                    # A job that was released, cancelled or purged by another hand cannot be released: look first.
                    refused = error
                    self.say(f"{error}; looking what became of {handle.job_id}")
                self.reached("after_release_sent")
            status = (await self.system.poll([handle])).get(handle.key)
            if status is not None and status.phase is not Phase.HELD:
                return
            if refused is not None and status is not None:
                raise refused
            await self.clock.sleep(CONFIRM_PAUSE)
        reason = f" ({status.reason})" if status is not None and status.reason else ""
        raise SystemUnreachable(
            f"{self.system.identity}: job {handle.job_id} is still held{reason} after its release; "
            f"the next try releases it again"
        )


async def sweep(system: RemoteSystem, attempt: Attempt, say: Callable[[str], None]) -> None:
    """Discard copies that landed late: only a two-phase system that was sent the work more than once can have them."""
    if system.capabilities.protection is not Protection.TWO_PHASE or attempt.sends < 2 or attempt.handle is None:
        return
    sighting = await system.find(attempt.key)
    if isinstance(sighting, Absent | Unknown):
        return
    for candidate in sighting.candidates:
        if candidate.held and candidate.handle.job_id != attempt.handle.job_id:
            try:
                await system.discard(candidate.handle)
            except RequestRejected as error:
                raise OutcomeUnknown(
                    f"{candidate.handle.job_id} on {system.identity} is a second copy with key {attempt.key}, and it "
                    f"cannot be discarded ({error})"
                ) from error
            say(f"{candidate.handle.job_id} is a copy that landed late and never ran: discarded")


def _submitted(attempt: Attempt, chosen: Candidate, try_number: int) -> Attempt:
    return replace(
        attempt,
        state=AttemptState.SUBMITTED,
        handle=chosen.handle,
        released=not chosen.held,
        waits=try_number,
        parked="",
    )


def _names(found: Found) -> str:
    return ", ".join(candidate.handle.job_id for candidate in found.candidates)
