"""``enterprise-orch demo`` can be stopped at any moment, and then nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [("Starting the lab", signal.SIGTERM, 128 + signal.SIGTERM), ("Loading the value stream", signal.SIGINT, 130)],
)
def test_nothing_is_left_of_a_demo_that_was_stopped(tmp_path: Path, moment: str, number: signal.Signals, code: int):
    command = [sys.executable, "-m", "airflow_enterprise_orch", "demo"]
    # Its log is a file of ours and its files are below a folder of ours, so that all it leaves would be seen.
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "PYTHONUNBUFFERED": "1"}
    (tmp_path / "tmp").mkdir()
    log = tmp_path / "log"
    with log.open("wb") as output:
        demo = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=tmp_path)
    while moment not in log.read_text():
        assert demo.poll() is None, log.read_text()
        time.sleep(0.1)
    while not (started := psutil.Process(demo.pid).children(recursive=True)):
        assert demo.poll() is None, log.read_text()
        time.sleep(0.1)
    demo.send_signal(number)
    assert demo.wait() == code, log.read_text()
    assert not [process for process in started if process.is_running()]
    assert not list((tmp_path / "tmp").iterdir())
