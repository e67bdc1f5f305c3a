"""One attempt: what was handed over, where it is, and how it ended. It becomes at most one remote job."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.errors import OrchestrationError

REJECTED = "rejected"
"""The kind of failure of an attempt whose work the system refused: its job never existed."""

KEY_LENGTH = 20
_FIRST = string.ascii_uppercase
_REST = string.ascii_uppercase + string.digits
_KEY = re.compile(rf"[A-Z][A-Z0-9]{{{KEY_LENGTH - 1}}}")
_NUMBERS = ("try_number", "max_tries", "retries", "sends", "unsent", "waits", "missed", "heeded", "generation",
            "paused_for")  # fmt: skip
_TEXTS = ("work", "system", "sent", "stopping", "parked", "verdict", "kind", "message", "closed_by", "opened", "closed",
          "holding", "hold_sent", "paused")  # fmt: skip


class LedgerBroken(OrchestrationError):
    """What the task state store holds is no ledger that this version can read."""


def new_key() -> str:
    """Return a random delegation key: 20 characters that fit a z/OS user correlator, a file and a container name."""
    return secrets.choice(_FIRST) + "".join(secrets.choice(_REST) for _ in range(KEY_LENGTH - 1))


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
    :param holding: id of the wish because of which we hold the job over there, or are about to; "" when we do not.
    :param hold_sent: when its hold was asked for last; until it has settled it may still take effect. ISO 8601, UTC.
    :param paused: since when a person holds the job, "" when nobody does; its time limit does not count then.
    :param paused_for: for how many seconds it was held before.
    :param parked: why a person was asked, "" when nobody was.
    :param verdict: of a closed attempt; "" before.
    :param kind: of a failure, as retry rules name it.
    :param message: of a failure, the line that the task failed with.
    :param closed_by: ``system`` or ``person:<name>``.
    :param value: of a success, what the task returned; of a job that failed, its ``rc`` and ``code``.
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
    holding: str = ""
    hold_sent: str = ""
    paused: str = ""
    paused_for: int = 0
    parked: str = ""
    verdict: str = ""
    kind: str = ""
    message: str = ""
    closed_by: str = ""
    value: Mapping[str, Any] = field(default_factory=dict)
    opened: str = ""
    closed: str = ""

    @property
    def code(self) -> str:
        """The result of a closed attempt's job in the system's own words; "" when it left none that was read."""
        return str(self.value.get("code") or "")

    @property
    def rc(self) -> int | None:
        """The numeric return code of a closed attempt's job, where there is one."""
        rc = self.value.get("rc")
        return rc if isinstance(rc, int) and not isinstance(rc, bool) else None

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
        numbers: dict[str, Any] = {name: int(data.get(name, 0)) for name in _NUMBERS}
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
