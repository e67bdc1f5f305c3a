"""Real Airflow on PostgreSQL with the DAGs that the benchmark of steps runs, and who is who among the processes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from airflow_enterprise_orch.demo.airflow import LocalAirflow
from airflow_enterprise_orch.demo.api import AirflowApi
from airflow_enterprise_orch.demo.lab import LabProcess
from airflow_enterprise_orch.demo.processes import ProcessGroup
from airflow_enterprise_orch.demo.run import template_bundle
from tests.bench import cpu
from tests.faults.airflow_kills.database import PostgresServer

ROOT = Path(__file__).parents[2]
STEPS_PER_RUN = 10
CONNECTION = "bench"
"""The id of the one connection that delegated steps use."""

WORK = {
    "folder": "bench.wait: {{connection: bench, seconds: {seconds}}}",
    "zosmf": 'mainframe.job: {{connection: bench, jcl: "{jcl}"}}',
    "ssh": "unix.script: {{connection: bench, script: 'sleep {seconds}'}}",
}
"""The work of a delegated step, by system."""
JCL = "//BENCH JOB (ACCT),CLASS=A\\n//S1 EXEC PGM=IEFBR14"

STOCK = '''
"""Stock Airflow beside which the delegated steps are measured: an airflow dag per kind."""
from datetime import timedelta

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, BaseOperator


class Waits(BaseOperator):
    """A stock deferrable operator at its least: defer, wait, resume."""

    def __init__(self, *, ends: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.ends = ends

    def execute(self, context):
        self.defer(
            trigger=TimeDeltaTrigger(timedelta(seconds={seconds}), end_from_trigger=self.ends), method_name="back"
        )

    def back(self, context, event):
        return None


def nothing():
    return None


for kind in ("noop", "deferrable", "trigger_ends"):
    with DAG(kind, schedule=None, is_paused_upon_creation=True, max_active_tasks=100) as dag:
        for number in range({steps}):
            if kind == "noop":
                PythonOperator(task_id=f"s{{number}}", python_callable=nothing)
            else:
                Waits(task_id=f"s{{number}}", ends=kind == "trigger_ends")
    globals()[kind] = dag
'''


@dataclass
class Stage:
    """What is up."""

    airflow: LocalAirflow
    lab: LabProcess | None
    folder: Path
    database_pid: int
    lab_pid: int

    def until_known(self, api: AirflowApi, dag_id: str) -> None:
        """Wait until Airflow has read a DAG; :raises SystemExit: when it says that a file is wrong."""
        while dag_id not in api.dag_ids():
            self.airflow.processes.check()
            for error in api.import_errors():
                raise SystemExit(f"{error['filename']}: {error['stack_trace']}")
            time.sleep(0.5)

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU seconds that each part has used so far.

        The LocalExecutor's workers and all tasks are below the scheduler.
        """
        running = self.airflow.processes.running
        scheduler, workers = cpu.of_tree(running["scheduler"].pid)
        parts = {"scheduler": scheduler, "workers": workers}
        for name in ("api-server", "triggerer", "dag-processor"):
            parts[name] = sum(cpu.of_tree(running[name].pid))
        parts["database"] = sum(cpu.of_tree(self.database_pid))
        parts["lab"] = sum(cpu.of_tree(self.lab_pid)) if self.lab_pid else 0.0
        return parts

    def handed_over(self) -> list[str]:
        """Return the key of every job that ran, as the system's own record tells it."""
        if self.lab is None:
            return [path.name for path in self.folder.iterdir()]
        return [job["key"] for jobs in self.lab.jobs().values() for job in jobs if job["ran"]]


@contextmanager
def staged(
    home: Path,
    system: str,
    seconds: float,
    *,
    templates: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Stage]:
    """Start PostgreSQL, the system and Airflow; stop all at the end.

    :param system: a key of :data:`WORK`.
    :param seconds: how long each job and each stock trigger waits.
    :param templates: more of them, by file name without its suffix.
    :param settings: more of them, as environment variables.
    """
    with ExitStack() as stack:
        before = {child.pid for child in psutil.Process().children()}
        database = stack.enter_context(PostgresServer()).url
        (database_pid,) = {child.pid for child in psutil.Process().children()} - before
        folder = home / "jobs"
        folder.mkdir(parents=True)
        lab: LabProcess | None = None
        connection = json.dumps({"conn_type": "generic", "extra": {"root": str(folder)}})
        lab_pid = 0
        if system != "folder":
            processes = ProcessGroup(home / "process-logs")
            stack.callback(processes.stop)
            lab = LabProcess(processes, {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")})
            lab.start()
            if system == "zosmf":
                lab.fault("zosmf", {"on": "submit", "do": "run", "seconds": seconds, "times": 1_000_000})
            connection, lab_pid = lab.connection(system), processes.running["lab"].pid
        airflow = LocalAirflow(
            home / "airflow",
            bundles=[template_bundle(_templates(home, system, seconds, templates or {})), _stock_bundle(home, seconds)],
            connections={CONNECTION: connection},
            database=database,
            settings={
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(_distribution(home))]),
                "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
                **(settings or {}),
            },
        )
        stack.enter_context(airflow)
        yield Stage(airflow, lab, folder, database_pid, lab_pid)


def _templates(home: Path, system: str, seconds: float, more: Mapping[str, str]) -> Path:
    work = WORK[system].format(seconds=seconds, jcl=JCL)
    steps = "".join(f"  s{number}:\n    {work}\n" for number in range(STEPS_PER_RUN))
    folder = home / "templates"
    folder.mkdir()
    (folder / "delegated.yaml").write_text(
        "value_stream: delegated\ntitle: Delegated\n"
        "business: {domain: Bench, owner: bench, criticality: low, duplicates: allow}\n"
        f"steps:\n{steps}"
    )
    for name, text in more.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def _stock_bundle(home: Path, seconds: float) -> dict[str, object]:
    folder = home / "stock"
    folder.mkdir()
    (folder / "stock.py").write_text(STOCK.format(seconds=seconds, steps=STEPS_PER_RUN))
    return {
        "name": "stock",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(folder)},
    }


def _distribution(home: Path) -> Path:
    """Write what pip would install of a package that brings the system: its entry point."""
    place = home / "distribution"
    info = place / "enterprise_orch_bench-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: enterprise-orch-bench\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[airflow_enterprise_orch.systems]\nbench = tests.bench.file_system:REGISTRATION\n"
    )
    return place
