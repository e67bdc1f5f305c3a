"""One look at a connection for all who wait for files there.

How a user would notice that it is fake: a hundred streams log in a hundred times; a share that was away for an hour is
never looked at again; a refused login is tried until the account is locked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from machine import Machine

from airflow_enterprise_orch.delegation import lookout as module
from airflow_enterprise_orch.delegation.arrivals import Arrival, Place
from airflow_enterprise_orch.delegation.lookout import Lookout, lookout
from airflow_enterprise_orch.delegation.system import SystemRegistration
from airflow_enterprise_orch.errors import LoginRefused, RequestRejected, SystemUnreachable

IN, OUT = Place("in", "*.csv"), Place("out", "*")


class Share:
    """A share whose places can be looked at."""

    identity = "share"

    def __init__(self) -> None:
        self.logins = 0
        self.looks: list[list[Place]] = []
        self.files: dict[Place, tuple[Arrival, ...]] = {IN: (), OUT: ()}
        self.errors: list[Exception] = []
        self.refuses: Place | None = None

    async def arrived(self, places: list[Place]) -> dict[Place, tuple[Arrival, ...]]:
        self.looks.append(places)
        if self.errors:
            raise self.errors.pop(0)
        if self.refuses in places:
            raise RequestRejected(f"nobody may list {self.refuses.folder}")
        return {place: self.files[place] for place in places}


SHARE = Share()


@asynccontextmanager
async def opened(_connection: str) -> AsyncIterator[Share]:
    SHARE.logins += 1
    yield SHARE


REGISTRATION = SystemRegistration("test", "Test", "http", f"{__name__}:opened", (), arrivals="test.await")


@pytest.fixture
def share(monkeypatch: pytest.MonkeyPatch) -> Share:
    SHARE.__init__()  # type: ignore[misc]
    monkeypatch.setattr(module, "WIDEST", 0.02)
    return SHARE


def arrival(name: str, size: int = 1) -> Arrival:
    return Arrival(f"in/{name}", size, "e1", "2026-03-01T08:00:00+00:00")


def test_all_who_wait_on_a_connection_share_one_login_and_one_look(share: Share) -> None:
    share.files[IN] = (arrival("a.csv"),)

    async def live() -> list[tuple[Arrival, ...]]:
        watch = Lookout(REGISTRATION, "c", every=0.01)
        ones = [watch.looks(place) for place in [IN] * 50 + [OUT] * 50]
        return await asyncio.gather(*(anext(one) for one in ones))

    seen = asyncio.run(live())
    assert seen == [(arrival("a.csv"),)] * 50 + [()] * 50
    assert share.logins == 1
    assert all(sorted(one, key=str) == [IN, OUT] for one in share.looks)


def test_it_looks_again_after_trouble_and_nobody_is_told_to_stop(share: Share) -> None:
    share.errors = [SystemUnreachable("away"), TimeoutError(), ValueError("what is this")]
    share.files[IN] = (arrival("a.csv"),)

    async def live() -> tuple[Arrival, ...]:
        return await anext(Lookout(REGISTRATION, "c", every=0.01).looks(IN))

    assert asyncio.run(live()) == (arrival("a.csv"),)
    assert share.logins == 4


def test_a_place_that_is_refused_takes_no_other_down(share: Share, caplog: pytest.LogCaptureFixture) -> None:
    share.files[OUT] = (arrival("a.csv"),)
    share.refuses = IN

    async def live() -> list[tuple[Arrival, ...]]:
        watch = Lookout(REGISTRATION, "c", every=0.01)
        mine, other = watch.looks(IN), watch.looks(OUT)
        waits = asyncio.ensure_future(anext(mine))  # type: ignore[arg-type]  # it is a coroutine
        found = [await anext(other) for _ in range(3)]
        assert not waits.done()
        share.refuses = None
        return [*found, await waits]

    assert asyncio.run(live()) == [(arrival("a.csv"),)] * 3 + [()]
    assert caplog.text.count("nobody may list in") == 1
    assert share.logins == 1


def test_a_refused_login_blocks_the_connection_and_is_not_tried_again(
    share: Share, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    share.errors = [LoginRefused("c", "wrong password", "correct it")]
    machine.connection("c")
    monkeypatch.setattr(module, "EVERY", 0.01)

    async def live() -> tuple[Arrival, ...]:
        first = asyncio.ensure_future(anext(Lookout(REGISTRATION, "c", every=0.01).looks(IN)))  # type: ignore[arg-type]
        while machine.reads < 5:
            await asyncio.sleep(0.01)
        assert share.logins == 1
        assert machine.blocked() == {"c": "wrong password"}
        machine.variables.clear()
        return await first

    assert asyncio.run(live()) == ()
    assert share.logins == 2, "a block that a person lifted is lifted"


def test_who_is_slow_gets_the_newest_look_and_who_leaves_costs_nothing(share: Share) -> None:
    async def live() -> tuple[Any, int, int]:
        watch = lookout(REGISTRATION, "c")
        assert lookout(REGISTRATION, "c") is watch
        assert lookout(REGISTRATION, "other") is not watch
        watch._every = 0.01
        looks = watch.looks(IN)
        await anext(looks)
        before = len(share.looks)
        while len(share.looks) < before + 3:
            await asyncio.sleep(0.01)
        share.files[IN] = (arrival("new.csv"),)
        while not any(one for one in [await anext(looks)]):
            pass
        await looks.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)
        after = len(share.looks)
        await asyncio.sleep(0.1)
        return watch._task, after, len(share.looks)

    task, after, later = asyncio.run(live())
    assert task.done()
    assert later == after


def test_the_run_id_is_the_files_own() -> None:
    one = arrival("a b,c.csv")
    assert one.run_id == arrival("a b,c.csv").run_id
    assert one.run_id.startswith("file.a_b_c.csv.")
    others = [arrival("a b,c.csv", 2), Arrival(one.path, 1, "e2", one.modified), Arrival(one.path, 1, "e1", "")]
    others += [Arrival("out/a b,c.csv", 1, "e1", one.modified), arrival("a_b_c.csv")]
    assert len({other.run_id for other in [one, *others]}) == 6
    assert len(arrival("x" * 500).run_id) < 100
    assert Arrival.from_json(one.to_json()) == one
    for spoilt in ({}, {**one.to_json(), "size": "1"}, {**one.to_json(), "path": ""}):
        with pytest.raises(ValueError, match="no arrival"):
            Arrival.from_json(spoilt)
