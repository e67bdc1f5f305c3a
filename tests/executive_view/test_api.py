"""The read API, on a real Airflow database and with Airflow's own authorisation.

How a user would notice that it is fake: it answers without a login, or shows a stream that Airflow would refuse.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from pathlib import Path

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


def test_airflow_mounts_it_and_refuses_who_is_nobody(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "airflow.db")
    assert _run(REFUSED, tmp_path) == "401 200"


def test_the_description_that_the_front_end_is_typed_from_is_what_the_api_says(root: Path) -> None:
    script = root / "scripts" / "dump_openapi.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
