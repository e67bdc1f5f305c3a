"""Promise 1 on UNIX hosts: whatever breaks, one launch per key, and every end is proven."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import asyncssh
import pytest

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found, Unknown
from airflow_enterprise_orch.errors import AnswerLost, LoginRefused, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.unix.ssh_jobs import ssh_jobs
from airflow_enterprise_orch.systems.unix.steps import UnixScript

QUICK = UnixScript(script="echo ran")
LONG = UnixScript(script="sleep 60")


@pytest.fixture
def fake(host):
    """Put a program first on the host's PATH."""
    made = []

    def put(name: str, body: str) -> Path:
        program = host.stand_in.home.parent / "bin" / name
        program.write_text("#!/bin/sh\n" + body)
        program.chmod(0o700)
        made.append(program)
        return program

    yield put
    for program in made:
        program.unlink(missing_ok=True)


def state_of(host, key):
    async def ask(jobs):
        handle = JobHandle(key, "1")
        return (await jobs.poll([handle])).get(key), await jobs.result(handle)

    return host.run(ask)


# Cut connections


def test_a_cut_before_the_command_leaves_nothing_and_the_next_submit_runs_once(host, key):
    host.fault("cut_before_commit")
    with pytest.raises(AnswerLost, match=key):
        host.run(lambda jobs: jobs.submit(QUICK, key))
    assert host.run(lambda jobs: jobs.find(key)) == Absent()
    host.run(lambda jobs: jobs.submit(QUICK, key))
    assert len(host.launches(key)) == 1


def test_a_cut_after_the_command_is_an_answer_lost_and_the_job_is_adopted(host, key, until):
    host.fault("cut_after_commit")

    async def steps(jobs):
        with pytest.raises(AnswerLost):
            await jobs.submit(QUICK, key)
        found = await jobs.find(key)
        again = await jobs.submit(QUICK, key)
        await until(jobs, again)
        return found, again, await jobs.result(again)

    found, again, result = host.run(steps)
    assert isinstance(found, Found)
    assert found.candidates[0].handle == again
    assert result.code == "exit 0"
    assert len(host.launches(key)) == 1


def test_garbage_instead_of_an_answer_is_an_answer_lost(host, key):
    host.fault("error_500")
    with pytest.raises(AnswerLost, match="exit 255"):
        host.run(lambda jobs: jobs.submit(QUICK, key))


@pytest.mark.parametrize("do", ["cut_before_commit", "cut_after_commit"])
def test_a_read_survives_one_cut(host, key, do):
    async def steps(jobs):
        handle = await jobs.submit(LONG, key)
        host.fault(do, on="poll")
        return (await jobs.poll([handle]))[key]

    assert host.run(steps).phase is Phase.RUNNING
    assert host.stand_in.accepted_logins == 2


def test_a_read_that_is_cut_again_and_again_says_unreachable(host, key):
    host.fault("cut_before_commit", on="find", times=5)
    with pytest.raises(SystemUnreachable, match="connection was lost"):
        host.run(lambda jobs: jobs.find(key))


def test_garbage_is_never_taken_for_absence(host, key):
    host.fault("error_500", on="find", times=5)
    with pytest.raises(SystemUnreachable, match="did not run our command"):
        host.run(lambda jobs: jobs.find(key))


def test_a_slow_submit_that_lands_late_still_runs_once(host, key, until):
    host.fault("slow", seconds=2)
    with pytest.raises(AnswerLost):
        host.run(lambda jobs: jobs.submit(QUICK, key), timeout=timedelta(seconds=0.5))

    async def again(jobs):
        handle = await jobs.submit(QUICK, key)
        return await until(jobs, handle)

    host.run(again)
    while host.stand_in.busy:  # the first submit is still on its way
        time.sleep(0.05)
    assert host.stand_in.commands["submit"] == 2
    assert len(host.launches(key)) == 1


def test_a_cut_cancel_is_an_answer_lost(host, key):
    handle = host.run(lambda jobs: jobs.submit(LONG, key))
    host.fault("cut_after_commit", on="cancel")
    with pytest.raises(AnswerLost, match="told to end"):
        host.run(lambda jobs: jobs.cancel(handle))


def test_a_refused_login_is_tried_once(host, key):
    host.fault("unauthorized", on="any", times=100)

    async def connect():
        try:
            return await host.connect()
        except asyncssh.PermissionDenied as error:
            raise LoginRefused("lab", "refused", "correct it") from error

    async def steps():
        async with ssh_jobs(connect, host.place()) as jobs:
            for _ in range(5):
                with pytest.raises(LoginRefused):
                    await jobs.find(key)
            with pytest.raises(LoginRefused):
                await jobs.submit(QUICK, key)

    asyncio.run(steps())
    assert host.refused_logins() == 1
    assert host.launches() == []


# Overlapping tries


def test_overlapping_submits_of_one_key_launch_once(host, new_key):
    async def race(key):
        async def one():
            async with host.open() as jobs:
                return await jobs.submit(QUICK, key)

        return await asyncio.gather(*(one() for _ in range(6)))

    for key in (new_key(), new_key(), new_key()):
        handles = asyncio.run(race(key))
        assert len({handle.job_id for handle in handles}) == 1
        assert len(host.launches(key)) == 1
        assert sorted(entry.name for entry in host.root.iterdir() if entry.name.startswith(".stage")) == []


# The crash points of far_side's argument


def test_a_stage_is_nobody_s_job(host, key):
    (host.root / ".stage.0123456789abcdef" / key).mkdir(parents=True)
    assert host.run(lambda jobs: jobs.find(key)) == Absent()
    host.run(lambda jobs: jobs.submit(QUICK, key))
    assert len(host.launches(key)) == 1


def test_a_launcher_that_dies_before_its_claim_leaves_the_key_free(host, key, fake):
    program = fake("mv", "kill -9 $(cut -d' ' -f1 pid)\n")
    with pytest.raises(RequestRejected, match="ended without a claim"):
        host.run(lambda jobs: jobs.submit(QUICK, key))
    assert host.run(lambda jobs: jobs.find(key)) == Absent()
    assert host.launches(key) == []
    program.unlink()
    host.run(lambda jobs: jobs.submit(QUICK, key))
    assert len(host.launches(key)) == 1


def test_a_launcher_that_dies_right_after_its_claim_is_lost_by_proof_and_never_run(host, key, fake):
    program = fake("mv", 'pid=$(cut -d" " -f1 pid); /bin/mv "$@"; kill -9 "$pid"\n')
    handle = host.run(lambda jobs: jobs.submit(QUICK, key))
    program.unlink()
    status, result = state_of(host, key)
    assert status.phase is Phase.ENDED
    assert result.ending is Ending.LOST
    assert host.run(lambda jobs: jobs.submit(QUICK, key)) == handle
    assert host.launches(key) == []


def test_a_launcher_goes_on_when_the_asking_command_dies(host, key, fake, until):
    gate = host.stand_in.home.parent / "gate"
    gate.touch()
    # Reached right after the claim, before the answer.
    fake("rmdir", f'while [ -e {gate} ]; do sleep 0.05; done; exec /bin/rmdir "$@"\n')

    def askers():
        wanted = f"orch:submit\0{key}".encode()
        lines = {path.parent.name: path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")}
        return [int(pid) for pid, line in lines.items() if wanted in line]

    async def steps(jobs):
        submit = asyncio.create_task(jobs.submit(QUICK, key))
        while not (host.root / key).exists():
            await asyncio.sleep(0.02)
        for asker in askers():
            os.kill(asker, signal.SIGKILL)
        gate.unlink()
        with pytest.raises(AnswerLost):
            await submit
        handle = await jobs.submit(QUICK, key)
        await until(jobs, handle)
        return await jobs.result(handle)

    assert host.run(steps).code == "exit 0"
    assert len(host.launches(key)) == 1


def test_a_full_disk_before_the_claim_is_a_rejection_in_the_host_s_words(host, key, fake):
    fake("tar", "echo 'tar: write error: No space left on device' >&2; exit 2\n")
    with pytest.raises(RequestRejected, match="No space left on device"):
        host.run(lambda jobs: jobs.submit(QUICK, key))
    assert host.run(lambda jobs: jobs.find(key)) == Absent()
    assert [entry.name for entry in host.root.iterdir()] == []


def test_a_full_disk_at_the_end_does_not_lose_the_result(host, key, fake, until):
    marker = host.stand_in.home.parent / "disk-is-full"
    marker.touch()
    fake("mv", f'case "$*" in "exit.tmp exit") [ -e {marker} ] && exit 1;; esac; exec /bin/mv "$@"\n')
    fake("sleep", "exec /bin/sleep 0.1\n")

    async def steps(jobs):
        handle = await jobs.submit(UnixScript(script="exit 5"), key)
        while not (host.root / key / "exit.tmp").exists():
            await asyncio.sleep(0.02)
        still = (await jobs.poll([handle]))[key]
        marker.unlink()
        await until(jobs, handle)
        return still, await jobs.result(handle)

    still, result = host.run(steps)
    assert still.phase is Phase.RUNNING
    assert result.code == "exit 5"


def claim(host, key, line):
    directory = host.root / key
    directory.mkdir(parents=True)
    (directory / "pid").write_text(line + "\n")


def boot_id():
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def birth(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def test_a_pid_that_another_process_got_is_lost(host, key):
    claim(host, key, f"{os.getpid()} {boot_id()} {os.uname().nodename} t 12345")
    status, result = state_of(host, key)
    assert (status.phase, result.ending) == (Phase.ENDED, Ending.LOST)


def test_after_a_reboot_a_job_is_lost_even_if_pid_and_birth_are_there_again(host, key):
    claim(host, key, f"{os.getpid()} an-older-boot {os.uname().nodename} t {birth(os.getpid())}")
    status, result = state_of(host, key)
    assert (status.phase, result.ending) == (Phase.ENDED, Ending.LOST)


def test_the_same_line_with_this_boot_is_running(host, key):
    claim(host, key, f"{os.getpid()} {boot_id()} {os.uname().nodename} t {birth(os.getpid())}")
    assert state_of(host, key)[0].phase is Phase.RUNNING


def test_a_claim_of_another_host_is_neither_lost_nor_a_success(host, key):
    claim(host, key, "1 another-boot another-host t 12345")
    status, result = state_of(host, key)
    assert status.phase is Phase.RUNNING
    assert "another-host" in status.reason
    assert result.ending is Ending.UNKNOWN


def test_a_claim_without_its_holder_is_a_question_for_a_person(host, key):
    (host.root / key).mkdir(parents=True)
    (host.root / key / "somebody-s-file").touch()
    assert isinstance(host.run(lambda jobs: jobs.find(key)), Unknown)
    status, result = state_of(host, key)
    assert status is None
    assert result.ending is Ending.UNKNOWN


def test_a_result_that_cannot_be_read_is_unknown(host, key):
    claim(host, key, f"1 {boot_id()} {os.uname().nodename} t 1")
    (host.root / key / "exit").write_text("exit\n")
    assert state_of(host, key)[1].ending is Ending.UNKNOWN


# Killed jobs


def wait_for_script(host, key):
    while not (host.root / key / "out.log").exists():
        time.sleep(0.02)


def test_a_killed_job_is_lost_not_running_for_ever(host, key):
    handle = host.run(lambda jobs: jobs.submit(LONG, key))
    wait_for_script(host, key)
    os.killpg(int(handle.job_id), signal.SIGKILL)
    while (state := state_of(host, key))[0].phase is Phase.RUNNING:
        time.sleep(0.02)
    assert (state[0].phase, state[1].ending) == (Phase.ENDED, Ending.LOST)
    assert handle.job_id in state[1].detail


def test_a_job_whose_wrapper_was_killed_runs_until_its_script_ends(host, key):
    handle = host.run(lambda jobs: jobs.submit(UnixScript(script="touch began; sleep 60"), key))
    while not (host.stand_in.home / "began").exists():
        time.sleep(0.02)
    os.kill(int(handle.job_id), signal.SIGKILL)
    assert state_of(host, key)[0].phase is Phase.RUNNING
    os.killpg(int(handle.job_id), signal.SIGKILL)
    while (state := state_of(host, key))[0].phase is Phase.RUNNING:
        time.sleep(0.02)
    assert state[1].ending is Ending.LOST


@pytest.mark.parametrize(("do", "code"), [("fail", "exit 1"), ("abend", "signal 9")])
def test_the_lab_s_fates_are_a_job_s_real_end(host, key, until, do, code):
    host.fault(do, match="unlucky")

    async def steps(jobs):
        handle = await jobs.submit(UnixScript(script="echo unlucky"), key)
        await until(jobs, handle)
        return await jobs.result(handle)

    assert host.run(steps).code == code
    assert [job.result for job in host.launches(key)] == [code]


# Cancel


def cancelled(host, key, until, script):
    async def steps(jobs):
        handle = await jobs.submit(UnixScript(script=script), key)
        while not (host.stand_in.home / "began").exists():
            await asyncio.sleep(0.02)
        await jobs.cancel(handle)
        await jobs.cancel(handle)
        await until(jobs, handle)
        return await jobs.result(handle)

    return host.run(steps)


def test_a_cancel_ends_the_whole_group_and_is_proven(host, key, until):
    result = cancelled(host, key, until, "sleep 61 & touch began; sleep 60")
    assert (result.ending, result.code) == (Ending.CANCELLED, "signal 15")
    assert not [job for job in host.launches(key) if job.state == "running"]


def test_a_script_that_ignores_term_is_killed_after_the_grace_period(host, key, until):
    result = cancelled(host, key, until, "trap '' TERM; touch began; while :; do sleep 0.2; done")
    assert result.ending is Ending.CANCELLED


def test_a_script_that_ends_well_on_term_is_believed(host, key, until):
    result = cancelled(host, key, until, "trap 'exit 0' TERM; touch began; while :; do sleep 0.1; done")
    assert (result.ending, result.rc) == (Ending.COMPLETED, 0)
    assert "ended by itself" in result.detail


def test_the_cancel_is_on_record_before_the_signal(host, key, until):
    result = cancelled(host, key, until, f"trap 'ls {host.root}/{key}' TERM; touch began; while :; do sleep 0.1; done")
    assert result.ending is Ending.CANCELLED
    assert "cancel" in (host.root / key / "out.log").read_text().split()


def test_cancelling_what_has_ended_changes_nothing(host, key, until):
    async def steps(jobs):
        handle = await jobs.submit(QUICK, key)
        await until(jobs, handle)
        await jobs.cancel(handle)
        return await jobs.result(handle)

    assert host.run(steps).ending is Ending.COMPLETED


# Cleaning


def age(path, days):
    then = time.time() - days * 86400
    os.utime(path, (then, then))


def test_old_ended_jobs_are_cleaned_but_their_keys_stay_taken(host, new_key, until):
    old, fresh, running, lost = (new_key() for _ in range(4))

    async def steps(jobs):
        for key in (old, fresh):
            await until(jobs, await jobs.submit(UnixScript(script="exit 7"), key))
        await jobs.submit(LONG, running)
        claim(host, lost, f"1 older-boot {os.uname().nodename} t 1")
        age(host.root / old / "exit", 31)
        for key in (running, lost):
            for path in (*(host.root / key).iterdir(), host.root / key):
                age(path, 99)
        age(host.root / ".cleaned", 2)
        await jobs.submit(QUICK, new_key())
        while (host.root / old).exists() or list(host.root.glob(".trash.*")):
            await asyncio.sleep(0.02)
        handle = JobHandle(old, "1")
        await jobs.submit(UnixScript(script="exit 7"), old)
        return await jobs.find(old), await jobs.result(handle)

    found, result = host.run(steps)
    assert isinstance(found, Found)
    assert result.code == "exit 7"
    assert len(host.launches(old)) == 1
    assert not (host.root / old).exists()
    for key in (fresh, running, lost):
        assert (host.root / key).is_dir()


def test_a_claim_of_a_cleaned_key_runs_nothing(host, key, until, monkeypatch):
    """Cleaning and a very late submit of the same key, in the order that is worst."""
    host.root.mkdir(parents=True)
    (host.root / "ended.txt").write_text(
        f"{key} ended exit 0 2026-01-01T00:00:00Z 2026-01-01T00:00:00Z - 17 somewhere\n"
    )
    handle = host.run(lambda jobs: jobs.submit(QUICK, key))
    assert handle.job_id == "17"
    assert host.launches(key) == []
    assert not (host.root / key).exists()
