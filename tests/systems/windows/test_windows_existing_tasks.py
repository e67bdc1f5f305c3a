r"""A task that exists and that we may not change: which instance is ours, and what proves its end.

How a user would notice that it is fake: a green step because somebody else's run of the same task ended well; two
imports because an answer was lost; a colleague's run that died because our step was cancelled; "success" while the
event log is off and nobody can know.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time

import pytest

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, Output, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found, Unknown
from airflow_enterprise_orch.errors import AnswerLost, OutputMissing, RequestRejected, SystemBusy, SystemUnreachable
from airflow_enterprise_orch.lab.windows_scheduler import (
    IGNORE_NEW,
    IS_RUNNING,
    PARALLEL,
    QUEUE,
    STOP_EXISTING,
    State,
)
from airflow_enterprise_orch.systems.windows.steps import WindowsTask

IMPORT = r"\Dynamics\ImportOrders"
MARIA = r"LABWIN\maria"
OURSELVES = r"LABWIN\svc-orch"


def existing(path=IMPORT, *arguments):
    return WindowsTask(task=path, arguments=list(arguments))


@pytest.fixture
def add(host):
    """Register a task on the machine."""

    def make(name, *arguments, policy=PARALLEL):
        path = rf"\Dynamics\{name}"
        host.there(lambda: host.stand_in.host.add_task(path, list(arguments), policy))
        return path

    return make


def scheduler_of(host):
    return host.stand_in.host.scheduler


def start_by(host, path, user=MARIA):
    scheduler = scheduler_of(host)
    return host.there(lambda: scheduler.run(scheduler.task(path), user))


def submitted(host, work, key):
    return host.run(lambda tasks: tasks.submit(work, key))


def state_of(host, handle):
    async def ask(tasks):
        return (await tasks.poll([handle]))[handle.key], await tasks.result(handle)

    return host.run(ask)


def ended(host, handle, until):
    async def wait(tasks):
        await until(tasks, handle)
        return await tasks.result(handle)

    return host.run(wait)


def idle(host, path):
    task = host.there(lambda: scheduler_of(host).task(path))
    while host.there(lambda: bool(task.instances)):
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "ending", "code"),
    [
        (("RC=0",), Ending.COMPLETED, "exit 0"),
        (("RC=12",), Ending.COMPLETED, "exit 12"),
        (("RC=-1073741819",), Ending.ABENDED, "0xC0000005 (access violation)"),
        (("RC=65536",), Ending.UNKNOWN, "0x80070000"),
        (("NO SUCH WORD",), Ending.REJECTED, "0x80070057"),
    ],
)
def test_the_code_of_our_instance_decides_not_successfully_finished(host, key, add, until, arguments, ending, code):
    path = add("Work", *arguments)
    result = ended(host, submitted(host, existing(path), key), until)
    assert (result.ending, result.code) == (ending, code)
    assert "evidence: event record" in result.detail


def test_the_log_has_a_run_in_its_real_order(host, key, until):
    handle = submitted(host, existing(IMPORT, "ORD-1"), key)
    ended(host, handle, until)
    records = [each for each in host.there(lambda: list(scheduler_of(host).log.records)) if each.task == IMPORT][1:]
    assert [record.id for record in records] == [129, 100, 200, 110, 201, 102]
    assert records[0].activity == ""
    assert {record.activity for record in records[1:]} == {handle.job_id}


def test_the_handle_is_the_instance(host, key, until):
    handle = submitted(host, existing(), key)
    (instance,) = host.there(scheduler_of(host).running)
    assert handle.job_id == instance.guid
    again = submitted(host, existing(), key)
    assert again == handle
    assert len(host.launches(key)) == 1


@pytest.mark.parametrize("policy", [PARALLEL, QUEUE])
def test_another_user_s_run_of_the_same_task_is_never_taken_for_ours(host, key, add, until, policy):
    path = add("Work", "SLEEP=$(Arg0)", "RC=$(Arg1)", policy=policy)
    scheduler = scheduler_of(host)
    task = host.there(lambda: scheduler.task(path))
    # Hers begins first and ends well; ours fails.
    host.there(lambda: scheduler.run(task, MARIA, ("0.3", "0")))
    handle = submitted(host, existing(path, "0.6", "12"), key)
    host.there(lambda: scheduler.run(task, MARIA, ("0.9", "0")))
    result = ended(host, handle, until)
    idle(host, path)
    assert (result.ending, result.rc) == (Ending.COMPLETED, 12)
    assert state_of(host, handle)[1] == result, "her later run has overwritten the task's last result only"


def test_a_second_user_at_the_same_moment_is_told_from_us(host, key, add, until):
    path = add("Work", "SLEEP=0.3", "RC=3")
    guids = []

    async def both():
        async with host.open() as tasks:
            hers = asyncio.to_thread(start_by, host, path)
            handle, instance = await asyncio.gather(tasks.submit(existing(path), key), hers)
            guids.extend([handle.job_id, instance.guid])
            await until(tasks, handle)
            return await tasks.result(handle)

    assert asyncio.run(both()).rc == 3
    assert guids[0] != guids[1]


def test_a_task_that_ignores_a_second_instance_is_busy_and_nothing_is_left(host, key, add, until):
    path = add("Work", "SLEEP=0.5", policy=IGNORE_NEW)
    start_by(host, path)
    with pytest.raises(SystemBusy, match="runs already"):
        submitted(host, existing(path), key)
    assert host.run(lambda tasks: tasks.find(key)) == Absent()
    idle(host, path)
    assert ended(host, submitted(host, existing(path), key), until).rc == 0


@pytest.mark.parametrize("names", [False, True])
def test_a_second_user_who_is_faster_under_a_task_that_ignores_ours_gives_no_success(host, key, add, names):
    # She starts it after we have looked whether it runs, and before our own start, which is ignored.
    path = add("Work", "SLEEP=0.5", policy=IGNORE_NEW)
    scheduler = scheduler_of(host)
    task = host.there(lambda: scheduler.task(path))

    def race():
        scheduler.names_the_running_one = names
        scheduler.before_run = lambda: scheduler.run(task, MARIA)

    host.there(race)
    if not names:
        with pytest.raises(RequestRejected, match="did not start"):
            submitted(host, existing(path), key)
    else:
        handle = submitted(host, existing(path), key)
        with pytest.raises(RequestRejected, match="maria started the instance"):
            host.run(lambda tasks: tasks.cancel(handle))
        idle(host, path)
        result = state_of(host, handle)[1]
        assert (result.ending, result.rc) == (Ending.UNKNOWN, None)
        assert "maria started it: our start was ignored" in result.detail
    assert host.there(lambda: task.starts) == 1, "hers, and it was not ended by us"
    assert host.there(lambda: task.last_result) in (0, IS_RUNNING)


def test_a_queued_instance_waits_and_says_why(host, key, add):
    path = add("Work", "SLEEP=60", policy=QUEUE)
    start_by(host, path)
    handle = submitted(host, existing(path), key)
    status, _ = state_of(host, handle)
    assert status.phase is Phase.WAITING
    assert "queued behind another instance" in status.reason


def disable(task):
    task.enabled = False


def forbid(task):
    task.allow_demand = False


@pytest.mark.parametrize(("change", "said"), [(disable, "is disabled"), (forbid, "on demand")])
def test_a_task_that_cannot_start_is_refused_in_words(host, key, add, change, said):
    path = add("Work")
    host.there(lambda: change(scheduler_of(host).task(path)))
    with pytest.raises(RequestRejected, match=said):
        submitted(host, existing(path), key)
    assert host.run(lambda tasks: tasks.find(key)) == Absent()


def test_a_task_that_would_stop_a_colleague_s_run_is_refused(host, key, add):
    path = add("Work", "SLEEP=60", policy=STOP_EXISTING)
    hers = start_by(host, path)
    with pytest.raises(RequestRejected, match="stops its running instance"):
        submitted(host, existing(path), key)
    assert hers.state is State.RUNNING


def test_a_task_that_is_not_there_is_refused_in_words(host, key):
    with pytest.raises(RequestRejected, match=r"0x80070002 \(a file was not found\)"):
        submitted(host, existing(r"\Dynamics\NoSuch"), key)


def test_a_cancel_ends_our_instance_and_no_other(host, key, add, until):
    path = add("Work", "SLEEP=60")
    hers = start_by(host, path)
    handle = submitted(host, existing(path), key)
    host.run(lambda tasks: tasks.cancel(handle))
    result = ended(host, handle, until)
    assert result.ending is Ending.CANCELLED
    assert "its end was asked for" in result.detail
    assert host.there(lambda: [each.guid for each in scheduler_of(host).running()]) == [hers.guid]
    host.run(lambda tasks: tasks.cancel(handle))  # once more harms nobody
    assert hers.state is State.RUNNING


def test_an_instance_that_somebody_else_ended_is_cancelled_and_says_so(host, key, add, until):
    path = add("Work", "SLEEP=60")
    handle = submitted(host, existing(path), key)
    host.there(lambda: scheduler_of(host).stop(scheduler_of(host).running()[0], MARIA))
    result = ended(host, handle, until)
    assert result.ending is Ending.CANCELLED
    assert "somebody else ended it" in result.detail


# The event log is the only proof, and may not be there


def finish_unseen(host, key, change):
    handle = submitted(host, existing(), key)
    host.there(lambda: change(scheduler_of(host).log))
    idle(host, IMPORT)
    return state_of(host, handle)


def switch_off(log):
    log.enabled = False


def roll_over(log):
    log.capacity = 3
    log.write(140, r"\Other")


@pytest.mark.parametrize(("change", "said"), [(switch_off, "is off"), (roll_over, "no end of it|rolled over")])
def test_an_end_that_the_log_does_not_hold_is_unknown(host, key, change, said):
    status, result = finish_unseen(host, key, change)
    if change is roll_over:
        # Its end was written after that, so it is there until more records push it out.
        host.there(lambda: [scheduler_of(host).log.write(140, r"\Other") for _ in range(5)])
        status, result = state_of(host, JobHandle(key, "x"))
    assert (status.phase, result.ending) == (Phase.ENDED, Ending.UNKNOWN)
    assert re.search(said, result.detail)


def test_a_log_that_was_cleared_is_unknown(host, key):
    handle = submitted(host, existing(), key)
    idle(host, IMPORT)
    host.there(scheduler_of(host).log.clear)
    status, result = state_of(host, handle)
    assert (status.phase, result.ending) == (Phase.ENDED, Ending.UNKNOWN)
    assert "cleared" in result.detail


def test_a_log_that_was_off_at_the_start_and_is_on_now_is_unknown(host, key):
    host.there(lambda: switch_off(scheduler_of(host).log))
    handle = submitted(host, existing(), key)
    idle(host, IMPORT)
    host.there(lambda: setattr(scheduler_of(host).log, "enabled", True))
    start_by(host, IMPORT)  # somebody's run that ends well is in the log
    idle(host, IMPORT)
    status, result = state_of(host, handle)
    assert (status.phase, result.ending) == (Phase.ENDED, Ending.UNKNOWN)


def test_a_run_goes_on_as_running_while_the_log_is_off(host, key, add):
    host.there(lambda: switch_off(scheduler_of(host).log))
    path = add("Work", "SLEEP=60")
    handle = submitted(host, existing(path), key)
    assert state_of(host, handle)[0].phase is Phase.RUNNING


def test_a_reboot_in_mid_run_is_unknown(host, key, add):
    path = add("Work", "SLEEP=60")
    handle = submitted(host, existing(path), key)
    host.there(host.stand_in.host.reboot)
    start_by(host, path)  # another instance after the reboot proves nothing about ours
    status, result = state_of(host, handle)
    assert (status.phase, result.ending) == (Phase.ENDED, Ending.UNKNOWN)
    assert "booted again" in result.detail


def test_an_end_that_was_recorded_before_a_reboot_is_still_proven(host, key, until):
    handle = submitted(host, existing(), key)
    idle(host, IMPORT)
    host.there(host.stand_in.host.reboot)
    assert ended(host, handle, until).rc == 0


# A starter that dies, and answers that are lost


def die(host, when):
    host.there(lambda: setattr(host.stand_in.verbs, "start_dies", when))


def test_a_starter_that_died_after_the_start_is_adopted_by_its_one_record(host, key, until):
    die(host, "after")
    with pytest.raises(AnswerLost, match="may have been started"):
        submitted(host, existing(), key)
    found = host.run(lambda tasks: tasks.find(key))
    assert isinstance(found, Found)
    (candidate,) = found.candidates
    assert not candidate.held
    assert ended(host, candidate.handle, until).rc == 0
    assert submitted(host, existing(), key) == candidate.handle
    assert len(host.launches(key)) == 1


def test_a_starter_that_died_before_the_start_is_unknown_and_the_task_is_never_started_again(host, key):
    die(host, "before")
    with pytest.raises(AnswerLost):
        submitted(host, existing(), key)
    found = host.run(lambda tasks: tasks.find(key))
    assert isinstance(found, Unknown)
    assert "no start" in found.reason
    with pytest.raises(AnswerLost):
        submitted(host, existing(), key)
    assert host.lab.jobs("winrm") == []


def test_another_user_s_start_is_not_adopted(host, key):
    die(host, "before")
    with pytest.raises(AnswerLost):
        submitted(host, existing(), key)
    start_by(host, IMPORT)
    assert isinstance(host.run(lambda tasks: tasks.find(key)), Unknown)


def test_two_starts_by_our_user_are_a_question(host, key, add):
    path = add("Work", "SLEEP=0.2")
    die(host, "after")
    with pytest.raises(AnswerLost):
        submitted(host, existing(path), key)
    start_by(host, path, OURSELVES)
    found = host.run(lambda tasks: tasks.find(key))
    assert isinstance(found, Unknown)
    assert "2 starts" in found.reason


@pytest.mark.parametrize("change", [switch_off, roll_over, lambda log: log.clear()])
def test_nothing_is_adopted_from_a_log_that_has_gaps(host, key, add, change):
    path = add("Work", "SLEEP=0.2")
    host.there(lambda: [scheduler_of(host).log.write(140, r"\Other") for _ in range(5)])
    die(host, "after")
    with pytest.raises(AnswerLost):
        submitted(host, existing(path), key)
    host.there(lambda: change(scheduler_of(host).log))
    host.there(lambda: [scheduler_of(host).log.write(140, r"\Other") for _ in range(5)])
    assert isinstance(host.run(lambda tasks: tasks.find(key)), Unknown)


def test_a_log_that_was_cleared_and_counts_anew_is_noticed(host, key, add):
    # Its numbers have passed the intent's again, and our user has started the task once since: not our start.
    path = add("Work", "SLEEP=0.2")
    die(host, "after")
    with pytest.raises(AnswerLost):
        submitted(host, existing(path), key)
    idle(host, path)

    def clear_and_grow():
        log = scheduler_of(host).log
        log.clear()
        log._numbers = itertools.count(1)
        for _ in range(5):
            log.write(140, r"\Other")

    host.there(clear_and_grow)
    start_by(host, path, OURSELVES)
    found = host.run(lambda tasks: tasks.find(key))
    assert isinstance(found, Unknown)
    assert "gaps" in found.reason


def test_a_key_that_is_being_started_at_this_moment_is_not_judged(host, key):
    die(host, "after")
    with pytest.raises(AnswerLost):
        submitted(host, existing(), key)
    intent = rf"{host.root}\{key}\intent.json"
    host.there(lambda: host.stand_in.host.open_files.add(intent))
    found = host.run(lambda tasks: tasks.find(key))
    assert isinstance(found, Unknown)
    assert "at this moment" in found.reason
    host.there(lambda: host.stand_in.host.open_files.discard(intent))
    assert isinstance(host.run(lambda tasks: tasks.find(key)), Found)


@pytest.mark.parametrize(
    ("fault", "there"),
    [("cut_before_commit", False), ("error_500", False), ("cut_after_commit", True), ("half_answer", True)],
)
def test_a_start_that_is_cut_runs_once(host, key, until, fault, there):
    host.fault(fault)
    with pytest.raises(AnswerLost, match="may have been started"):
        submitted(host, existing(), key)
    assert isinstance(host.run(lambda tasks: tasks.find(key)), Found) == there
    idle(host, IMPORT)
    assert ended(host, submitted(host, existing(), key), until).rc == 0
    assert len(host.launches(key)) == 1


def test_a_person_can_name_the_instance(host, key, add, until):
    path = add("Work", "SLEEP=0.3", "RC=4")
    die(host, "before")
    with pytest.raises(AnswerLost):
        submitted(host, existing(path), key)
    instance = start_by(host, path)
    handle = host.run(lambda tasks: tasks.identify("{" + instance.guid.upper() + "}", key))
    assert handle.job_id == instance.guid
    assert ended(host, handle, until).rc == 4
    with pytest.raises(RequestRejected, match="has no job"):
        host.run(lambda tasks: tasks.identify("00000000-0000-0000-0000-000000000000", key))
    with pytest.raises(RequestRejected, match="can be adopted"):
        host.run(lambda tasks: tasks.identify("JOB00042", key))


def test_an_existing_task_has_no_log_and_says_so(host, key, until):
    handle = submitted(host, existing(), key)

    async def read(tasks):
        return await tasks.read_tail(handle), await tasks.read_output(handle, "7,0")

    calls = dict(host.stand_in.calls)
    assert host.run(read) == ("", Output("", "7,0"))
    assert dict(host.stand_in.calls) == calls, "nothing is there to be asked for"
    with pytest.raises(OutputMissing, match="keeps its output to itself"):
        host.run(lambda tasks: tasks.read_source(handle, "log"))


def test_the_job_root_is_needed_here_too(host, key):
    host.there(lambda: host.stand_in.host.folders.discard(host.root))
    with pytest.raises(SystemUnreachable, match="an administrator makes it"):
        submitted(host, existing(), key)
    assert host.lab.jobs("winrm") == []
