"""Many processes of one machine that log in at the same moment: tasks, triggerers' pollers and lookouts, and a doctor.

``python log_in_at_once.py STEP COUNT VARIABLES [FLAG ...]``: everything is imported once, then each process is forked
and waits for the same signal. The connection is ``subject``, from the environment. Airflow's Variables are files of the
folder VARIABLES, as slow as an API server. Prints one line of JSON: what became of each process.

Flags: ``--everybody-may`` takes no turns, which is how it was before there were any; ``--slow-block`` takes two seconds
to write a block.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from airflow.models.connection import Connection as DatabaseConnection
from airflow.models.variable import Variable as DatabaseVariable
from airflow.sdk import Connection, Variable

from airflow_enterprise_orch.connection_trial import tried
from airflow_enterprise_orch.delegation.arrivals import Place
from airflow_enterprise_orch.delegation.attempt import new_key
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.delegation.lookout import Lookout
from airflow_enterprise_orch.delegation.operator import ConnectedSite, DelegateOperator
from airflow_enterprise_orch.delegation.polling import ConnectionPoller, Pace
from airflow_enterprise_orch.delegation.system import registrations, resolve, step_type
from airflow_enterprise_orch.delegation.turns import LoginTurns
from airflow_enterprise_orch.errors import SystemUnreachable
from airflow_enterprise_orch.systems.unix import hook

CONNECTION = "subject"
BLOCK = f"enterprise_orch.blocked.{CONNECTION}"


class Variables:
    """Airflow's Variables, for all processes."""

    def __init__(self, folder: Path, write_takes: float) -> None:
        self.folder = folder
        self.write_takes = write_takes

    def get(self, key: str, default: Any = None, default_var: Any = None, **_: Any) -> Any:
        time.sleep(0.01)
        try:
            return (self.folder / key).read_text()
        except FileNotFoundError:
            return default if default is not None else default_var

    def set(self, key: str, value: Any, **_: Any) -> None:
        time.sleep(self.write_takes)
        new = self.folder / f"{key}.{os.getpid()}"
        new.write_text(json.dumps(value))
        new.rename(self.folder / key)


async def task(step: str) -> str:
    """Do what a step does before it submits."""
    operator = DelegateOperator(task_id="t", step=step, connection=CONNECTION, work={})
    cells: Any = None
    async with ConnectedSite(operator, cells).open() as system:
        return type(await system.find(new_key())).__name__


async def poller(step: str) -> str:
    """Wait for a job as a triggerer does, until the first news."""
    registration, _ = step_type(step)
    shared = ConnectionPoller(registration, CONNECTION, Pace(young=0.01, linger=0.01))
    async with registration.open(CONNECTION) as system:  # neither of the systems logs in before it is asked something
        identity = system.identity
    key = new_key()
    fields = {"correlator": f"J0000001BENCH.......DF1B2A2C.......:{key}"}
    watch = shared.watch(JobHandle(key, "JOB00001", "NOJOB", fields), identity)
    news = await watch.next(30)
    shared.forget(watch)
    return str(news.trouble or "seen") if news is not None else "silence"


async def lookout(_step: str) -> str:
    """Look for files as a triggerer does, on the same connection."""
    registration = next(each for each in registrations() if each.name == "fileshare")
    watch = Lookout(registration, CONNECTION, every=0.1)
    errors: list[str] = []
    plain = watch._failed

    def failed(error: Exception) -> float:
        errors.append(type(error).__name__)
        return plain(error)

    watch._failed = failed  # type: ignore[method-assign]
    looks = asyncio.ensure_future(anext(watch.looks(Place(".", "*.none"))))  # type: ignore[arg-type]
    while not errors and not looks.done():
        await asyncio.sleep(0.01)
    if errors:
        looks.cancel()
        return errors[0]
    return "seen"


def doctor(step: str) -> str:
    """Try the connection as ``enterprise-orch doctor --test-connections`` does."""
    registration, _ = step_type(step)
    found = DatabaseConnection.from_json(os.environ[f"AIRFLOW_CONN_{CONNECTION.upper()}"], CONNECTION)
    works, answer = tried(CONNECTION, found, registration if registration.tester else None)
    return "works" if works else str(answer)


def life(role: str, step: str) -> str:
    """Return what became of one process."""
    waits: dict[str, Callable[[str], Awaitable[str]]] = {"task": task, "poller": poller, "lookout": lookout}
    try:
        return doctor(step) if role == "doctor" else asyncio.run(waits[role](step))  # type: ignore[arg-type]
    except SystemUnreachable as error:
        return f"SystemUnreachable: {error} ({error.__cause__!r})"
    except Exception as error:
        return type(error).__name__


def main() -> None:
    """Fork, let all begin at once, and tell what became of them."""
    step, count, folder, *flags = sys.argv[1:]
    variables = Variables(Path(folder), 2.0 if "--slow-block" in flags else 0.03)
    for kind in (Variable, DatabaseVariable):
        kind.get, kind.set = variables.get, variables.set  # type: ignore[method-assign, assignment]
    if "--everybody-may" in flags:
        LoginTurns.works = lambda _turns: True  # type: ignore[method-assign]
    # Twelve key exchanges at once take longer than one may, on a machine that other tests keep busy.
    hook.CONNECT_TIMEOUT = 120
    registration, kind_of_step = step_type(step)
    resolve(registration.opener)
    for module in registration.clients:
        __import__(module)
    kind_of_step.operator_class()
    Connection.get(CONNECTION)
    roles = ["poller", "poller", "doctor", *(["lookout"] if registration.name == "unix" else [])]
    roles += ["task"] * (int(count) - len(roles))
    start, go = os.pipe()
    told, tell = os.pipe()
    for role in roles:
        if not os.fork():
            os.close(go)
            os.read(start, 1)  # until nobody can write any more: everybody wakes at once
            line = json.dumps([role, life(role, step)[:1000]]) + "\n"
            os.write(tell, line.encode())
            os._exit(0)
    os.close(tell)
    os.close(go)
    with os.fdopen(told) as lines:
        ends = [json.loads(line) for line in lines]
    for _ in roles:
        os.wait()
    sys.stdout.write(json.dumps(ends) + "\n")


if __name__ == "__main__":
    main()
