"""Asking a person what only a person can know, in Airflow's Required Actions.

A parked step is in Airflow's state ``awaiting_input``: no worker slot, no trigger, no default and no time-out. What is
known stands in the question, and the answer is kept with the name of who gave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_enterprise_orch.errors import OrchestrationError

if TYPE_CHECKING:
    from airflow.sdk import Context

ADOPT = "Adopt the job with this id"
SUBMIT = "It did not run: hand it over"
DID_NOT_RUN = "It did not run"
FAIL = "Fail the step"
SUCCEEDED = "The job succeeded"
LOOK_AGAIN = "Look again"
RUN_AGAIN = "Run it again"
KEEP = "Keep the result"

AFTER_SUBMIT = (LOOK_AGAIN, ADOPT, SUBMIT, FAIL)
AFTER_WITHDRAWAL = (LOOK_AGAIN, ADOPT, DID_NOT_RUN, FAIL)
"""It is not wanted any more, so nothing is handed over when it did not run."""
AFTER_RESULT = (LOOK_AGAIN, SUCCEEDED, FAIL)
AFTER_EDIT = (RUN_AGAIN, KEEP)

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


def park(context: Context, *, subject: str, question: str, options: tuple[str, ...], key: str = "") -> NoReturn:
    """Ask, and leave the worker; the answer resumes the operator's ``answered``.

    :param subject: one line for the list of Required Actions.
    :param key: of the attempt that the question is about: an answer counts for no other.
    """
    from airflow.sdk import Param
    from airflow.sdk.exceptions import TaskAwaitingInput
    from airflow.sdk.execution_time.hitl import upsert_hitl_detail

    params = {REASON: Param("", type="string", title="Reason", description="Why; kept with your name.")}
    if ADOPT in options:
        params[JOB_ID] = Param(None, type=["null", "string"], title="Job id", description=f"Only for {ADOPT!r}.")
    upsert_hitl_detail(
        ti_id=context["ti"].id,
        options=list(options),
        subject=subject,
        body=question,
        defaults=None,
        multiple=False,
        params={name: param.serialize() for name, param in params.items()},
    )
    raise TaskAwaitingInput(method_name="answered", kwargs={"asked": list(options), "key": key}, timeout=None)
