"""What all tests share: Airflow never reads or writes the home of whoever runs them."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
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


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the checkout."""
    return Path(__file__).parents[1]
