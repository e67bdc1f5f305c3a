"""The engine misbehaves, or the client does: nothing runs twice, nothing is lost, nothing is guessed.

How a user would notice that it is fake: an invoice written twice, because a start was sent again to a container that
had run already in a second.
"""

from __future__ import annotations

import asyncio

import pytest
from engine_for_tests import run_to_end, sh, until_final, until_running

from airflow_enterprise_orch.delegation.job import Ending, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found
from airflow_enterprise_orch.errors import AnswerLost, RequestRejected, SystemBusy, SystemUnreachable
from airflow_enterprise_orch.systems.container import engine as engine_module
from airflow_enterprise_orch.systems.container.settings import Way

LOST = ["cut_before_commit", "cut_after_commit", "half_answer", "error_500", "html_503"]
TOOK_EFFECT = ("cut_after_commit", "half_answer")


@pytest.fixture(autouse=True)
def short_lease(monkeypatch):
    monkeypatch.setattr(engine_module, "LEASE", 1.5)


@pytest.mark.parametrize("way", list(Way))
@pytest.mark.parametrize("do", LOST)
def test_a_create_without_an_answer_is_ambiguous_and_is_found_again(engine, key, do, way):
    engine.fault(do)

    async def steps(system):
        with pytest.raises(AnswerLost):
            await system.submit(sh("echo ran"), key)
        found = await system.find(key)
        assert isinstance(found, Found) == (do in TOOK_EFFECT)
        handle = found.candidates[0].handle if isinstance(found, Found) else await system.submit(sh("echo ran"), key)
        if isinstance(found, Found):
            assert found.candidates[0].held
            await system.release(handle)
        await until_final(system, handle)
        return await system.result(handle)

    assert engine.run(steps, way).rc == 0
    assert len(engine.starts(key)) == 1


@pytest.mark.parametrize("do", LOST)
def test_a_start_without_an_answer_does_not_run_it_twice(engine, key, do):
    engine.fault(do, on="release")

    async def steps(system):
        try:
            await system.submit(sh("echo ran"), key)
        except AnswerLost:
            found = await system.find(key)
            if found.candidates[0].held:
                await system.release(found.candidates[0].handle)
        handle = (await system.find(key)).candidates[0].handle
        await until_final(system, handle)
        return await system.result(handle)

    assert engine.run(steps).rc == 0
    assert len(engine.starts(key)) == 1


def test_a_start_that_arrives_late_does_not_run_a_short_job_twice(engine, key):
    engine.fault("late_commit", on="release", seconds=0.5)

    async def steps(system):
        with pytest.raises(AnswerLost):
            await system.submit(sh("exit 0"), key)
        found = await system.find(key)
        assert found.candidates[0].held, "the late start came too early for this test"
        await system.release(found.candidates[0].handle)  # watches, and sees that it ran
        await until_final(system, found.candidates[0].handle)
        return await system.result(found.candidates[0].handle)

    assert engine.run(steps).rc == 0
    assert len(engine.starts(key)) == 1


def test_the_engine_would_run_it_twice(engine, key):
    """Why the rules are there: the engine itself starts a container that has ended once more, and says 204."""

    async def steps(system):
        handle, _ = await run_to_end(system, sh("exit 0"), key)
        await system._start(handle, engine_module._now())
        await until_final(system, handle)

    engine.run(steps)
    assert len(engine.starts(key)) == 2


def test_a_try_that_slept_between_create_and_start_starts_nothing(engine, key, monkeypatch):
    async def steps(sleeper, successor):
        asked, awake = asyncio.Event(), asyncio.Event()
        start = sleeper._start

        async def sleeps(handle, when):
            asked.set()
            await awake.wait()
            await start(handle, when)

        monkeypatch.setattr(sleeper, "_start", sleeps)
        old = asyncio.create_task(sleeper.submit(sh("exit 0"), key))
        await asked.wait()
        found = await successor.find(key)
        await successor.release(found.candidates[0].handle)
        await until_final(successor, found.candidates[0].handle)
        awake.set()
        with pytest.raises(AnswerLost, match="nobody knows yet if it started"):
            await old

    async def both():
        async with engine.client() as sleeper, engine.client() as successor:
            await steps(sleeper, successor)

    asyncio.run(both())
    assert len(engine.starts(key)) == 1


def test_a_create_that_arrives_late_meets_the_name(engine, key):
    engine.fault("late_commit", on="submit", seconds=0.4)

    async def steps(system):
        with pytest.raises(AnswerLost):
            await system.submit(sh("echo ran"), key)
        assert await system.find(key) == Absent()
        handle = await system.submit(sh("echo ran"), key)
        while engine.stand_in.late:
            await asyncio.sleep(0.05)
        await until_final(system, handle)

    engine.run(steps)
    assert len(engine.lab.jobs("docker")) == 1
    assert len(engine.starts(key)) == 1


def test_a_cancelled_container_is_not_started_by_a_later_try(engine, key):
    engine.fault("cut_before_commit", on="release")

    async def steps(system):
        with pytest.raises(AnswerLost):
            await system.submit(sh("echo ran"), key)
        handle = (await system.find(key)).candidates[0].handle
        await system._write_record(f"{key}.cancel", {})
        with pytest.raises(RequestRejected, match="was cancelled before it was started"):
            await system.release(handle)

    engine.run(steps)
    assert engine.starts(key) == []


@pytest.mark.parametrize("do", LOST)
def test_a_poll_without_an_answer_is_no_news(engine, key, do):
    async def steps(system):
        handle = await system.submit(sh("sleep 30"), key)
        engine.fault(do, on="poll")
        with pytest.raises(SystemUnreachable) as failed:
            await system.poll([handle])
        assert isinstance(failed.value, SystemBusy) == (do == "html_503")
        assert (await system.poll([handle]))[key].phase is Phase.RUNNING

    engine.run(steps)


@pytest.mark.parametrize("do", LOST)
def test_a_find_without_an_answer_is_never_an_absence(engine, key, do):
    async def steps(system):
        await system.submit(sh("sleep 30"), key)
        engine.fault(do, on="find")
        with pytest.raises(SystemUnreachable):
            await system.find(key)
        assert isinstance(await system.find(key), Found)

    engine.run(steps)


@pytest.mark.parametrize("do", [do for do in LOST if do != "half_answer"])  # its answer has no content to be halved
def test_a_cancel_without_an_answer_says_so_and_can_be_asked_again(engine, key, do):
    async def steps(system):
        handle = await system.submit(sh("echo up; sleep 60"), key)
        await until_running(system, handle, "up")
        engine.fault(do, on="cancel", match="stop")
        with pytest.raises(AnswerLost) as lost:
            await system.cancel(handle)
        assert "stop of container" in str(lost.value)
        await system.cancel(handle)
        await until_final(system, handle)
        return await system.result(handle)

    assert engine.run(steps).ending is Ending.CANCELLED


def test_a_cancel_whose_record_cannot_be_written_stops_nothing(engine, key):
    async def steps(system):
        handle = await system.submit(sh("echo up; sleep 60"), key)
        await until_running(system, handle, "up")
        engine.fault("error_500", on="cancel", match="volumes")
        with pytest.raises(AnswerLost, match="record"):
            await system.cancel(handle)
        return (await system.poll([handle]))[key].phase

    assert engine.run(steps) is Phase.RUNNING


@pytest.mark.parametrize("do", ["cut_before_commit", "half_answer", "error_500", "html_503"])
def test_a_log_without_an_answer_is_no_empty_log(engine, key, do):
    async def steps(system):
        handle, _ = await run_to_end(system, sh("echo told"), key)
        engine.fault(do, on="output")
        with pytest.raises(SystemUnreachable):
            await system.read_output(handle)
        return (await system.read_output(handle)).text

    assert engine.run(steps) == "told\n"


def test_an_answer_that_does_not_come_is_given_up_and_is_ambiguous(engine, key):
    engine.fault("slow_answer", on="submit", seconds=5)

    async def steps(system):
        with pytest.raises(AnswerLost, match="ReadTimeout"):
            await system.submit(sh("echo ran"), key)
        return await system.find(key)

    assert isinstance(engine.run(steps, timeout=1.0), Found)


def test_a_stuck_runtime_delays_the_start_and_does_not_double_it(engine, key):
    async def hang():
        engine.stand_in.engine.accepts_starts.clear()

    async def go_on():
        engine.stand_in.engine.accepts_starts.set()

    engine.lab.run(hang())

    async def steps(system):
        with pytest.raises(AnswerLost):
            await system.submit(sh("exit 0"), key)
        handle = (await system.find(key)).candidates[0].handle
        waiting = asyncio.create_task(system.release(handle))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(engine.lab.run, go_on())
        await waiting
        await until_final(system, handle)

    engine.run(steps, timeout=1.0)
    assert len(engine.starts(key)) == 1
