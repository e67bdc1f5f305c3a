"""The past of streams, read at most every half a minute by one asker while others wait for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, not_, select

from airflow_enterprise_orch.executive_view.entries import past_run, past_seconds
from airflow_enterprise_orch.executive_view.forecast import FEWEST_PAST as FEWEST_PAST
from airflow_enterprise_orch.executive_view.forecast import MOST_PAST, History, took_seconds
from airflow_enterprise_orch.executive_view.pictures import Picture
from airflow_enterprise_orch.executive_view.single_flight import SingleFlight
from airflow_enterprise_orch.executive_view.statistics import Statistics, statistics
from airflow_enterprise_orch.executive_view.tables import INSTANCE

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

LIFETIME = 30.0
KEPT = 400
STEADY = 50
STEADY_FOR = 300.0
"""A history of so many instances is read anew at most so often: one more changes little, and 200 cost tens of ms."""
MOST_LOOKED_AT = 500
"""Of how many ended instances, the newest, the steps are looked at."""

I = INSTANCE.c  # noqa: E741 - read as "I.ended_at"


class _Shared:
    """What is known of the past, by stream and question.

    :param kept: how many answers, those that were asked for last.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._flights: OrderedDict[object, SingleFlight[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object, make: Callable[[Any], Any]) -> Any:
        """Return what is known; ``make`` gets what was known before, or None."""
        with self._lock:
            flight = self._flights.setdefault(key, SingleFlight(LIFETIME))
            self._flights.move_to_end(key)
            while len(self._flights) > self._kept:
                self._flights.popitem(last=False)
        return flight.get(lambda: make(flight.last))

    def forget(self) -> None:
        with self._lock:
            self._flights.clear()


@dataclass(frozen=True)
class _Remembered:
    """A history, and what tells that there is a newer one.

    :param newest: the end of the newest instance, and how many there are.
    :param made: on the monotonic clock.
    """

    history: History
    newest: Any
    made: float


_histories = _Shared(KEPT)
_statistics = _Shared(KEPT)


def forget() -> None:
    """Look anew the next time."""
    _histories.forget()
    _statistics.forget()


def history(session: Session, dag_id: str, version: int, picture: Picture) -> History:
    """Return what the forecast of a stream is told from: its newest instances that ended well."""

    def make(before: _Remembered | None) -> _Remembered:
        well = and_(I.dag_id == dag_id, not_(I.live), I.state == "success")
        now = monotonic()
        if before is not None and len(before.history.past) >= STEADY and now - before.made < STEADY_FOR:
            return before
        newest = tuple(session.execute(select(func.max(I.ended_at), func.count()).where(well)).one())
        if before is not None and before.newest == newest:
            return before
        past = (
            took_seconds(began, picture.flow, ran) for began, ran in map(past_seconds, _read(session, well, MOST_PAST))
        )
        return _Remembered(History(picture.flow, past), newest, now)

    found: _Remembered = _histories.get((dag_id, version), make)
    return found.history


def told(session: Session, dag_id: str, version: int, picture: Picture, since: datetime) -> tuple[Statistics, int]:
    """Return the statistics of what ended since a moment, and how many instances that were in all.

    :param since: told to the hour, so that askers share the answer.
    """
    hour = since.replace(minute=0, second=0, microsecond=0)

    def make(_before: object) -> tuple[Statistics, int]:
        ended = and_(I.dag_id == dag_id, not_(I.live), I.state.in_(("success", "failed")), I.ended_at >= hour)
        total = session.scalar(select(func.count()).select_from(INSTANCE).where(ended)) or 0
        return statistics(picture.flow, [past_run(row) for row in _read(session, ended, MOST_LOOKED_AT)]), total

    found: tuple[Statistics, int] = _statistics.get((dag_id, version, hour), make)
    return found


def usual(session: Session, dag_id: str, version: int, picture: Picture, now: datetime) -> Statistics:
    """Return the statistics of the last 30 days."""
    return told(session, dag_id, version, picture, now - timedelta(days=30))[0]


def _read(session: Session, where: Any, most: int) -> Sequence[Any]:
    columns = (I.run_after, I.started_at, I.ended_at, I.state, I.steps)
    newest = select(*columns).where(where, I.ended_at.is_not(None)).order_by(I.ended_at.desc()).limit(most)
    return session.execute(newest).all()
