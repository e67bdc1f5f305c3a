"""Keeps the forecast of live instances: at each look of the feed as many as its share of a processor allows.

Those that changed come first, of these the ones that are due next, for only these can become at risk. The others come
anew because a step that goes on lasts longer: the sooner, the less they have before them. After a quiet time a storm of
changes may take what was not used before, so that a thousand instances are foretold within half a minute. Between two
of them it rests as long as one took: under one interpreter the API server's answers wait meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from airflow_enterprise_orch.executive_view.feed_instance import healthy
from airflow_enterprise_orch.executive_view.foretelling import foretold
from airflow_enterprise_orch.executive_view.tables import INSTANCE

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

SHARE = 0.015
"""Of one processor, over time."""
BURST = 3.0
"""Seconds of a processor that are saved up at most; half of it for a storm of changes, whatever else there is to do."""
A_LOOK = 0.4
"""... and that one look takes at most: the API server's answers run beside it."""
PIECE = 10
"""How many are read at once."""
SOONEST, LATEST = timedelta(minutes=1), timedelta(minutes=10)
"""Between these, an instance that did not change is foretold anew after a twentieth of what it has before it."""
SAME = timedelta(seconds=20)
"""What moves by less is not written: who looks at minutes would not see it, and each write is read by all who look."""
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Told:
    revision: int
    again: datetime


class Forecaster:
    """What was foretold, by the one process that leads.

    :param spent: the seconds of a processor that this thread has used.
    :param rest: is told for how long.
    """

    def __init__(
        self, spent: Callable[[], float] = time.thread_time, rest: Callable[[float], None] = time.sleep
    ) -> None:
        self._told: dict[int, _Told] = {}
        self._spent, self._rest = spent, rest
        self._saved = BURST
        self._looked: datetime | None = None

    def forget(self) -> None:
        """Begin anew."""
        self._told.clear()

    def changes(self, session: Session, now: datetime) -> dict[int, dict[str, Any]]:
        """Foretell those whose turn it is; return what is to be written of them, by their ids."""
        began, allowed = self._spent(), self._allowed(now)
        changes: dict[int, dict[str, Any]] = {}
        spent = 0.0
        if allowed <= 0:
            return changes
        for row, told in self._foretold(session, now):
            changed = self._is_fresh(row)
            self._told[row.id] = _Told(row.revision, _again(told.get("forecast_p50"), now))
            before = dict(row._mapping)
            if any(_moved(before[name], told[name]) for name in told):
                changes[row.id] = {**told, **healthy({**before, **told}, now)}
            before_this, spent = spent, self._spent() - began
            self._rest(spent - before_this)
            if spent >= allowed or (not changed and self._saved - spent < BURST / 2):
                break
        self._saved -= self._spent() - began
        return changes

    def _foretold(self, session: Session, now: datetime) -> Iterator[tuple[Any, dict[str, Any]]]:
        for some in self._turns(session, now):
            rows = {row.id: row for row in session.execute(select(INSTANCE).where(INSTANCE.c.id.in_(some)))}
            for number, told in foretold(session, [rows[one] for one in some if one in rows], now):
                yield rows[number], told

    def _allowed(self, now: datetime) -> float:
        """Return for how many seconds of a processor this look may go on."""
        passed = (now - self._looked).total_seconds() if self._looked is not None else 0.0
        self._looked = now
        self._saved = min(BURST, self._saved + max(0.0, passed) * SHARE)
        return min(self._saved, A_LOOK)

    def _is_fresh(self, row: Any) -> bool:
        told = self._told.get(row.id)
        return told is None or told.revision != row.revision

    def _turns(self, session: Session, now: datetime) -> Iterator[Sequence[int]]:
        of = INSTANCE.c
        live = session.execute(select(of.id, of.revision, of.due_at).where(of.live.is_(True))).all()
        there = {row.id for row in live}
        self._told = {number: told for number, told in self._told.items() if number in there}
        fresh = [row for row in live if self._is_fresh(row)]
        fresh.sort(key=lambda row: (row.due_at or _NEVER, row.id))
        first = {row.id for row in fresh}
        # Not one of them is begun on what a storm is to find.
        every = self._told.items() if self._saved >= BURST / 2 else ()
        old = [number for number, told in every if number not in first and told.again <= now]
        old.sort(key=lambda number: self._told[number].again)
        turns = [*(row.id for row in fresh), *old]
        for start in range(0, len(turns), PIECE):
            yield turns[start : start + PIECE]

    def written(self, numbers: dict[int, dict[str, Any]], revision: int) -> None:
        """Take note that these were written: that is no change of the instance."""
        for number in numbers:
            self._told[number] = _Told(revision, self._told[number].again)


def _again(p50: datetime | None, now: datetime) -> datetime:
    """Return when an instance is foretold anew though nothing happens."""
    return now + (min(max((p50 - now) / 20, SOONEST), LATEST) if p50 is not None else SOONEST)


def _moved(before: Any, after: Any) -> bool:
    if isinstance(before, datetime) and isinstance(after, datetime):
        return abs(after - before) >= SAME
    return bool(before != after)
