"""Instances: left running once they are healthy, and removed again.

How a user would notice that it is fake: "provisioned" for a server that never answered; an address to nowhere; a
removal that takes somebody else's container.
"""

from __future__ import annotations

import pytest
from engine_for_tests import run_to_end, sh, until_final

from airflow_enterprise_orch.delegation.job import Ending, Phase
from airflow_enterprise_orch.delegation.system import Found
from airflow_enterprise_orch.errors import AnswerLost, OutputMissing, RequestRejected
from airflow_enterprise_orch.systems.container.settings import Way
from airflow_enterprise_orch.systems.container.steps import ContainerProvision, ContainerRemove


def instance(*check, script="sleep 60", **more):
    health = {"command": list(check), "interval": 1, "retries": 1} if check else None
    return ContainerProvision(image="lab/tools:1", command=["sh", "-c", script], health=health, grace=1, **more)


def test_an_instance_is_left_running_once_it_is_healthy(engine, key):
    async def steps(system):
        handle = await system.submit(instance("test", "-e", "up", script="sleep 1.5; touch up; sleep 60"), key)
        early = (await system.poll([handle]))[key]
        assert early.phase is Phase.RUNNING
        assert "health check" in early.reason
        late = await until_final(system, handle)
        assert late.reason == "healthy"
        return await system.result(handle)

    result = engine.run(steps)
    assert (result.ending, result.code, result.rc) == (Ending.COMPLETED, "healthy", 0)
    assert engine.starts(key)[0].state == "running"


def test_its_address_and_id_are_outputs(engine, key):
    async def steps(system):
        handle = await system.submit(instance("true", publish=[{"container": 80, "host": 18080}]), key)
        await until_final(system, handle)
        return handle, {name: await system.read_source(handle, name) for name in ("id", "name", "ip", "address")}

    handle, values = engine.run(steps, Way.TLS)
    assert values == {
        "id": handle.fields["id"],
        "name": key,
        "ip": "127.0.0.1",
        "address": "127.0.0.1:18080",
    }


def test_an_output_that_the_instance_does_not_have_is_no_empty_text(engine, key):
    async def steps(system):
        handle = await system.submit(instance("true"), key)
        await until_final(system, handle)
        with pytest.raises(OutputMissing, match="no output 'port'"):
            await system.read_source(handle, "port")

    engine.run(steps)


def test_an_unhealthy_instance_is_not_up_and_not_closed_either(engine, key):
    async def steps(system):
        handle = await system.submit(instance("false"), key)
        while "unhealthy" not in (status := (await system.poll([handle]))[key]).reason:
            assert not status.final
        assert status.phase is Phase.RUNNING, "it runs: another attempt beside it would be a second instance"
        assert (await system.result(handle)).ending is Ending.UNKNOWN
        await system.cancel(handle)
        await until_final(system, handle)
        return await system.result(handle)

    assert engine.run(steps).ending is Ending.CANCELLED


@pytest.mark.parametrize("code", [0, 3])
def test_an_instance_that_ends_before_it_is_healthy_has_failed_even_with_exit_status_0(engine, key, code):
    async def steps(system):
        handle = await system.submit(instance("false", script=f"exit {code}"), key)
        await until_final(system, handle)
        return await system.result(handle)

    result = engine.run(steps)
    assert (result.ending, result.code) == (Ending.ABENDED, f"exit {code}")
    assert "before its health check passed" in result.detail


def test_without_any_health_check_nobody_could_tell(engine, key):
    with pytest.raises(RequestRejected, match="defines no health check"):
        engine.run(lambda system: system.submit(instance(), key))
    assert engine.lab.jobs("docker") == []


def test_the_image_s_own_health_check_serves(engine, key):
    async def steps(system):
        work = ContainerProvision(image="lab/web:1", command=["sleep", "60"], grace=1)
        handle = await system.submit(work, key)
        await until_final(system, handle)
        return await system.result(handle)

    assert engine.run(steps).code == "healthy"


def test_a_removal_stops_and_removes_exactly_that_instance(engine, key, new_key):
    removal, other = new_key(), new_key()

    async def steps(system):
        handle = await system.submit(instance("true"), key)
        await system.submit(instance("true"), other)
        await until_final(system, handle)
        gone = await system.submit(ContainerRemove(instance=handle.job_id), removal)
        await until_final(system, gone)
        assert isinstance(await system.find(removal), Found)
        assert (await system.read_output(gone)).text == ""
        return await system.result(gone), await system.find(key), await system.find(other)

    result, removed, kept = engine.run(steps)
    assert (result.ending, result.code, result.rc) == (Ending.COMPLETED, "removed", 0)
    assert not isinstance(removed, Found)
    assert isinstance(kept, Found)
    assert engine.starts(other)[0].state == "running"


def test_a_removal_of_what_is_gone_is_done(engine, key):
    async def steps(system):
        handle = await system.submit(ContainerRemove(instance="0123456789ab"), key)
        assert (await system.poll([handle]))[key].phase is Phase.ENDED
        return await system.result(handle)

    assert engine.run(steps).code == "removed"


def test_a_job_s_container_and_somebody_else_s_are_not_removed(engine, key, new_key):
    async def put():
        return engine.stand_in.engine.create("theirs", {"Image": "lab/tools:1", "Cmd": ["sleep", "9"]}, []).id

    theirs = engine.lab.run(put())

    async def steps(system):
        handle, _ = await run_to_end(system, sh("exit 0"), key)
        for victim in (handle.job_id, theirs):
            with pytest.raises(RequestRejected, match="left alone"):
                await system.submit(ContainerRemove(instance=victim), new_key())

    engine.run(steps)
    assert len(engine.lab.jobs("docker")) == 2
    assert not any(line.startswith("DELETE") for line in engine.requests())


@pytest.mark.parametrize("do", ["cut_before_commit", "cut_after_commit", "error_500"])
@pytest.mark.parametrize("at", ["volumes/create", "stop", "force=1"])
def test_a_removal_that_breaks_off_goes_on(engine, key, new_key, do, at):
    removal = new_key()

    async def steps(system):
        handle = await system.submit(instance("true"), key)
        await until_final(system, handle)
        engine.fault(do, on="any", match=at)
        with pytest.raises(AnswerLost):
            await system.submit(ContainerRemove(instance=handle.job_id), removal)
        found = await system.find(removal)
        if not isinstance(found, Found):
            assert at == "volumes/create"
            assert do != "cut_after_commit"
            gone = await system.submit(ContainerRemove(instance=handle.job_id), removal)
        else:
            gone = found.candidates[0].handle
            if found.candidates[0].held:
                await system.release(gone)
        assert (await system.poll([gone]))[removal].phase is Phase.ENDED
        return (await system.result(gone)).code, await system.find(key)

    code, left = engine.run(steps)
    assert code == "removed"
    assert not isinstance(left, Found)
