"""Keeps the forecast of live instances, a few at each look of the feed: those that changed, then the oldest."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from airflow_enterprise_orch.executive_view.feed_instance import healthy
from airflow_enterprise_orch.executive_view.foretelling import foretold
from airflow_enterprise_orch.executive_view.tables import INSTANCE

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

AT_ONCE = 25
"""One costs some milliseconds: so many a look stay below a twentieth of a processor."""
AGAIN = timedelta(minutes=1)
"""A step that goes on lasts longer, though nothing changed; so an instance is foretold anew after this."""
SAME = timedelta(seconds=20)
"""What moves by less is not written: who looks at minutes would not see it, and each write is read by all who look."""


class Forecaster:
    """What was foretold, by the one process that leads."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[int, datetime]] = {}

    def forget(self) -> None:
        """Begin anew."""
        self._told.clear()

    def changes(self, session: Session, now: datetime) -> dict[int, dict[str, Any]]:
        """Foretell those whose turn it is; return what is to be written of them, by their ids."""
        of = INSTANCE.c
        live = {row.id: row.revision for row in session.execute(select(of.id, of.revision).where(of.live.is_(True)))}
        self._told = {number: told for number, told in self._told.items() if number in live}
        fresh = [number for number, revision in live.items() if self._told.get(number, (None,))[0] != revision]
        old = [number for number, (_, at) in self._told.items() if number not in fresh and now - at >= AGAIN]
        chosen = [*fresh, *sorted(old, key=lambda number: self._told[number][1])][:AT_ONCE]
        if not chosen:
            return {}
        rows = session.execute(select(INSTANCE).where(of.id.in_(chosen))).all()
        found = foretold(session, rows, now)
        changes: dict[int, dict[str, Any]] = {}
        for row in rows:
            self._told[row.id] = (row.revision, now)
            # Without steps in its picture there is nothing to foretell.
            told = found.get(row.id, {})
            before = dict(row._mapping)
            if any(_moved(before[name], told[name]) for name in told):
                changes[row.id] = {**told, **healthy({**before, **told}, now)}
        return changes

    def written(self, numbers: dict[int, dict[str, Any]], revision: int) -> None:
        """Take note that these were written: that is no change of the instance."""
        for number in numbers:
            self._told[number] = (revision, self._told[number][1])


def _moved(before: Any, after: Any) -> bool:
    if isinstance(before, datetime) and isinstance(after, datetime):
        return abs(after - before) >= SAME
    return bool(before != after)
