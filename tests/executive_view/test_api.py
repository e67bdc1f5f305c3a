"""The read API, on a real Airflow database and with Airflow's own authorisation.

How a user would notice that it is fake: it answers without a login, or shows a stream that Airflow would refuse.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, sys
from datetime import UTC, datetime
from airflow.models.dagrun import DagRun
from airflow.models.task_state_store import TaskStateStoreModel as Cell
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType, DagRunTriggeredByType
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.delegation.ledger import *
from airflow_enterprise_orch.delegation.attempt import *
from airflow_enterprise_orch.delegation.ledger_store import ledger_cell
from airflow_enterprise_orch.executive_view.api import read_jobs
from fastapi import HTTPException

done = Attempt(1, "K" * 20, state=AttemptState.CLOSED, system="zosmf://host:443", verdict="success",
               handle=JobHandle("K" * 20, "JOB00042", "BOOKORD"), closed_by="system")
with create_session() as session:
    run = DagRun(dag_id="orders", run_id="r1", run_type=DagRunType.MANUAL, state="running",
                 run_after=datetime.now(UTC), triggered_by=DagRunTriggeredByType.TEST)
    session.add(run)
    session.flush()
    for task, value in (("book", Ledger((done,)).to_json()), ("broken", {"version": 99})):
        session.add(Cell(dag_run_id=run.id, dag_id="orders", run_id="r1", task_id=task, map_index=-1,
                         key=ledger_cell(2), value=json.dumps(value)))
        session.add(Cell(dag_run_id=run.id, dag_id="orders", run_id="r1", task_id=task, map_index=-1,
                         key=ledger_cell(1), value=json.dumps(Ledger().to_json())))
with create_session() as session:
    answer = read_jobs(session, "orders", "r1").model_dump()
    try:
        read_jobs(session, "orders", "no-such-run")
    except HTTPException as error:
        answer["missing"] = error.status_code
print(json.dumps(answer))
"""

REFUSED = """
from airflow.api_fastapi.app import create_app
from starlette.testclient import TestClient
path = "/enterprise-orch/api/v1/dags/orders/dagRuns/r1/jobs"
with TestClient(create_app()) as client:
    print(client.get(path).status_code, client.get("/enterprise-orch/openapi.json").status_code)
"""


def _run(program: str, home: Path) -> str:
    environment = {
        "PATH": "/usr/bin:/bin",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


def test_it_tells_the_remote_jobs_of_an_instance_and_refuses_who_is_nobody(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "airflow.db")
    answer = json.loads(_run(PROGRAM, tmp_path))
    book, broken = answer["steps"]
    assert book["task_id"] == "book"
    assert book["jobs"][0]["job_id"] == "JOB00042"
    assert book["jobs"][0]["verdict"] == "success"
    assert "no ledger of delegated jobs" in broken["problem"]
    assert answer["missing"] == 404
    assert _run(REFUSED, tmp_path) == "401 200"
