"""Runs the feed beside the API server's answers, for as long as the API server lives, whether anybody looks or not.

Airflow enters the lifespan of a mounted FastAPI application when the API server starts; no other process of Airflow's
mounts one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from airflow.utils.session import create_session
from sqlalchemy.exc import SQLAlchemyError

from airflow_enterprise_orch.executive_view.actions.bulk_runner import BulkRunner, run_bulk
from airflow_enterprise_orch.executive_view.feed import Feed
from airflow_enterprise_orch.executive_view.lease import LeaseLost
from airflow_enterprise_orch.settings import BULK_RATE, FEED_INTERVAL, HISTORY_DAYS, setting

log = logging.getLogger(__name__)

SOON = 0.001
"""Seconds after which a thread that computes lets others go on, in the API server; Python's own is five times as long.

The loop that serves everybody lets go of the interpreter at each read and write. While one thread reads what is live,
or adds the overview up, it waited so long for it again each time, three or four times an answer.
"""


def this_feed() -> Feed:
    """Return the feed of this process, as the settings want it."""
    from airflow import settings

    return Feed(settings.get_engine(), this_process(), keep_days=int(setting(HISTORY_DAYS)))  # type: ignore[no-untyped-call]


def this_process() -> str:
    """Name this process for a lease."""
    return f"{socket.gethostname()[:200]}:{os.getpid()}:{secrets.token_hex(4)}"


@asynccontextmanager
async def feeding(_app: Any) -> AsyncIterator[None]:
    """Feed, and act on many instances, while the application is up; what a setting of 0 leaves, another one does."""
    interval, rate = float(setting(FEED_INTERVAL)), float(setting(BULK_RATE))
    feed = this_feed() if interval > 0 else None
    tasks = [] if feed is None else [asyncio.create_task(_run(feed, interval))]
    if rate > 0:
        runner = BulkRunner(lambda: create_session(scoped=False), this_process(), rate)
        tasks.append(asyncio.create_task(run_bulk(runner)))
    switched_after = sys.getswitchinterval()
    sys.setswitchinterval(min(SOON, switched_after))
    try:
        yield
    finally:
        sys.setswitchinterval(switched_after)
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if feed is not None:
            with suppress(SQLAlchemyError):  # then the lease runs out by itself
                await asyncio.to_thread(feed.release)


async def _run(feed: Feed, interval: float) -> None:
    """Look again and again; trouble is said once, and ends nothing."""
    trouble = ""
    while True:
        more = False
        try:
            more = await asyncio.shield(asyncio.to_thread(feed.look))
        except LeaseLost as lost:
            log.info("%s", lost)
        except Exception as error:
            told = str(getattr(error, "orig", error)).strip().partition("\n")[0]
            if told != trouble:
                log.exception(
                    "the executive view cannot be fed: %s; if its tables are missing: airflow db migrate", told
                )
            trouble = told
        else:
            if trouble:
                log.info("the executive view is fed again")
            trouble = ""
        await asyncio.sleep(0.05 if more else interval)
