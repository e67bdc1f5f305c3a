"""A due time in the serialized DAG: a reference of Airflow's deadlines, so that Airflow itself notices what is late.

Airflow keeps one row per instance and deadline, and its scheduler hands the callback of each that passes to a
triggerer once. Its own references do not do: a logical date may be missing (such a run could not be created), the
queueing time of a backfill or of a late scheduler is not when the instance was due to begin, and none of them knows a
time of day. Airflow takes away the deadlines of an instance that succeeds in time; the callback asks whether it, or the
step, is over.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.definitions.deadline import BaseDeadlineReference

from airflow_enterprise_orch.due import due_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

REFERENCE_VERSION = 1


class DueReference(BaseDeadlineReference):
    """When an instance, or a step of it, must be over.

    :param due: as :func:`airflow_enterprise_orch.due.due_at` reads it.
    :param step: the step; "" for the whole instance.
    """

    required_kwargs: ClassVar[set[str]] = {"dag_id", "run_id"}

    def __init__(self, due: Mapping[str, Any] | None = None, step: str = "") -> None:
        self.due = dict(due or {})
        self.step = step

    def serialize_reference(self) -> dict[str, Any]:
        """Return the plain JSON form: what ``deadline_alert.reference`` holds in Airflow's database."""
        return {"reference_type": self.reference_name, "version": REFERENCE_VERSION, "due": self.due, "step": self.step}

    @classmethod
    def deserialize_reference(cls, reference_data: dict[str, Any]) -> DueReference:
        """Read the plain JSON form."""
        return cls(reference_data["due"], reference_data["step"])

    def _evaluate_with(self, *, session: Session, dag_id: str, run_id: str) -> datetime | None:
        """Return when it is due; None for a backfill, which makes up for a day that is long over."""
        from airflow.models import DagRun
        from sqlalchemy import select

        found = session.execute(
            select(DagRun.run_after, DagRun.logical_date, DagRun.run_type).where(
                DagRun.dag_id == dag_id, DagRun.run_id == run_id
            )
        ).one_or_none()
        if found is None or found.run_type == "backfill":
            return None
        return due_at(self.due, run_after=_aware(found.run_after), logical_date=found.logical_date)

    def __hash__(self) -> int:
        """Return a hash that equal references share; the base class cannot hash what holds keys."""
        return hash((self.reference_name, self.step))


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
