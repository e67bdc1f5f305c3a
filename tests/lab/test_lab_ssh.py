"""Independent SSH clients work against the lab unmodified, and it misbehaves when told to."""

from __future__ import annotations

import shutil
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

import paramiko
import pytest

KEY, OTHER = "T1234567890123456789", "T9876543210987654321"
needs_openssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="no OpenSSH client here")


def options(endpoint):
    return [
        "-F", "none", "-i", endpoint["private_key_file"], "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
        "-o", f"UserKnownHostsFile={endpoint['known_hosts_file']}", "-o", "StrictHostKeyChecking=yes",
    ]  # fmt: skip


def ssh(lab, command, given=b"", **more):
    endpoint = lab.endpoints["ssh"]
    line = ["ssh", *options(endpoint), "-p", str(endpoint["port"]), f"{endpoint['user']}@{endpoint['host']}", command]
    return subprocess.run(line, input=given, capture_output=True, timeout=30, **more)


def launch(lab, key=KEY, body="true", operation="orch:submit"):
    """Start a job as any client could: only setsid and the layout of the directory matter."""
    run = '"$(cat ${0%/run}/interpreter)" "${0%/run}/script"; echo "exit $?" >"$0.end"; mv "$0.end" "${0%/run}/exit"'
    script = (
        f": {operation} {key}; mkdir -p jobs/{key} && cd jobs/{key} && echo /bin/sh >interpreter && cat >script && "
        f"printf '%s\\n' '{run}' >run && {{ setsid /bin/sh \"$PWD/run\" </dev/null >/dev/null 2>&1 & }}"
    )
    return ssh(lab, script, body.encode() + b"\n")


def job(lab, key=KEY, state=None):
    while True:
        (found,) = [job for job in lab.jobs("ssh") if job.key == key]
        if state is None or found.state == state:
            return found
        time.sleep(0.02)


@needs_openssh
def test_openssh_runs_a_command_with_stdin_and_exit_status(lab):
    done = ssh(lab, "cat; echo err >&2; pwd; exit 7", b"in\n")
    assert done.returncode == 7
    assert done.stdout.decode() == f"in\n{lab.stand_in('ssh').home}\n"
    assert done.stderr == b"err\n"


@needs_openssh
def test_openssh_passes_a_lot_of_data_through(lab):
    data = bytes(range(256)) * 8192
    assert ssh(lab, "cat", data).stdout == data


@needs_openssh
def test_openssh_sftp_begins_at_home(lab, tmp_path):
    endpoint = lab.endpoints["ssh"]
    (tmp_path / "up").write_text("hello")
    batch = f"pwd\nput {tmp_path}/up there\nget there {tmp_path}/down\nls\n"
    line = ["sftp", *options(endpoint), "-b", "-", "-P", str(endpoint["port"]), f"lab@{endpoint['host']}"]
    done = subprocess.run(line, input=batch.encode(), capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert str(lab.stand_in("ssh").home) in done.stdout.decode()
    assert (tmp_path / "down").read_text() == "hello"


def test_paramiko_runs_commands_by_key_and_by_password(lab):
    endpoint = lab.endpoints["ssh"]
    for login in ({"key_filename": endpoint["private_key_file"]}, {"password": endpoint["password"]}):
        with paramiko.SSHClient() as client:
            client.load_host_keys(endpoint["known_hosts_file"])
            client.connect(
                endpoint["host"], endpoint["port"], "lab", allow_agent=False, look_for_keys=False, timeout=10, **login
            )
            _, out, _ = client.exec_command("echo hello; exit 5")
            assert (out.read(), out.channel.recv_exit_status()) == (b"hello\n", 5)
            sftp = client.open_sftp()
            assert sftp.normalize(".") == str(lab.stand_in("ssh").home)
    assert lab.stand_in("ssh").accepted_logins == 2


def test_a_wrong_password_is_refused_and_counted_once(lab):
    endpoint = lab.endpoints["ssh"]
    with paramiko.SSHClient() as client:
        client.load_host_keys(endpoint["known_hosts_file"])
        with pytest.raises(paramiko.AuthenticationException):
            client.connect(
                endpoint["host"], endpoint["port"], "lab", "wrong", allow_agent=False, look_for_keys=False, timeout=10
            )
    while not lab.stand_in("ssh").refused_logins:
        time.sleep(0.02)
    assert (lab.stand_in("ssh").accepted_logins, lab.stand_in("ssh").refused_logins) == (0, 1)


@needs_openssh
def test_a_launch_is_on_record_when_its_answer_is_out(lab):
    launch(lab, body="exit 3")
    found = job(lab, state="ended")
    assert (found.key, found.result, found.ran) == (KEY, "exit 3", True)
    assert found.submitted.endswith("Z")
    assert found.ended.endswith("Z")


@needs_openssh
def test_a_second_launch_of_one_key_is_told_as_a_second_job(lab):
    launch(lab)
    launch(lab)
    assert [job.key for job in lab.jobs("ssh")] == [KEY, KEY]


@needs_openssh
def test_a_setsid_that_is_no_job_is_no_job(lab):
    assert ssh(lab, "setsid true").returncode == 0
    assert lab.jobs("ssh") == []


@needs_openssh
def test_a_job_that_vanished_without_a_result_is_told_as_lost(lab):
    launch(lab, body="kill -9 0")
    assert job(lab, state="ended").result.startswith("lost")


@needs_openssh
def test_cut_before_runs_nothing_and_cut_after_runs_everything(lab):
    home = lab.stand_in("ssh").home
    lab.fault("ssh", "cut_before_commit", on="any")
    assert ssh(lab, "touch before").returncode == 255
    lab.fault("ssh", "cut_after_commit", on="any")
    done = ssh(lab, "touch after; echo said")
    assert (done.returncode, done.stdout) == (255, b"")
    assert not (home / "before").exists()
    assert (home / "after").exists()


@needs_openssh
def test_a_fault_meets_only_its_operation_and_its_match(lab):
    lab.fault("ssh", "error_500", on="poll", match="KEY1")
    assert ssh(lab, ": orch:find KEY1; true").returncode == 0
    assert ssh(lab, ": orch:poll KEY2; true").returncode == 0
    assert ssh(lab, ": orch:poll KEY1; true").returncode == 255
    assert ssh(lab, ": orch:poll KEY1; true").returncode == 0


@needs_openssh
def test_unauthorized_refuses_the_next_login(lab):
    lab.fault("ssh", "unauthorized", on="any")
    done = ssh(lab, "true")
    assert done.returncode == 255
    assert b"Permission denied" in done.stderr
    assert ssh(lab, "true").returncode == 0


@needs_openssh
@pytest.mark.parametrize(("do", "result"), [("fail", "exit 1"), ("abend", "exit 137")])
def test_a_fate_meets_the_next_job_once(lab, do, result):
    lab.fault("ssh", do)
    launch(lab, "T0000000000000000001")
    launch(lab, "T0000000000000000002")
    assert job(lab, "T0000000000000000001", "ended").result == result
    assert job(lab, "T0000000000000000002", "ended").result == "exit 0"


@needs_openssh
def test_a_fate_waits_when_nothing_was_launched(lab):
    lab.fault("ssh", "fail")
    assert ssh(lab, ": orch:submit X; true").returncode == 0
    launch(lab)
    assert job(lab, state="ended").result == "exit 1"


@needs_openssh
def test_run_makes_a_job_longer_and_purge_removes_it_after_its_end(lab):
    lab.fault("ssh", "run", seconds=0.3)
    launch(lab)
    longer = job(lab, state="ended")
    lasted = datetime.fromisoformat(longer.ended) - datetime.fromisoformat(longer.started)
    assert lasted > timedelta(seconds=0.25)
    lab.fault("ssh", "purge")
    launch(lab, key=OTHER, body="exit 4")
    assert job(lab, OTHER, state="purged").result == "exit 4"
    assert not Path(lab.stand_in("ssh").home / "jobs" / OTHER).exists()


@needs_openssh
def test_reset_ends_and_forgets_everything(lab):
    launch(lab, body="sleep 60")
    lab.fault("ssh", "fail")
    assert job(lab).state == "running"
    lab.reset("ssh")
    assert lab.jobs("ssh") == []
    assert lab.stand_in("ssh").faults.faults == []
    assert list(lab.stand_in("ssh").home.iterdir()) == []
