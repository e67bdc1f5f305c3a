"""A thousand instances held and released with one action each, on real Airflow: how fast, and what waiting held costs.

The instances are made while their stream is paused, held in bulk before anything of them begins, let go into their
hold (a worker looks at each once), watched while they are held, and released in bulk. All through the API of the pages,
in the real API server, on PostgreSQL. Exit status 1 when a call took longer than promised, a worker was in use while
all were held, or a job ran other than exactly once.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from airflow_enterprise_orch.demo.api import AirflowApi
from airflow_enterprise_orch.demo.processes import adopt_orphans, raise_on_sigterm
from tests.bench.airflow_stage import Stage, staged

STREAM = """
value_stream: held
title: Held
business: {domain: Bench, owner: bench, criticality: low, key: "{{ params.name }}", duplicates: allow}
params: {name: {type: string}}
steps:
  work:
    bench.wait: {connection: bench, seconds: 0}
"""
LONGEST = 0.2
"""Seconds that a call of the API may take."""
WATCHED = 20.0
"""Seconds for which the held instances are watched."""
STALLED = 600.0
"""Seconds after which what does not go on is given up."""
REASON = "the benchmark holds it"
API = "/enterprise-orch/api/v1"
T = TypeVar("T")


class Person:
    """Who acts, with a watch in their hand."""

    def __init__(self, api: AirflowApi) -> None:
        self.api = api
        self.took: dict[str, list[float]] = {}

    def asks(self, name: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the API of the pages; keep how long that took."""
        began = time.perf_counter()
        told = self.api._send(method, API + path, body)
        self.took.setdefault(name, []).append(time.perf_counter() - began)
        return told

    def bulk(self, action: str, number: int) -> float:
        """Act on all; return the seconds until the last of them."""
        began = time.perf_counter()
        body = {
            "id": f"bench-{action}-{number}", "filter": {"stream": ["held"], "live": True},
            "action": {"action": action, "reason": REASON},
        }  # fmt: skip
        asked = self.asks("ask for many", "POST", "/bulk", body)
        if asked["total"] != number:
            raise AssertionError(f"{asked['total']} of {number} instances are in the executive view")
        while True:
            now = self.asks(f"how far, {action}", "GET", f"/bulk/{asked['id']}")
            if now["state"] != "running":
                break
            self.asks(f"list, {action}", "GET", "/instances?stream=held&limit=100")
            time.sleep(0.5)
        if now["done"] != number:
            raise AssertionError(f"{action}: {now}")
        return time.perf_counter() - began


def states(stage: Stage) -> Counter[str]:
    """Return how many tasks of the stream are in which state, asked of the database itself."""
    import sqlalchemy as sa

    engine = sa.create_engine(stage.airflow.database, poolclass=sa.NullPool)
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text("select coalesce(state, 'none'), count(*) from task_instance where dag_id = 'held' group by 1")
        )
        return Counter({str(state): int(many) for state, many in rows})


def until(stage: Stage, holds: Callable[[T], bool], look: Callable[[], T]) -> float:
    """Look until what is seen is as wanted; return the seconds that it took."""
    began = since = time.perf_counter()
    last: T | None = None
    while not holds(now := look()):
        if now != last:
            last, since = now, time.perf_counter()
        if time.perf_counter() - since > STALLED:
            raise AssertionError(f"nothing goes on: {now}")
        stage.airflow.processes.check()
        time.sleep(0.5)
    return time.perf_counter() - began


def measure(stage: Stage, person: Person, number: int) -> list[str]:
    """Play it; print the figures, and return what is not as promised."""
    stage.until_known(person.api, "held")
    for one in range(number):
        person.api.trigger("held", f"run-{one}", {"name": f"KEY-{one:05}"})
    told = "/instances?stream=held&limit=1"
    until(stage, lambda total: total == number, lambda: person.asks("list", "GET", told)["total"])
    hold = person.bulk("hold", number)
    person.api._send("PATCH", "/api/v2/dags/held?update_mask=is_paused", {"is_paused": False})
    looks = until(stage, lambda now: now["up_for_reschedule"] == number, lambda: states(stage))
    before, began = stage.cpu_seconds(), time.perf_counter()
    busy = 0
    while time.perf_counter() - began < WATCHED:
        now = states(stage)
        busy = max(busy, now["running"] + now["queued"] + now["scheduled"])
        path = f"/dags/held/dagRuns/run-{int(time.perf_counter()) % number}/actions"
        person.asks("offers", "GET", path)
        body = {"id": "bench-preview-1", "action": "skip", "step": "work", "reason": REASON}
        person.asks("preview", "POST", f"{path}/preview", body)
        time.sleep(0.5)
    seconds = time.perf_counter() - began
    used = {name: value - before[name] for name, value in stage.cpu_seconds().items()}
    release = person.bulk("release", number)
    ends = until(stage, lambda now: now["success"] == number, lambda: states(stage))
    ran = stage.handed_over()
    print(f"{number} instances held in bulk: {hold:.1f} s, {number / hold:.0f} a second")
    print(f"... until a worker had looked at each, once: {looks:.1f} s")
    print(f"... held for {seconds:.0f} s: at most {busy} worker slots in use; workers' CPU {used['workers']:.2f} s")
    print(
        f"{number} released in bulk: {release:.1f} s, {number / release:.0f} a second; all had run after {ends:.1f} s"
    )
    for name, took in sorted(person.took.items()):
        print(
            f"  {name}: {len(took)} calls, median {1000 * statistics.median(took):.0f} ms, "
            f"19 of 20 within {1000 * sorted(took)[int(0.95 * len(took))]:.0f}, worst {1000 * max(took):.0f}; "
            f"longer than promised: {sum(one > LONGEST for one in took)}"
        )
    print(f"jobs that ran: {len(ran)}, of {len(set(ran))} keys")
    problems = [
        f"a call took longer than {1000 * LONGEST:.0f} ms: {name}, {1000 * max(took):.0f} ms"
        for name, took in sorted(person.took.items())
        if max(took) > LONGEST
    ]
    problems += [f"{busy} worker slots were in use while all were held"] if busy else []
    if not len(ran) == len(set(ran)) == number:
        problems.append(f"{len(ran)} jobs of {len(set(ran))} keys ran for {number} instances")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 1 when something that is promised was not kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bulk", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--rate", type=int, help="instances a second at most (the package's own: 20)")
    options = parser.parse_args(arguments)
    adopt_orphans()
    raise_on_sigterm()
    home = Path(tempfile.mkdtemp(prefix="enterprise-orch-bench-"))
    settings = {} if options.rate is None else {"AIRFLOW__ENTERPRISE_ORCH__BULK_RATE": str(options.rate)}
    text = STREAM.replace("steps:", f"limits: {{instances: {options.instances}, steps: {options.instances}}}\nsteps:")
    try:
        with (
            staged(home, "folder", 0, templates={"held": text}, settings=settings) as stage,
            stage.airflow.api() as api,
        ):
            problems = measure(stage, Person(api), options.instances)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    for problem in problems:
        print(f"NOT AS PROMISED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
