"""A stream that runs another one, on real Airflow processes.

How a user would notice that it is fake: the books closed twice because a worker died in between, or because somebody
cleared a step that was waiting.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_enterprise_orch.demo.airflow import LocalAirflow
from airflow_enterprise_orch.demo.api import AirflowApi
from airflow_enterprise_orch.demo.lab import LabProcess
from airflow_enterprise_orch.demo.processes import ProcessGroup
from airflow_enterprise_orch.demo.run import template_bundle

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.xdist_group("airflow")]

CLOSE_COMPANY = """
value_stream: close_company
title: Close of a company
business: {domain: Tests, owner: tests, key: "{{ params.company }}-{{ params.seconds }}"}
params: {company: {type: string}, seconds: {type: integer}, good: {type: boolean, default: true}}
steps:
  post:
    unix.script:
      connection: virtual_server
      script: 'sleep "$1"; echo "PAGES=4"; case "$2" in [Tt]rue) ;; *) exit 1 ;; esac'
      args: ["{{ params.seconds }}", "{{ params.good }}"]
    outputs: {pages: {log: log, match: 'PAGES=(\\d+)', type: integer}}
"""
CLOSE_GROUP = """
value_stream: close_group
title: Close of the group
business: {domain: Tests, owner: tests}
params: {seconds: {type: integer}, good: {type: boolean, default: true}}
steps:
  close:
    stream:
      run: close_company
      params: {company: ACME, seconds: "{{ params.seconds }}", good: "{{ params.good }}"}
    outputs: {pages: {step: post, value: pages, type: integer}}
  route:
    after: [close]
    branch:
      - {when: steps.close.pages == 4 && steps.close.business_key.startsWith("ACME-"), then: [report]}
      - otherwise: []
  report:
    unix.script: {connection: virtual_server, script: 'echo "$1"', args: ["{{ steps.close.business_key }}"]}
"""
KILLER = """
import os, signal
from pathlib import Path
from airflow_enterprise_orch.value_stream.airflow_streams import AirflowStreams

started = AirflowStreams.submit

async def submit(self, work, key):
    handle = await started(self, work, key)
    marker = Path(os.environ["AIRFLOW_HOME"]) / "killed"
    if not marker.exists():
        marker.write_text(handle.job_id)
        os.kill(os.getpid(), signal.SIGKILL)
    return handle

AirflowStreams.submit = submit
"""
"""A plugin for Airflow: the first worker that starts an instance dies before it has noted anything."""


class Stage:
    """Airflow, and small ways to look at it."""

    def __init__(self, airflow: LocalAirflow, api: AirflowApi) -> None:
        self.airflow, self.api = airflow, api

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that must come."""
        deadline = time.monotonic() + 200
        while not holds():
            self.airflow.processes.check()
            if time.monotonic() > deadline:
                pytest.fail(self._known())
            time.sleep(0.5)

    def _known(self) -> str:
        told = []
        for stream in sorted(self.api.dag_ids()):
            for run in self.api.runs(stream):
                for task in self.api.task_instances(stream, run):
                    told.append(f"{stream} {run} {task['task_id']} {task['map_index']} {task['state']}")
                    if task["map_index"] < 0:
                        told += [self.api.log(stream, run, task["task_id"], n + 1) for n in range(task["try_number"])]
        return "\n".join(told)

    def state(self, stream: str, run: str) -> str:
        return str(self.api.runs(stream)[run]["state"])

    def task(self, stream: str, run: str, name: str) -> dict[str, Any]:
        (found,) = [task for task in self.api.task_instances(stream, run) if task["task_id"] == name]
        return found

    def clear(self, stream: str, run: str, *tasks: str) -> None:
        body = {"dry_run": False, "dag_run_id": run, "task_ids": list(tasks), "only_failed": False,
                "include_downstream": True}  # fmt: skip
        self.api._send("POST", f"/api/v2/dags/{stream}/clearTaskInstances", body)


def test_a_stream_runs_another_one_exactly_once(tmp_path: Path) -> None:
    folder, home = tmp_path / "templates", tmp_path / "airflow"
    for path in (folder, home / "plugins"):
        path.mkdir(parents=True)
    (folder / "close_company.yaml").write_text(CLOSE_COMPANY)
    (folder / "close_group.yaml").write_text(CLOSE_GROUP)
    (home / "plugins" / "killer.py").write_text(KILLER)
    processes = ProcessGroup(tmp_path / "process-logs")
    lab = LabProcess(processes, {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")})
    try:
        lab.start()
        airflow = LocalAirflow(
            home,
            bundles=[template_bundle(folder)],
            connections={"virtual_server": lab.connection("ssh")},
            settings={"AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "3"},
        )
        with airflow, airflow.api() as api:
            here = Stage(airflow, api)
            here.until(lambda: {"close_company", "close_group"} <= api.dag_ids())

            # The worker that starts the instance is killed at once; the next try finds what it started.
            api.trigger("close_group", "killed", {"seconds": 1})
            here.until(lambda: here.state("close_group", "killed") in ("success", "failed"))
            (first,) = api.runs("close_company")
            assert first == (home / "killed").read_text(), "nobody was killed"
            assert here.state("close_group", "killed") == "success", here._known()
            assert here.task("close_group", "killed", "close")["try_number"] == 2
            assert here.task("close_group", "killed", "report")["state"] == "success"
            told = api.xcoms("close_group", "killed", "close")
            assert (told["return_value"]["business_key"], told["return_value"]["run_id"]) == ("ACME-1", first)
            child = api.runs("close_company")[first]
            parent = {"stream": "close_group", "instance": "killed", "step": "close"}
            assert child["conf"]["orch.started_by"] == parent
            (job,) = api._send("GET", "/enterprise-orch/api/v1/dags/close_group/dagRuns/killed/jobs")["steps"][0][
                "jobs"
            ]
            assert (job["job_name"], job["job_id"], job["verdict"]) == ("close_company", first, "success")

            # A clear of the waiting step waits on for the same instance.
            api.trigger("close_group", "cleared", {"seconds": 20})
            here.until(lambda: here.task("close_group", "cleared", "close")["state"] == "deferred")
            here.clear("close_group", "cleared", "close")
            here.until(lambda: here.state("close_group", "cleared") in ("success", "failed"))
            assert here.state("close_group", "cleared") == "success", here._known()
            assert len(api.runs("close_company")) == 2

            # A failure is the step's failure and names the instance and its step; a clear starts another instance.
            api.trigger("close_group", "fails", {"seconds": 0, "good": False})
            here.until(lambda: here.state("close_group", "fails") == "failed")
            assert "its step 'post' failed" in api.log("close_group", "fails", "close", 1)
            assert len(api.runs("close_company")) == 3
            here.clear("close_group", "fails", "close")
            here.until(lambda: len(api.runs("close_company")) == 4)
            here.until(lambda: here.state("close_group", "fails") == "failed")
            assert len(api.runs("close_company")) == 4
    finally:
        processes.stop()
