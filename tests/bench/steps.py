"""Delegated steps per second on real Airflow, and what one costs, beside stock Airflow in the same run.

PostgreSQL, scheduler with LocalExecutor, api-server, triggerer and dag-processor are real processes on this machine.
Each kind of step runs alone, one after the other, on the same Airflow. First comes a run that is not measured: a
triggerer's first request costs it ten CPU seconds, and an api-server's some. All runs are made while the DAG is
paused; the clock runs from its release to the end of the last task.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from airflow_enterprise_orch.demo.api import AirflowApi
from airflow_enterprise_orch.demo.processes import adopt_orphans, raise_on_sigterm
from tests.bench.airflow_stage import STEPS_PER_RUN, WORK, Stage, staged

KINDS = {
    "noop": "no-op PythonOperator",
    "delegated": "delegated step",
    "deferrable": "stock deferrable operator",
    "trigger_ends": "stock, the trigger ends it",
}
AIRFLOW = ("workers", "scheduler", "api-server", "triggerer", "dag-processor")
IDLE = 15.0
"""Seconds for which Airflow is measured with nothing to do."""
SETTLE = 5.0
STALLED = 300.0
"""Seconds without any progress after which a run is given up."""
WARM_UP = "warm_up"


@dataclass
class Measured:
    """One kind of step.

    :param cpu: CPU seconds by part.
    :param spurious: tasks that needed more than one try, or did not succeed, with what Airflow says of them.
    """

    kind: str
    steps: int
    seconds: float
    cpu: dict[str, float]
    spurious: list[str] = field(default_factory=list)

    def line(self, idle: Mapping[str, float]) -> str:
        """Return the row of the table.

        :param idle: what each part uses with nothing to do, CPU seconds per second.
        """
        ms = {name: 1000 * used / self.steps for name, used in self.cpu.items()}
        parts = " | ".join(f"{ms[name]:.0f}" for name in AIRFLOW)
        total = sum(ms[name] for name in AIRFLOW)
        anyway = 1000 * sum(idle[name] for name in AIRFLOW) * self.seconds / self.steps
        return (
            f"| {KINDS[self.kind]} | {self.steps} | {self.steps / self.seconds:.2f} | {total - anyway:.0f} | "
            f"{total:.0f} | {parts} | {ms['database']:.0f} | {ms['lab']:.0f} | "
            f"{len(self.spurious)} |"
        )


HEAD = (
    "| step | steps | steps/s | Airflow CPU ms/step, idling taken off | with it | workers | scheduler | api-server | "
    "triggerer | dag-processor | PostgreSQL | lab | tries that failed |\n|" + "---|" * 13
)


def idling(stage: Stage) -> dict[str, float]:
    """Return what each part uses with nothing to do: CPU seconds per second of clock time."""
    before = stage.cpu_seconds()
    time.sleep(IDLE)
    after = stage.cpu_seconds()
    return {name: (after[name] - before[name]) / IDLE for name in after}


def idle_line(idle: Mapping[str, float]) -> str:
    """Return the row of what Airflow uses with nothing to do, in milliseconds per second."""
    ms = {name: 1000 * used for name, used in idle.items()}
    parts = " | ".join(f"{ms[name]:.0f}" for name in AIRFLOW)
    total = sum(ms[name] for name in AIRFLOW)
    return f"| nothing: ms per second | | | | {total:.0f} | {parts} | {ms['database']:.0f} | {ms['lab']:.0f} | |"


def measure(stage: Stage, api: AirflowApi, kind: str, steps: int) -> Measured:
    """Run one kind of step."""
    runs = [f"{kind}_{number}" for number in range(max(1, steps // STEPS_PER_RUN))]
    stage.until_known(api, kind)
    _make(api, kind, [WARM_UP])
    _let_run(stage, api, kind)
    _make(api, kind, runs)
    time.sleep(SETTLE)  # what the warm-up left to do is not the measured runs'
    before, began = stage.cpu_seconds(), time.time()
    _let_run(stage, api, kind)
    after = stage.cpu_seconds()
    tasks = [task for task in api.task_instances(kind) if task["dag_run_id"] != WARM_UP]
    ended = max(datetime.fromisoformat(task["end_date"]).timestamp() for task in tasks)
    spurious = [
        f"{task['dag_run_id']}.{task['task_id']}: {task['state']} in try {task['try_number']}"
        for task in tasks
        if task["state"] != "success" or task["try_number"] != 1
    ]
    used = {name: after[name] - before[name] for name in after}
    return Measured(kind, len(tasks), ended - began, used, spurious)


def _make(api: AirflowApi, kind: str, runs: Sequence[str]) -> None:
    """Make runs that wait until the DAG is let go."""
    api._send("PATCH", f"/api/v2/dags/{kind}", {"is_paused": True})
    for run in runs:
        api.trigger(kind, run, {})


def _let_run(stage: Stage, api: AirflowApi, kind: str) -> None:
    """Let the runs go and wait for their end."""
    api._send("PATCH", f"/api/v2/dags/{kind}", {"is_paused": False})
    _until_over(stage, api, kind)


def _until_over(stage: Stage, api: AirflowApi, kind: str) -> None:
    """Wait, asking rarely: what the api-server does for us is in its figure."""
    path = f"/api/v2/dags/{kind}/dagRuns?limit=1&state=queued&state=running"
    # Airflow works on many runs at once: for a long time none may end, although steps do.
    steps = f"/api/v2/dags/{kind}/dagRuns/~/taskInstances?limit=1&state=success&state=failed"
    done, since = -1, time.monotonic()
    while left := int(api._send("GET", path)["total_entries"]):
        stage.airflow.processes.check()
        now = int(api._send("GET", steps)["total_entries"])
        if now != done:
            done, since = now, time.monotonic()
        if time.monotonic() - since > STALLED:
            raise SystemExit(f"{kind}: with {left} runs to go, no step has ended for {STALLED:.0f} s")
        time.sleep(2)


def run(stage: Stage, kinds: Sequence[str], steps: int) -> list[str]:
    """Measure, print a row for each kind; return what is not as promised."""
    problems: list[str] = []
    print(HEAD, flush=True)
    idle = idling(stage)
    print(idle_line(idle), flush=True)
    with stage.airflow.api() as api:
        for kind in kinds:
            measured = measure(stage, api, kind, steps)
            print(measured.line(idle), flush=True)
            if kind == "delegated":
                problems += _broken_promises(stage, measured)
            elif measured.spurious:
                print(f"\n{kind}: {len(measured.spurious)} tries failed, e.g. {measured.spurious[0]}\n")
    return problems


def _broken_promises(stage: Stage, measured: Measured) -> list[str]:
    keys = Counter(stage.handed_over())
    problems = list(measured.spurious)
    problems += [f"key {key} is on {count} jobs that ran" for key, count in keys.items() if count > 1]
    steps = measured.steps + STEPS_PER_RUN  # those of the warm-up ran too
    if len(keys) != steps:
        problems.append(f"{len(keys)} jobs ran for {steps} steps")
    return problems


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m tests.bench.steps``; return its exit status: 1 when a delegated step failed or ran twice."""
    options = _options(argv)
    raise_on_sigterm()
    adopt_orphans()
    home = Path(tempfile.mkdtemp(prefix="enterprise-orch-bench-"))
    try:
        with staged(home, options.system, options.seconds) as stage:
            problems = run(stage, options.kinds.split(","), options.steps)
            if options.keep:
                shutil.copytree(stage.airflow.home, options.keep, dirs_exist_ok=True, symlinks=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    for problem in problems:
        print(f"NOT AS PROMISED: {problem}")
    return 1 if problems else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.steps", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="of each kind (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="that each waits (default: %(default)s)")
    parser.add_argument("--system", choices=sorted(WORK), default="folder", help="(default: %(default)s)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which, in order (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="a folder that gets Airflow's home afterwards, logs and all")
    options = parser.parse_args(argv)
    if unknown := set(options.kinds.split(",")) - set(KINDS):
        parser.error(f"--kinds: {', '.join(sorted(unknown))}: choose from {', '.join(KINDS)}")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
