"""What one try does because a person wished for it: hold, skip, complete or cancel, at whatever phase the step is.

A wish never parts a step from its job: an open attempt is ended with proof first, or closed by that person's word. All
state is in the ledger and in the marks of :mod:`~.obeying`, so a try that dies between two lines is taken up by the
next one, and what is done already is not done twice:

- nothing has left: the step is held, or ends as wished;
- the work may have left: the job is found, its end is asked for, and the step waits for the proof without a worker;
- nobody can prove it: a person is asked, as always;
- the job had ended well before: its result stands, and the wish has come too late.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.delegation import parking
from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, Verdict, closed
from airflow_enterprise_orch.delegation.completing import OutputsInvalid
from airflow_enterprise_orch.delegation.conduct_types import Done, Failed, Held, Next, Skipped
from airflow_enterprise_orch.delegation.holding import Holding
from airflow_enterprise_orch.delegation.ledger import (
    Attach,
    Begin,
    Cleared,
    Continue,
    Reuse,
    counters_changed,
    succeeded,
)
from airflow_enterprise_orch.delegation.obeying import CONFIRMED, Obedience
from airflow_enterprise_orch.delegation.submission import HeldBack, Parked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_enterprise_orch.delegation.conduct import Conduct
    from airflow_enterprise_orch.delegation.control import Wish, Wishes

CANCELLED = "cancelled"
LEFT_ALONE = "left_alone"
"""The kind of an attempt that a person closed without looking at its job."""
UNREAD = "unread"
"""The kind of an attempt whose job ended well, and of whose outputs a person's wish took the place."""


@dataclass
class Wished:
    """The wishes for one step, as one try obeys them."""

    conduct: Conduct

    @cached_property
    def obedience(self) -> Obedience:
        """What this try and those before it did of what people wished."""
        store = self.conduct.store
        return Obedience(store.cells, store.now, self.conduct.clock.now)

    @cached_property
    def holding(self) -> Holding:
        """What people wish of a job that is out there."""
        return Holding(self.conduct, self.conduct.site.wishes())

    async def next(self) -> Next | None:
        """Return what comes next because of a wish; None when the step goes on as if there were none."""
        wishes = self.conduct.site.wishes()
        self.holding = Holding(self.conduct, wishes)
        move = self.conduct.store.ledger.next_move(self.conduct.store.now, self.conduct.step.rules)
        if not isinstance(move, Attach):
            self.holding.nothing_out_there()
        end = self._of(wishes)
        if end is not None:
            return await self._ends(end)
        return None if wishes.hold is None else await self._hold(wishes.hold)

    async def _hold(self, hold: Wish) -> Next | None:
        """Hand nothing over; a job that is out there is found, and one that is over is told as what it came to.

        Of what is out there, :class:`~.holding.Holding` asks its system for the hold.
        """
        conduct = self.conduct
        move = conduct.store.ledger.next_move(conduct.store.now, conduct.step.rules)
        if not isinstance(move, Begin | Continue):
            return None
        how = "held: nothing is handed over"
        if isinstance(move, Continue) and conduct.store.may_be_out_there:
            try:
                return await conduct.hand_over(move.attempt, may_send=False)
            except HeldBack as held_back:
                conduct.say(f"no job with key {move.attempt.key} is out there, and none is sent")
                if held_back.may_land:
                    how += ", but what was sent before and never answered may still land, and would run"
        self.mark(hold, how, state=CONFIRMED)
        return Held(str(hold), hold.until)

    def pending(self) -> Wish | None:
        """Return how a person wants the step to end, None when nobody does, or that was done or cannot be."""
        end = self._of(self.conduct.site.wishes(holds=False))
        if end is not None:
            try:
                self._value(end)
            except OutputsInvalid:
                return None
        return end

    def _of(self, wishes: Wishes) -> Wish | None:
        end, last = wishes.end, self.conduct.store.ledger.last
        begun = last.try_number if last is not None else 0
        return end if end is not None and self.obedience.applies(end, begun) else None

    def mark(self, wish: Wish, how: str, *, over: bool = False, state: str = "", asked: bool = False) -> None:
        """Write down what became of a wish."""
        self.conduct.reached("before_obeyed")
        self.conduct.say(f"{wish}: {how}")
        self.obedience.mark(wish, how, over=over, state=state, asked=asked)
        self.conduct.reached("after_obeyed")

    # The ways to the end.

    async def _ends(self, end: Wish) -> Next:
        try:
            value = self._value(end)
        except OutputsInvalid as invalid:
            return await self._as_it_was(end, f"refused: {invalid}")
        store = self.conduct.store
        last = store.ledger.last
        if last is not None and store.ledger.is_open:
            if not store.may_be_out_there:
                now = self.conduct.clock.now()
                store.save(closed(last, Verdict.FAILURE, at=now, kind=CANCELLED, message=f"{end}; nothing had left"))
            elif end.leave_job:
                self._leave_alone(last, end, value)
            else:
                comes_next = await self._bring_down(last, end)
                if comes_next is not None:
                    return comes_next
        return self.over(end)

    def _value(self, end: Wish) -> Mapping[str, Any]:
        """Return what a completed step returns; of other wishes nothing.

        :raises OutputsInvalid: in one line.
        """
        if end.what != "complete":
            return {}
        last = self.conduct.store.ledger.last
        about = {
            "rc": None,
            "code": f"completed by {end.by}",
            "job_id": last.handle.job_id if last is not None and last.handle is not None else None,
            "outcome": Verdict.SUCCESS.value,
            "system": last.system if last is not None else "",
            "started": None,
            "ended": None,
        }
        return {**about, **self.conduct.step.completed(end.value)}

    async def _as_it_was(self, end: Wish, why: str) -> Next:
        """A wish that cannot be obeyed changes nothing, and neither does the clear that made the step look."""
        conduct, store = self.conduct, self.conduct.store
        self.mark(end, why)
        last = store.ledger.last
        if last is None:
            return Held(f"{end}: {why}; correct it or take it back", None)
        if last.state is not AttemptState.CLOSED:
            store.save(replace(last, heeded=store.now.max_tries))
        elif counters_changed(last, store.now) is Cleared.YES:
            return Failed(f"{why}\n{last.message}") if last.verdict == Verdict.FAILURE else Done(last.value, why)
        return await conduct.go_on()

    def _leave_alone(self, attempt: Attempt, end: Wish, value: Mapping[str, Any]) -> None:
        """Close an open attempt by a person's word, without touching its job."""
        conduct = self.conduct
        held = ", held over there as it is" if attempt.holding else ""
        by, message = f"person:{end.by}", f"{end}; its job was left alone{held}"
        now = conduct.clock.now()
        if end.what == "complete":
            done = succeeded(attempt, conduct.store.now, Verdict.SUCCESS, value, now)
            conduct.store.save(replace(done, closed_by=by, kind=LEFT_ALONE, message=message))
        else:
            conduct.store.save(closed(attempt, Verdict.FAILURE, at=now, by=by, kind=LEFT_ALONE, message=message))
        conduct.reached("after_close")

    async def beside_what_was_left(self) -> Next | None:
        """Return what comes instead of a new attempt beside a job that was left alone; None when that may begin."""
        conduct = self.conduct
        ledger = conduct.store.ledger
        last = ledger.last
        if last is None or last.kind != LEFT_ALONE:
            return None
        async with conduct.site.open() as system:
            if system.identity != last.system:
                return None  # it cannot be looked at; a person closed it, and has cleared the step since
            handles = [last.handle] if last.handle is not None else []
            if not handles:
                try:
                    found = await conduct.submission(system).came_of(ledger, last)
                except Parked as parked:
                    return conduct.ask(f"its job was left alone; {parked.question}", parking.AFTER_LEAVING)
                handles = [candidate.handle for candidate in found.candidates] if found is not None else []
            there = [await conduct.still_there(system, replace(last, handle=handle)) for handle in handles]
        if not any(there):
            return None
        return Failed(
            f"{conduct.who} was left alone and has not ended: wait for it or cancel it there, then clear the step"
        )

    async def _bring_down(self, attempt: Attempt, end: Wish) -> Next | None:
        """Ask for the end of a job that is or may be out there; None when it is proven that there is none."""
        conduct = self.conduct
        store = conduct.store
        if not conduct.cancels:
            conduct.say(f"{conduct.who}: it cannot be ended from here, so it is waited for; then: {end}")
            return await conduct.go_on()
        # The clear that made the step look is answered by this: it asks for no new run.
        now = store.now
        wished = replace(attempt, stopping=str(end), max_tries=now.max_tries, retries=now.retries, heeded=now.max_tries)
        if attempt.state is AttemptState.INTENT:
            try:
                async with conduct.site.open() as system:
                    store.ledger = await conduct.submission(system).withdraw(store.ledger, wished)
            except Parked as parked:
                store.ledger = parked.ledger
                return conduct.ask(f"{end}: {parked.question}", parking.AFTER_WITHDRAWAL)
            if not store.ledger.is_open:
                conduct.reached("after_close")
                return None
        elif attempt != wished:
            store.save(wished)
        return await conduct.attach(store.ledger.last or wished)

    def over(self, end: Wish) -> Next:
        """Every attempt is closed: the step ends as wished, unless its job was done before that could be asked for."""
        conduct = self.conduct
        last = conduct.store.ledger.last
        move = conduct.store.ledger.next_move(conduct.store.now, conduct.step.rules)
        if isinstance(move, Reuse) and not move.attempt.kind:
            return self.too_late(end)
        if end.what == "skip":
            self.mark(end, "skipped")
            return Skipped(str(end))
        if end.what == "complete":
            left_alone = last is not None and last.kind == LEFT_ALONE
            self.mark(end, "completed; its job was left alone" if left_alone else "completed")
            return Done(self._value(end), f"{conduct.who}: {end}")
        self.mark(end, "cancelled")
        told = last.message if last is not None and last.message else "it had not started"
        return Failed(f"{conduct.who}: {end}\n{told}")

    def too_late(self, end: Wish) -> Next:
        """The job had ended well before its end could be asked for: its result stands."""
        last = self.conduct.store.ledger.last
        self.mark(end, "too late: the job had ended well, and its result stands")
        return Done(last.value if last is not None else {})

    def unreadable(self, end: Wish, attempt: Attempt, verdict: Verdict, error: Exception) -> Next:
        """The job ended well, but what the step is to read of it cannot be read."""
        store = self.conduct.store
        if end.what == "cancel":
            self.mark(end, "too late: the job had ended")
            return Failed(str(error))
        done = succeeded(attempt, store.now, verdict, self._value(end), self.conduct.clock.now())
        message = f"{end}; what its job left could not be read: {error}"
        store.save(replace(done, closed_by=f"person:{end.by}", kind=UNREAD, message=message))
        self.conduct.reached("after_close")
        return self.over(end)

    def answered_otherwise(self, answer: parking.Answer) -> None:
        """Somebody answered a question about the job: the newer word counts."""
        end = self.pending()
        if end is not None:
            self.mark(end, f"replaced by what {answer.by} answered: {answer.option}", over=True)
