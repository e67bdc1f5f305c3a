"""What all tests share: Airflow never reads or writes the home of whoever runs them."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# Airflow reads its configuration when it is first imported, so this comes before any test module.
_home = tempfile.mkdtemp(prefix="enterprise-orch-tests-")
# Registered before Airflow's own clean-up, so it runs after it.
atexit.register(shutil.rmtree, _home, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[_name]
os.environ["AIRFLOW_HOME"] = _home
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
# What the examples of the step "airflow" use.
os.environ["AIRFLOW__ENTERPRISE_ORCH__AIRFLOW_OPERATORS"] = "airflow.providers.amazon.aws.operators.s3.*"
# Below the temporary folder by default, where another account's lock files may be in the way.
os.environ["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH"] = str(Path(_home, "bundles"))
# A shell that starts us in the background has us ignore Ctrl-C, and what we start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one tester take all tests of a module, whose fixtures would otherwise be made by each of them.

    Modules with long tests that share nothing dear say so (``pytestmark = pytest.mark.spread``).
    """
    for item in items:
        if not any(item.iter_markers("xdist_group")) and not any(item.iter_markers("spread")):
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(Path(__file__).parent).as_posix()))


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite file with Airflow's tables, to be copied: to make one takes half a minute of processor time."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = shared / "migrated.db"
    with (shared / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            environment = {
                **os.environ,
                "AIRFLOW_HOME": str(base / "migrated"),
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{shared}/migrating.db",
            }
            command = [sys.executable, "-m", "airflow", "db", "migrate"]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
            (shared / "migrating.db").rename(made)
    return made


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the checkout."""
    return Path(__file__).parents[1]
