"""Nothing that was started may survive, whatever it does to get away."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from airflow_enterprise_orch.demo import processes
from airflow_enterprise_orch.demo.processes import ProcessFailed, ProcessGroup

PYTHON = [sys.executable, "-c"]
# A child in a session of its own, ignoring SIGTERM; its pid goes to a file.
STUBBORN = (
    "import os, signal, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "open(sys.argv[1] + '.tmp', 'w').write(str(os.getpid())); os.rename(sys.argv[1] + '.tmp', sys.argv[1])\n"
    "time.sleep(600)\n"
)
PARENT = (
    "import subprocess, sys, time\n"
    f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}, sys.argv[1]], process_group=0)\n"
    "time.sleep(600)\n"
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "FORCE_AFTER", 0.3)


def pid_in(path: Path) -> int:
    while not path.exists():
        time.sleep(0.02)
    return int(path.read_text())


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_stop_ends_a_stubborn_grandchild_in_a_group_of_its_own(tmp_path: Path):
    group = ProcessGroup(tmp_path)
    parent = group.start("parent", [*PYTHON, PARENT, str(tmp_path / "pid")], os.environ)
    grandchild = pid_in(tmp_path / "pid")
    group.stop()
    assert parent.returncode is not None
    assert not alive(grandchild)
    assert group.running == {}


def test_stop_finds_what_outlived_its_parent(tmp_path: Path):
    group = ProcessGroup(tmp_path)
    parent = group.start("parent", [*PYTHON, PARENT, str(tmp_path / "pid")], os.environ)
    grandchild = pid_in(tmp_path / "pid")
    parent.kill()
    parent.wait()
    assert alive(grandchild)
    group.stop()
    assert not alive(grandchild)


def test_process_that_ended_is_reported_with_the_end_of_its_log(tmp_path: Path):
    group = ProcessGroup(tmp_path)
    group.start("one", [*PYTHON, "print('the reason'); raise SystemExit(3)"], os.environ).wait()
    with pytest.raises(ProcessFailed, match=r"(?s)one ended with exit code 3; the end of its log .*the reason"):
        group.check()
    group.stop()


def test_stop_is_not_disturbed_by_another_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    group = ProcessGroup(tmp_path)
    group.start("one", [*PYTHON, STUBBORN, str(tmp_path / "pid")], os.environ)
    pid = pid_in(tmp_path / "pid")
    monkeypatch.setattr(processes, "GRACE", 0.2)
    look = processes._tree

    def ctrl_c(number: int) -> set[psutil.Process]:
        os.kill(os.getpid(), signal.SIGINT)
        return look(number)

    monkeypatch.setattr(processes, "_tree", ctrl_c)
    try:
        group.stop()
    except KeyboardInterrupt:
        pytest.fail("it was disturbed")
    assert not alive(pid)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
