"""The programs on the host's side: every POSIX shell runs them, and a cut transfer does nothing."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time

import pytest

from airflow_enterprise_orch.systems.unix import far_side
from airflow_enterprise_orch.systems.unix.job_files import archive
from airflow_enterprise_orch.systems.unix.steps import UnixScript

KEY = "T1234567890123456789"
SHELLS = ["dash", "bash", "busybox", "ksh93", "zsh"]
LOGIN_SHELLS = ["sh", "bash", "zsh", "tcsh", "fish"]


def call(operation, text, home, *more, given=b"", shell="/bin/sh", cut=None, program=None):
    """Run an operation as a login's shell would; return its answer, or None without a whole one."""
    program = program or far_side.program(text)
    token = secrets.token_hex(8)
    words = " ".join((KEY, token, "jobs", *more))
    line = far_side.BOOTSTRAP.format(count=len(program), operation=operation, words=words)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    done = subprocess.run([shell, "-c", line], input=(program + given)[:cut], env=environment, capture_output=True)
    parts = done.stdout.decode().split(f"@{token}\n")
    return parts[1].strip() if len(parts) == 3 else None


def wait_for_end(home):
    while not (home / "jobs" / KEY / "exit").exists():
        time.sleep(0.02)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["LOOK", "SUBMIT", "LAUNCH", "RUN", "CANCEL", "READ"])
def test_every_shell_can_parse_every_program(shell, name):
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    command = [path, "sh", "-n"] if shell == "busybox" else [path, "-n"]
    text = getattr(far_side, name)
    program = text.encode() if name in ("LAUNCH", "RUN") else far_side.program(text)
    done = subprocess.run(command, input=program, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_runs_a_job_from_submit_to_result(shell, tmp_path, monkeypatch):
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    # This shell in the place of every /bin/sh of the programs.
    sh = tmp_path / "sh"
    sh.write_text(f'#!/bin/sh\nexec {path} {"sh" if shell == "busybox" else ""} "$@"\n')
    if shell == "zsh":
        sh.write_text(f'#!/bin/sh\nexec {path} --emulate sh "$@"\n')
    sh.chmod(0o700)
    for name in ("LAUNCH", "SUBMIT", "BOOTSTRAP"):
        monkeypatch.setattr(far_side, name, getattr(far_side, name).replace("/bin/sh", str(sh)))
    work = UnixScript(script='printf "%s|" "$@" "$VALUE"; exit 3', args=["a b", "*\n"], env={"VALUE": "$x'"})
    payload = archive(work)
    first = call("submit", far_side.SUBMIT, tmp_path, "30", given=payload)
    assert first is not None
    assert first.startswith(KEY)
    wait_for_end(tmp_path)
    assert (tmp_path / "jobs" / KEY / "out.log").read_text() == "a b|*\n|$x'|"
    state = call("poll", far_side.LOOK, tmp_path, given=f"{KEY}\n".encode())
    assert state.split()[1:4] == ["ended", "exit", "3"]
    again = call("submit", far_side.SUBMIT, tmp_path, "30", given=payload)
    assert again.split()[7] == first.split()[7]


@pytest.mark.parametrize("shell", LOGIN_SHELLS)
def test_every_login_shell_passes_the_command_on(shell, tmp_path):
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    assert call("find", far_side.LOOK, tmp_path, given=f"{KEY}\n".encode(), shell=path) == f"noroot {tmp_path}/jobs"


def test_a_transfer_cut_anywhere_hands_nothing_over(tmp_path):
    payload = archive(UnixScript(script="touch ran", env={"A": "b"}))
    size = len(far_side.program(far_side.SUBMIT))
    whole = len(payload.rstrip(b"\0"))
    # In the program, on tar's block borders, in the middle of a block. What follows the last name is only padding.
    cuts = {
        0,
        1,
        size // 3,
        size - 2,
        size - 1,
        size,
        *(size + at for at in range(512, whole - 512, 512 * 3)),
        size + 700,
    }
    for cut in sorted(cuts):
        answer = call("submit", far_side.SUBMIT, tmp_path, "30", given=payload, cut=cut)
        assert answer is None or answer.startswith("error "), cut
        left = list((tmp_path / "jobs").iterdir()) if (tmp_path / "jobs").exists() else []
        assert left == [], cut
    assert not (tmp_path / "ran").exists()
    assert call("submit", far_side.SUBMIT, tmp_path, "30", given=payload).startswith(KEY)
    wait_for_end(tmp_path)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("without", [("setsid",), ("setsid", "perl")])
def test_a_host_without_setsid_detaches_by_other_means(tmp_path, without, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    wanted = "sh dd uname cat mkdir tar setsid perl python3 mv rmdir rm grep head date env awk find ps sleep true"
    for name in wanted.split():
        found = sys.executable if name == "python3" else shutil.which(name)
        if name not in without and found:
            (tools / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tools))
    answer = call("submit", far_side.SUBMIT, tmp_path, "30", given=archive(UnixScript(script="exit 4")))
    wait_for_end(tmp_path)
    assert answer.split()[0] == KEY
    assert (tmp_path / "jobs" / KEY / "exit").read_text().startswith("exit 4 ")


def test_a_host_with_nothing_to_detach_with_says_so(tmp_path, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dd", "uname", "cat", "mkdir", "tar", "rm"):
        (tools / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tools))
    answer = call("submit", far_side.SUBMIT, tmp_path, "30", given=archive(UnixScript(script="exit 4")))
    assert answer == "error neither setsid nor perl nor python3 is installed: nothing can detach a job"
