"""``enterprise-orch demo`` can be stopped at any moment, and then nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

DEMO = [sys.executable, "-m", "airflow_enterprise_orch", "demo"]
IN_FLIGHT = """
from types import SimpleNamespace
from airflow_enterprise_orch.demo import run, story
orders = story.instances()
story.instances = lambda count: [orders[0], orders[10]]  # the one has a script, the other a container
story.MISHAPS = [SimpleNamespace(stand_in="ssh", fault={"on": "submit", "do": "run", "seconds": 3600})]
raise SystemExit(run.main([]))
"""
"""The demo with two orders, whose script is still at work when everything else is done."""


def of(place: Path) -> list[psutil.Process]:
    """Return every process that works below ``place``, names it, or has it in its environment, whatever its parent."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            told = [process.cwd(), *process.cmdline(), *process.environ().values()]
            if process.pid != os.getpid() and any(str(place) in text for text in told):
                found.append(process)
    return found


def named(processes: Sequence[psutil.Process], *words: str) -> bool:
    """Return whether one of them has all these words in its command line."""
    lines = []
    for process in processes:
        with suppress(psutil.Error):
            lines.append(" ".join(process.cmdline()))
    return any(all(word in line for word in words) for line in lines)


def stop_when(
    command: Sequence[str], place: Path, ready: Callable[[str, Sequence[psutil.Process]], bool], number: signal.Signals
) -> int:
    """Start a demo, send the signal once it is ``ready`` and return its exit code; nothing of it may be left."""
    # Its log is a file of ours and its files are below a folder of ours, so that all it leaves would be seen.
    temporary, log = place / "tmp", place / "log"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        demo = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, cwd=place, start_new_session=True
        )
    try:
        while not ready(log.read_text(), of(temporary)):
            assert demo.poll() is None, log.read_text()
            time.sleep(0.2)
        os.killpg(demo.pid, number)  # as a terminal does: to all that have not left its group
        code = demo.wait()
    finally:
        left = of(temporary)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        demo.wait()
    assert not left, f"{left}\n{log.read_text()}"
    assert not list(temporary.iterdir()), log.read_text()
    return code


@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [("Starting the lab", signal.SIGTERM, 128 + signal.SIGTERM), ("Loading the value stream", signal.SIGINT, 130)],
)
def test_nothing_is_left_of_a_demo_that_was_stopped(tmp_path: Path, moment: str, number: signal.Signals, code: int):
    def ready(said: str, processes: Sequence[psutil.Process]) -> bool:
        return moment in said and len(processes) > 1

    assert stop_when(DEMO, tmp_path, ready, number) == code


def test_ctrl_c_ends_a_script_and_a_container_that_are_at_work(tmp_path: Path):
    def ready(said: str, processes: Sequence[psutil.Process]) -> bool:
        return named(processes, "sleep", "3600") and named(processes, "sleep", "infinity")

    assert stop_when([sys.executable, "-c", IN_FLIGHT], tmp_path, ready, signal.SIGINT) == 130
