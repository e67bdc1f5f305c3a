"""The forecast that the feed keeps with live instances.

How a user would notice that it is fake: the list is without an expected time although the instance's page has one; an
order that will be late is not at risk before it is late; a step that hangs does not move the expected time; every look
writes everything anew, so that whoever looks reads it all again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, insert, select, update
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from airflow_enterprise_orch.executive_view import feed_forecast, past, tables
from airflow_enterprise_orch.executive_view.feed import Feed
from airflow_enterprise_orch.executive_view.feed_forecast import A_LOOK, BURST, SHARE, Forecaster
from airflow_enterprise_orch.executive_view.lease import NAME, LeaseLost
from tests.executive_view.seed import NOW, ORDERS, ended, gone_well, instance, picture, stamp

OF = tables.INSTANCE.c


@pytest.fixture
def engine() -> Iterator[Engine]:
    past.forget()
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    tables.metadata.create_all(engine)
    stream = {"dag_id": ORDERS, "version": 1, "digest": "foretelling", "picture": picture(ORDERS), "title": "",
              "domain": "", "owner": "", "criticality": "", "first_seen": NOW, "is_current": True,
              "is_removed": False, "is_paused": False}  # fmt: skip
    lease = {"name": NAME, "holder": "one", "until": NOW, "revision": 7, "cursor": {}}
    with engine.begin() as connection:
        connection.execute(insert(tables.STREAM).values(**stream))
        connection.execute(insert(tables.LEASE).values(**lease))
        for number in range(24):
            connection.execute(insert(tables.INSTANCE).values(**ended(ORDERS, 500 + number, -300, large=False)))
    yield engine
    engine.dispose()
    past.forget()


def begin(engine: Engine, number: int, due: timedelta | None) -> None:
    """Let an instance begin whose posting, the last of its long steps, has run for a minute of its twelve."""
    steps: dict[str, Any] = {
        **gone_well(-20, large=False),
        "post": {"state": "running", "try": 1, "started": stamp(-1)},
    }
    values = {
        **instance(ORDERS, number, steps=steps),
        "due_at": due and NOW + due,
        "health": "on_time",
        "failed_steps": 0,
    }
    values |= {"waiting_people": 0, "forecast_p50": None, "forecast_p90": None, "forecast_n": None, "live": True}
    with engine.begin() as connection:
        connection.execute(insert(tables.INSTANCE).values(**values))


def rows(engine: Engine) -> dict[str, Any]:
    with Session(engine) as session:
        return {row.run_id: row for row in session.execute(select(tables.INSTANCE).where(OF.live.is_(True)))}


def test_what_will_be_late_is_at_risk_and_what_did_not_move_is_not_written_again(engine: Engine) -> None:
    begin(engine, 1, due=timedelta(minutes=5))
    begin(engine, 2, due=timedelta(hours=5))
    feed = Feed(engine, "one")
    feed._foretell({}, NOW)
    told = rows(engine)
    assert (told["run-1"].health, told["run-2"].health) == ("at_risk", "on_time")
    assert timedelta(minutes=10) < told["run-1"].forecast_p50 - NOW < timedelta(minutes=13)
    assert told["run-1"].forecast_n == 24
    assert told["run-1"].revision == 8
    feed._foretell({}, NOW + timedelta(seconds=3))
    assert rows(engine)["run-1"].revision == 8

    # The posting hangs: it is over 40 minutes now, and the expected time goes with it.
    later = NOW + timedelta(minutes=40)
    feed._foretell({}, later)
    hangs = rows(engine)["run-2"]
    assert hangs.forecast_p50 >= later
    assert hangs.revision == 9


class Slow:
    """A forecaster on a processor on which each instance takes as long.

    :param each: seconds.
    """

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch, each: float) -> None:
        self.engine, self.used, self.told = engine, 0.0, list[str]()
        real = feed_forecast.foretold

        def foretold(session: Session, rows: Any, now: datetime) -> Iterator[Any]:
            runs = {row.id: row.run_id for row in rows}
            for number, columns in real(session, rows, now):
                self.used += each
                self.told.append(runs[number])
                yield number, columns

        monkeypatch.setattr(feed_forecast, "foretold", foretold)
        self.rested = 0.0
        self.forecaster = Forecaster(lambda: self.used, self.rest)

    def rest(self, seconds: float) -> None:
        self.rested += seconds

    def look(self, after: timedelta = timedelta(0)) -> list[str]:
        """Return the instances that one look foretells, in their order."""
        self.told.clear()
        with Session(self.engine) as session:
            self.forecaster.changes(session, NOW + after)
        return list(self.told)


SECONDS = timedelta(seconds=3)
"""Between two looks."""


def test_those_that_are_due_next_come_first_and_no_look_takes_too_long(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        begin(engine, number, due=timedelta(hours=6 - number) if number else None)
    slow = Slow(engine, monkeypatch, A_LOOK / 2)
    looks = [slow.look(look * SECONDS) for look in range(4)]
    assert looks == [["run-5", "run-4"], ["run-3", "run-2"], ["run-1", "run-0"], []]
    assert slow.rested == pytest.approx(slow.used), "whoever asks the API server meanwhile waits for all of it"


def test_what_changed_is_foretold_before_what_only_grew_older(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        begin(engine, number, due=timedelta(hours=1 + number))
    slow = Slow(engine, monkeypatch, 0.001)
    assert slow.look() == ["run-0", "run-1", "run-2"]
    with engine.begin() as connection:
        connection.execute(update(tables.INSTANCE).where(OF.run_id == "run-2").values(revision=99))
    assert slow.look(timedelta(seconds=30)) == ["run-2"], "the others did not grow old enough"
    with engine.begin() as connection:
        connection.execute(update(tables.INSTANCE).where(OF.run_id == "run-1").values(revision=100))
    assert slow.look(timedelta(hours=1)) == ["run-1", "run-0", "run-2"]


def test_over_time_it_takes_no_more_than_its_share_of_a_processor(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        begin(engine, number, due=timedelta(hours=1 + number))
    slow, looks = Slow(engine, monkeypatch, 0.5), 1000
    for look in range(looks):
        slow.look(look * SECONDS)
    whole = looks * SECONDS.total_seconds()
    assert whole * SHARE * 0.9 < slow.used < BURST + whole * SHARE + 0.5


def test_a_storm_finds_half_of_what_was_saved_whatever_else_there_is_to_do(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        begin(engine, number, due=timedelta(hours=1 + number))
    slow = Slow(engine, monkeypatch, A_LOOK / 2)
    for look in range(400):  # all grow older all the time, and take whatever they can get
        slow.look(look * SECONDS)
    with engine.begin() as connection:
        connection.execute(update(tables.INSTANCE).where(OF.live.is_(True)).values(revision=99))
    after = [one for look in range(400, 403) for one in slow.look(look * SECONDS)]
    assert after == [f"run-{number}" for number in range(6)]


def test_who_does_not_lead_any_more_writes_no_forecast(engine: Engine) -> None:
    begin(engine, 1, due=timedelta(minutes=5))
    with pytest.raises(LeaseLost):
        Feed(engine, "two")._foretell({}, NOW)
    assert rows(engine)["run-1"].forecast_p50 is None
