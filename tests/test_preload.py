"""What a scheduler imports for the tasks that it forks.

How a user would notice that it is fake: every SSH step pays for the SSH client's import again; a scheduler that forks
nothing carries clients; one package that is not installed keeps the rest from being loaded, or the scheduler from
starting; DAGs with ``end_from_trigger`` are refused, because we brought a listener.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from airflow_enterprise_orch import preload

PROCESS = """
import json, os, sys
sys.argv = ["airflow", *sys.argv[1:]]
from airflow.listeners.listener import get_listener_manager
manager = get_listener_manager()  # loads the plugins, as a starting scheduler does
reading, writing = os.pipe()
if os.fork() == 0:
    from airflow_enterprise_orch.preload import TEMPLATES
    seen = [name for name in ("asyncssh", "airflow.providers.ssh.hooks.ssh", *TEMPLATES) if name in sys.modules]
    os.write(writing, json.dumps(seen).encode())
    os._exit(0)
os.wait()
threads = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 1
seen = json.loads(os.read(reading, 65536))
print(json.dumps({"seen": seen, "threads": threads, "listeners": manager.has_listeners}))
"""


def started(*command: str, executor: str) -> dict[str, Any]:
    """Return what a task finds that is forked from such a process."""
    environment = {**os.environ, "AIRFLOW__CORE__EXECUTOR": executor}
    code = [sys.executable, "-c", PROCESS, *command]
    done = subprocess.run(code, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


CLIENTS = {"asyncssh", "airflow.providers.ssh.hooks.ssh"}
OURS = {name for name in preload.TEMPLATES if not name.startswith("airflow.")}


def test_a_task_forked_by_a_scheduler_finds_operator_and_clients_imported() -> None:
    found = started("scheduler", executor="LocalExecutor")
    assert set(found["seen"]) >= {*preload.STEPS, *CLIENTS}
    assert found["threads"] == 1, "what is imported ahead started a thread, which does not survive a fork"


def test_a_reading_of_a_template_finds_the_compiler_imported_and_no_client() -> None:
    found = started("dag-processor", executor="CeleryExecutor")
    assert set(found["seen"]) >= set(preload.TEMPLATES)
    assert not CLIENTS & set(found["seen"])
    assert found["threads"] == 1, "what is imported ahead started a thread, which does not survive a fork"


@pytest.mark.parametrize(
    ("command", "executor"),
    [
        ("scheduler", "CeleryExecutor"),
        ("api-server", "LocalExecutor"),
        ("triggerer", "LocalExecutor"),
    ],
)
def test_a_process_that_forks_neither_imports_nothing(command: str, executor: str) -> None:
    assert not (CLIENTS | OURS) & set(started(command, executor=executor)["seen"])


def test_no_listener_is_registered() -> None:
    """Airflow refuses DAGs with ``end_from_trigger`` where a plugin brings a listener, whoever wrote them."""
    assert started("scheduler", executor="LocalExecutor")["listeners"] is False


def test_a_client_that_is_not_installed_hinders_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from airflow_enterprise_orch.delegation import system
    from airflow_enterprise_orch.systems.unix.registration import UNIX

    broken = replace(UNIX, name="a", opener="no_such_package.hook:open", clients=("no_such_client",), steps=())
    monkeypatch.setattr(system, "registrations", lambda: (broken, UNIX))
    loaded = preload.imported.__wrapped__(preload.STEPS, clients=True)
    assert {*preload.STEPS, "asyncssh", "airflow_enterprise_orch.systems.unix.hook"} <= set(loaded)
    assert not {"no_such_client", "no_such_package.hook"} & set(loaded)
