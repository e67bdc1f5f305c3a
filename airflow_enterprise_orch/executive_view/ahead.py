"""What a stream is started with, and when its schedule will start it: as it stands in the DAG that Airflow keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pendulum
from airflow.models.serialized_dag import SerializedDagModel
from airflow.serialization.decoders import decode_timetable
from airflow.timetables.base import TimeRestriction

from airflow_enterprise_orch.executive_view.answers_stream import ParamTold

if TYPE_CHECKING:
    from airflow.timetables.base import Timetable
    from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Schedule:
    """When a stream runs by itself.

    :param words: for people; "" where no time starts it.
    :param timezone: the one that its days are counted in.
    """

    timetable: Timetable | None
    words: str
    timezone: str

    def local_day(self, moment: datetime) -> Any:
        """Return the day of a moment where the schedule is at home."""
        return moment.astimezone(ZoneInfo(self.timezone)).date()

    def runs(self, after: datetime) -> Iterator[datetime]:
        """Yield the moments after ``after`` at which it will start, in UTC."""
        if self.timetable is None or not self.timetable.can_be_scheduled:
            return
        earliest: Any = pendulum.instance(after)
        last = None
        while True:
            restriction = TimeRestriction(earliest=earliest, latest=None, catchup=True)
            info = self.timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
            if info is None:
                return
            last = info.data_interval
            yield datetime.fromtimestamp(info.run_after.timestamp(), UTC)


def serialized(session: Session, dag_id: str) -> Mapping[str, Any]:
    """Return the DAG as Airflow keeps it, the current version; an empty one where it has none."""
    found = SerializedDagModel.get(dag_id, session=session)
    data = found.data if found is not None else None
    dag: Mapping[str, Any] = data["dag"] if data else {}
    return dag


def schedule_of(dag: Mapping[str, Any]) -> Schedule:
    """Return the schedule of a stream.

    :param dag: see :func:`serialized`.
    """
    if "timetable" not in dag:
        return Schedule(None, "", "UTC")
    timetable = decode_timetable(dag["timetable"])
    if not timetable.can_be_scheduled:
        by_assets = bool(getattr(timetable, "asset_condition", None))
        return Schedule(None, "when its assets are updated" if by_assets else "", "UTC")
    # Airflow's timetables have theirs as `_timezone`; ours has it in its recurrence.
    zone = getattr(getattr(timetable, "recurrence", None), "timezone", None) or getattr(timetable, "_timezone", None)
    return Schedule(
        timetable, str(timetable.description or timetable.summary), str(getattr(zone, "name", zone) or "UTC")
    )


def params_of(dag: Mapping[str, Any]) -> list[ParamTold]:
    """Return what an instance is started with.

    :param dag: see :func:`serialized`.
    """
    return [_param(name, told) for name, told in dag.get("params", ())]


def _param(name: str, told: Mapping[str, Any]) -> ParamTold:
    schema, default = _plain(told.get("schema")) or {}, told.get("default")
    required = isinstance(default, Mapping) and default.get("__type") == "arg_not_set"
    return ParamTold(
        name=name,
        title=schema.get("title") or name,
        type=str(schema.get("type") or "any"),
        description=told.get("description") or "",
        required=required,
        default=None if required else _plain(default),
        choices=list(schema.get("enum") or ()),
    )


def _plain(value: Any) -> Any:
    """Return a value without the marks of Airflow's serialization."""
    if isinstance(value, Mapping):
        return _plain(value["__var"]) if "__type" in value else {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
