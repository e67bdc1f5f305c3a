"""Rule 10 with real processes: however many log in at the same moment, one wrong password is one refused login."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from airflow_enterprise_orch.lab.server import LabThread

PROCESSES = 12
PROGRAM = Path(__file__).with_name("log_in_at_once.py")
STEPS = {"ssh": "unix.script", "zosmf": "mainframe.job"}


@pytest.fixture(scope="module")
def one_lab() -> Iterator[LabThread]:
    with LabThread(list(STEPS)) as running:
        yield running


@pytest.fixture
def at_once(one_lab: LabThread, tmp_path: Path) -> Callable[..., list[tuple[str, str]]]:
    variables = tmp_path / "variables"
    variables.mkdir()

    def run(stand_in: str, *flags: str, **changed: Any) -> list[tuple[str, str]]:
        """Return the role of each process, and what became of it."""
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW_CONN_SUBJECT": json.dumps({**one_lab.endpoints[stand_in]["connection"], **changed}),
        }
        command = [sys.executable, str(PROGRAM), STEPS[stand_in], str(PROCESSES), str(variables), *flags]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        ends = json.loads(done.stdout.splitlines()[-1])
        assert len(ends) == PROCESSES
        return [(role, end) for role, end in ends]

    return run


def logins(lab: LabThread, stand_in: str) -> dict[str, int]:
    """Return what the stand-in itself counted."""
    with urlopen(f"{lab.endpoints[stand_in]['control']}/logins") as answer:
        counted: dict[str, int] = json.load(answer)
    return counted


def wrong(lab: LabThread, stand_in: str) -> dict[str, Any]:
    extra = lab.endpoints[stand_in]["connection"].get("extra", {})
    kept = {name: value for name, value in extra.items() if "private_key" not in name}
    return {"password": "not-the-password", "extra": kept}


@pytest.mark.parametrize("stand_in", STEPS)
def test_of_twelve_processes_one_is_refused_and_a_corrected_connection_lets_all_in(
    stand_in: str, one_lab: LabThread, at_once: Callable[..., list[tuple[str, str]]]
) -> None:
    one_lab.reset(stand_in)
    ends = at_once(stand_in, **wrong(one_lab, stand_in))
    assert logins(one_lab, stand_in) == {"accepted": 0, "refused": 1}, ends
    tasks = [end for role, end in ends if role == "task"]
    assert set(tasks) <= {"ConnectionBlocked", "LoginRefused"}, ends
    assert all("refused" in end.lower() or "Blocked" in end for role, end in ends if role != "task"), ends
    ends = at_once(stand_in)
    assert {end for role, end in ends if role in ("task", "doctor")} == {"Absent", "works"}, ends
    counted = logins(one_lab, stand_in)
    assert counted["refused"] == 1
    assert counted["accepted"] >= PROCESSES, "a triggerer's poller or its lookout did not get in"


def test_without_turns_the_same_processes_revoke_the_user(
    one_lab: LabThread, at_once: Callable[..., list[tuple[str, str]]]
) -> None:
    """The test above can fail: this is what it was like."""
    one_lab.reset("zosmf")
    at_once("zosmf", "--everybody-may", "--slow-block", **wrong(one_lab, "zosmf"))
    assert logins(one_lab, "zosmf")["refused"] > PROCESSES / 2
