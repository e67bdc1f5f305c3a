"""The attempts of one task instance: what was handed over, what became of it, and what may leave next.

The ledger lives in Airflow's task state store (``ledger_store.py`` says in which cells), never expires, and survives
retries, clears and the death of every process. It is a versioned JSON object, so that an upgraded package takes over
jobs in flight. Whoever may edit a task instance may edit the ledger too, so everything that is read is validated.

An attempt is at most one remote job. Attempt n+1 may leave only after n is closed, and an attempt is closed only by
proof or by a named person: :meth:`Ledger.next_move` is the one place that decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from airflow_enterprise_orch.delegation.answers import Answered
from airflow_enterprise_orch.delegation.attempt import REJECTED, Attempt, AttemptState, LedgerBroken, Verdict, closed

LEDGER_VERSION = 1
RULE_DELAY = 60.0
"""Seconds that a retry rule waits which names no delay."""
MOST_ANSWERS = 12
"""Answers that a ledger keeps."""
LONGEST_WAIT = 86400.0
"""Seconds that a backoff without a limit of its own comes to at most."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """When a failed job may be run again.

    :param on: the kinds of failure (:class:`~airflow_enterprise_orch.errors.JobFailed`).
    :param times: how many more attempts.
    :param delay: seconds before the first of them.
    :param backoff: how many times as long each further wait is.
    :param max_delay: seconds that no wait is longer than; None for no such limit.
    """

    on: tuple[str, ...]
    times: int
    delay: float = RULE_DELAY
    backoff: float = 1.0
    max_delay: float | None = None

    KINDS = ("failed", "abended", "cancelled", "lost", "timed_out")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RetryRule:
        """Read ``{"on": [...], "times": n, "delay": seconds}``; :raises ValueError: when it is not one."""
        on = tuple(data.get("on") or ())
        unknown = [kind for kind in on if kind not in cls.KINDS]
        if not on or unknown:
            raise ValueError(f"retry: on must name some of {', '.join(cls.KINDS)}, not {unknown or 'nothing'}")
        longest = data.get("max_delay")
        rule = cls(
            on,
            int(data.get("times", 1)),
            float(data.get("delay", RULE_DELAY)),
            float(data.get("backoff", 1.0)),
            float(longest) if longest is not None else None,
        )
        if rule.times < 1 or rule.delay < 0:
            raise ValueError("retry: times must be at least 1 and delay must not be negative")
        if rule.backoff < 1 or (rule.max_delay is not None and rule.max_delay < rule.delay):
            raise ValueError("retry: backoff must be at least 1 and max_delay at least delay")
        return rule

    def wait(self, used: int) -> timedelta:
        """Return how long to wait before the next attempt.

        :param used: how many attempts of its kinds have failed, from 1.
        """
        # A hundred attempts at ten times each: the power itself would be no number any more.
        grown = self.delay * self.backoff ** min(used - 1, 30)
        longest = max(LONGEST_WAIT, self.delay) if self.max_delay is None else self.max_delay
        return timedelta(seconds=min(grown, longest))


@dataclass(frozen=True, slots=True)
class TaskTry:
    """What Airflow says of the try that is running.

    :param try_number: counts from 1, over clears too.
    :param max_tries: set to ``try_number + retries`` by a clear of a finished task.
    :param retries: as the task has it now.
    """

    try_number: int
    max_tries: int
    retries: int


class Cleared(StrEnum):
    """Did a person clear the task since an attempt was made?"""

    NO = "no"
    YES = "yes"
    UNSURE = "unsure"


def counters_changed(then: TaskTry | Attempt, now: TaskTry) -> Cleared:
    """Tell a person's clear from Airflow's own retry by what Airflow counted then and counts now.

    A clear sets ``max_tries = try_number + retries``, which is above every value that it had before as long as
    ``retries`` is the same. After an edit of ``retries`` the number alone proves nothing either way.
    """
    if now.retries != then.retries:
        return Cleared.UNSURE
    return Cleared.NO if now.max_tries == then.max_tries else Cleared.YES


@dataclass(frozen=True, slots=True)
class Begin:
    """Make attempt ``number`` and hand it over."""

    number: int
    generation: int


@dataclass(frozen=True, slots=True)
class Continue:
    """An attempt is open: find its job, and hand it over only if that is provably still to be done."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Attach:
    """An attempt's job is known: watch it."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Reuse:
    """The job ended well and nobody asked to run it again."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class FailAgain:
    """The job ended badly and no rule and nobody allows to run it again."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Airflow cannot say whether a person cleared the task or a retry runs: a person must."""

    attempt: Attempt


Move = Begin | Continue | Attach | Reuse | FailAgain | AskAgain


@dataclass(frozen=True, slots=True)
class Ledger:
    """All attempts of one task instance, oldest first.

    :param answers: what people answered to questions about them, oldest first, the newest :data:`MOST_ANSWERS`. Ledgers
        of older packages have none.
    """

    attempts: tuple[Attempt, ...] = ()
    answers: tuple[Answered, ...] = ()

    @property
    def last(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def is_open(self) -> bool:
        """An attempt is open: its job may be out there."""
        return self.last is not None and self.last.state is not AttemptState.CLOSED

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        answers = {"answers": [answer.to_json() for answer in self.answers]} if self.answers else {}
        return {"version": LEDGER_VERSION, "attempts": [attempt.to_json() for attempt in self.attempts], **answers}

    @classmethod
    def from_json(cls, data: object) -> Ledger:
        """Read what the store holds; nothing stored is an empty ledger.

        :raises LedgerBroken: in one line that says what is wrong and what to do.
        """
        if data is None:
            return cls()
        try:
            if not isinstance(data, Mapping):
                raise TypeError("it is not an object")
            version = data.get("version")
            if version != LEDGER_VERSION:
                raise ValueError(f"its version is {version!r}, this package reads {LEDGER_VERSION}")
            attempts = tuple(Attempt.from_json(entry) for entry in data["attempts"])
            if [attempt.number for attempt in attempts] != list(range(1, len(attempts) + 1)):
                raise ValueError("its attempts are not numbered 1, 2, 3 ...")
            if any(attempt.state is not AttemptState.CLOSED for attempt in attempts[:-1]):
                raise ValueError("an attempt before the last is open")
            answers = tuple(Answered.from_json(entry) for entry in data.get("answers", ()))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise LedgerBroken(
                f"the newest 'orch.ledger' in the task state store is no ledger of delegated jobs: {error}; nothing "
                f"was handed over: restore the value, or install the package version that wrote it, then clear the task"
            ) from error
        return cls(attempts, answers)

    def with_answer(self, answer: Answered) -> Ledger:
        """Return the ledger with one more answer; the oldest goes when there are too many."""
        return replace(self, answers=(*self.answers, answer)[-MOST_ANSWERS:])

    def with_attempt(self, attempt: Attempt) -> Ledger:
        """Return the ledger with ``attempt`` added, or in place of the one with its number."""
        if attempt.number == len(self.attempts) + 1:
            return replace(self, attempts=(*self.attempts, attempt))
        kept = tuple(attempt if known.number == attempt.number else known for known in self.attempts)
        return replace(self, attempts=kept)

    def recalled(self, sent: Attempt) -> Ledger:
        """Return the ledger with what is known of an attempt whose work was about to leave.

        :param sent: the attempt as it was written right before. An attempt that the ledger does not know, or knows
            under a key that never left, was forgotten by a late write of an earlier try: it is restored.
        """
        if sent.number == len(self.attempts) + 1:
            # It was claimed, so the one before it had been closed.
            before = self.attempts[:-1] + ((_forgotten(self.attempts[-1]),) if self.attempts else ())
            return replace(self, attempts=(*before, sent))
        known = self.attempts[sent.number - 1] if sent.number <= len(self.attempts) else None
        if known is not None and known.kind == REJECTED and known.key == sent.key and known.sends < sent.sends:
            # What was refused was sent again by a later try, and this refusal was written down late.
            return self.with_attempt(sent)
        if known is None or known.state is not AttemptState.INTENT:
            return self
        if known.key == sent.key and known.unsent == sent.sends:
            return self
        if known.key == sent.key:
            told = replace(known, sends=sent.sends, sent=sent.sent, system=sent.system, work=sent.work)
            return self.with_attempt(told)
        # Only one key is ever announced; the other one was claimed by a try that went no further.
        return self.with_attempt(sent) if not known.sends else self

    def next_move(self, now: TaskTry, rules: Sequence[RetryRule]) -> Move:
        """Decide what this try may do."""
        last = self.last
        if last is None:
            return Begin(1, 1)
        if last.state is AttemptState.INTENT:
            return Continue(last)
        if last.state is AttemptState.SUBMITTED:
            return Attach(last)
        cleared = counters_changed(last, now)
        if cleared is Cleared.UNSURE:
            return AskAgain(last)
        if cleared is Cleared.YES:
            return Begin(last.number + 1, last.generation + 1)
        if last.verdict != Verdict.FAILURE:
            return Reuse(last)
        if self.rule_for(last, rules) is not None:
            return Begin(last.number + 1, last.generation)
        return FailAgain(last)

    def rule_for(self, failed: Attempt, rules: Iterable[RetryRule]) -> RetryRule | None:
        """Return the rule that allows one more attempt after ``failed``, or None when none does any more."""
        for rule in rules:
            if failed.kind in rule.on:
                return rule if self.used(failed, rule) <= rule.times else None
        return None

    def used(self, failed: Attempt, rule: RetryRule) -> int:
        """Return how many attempts since the last clear failed in a way that ``rule`` is for."""
        return sum(
            1
            for attempt in self.attempts
            if attempt.generation == failed.generation
            and attempt.verdict == Verdict.FAILURE
            and attempt.kind in rule.on
        )


def cleared_while_waiting(attempt: Attempt, now: TaskTry) -> bool:
    """Tell whether a person cleared the step while it waited for the attempt's job, and nobody heeded it yet.

    A clear at try n sets ``max_tries = n + retries``. When that try had failed by itself, because the system was out of
    reach, say, the person repairs a step whose job may be well: nothing asks for its end. A try that died without a
    word counts as one that waited.
    """
    if not attempt.waits or now.retries != attempt.retries or now.max_tries == (attempt.heeded or attempt.max_tries):
        return False
    return attempt.missed != now.max_tries - now.retries


def _forgotten(attempt: Attempt) -> Attempt:
    if attempt.state is AttemptState.CLOSED:
        return attempt
    message = "a late write of an earlier try replaced the record of how it ended"
    done = replace(attempt, state=AttemptState.CLOSED, verdict=Verdict.FAILURE)
    return replace(done, kind="forgotten", closed_by="system", message=message)


def opened(move: Begin, now: TaskTry, key: str, at: datetime) -> Attempt:
    """Return the attempt that ``move`` begins."""
    return Attempt(
        number=move.number,
        key=key,
        generation=move.generation,
        try_number=now.try_number,
        max_tries=now.max_tries,
        retries=now.retries,
        opened=at.astimezone(UTC).isoformat(),
    )


def succeeded(attempt: Attempt, now: TaskTry, verdict: Verdict, value: Mapping[str, Any], at: datetime) -> Attempt:
    """Return the attempt closed as a success.

    It takes the counters of the try that saw the success: a clear that came while the job was still open has been
    answered by this success, and only a later clear runs the work anew.
    """
    done = closed(attempt, verdict, at=at, value=value)
    return replace(done, max_tries=now.max_tries, retries=now.retries)
