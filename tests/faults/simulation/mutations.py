"""Ways to break the code under test, each of which the simulation must notice: applied from outside, by patching."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from airflow_enterprise_orch.delegation import conduct, waiting
from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, Verdict, closed
from airflow_enterprise_orch.delegation.holding import NOT_HELD, Holding, Standing
from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Phase
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import LedgerStore, sent_cell
from airflow_enterprise_orch.delegation.obeying import Obedience
from airflow_enterprise_orch.delegation.outcome import Judgement, OutcomeRules
from airflow_enterprise_orch.delegation.submission import Submission
from airflow_enterprise_orch.delegation.system import Found, Protection
from airflow_enterprise_orch.delegation.wished import Wished
from airflow_enterprise_orch.errors import AnswerLost

from . import remote
from .store import SimulatedCells

Patch = tuple[object, str, Any]


def _skip_find() -> list[Patch]:
    """What ``find`` sees is not believed: the work is sent again."""

    async def look(self: Submission, ledger: Ledger, attempt: Attempt) -> Found | None:
        await self.system.find(attempt.key)
        return None

    return [(Submission, "_look", look)]


def _no_second_claim() -> list[Patch]:
    """That the work is about to leave is not written down."""

    def announce(self: LedgerStore, attempt: Attempt) -> None:
        self.ledger = self.ledger.with_attempt(attempt)

    return [(LedgerStore, "announce", announce)]


def _no_read_back() -> list[Patch]:
    """It is written down, but not proven that this try still may."""

    def announce(self: LedgerStore, attempt: Attempt) -> None:
        self.ledger = self.ledger.with_attempt(attempt)
        self.cells.set(sent_cell(attempt.number, self.now.try_number), attempt.to_json())

    return [(LedgerStore, "announce", announce)]


def _no_recall() -> list[Patch]:
    """What was sent is not looked up when the ledger has forgotten it."""
    return [(LedgerStore, "recall", lambda _self: None)]


def _trust_on_kill() -> list[Patch]:
    """A trigger's on_kill always cancels, as if only people could bring it about."""
    return [(waiting, "kill_cancels", lambda _state: True)]


def _no_settle() -> list[Patch]:
    """A request that may still land is not waited for."""
    impatient = {
        protection: replace(capabilities, settle=timedelta(0))
        for protection, capabilities in remote.CAPABILITIES.items()
    }
    return [(remote, "CAPABILITIES", impatient)]


def _release_any() -> list[Patch]:
    """Each reader chooses for itself which held copy runs, and does not keep to what was written down."""
    from_elect = Submission._elect
    readers = [0]

    def elect(self: Submission, found: Found, ledger: Ledger, attempt: Attempt) -> Any:
        readers[0] += 1
        held = [candidate for candidate in found.candidates if candidate.held]
        return held[readers[0] % len(held)] if held else from_elect(self, found, ledger, attempt)

    return [(Submission, "_elect", elect), *_release_before_persist()]


def _release_before_persist() -> list[Patch]:
    """A held job is released before its handle is written down."""
    save = Submission._save

    def late(self: Submission, ledger: Ledger, attempt: Attempt) -> Ledger:
        if attempt.state is AttemptState.SUBMITTED and not attempt.released:
            return ledger.with_attempt(attempt)
        return save(self, ledger, attempt)

    async def lets_run(self: Holding, submission: Submission) -> Standing:
        # In this world nobody holds a job over there: that needs its handle in the ledger.
        await submission.let_run(self.conduct.store.ledger)
        return NOT_HELD

    return [(Submission, "_save", late), (Holding, "settle", lets_run)]


def _retry_unprotected() -> list[Patch]:
    """An unanswered submit to an unprotected system is sent again, as if absence were a proof there."""
    look = Submission._look

    async def bold(self: Submission, ledger: Ledger, attempt: Attempt) -> Found | None:
        if self.system.capabilities.protection is Protection.UNPROTECTED:
            sighting = await self.system.find(attempt.key)
            return sighting if isinstance(sighting, Found) else None
        return await look(self, ledger, attempt)

    return [(Submission, "_look", bold)]


def _believe_release() -> list[Patch]:
    """A release is taken to have worked because it was asked for."""

    async def release(self: Submission, handle: JobHandle) -> None:
        with suppress(AnswerLost):
            await self.system.release(handle)

    return [(Submission, "release", release)]


def _believe_the_best() -> list[Patch]:
    """A result that nobody can prove is taken for a success."""
    judge = OutcomeRules.judge

    def lenient(self: OutcomeRules, result: JobResult) -> Judgement:
        return Judgement(Verdict.SUCCESS) if result.ending is Ending.UNKNOWN else judge(self, result)

    return [(OutcomeRules, "judge", lenient)]


def _no_fence() -> list[Patch]:
    """A try that lost the task instance can still write and read the ledger."""
    begin = SimulatedCells.__init__

    def unfenced(self: SimulatedCells, schedule: Any, stored: Any, owns: Any) -> None:
        begin(self, schedule, stored, lambda: True)

    return [(SimulatedCells, "__init__", unfenced)]


def _clear_is_forgotten() -> list[Patch]:
    """A clear of a waiting step is left to the trigger, which may never have started."""
    return [
        (conduct, "cleared_while_waiting", lambda _attempt, _now: False),
        (waiting, "kill_cancels", lambda _state: False),
        (Ledger, "next_move", _without_clears(Ledger.next_move)),
    ]


def _without_clears(next_move: Callable[..., Any]) -> Callable[..., Any]:
    def blind(self: Ledger, now: Any, rules: Any) -> Any:
        last = self.last
        return next_move(self, now if last is None else replace(now, max_tries=last.max_tries), rules)

    return blind


def _begin_while_open() -> list[Patch]:
    """A retry makes a new attempt, as most operators do."""
    next_move = Ledger.next_move

    def eager(self: Ledger, now: Any, rules: Any) -> Any:
        last = self.last
        if last is not None and last.state is AttemptState.SUBMITTED and last.try_number < now.try_number:
            return conduct.Begin(last.number + 1, last.generation)
        return next_move(self, now, rules)

    return [(Ledger, "next_move", eager)]


def _end_without_cancel() -> list[Patch]:
    """A step that is to be skipped ends at once, whatever its job does."""

    async def ends(self: Wished, end: Any) -> Any:
        return self.over(end)

    return [(Wished, "_ends", ends)]


def _believe_cancel() -> list[Patch]:
    """A cancel is taken to have worked because it was asked for."""

    async def bring_down(self: Wished, attempt: Attempt, _end: Any) -> None:
        if attempt.handle is not None:
            async with self.conduct.site.open() as system:
                with suppress(AnswerLost):
                    await system.cancel(attempt.handle)
        now = self.conduct.clock.now()
        self.conduct.store.save(closed(attempt, Verdict.FAILURE, at=now, kind="cancelled", message="asked for"))

    return [(Wished, "_bring_down", bring_down)]


def _absent_is_never() -> list[Patch]:
    """Work that was sent and is not to be seen is taken for work that never arrives."""

    async def withdraw(self: Submission, ledger: Ledger, attempt: Attempt) -> Ledger:
        sighting = await self.system.find(attempt.key)
        if isinstance(sighting, Found):
            return await real(self, ledger, attempt)
        never = closed(attempt, Verdict.FAILURE, at=self.clock.now(), kind="cancelled", message="not seen")
        return self._save(ledger, never)

    real = Submission.withdraw
    return [(Submission, "withdraw", withdraw)]


def _hold_is_late() -> list[Patch]:
    """A hold is forgotten when the work may have been sent before."""
    hold = Wished._hold

    async def forgetful(self: Wished, wish: Any) -> Any:
        return None if self.conduct.store.may_be_out_there else await hold(self, wish)

    return [(Wished, "_hold", forgetful)]


def _obey_for_ever() -> list[Patch]:
    """A wish is obeyed again after a person cleared the step to run it."""
    return [(Obedience, "applies", lambda _self, _wish, _begun=0: True)]


def _obey_once() -> list[Patch]:
    """A wish that was obeyed binds no later try, whoever asked for that."""
    return [(Obedience, "applies", lambda self, wish, _begun=0: self.newest(wish) is None)]


def _unsigned() -> list[Patch]:
    """That a wish was obeyed is not written down."""
    return [(Obedience, "mark", lambda *_arguments, **_more: None)]


def _hold_is_a_clear() -> list[Patch]:
    """The clear by which a hold makes its step look is taken for a wish that the job ends."""
    return [(Holding, "answers_the_clear", property(lambda _self: False))]


def _clear_kills() -> list[Patch]:
    """A trigger whose task was cleared cancels the job, whatever the clear was for."""
    real = waiting.kill_cancels
    return [(waiting, "kill_cancels", lambda state: state == waiting.CLEARED or real(state))]


def _believe_hold() -> list[Patch]:
    """A hold is taken to have worked because it was asked for."""
    state = Holding._state

    async def believed(self: Holding, submission: Submission, *, settles: bool = True) -> Any:
        seen = await state(self, submission, settles=settles)
        return JobStatus(Phase.HELD) if self._hold is not None and self._last.hold_sent else seen

    return [(Holding, "_state", believed)]


def _lift_any_hold() -> list[Patch]:
    """Taking a hold back releases the job, whoever holds it."""
    let_go = Holding._let_it_go

    async def lift(self: Holding, submission: Submission, word: Any) -> Standing:
        self.wishes = replace(self.wishes, release=word)
        return await let_go(self, submission, word)

    return [(Holding, "_let_it_go", lift)]


def _hold_for_ever() -> list[Patch]:
    """What was held over there is not let go when its hold is taken back."""

    async def nothing(self: Holding, _submission: Submission, word: Any) -> Standing:
        self._save(holding="", hold_sent="")
        if word is not None:
            self.conduct.wished.mark(word, "released", state="released")
        return NOT_HELD

    return [(Holding, "_let_it_go", nothing)]


MUTATIONS: dict[str, Callable[[], list[Patch]]] = {
    "skip_find": _skip_find,
    "no_second_claim": _no_second_claim,
    "no_read_back": _no_read_back,
    "no_recall": _no_recall,
    "trust_on_kill": _trust_on_kill,
    "no_settle": _no_settle,
    "release_any": _release_any,
    "retry_unprotected": _retry_unprotected,
    "believe_release": _believe_release,
    "believe_the_best": _believe_the_best,
    "no_fence": _no_fence,
    "clear_is_forgotten": _clear_is_forgotten,
    "begin_while_open": _begin_while_open,
    "end_without_cancel": _end_without_cancel,
    "believe_cancel": _believe_cancel,
    "absent_is_never": _absent_is_never,
    "hold_is_late": _hold_is_late,
    "obey_for_ever": _obey_for_ever,
    "obey_once": _obey_once,
    "unsigned": _unsigned,
    "hold_is_a_clear": _hold_is_a_clear,
    "clear_kills": _clear_kills,
    "believe_hold": _believe_hold,
    "lift_any_hold": _lift_any_hold,
    "hold_for_ever": _hold_for_ever,
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Run with one mutation; "" is none."""
    patches = [patch.object(target, attribute, made) for target, attribute, made in MUTATIONS[name]()] if name else []
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in reversed(patches):
            each.stop()
