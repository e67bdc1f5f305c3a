"""The attempts of one task instance: what was handed over, what became of it, and what may leave next.

The ledger lives in Airflow's task state store (``ledger_store.py`` says in which cells), never expires, and survives
retries, clears and the death of every process. It is a versioned JSON object, so that an upgraded package takes over
jobs in flight. Whoever may edit a task instance may edit the ledger too, so everything that is read is validated.

An attempt is at most one remote job. Attempt n+1 may leave only after n is closed, and an attempt is closed only by
proof or by a named person: :meth:`Ledger.next_move` is the one place that decides.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.errors import OrchestrationError

LEDGER_VERSION = 1
REJECTED = "rejected"
"""The kind of failure of an attempt whose work the system refused: its job never existed."""

KEY_LENGTH = 20
_FIRST = string.ascii_uppercase
_REST = string.ascii_uppercase + string.digits


def new_key() -> str:
    """Return a random delegation key: 20 characters that fit a z/OS user correlator, a file and a container name."""
    return secrets.choice(_FIRST) + "".join(secrets.choice(_REST) for _ in range(KEY_LENGTH - 1))


_KEY = re.compile(rf"[A-Z][A-Z0-9]{{{KEY_LENGTH - 1}}}")
_NUMBERS = ("try_number", "max_tries", "retries", "sends", "unsent", "waits", "missed", "heeded", "generation")
_TEXTS = ("work", "system", "sent", "stopping", "parked", "verdict", "kind", "message", "closed_by", "opened", "closed")


class AttemptState(StrEnum):
    """How far an attempt got."""

    INTENT = "intent"
    """Claimed; the job may or may not exist."""
    SUBMITTED = "submitted"
    """The job exists and its handle is known."""
    CLOSED = "closed"
    """Over, by proof or by a named person."""


class Verdict(StrEnum):
    """What a closed attempt came to."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt.

    :param number: 1, 2, 3 ... over the life of the task instance.
    :param key: the delegation key, written on the remote job.
    :param generation: counts the clears by people that led to a new attempt; retry rules count within one.
    :param work: digest of what is to be done.
    :param system: identity of the system that it was, or will be, handed to.
    :param try_number: Airflow's try that made the attempt.
    :param max_tries: Airflow's ``max_tries`` then; a clear changes it.
    :param retries: the task's ``retries`` then; tells a clear from an edit of the template.
    :param sends: the number of the newest announcement that the work is about to leave, of those that may have been
        true; more than one only for systems whose submit is protected. 0: nothing has ever left.
    :param unsent: the number of the newest announcement after which nothing left.
    :param sent: when it was sent last; "" means that nothing has ever left. ISO 8601, UTC.
    :param handle: where the job is.
    :param released: a two-phase job was released; if it is held now, somebody else holds it.
    :param waits: the newest of Airflow's tries that waited for the job without a worker.
    :param missed: the newest of Airflow's tries that failed by itself before it could wait for the job.
    :param heeded: the newest ``max_tries`` that a try took into account; a clear since changes it. 0: as it was made.
    :param stopping: why its end is asked for, "" when it is not: a person cleared the step while it waited.
    :param parked: why a person was asked, "" when nobody was.
    :param verdict: of a closed attempt; "" before.
    :param kind: of a failure, as retry rules name it.
    :param message: of a failure, the line that the task failed with.
    :param closed_by: ``system`` or ``person:<name>``.
    :param value: of a success, what the task returned.
    """

    number: int
    key: str
    generation: int = 1
    state: AttemptState = AttemptState.INTENT
    work: str = ""
    system: str = ""
    try_number: int = 1
    max_tries: int = 0
    retries: int = 0
    sends: int = 0
    unsent: int = 0
    sent: str = ""
    handle: JobHandle | None = None
    released: bool = False
    waits: int = 0
    missed: int = 0
    heeded: int = 0
    stopping: str = ""
    parked: str = ""
    verdict: str = ""
    kind: str = ""
    message: str = ""
    closed_by: str = ""
    value: Mapping[str, Any] = field(default_factory=dict)
    opened: str = ""
    closed: str = ""

    @property
    def sent_at(self) -> datetime | None:
        """When the work was sent last, aware UTC."""
        return datetime.fromisoformat(self.sent) if self.sent else None

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON form, without what is empty."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "handle"}
        plain["state"] = self.state.value
        plain["value"] = dict(self.value)
        if self.handle is not None:
            plain["handle"] = self.handle.to_json()
        return {name: value for name, value in plain.items() if value not in ("", None, {}, False)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Attempt:
        """Read the plain JSON form; fields of a later version are refused, not dropped."""
        unknown = set(data) - set(cls.__slots__)
        if unknown:
            raise ValueError(f"unknown fields {sorted(unknown)}")
        handle = data.get("handle")
        numbers: dict[str, Any] = {
            name: int(data.get(name, 0))
            for name in (
                "try_number",
                "max_tries",
                "retries",
                "sends",
                "unsent",
                "waits",
                "missed",
                "heeded",
                "generation",
            )
        }
        texts: dict[str, Any] = {name: str(data.get(name, "")) for name in _TEXTS}
        attempt = cls(
            number=int(data["number"]),
            key=str(data["key"]),
            state=AttemptState(data["state"]),
            handle=JobHandle.from_json(handle) if handle is not None else None,
            value=dict(data.get("value") or {}),
            released=bool(data.get("released", False)),
            **numbers,
            **texts,
        )
        if not _KEY.fullmatch(attempt.key):
            # It becomes a part of names on other systems, paths among them.
            raise ValueError(f"attempt {attempt.number} has the key {attempt.key!r}, which is no delegation key")
        if attempt.handle is not None and attempt.handle.key != attempt.key:
            raise ValueError(f"attempt {attempt.number} has another key than its job")
        if attempt.sent_at is not None and attempt.sent_at.tzinfo is None:
            raise ValueError(f"attempt {attempt.number} was sent at {attempt.sent!r}, which has no time zone")
        if attempt.sends > 0 and attempt.sent_at is None:
            raise ValueError(f"attempt {attempt.number} was sent {attempt.sends} times, but does not say when")
        if attempt.state is AttemptState.SUBMITTED and attempt.handle is None:
            raise ValueError(f"attempt {attempt.number} is submitted but has no handle")
        if attempt.state is AttemptState.CLOSED and attempt.verdict not in set(Verdict):
            raise ValueError(f"attempt {attempt.number} is closed but has no verdict")
        return attempt


@dataclass(frozen=True, slots=True)
class RetryRule:
    """When a failed job may be run again.

    :param on: the kinds of failure (:class:`~airflow_enterprise_orch.errors.JobFailed`).
    :param times: how many more attempts.
    :param delay: seconds before the next one.
    """

    on: tuple[str, ...]
    times: int
    delay: float = 60.0

    KINDS = ("failed", "abended", "cancelled", "lost", "timed_out")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RetryRule:
        """Read ``{"on": [...], "times": n, "delay": seconds}``; :raises ValueError: when it is not one."""
        on = tuple(data.get("on") or ())
        unknown = [kind for kind in on if kind not in cls.KINDS]
        if not on or unknown:
            raise ValueError(f"retry: on must name some of {', '.join(cls.KINDS)}, not {unknown or 'nothing'}")
        rule = cls(on, int(data.get("times", 1)), float(data.get("delay", 60.0)))
        if rule.times < 1 or rule.delay < 0:
            raise ValueError("retry: times must be at least 1 and delay must not be negative")
        return rule


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


def cleared_since(attempt: Attempt, now: TaskTry) -> Cleared:
    """Tell a person's clear from Airflow's own retry.

    A clear sets ``max_tries = try_number + retries``, which is above every value that it had before as long as
    ``retries`` is the same. After an edit of ``retries`` the number alone proves nothing either way.
    """
    if now.retries != attempt.retries:
        return Cleared.UNSURE
    return Cleared.NO if now.max_tries == attempt.max_tries else Cleared.YES


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


class LedgerBroken(OrchestrationError):
    """What the task state store holds is no ledger that this version can read."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """All attempts of one task instance, oldest first."""

    attempts: tuple[Attempt, ...] = ()

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
        return {"version": LEDGER_VERSION, "attempts": [attempt.to_json() for attempt in self.attempts]}

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
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise LedgerBroken(
                f"the newest 'orch.ledger' in the task state store is no ledger of delegated jobs: {error}; nothing "
                f"was handed over: restore the value, or install the package version that wrote it, then clear the task"
            ) from error
        return cls(attempts)

    def with_attempt(self, attempt: Attempt) -> Ledger:
        """Return the ledger with ``attempt`` added, or in place of the one with its number."""
        if attempt.number == len(self.attempts) + 1:
            return Ledger((*self.attempts, attempt))
        return Ledger(tuple(attempt if known.number == attempt.number else known for known in self.attempts))

    def recalled(self, sent: Attempt) -> Ledger:
        """Return the ledger with what is known of an attempt whose work was about to leave.

        :param sent: the attempt as it was written right before. An attempt that the ledger does not know, or knows
            under a key that never left, was forgotten by a late write of an earlier try: it is restored.
        """
        if sent.number == len(self.attempts) + 1:
            # It was claimed, so the one before it had been closed.
            before = self.attempts[:-1] + ((_forgotten(self.attempts[-1]),) if self.attempts else ())
            return Ledger((*before, sent))
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
        cleared = cleared_since(last, now)
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
                used = sum(
                    1
                    for attempt in self.attempts
                    if attempt.generation == failed.generation
                    and attempt.verdict == Verdict.FAILURE
                    and attempt.kind in rule.on
                )
                return rule if used <= rule.times else None
        return None


def attempt_from_store(data: object, number: int) -> Attempt | None:
    """Read one attempt that was kept for itself; :raises LedgerBroken: when it is none."""
    if data is None:
        return None
    try:
        if not isinstance(data, Mapping):
            raise TypeError("it is not an object")
        attempt = Attempt.from_json(data)
        if attempt.number != number:
            raise ValueError(f"it is attempt {attempt.number}")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise LedgerBroken(
            f"the task state store's record of what was sent in attempt {number} cannot be read: {error}; nothing "
            f"was handed over: restore the value, or install the package version that wrote it, then clear the task"
        ) from error
    return attempt


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


def closed(
    attempt: Attempt,
    verdict: Verdict,
    *,
    at: datetime,
    by: str = "system",
    kind: str = "",
    message: str = "",
    value: Mapping[str, Any] | None = None,
) -> Attempt:
    """Return the attempt closed.

    A failure keeps the counters of the try that began it, so that a clear while it was open counts as the wish to run
    the work again.
    """
    return replace(
        attempt,
        state=AttemptState.CLOSED,
        verdict=verdict.value,
        closed_by=by,
        kind=kind,
        message=message,
        value=dict(value or {}),
        closed=at.astimezone(UTC).isoformat(),
    )
