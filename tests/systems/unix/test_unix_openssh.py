"""The same promises against a real OpenSSH server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from contextlib import suppress

import pytest

from airflow_enterprise_orch.delegation.job import Ending, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found
from airflow_enterprise_orch.errors import AnswerLost, ConnectionUntrusted, LoginRefused, SystemUnreachable
from airflow_enterprise_orch.systems.unix.hook import open_unix
from airflow_enterprise_orch.systems.unix.ssh_jobs import SshJobs
from airflow_enterprise_orch.systems.unix.steps import UnixScript
from tests import openssh

pytestmark = pytest.mark.skipif(not openssh.HERE, reason=openssh.ABSENT)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = openssh.OpenSsh(tmp_path_factory.mktemp("sshd"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def sshd(server):
    """Return the Airflow connection's fields, and the server's place."""
    return server.connection("ssh", job_root=str(server.place / "jobs")), server.place


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


def test_killing_sshd_in_mid_run_loses_nothing(run, sshd, server, key, new_key, until):
    """``kill -9`` takes the server and all connections; the scripts go on, one of them to its end, while it is dead."""
    marks = sshd[1] / f"{key}.ran"
    brief_key = new_key()

    async def steps(jobs):
        long = await jobs.submit(
            UnixScript(script=f"echo ran >>{marks}; echo before; sleep 3; echo after; exit 7"), key
        )
        brief = await jobs.submit(UnixScript(script="sleep 0.5; echo brief; exit 3"), brief_key)
        while (await jobs.poll([long]))[key].phase is not Phase.RUNNING:
            await asyncio.sleep(0.05)
        server.kill()
        with pytest.raises(SystemUnreachable):
            await jobs.poll([long])
        while not (sshd[1] / "jobs" / brief_key / "exit").exists():
            await asyncio.sleep(0.05)
        server.start()
        again = await jobs.submit(UnixScript(script=f"echo ran >>{marks}; exit 7"), key)
        await until(jobs, again)
        return (
            [(await jobs.result(each)).code for each in (long, brief)],
            await jobs.read_source(long, "log"),
            again,
            long,
        )

    codes, log, again, long = run(steps)
    assert codes == ["exit 7", "exit 3"]
    assert log == "before\nafter\n"
    assert again.job_id == long.job_id
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
