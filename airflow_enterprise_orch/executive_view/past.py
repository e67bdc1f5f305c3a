"""The past of streams, read at most every half a minute by one asker while others wait for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, not_, select

from airflow_enterprise_orch.executive_view.entries import past_run
from airflow_enterprise_orch.executive_view.forecast import FEWEST_PAST as FEWEST_PAST
from airflow_enterprise_orch.executive_view.forecast import MOST_PAST, History
from airflow_enterprise_orch.executive_view.pictures import Picture
from airflow_enterprise_orch.executive_view.single_flight import SingleFlight
from airflow_enterprise_orch.executive_view.statistics import PastRun, Statistics, statistics
from airflow_enterprise_orch.executive_view.tables import INSTANCE

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

LIFETIME = 30.0
KEPT = 400
MOST_LOOKED_AT = 500
"""Of how many ended instances, the newest, the steps are looked at."""

I = INSTANCE.c  # noqa: E741 - read as "I.ended_at"


class _Shared:
    """What is known of the past, by stream and question."""

    def __init__(self) -> None:
        self._flights: OrderedDict[object, SingleFlight[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object, make: Callable[[], Any]) -> Any:
        with self._lock:
            flight = self._flights.setdefault(key, SingleFlight(LIFETIME))
            self._flights.move_to_end(key)
            while len(self._flights) > KEPT:
                self._flights.popitem(last=False)
        return flight.get(make)

    def forget(self) -> None:
        with self._lock:
            self._flights.clear()


_shared = _Shared()


def forget() -> None:
    """Look anew the next time."""
    _shared.forget()


def history(session: Session, dag_id: str, version: int, picture: Picture) -> History:
    """Return what the forecast of a stream is told from: its newest instances that ended well."""

    def make() -> History:
        well = and_(I.dag_id == dag_id, not_(I.live), I.state == "success")
        runs = _read(session, well, MOST_PAST)
        return History(picture.flow, [run.took(picture.flow) for run in runs])

    found: History = _shared.get(("history", dag_id, version), make)
    return found


def told(session: Session, dag_id: str, version: int, picture: Picture, since: datetime) -> tuple[Statistics, int]:
    """Return the statistics of what ended since a moment, and how many instances that were in all.

    :param since: told to the hour, so that askers share the answer.
    """
    hour = since.replace(minute=0, second=0, microsecond=0)

    def make() -> tuple[Statistics, int]:
        ended = and_(I.dag_id == dag_id, not_(I.live), I.state.in_(("success", "failed")), I.ended_at >= hour)
        total = session.scalar(select(func.count()).select_from(INSTANCE).where(ended)) or 0
        return statistics(picture.flow, _read(session, ended, MOST_LOOKED_AT)), total

    found: tuple[Statistics, int] = _shared.get(("statistics", dag_id, version, hour), make)
    return found


def usual(session: Session, dag_id: str, version: int, picture: Picture, now: datetime) -> Statistics:
    """Return the statistics of the last 30 days."""
    return told(session, dag_id, version, picture, now - timedelta(days=30))[0]


def _read(session: Session, where: Any, most: int) -> Sequence[PastRun]:
    columns = (I.run_after, I.started_at, I.ended_at, I.state, I.steps)
    rows = session.execute(
        select(*columns).where(where, I.ended_at.is_not(None)).order_by(I.ended_at.desc()).limit(most)
    )
    return [past_run(row) for row in rows]
