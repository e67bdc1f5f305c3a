"""What asking a person comes to: an answer, by whom and when, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Answered:
    """Who answered, and when.

    :param by: the person's name, or ``nobody`` when the time limit decided.
    :param by_id: as Airflow's auth manager has it.
    :param at: ISO 8601, UTC.
    """

    by: str
    by_id: str
    at: str
    timed_out: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as it is kept."""
        return asdict(self)


def check_answered(what: str, within: float | None, event: Mapping[str, Any]) -> None:
    """Fail for good when there is no answer.

    :param what: who asked, for people: ``approval 'release'``.
    :param within: the seconds that it waited.
    :param event: what Airflow resumed the task with.
    :raises AirflowFailException: in one line.
    """
    if "error" not in event:
        return
    if event.get("error_type") == "timeout":
        raise AirflowFailException(
            f"{what}: nobody answered within {timedelta(seconds=within or 0)}; clear the step to ask again"
        )
    raise AirflowFailException(
        f"{what}: Airflow could not take the answer: {event['error']}; clear the step to ask again"
    )


def answered(event: Mapping[str, Any]) -> Answered:
    """Return who answered."""
    user = event.get("responded_by_user") or {}
    at = event.get("responded_at") or datetime.now(UTC)
    return Answered(
        by=str(user.get("name") or user.get("id") or NOBODY),
        by_id=str(user.get("id") or ""),
        at=at.astimezone(UTC).isoformat(),
        timed_out=bool(event.get("timedout", False)),
    )
