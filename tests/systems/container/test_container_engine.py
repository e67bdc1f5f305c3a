"""Jobs on the lab's engine.

How a user would notice that it is fake: a job that ended with 3 shown as a success; a program that is not in the image
shown as "exit 127" of a program that ran; "cancelled" for a job that the kernel killed; somebody else's container
adopted because it happens to have the name.
"""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from engine_for_tests import run_to_end, sh, until_final, until_running

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found
from airflow_enterprise_orch.errors import OutputMissing, RequestRejected
from airflow_enterprise_orch.systems.container.engine import SWEEP_EVERY
from airflow_enterprise_orch.systems.container.steps import ContainerRun


@pytest.mark.parametrize(
    ("script", "ending", "code", "rc"),
    [
        ("exit 0", Ending.COMPLETED, "exit 0", 0),
        ("exit 3", Ending.COMPLETED, "exit 3", 3),
        ("kill -9 $$", Ending.ABENDED, "signal 9", 137),
        ("kill -11 $$", Ending.ABENDED, "signal 11", 139),
        ("exit 255", Ending.LOST, "exit 255", 255),
    ],
)
def test_how_a_container_ended_is_told_apart(engine, key, script, ending, code, rc):
    _, result = engine.run(lambda system: run_to_end(system, sh(script), key))
    assert (result.ending, result.code, result.rc) == (ending, code, rc)
    assert result.started <= result.ended
    assert result.ended.tzinfo is UTC


def test_out_of_memory_is_not_just_a_signal(engine, key):
    engine.fault("abend")
    _, result = engine.run(lambda system: run_to_end(system, sh("sleep 60", memory_mb=16), key))
    assert (result.ending, result.code, result.rc) == (Ending.ABENDED, "out of memory", 137)


def test_a_kill_under_a_memory_limit_is_a_signal_when_the_engine_never_says_more(engine, key):
    _, result = engine.run(lambda system: run_to_end(system, sh("kill -9 $$", memory_mb=16), key))
    assert (result.ending, result.code, result.rc) == (Ending.ABENDED, "signal 9", 137)


def test_a_program_that_is_not_in_the_image_is_refused_and_never_ran(engine, key):
    async def steps(system):
        work = ContainerRun(image="lab/tools:1", command=["no-such-program"])
        with pytest.raises(RequestRejected, match=r'exec: "no-such-program": executable file not found'):
            await system.submit(work, key)
        found = await system.find(key)
        status = await system.poll([found.candidates[0].handle])
        return found, status[key], await system.result(found.candidates[0].handle)

    found, status, result = engine.run(steps)
    assert not found.candidates[0].held, "a later try would start it again and again"
    assert status.phase is Phase.ENDED
    assert result.ending is Ending.REJECTED
    assert engine.starts(key) == []


def test_arguments_and_environment_arrive_as_they_are(engine, key):
    odd = 'it\'s $HOME `id` "x" \n; exit 9'

    async def steps(system):
        work = ContainerRun(image="lab/tools:1", command=["printf", "%s|", odd, "{{x}}".upper()], env={"ODD": odd})
        handle = await system.submit(work, key)
        await until_final(system, handle)
        return await system.read_source(handle, "stdout")

    assert engine.run(steps) == f"{odd}|{{{{X}}}}|"


def test_the_key_is_the_container_s_name_and_its_label(engine, key):
    async def steps(system):
        assert await system.find(key) == Absent()
        handle = await system.submit(sh("sleep 30"), key)
        found = await system.find(key)
        return handle, found

    handle, found = engine.run(steps)
    assert isinstance(found, Found)
    assert found.candidates[0].handle == handle
    (job,) = engine.lab.jobs("docker")
    assert (job.name, job.key, job.id) == (key, key, handle.job_id)


def test_a_second_submit_adopts_the_first_s_container(engine, key):
    async def steps(system):
        first = await system.submit(sh("sleep 30"), key)
        return first, await system.submit(sh("sleep 30"), key)

    first, second = engine.run(steps)
    assert first == second
    assert len(engine.starts(key)) == 1


def test_many_submits_at_once_run_it_once(engine, key):
    async def steps(system):
        return await asyncio.gather(*(system.submit(sh("echo ran"), key) for _ in range(6)))

    handles = engine.run(steps)
    assert len(set(map(str, handles))) == 1
    assert len(engine.starts(key)) == 1


def test_another_specification_with_the_same_key_is_neither_adopted_nor_replaced(engine, key):
    async def steps(system):
        await system.submit(sh("sleep 30"), key)
        with pytest.raises(RequestRejected, match="another specification"):
            await system.submit(sh("sleep 31"), key)

    engine.run(steps)
    assert len(engine.starts(key)) == 1


def test_a_container_of_somebody_else_with_that_name_is_left_alone(engine, key):
    async def somebody():
        engine.stand_in.engine.create(key, {"Image": "lab/tools:1", "Cmd": ["sleep", "30"]}, [])

    engine.lab.run(somebody())

    async def steps(system):
        assert await system.find(key) == Absent()
        with pytest.raises(RequestRejected, match="not ours; it is left alone"):
            await system.submit(sh("exit 0"), key)

    engine.run(steps)
    assert not any(job.ran for job in engine.lab.jobs("docker"))


def test_a_cancel_ends_the_job_and_is_known_to_a_client_that_did_not_ask_for_it(engine, key):
    async def ask(system):
        handle = await system.submit(sh("echo up; sleep 60"), key)
        await until_running(system, handle, "up")
        await system.cancel(handle)
        await system.cancel(handle)  # asking again changes nothing
        return handle

    handle = engine.run(ask)

    async def look(system):
        await until_final(system, handle)
        return await system.result(handle)

    assert engine.run(look).ending is Ending.CANCELLED


def test_a_job_that_handles_its_cancel_ends_with_its_own_exit_status(engine, key):
    async def steps(system):
        handle = await system.submit(sh("trap 'exit 4' TERM; echo up; while :; do sleep 0.1; done"), key)
        await until_running(system, handle, "up")
        await system.cancel(handle)
        await until_final(system, handle)
        return await system.result(handle)

    result = engine.run(steps)
    assert (result.ending, result.rc) == (Ending.COMPLETED, 4)
    assert "its end was asked for" in result.detail


def test_a_kill_by_somebody_else_is_no_cancel(engine, key):
    async def steps(system):
        handle = await system.submit(sh("echo up; sleep 60"), key)
        await until_running(system, handle, "up")
        container = engine.stand_in.engine.find(key)
        engine.stand_in.engine.signal(container, 15)
        await until_final(system, handle)
        return await system.result(handle)

    result = engine.run(steps)
    assert (result.ending, result.code) == (Ending.ABENDED, "signal 15")


def test_a_container_that_was_never_started_is_cancelled_by_removing_it(engine, key):
    engine.fault("cut_before_commit", on="release")

    async def steps(system):
        with pytest.raises(Exception, match="may have taken effect"):
            await system.submit(sh("echo ran"), key)
        found = await system.find(key)
        assert found.candidates[0].held
        handle = found.candidates[0].handle
        await system.cancel(handle)
        return await system.poll([handle]), await system.result(handle), handle

    states, result, _ = engine.run(steps)
    assert states[key].phase is Phase.ENDED
    assert result.ending is Ending.CANCELLED
    assert engine.starts(key) == []


def test_a_container_that_somebody_removed_is_missing_and_its_result_unknown(engine, key):
    async def steps(system):
        handle = await system.submit(sh("exit 0"), key)
        await until_final(system, handle)
        engine.stand_in.engine.remove(engine.stand_in.engine.find(key))
        return (await system.poll([handle]))[key], await system.result(handle), await system.read_tail(handle)

    status, result, tail = engine.run(steps)
    assert status.phase is Phase.MISSING
    assert result.ending is Ending.UNKNOWN
    assert tail == ""


def test_a_person_can_name_a_container_by_its_id_but_not_one_of_another_attempt(engine, key, new_key):
    async def steps(system):
        handle = await system.submit(sh("sleep 30"), key)
        assert (await system.identify(handle.job_id, key)).fields["id"] == handle.fields["id"]
        with pytest.raises(RequestRejected, match="belongs to another attempt"):
            await system.identify(handle.job_id, new_key())
        with pytest.raises(RequestRejected, match="has no container"):
            await system.identify("0123456789ab", key)

    engine.run(steps)


def test_five_hundred_waiting_containers_cost_one_call_per_poll(engine, new_key):
    keys = [new_key() for _ in range(500)]

    async def put():
        handles = []
        for one in keys:
            body = {"Image": "lab/tools:1", "Cmd": ["sleep", "30"], "Labels": {"orch.key": one, "orch.kind": "run"}}
            container = engine.stand_in.engine.create(one, body, [])
            container.state = "running"  # five hundred processes would show nothing more
            handles.append(JobHandle(one, container.id[:12], fields={"id": container.id}))
        return handles

    handles = engine.lab.run(put())
    before = len(engine.requests())
    states = engine.run(lambda system: system.poll(handles))
    assert len(engine.requests()) - before == 1
    assert len(states) == 500
    assert {status.phase for status in states.values()} == {Phase.RUNNING}


def test_ended_containers_do_not_make_a_poll_dearer(engine, key, new_key):
    async def steps(system):
        for _ in range(5):
            await run_to_end(system, sh("exit 0"), new_key())
        handle = await system.submit(sh("sleep 30"), key)
        answer = await system._list(("created", "running", "paused", "restarting", "removing"))
        return handle, answer

    handle, listed = engine.run(steps)
    assert [entry["Id"] for entry in listed] == [handle.fields["id"]]


def test_an_output_that_does_not_exist_is_named(engine, key):
    async def steps(system):
        handle, _ = await run_to_end(system, sh("echo out; echo err >&2"), key)
        assert await system.read_source(handle, "stdout") == "out\n"
        assert await system.read_source(handle, "stderr") == "err\n"
        assert sorted((await system.read_source(handle, "log")).split()) == ["err", "out"]
        with pytest.raises(OutputMissing, match="no output 'SYSPRINT'; a container has log, stdout and stderr"):
            await system.read_source(handle, "SYSPRINT")
        with pytest.raises(OutputMissing, match="no output 'address'"):
            await system.read_source(handle, "address")

    engine.run(steps)


def test_a_value_is_never_more_than_one_part_of_a_path(engine, key):
    async def steps(system):
        handle = JobHandle(key, "../volumes/x?all=1", fields={"id": "a/../../volumes#x"})
        return await system.poll([handle])

    states = engine.run(steps)
    assert states[key].phase is Phase.MISSING
    asked = [urllib.parse.unquote(line) for line in engine.requests() if "volumes#x" in urllib.parse.unquote(line)]
    assert asked == ["GET /containers/a/../../volumes#x/json"]
    assert "GET /containers/a%2F..%2F..%2Fvolumes%23x/json" in engine.requests()


def test_long_ended_jobs_are_swept_away_and_nothing_else_is(engine, key, new_key):
    old, recent, alive = key, new_key(), new_key()

    async def steps(system):
        for one in (old, recent):
            await run_to_end(system, sh("exit 0"), one)
        await system.submit(sh("sleep 30"), alive)
        for one, days in ((old, 40), (recent, 1), (alive, 50)):
            container = engine.stand_in.engine.find(one)
            then = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.000000001Z")
            container.created, container.finished = "2020-01-01T00:00:00.000000001Z", then
        removed = await system.sweep(datetime.now(UTC) - timedelta(days=30))
        return removed, [await system.find(one) for one in (old, recent, alive)]

    removed, (gone, kept, running) = engine.run(steps)
    assert removed == 1
    assert gone == Absent()
    assert isinstance(kept, Found)
    assert isinstance(running, Found)


def test_a_client_that_lives_long_sweeps_now_and_then_and_a_failed_sweep_is_no_failed_poll(engine, key, caplog):
    async def steps(system):
        handle = await system.submit(sh("sleep 30"), key)
        await system.poll([handle])
        before = len(engine.requests())
        system._swept -= SWEEP_EVERY + 1
        engine.fault("error_500", on="poll", match="exited")
        first = await system.poll([handle])
        asked = len(engine.requests()) - before
        await system.poll([handle])
        return first[key].phase, asked, len(engine.requests()) - before

    assert engine.run(steps) == (Phase.RUNNING, 2, 3)
    assert "not cleaned up this time" in caplog.text


def test_what_is_created_says_what_it_is_and_never_restarts_by_itself(engine, key):
    work = sh("sleep 30", memory_mb=64, cpus=1.5, env={"A": "b"}, user="nobody", directory="/tmp")
    engine.run(lambda system: system.submit(work, key))

    async def look():
        return json.loads(json.dumps(engine.stand_in.engine.find(key).body))

    body = engine.lab.run(look())
    assert body["HostConfig"]["RestartPolicy"] == {"Name": "no"}
    assert body["HostConfig"]["AutoRemove"] is False
    assert body["HostConfig"]["Memory"] == body["HostConfig"]["MemorySwap"] == 64 << 20
    assert body["HostConfig"]["NanoCpus"] == 1_500_000_000
    assert body["Labels"] == {
        "orch.key": key,
        "orch.spec": work.digest(),
        "orch.owner": "enterprise-orch",
        "orch.kind": "run",
    }
    assert (body["User"], body["WorkingDir"], body["Env"], body["Tty"]) == ("nobody", "/tmp", ["A=b"], False)


def test_no_key_can_name_anything_else(engine):
    with pytest.raises(RequestRejected, match="no delegation key"):
        engine.run(lambda system: system.submit(sh("exit 0"), "../x"))
    assert engine.requests() == []


def test_a_moved_handle_is_found_by_its_short_id(engine, key):
    async def steps(system):
        handle = await system.submit(sh("sleep 30"), key)
        return await system.poll([replace(handle, fields={})])

    assert engine.run(steps)[key].phase is Phase.RUNNING
