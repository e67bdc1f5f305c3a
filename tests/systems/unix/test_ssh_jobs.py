"""Scripts over SSH: that they run as written, and what is told of them."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found, Protection
from airflow_enterprise_orch.delegation.work import Work
from airflow_enterprise_orch.errors import OutputMissing, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.unix.ssh_jobs import Place
from airflow_enterprise_orch.systems.unix.steps import UnixScript

SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ.get('VALUE'), os.getcwd()]))"


@pytest.fixture
def run(host, key, until):
    """Run one script to its end; return its result and its log."""

    def run_to_end(**work):
        async def steps(jobs):
            handle = await jobs.submit(UnixScript(**work), key)
            await until(jobs, handle)
            return await jobs.result(handle), await jobs.read_source(handle, "log")

        return host.run(steps)

    return run_to_end


@pytest.mark.parametrize(
    ("body", "code", "log"),
    [
        ("echo one\necho two", "exit 0", "one\ntwo\n"),
        ("exit 3", "exit 3", ""),
        ("echo before; set -e; false; echo never", "exit 1", "before\n"),
        ("cat <<END\nhello\nEND", "exit 0", "hello\n"),
        ("cat <<'END'\n$HOME 'x' \"y\"\nEND\n", "exit 0", "$HOME 'x' \"y\"\n"),
        ("echo last # a comment at the end", "exit 0", "last\n"),
        ("echo a; }", "exit 2", None),
        ("exec false", "exit 1", ""),
        ("cat; echo done", "exit 0", "done\n"),
        ("exit 200", "exit 200", ""),
        ("exit 255", "exit 255", ""),
        ("kill -9 $$", "signal 9", ""),
        ("kill -TERM $$", "signal 15", ""),
    ],
)
def test_no_body_breaks_the_wrapper_round_it(run, body, code, log):
    result, said = run(script=body)
    assert result.code == code
    assert log is None or said == log


def test_the_result_has_code_and_times_in_utc(run):
    before = datetime.now(UTC) - timedelta(seconds=1)
    result, _ = run(script="exit 4")
    assert (result.ending, result.code, result.rc) == (Ending.COMPLETED, "exit 4", 4)
    assert before <= result.started <= result.ended <= datetime.now(UTC)


def test_a_death_by_signal_is_an_abend(run):
    result, _ = run(script="kill -SEGV $$")
    assert (result.ending, result.code, result.rc) == (Ending.ABENDED, "signal 11", 139)


VALUES = [
    "",
    " ",
    "-n",
    "it's",
    'a "b"',
    "$(touch /tmp/never)",
    "`id`",
    "a\nb\n",
    "Grüße 東京",
    "*",
    "\\",
    "A=B",
    "x" * 9000,
]


def test_arguments_and_environment_arrive_as_they_are(run):
    _, log = run(script=SHOW, interpreter="/usr/bin/python3", args=VALUES, env={"VALUE": "line 1\n$HOME 'q'\n"})
    args, value, _ = json.loads(log)
    assert args == VALUES
    assert value == "line 1\n$HOME 'q'\n"


def test_a_command_runs_with_its_arguments(run):
    result, log = run(command="/usr/bin/printf", args=["%s|", "a b", "$HOME"])
    assert (result.code, log) == ("exit 0", "a b|$HOME|")


def test_it_runs_in_its_directory_or_at_home(run, host, tmp_path, key, new_key, until):
    _, log = run(script="pwd", directory=str(tmp_path))
    assert log.strip() == str(tmp_path)

    async def at_home(jobs):
        handle = await jobs.submit(UnixScript(script="pwd"), new_key())
        await until(jobs, handle)
        return await jobs.read_source(handle, "log")

    assert host.run(at_home).strip() == str(host.stand_in.home)


def test_the_job_directory_is_private_but_the_script_keeps_the_login_s_umask(run, host, key):
    _, log = run(script="umask")
    assert int(log, 8) != 0o077
    assert (host.root / key).stat().st_mode & 0o077 == 0


def test_the_login_s_locale_is_left_alone(run):
    _, log = run(script='echo "${LC_ALL-unset} $LANG"')
    assert log == "unset C.UTF-8\n"


@pytest.mark.parametrize(
    "work", [{"script": "true", "directory": "/no/such/place"}, {"script": "true", "interpreter": "/no/such/shell"}]
)
def test_a_script_that_cannot_begin_is_rejected_and_its_log_says_why(run, work):
    result, log = run(**work)
    assert result.ending is Ending.REJECTED
    assert "/no/such/" in log


def test_a_command_that_is_not_there_ends_with_127(run):
    result, log = run(command="/no/such/program")
    assert result.code == "exit 127"
    assert "/no/such/program" in log


def test_find_tells_absent_from_found(host, key):
    async def steps(jobs):
        before = await jobs.find(key)
        handle = await jobs.submit(UnixScript(script="true"), key)
        return before, handle, await jobs.find(key)

    before, handle, after = host.run(steps)
    assert before == Absent()
    assert isinstance(after, Found)
    assert [candidate.handle for candidate in after.candidates] == [handle]
    assert not after.candidates[0].held


def test_a_waiting_job_is_running_and_then_ended(host, key, until):
    async def steps(jobs):
        handle = await jobs.submit(UnixScript(script="sleep 0.5"), key)
        first = (await jobs.poll([handle]))[key]
        return first, await until(jobs, handle)

    first, last = host.run(steps)
    assert (first.phase, last.phase) == (Phase.RUNNING, Phase.ENDED)


def test_a_job_outlives_its_connection_and_is_found_by_another_client(host, key, until):
    handle = host.run(lambda jobs: jobs.submit(UnixScript(script="sleep 0.5; echo survived"), key))

    async def later(jobs):
        await until(jobs, JobHandle.from_json(handle.to_json()))
        return await jobs.read_tail(handle)

    assert host.run(later) == "survived\n"


def test_a_thousand_jobs_are_polled_with_one_command(host, new_key):
    running = host.run(lambda jobs: jobs.submit(UnixScript(script="sleep 60"), new_key()))
    pid_line = (host.root / running.key / "pid").read_text()
    handles = [running]
    for number in range(999):
        directory = host.root / new_key()
        directory.mkdir()
        (directory / "pid").write_text(pid_line)
        if number % 2:
            (directory / "exit").write_text("exit 0 2026-01-01T00:00:00Z\n")
        handles.append(JobHandle(directory.name, "1"))
    host.stand_in.commands.clear()
    states = host.run(lambda jobs: jobs.poll(handles))
    assert sum(state.phase is Phase.ENDED for state in states.values()) == 499
    assert sum(state.phase is Phase.RUNNING for state in states.values()) == 501
    assert dict(host.stand_in.commands) == {"poll": 1}


def test_polling_nothing_asks_nothing(host):
    assert host.run(lambda jobs: jobs.poll([])) == {}
    assert not host.stand_in.commands


def test_a_purged_job_is_missing_and_its_result_unknown(host, key):
    host.fault("purge")

    async def steps(jobs):
        handle = await jobs.submit(UnixScript(script="true"), key)
        while (await jobs.poll([handle]))[key].phase is not Phase.MISSING:
            await asyncio.sleep(0.05)
        with pytest.raises(OutputMissing, match="cleaned away"):
            await jobs.read_source(handle, "log")
        return await jobs.result(handle), await jobs.read_tail(handle), await jobs.read_output(handle, "7")

    result, tail, output = host.run(steps)
    assert result.ending is Ending.UNKNOWN
    assert (tail, output.text, output.cursor) == ("", "", "7")


def test_a_log_is_read_piece_by_piece_and_never_splits_a_character(host, key, until):
    text = "a€b" * 400

    async def steps(jobs):
        handle = await jobs.submit(UnixScript(command="/usr/bin/printf", args=["%s", text]), key)
        await until(jobs, handle)
        pieces, cursor = [], ""
        while True:
            output = await jobs.read_output(handle, cursor, limit=100)
            if not output.text:
                return pieces
            pieces.append(output.text)
            cursor = output.cursor

    pieces = host.run(steps)
    assert len(pieces) > 10
    assert "".join(pieces) == text


def test_a_log_that_is_no_utf8_is_read_to_its_end(host, key, until):
    async def steps(jobs):
        handle = await jobs.submit(UnixScript(script=r"printf '\377\200\200\200\200 x\342\202'"), key)
        await until(jobs, handle)
        output = await jobs.read_output(handle)
        return output, await jobs.read_source(handle, "log")

    output, whole = host.run(steps)
    assert output.text == "\ufffd" * 5 + " x"
    assert output.cursor == "7"
    assert whole == "\ufffd" * 5 + " x\ufffd"


def test_the_tail_is_the_last_lines(host, key, until):
    async def steps(jobs):
        handle = await jobs.submit(UnixScript(script="seq 1 100"), key)
        await until(jobs, handle)
        return await jobs.read_tail(handle, lines=3)

    assert host.run(steps) == "98\n99\n100\n"


def test_a_script_has_no_output_but_its_log(host, key):
    handle = JobHandle(key, "1")
    with pytest.raises(OutputMissing, match="has no output 'SYSPRINT'"):
        host.run(lambda jobs: jobs.read_source(handle, "SYSPRINT"))


def test_a_log_that_is_too_long_is_refused_not_cut(host, key, monkeypatch, until):
    monkeypatch.setattr("airflow_enterprise_orch.systems.unix.ssh_jobs.WHOLE_LOG", 1 << 20)

    async def steps(jobs):
        handle = await jobs.submit(UnixScript(script="head -c 1048577 /dev/zero"), key)
        await until(jobs, handle)
        await jobs.read_source(handle, "log")

    with pytest.raises(OutputMissing, match="longer than 1 MiB"):
        host.run(steps)


def test_identity_names_host_user_and_root(host):
    async def identity(jobs):
        return jobs.identity, jobs.capabilities.protection

    assert host.run(identity) == (f"{host.address}/~/.enterprise-orch/jobs", Protection.ATOMIC)
    assert host.run(identity, root="/var/batch")[0] == f"{host.address}/var/batch"


@pytest.mark.parametrize("root", ["a b", "a;id", "$HOME", "a/../b", "", "a'b"])
def test_a_job_root_is_plain_words(root):
    with pytest.raises(ValueError, match="job root"):
        Place("ssh://u@h:22", root)


def test_what_is_no_key_never_reaches_the_host(host):
    with pytest.raises(RequestRejected, match="no delegation key"):
        host.run(lambda jobs: jobs.poll([JobHandle("A;reboot", "1")]))
    assert not host.stand_in.commands


class OtherWork(Work):
    pass


def test_other_work_is_rejected(host, key):
    with pytest.raises(RequestRejected, match="not OtherWork"):
        host.run(lambda jobs: jobs.submit(OtherWork(), key))


def test_hold_discard_and_restart_say_that_they_are_not_there(host, key):
    handle = JobHandle(key, "1")
    for ask in (
        lambda jobs: jobs.hold(handle),
        lambda jobs: jobs.discard(handle),
        lambda jobs: jobs.restart(handle, "S1", key),
    ):
        with pytest.raises(RequestRejected, match="cannot"):
            host.run(ask)


def test_a_root_that_is_gone_is_no_proof_of_anything(host, key):
    handle = host.run(lambda jobs: jobs.submit(UnixScript(script="true"), key))
    host.root.rename(host.root.with_name("unmounted"))
    with pytest.raises(SystemUnreachable, match="is its file system mounted"):
        host.run(lambda jobs: jobs.poll([handle]))


def test_a_home_that_is_gone_is_no_proof_of_absence(host, key):
    host.stand_in.home.rename(host.stand_in.home.with_name("unmounted"))
    try:
        with pytest.raises(SystemUnreachable):
            host.run(lambda jobs: jobs.find(key))
    finally:
        host.stand_in.home.with_name("unmounted").rename(host.stand_in.home)


def test_a_root_that_cannot_be_made_rejects_the_job_with_the_host_s_words(host, key):
    with pytest.raises(RequestRejected, match=r"did not take job .*: mkdir: .*/proc"):
        host.run(lambda jobs: jobs.submit(UnixScript(script="true"), key), root="/proc/jobs")
