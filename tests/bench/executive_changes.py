"""How soon a change in Airflow is seen in the executive view, and what looking for changes costs.

Changes are made in Airflow's tables by SQL, as its scheduler and its workers write them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import sqlalchemy as sa

from airflow_enterprise_orch.settings import FEED_INTERVAL, variable
from tests.api_server import API, ApiServer
from tests.bench import cpu
from tests.bench.executive_cluster import Cluster

LIMIT = 120.0
SETTLED, LOOKS_FOR, AT_MOST = 0.25, 6.0, 240.0
"""A server that uses less than this part of a core for so many seconds has read what is live; else the wait ends."""
STARTED = 60.0
"""Seconds until it has foretold all of that, too, with the share of a processor that the forecast has."""


@dataclass
class Changes:
    """Changes something of live instances, and takes it back at the end; nothing of it stays."""

    engine: sa.Engine
    _back: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        for statement, values in reversed(self._back):
            self._do(statement, **values)

    def waiting(self, number: int) -> list[sa.Row[Any]]:
        """Return steps of live instances that wait for their remote job, each of another instance."""
        query = (
            "SELECT t.id, t.dag_id, t.run_id, t.task_id, i.business_key, t.state FROM task_instance t "
            "JOIN orch_instance i ON i.dag_id = t.dag_id AND i.run_id = t.run_id AND i.live "
            "WHERE t.state = 'deferred' AND t.map_index < 0 AND i.waits_for = 'remote_job' ORDER BY t.id LIMIT :n"
        )
        with self.engine.connect() as connection:
            return list(connection.execute(sa.text(query), {"n": number}))

    def retries(self, one: Any) -> Callable[[dict[str, Any]], bool]:
        """Have the job of a step fail, which is tried again later; return what is to be seen then."""
        self._task(one, "up_for_retry")
        self._back.append((TASK, {"id": one.id, "state": one.state}))
        return lambda row: bool(row["waits_for"] == "retry")

    def ends(self, one: Any) -> Callable[[dict[str, Any]], bool]:
        """Have an instance end."""
        self._do(RUN.format("'failed'", "now()"), dag_id=one.dag_id, run_id=one.run_id)
        self._back.append((RUN.format("'running'", "NULL"), {"dag_id": one.dag_id, "run_id": one.run_id}))
        return lambda row: bool(row["state"] == "failed" and row["ended_at"])

    def touches(self, one: Any) -> None:
        """Have a step go on, and back."""
        self._task(one, "running")
        self._task(one, one.state)

    def _task(self, one: Any, state: str) -> None:
        self._do(TASK, id=one.id, state=state)

    def _do(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)


TASK = "UPDATE task_instance SET state = :state, updated_at = clock_timestamp() WHERE id = :id"
RUN = (
    "UPDATE dag_run SET state = {}, end_date = {}, updated_at = clock_timestamp() "
    "WHERE dag_id = :dag_id AND run_id = :run_id"
)


def seen_after(client: httpx.Client, one: Any, holds: Callable[[dict[str, Any]], bool]) -> float:
    """Return the seconds until our API tells of a change; :raises SystemExit: when it never does."""
    began = time.monotonic()
    while time.monotonic() - began < LIMIT:
        query = {"q": one.business_key, "stream": one.dag_id}
        rows = client.get(f"{API}/instances", params=query).raise_for_status().json()["items"]
        if any(row["run_id"] == one.run_id and holds(row) for row in rows):
            return time.monotonic() - began
        time.sleep(0.1)
    raise SystemExit(f"a change of {one.dag_id} {one.run_id} was not seen within {LIMIT:.0f} s")


def client_of(server: ApiServer) -> httpx.Client:
    """Return a client that is logged in."""
    return httpx.Client(base_url=server.url, headers={"Cookie": server.cookies}, timeout=60, trust_env=False)


def freshness(server: ApiServer, engine: sa.Engine, changes: int) -> list[float]:
    """Make changes one after the other, half of them of steps, half of runs; return the seconds until each is seen."""
    found = []
    with Changes(engine) as made, client_of(server) as client:
        for number, one in enumerate(made.waiting(changes)):
            found.append(seen_after(client, one, (made.retries if number % 2 else made.ends)(one)))
    return found


def settle(server: ApiServer) -> None:
    """Wait until a server that was started has read all that is live, which takes a processor for a while."""
    deadline = time.monotonic() + AT_MOST
    while time.monotonic() < deadline:
        used, began = server.cpu_seconds(), time.monotonic()
        time.sleep(LOOKS_FOR)
        if server.cpu_seconds() - used < SETTLED * (time.monotonic() - began):
            return
    print(f"  the server was still busy by itself after {AT_MOST:.0f} s: figures hold that", flush=True)


@contextmanager
def steady(engine: sa.Engine, per_second: float) -> Iterator[Changes]:
    """Have live instances go on all the time, each change another one's."""
    stop = threading.Event()
    with Changes(engine) as changes:
        every = changes.waiting(400)

        def go_on() -> None:
            number = 0
            while not stop.wait(1 / per_second):
                changes.touches(every[number % len(every)])
                number += 1

        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        try:
            yield changes
        finally:
            stop.set()
            thread.join()


@dataclass(frozen=True)
class Cost:
    """What the feed used of one core, in parts of it."""

    server: float
    database: float
    load: float


def cost_of_feed(
    cluster: Cluster, engine: sa.Engine, start: Callable[..., ApiServer], seconds: float, per_second: float
) -> Cost:
    """Return what an API server and the database use with the feed, less what they use without it.

    Not in the minute after a start, in which everything that is live is foretold once.

    :param per_second: how many steps of live instances change; 0: nothing happens.
    """
    used: dict[str, tuple[float, float]] = {}
    for interval in ("", "0"):
        with start({variable(FEED_INTERVAL): interval} if interval else {}) as server:
            settle(server)
            time.sleep(STARTED)
            before = server.cpu_seconds(), sum(cpu.of_tree(cluster.pid))
            if per_second:
                with steady(engine, per_second):
                    time.sleep(seconds)
            else:
                time.sleep(seconds)
            used[interval] = server.cpu_seconds() - before[0], sum(cpu.of_tree(cluster.pid)) - before[1]
    with_it, without = used[""], used["0"]
    return Cost((with_it[0] - without[0]) / seconds, (with_it[1] - without[1]) / seconds, os.getloadavg()[0])


def failover(engine: sa.Engine, start: Callable[..., ApiServer], times: int) -> list[float]:
    """Kill the API server that feeds, right when something changes; return the seconds until another one tells."""
    found = []
    with Changes(engine) as made:
        for one in made.waiting(times):
            with start({}) as leader:
                settle(leader)
                with start({}) as other, client_of(other) as client:
                    holds = made.retries(one)
                    leader.kill()
                    found.append(seen_after(client, one, holds))
    return found
