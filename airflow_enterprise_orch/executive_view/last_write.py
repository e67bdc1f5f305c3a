"""What was written last into our tables, as far as this process knows.

Every write takes a number in the row of the lease: by it answers are kept, and made anew when there was another write.
It is looked up at most so often, however many ask. What this process writes itself it knows at once; of what another
API server writes it hears a moment later.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING

from sqlalchemy import event, func, select

from airflow_enterprise_orch.executive_view.flights import Flights
from airflow_enterprise_orch.executive_view.tables import LEASE
from airflow_enterprise_orch.executive_view.turns import made

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

GOOD_FOR = 0.5
"""Seconds for which a process believes that nobody else has written."""


@dataclass(frozen=True)
class Write:
    """One write.

    :param revision: its number; 0 before any.
    :param fed_at: when the feed had read Airflow's tables last; None before it has.
    """

    revision: int
    fed_at: datetime | None


UNHEARD = "enterprise_orch unheard"
"""In ``info`` of a session: its writes are told to nobody, and noticed as those of another process."""


class _Known:
    """The newest write, and until when nobody needs to ask for a newer one.

    :ivar changes: how often this process has written.
    :ivar acts: how often somebody has acted by it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[float, Write] | None = None
        self.changes = self.acts = 0

    def get(self) -> Write | None:
        kept = self._kept
        return kept[1] if kept is not None and monotonic() < kept[0] else None

    def read(self, session: Session) -> Write:
        with self._lock:
            changes, until = self.changes, monotonic() + GOOD_FOR
        found = session.execute(select(func.max(LEASE.c.revision), func.max(LEASE.c.as_of))).one()
        write = Write(found[0] or 0, found[1])
        with self._lock:
            # What was written while this was read may not be in it; who began to read later may know of more.
            newer = (known := self.get()) is None or write.revision >= known.revision
            if changes == self.changes and newer:
                self._kept = until, write
        return write

    def changed(self, *, acted: bool) -> None:
        with self._lock:
            self.changes += 1
            self.acts += acted
            self._kept = None


_known = _Known()
_reading: Flights[Write] = Flights()


def current(session: Session) -> Write:
    """Return the last write. What is read after it holds it, and perhaps the next one too."""
    return _known.get() or _known.read(session)


async def fresh() -> Write:
    """Return the last write; where it has to be looked up, all who wait share one look."""
    # A look that began before this process wrote does not know of it.
    return _known.get() or await _reading.run(_known.changes, _look)


def changed() -> None:
    """Take note that the feed of this process has written, and committed."""
    _known.changed(acted=False)


def acts() -> int:
    """Return how often somebody has acted by this process: whoever does wants to see it, and nothing of before."""
    return _known.acts


def acts_with(session: Session) -> None:
    """Take note of it when a session commits what somebody has done."""
    if not session.info.get(UNHEARD):
        event.listen(session, "after_commit", lambda _: _known.changed(acted=True), once=True)


def _look() -> Write:
    # In no turn: answers that are there already would wait behind all who wait for theirs.
    with made() as session:
        return _known.read(session)
