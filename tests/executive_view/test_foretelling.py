"""The forecast of live instances from rows of our tables.

How a user would notice that it is fake: the list says another time than the instance's page, or an order that waits for
an approval is expected as soon as one that needs none.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, select
from sqlalchemy.orm import Session

from airflow_enterprise_orch.executive_view import past, tables
from airflow_enterprise_orch.executive_view.foretelling import foretold
from tests.executive_view.seed import NOW, ORDERS, ended, gone_well, instance, picture, stamp


@pytest.fixture
def session() -> Iterator[Session]:
    past.forget()
    engine = create_engine("sqlite://")
    tables.metadata.create_all(engine)
    with Session(engine) as opened:
        stream = {"dag_id": ORDERS, "version": 1, "digest": "foretelling", "picture": picture(ORDERS), "title": "",
                  "domain": "", "owner": "", "criticality": "", "first_seen": NOW, "is_current": True,
                  "is_removed": False, "is_paused": False}  # fmt: skip
        opened.execute(insert(tables.STREAM).values(**stream))
        yield opened
    engine.dispose()
    past.forget()


def live(session: Session, number: int, steps: dict[str, Any]) -> Any:
    session.execute(insert(tables.INSTANCE).values(**instance(ORDERS, number, steps=steps)))
    of = tables.INSTANCE.c
    return session.execute(select(tables.INSTANCE).where(of.run_id == f"run-{number}", of.live)).one()


def history(session: Session, count: int) -> None:
    for number in range(count):
        session.execute(insert(tables.INSTANCE).values(**ended(ORDERS, 500 + number, -300, large=number % 4 == 0)))


def test_one_that_must_be_approved_is_expected_later_than_one_that_needs_none(session: Session) -> None:
    history(session, 24)
    small = {**gone_well(-20, large=False), "post": {"state": "running", "try": 1, "started": stamp(-1)}}
    large = {**gone_well(-20, large=True), "approve": {"state": "open"}, "post": {"state": "open"}}
    rows = [live(session, 1, small), live(session, 2, large)]
    told = dict(foretold(session, rows, NOW))
    quick, slow = (told[row.id] for row in rows)
    assert (quick["forecast_n"], slow["forecast_n"]) == (24, 24)
    # 12 minutes for the posting, of which one is over; the other waits an hour for the approval before.
    assert timedelta(minutes=10) < quick["forecast_p50"] - NOW < timedelta(minutes=13)
    assert timedelta(minutes=70) < slow["forecast_p50"] - NOW < timedelta(minutes=75)
    assert dict(foretold(session, rows, NOW)) == told


def test_with_too_few_that_ended_there_are_no_times_but_how_few(session: Session) -> None:
    history(session, 3)
    row = live(session, 1, {"book": {"state": "running", "started": stamp(-1)}})
    assert dict(foretold(session, [row], NOW)) == {
        row.id: {
            "forecast_p50": None,
            "forecast_p90": None,
            "forecast_n": 3,
            "forecast_problem": "not enough history: 3 instances ended well, 8 are needed",
        },
    }


def test_one_that_waits_for_a_known_moment_is_expected_after_it(session: Session) -> None:
    history(session, 24)
    waits = {"book": {"state": "running", "try": 1, "started": stamp(-20), "until": stamp(240)}}
    row = live(session, 1, waits)
    told = dict(foretold(session, [row], NOW))[row.id]
    assert timedelta(minutes=240 + 10) < told["forecast_p50"] - NOW < timedelta(minutes=240 + 75)
    assert told["forecast_problem"] is None
    # What is long past keeps nobody: then the step lasts as steps do.
    past_it = live(session, 2, {"book": {**waits["book"], "until": stamp(-5)}})
    assert dict(foretold(session, [past_it], NOW))[past_it.id]["forecast_p50"] - NOW < timedelta(minutes=75)
