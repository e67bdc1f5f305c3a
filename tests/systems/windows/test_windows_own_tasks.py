"""A program that gets a task of its own: whatever breaks, it starts once per key, and every end is proven.

How a user would notice that it is fake: an import that ran twice after the network dropped; a failed one shown green
because Task Scheduler says "successfully finished"; a cancel that ended somebody else's run; a poll that freezes the
triggerer.
"""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta

import pytest

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found, Protection, Unknown
from airflow_enterprise_orch.delegation.work import Work
from airflow_enterprise_orch.errors import (
    AnswerLost,
    LoginRefused,
    OutputMissing,
    RequestRejected,
    SystemUnreachable,
)
from airflow_enterprise_orch.lab.windows_host import stamp
from airflow_enterprise_orch.systems.windows.steps import WindowsTask
from airflow_enterprise_orch.systems.windows.task_scheduler import Place


def lab_program(*arguments, **more):
    return WindowsTask(program=r"C:\Lab\LabProg.exe", arguments=list(arguments), **more)


QUICK = lab_program("SAY=ran")
LONG = lab_program("SLEEP=60")


def state_of(host, key):
    async def ask(tasks):
        handle = JobHandle(key, key)
        return (await tasks.poll([handle]))[key], await tasks.result(handle)

    return host.run(ask)


def finished(host, work, key, until):
    async def steps(tasks):
        handle = await tasks.submit(work, key)
        await until(tasks, handle)
        return await tasks.result(handle)

    return host.run(steps)


@pytest.mark.parametrize(
    ("work", "ending", "code", "rc"),
    [
        (QUICK, Ending.COMPLETED, "exit 0", 0),
        (lab_program("RC=12"), Ending.COMPLETED, "exit 12", 12),
        (lab_program("RC=70000"), Ending.COMPLETED, "exit 70000", 70000),  # the event log would have cut it to 4464
        (lab_program("RC=65536"), Ending.COMPLETED, "exit 65536", 65536),  # ... and this one to a false 0
        (WindowsTask(program=r"C:\Lab\Break.exe"), Ending.ABENDED, "0xC0000005 (access violation)", 0xC0000005),
        (WindowsTask(program=r"C:\No\Such.exe"), Ending.REJECTED, "0x80070002 (a file was not found)", None),
    ],
)
def test_the_end_of_a_program_comes_home_with_its_proof(host, key, until, work, ending, code, rc):
    result = finished(host, work, key, until)
    assert (result.ending, result.code, result.rc) == (ending, code, rc)
    assert "evidence: its result file" in result.detail
    assert result.ended.tzinfo is not None


def test_arguments_and_environment_arrive_as_they_are(host, key, until):
    arguments = [
        "",
        "two words",
        'say "hi"',
        "$env:PATH; calc & 'x' `n",
        "C:\\dir with\\",
        "größe €",
        "{{ no }}",
        "%PATH%",
    ]
    env = {"ORCH_ORDER": 'it\'s "A" & $B\nnext line'}
    work = WindowsTask(program=r"C:\Lab\Args.exe", arguments=arguments, env=env)

    async def steps(tasks):
        handle = await tasks.submit(work, key)
        await until(tasks, handle)
        return await tasks.read_source(handle, "log")

    told = [json.loads(line) for line in host.run(steps).splitlines()]
    assert told == [*arguments, f"ORCH_ORDER={env['ORCH_ORDER']}"]


def test_a_submit_of_a_taken_key_adopts(host, key, until):
    async def steps(tasks):
        first = await tasks.submit(QUICK, key)
        second = await tasks.submit(lab_program("RC=5"), key)
        await until(tasks, second)
        return first, second, await tasks.result(second)

    first, second, result = host.run(steps)
    assert first == second
    assert result.rc == 0, "the second work replaced the first"
    assert len(host.launches(key)) == 1


def test_two_submits_at_the_same_moment_start_one_program(host, key):
    async def both():
        async with host.open() as one, host.open() as two:
            return await asyncio.gather(*(tasks.submit(QUICK, key) for tasks in (one, two, one, two)))

    handles = asyncio.run(both())
    assert len(set(map(str, handles))) == 1
    assert len(host.launches(key)) == 1


def test_a_second_start_while_powershell_is_still_loading_changes_nothing(host, key, until):
    loaded = host.stand_in.host.powershell_loaded
    host.there(loaded.clear)

    async def steps(tasks):
        handle = await tasks.submit(QUICK, key)
        status = (await tasks.poll([handle]))[key]
        await asyncio.gather(*(tasks.release(handle) for _ in range(3)))
        host.there(loaded.set)
        await until(tasks, handle)
        return status, await tasks.result(handle)

    status, result = host.run(steps)
    assert status.phase is Phase.WAITING
    assert (result.ending, result.rc) == (Ending.COMPLETED, 0)
    assert len(host.launches(key)) == 1


def test_a_cancel_while_powershell_is_still_loading_keeps_the_program_from_beginning(host, key, until):
    loaded = host.stand_in.host.powershell_loaded
    host.there(loaded.clear)

    async def steps(tasks):
        handle = await tasks.submit(QUICK, key)
        await tasks.cancel(handle)
        host.there(loaded.set)
        await until(tasks, handle)
        return await tasks.result(handle)

    assert host.run(steps).ending is Ending.CANCELLED
    idle = host.there(lambda: host.stand_in.host.scheduler.task(rf"\EnterpriseOrch\{key}"))
    while host.there(lambda: bool(idle.instances)):
        time.sleep(0.05)
    assert host.launches(key) == []


@pytest.mark.parametrize("fault", ["cut_before_commit", "error_500", "html_503", "cut_after_commit", "half_answer"])
def test_a_claim_that_is_cut_is_an_answer_lost_and_then_runs_once(host, key, until, fault):
    host.fault(fault)
    with pytest.raises(AnswerLost, match=key):
        host.run(lambda tasks: tasks.submit(QUICK, key))
    found = host.run(lambda tasks: tasks.find(key))
    if fault in ("cut_after_commit", "half_answer"):
        assert isinstance(found, Found)
        assert found.candidates[0].held, "claimed, and nobody has started it"
    else:
        assert found == Absent()
    assert finished(host, QUICK, key, until).rc == 0
    assert len(host.launches(key)) == 1


@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit"])
def test_a_start_that_is_cut_is_an_answer_lost_and_a_release_heals_it(host, key, until, fault):
    host.fault(fault, on="release")
    with pytest.raises(AnswerLost, match="whether the task"):
        host.run(lambda tasks: tasks.submit(QUICK, key))

    async def heal(tasks):
        found = await tasks.find(key)
        (candidate,) = found.candidates
        if candidate.held:
            await tasks.release(candidate.handle)
        await tasks.release(candidate.handle)  # twice is harmless
        await until(tasks, candidate.handle)
        return candidate.held, await tasks.result(candidate.handle)

    held, result = host.run(heal)
    assert held == (fault == "cut_before_commit")
    assert result.rc == 0
    assert len(host.launches(key)) == 1


def test_a_claim_that_lands_late_starts_nothing_of_its_own(host, key, until):
    host.fault("late_commit", seconds=1)
    with pytest.raises(AnswerLost):
        host.run(lambda tasks: tasks.submit(QUICK, key))
    assert finished(host, QUICK, key, until).rc == 0
    while host.stand_in._late:
        time.sleep(0.05)
    assert len(host.launches(key)) == 1


def test_whoever_starts_the_task_by_hand_starts_the_program_only_once(host, key, until):
    assert finished(host, QUICK, key, until).rc == 0
    scheduler = host.stand_in.host.scheduler
    task = host.there(lambda: scheduler.task(rf"\EnterpriseOrch\{key}"))
    host.there(lambda: scheduler.run(task, r"LABWIN\maria"))
    while host.there(lambda: bool(task.instances)):
        time.sleep(0.05)
    assert task.starts == 2, "the task itself was started again"
    assert len(host.launches(key)) == 1
    assert state_of(host, key)[1].rc == 0, "the last result of the task is no evidence"


def test_a_cancel_ends_the_program_and_is_proven(host, key, until):
    async def steps(tasks):
        handle = await tasks.submit(LONG, key)
        await tasks.cancel(handle)
        await tasks.cancel(handle)
        await until(tasks, handle)
        await tasks.cancel(handle)
        return await tasks.result(handle)

    result = host.run(steps)
    assert result.ending is Ending.CANCELLED
    assert "its end was asked for" in result.detail


def test_what_was_cancelled_before_it_began_never_begins(host, key):
    host.fault("cut_before_commit", on="release")
    with pytest.raises(AnswerLost):
        host.run(lambda tasks: tasks.submit(QUICK, key))

    async def steps(tasks):
        handle = JobHandle(key, key)
        await tasks.cancel(handle)
        await tasks.release(handle)  # a release that comes late
        return (await tasks.poll([handle]))[key], await tasks.result(handle)

    status, result = host.run(steps)
    assert (status.phase, result.ending) == (Phase.ENDED, Ending.CANCELLED)
    assert host.launches(key) == []


def test_a_task_that_cannot_be_registered_is_rejected_in_words_and_never_runs(host, key, until):
    place = Place(account="nosuch$", logon=1)

    async def steps(tasks):
        handle = await tasks.submit(QUICK, key)
        await until(tasks, handle)
        return await tasks.result(handle)

    result = host.run(steps, place)
    assert result.ending is Ending.REJECTED
    assert "there is no such account" in result.detail
    host.run(lambda tasks: tasks.release(JobHandle(key, key)))
    assert host.launches(key) == []


def test_a_task_whose_action_never_begins_is_sealed_and_rejected(host, key):
    host.fault("cut_before_commit", on="release")
    with pytest.raises(AnswerLost):
        host.run(lambda tasks: tasks.submit(QUICK, key))
    machine = host.stand_in.host
    asked = rf"{host.root}\{key}\asked.json"

    def told_to_run(when):
        machine.files[asked] = json.dumps({"v": 1, "guid": "", "at": when}).encode()

    host.there(lambda: told_to_run(stamp()))
    assert state_of(host, key)[0].phase is Phase.WAITING
    host.there(lambda: told_to_run("2020-01-01T00:00:00.0000000Z"))
    assert state_of(host, key)[0].phase is Phase.WAITING, "the look that seals it"
    status, result = state_of(host, key)
    assert (status.phase, result.ending) == (Phase.ENDED, Ending.REJECTED)
    assert "never began" in result.detail
    host.run(lambda tasks: tasks.release(JobHandle(key, key)))
    assert host.launches(key) == []


def test_a_reboot_in_mid_run_is_lost_and_never_a_success(host, key):
    host.run(lambda tasks: tasks.submit(LONG, key))
    host.there(host.stand_in.host.reboot)
    status, result = state_of(host, key)
    assert (status.phase, result.ending) == (Phase.ENDED, Ending.LOST)
    assert "booted again" in result.detail


def kill_action(host, key, *, program_too):
    """End run.ps1 as the task manager does; its program is another process."""
    machine = host.stand_in.host
    path = rf"\EnterpriseOrch\{key}"
    task = machine.scheduler.task(path)
    for instance in list(task.instances):
        instance.runner.cancel()
        task.instances.clear()
    if program_too:
        machine.processes.clear()


def test_an_action_that_was_killed_leaves_its_program_running_and_that_is_said(host, key):
    host.run(lambda tasks: tasks.submit(LONG, key))
    host.there(lambda: kill_action(host, key, program_too=False))
    status, _ = state_of(host, key)
    assert status.phase is Phase.RUNNING
    assert "its program still runs" in status.reason


def test_an_action_and_a_program_that_were_killed_are_lost(host, key):
    host.run(lambda tasks: tasks.submit(LONG, key))
    host.there(lambda: kill_action(host, key, program_too=True))
    assert state_of(host, key)[1].ending is Ending.LOST


def test_an_action_that_died_before_it_named_its_program_is_unknown(host, key):
    host.run(lambda tasks: tasks.submit(LONG, key))
    host.there(lambda: kill_action(host, key, program_too=False))
    host.there(lambda: host.stand_in.host.files.pop(rf"{host.root}\{key}\process.json"))
    status, result = state_of(host, key)
    assert (status.phase, result.ending) == (Phase.ENDED, Ending.UNKNOWN)


def test_a_task_that_was_deleted_while_it_ran_is_unknown(host, key):
    host.run(lambda tasks: tasks.submit(LONG, key))
    host.there(lambda: kill_action(host, key, program_too=True))
    host.there(lambda: host.stand_in.host.scheduler.delete(rf"\EnterpriseOrch\{key}"))
    assert state_of(host, key)[1].ending is Ending.UNKNOWN


def test_files_that_were_deleted_by_hand_are_a_question_not_an_absence(host, key):
    host.run(lambda tasks: tasks.submit(LONG, key))
    host.there(lambda: host.stand_in.host.files.pop(rf"{host.root}\{key}\job.json"))
    assert isinstance(host.run(lambda tasks: tasks.find(key)), Unknown)


def test_a_cleaned_key_never_runs_again(host, key, until):
    assert finished(host, lab_program("RC=7"), key, until).rc == 7
    assert host.run(lambda tasks: tasks.clean(1)) == 0
    assert host.run(lambda tasks: tasks.clean(0)) == 1
    result = finished(host, lab_program("RC=7"), key, until)
    assert result.rc == 7
    assert "clean-up" in result.detail
    assert len(host.launches(key)) == 1


def test_the_clean_up_comes_once_a_day_and_its_failure_is_no_failure_of_the_job(host, new_key, until, caplog):
    host.fault("error_500", on="any", match="clean ")
    assert finished(host, QUICK, new_key(), until).rc == 0
    assert "the daily clean-up failed" in caplog.text
    assert finished(host, QUICK, new_key(), until).rc == 0
    before = host.stand_in.calls["any"]
    assert finished(host, QUICK, new_key(), until).rc == 0
    assert host.stand_in.calls["any"] == before, "it was cleaned again on the same day"


def test_work_that_does_not_fit_into_one_message_arrives_whole(host, key, until):
    # PSRP cuts it into fragments of at most 150 KB less the envelope (MaxEnvelopeSizekb of old hosts).
    env = {f"ORCH_{number:03d}": "\u20ac" * 3000 for number in range(60)}

    async def steps(tasks):
        handle = await tasks.submit(WindowsTask(program=r"C:\Lab\Args.exe", env=env), key)
        await until(tasks, handle)
        return await tasks.read_source(handle, "log")

    told = dict(json.loads(line).split("=", 1) for line in host.run(steps).splitlines())
    assert told == env


def test_the_log_is_read_from_a_cursor_and_errors_are_kept_apart(host, key, until):
    async def steps(tasks):
        handle = await tasks.submit(lab_program("SAY=gr\u00f6\u00dfe \u20ac", "ERR=went wrong", "SAY=two"), key)
        await until(tasks, handle)
        pieces, cursor = [], ""
        while (output := await tasks.read_output(handle, cursor, limit=8)).text:
            pieces.append(output.text)
            cursor = output.cursor
        tail = await tasks.read_tail(handle, lines=1)
        return pieces, tail, [await tasks.read_source(handle, source) for source in ("log", "errors")]

    pieces, tail, sources = host.run(steps)
    assert len(pieces) > 3
    assert "\ufffd" not in "".join(pieces), "a character was torn"
    assert sources == ["größe €\ntwo\n", "went wrong\n"]
    assert tail == "two\nwent wrong\n"


def test_a_program_has_no_other_output(host, key):
    with pytest.raises(OutputMissing, match="has no output 'SYSPRINT'"):
        host.run(lambda tasks: tasks.read_source(JobHandle(key, key), "SYSPRINT"))


def test_five_hundred_jobs_are_one_call(host, new_key, until):
    keys = [new_key() for _ in range(499)]

    async def steps(tasks):
        handle = await tasks.submit(LONG, new_key())
        before = sum(host.stand_in.calls.values())
        told = await tasks.poll([handle, *(JobHandle(key, key) for key in keys)])
        calls = sum(host.stand_in.calls.values()) - before
        return calls, told, handle

    calls, told, handle = host.run(steps)
    assert calls == 1
    assert told[handle.key].phase is Phase.RUNNING
    assert {told[key].phase for key in keys} == {Phase.MISSING}
    assert host.stand_in.open_shells == {}, "a shell was held"


def test_a_call_never_blocks_the_event_loop(host, key):
    # The answer comes only after the loop has done something else: a blocked loop would never come to that.
    host.fault("slow", on="find", seconds=0.5)

    async def steps(tasks):
        turns = 0
        asked = asyncio.ensure_future(tasks.find(key))
        while not asked.done():
            turns += 1
            await asyncio.sleep(0.01)
        return turns, asked.result()

    turns, found = host.run(steps)
    assert found == Absent()
    assert turns > 3


def test_a_host_that_hangs_does_not_hold_the_caller(host, key):
    host.fault("slow", on="find", seconds=1.5, times=2)
    with pytest.raises(SystemUnreachable, match="no answer to 'look' within"):
        host.run(lambda tasks: tasks.find(key), timeout=0.5)


@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit", "half_answer", "error_500"])
def test_a_look_survives_one_cut(host, key, fault):
    async def steps(tasks):
        handle = await tasks.submit(LONG, key)
        host.fault(fault, on="poll")
        return (await tasks.poll([handle]))[key]

    assert host.run(steps).phase is Phase.RUNNING


def test_garbage_is_never_taken_for_absence(host, key):
    host.fault("html_503", on="find", times=5)
    with pytest.raises(SystemUnreachable):
        host.run(lambda tasks: tasks.find(key))


def test_a_root_that_is_not_there_is_no_proof_of_absence(host, key):
    host.there(lambda: host.stand_in.host.folders.discard(host.root))
    for ask in (lambda tasks: tasks.find(key), lambda tasks: tasks.submit(QUICK, key)):
        with pytest.raises(SystemUnreachable, match="an administrator makes it"):
            host.run(ask)


def test_a_refused_login_is_tried_once(host, key):
    async def steps(tasks):
        for _ in range(3):
            with pytest.raises(LoginRefused) as caught:
                await tasks.find(key)
            assert "wrong-and-secret" not in str(caught.value)
        with pytest.raises(LoginRefused):
            await tasks.submit(QUICK, key)

    host.run(steps, password="wrong-and-secret")
    assert host.stand_in.refused_logins == 1


def test_a_login_that_is_refused_in_the_middle_of_a_submit_left_nothing(host, key):
    host.fault("unauthorized")
    with pytest.raises(LoginRefused):
        host.run(lambda tasks: tasks.submit(QUICK, key))
    assert host.run(lambda tasks: tasks.find(key)) == Absent()


def test_identity_and_capabilities(host):
    async def look(tasks):
        return tasks.identity, tasks.capabilities

    identity, capabilities = host.run(look)
    assert identity == f"winrm://svc-orch@127.0.0.1:{host.endpoint['connection']['port']}/{host.root}"
    assert (capabilities.protection, capabilities.batch) == (Protection.ATOMIC, 500)
    assert capabilities.settle >= timedelta(seconds=10)


@pytest.mark.parametrize("root", ["jobs", "C:", "C:\\a\\..\\b", "C:\\a;b", "C:\\a'b", "\\\\server\\share"])
def test_a_job_root_is_plain_words(root):
    with pytest.raises(ValueError, match="job root"):
        Place(root=root)


class OtherWork(Work):
    pass


def test_other_work_and_other_keys_never_reach_the_host(host, key):
    with pytest.raises(RequestRejected, match="not OtherWork"):
        host.run(lambda tasks: tasks.submit(OtherWork(), key))
    with pytest.raises(RequestRejected, match="no delegation key"):
        host.run(lambda tasks: tasks.find("A'; calc"))
    assert not host.stand_in.calls


def test_what_a_task_cannot_do_says_so(host, key):
    handle = JobHandle(key, key)
    for ask in (
        lambda tasks: tasks.hold(handle),
        lambda tasks: tasks.discard(handle),
        lambda tasks: tasks.restart(handle, "S1", key),
    ):
        with pytest.raises(RequestRejected, match="cannot"):
            host.run(ask)
