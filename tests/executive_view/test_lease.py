"""One API server feeds at a time.

How a user would notice that it is fake: a view that stands still because a server that died still leads; or two that
write one after the other's back, because a look took longer than the lease.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select

from airflow_enterprise_orch.executive_view import lease as lease_module
from airflow_enterprise_orch.executive_view.lease import LEASE_FOR, Lease, LeaseLost
from airflow_enterprise_orch.executive_view.tables import LEASE, metadata

NOW = datetime(2026, 3, 10, 14, 0, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/lease.db")
    metadata.create_all(engine, tables=[LEASE])
    yield engine
    engine.dispose()


def until(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.scalar(select(LEASE.c.until))


def test_another_one_leads_when_the_lease_ran_out_and_not_before(engine: Engine) -> None:
    one, two = Lease(engine, "one"), Lease(engine, "two")
    first = one.take(NOW)
    assert first is not None
    assert first.anew
    again = one.take(NOW + timedelta(seconds=1))
    assert again is not None
    assert not again.anew
    assert two.take(NOW + LEASE_FOR) is None
    taken = two.take(NOW + LEASE_FOR + timedelta(seconds=2))
    assert taken is not None
    assert taken.anew


def test_the_one_before_writes_no_more_and_remembers_nothing_when_it_leads_again(engine: Engine) -> None:
    one, two = Lease(engine, "one"), Lease(engine, "two")
    one.take(NOW)
    with engine.begin() as connection:
        assert one.stamp(connection, {"run": 7}, NOW) == 1
    taken = two.take(NOW + 2 * LEASE_FOR)
    assert taken is not None
    assert taken.cursor == {"run": 7}
    with engine.begin() as connection, pytest.raises(LeaseLost):
        one.stamp(connection, {}, NOW + 2 * LEASE_FOR)
    two.release()
    back = one.take(datetime.now(UTC) + timedelta(seconds=1))
    assert back is not None
    assert back.anew, "what it knew is from before the other one led"


def test_a_long_look_keeps_the_lease(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "LEASE_FOR", timedelta(milliseconds=60))
    one, two = Lease(engine, "one"), Lease(engine, "two")
    one.take(NOW)
    ends = until(engine)
    with one.kept(NOW):
        while until(engine) <= ends:
            pass
        assert two.take(ends + timedelta(microseconds=1)) is None


def test_a_look_that_hangs_does_not(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "LEASE_FOR", timedelta(milliseconds=60))
    monkeypatch.setattr(lease_module, "LONGEST_LOOK", timedelta(milliseconds=100))
    one, two = Lease(engine, "one"), Lease(engine, "two")
    one.take(datetime.now(UTC))
    with one.kept(datetime.now(UTC)):
        while two.take(datetime.now(UTC)) is None:
            pass
    with engine.begin() as connection, pytest.raises(LeaseLost):
        one.stamp(connection, {}, NOW)


def test_whoever_rebuilds_leads_whoever_led(engine: Engine) -> None:
    one, two = Lease(engine, "one"), Lease(engine, "two")
    one.take(NOW)
    with engine.begin() as connection:
        one.stamp(connection, {"run": 7, "log": 3}, NOW)
    two.seize({"run": 0})
    with engine.begin() as connection, pytest.raises(LeaseLost):
        one.stamp(connection, {}, NOW)
    taken = two.take(NOW)
    assert taken is not None
    assert taken.cursor == {"run": 0, "log": 3}
