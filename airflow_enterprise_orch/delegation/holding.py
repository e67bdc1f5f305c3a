"""A job that was handed over is held over there because a person wishes it, and let go again: by one try of its step.

Only a hold of this one step is asked of its system; one of a whole stream or system hands nothing more over. Whatever
dies between two lines, the next try goes on from the ledger:

- the ledger says that we hold the job before its hold is asked for, so what our hold held is known to be ours;
- *confirmed* is only what the job's own state says, never the answer to a request; the wait goes on looking, and sends
  the task to look when that is true no more;
- a hold never ends a job. The clear by which the action made the step look is answered by the hold, or by its release;
- a job that somebody of the system held himself is let go by nobody but him, or by a person's *release*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_enterprise_orch.delegation.control import Wish
from airflow_enterprise_orch.delegation.job import JobStatus, Phase
from airflow_enterprise_orch.delegation.obeying import (
    CONFIRMED,
    HOLD_LOOK,
    REFUSED,
    RELEASED,
    REQUESTED,
    TOO_LATE,
    UNSUPPORTED,
)
from airflow_enterprise_orch.delegation.submission import CONFIRM_PAUSE, CONFIRM_POLLS, MAX_SENDS
from airflow_enterprise_orch.errors import AnswerLost, RequestRejected, SystemUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_enterprise_orch.delegation.attempt import Attempt
    from airflow_enterprise_orch.delegation.conduct import Conduct
    from airflow_enterprise_orch.delegation.control import Wishes
    from airflow_enterprise_orch.delegation.job import JobHandle
    from airflow_enterprise_orch.delegation.obeying import Obeyed
    from airflow_enterprise_orch.delegation.submission import Submission


@dataclass(frozen=True, slots=True)
class Standing:
    """How a try leaves the job that it waits for.

    :param in_force: a person's hold is, or may soon be, in force: no time limit counts.
    :param phase: the phase that this is about; "" when no hold is.
    :param until: when to look again at the latest.
    """

    in_force: bool = False
    phase: str = ""
    until: datetime | None = None


NOT_HELD = Standing()


@dataclass
class Holding:
    """What people wish of a job that is out there, as one try obeys it."""

    conduct: Conduct
    wishes: Wishes

    @property
    def _hold(self) -> Wish | None:
        hold = self.wishes.hold
        return hold if hold is not None and not hold.scope else None

    @property
    def _let_go(self) -> Wish | None:
        """A person's word by which a hold ends and that no try has answered."""
        word = self.wishes.let_go
        return word if word is not None and self._hold is None and self._unanswered(word) else None

    def _unanswered(self, wish: Wish) -> bool:
        return self.conduct.wished.obedience.newest(wish) is None

    @property
    def answers_the_clear(self) -> bool:
        """The clear that made the step look, if there was one, was for this and asks for no end of the job."""
        hold = self._hold
        return (hold is not None and self._unanswered(hold)) or self._let_go is not None

    def nothing_out_there(self) -> None:
        """Answer a person's word that ends a hold, where no job is known that could be held."""
        if (word := self._let_go) is not None:
            self.conduct.wished.mark(word, "released: no job is held over there", state=RELEASED)

    async def settle(self, submission: Submission) -> Standing:
        """Hold the known job of the last attempt, let it go, or make sure that it is allowed to run.

        :raises SystemUnreachable: the job's state cannot be told, or a release is not confirmed; the next try goes on.
        :raises RequestRejected: the system does not release the job.
        """
        hold, let_go = self._hold, self._let_go
        if hold is None and let_go is None and not self._ours:
            await submission.let_run(self.conduct.store.ledger)
            standing = NOT_HELD
        elif hold is not None:
            await submission.keep_to_released(self.conduct.store.ledger)
            standing = await self._hold_it(submission, hold)
        else:
            try:
                await submission.let_run(self.conduct.store.ledger)
                standing = await self._let_it_go(submission, let_go)
            except RequestRejected as error:
                standing = self._not_let_go(let_go, error)
        self._count_time(standing)
        return standing

    @property
    def _last(self) -> Attempt:
        last = self.conduct.store.ledger.last
        if last is None:
            raise AssertionError("there is no attempt that could be held")
        return last

    @property
    def _ours(self) -> str:
        """Return the id of the wish because of which we hold the job, or may; "" when we do not.

        The ledger's own word can be washed away by a late copy of an earlier write; what was obeyed has its own cells.
        """
        if self._last.holding:
            return self._last.holding
        # One that was replaced or lifted before a try came to it says nothing: then the one before it still holds.
        answered = (hold_id for hold_id in self.wishes.held_before if self._word_on(hold_id) is not None)
        before = next(answered, "")
        return before if before and self._asked(before) else ""

    def _word_on(self, hold_id: str) -> Obeyed | None:
        return self.conduct.wished.obedience.newest(Wish("hold", "", "", id=hold_id))

    def _asked(self, hold_id: str) -> bool:
        obeyed = self._word_on(hold_id)
        return obeyed is not None and obeyed.asked and obeyed.state in (REQUESTED, CONFIRMED)

    # Holding.

    async def _hold_it(self, submission: Submission, hold: Wish) -> Standing:
        system, who = submission.system, self.conduct.who
        status = await self._state(submission)
        if status is None:
            raise SystemUnreachable(f"{system.identity} does not show {who} now, so that it could be held")
        if status.phase is Phase.WAITING and not system.capabilities.hold:
            self._gone(hold, f"unsupported: {system.identity} holds no job; the job goes on", UNSUPPORTED)
            await submission.let_run(self.conduct.store.ledger)
            return NOT_HELD
        refused: RequestRejected | None = None
        asked = self._last.holding == hold.id or self._asked(hold.id)
        for _ in range(MAX_SENDS):
            if status is None or status.phase is not Phase.WAITING or refused is not None:
                break
            # Before it is asked for: what dies in between may have held the job, and then it was us.
            self._save(holding=hold.id, hold_sent=self.conduct.clock.now().isoformat())
            asked = True
            self.conduct.wished.mark(hold, f"hold requested of {system.identity}", state=REQUESTED, asked=True)
            self.conduct.reached("before_hold")
            try:
                await system.hold(self._handle)
            except AnswerLost as error:
                self.conduct.say(f"{error}; looking whether {who} is held")
            except RequestRejected as error:
                refused = error
                self.conduct.say(f"{error}; looking what became of {who}")
            self.conduct.reached("after_hold_sent")
            status = await self._state(submission, settles=refused is None)
        return await self._held_or_not(submission, hold, status, refused, asked=asked)

    async def _held_or_not(
        self,
        submission: Submission,
        hold: Wish,
        status: JobStatus | None,
        refused: RequestRejected | None,
        *,
        asked: bool,
    ) -> Standing:
        """Write down what the job's own state says of its hold."""
        identity = submission.system.identity
        phase = status.phase if status is not None else Phase.WAITING
        if phase is Phase.HELD:
            # A job that we handed over held and did not release yet is ours to hold, and so is what we held before.
            ours = asked or bool(self._ours) or not self._last.released
            self._save(holding=hold.id if ours else "")
            whose = "" if ours else ", and not by us: whoever held it there lets it go, or a person's release here"
            how = f"held over there: confirmed by {identity}{whose}"
            self.conduct.wished.mark(hold, how, state=CONFIRMED, asked=ours)
            return self._in_force(hold, phase)
        if phase is Phase.WAITING and refused is None:
            # It may be held all the same; the wait looks on, and the time limit does not count meanwhile.
            return self._in_force(hold, phase)
        if phase is Phase.WAITING:
            self._gone(hold, f"refused: {refused}; the job goes on", REFUSED)
            await submission.let_run(self.conduct.store.ledger)
            return NOT_HELD
        ran = "it has ended" if phase in (Phase.ENDED, Phase.MISSING) else "it has started"
        self._gone(hold, f"not held: {ran}", TOO_LATE)
        if not self._last.released:
            self._save(released=True)
        return NOT_HELD

    def _in_force(self, hold: Wish, phase: Phase) -> Standing:
        # A release finds nobody to wake while this try is about to wait; so, as for every held step, one looks.
        look = self.conduct.clock.now() + HOLD_LOOK
        return Standing(True, phase.value, look if hold.until is None else min(look, hold.until))

    def _gone(self, hold: Wish, how: str, state: str) -> None:
        """The job is not held, and will not be."""
        self._save(holding="")
        self.conduct.wished.mark(hold, how, state=state)

    async def _state(self, submission: Submission, *, settles: bool = True) -> JobStatus | None:
        """Return the job's state; None when it cannot be told for some seconds.

        :param settles: a hold was asked for, and may take these seconds.
        """
        status: JobStatus | None = None
        asked = bool(self._last.hold_sent) and settles
        for _ in range(CONFIRM_POLLS):
            status = (await submission.system.poll([self._handle])).get(self._last.key) or status
            if status is not None and not (asked and status.phase is Phase.WAITING):
                return status
            await submission.clock.sleep(CONFIRM_PAUSE)
        return status

    # Letting go.

    async def _let_it_go(self, submission: Submission, word: Wish | None) -> Standing:
        """Release what our hold held; what somebody of the system held only by a person's *release*.

        :raises RequestRejected: the system does not release it now.
        """
        attempt, identity = self._last, submission.system.identity
        whoever = word is not None and word is self.wishes.release
        ours = self._ours
        sent = datetime.fromisoformat(attempt.hold_sent) if attempt.hold_sent else None
        settled = sent + submission.system.capabilities.settle if sent else None
        if ours and settled is not None and (wait := settled - self.conduct.clock.now()) > timedelta(0):
            self.conduct.say(f"a hold was asked for just now and may still take effect: {wait.total_seconds():.0f} s")
            await submission.clock.sleep(wait)
        self._save(hold_sent="")
        status = await self._state(submission)
        if status is None:
            raise SystemUnreachable(f"{identity} does not show {self.conduct.who} now, so that it could be released")
        how = "released: it is not held over there"
        if status.phase is Phase.HELD and (ours or whoever):
            await submission.release(self._handle)
            how = f"released over there: confirmed by {identity}"
        elif status.phase is Phase.HELD:
            how = f"it is held over there and not by us: whoever held it on {identity} lets it go"
        elif status.final:
            how = "released: it has ended"
        self._save(holding="")
        if word is not None:
            self.conduct.wished.mark(word, how, state=RELEASED)
        else:
            self.conduct.say(f"the hold is over: {how}")
        if ours:
            # So that nothing held over there later is taken for ours.
            self.conduct.wished.obedience.mark(Wish("hold", "", "", id=ours), how, state=RELEASED)
        return NOT_HELD

    def _not_let_go(self, word: Wish | None, error: RequestRejected) -> Standing:
        """A release that is refused ends nothing: the job stays held, and ours is released anew at the next look."""
        again = ", and its release is asked for again" if self._ours else ""
        how = f"refused: {error}; it is held over there still{again}"
        if word is not None:
            self.conduct.wished.mark(word, how, state=REFUSED)
        else:
            self.conduct.say(how)
        return Standing(until=self.conduct.clock.now() + HOLD_LOOK)

    # Small things.

    @property
    def _handle(self) -> JobHandle:
        handle = self._last.handle
        if handle is None:
            raise AssertionError("an attempt without a job cannot be held")
        return handle

    def _save(self, **changed: object) -> None:
        last = self._last
        new: Mapping[str, object] = {name: value for name, value in changed.items() if getattr(last, name) != value}
        if new:
            self.conduct.store.save(replace(last, **new))  # type: ignore[arg-type]

    def _count_time(self, standing: Standing) -> None:
        """Let the time that a person holds the job not count for its time limit."""
        attempt, now = self._last, self.conduct.clock.now()
        if standing.in_force and not attempt.paused:
            self._save(paused=now.isoformat())
        elif attempt.paused and not standing.in_force:
            held = (now - datetime.fromisoformat(attempt.paused)).total_seconds()
            self._save(paused="", paused_for=attempt.paused_for + max(int(held), 0))
