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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from airflow_enterprise_orch.executive_view.feed import Feed, LeaseLost
from airflow_enterprise_orch.settings import FEED_INTERVAL, HISTORY_DAYS, setting

log = logging.getLogger(__name__)


def this_feed() -> Feed:
    """Return the feed of this process, as the settings want it."""
    from airflow import settings

    holder = f"{socket.gethostname()[:200]}:{os.getpid()}:{secrets.token_hex(4)}"
    return Feed(settings.get_engine(), holder, keep_days=int(setting(HISTORY_DAYS)))  # type: ignore[no-untyped-call]


@asynccontextmanager
async def feeding(_app: Any) -> AsyncIterator[None]:
    """Feed while the application is up; with an interval of 0 another API server has to."""
    interval = float(setting(FEED_INTERVAL))
    if interval <= 0:
        yield
        return
    feed = this_feed()
    task = asyncio.create_task(_run(feed, interval))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
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
