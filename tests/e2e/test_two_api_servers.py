"""Two API servers feed one executive view, and the one that leads dies in the middle of it.

How a user would notice that it is fake: after an API server was lost in the night the view stands still, although
another one answers; an instance that ended while nobody led is missing, or stands there as running for ever; the audit
trail tells an answer twice, once by each server.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from airflow_enterprise_orch.executive_view.tables import LEASE
from airflow_enterprise_orch.settings import FEED_INTERVAL, variable
from tests.api_server import API, ApiServer
from tests.faults.airflow_kills.database import PostgresServer, binaries

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(binaries() is None, reason="no PostgreSQL server is installed"),
]

SAYS = "storm: "
LIMIT = 240.0
"""Seconds after which what must come does not come any more."""
BLOWS = 400
SETTINGS = {variable(FEED_INTERVAL): "1", "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "0"}


class Weather:
    """The storm, in a process of its own; it goes on whichever server dies."""

    def __init__(self, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "tests.executive_view.storm_beside", "1"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(SAYS):
                return line.removeprefix(SAYS).strip()
        pytest.fail("the storm ended")

    def say(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def blown(self, times: int) -> None:
        """Wait for some tens of blows."""
        for _ in range(times):
            assert self.line() == "blown"

    def compare(self) -> dict[str, Any]:
        self.say("compare")
        return dict(json.loads(self.line()))

    def differences(self) -> dict[str, Any]:
        """Return what our tables say otherwise than Airflow's: each side."""
        seen = self.compare()
        found = {name: [seen["ours"][name], told] for name, told in seen["airflow"].items()}
        return {name: sides for name, sides in found.items() if sides[0] != sides[1]}


@contextmanager
def weather_on(server: ApiServer) -> Iterator[Weather]:
    weather = Weather(server.environment)
    try:
        yield weather
    finally:
        weather.process.kill()
        weather.process.communicate()


def until(holds: Callable[[], bool], what: Callable[[], object]) -> None:
    """Wait for something that must come; tell what is there instead when it does not."""
    deadline = time.monotonic() + LIMIT
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"it did not come: {what()}")
        time.sleep(0.2)


def lease(engine: sa.Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(sa.select(LEASE.c.holder, LEASE.c.until, LEASE.c.as_of, LEASE.c.revision)).first()


def leads(engine: sa.Engine, server: ApiServer) -> bool:
    """Tell whether a server leads, by the number of its process in the name of the holder."""
    row = lease(engine)
    pids = {server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))}
    return row is not None and row.holder.split(":")[1:2] in [[str(pid)] for pid in pids]


def counted(server: ApiServer) -> dict[str, Any]:
    """Return what a server answers, in the words of the storm: instances by state, live ones, questions."""
    found: dict[str, int] = {}
    for state in ("queued", "running", "success", "failed"):
        total = server.ask(f"{API}/instances", state=state, limit=1).raise_for_status().json()["total"]
        found |= {state: total} if total else {}
    return {"states": found, "live": server.ask(f"{API}/overview").raise_for_status().json()["counts"]["live"]}


def test_the_other_one_takes_over_and_nothing_is_lost_or_told_twice(tmp_path: Path) -> None:
    with PostgresServer() as database:
        one, two = (ApiServer(tmp_path / name, database.url, SETTINGS) for name in ("one", "two"))
        migrated = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=one.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert migrated.returncode == 0, migrated.stdout[-3000:] + migrated.stderr[-3000:]
        engine = sa.create_engine(database.url)
        with one, two, weather_on(one) as weather:
            play(engine, [one, two], weather)
        engine.dispose()


def play(engine: sa.Engine, servers: list[ApiServer], weather: Weather) -> None:
    weather.say(f"blow {BLOWS}")
    weather.blown(10)
    until(lambda: any(leads(engine, server) for server in servers), lambda: lease(engine))
    leader = next(server for server in servers if leads(engine, server))
    (other,) = [server for server in servers if server is not leader]
    # The one that leads has written something, and dies while more happens.
    until(lambda: lease(engine).revision > 3, lambda: lease(engine))
    leader.kill()
    left = lease(engine)
    assert left.holder.split(":")[1] == str(leader.pid)
    # The other one goes on answering, and says from when its answer is.
    answer = other.ask(f"{API}/overview").raise_for_status().json()
    assert datetime.fromisoformat(answer["fed_at"]) <= datetime.now(UTC)
    until(lambda: leads(engine, other), lambda: lease(engine))
    until(lambda: lease(engine).as_of > left.as_of, lambda: lease(engine))
    assert lease(engine).as_of > left.until, "it did not wait until the lease had run out"
    weather.blown(BLOWS // 10 - 10)

    # All that happened in all that time is there, once.
    until(lambda: not weather.differences(), weather.differences)
    seen = weather.compare()
    assert seen["twice"] == []
    assert all(seen["airflow"]["told"].values()), "the storm was too weak to show anything"
    until(
        lambda: counted(other) == {"states": seen["airflow"]["states"], "live": seen["airflow"]["live"]},
        lambda: (counted(other), seen["airflow"]),
    )
