"""What one try of a delegated step does: pure asynchronous code between the ledger and a remote system.

Airflow is not in here: :class:`Conduct` is told what Airflow says of the try and answers with what comes next
(:data:`Next`), which the operator turns into Airflow's own words. So the same lines run in a worker, in the contract
suite, and under a simulator that kills them anywhere.

All state is in the ledger: :meth:`Conduct.start`, :meth:`Conduct.collect` and :meth:`Conduct.answered` may die at any
line, and the next try goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.delegation import parking
from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, Verdict, closed, new_key
from airflow_enterprise_orch.delegation.conduct_types import (
    Again,
    Asked,
    Done,
    Failed,
    Next,
    Site,
    Step,
    Wait,
)
from airflow_enterprise_orch.delegation.holding import NOT_HELD, Standing
from airflow_enterprise_orch.delegation.ledger import (
    AskAgain,
    Attach,
    Begin,
    FailAgain,
    Ledger,
    Reuse,
    cleared_while_waiting,
    opened,
    succeeded,
)
from airflow_enterprise_orch.delegation.ledger_store import LedgerStore, asked_cell, note_cell
from airflow_enterprise_orch.delegation.submission import Clock, Parked, Submission, sweep
from airflow_enterprise_orch.delegation.system import Protection, RemoteSystem
from airflow_enterprise_orch.delegation.wished import Wished
from airflow_enterprise_orch.delegation.wording import failure_line, named, repointed
from airflow_enterprise_orch.errors import JobFailed, OutcomeUnknown, OutputMissing, OwnershipLost, RequestRejected

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.job import JobResult, JobStatus
    from airflow_enterprise_orch.delegation.outcome import Judgement

MESSAGE_TAIL_LINES = 12
DID_NOT_RUN = "did_not_run"
"""The kind of an attempt of which a person said that its work never ran."""


@dataclass
class Conduct:
    """One try of a delegated step.

    :param name: the step and its connection, for people.
    :param store: the ledger, as this try sees it.
    :param try_id: Airflow's id of this try.
    :param say: writes one line for people, into the task's log.
    :param reached: called with the name of each point where a death must do no harm.
    :param make_key: draws a delegation key.
    :param cancels: its job can be ended from here. Otherwise a clear while it runs waits on, and a time limit ends the
        wait alone.
    """

    name: str
    step: Step
    site: Site
    store: LedgerStore
    clock: Clock
    try_id: str
    say: Callable[[str], None]
    reached: Callable[[str], None] = lambda _point: None
    make_key: Callable[[], str] = new_key
    cancels: bool = True

    async def start(self) -> Next:
        """Bring the job out, or go on where the try before this one died; what a person wishes comes first."""
        return await self.wished.next() or await self.go_on()

    @cached_property
    def wished(self) -> Wished:
        """What people wish of the step."""
        return Wished(self)

    async def collect(self, key: str, *, timed_out: bool = False, elsewhere: str = "", look: bool = False) -> Next:
        """Bring the result of an ended job home.

        :param key: of the job that ended.
        :param timed_out: it was cancelled because its time limit had passed.
        :param elsewhere: it cannot be seen, because the connection now leads there.
        :param look: it has not ended, and how it stands with a person's hold is to be looked at.
        """
        if self.store.ledger.last is None or self.store.ledger.last.key != key:
            self.store.recall()
        attempt = self.store.ledger.last
        if attempt is None or attempt.key != key or attempt.handle is None:
            self.say(f"the ended job carries key {key}, which is not what the ledger knows as newest: it decides")
            return await self.start()
        if look or attempt.state is AttemptState.CLOSED:
            # A try before this one read the result and died before Airflow heard of it.
            return await self.start()
        if elsewhere:
            return self.ask(repointed(attempt, elsewhere), parking.AFTER_RESULT)
        return await self._bring_home(attempt, timed_out=timed_out)

    async def answered(self, event: Mapping[str, Any], asked: Sequence[str], key: str) -> Next:
        """Go on with what a person answered.

        :param asked: the options that were offered.
        :param key: of the attempt that the question was about.
        """
        self.store.recall()
        attempt = self.store.ledger.last
        if attempt is None:
            return Failed("a person was asked about a job that the ledger does not know; clear the step")
        if key and key != attempt.key:
            self.say("the answer is about an attempt that is not the newest any more: it is not followed")
            return await self.start()
        try:
            answer = parking.Answer.from_event(event)
            if answer.option not in asked:
                raise parking.AnswerInvalid(f"{answer.option!r} was not asked")
            self.say(f"{answer.by} answered {answer.option!r}: {answer.reason or 'no reason given'}")
            kept = parking.Answered.of(answer, attempt.number, self.clock.now())
            self.store.save(self.store.ledger.with_answer(kept))
            return await self._act_on(attempt, answer)
        except parking.AnswerInvalid as invalid:
            return self._ask_anew(str(invalid), note=str(invalid))

    # The steps of the way.

    async def go_on(self) -> Next:
        """Do what the ledger says is next."""
        move = self.store.ledger.next_move(self.store.now, self.step.rules)
        if isinstance(move, Reuse):
            attempt = move.attempt
            self.say(f"attempt {attempt.number} ended as {attempt.verdict} and nobody cleared it: its result is reused")
            return Done(attempt.value)
        if isinstance(move, FailAgain):
            return Failed(move.attempt.message)
        if isinstance(move, AskAgain):
            return self._ask_after_edit(move.attempt)
        if isinstance(move, Attach):
            return await self.attach(move.attempt)
        if isinstance(move, Begin):
            return await self.wished.beside_what_was_left() or await self.hand_over(self._opened(move))
        return await self.hand_over(move.attempt)

    def _opened(self, move: Begin) -> Attempt:
        attempt = opened(move, self.store.now, self.make_key(), self.clock.now())
        self.store.ledger = self.store.ledger.with_attempt(attempt)
        return attempt

    async def hand_over(self, attempt: Attempt, *, may_send: bool = True) -> Next:
        """Bring an open attempt out; :raises HeldBack: when it would have to be sent and may not."""
        work = self.step.work()
        self.step.judge("nothing was handed over")
        now = self.store.now
        if attempt.sends:
            # Its job may be out there since before a clear, which only a failure of the job will answer.
            attempt = replace(attempt, heeded=now.max_tries)
        else:
            # Nothing has left: a clear of the tries before asked for no more than what is done now.
            attempt = replace(attempt, try_number=now.try_number, max_tries=now.max_tries, retries=now.retries)
        try:
            async with self.site.open() as system:
                ledger = await self.submission(system).hand_over(self.store.ledger, attempt, work, may_send=may_send)
        except Parked as parked:
            self.store.ledger = parked.ledger
            return self.ask(parked.question, parking.AFTER_SUBMIT)
        except JobFailed as failed:
            return Failed(f"{self.who} refused it: {failed}")
        adopted = ledger.last
        return self._wait(ledger) if may_send or adopted is None else await self.attach(adopted)

    async def attach(self, attempt: Attempt) -> Next:
        """Wait for a job that is out there, or ask for its end first."""
        self.say(f"attempt {attempt.number} is out there as {attempt.handle}: attached, nothing is sent")
        now, holding, standing = self.store.now, self.wished.holding, NOT_HELD
        if not attempt.stopping and holding.answers_the_clear:
            # Neither for the job's end nor for another run, should the job fail.
            looked = replace(attempt, max_tries=now.max_tries, retries=now.retries, heeded=now.max_tries)
            if looked != attempt:
                attempt = looked
                self.store.save(attempt)
        elif self.cancels and not attempt.stopping and cleared_while_waiting(attempt, now):
            attempt = replace(attempt, stopping="the step was cleared while it waited", heeded=now.max_tries)
            self.store.save(attempt)
        try:
            async with self.site.open() as system:
                if attempt.system != system.identity:
                    raise Parked(repointed(attempt, system.identity), self.store.ledger)
                stop = False
                if attempt.stopping:
                    attempt = (await self.submission(system).keep_to_released(self.store.ledger)).last or attempt
                    stop = await self.still_there(system, attempt)
                    self.say(f"{self.who}: its end is asked for: {attempt.stopping}")
                else:
                    standing = await holding.settle(self.submission(system))
        except Parked as parked:
            return self.ask(parked.question, parking.AFTER_RESULT)
        except OwnershipLost:
            raise
        except Exception:
            # A clear of this try, which never came to wait, will be no wish to end the job.
            last = self.store.ledger.last or attempt
            self.store.save(replace(last, missed=now.try_number, heeded=now.max_tries))
            raise
        attempt = self.store.ledger.last or attempt
        if attempt.waits != now.try_number or attempt.heeded != now.max_tries:
            self.store.save(replace(attempt, waits=now.try_number, heeded=now.max_tries))
        return self._wait(self.store.ledger, standing, stop=stop)

    @staticmethod
    async def still_there(system: RemoteSystem, attempt: Attempt) -> bool:
        """Look before a cancel: on some systems a cancel of an ended job takes its output away."""
        if attempt.handle is None:
            return False
        status: JobStatus | None = (await system.poll([attempt.handle])).get(attempt.key)
        return status is None or not status.final

    def _wait(self, ledger: Ledger, standing: Standing = NOT_HELD, *, stop: bool = False) -> Next:
        attempt = ledger.last
        if attempt is None or attempt.handle is None:
            raise AssertionError("a job without a handle cannot be waited for")
        limit = self.step.time_limit
        held = timedelta(seconds=attempt.paused_for)
        deadline = attempt.sent_at + timedelta(seconds=limit) + held if limit and attempt.sent_at else None
        if standing.in_force:
            deadline = None  # who holds a job does not want it to be late
        if deadline is not None and limit and not self.cancels and deadline <= self.clock.now():
            # That was told, and the step failed; who has it run again wants to wait on.
            deadline = self.clock.now() + timedelta(seconds=limit)
        self.say(
            f"attempt {attempt.number} is {named(attempt)} on {attempt.system}, key {attempt.key}; "
            f"waiting without a worker slot"
        )
        return Wait(attempt, self.clock.now() if stop else deadline, standing.until, standing.phase)

    async def _bring_home(self, attempt: Attempt, *, timed_out: bool) -> Next:
        handle = attempt.handle
        if handle is None:
            raise AssertionError("the attempt has no job")
        outcome, outputs = self.step.judge("the job ended and is not run again: correct them and clear the step")
        result: JobResult
        judgement: Judgement | None
        tail, values, judgement = "", {}, None
        self.reached("before_result")
        try:
            async with self.site.open() as system:
                if system.identity != attempt.system:
                    raise Parked(repointed(attempt, system.identity), self.store.ledger)
                if timed_out and not self.cancels and await self.still_there(system, attempt):
                    # The attempt stays open, so that nothing is started beside what goes on.
                    limit = timedelta(seconds=self.step.time_limit or 0)
                    return Failed(
                        f"{self.who} has not ended within {limit}; it goes on: clear the step to wait for it again"
                    )
                await sweep(system, attempt, self.say)
                result = await system.result(handle)
                judgement = outcome.judge(result)
                if judgement.verdict is Verdict.FAILURE:
                    tail = await system.read_tail(handle, lines=MESSAGE_TAIL_LINES)
                else:
                    sources = sorted({rule.source for rule in outputs})
                    texts = {source: await system.read_source(handle, source) for source in sources}
                    values = {rule.name: rule.extract(texts[rule.source], self.who) for rule in outputs}
        except Parked as parked:
            return self.ask(parked.question, parking.AFTER_RESULT)
        except OutcomeUnknown as unknown:
            return self.ask(f"{self.who}: {unknown}. Did it succeed?", parking.AFTER_RESULT)
        except (OutputMissing, RequestRejected) as error:
            end = self.wished.pending() if judgement is not None else None
            if end is not None and judgement is not None:
                return self.wished.unreadable(end, attempt, judgement.verdict, error)
            # The job is done; the attempt stays open, so that a clear reads again instead of running again.
            return Failed(str(error))
        self.reached("after_result")
        if judgement.verdict is Verdict.FAILURE:
            late = timed_out and judgement.kind == "cancelled" and not attempt.stopping
            kind = "timed_out" if late else judgement.kind
            line = failure_line(self.who, kind, result, self.step.time_limit, tail)
            told = {"rc": result.rc, "code": result.code}
            failed = closed(attempt, Verdict.FAILURE, at=self.clock.now(), kind=kind, message=line, value=told)
            return self._failed(failed)
        value: dict[str, Any] = {
            "rc": result.rc,
            "code": result.code,
            "job_id": handle.job_id,
            "outcome": judgement.verdict.value,
            "system": attempt.system,
            "started": result.started.isoformat() if result.started else None,
            "ended": result.ended.isoformat() if result.ended else None,
            **values,
        }
        self.store.save(succeeded(attempt, self.store.now, judgement.verdict, value, self.clock.now()))
        self.reached("after_close")
        end = self.wished.pending()
        if end is not None:
            return self.wished.too_late(end)
        if judgement.verdict is Verdict.WARNING:
            return Done(value, f"{self.who}: ended with a warning: {result.code}")
        self.say(f"{self.who}: ended well: {result.code}")
        return Done(value)

    def _failed(self, failed: Attempt) -> Next:
        self.store.save(failed)
        self.reached("after_close")
        end = self.wished.pending()
        if end is not None:
            return self.wished.over(end)
        move = self.store.ledger.next_move(self.store.now, self.step.rules)
        if isinstance(move, AskAgain):
            return self._ask_after_edit(failed)
        if not isinstance(move, Begin):
            return Failed(failed.message)
        rule = self.store.ledger.rule_for(failed, self.step.rules) if move.generation == failed.generation else None
        why = f"retry rule on {failed.kind}" if rule else failed.stopping or "the step was cleared meanwhile"
        wait = rule.wait(self.store.ledger.used(failed, rule)) if rule else timedelta(0)
        return Again(f"{failed.message}\n({why}: it runs again)", wait)

    # What people answered.

    async def _act_on(self, attempt: Attempt, answer: parking.Answer) -> Next:
        said = f" ({answer.reason})" if answer.reason else ""
        if answer.option == parking.FAIL:
            failed = self._closed_by(answer, attempt, "failed_by_person", f"{self.who}: failed by {answer.by}{said}")
            self.store.save(failed)
            self.wished.answered_otherwise(answer)
            return Failed(failed.message)
        if answer.option == parking.DID_NOT_RUN:
            message = f"{answer.by} says that it did not run{said}"
            self.store.save(self._closed_by(answer, attempt, DID_NOT_RUN, message))
            end = self.wished.pending()
            return self.wished.over(end) if end is not None else Failed(f"{self.who}: {message}; clear it to run it")
        if answer.option == parking.SUCCEEDED:
            return self._declared(attempt, answer)
        if answer.option == parking.SUBMIT:
            # A named person closes the attempt; what leaves next carries a new key.
            message = f"{answer.by} says that it did not run{said}"
            self.store.ledger = self.store.ledger.with_attempt(self._closed_by(answer, attempt, DID_NOT_RUN, message))
            return await self._begin_next()
        if answer.option in parking.AFTER_EDIT and attempt.state is not AttemptState.CLOSED:
            # It was closed when the question was asked; a late write brought an older record back, so look again.
            return await self.start()
        if answer.option == parking.RUN_AGAIN:
            return await self._begin_next()
        if answer.option == parking.KEEP:
            return Failed(attempt.message) if attempt.verdict == Verdict.FAILURE else Done(attempt.value)
        if answer.option == parking.ADOPT:
            return await self._adopt(attempt, answer)
        return await self.start()

    def _closed_by(self, answer: parking.Answer, attempt: Attempt, kind: str, message: str) -> Attempt:
        by = f"person:{answer.by}"
        return closed(attempt, Verdict.FAILURE, at=self.clock.now(), by=by, kind=kind, message=message)

    def _declared(self, attempt: Attempt, answer: parking.Answer) -> Next:
        value = {
            "rc": None,
            "code": f"declared by {answer.by}",
            "job_id": attempt.handle.job_id if attempt.handle else None,
            "outcome": Verdict.SUCCESS.value,
            "system": attempt.system,
            "started": None,
            "ended": None,
        }
        done = succeeded(attempt, self.store.now, Verdict.SUCCESS, value, self.clock.now())
        self.store.save(replace(done, closed_by=f"person:{answer.by}", message=answer.reason))
        self.wished.answered_otherwise(answer)
        return Done(value)

    async def _begin_next(self) -> Next:
        last = self.store.ledger.last
        move = Begin(len(self.store.ledger.attempts) + 1, last.generation + 1 if last else 1)
        attempt = self._opened(move)
        # One write for what the person said and what follows from it: a death in between would ask once more.
        self.store.save(attempt)
        return await self.wished.next() or await self.hand_over(attempt)

    async def _adopt(self, attempt: Attempt, answer: parking.Answer) -> Next:
        if not answer.job_id:
            raise parking.AnswerInvalid("the id of the job to adopt is missing")
        try:
            async with self.site.open() as system:
                handle = await system.identify(answer.job_id, attempt.key)
        except RequestRejected as error:
            raise parking.AnswerInvalid(f"{answer.job_id!r} cannot be adopted: {error}") from error
        self.store.save(
            replace(
                attempt,
                state=AttemptState.SUBMITTED,
                handle=handle,
                # It may be one of our own copies, still held; a release of one that runs does nothing.
                released=system.capabilities.protection is not Protection.TWO_PHASE,
                system=system.identity,
                parked="",
                message=f"adopted by {answer.by}: {answer.reason}",
            )
        )
        return await self.start()

    def _ask_after_edit(self, attempt: Attempt) -> Next:
        return self.ask(
            f"attempt {attempt.number} ended as {attempt.verdict}; the template's retries were changed since, so "
            f"Airflow cannot say whether somebody cleared the step: should the work run again?",
            parking.AFTER_EDIT,
        )

    def ask(self, question: str, options: tuple[str, ...]) -> Next:
        """Ask a person; one try asks one question."""
        last = self.store.ledger.last
        key = last.key if last is not None else ""
        asked: dict[str, Any] = {"version": 1, "ti": self.try_id, "options": list(options), "question": question}
        cells, now = self.store.cells, self.store.now.try_number
        before = cells.get(asked_cell(now))
        if isinstance(before, dict) and before.get("ti") == self.try_id:
            if {**before, "shown": ""} != {**asked, "shown": ""}:
                return self._ask_anew(question, note="")
            question = str(before.get("shown"))
        else:
            note = cells.get(note_cell(now))
            if isinstance(note, dict) and note.get("note") and note.get("key") == key:
                question = f"{note['note']}; {question}"
            cells.set(asked_cell(now), {**asked, "shown": question})
        if last is not None:
            self.store.save(replace(last, parked=question))
        return Asked(self.who, question, options, key)

    def _ask_anew(self, why: str, *, note: str) -> Next:
        """Let the next try ask: Airflow freezes text and options of the first question of a try, and would show those.

        :param note: what was wrong with an answer; the next question begins with it.
        """
        last = self.store.ledger.last
        key = last.key if last is not None else ""
        self.store.cells.set(note_cell(self.store.now.try_number + 1), {"version": 1, "key": key, "note": note})
        return Again(f"{why} (the next try looks again, and asks a person)", timedelta(0))

    # Small things.

    def submission(self, system: RemoteSystem) -> Submission:
        """Return what brings an attempt out on an open system."""
        return Submission(system, self.store, self.clock, self.say, self.reached, self.store.now.try_number)

    @property
    def who(self) -> str:
        """System and job, for messages."""
        last = self.store.ledger.last
        if last is None or last.handle is None:
            return self.name
        return f"{self.name.partition(' ')[0]} {named(last)} on {last.system}"
