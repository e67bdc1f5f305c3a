"""What a person answered about a parked step, and how the ledger keeps it. Pure: it knows no Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_enterprise_orch.errors import OrchestrationError

JOB_ID = "job_id"
REASON = "reason"
LONGEST = 300
"""Characters that the ledger keeps of a reason, a name or an id."""


class AnswerInvalid(OrchestrationError):
    """The answer cannot be used; the question is asked again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person answered.

    :param by: who, as Airflow authenticated them.
    """

    option: str
    by: str
    job_id: str = ""
    reason: str = ""

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Answer:
        """Read what Airflow resumes a parked task with; :raises AnswerInvalid: when it is not one answer."""
        chosen = event.get("chosen_options") or []
        if len(chosen) != 1:
            raise AnswerInvalid(f"one answer is needed, {len(chosen)} were given")
        user = event.get("responded_by_user") or {}
        given = event.get("params_input") or {}
        by = (user.get("name") or user.get("id")) if isinstance(user, Mapping) else str(user)
        return cls(
            str(chosen[0]),
            str(by or "unknown"),
            str(given.get(JOB_ID) or "").strip(),
            str(given.get(REASON) or "").strip(),
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer as the ledger keeps it.

    :param at: ISO 8601, UTC.
    :param attempt: the number of the attempt that the question was about.
    :param job_id: of the job that was to be adopted.
    """

    at: str
    by: str
    option: str
    attempt: int
    job_id: str = ""
    reason: str = ""

    @classmethod
    def of(cls, answer: Answer, attempt: int, at: datetime) -> Answered:
        """Return the record of an answer; of long words the beginning."""
        when = at.astimezone(UTC).isoformat()
        return cls(when, answer.by[:LONGEST], answer.option, attempt, answer.job_id[:LONGEST], answer.reason[:LONGEST])

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON form, without what is empty."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name))}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Answered:
        """Read the plain JSON form; fields of a later version are refused, not dropped."""
        unknown = set(data) - set(cls.__slots__)
        if unknown:
            raise ValueError(f"an answer has the unknown fields {sorted(unknown)}")
        texts = {name: str(data.get(name, "")) for name in ("job_id", "reason")}
        return cls(str(data["at"]), str(data["by"]), str(data["option"]), int(data["attempt"]), **texts)
