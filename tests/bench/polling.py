"""Ten thousand jobs that wait on one connection: our trigger, the stock way and a trigger that does nothing.

Each runs in a process of its own, in the real ``TriggerRunner.run_trigger`` of Airflow's triggerer (its task, portal,
span and log; not its supervisor, which is another process). The remote system is in memory and answers a batch in 50 ms
and one job in 20 ms; each job writes a line whenever it is read.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

JOBS = 10_000
AT_ONCE = 1_000
SETTLES = 25.0
LASTS = 45.0
STOCK_INTERVAL = 30.0
"""Seconds between two polls of a stock trigger; the providers' defaults lie between 5 and 60."""


class Remote:
    """The remote system, and what it was asked."""

    def __init__(self) -> None:
        self.calls: list[float] = []
        self.reads = 0
        self.ended: set[str] = set()
        self.identity = "bench://one"

    @property
    def capabilities(self) -> Any:
        from airflow_enterprise_orch.delegation.system import Capabilities, Protection

        return Capabilities(Protection.ATOMIC, batch=1000)

    async def poll(self, handles: Sequence[Any]) -> Mapping[str, Any]:
        from airflow_enterprise_orch.delegation.job import JobStatus, Phase

        self.calls.append(time.monotonic())
        await asyncio.sleep(0.02 + 0.00003 * len(handles))
        running, ended = JobStatus(Phase.RUNNING), JobStatus(Phase.ENDED)
        return {handle.key: ended if handle.key in self.ended else running for handle in handles}

    async def read_output(self, _handle: Any, cursor: str = "", *, limit: int = 65536) -> Any:
        from airflow_enterprise_orch.delegation.job import Output

        self.reads += 1
        await asyncio.sleep(0.02)
        line = int(cursor or 0) + 1
        return Output(f"line {line} of the remote log\n", str(line))


REMOTE = Remote()


@asynccontextmanager
async def opened(_connection: str) -> AsyncIterator[Remote]:
    """Open it."""
    yield REMOTE


def _ours(deferred: datetime) -> list[Any]:
    from airflow_enterprise_orch.delegation import guard, system
    from airflow_enterprise_orch.delegation.job import JobHandle
    from airflow_enterprise_orch.delegation.trigger import DelegateTrigger, Wait

    async def free(_blocks: guard.AirflowBlocks, _connection: str) -> None:
        """Nothing is blocked, and there is no Airflow to ask here."""

    step = system.StepType("bench.job", "Bench", "x:Y", "x:Z", "log")
    registration = system.SystemRegistration("bench", "Bench", "bench", "tests.bench.polling:opened", (step,))
    system.step_types = lambda: {step.name: (registration, step)}  # type: ignore[assignment]
    guard.AirflowBlocks.read = free  # type: ignore[method-assign]
    os.environ["AIRFLOW_CONN_BENCH_ONE"] = json.dumps({"conn_type": "bench", "login": "bench", "password": "secret"})
    made = []
    for number in range(JOBS):
        # As Airflow does: the arguments come as JSON, of each trigger its own.
        wait = Wait("bench.job", "bench_one", JobHandle(f"KEY{number:017d}", f"JOB{number:05d}", "BENCHJOB",
                    {"correlator": f"J{number:07d}BENCH.......DF1B2A2C.......:KEY{number:017d}"}), REMOTE.identity,
                    deferred.isoformat(), (deferred + timedelta(days=2)).isoformat(), "a_stream",
                    f"manual__{number}", "a_step", -1, 1)  # fmt: skip
        made.append(DelegateTrigger(**json.loads(json.dumps({"wait": wait.to_json()}))))
    return made


def _stock() -> list[Any]:
    from airflow.triggers.base import BaseTrigger, TriggerEvent

    from airflow_enterprise_orch.delegation.job import JobHandle

    class StockTrigger(BaseTrigger):
        """What the providers' triggers do: each asks for its own job, then sleeps."""

        def __init__(self, job_id: str, poll_interval: float) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.job_id, self.poll_interval = job_id, poll_interval

        def serialize(self) -> tuple[str, dict[str, Any]]:
            return "x", {}

        async def run(self) -> AsyncIterator[TriggerEvent]:
            while True:
                async with opened("bench_one") as hook:
                    states = await hook.poll([JobHandle(self.job_id, "1")])
                if states[self.job_id].final:
                    yield TriggerEvent({"status": "success"})  # type: ignore[no-untyped-call]
                    return
                await asyncio.sleep(self.poll_interval)

    return [StockTrigger(f"KEY{number:017d}", STOCK_INTERVAL) for number in range(JOBS)]


def _noop() -> list[Any]:
    from airflow.triggers.base import BaseTrigger, TriggerEvent

    class NoopTrigger(BaseTrigger):
        """Waits for nothing."""

        def serialize(self) -> tuple[str, dict[str, Any]]:
            return "x", {}

        async def run(self) -> AsyncIterator[TriggerEvent]:
            await asyncio.get_running_loop().create_future()
            yield TriggerEvent({})  # type: ignore[no-untyped-call]

    return [NoopTrigger() for _ in range(JOBS)]  # type: ignore[no-untyped-call]


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096


async def _drive(runner: Any, number: int, trigger: Any, seen: list[float]) -> None:
    await runner.run_trigger(number, trigger)
    seen.append(time.monotonic())


async def _lag(lags: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.01)
        lags.append(time.perf_counter() - before - 0.01)


async def _measure(kind: str) -> dict[str, float]:
    from airflow.jobs.triggerer_job_runner import TriggerRunner

    runner = TriggerRunner()  # type: ignore[no-untyped-call]
    loop = asyncio.get_running_loop()
    gc.collect()
    before = _resident()
    deferred = datetime.now(UTC) - timedelta(hours=1)
    triggers = {"ours": lambda: _ours(deferred), "stock": _stock, "no-op": _noop}[kind]()
    lags: list[float] = []
    seen: list[float] = []
    watchdog = loop.create_task(_lag(lags))
    started = time.monotonic()
    tasks = []
    for number, trigger in enumerate(triggers):
        task = loop.create_task(_drive(runner, number, trigger, seen))
        runner.triggers[number] = {"task": task, "is_watcher": False, "name": f"a_step/{number}", "events": 0}
        tasks.append(task)
        if number % 100 == 0:
            await asyncio.sleep(0)
    found: dict[str, float] = {}
    if kind == "ours":
        from airflow_enterprise_orch.delegation import system
        from airflow_enterprise_orch.delegation.polling import poller

        registration, _ = system.step_types()["bench.job"]
        shared = poller(registration, "bench_one")
        await asyncio.sleep(0.1)
        while not all(watch.last for watch in shared._watches):
            await asyncio.sleep(0.05)
        found["all wait again"] = time.monotonic() - started
    await asyncio.sleep(SETTLES)
    lags.clear()
    calls, reads, cpu, began = len(REMOTE.calls), REMOTE.reads, time.process_time(), time.monotonic()
    await asyncio.sleep(LASTS)
    passed = time.monotonic() - began
    found["calls/15 s"] = (len(REMOTE.calls) - calls) / passed * 15
    found["reads/s"] = (REMOTE.reads - reads) / passed
    found["cpu %"] = (time.process_time() - cpu) / passed * 100
    lags.sort()
    found["lag p95 ms"] = lags[int(len(lags) * 0.95)] * 1000
    found["lag max ms"] = lags[-1] * 1000
    gc.collect()
    found["KB/job"] = (_resident() - before) / JOBS / 1024
    times = REMOTE.calls
    found["most calls in any 15 s"] = max(
        (sum(begin <= moment < begin + 15 for moment in times) for begin in times[:: max(len(times) // 200, 1)]),
        default=0,
    )
    if kind != "no-op":
        lags.clear()
        REMOTE.ended = {f"KEY{number:017d}" for number in range(AT_ONCE)}
        ended = time.monotonic()
        while len(seen) < AT_ONCE:
            await asyncio.sleep(0.05)
        found["1,000 ends seen after s"] = seen[AT_ONCE - 1] - ended
        lags.sort()
        found["lag p95 ms while they end"] = lags[int(len(lags) * 0.95)] * 1000
    for task in [*tasks, watchdog]:
        task.cancel()
    await asyncio.gather(*tasks, watchdog, return_exceptions=True)
    return found


def child(kind: str) -> None:
    """Measure one way and print its figures, as the last line of stdout."""
    # The triggers' log is made and written, but to nowhere.
    answer = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    import airflow.triggers.base  # now, so that the size of the modules is in nobody's figure

    import airflow_enterprise_orch.delegation.trigger

    assert airflow.triggers.base
    assert airflow_enterprise_orch.delegation.trigger
    os.write(answer, json.dumps(asyncio.run(_measure(kind))).encode() + b"\n")


def main() -> None:
    """Print the figures of the three ways side by side."""
    results: dict[str, dict[str, float]] = {}
    for kind in ("no-op", "ours", "stock"):
        done = subprocess.run(
            [sys.executable, "-c", f"from tests.bench import polling; polling.child({kind!r})"],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        results[kind] = json.loads(done.stdout.splitlines()[-1])
    results["ours"]["KB/job over no-op"] = results["ours"]["KB/job"] - results["no-op"]["KB/job"]
    results["stock"]["KB/job over no-op"] = results["stock"]["KB/job"] - results["no-op"]["KB/job"]
    names = list(dict.fromkeys(name for found in results.values() for name in found))
    print(f"  {JOBS} jobs on one connection, {LASTS:g} s; stock triggers poll every {STOCK_INTERVAL:g} s")
    print(f"  {'':28}" + "".join(f"{kind:>12}" for kind in results))
    for name in names:
        row = "".join(f"{found[name]:12.1f}" if name in found else f"{'':12}" for found in results.values())
        print(f"  {name:28}{row}")
