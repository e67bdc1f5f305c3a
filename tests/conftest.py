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
from typing import Any

import pytest

from tests.absent import pytest_sessionfinish as pytest_sessionfinish  # pytest looks for them here
from tests.absent import pytest_terminal_summary as pytest_terminal_summary

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


SPREAD = frozenset(
    f"tests/{module}.py"
    for module in (
        "contract/test_contract",
        "contract/test_output_while_waiting",
        "faults/simulation/test_simulation",
        "faults/submission_kills/test_mutations",
        "faults/submission_kills/test_submission_kills",
        "systems/fileshare/test_fileshare_deliveries",
        "systems/test_calls_per_poll",
    )
)
"""Modules whose tests are long, mostly by waiting, and share nothing dear: each tester may take any of them."""
TOGETHER = {
    f"tests/executive_view/test_{module}.py": "the served executive view"
    for module in ("instance_list", "instance_page", "overview", "redacting", "stream_pages", "visibility")
} | {
    f"tests/executive_view/test_{module}.py": "people who act"
    for module in ("people_act", "people_hold_jobs", "actions_on_many", "command_line")
}
"""Modules that share a fixture of the session: one tester takes them all."""
LONGEST = (
    "people who act",
    *(
        f"tests/{module}.py"
        for module in (
            "value_stream/test_same_dag",
            "test_build",
            "value_stream/test_plan",
            "value_stream/test_on_airflow",
            "executive_view/test_storm",
            "systems/sap/test_sap_on_airflow",
        )
    ),
)
"""What one tester is busy with for more than a minute: begun first."""
AIRFLOWS = ("tests/e2e/", "tests/faults/airflow_kills/test_airflow_kills", "demo", "order_on_sqlite", "tests/browser/")
"""What runs with an Airflow of its own. One tester is busy with the first, the other works through the rest: none of
that is left over for the end, when the first tester would take it on although the other one has nothing to do."""
SLOW = ("tests/e2e/", "tests/browser/", "tests/faults/airflow_kills/", "tests/bench/")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let one tester take all tests of a module, whose fixtures would otherwise be made by each of them.

    Not by ``--dist loadgroup``, whose marks reach nobody with this version of pytest.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    return ByModule(config, log)


def unit_of(nodeid: str) -> str:
    """Return the name of what one tester takes as a whole."""
    module = nodeid.partition("::")[0]
    return nodeid if module in SPREAD else TOGETHER.get(module) or airflow_of(nodeid) or module


def airflow_of(nodeid: str) -> str:
    """Return which of :data:`AIRFLOWS` a test needs; "" for none."""
    if nodeid.startswith("tests/e2e/test_demo.py"):
        return "demo"
    if nodeid.endswith("::test_two_orders_on_sqlite"):
        return "order_on_sqlite"
    return next((one for one in AIRFLOWS if nodeid.startswith(one)), "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, let tests that wait go beside tests that compute, and the company's books be last.

    Takes effect with ``--no-loadscope-reorder``: otherwise the units go by their number of tests, so those that wait,
    of one test each, would be left for the end, when nothing is there to be computed meanwhile.
    """
    for item in items:
        if item.get_closest_marker("e2e") and not item.nodeid.startswith(SLOW):
            raise pytest.UsageError(f"{item.nodeid} is marked e2e, and `make test` looks for such only in {SLOW}")
    rank = {name: number for number, name in enumerate((*LONGEST, *AIRFLOWS), start=-len(LONGEST))}
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        units.setdefault(unit_of(item.nodeid), []).append(item)
    first = sorted((unit for unit in units if rank.get(unit, 0) < 0), key=rank.__getitem__)
    ordinary = [unit for unit in units if unit not in rank]
    waiting = [unit for unit in ordinary if "::" in unit]
    computing = sorted((unit for unit in ordinary if "::" not in unit), key=lambda unit: -len(units[unit]))
    mixed = sorted(
        (number / len(several), unit) for several in (waiting, computing) for number, unit in enumerate(several)
    )
    last = sorted((unit for unit in units if rank.get(unit, -1) >= 0), key=rank.__getitem__)
    items[:] = [item for unit in (*first, *(unit for _, unit in mixed), *last) for item in units[unit]]


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
