"""Carries out actions on many instances, one after the other, beside the API server's answers.

Each instance is one transaction, and its action has an id made of the whole's and the instance's: whoever goes on after
a death, or works on the same one at the same moment, does nothing twice. One API server at a time works, by a lease.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from airflow_enterprise_orch.executive_view.actions.carrying_out import Refused, act
from airflow_enterprise_orch.executive_view.answers_actions import ActionRequest
from airflow_enterprise_orch.executive_view.last_write import UNHEARD
from airflow_enterprise_orch.executive_view.tables import BULK, BULK_ITEM, LEASE

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

NAME = "bulk"
"""Of the lease."""
LEASE_FOR = timedelta(seconds=20)
BATCH = 20
"""Instances between two looks whether it was stopped."""
IDLE = 2.0
"""Seconds between two looks for work."""
TRIES = 3
"""How often an instance is tried whose database does not answer."""

B, T = BULK.c, BULK_ITEM.c


@dataclass
class BulkRunner:
    """Works through what was asked.

    :param opened: opens a session that commits when it ends well.
    :param holder: names this process.
    :param rate: instances a second at most; fewer where they take long, see :func:`rest`.
    """

    opened: Callable[[], AbstractContextManager[Session]]
    holder: str
    rate: float

    def work(self) -> bool:
        """Work on one batch of the oldest action; return whether there may be more to do."""
        with self.opened() as session:
            # A look costs nothing while there is nothing to do.
            if session.scalar(select(B.id).where(B.state == "running").limit(1)) is None:
                return False
        if not self._lead():
            return False
        with self.opened() as session:
            bulk = session.execute(
                select(B.id, B.asked_by, B.action).where(B.state == "running").order_by(B.at, B.id).limit(1)
            ).one_or_none()
            if bulk is None:
                return False
            items = session.execute(
                select(T.instance_id, T.dag_id, T.run_id)
                .where(T.bulk_id == bulk.id, T.outcome == "open")
                .order_by(T.instance_id)
                .limit(BATCH)
            ).all()
            if not items:
                running = (B.id == bulk.id, B.state == "running")
                session.execute(update(BULK).where(*running).values(state="done", ended_at=datetime.now(UTC)))
                return True
        for item in items:
            began = time.monotonic()
            self._one(bulk, item)
            time.sleep(rest(time.monotonic() - began, self.rate))
        return True

    def _one(self, bulk: Any, item: Any) -> None:
        asked = ActionRequest(**bulk.action, id=action_id(bulk.id, item.instance_id))
        outcome, text = "failed", ""
        for number in range(1, TRIES + 1):
            try:
                with self.opened() as session:
                    # Else all answers would be worked out anew after each of them.
                    session.info[UNHEARD] = True
                    done = act(session, bulk.asked_by, item.dag_id, item.run_id, asked)
                    # In the same transaction: what was done and is not told here would be done for nobody.
                    self._tell(session, bulk, item, "done", done.sentence)
            except Refused as refused:
                outcome, text = "refused", refused.detail
                break
            except DBAPIError as error:
                text = f"the database did not answer: {str(error.orig).splitlines()[0]}"
                time.sleep(number * 0.2)
            except Exception as error:
                log.exception("action %s on %s of %s", bulk.id, item.run_id, item.dag_id)
                text = f"{type(error).__name__}: {error}; the API server's log has more"
                break
            else:
                return
        with self.opened() as session:
            self._tell(session, bulk, item, outcome, text)

    @staticmethod
    def _tell(session: Session, bulk: Any, item: Any, outcome: str, text: str) -> None:
        mine = (T.bulk_id == bulk.id, T.instance_id == item.instance_id)
        session.execute(update(BULK_ITEM).where(*mine).values(outcome=outcome, text=text[:2000], at=datetime.now(UTC)))

    def _lead(self) -> bool:
        now = datetime.now(UTC)
        try:
            with self.opened() as session:
                if session.scalar(select(LEASE.c.name).where(LEASE.c.name == NAME)) is None:
                    row = {"name": NAME, "holder": "", "until": now - LEASE_FOR, "revision": 0, "cursor": {}}
                    session.execute(insert(LEASE).values(**row))
        except IntegrityError:
            log.debug("another process made the lease at the same moment")
        with self.opened() as session:
            free = (LEASE.c.holder == self.holder) | (LEASE.c.until < now)
            mine = update(LEASE).where(LEASE.c.name == NAME, free)
            done: Any = session.execute(mine.values(holder=self.holder, until=now + LEASE_FOR))
            return bool(done.rowcount)


def rest(took: float, rate: float) -> float:
    """Return how long to rest after an instance, in seconds.

    At least as long as it took: the thread shares its interpreter with the loop that answers people, and on a crowded
    machine, where each instance takes longer, it would otherwise be at work without a break.

    :param took: seconds that the instance took.
    :param rate: instances a second at most.
    """
    return max(took, 1 / rate - took)


def action_id(bulk_id: str, instance_id: int) -> str:
    """Return the id of the action on one instance of many."""
    return f"bulk-{hashlib.sha256(bulk_id.encode()).hexdigest()[:24]}-{instance_id}"


async def run_bulk(runner: BulkRunner) -> None:
    """Look for work again and again; trouble is said once, and ends nothing."""
    trouble = ""
    while True:
        more = False
        try:
            more = await asyncio.shield(asyncio.to_thread(runner.work))
        except Exception as error:
            told = str(getattr(error, "orig", error)).strip().partition("\n")[0]
            if told != trouble:
                log.exception("actions on many instances cannot be carried out: %s", told)
            trouble = told
        else:
            trouble = ""
        await asyncio.sleep(0.01 if more else IDLE)
