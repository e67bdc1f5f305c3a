"""The same promises against a real OpenSSH server."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from airflow_enterprise_orch.delegation.job import Ending, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found
from airflow_enterprise_orch.errors import AnswerLost, ConnectionUntrusted, LoginRefused
from airflow_enterprise_orch.systems.unix.hook import open_unix
from airflow_enterprise_orch.systems.unix.ssh_jobs import SshJobs
from airflow_enterprise_orch.systems.unix.steps import UnixScript

SSHD = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
pytestmark = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh-keygen") is None, reason="no OpenSSH server here (apt-get install openssh-server)"
)

CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {place}/host_key
AuthorizedKeysFile {place}/user_key.pub
PidFile {place}/sshd.pid
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    """Start sshd with keys of its own; return its Airflow connection's fields and its place."""
    place = tmp_path_factory.mktemp("sshd")
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (place / "config").write_text(CONFIG.format(port=port, place=place))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd(8): its privilege separation directory
    server = subprocess.Popen([SSHD, "-D", "-E", place / "log", "-f", place / "config"])
    while True:
        assert server.poll() is None, (place / "log").read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    host_key = " ".join((place / "host_key.pub").read_text().split()[:2])
    extra = {"key_file": str(place / "user_key"), "host_key": host_key, "job_root": str(place / "jobs")}
    yield {"conn_type": "ssh", "host": "127.0.0.1", "port": port, "login": getpass.getuser(), "extra": extra}, place
    server.terminate()
    server.wait()


@pytest.fixture
def run(sshd, monkeypatch):
    """Run ``work(jobs)`` on the real host; keyword arguments change the connection's extra."""

    def with_client(work, **changes):
        connection = {**sshd[0], "extra": {**sshd[0]["extra"], **changes}}
        monkeypatch.setenv("AIRFLOW_CONN_REAL_HOST", json.dumps(connection))

        async def steps():
            async with open_unix("real_host") as jobs:
                return await work(jobs)

        return asyncio.run(steps())

    return with_client


def test_a_script_runs_and_tells_its_result_and_log(run, key, until):
    async def steps(jobs):
        before = await jobs.find(key)
        handle = await jobs.submit(UnixScript(script='echo "$1"; exit 3', args=["it's $HOME"]), key)
        await until(jobs, handle)
        return before, await jobs.result(handle), await jobs.read_tail(handle)

    before, result, log = run(steps)
    assert (before, result.code, log) == (Absent(), "exit 3", "it's $HOME\n")


def test_a_submit_whose_connection_dies_is_found_and_ran_once(run, sshd, key, until, monkeypatch):
    marks = sshd[1] / f"{key}.ran"
    work = UnixScript(script=f"echo ran >>{marks}; sleep 0.3")

    async def steps(jobs):
        async def cut_after_the_claim():
            while not (sshd[1] / "jobs" / key).exists():
                await asyncio.sleep(0)
            jobs._connection.abort()

        cutter = asyncio.create_task(cut_after_the_claim())
        with suppress(AnswerLost):  # the answer may have been quicker than the cut: both are right
            await jobs.submit(work, key)
        await cutter
        found = await jobs.find(key)
        handle = await jobs.submit(work, key)
        await until(jobs, handle)
        return found, await jobs.result(handle)

    found, result = run(steps)
    assert isinstance(found, Found)
    assert result.code == "exit 0"
    assert marks.read_text() == "ran\n"


def test_overlapping_submits_run_once(run, sshd, key, until):
    marks = sshd[1] / f"{key}.ran"
    work = UnixScript(script=f"echo ran >>{marks}")

    async def steps(jobs):
        async with open_unix("real_host") as second, open_unix("real_host") as third:
            handles = await asyncio.gather(*(each.submit(work, key) for each in (jobs, second, third, jobs)))
            await until(jobs, handles[0])
            return handles

    assert len({handle.job_id for handle in run(steps)}) == 1
    assert marks.read_text() == "ran\n"


def test_more_questions_at_once_than_sshd_has_sessions(run, key):
    async def steps(jobs: SshJobs):
        return await asyncio.gather(*(jobs.find(key) for _ in range(30)))

    assert run(steps) == [Absent()] * 30


def test_a_killed_job_is_lost_and_a_cancelled_one_cancelled(run, key, new_key, until):
    async def steps(jobs):
        killed = await jobs.submit(UnixScript(script="sleep 60"), key)
        cancelled = await jobs.submit(UnixScript(script="sleep 60"), new_key())
        assert (await jobs.poll([killed]))[key].phase is Phase.RUNNING
        while True:
            try:
                os.killpg(int(killed.job_id), signal.SIGKILL)
                break
            except ProcessLookupError:  # it has claimed, and is about to lead its group
                await asyncio.sleep(0.01)
        await jobs.cancel(cancelled)
        await until(jobs, killed)
        await until(jobs, cancelled)
        return (await jobs.result(killed)).ending, (await jobs.result(cancelled)).ending

    assert run(steps) == (Ending.LOST, Ending.CANCELLED)


def test_a_wrong_key_is_refused_and_a_wrong_host_key_untrusted(run, sshd, key, tmp_path):
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    with pytest.raises(LoginRefused, match="real_host"):
        run(lambda jobs: jobs.find(key), key_file=str(other))
    wrong = " ".join(other.with_suffix(".pub").read_text().split()[:2])
    with pytest.raises(ConnectionUntrusted, match="ssh-keyscan"):
        run(lambda jobs: jobs.find(key), host_key=wrong)
