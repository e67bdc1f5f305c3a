"""A schedule by working days, and none any more, as timetables of Airflow's.

Registered by the plugin, so that the scheduler, the DAG processor and the API server can read it. It is written into
the DAG whole: the working days are dates, and no file and no library is needed where it is read. A run's logical date
and data interval are the moment for which it was planned.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import pendulum
from airflow.timetables.base import DagRunInfo, DataInterval, Timetable

from airflow_enterprise_orch.value_stream.recurrence import Recurrence
from airflow_enterprise_orch.value_stream.schedule_words import in_words

if TYPE_CHECKING:
    from airflow.models.dag import DagModel
    from airflow.timetables.base import TimeRestriction
    from pendulum import DateTime

log = logging.getLogger(__name__)

CatchUp = Literal["none", "latest", "all"]
TIMETABLE_VERSION = 1
LATE = timedelta(hours=1)
"""How late a run may begin and yet be no missed one: Airflow asks again for runs that are due already."""


class _OfMoments(Timetable):
    """A run is for a moment, and the schedule is told in words of ours."""

    @property
    def summary(self) -> str:
        """What Airflow's UI shows as the schedule."""
        return self.description

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        """Return the moment itself: a run that a person starts is for the moment at which it may begin."""
        return DataInterval.exact(run_after)


class WorkingDayTimetable(_OfMoments):
    """Runs by cron, by interval or by the nth working day, on the days that a calendar has open.

    :param recurrence: when it runs.
    :param catch_up: which of the runs that were missed are made up for: ``none``, the ``latest``, or ``all``.
    """

    def __init__(self, recurrence: Recurrence, catch_up: CatchUp = "latest") -> None:
        self.recurrence = recurrence
        self.catch_up = catch_up
        self.description = in_words(recurrence)

    def serialize(self) -> dict[str, Any]:
        """Return all that it is, as JSON."""
        return {"version": TIMETABLE_VERSION, **self.recurrence.to_json(), "catch_up": self.catch_up}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> WorkingDayTimetable:
        """Read what :meth:`serialize` returned, in whatever process."""
        rest = {name: value for name, value in data.items() if name not in ("version", "catch_up")}
        if data["version"] != TIMETABLE_VERSION:
            raise ValueError(
                f"the schedule was written by another version of this package (form {data['version']}, this one reads "
                f"{TIMETABLE_VERSION}); install the same version in all processes of Airflow"
            )
        return cls(Recurrence.from_json(rest), data["catch_up"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WorkingDayTimetable) and self.serialize() == other.serialize()

    def __hash__(self) -> int:
        return hash((self.recurrence, self.catch_up))

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return the next run; None when there is none, or the calendar's years are over."""
        last = _plain(last_automated_data_interval.end) if last_automated_data_interval is not None else None
        earliest = _plain(restriction.earliest) if restriction.earliest is not None else None
        found = self._next(last, earliest, catch_up="all" if restriction.catchup else self.catch_up)
        if found is None:
            days = self.recurrence.days
            if days is not None:
                log.warning(
                    "calendar %r covers no day after %s: the schedule (%s) stops until the calendar is carried on",
                    days.name,
                    days.last,
                    self.description,
                )
            return None
        if restriction.latest is not None and found > restriction.latest:
            return None
        return DagRunInfo.exact(pendulum.instance(found))

    def next_run_info_from_dag_model(self, *, dag_model: DagModel) -> DagRunInfo | None:
        """Return the run that Airflow noted as the next one; a later one when that was missed and is not made up for.

        After an outage of scheduler and DAG processor the noted run is hours or days old, and Airflow would start it.
        """
        noted = super().next_run_info_from_dag_model(dag_model=dag_model)
        if noted is None or self.catch_up == "all":
            return noted
        moment, now = _plain(noted.run_after), datetime.now(UTC)
        if self.catch_up == "latest":
            found = self.recurrence.newest(now, moment)
        else:
            found = self._next(moment, None, catch_up="none") if moment < now - LATE else None
        # Airflow has looked only whether the noted one is there, and its scheduler ends where it makes one twice.
        if found is None or _is_there(dag_model, found):
            return noted
        return DagRunInfo.exact(pendulum.instance(found))

    def _next(self, last: datetime | None, earliest: datetime | None, *, catch_up: CatchUp) -> datetime | None:
        floor = self.recurrence.start - timedelta(microseconds=1)
        if earliest is not None:
            floor = max(floor, earliest - timedelta(microseconds=1))
        floor = max(floor, last) if last is not None else floor
        if catch_up == "all":
            return self.recurrence.after(floor)
        now = datetime.now(UTC)
        if floor >= now:
            return self.recurrence.after(floor)
        # A stream that is new begins with what comes, not with what its schedule would have done before.
        oldest = floor if last is not None and catch_up == "latest" else max(floor, now - LATE)
        missed = self.recurrence.newest(now, oldest)
        return missed if missed is not None else self.recurrence.after(now)


class NoMoreRuns(_OfMoments):
    """Starts nothing: of a stream that is served for its running instances only.

    Airflow lets a DAG refuse runs by hand only where it has a schedule.

    :param why: in one line, shown where a schedule would be.
    """

    periodic = False

    def __init__(self, why: str) -> None:
        self.description = why

    def serialize(self) -> dict[str, Any]:
        """Return all that it is, as JSON."""
        return {"version": TIMETABLE_VERSION, "why": self.description}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> NoMoreRuns:
        """Read what :meth:`serialize` returned, in whatever process."""
        return cls(data["why"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoMoreRuns) and self.serialize() == other.serialize()

    def __hash__(self) -> int:
        return hash(self.description)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return None: there is none."""
        return None


def _is_there(dag_model: DagModel, moment: datetime) -> bool:
    """Tell whether the stream has a run for that moment: a backfill, or one that somebody started with its date."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import exists, select
    from sqlalchemy.orm import object_session

    session = object_session(dag_model)
    found = exists().where(DagRun.dag_id == dag_model.dag_id, DagRun.logical_date == moment)
    return session is not None and bool(session.scalar(select(found)))


def _plain(moment: datetime) -> datetime:
    """Return a moment of pendulum's as one of Python's own: the arithmetic of the two differs."""
    return datetime.fromisoformat(moment.isoformat()).astimezone(UTC)
