"""One lab and one Airflow on PostgreSQL for many tests, which play beside one another.

Most of what these tests do is waiting: for a worker to start, a job to run, a person to answer. An Airflow for each
costs half a minute before anything happens; in one, all of them are over when the longest is. So a test here is a
*scenario*: it declares its templates, gets a :class:`Stage`, touches only its own streams, and leaves nothing to the
clock: a job that has to run while something else happens waits for a file (``until``), not for seconds.

When all are over, everything that happened to the lab is compared with all ledgers together.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tables import Tables

from airflow_enterprise_orch.demo import story
from airflow_enterprise_orch.demo.airflow import LocalAirflow
from airflow_enterprise_orch.demo.api import AirflowApi, ApiFailed
from airflow_enterprise_orch.demo.lab import LabProcess
from airflow_enterprise_orch.demo.proof import StepAttempt, violations
from airflow_enterprise_orch.demo.run import stage, template_bundle
from airflow_enterprise_orch.value_stream.airflow_streams import AirflowStreams

LIMIT = 900.0
"""Seconds after which something that must come is not waited for any more. All scenarios share two processors."""
OVER = ("success", "failed")

JOB = 'n=0; while [ -n "$UNTIL" ] && [ ! -e "$UNTIL" ] && [ $n -lt 4000 ]; do n=$((n+1)); sleep 0.2; done'
"""The script of a job that runs until a file is there, for a quarter of an hour at most; at once without one."""


@dataclass(frozen=True)
class Scenario:
    """One of the plays.

    :param templates: by file name without its suffix.
    :param dags: files of ordinary DAGs, by name.
    :param plugins: files of Airflow plugins, by name.
    :param postgresql: it proves nothing on another database.
    """

    name: str
    play: Callable[[Stage], None]
    templates: Mapping[str, str]
    dags: Mapping[str, str]
    plugins: Mapping[str, str]
    postgresql: bool


def scenario(
    templates: Mapping[str, str] | None = None,
    dags: Mapping[str, str] | None = None,
    plugins: Mapping[str, str] | None = None,
    *,
    postgresql: bool = False,
) -> Callable[[Callable[[Stage], None]], Callable[[Company], None]]:
    """Make a test of a function that plays on a stage."""

    def make(play: Callable[[Stage], None]) -> Callable[[Company], None]:
        told = Scenario(play.__name__, play, templates or {}, dags or {}, plugins or {}, postgresql)

        @pytest.mark.e2e
        @pytest.mark.timeout(1100)
        @pytest.mark.scenario(told)
        def test(company: Company) -> None:
            if told.postgresql and not company.database:
                pytest.skip("no PostgreSQL server is installed (apt-get install postgresql); SQLite in its place")
            company.outcome(told)

        test.__name__, test.__doc__, test.__module__ = play.__name__, play.__doc__, play.__module__
        return test

    return make


@dataclass
class Stage:
    """The company's lab and Airflow as one scenario sees them, and small ways to look at them.

    :param place: an empty folder of its own.
    :param templates: the folder of the templates, all scenarios' together.
    """

    lab: LabProcess
    airflow: LocalAirflow
    api: AirflowApi
    tables: Tables
    place: Path
    templates: Path
    streams: Sequence[str] = ()

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that must come, and tell everything that is known when it does not come."""
        deadline, pause = time.monotonic() + LIMIT, 1.0
        while not holds():
            self.airflow.processes.check()
            if time.monotonic() > deadline:
                pytest.fail(self.all_that_is_known())
            time.sleep(pause)
            # Forty scenarios that ask every second are more work for the api-server than all workers are.
            pause = min(pause * 1.3, 5)

    def all_that_is_known(self) -> str:
        """Return states, ledgers and logs of the scenario's own streams, and the end of Airflow's logs."""
        told = [str(self.api.import_errors())]
        for stream in sorted(set(self.streams) & self.api.dag_ids()):
            for run in self.api.runs(stream):
                for task in self.api.task_instances(stream, run):
                    name, tries = task["task_id"], range(1, task["try_number"] + 1)
                    told.append(json.dumps(task))
                    if task["map_index"] < 0:
                        told.append(json.dumps(self.api.state_store(stream, run, name), default=str))
                        told += [f"--- {stream} {run} {name} {n}\n{self._log(stream, run, name, n)}" for n in tries]
        for log in sorted((self.airflow.home / "process-logs").glob("*.log")):
            told.append(f"--- {log.name}\n{log.read_text()[-4000:]}")
        return "\n".join(told)

    def _log(self, stream: str, run: str, name: str, attempt: int) -> str:
        try:
            return self.api.log(stream, run, name, attempt)
        except ApiFailed as error:  # what is told otherwise is worth more than this
            return str(error)

    def state(self, stream: str, run: str) -> str:
        """Return the state of an instance."""
        return self.tables.states(stream)[run]

    def states(self, stream: str, run: str) -> dict[str, str | None]:
        """Return the states of an instance's tasks that are not mapped."""
        return {task["task_id"]: task["state"] for task in self.tables.tasks(stream, run) if task["map_index"] < 0}

    def task(self, stream: str, run: str, name: str = "work") -> dict[str, Any]:
        """Return state and try number of a task instance that is not mapped."""
        (found,) = [task for task in self.tables.tasks(stream, run) if task["task_id"] == name]
        return found

    def attempts(self, stream: str, run: str) -> list[StepAttempt]:
        """Return what the ledgers of one instance say."""
        return [StepAttempt(run, name, one) for name, index, one in self.tables.attempts(stream, run) if index < 0]

    def keys(self, stream: str, run: str) -> list[str]:
        """Return what the jobs of one instance carry, in the order of their attempts."""
        return [one.attempt.key for one in self.attempts(stream, run)]

    def jobs(self, stream: str, *runs: str) -> list[dict[str, Any]]:
        """Return the jobs of some instances as the lab has them, in the order in which they came to each system."""
        keys = {key for run in runs for key in self.keys(stream, run)}
        return [job for jobs in self.lab.jobs().values() for job in jobs if job["key"] in keys]

    def act(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a POST to Airflow's API."""
        return self.api._send("POST", path, dict(body))

    def clear(self, stream: str, run: str, *tasks: str, **more: Any) -> None:
        """Clear some steps, and nothing else unless asked to."""
        body = {"dry_run": False, "dag_run_id": run, "task_ids": list(tasks), "only_failed": False, **more}
        self.act(f"/api/v2/dags/{stream}/clearTaskInstances", body)


@dataclass
class Company:
    """Everything that is up, and the plays that are on."""

    root: Path
    database: str
    scenarios: Sequence[Scenario]
    outcomes: dict[str, Future[None]] = field(default_factory=dict)
    problems: list[str] | None = None
    """What speaks against "exactly once" over all that was played; None while something is still played."""

    def __post_init__(self) -> None:
        """Prepare the stack of what has to be stopped."""
        self._stack = ExitStack()

    def start(self) -> None:
        """Start lab, Airflow and all scenarios."""
        folder, dags, home = self.root / "templates", self.root / "dags", self.root / "home"
        shutil.copytree(story.templates(), folder)
        for path in folder.glob("*.yaml"):
            # Whatever the hour: what is not asked for does not start.
            path.write_text(re.sub(r"(?m)^schedule:\n(?: .*\n)+", "", path.read_text()))
        for path in (dags, home / "airflow" / "plugins"):
            path.mkdir(parents=True)
        for one in self.scenarios:
            for name, text in one.templates.items():
                (folder / f"{name}.yaml").write_text(text)
            for name, text in one.dags.items():
                (dags / f"{name}.py").write_text(text)
            for name, text in one.plugins.items():
                (home / "airflow" / "plugins" / f"{name}.py").write_text(text)
        own = {
            "name": "own",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(dags)},
        }
        settings = {
            "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "3",
            # A worker that was killed is noticed within a minute; one that only is slow on a busy machine is not.
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            # What has not changed is not read again; what has is read at once.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([template_bundle(folder), own]),
        }
        connections = {**story.CONNECTIONS, "s4": "sap_odata", "partner": "s3"}
        try:
            self.lab, self.airflow = self._stack.enter_context(
                stage(home, folder, self.database, connections=connections, settings=settings)
            )
            self.tables = Tables(self.airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
            self._stack.callback(self.tables.close)
            pool = ThreadPoolExecutor(len(self.scenarios), thread_name_prefix="scenario")
            self._stack.callback(pool.shutdown, wait=False, cancel_futures=True)
            for one in self.scenarios:
                self.outcomes[one.name] = pool.submit(self._play, one)
        except BaseException:
            self.stop()
            raise

    def outcome(self, told: Scenario) -> None:
        """Wait for a scenario, and raise what it raised."""
        try:
            self.outcomes[told.name].result()
        finally:
            if all(future.done() for future in self.outcomes.values()):
                self.close()

    def close(self) -> None:
        """When nothing is played any more: look at everything together, and stop it."""
        if self.problems is None:
            self.problems = self._all_that_is_wrong()
            self.stop()

    def everything(self) -> list[str]:
        """Wait for all scenarios; return what speaks against "exactly once"."""
        well = (pytest.skip.Exception, type(None))
        failed = [f"{name} failed" for name, one in self.outcomes.items() if not isinstance(one.exception(), well)]
        self.close()
        # What a scenario left half done is no news.
        return failed or self.problems or []

    def stop(self) -> None:
        """Stop everything."""
        self._stack.close()

    def _play(self, one: Scenario) -> None:
        place = self.root / "places" / one.name
        place.mkdir(parents=True)
        with self.airflow.api() as api:
            streams = [*one.templates, *one.dags]
            here = Stage(self.lab, self.airflow, api, self.tables, place, self.root / "templates", streams)
            here.until(lambda: {name for name in streams if name not in BROKEN} <= api.dag_ids())
            one.play(here)

    def _all_that_is_wrong(self) -> list[str]:
        with self.airflow.api() as api:
            attempts = [one for stream in sorted(api.dag_ids()) for one in _attempts(self.tables, stream)]
        found = [f"a fault was never met: {fault}" for fault in self.lab.open_faults()]
        return found + violations(attempts, self.lab.jobs())


BROKEN = ("typo",)
"""Templates that Airflow never loads, and is not to."""


def _attempts(tables: Tables, stream: str) -> Iterator[StepAttempt]:
    for run in tables.states(stream):
        for name, index, one in tables.attempts(stream, run):
            # A sub-stream is Airflow's own: the lab has no job of it.
            if one.system == AirflowStreams.identity:
                continue
            # A person said that it did not run; should there be a job of it after all, then nobody's.
            if one.closed_by.startswith("person:") and one.handle is None:
                continue
            yield StepAttempt(f"{stream} {run}", f"{name}[{index}]", one)


def jobs_of(lab: LabProcess, attempts: Sequence[StepAttempt]) -> dict[str, list[dict[str, Any]]]:
    """Return the jobs of some attempts by stand-in; that there are no others is found when all is over."""
    keys = {one.attempt.key for one in attempts}
    return {system: [job for job in jobs if job["key"] in keys] for system, jobs in lab.jobs().items()}


def go(path: Path) -> None:
    """Let the jobs end that wait for a file."""
    path.touch()
    os.utime(path)
