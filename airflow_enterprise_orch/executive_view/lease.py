"""Who feeds the executive view: one process at a time, by the row of a lease that any other takes over when it ran out.

The number of each write is taken in that row, in the transaction of the write, so a holder that was only slow cannot
write any more once another one leads. While a look lasts, the lease is renewed beside it: it may be short, so that the
death of a holder is soon over, and a long look is nobody's opportunity.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from airflow_enterprise_orch.executive_view.tables import LEASE

log = logging.getLogger(__name__)

NAME = "feed"
LEASE_FOR = timedelta(seconds=7)
"""With the interval of a look, this is how long the death of an API server keeps a change from being seen."""
LONGEST_LOOK = timedelta(minutes=10)
"""A look that lasts longer hangs, and another process had better try."""


class LeaseLost(RuntimeError):
    """Another process leads meanwhile."""


@dataclass(frozen=True)
class Taken:
    """The lease is ours.

    :param cursor: how far Airflow's tables were read.
    :param anew: another process may have led since we did.
    """

    cursor: dict[str, Any]
    anew: bool


@dataclass(frozen=True)
class Lease:
    """One process's view of the lease. Clocks of all API servers must agree to some seconds, as Airflow asks anyway.

    :param holder: names the process.
    """

    engine: Engine
    holder: str

    def take(self, now: datetime) -> Taken | None:
        """Take or keep the lease; None when another process leads."""
        try:
            with self.engine.begin() as connection:
                self._make(connection)
        except IntegrityError:
            log.debug("another process made the lease at the same moment")
        of = LEASE.c
        with self.engine.begin() as connection:
            for free, anew in ((of.holder == self.holder, False), (of.until < now, True)):
                taking = update(LEASE).where(of.name == NAME, free)
                if connection.execute(taking.values(holder=self.holder, until=now + LEASE_FOR)).rowcount:
                    return Taken(self.cursor(connection), anew)
        return None

    def seize(self, cursor: Mapping[str, Any]) -> None:
        """Take the lease whoever has it, with changes to how far was read."""
        with self.engine.begin() as connection:
            self._make(connection)
            values = {"holder": self.holder, "until": datetime.now(UTC) + LEASE_FOR}
            values |= {"cursor": {**self.cursor(connection), **cursor}}
            connection.execute(update(LEASE).where(LEASE.c.name == NAME).values(**values))

    @contextmanager
    def kept(self, now: datetime) -> Iterator[None]:
        """Renew the lease for as long as the block lasts.

        :param now: the moment at which the block begins, as :meth:`take` was told it.
        """
        done, began = threading.Event(), monotonic()

        def renew() -> None:
            while not done.wait(LEASE_FOR.total_seconds() / 3):
                passed = timedelta(seconds=monotonic() - began)
                if passed > LONGEST_LOOK:
                    return
                try:
                    with self.engine.begin() as connection:
                        connection.execute(update(LEASE).where(*self._mine).values(until=now + passed + LEASE_FOR))
                except SQLAlchemyError:
                    log.debug("the lease was not renewed; whoever writes next finds out", exc_info=True)

        thread = threading.Thread(target=renew, name="enterprise-orch-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def stamp(self, connection: Connection, cursor: Mapping[str, Any], now: datetime) -> int:
        """Begin a write and return its number; :raises LeaseLost: when another process leads."""
        values = {"revision": LEASE.c.revision + 1, "cursor": dict(cursor), "as_of": now, "until": now + LEASE_FOR}
        if not connection.execute(update(LEASE).where(*self._mine).values(**values)).rowcount:
            raise LeaseLost("another API server feeds the executive view meanwhile")
        return int(connection.scalar(select(LEASE.c.revision).where(LEASE.c.name == NAME)) or 0)

    def reached(self, connection: Connection, cursor: Mapping[str, Any]) -> None:
        """Note within a write that it got farther than was said when it began."""
        connection.execute(update(LEASE).where(*self._mine).values(cursor=dict(cursor)))

    def release(self) -> None:
        """Let another process lead at once."""
        with self.engine.begin() as connection:
            connection.execute(update(LEASE).where(*self._mine).values(holder="", until=datetime.now(UTC)))

    @staticmethod
    def cursor(connection: Connection) -> dict[str, Any]:
        """Return how far Airflow's tables were read."""
        return dict(connection.scalar(select(LEASE.c.cursor).where(LEASE.c.name == NAME)) or {})

    @property
    def _mine(self) -> tuple[Any, Any]:
        return LEASE.c.name == NAME, LEASE.c.holder == self.holder

    @staticmethod
    def _make(connection: Connection) -> None:
        if connection.scalar(select(LEASE.c.name).where(LEASE.c.name == NAME)) is None:
            long_ago = datetime(2000, 1, 1, tzinfo=UTC)
            values = {"name": NAME, "holder": "", "until": long_ago, "revision": 0, "cursor": {}}
            connection.execute(insert(LEASE).values(**values))
