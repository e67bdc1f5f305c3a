"""One loop per connection: counted, not timed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from fakes import REGISTRATION, WORK, WORLDS, World

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.delegation.polling import ConnectionPoller, News, Pace, poller, seconds_until
from airflow_enterprise_orch.delegation.system import Protection
from airflow_enterprise_orch.errors import ConnectionBlocked, LoginRefused, SystemUnreachable

FAST = Pace(young=0.01, young_for=60, calm=0.02, widest=0.03, blocked=0.02)
RUNNING = News(JobStatus(Phase.RUNNING))
ENDED = News(JobStatus(Phase.ENDED))


class Door:
    """What the guard would say and hear."""

    def __init__(self) -> None:
        self.blocked: list[str] = []
        self.closed = False
        self.fails = False

    async def refuse(self, connection_id: str) -> None:
        if self.closed:
            raise ConnectionBlocked(connection_id, "blocked", "delete the Variable")

    async def block(self, connection_id: str, refused: LoginRefused) -> None:
        self.blocked.append(refused.reason)
        if self.fails:
            raise RuntimeError("the Variable cannot be written")
        self.closed = True


def make(door: Door, connection: str = "fake_one", pace: Pace = FAST) -> ConnectionPoller:
    return ConnectionPoller(REGISTRATION, connection, pace, refuse_blocked=door.refuse, block=door.block)


def job(world: World, number: int = 1) -> JobHandle:
    return world.land(WORK, f"K{number:019d}").handle


@asynccontextmanager
async def watching(
    poll: ConnectionPoller, handle: JobHandle, identity: str = "fake://one"
) -> AsyncIterator[Callable[[], Awaitable[News]]]:
    async with asyncio.timeout(5), aclosing(poll.watch(handle, identity)) as news:
        yield lambda: anext(news)


async def settled(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0.002)


async def thousand(world: World, watchers: int, batch: int) -> list[int]:
    world.batch = batch
    poll = make(Door())
    handles = [job(world, number) for number in range(watchers)]
    first = asyncio.Event()

    async def wait(handle: JobHandle) -> News:
        async with aclosing(poll.watch(handle, "fake://one")) as news:
            assert await anext(news) == RUNNING
            if handle is handles[-1]:
                first.set()
            return await anext(news)

    async with asyncio.timeout(10):
        tasks = [asyncio.create_task(wait(handle)) for handle in handles]
        await first.wait()
        world.end()
        assert set(await asyncio.gather(*tasks)) == {ENDED}
    await settled(lambda: world.open_now == 0)
    return world.batches


@pytest.mark.parametrize(
    ("watchers", "batch", "round_"), [(1, 1000, [1]), (1000, 1000, [1000]), (1000, 400, [400, 400, 200])]
)
def test_a_thousand_jobs_cost_one_call_per_batch_and_one_client(
    world: World, watchers: int, batch: int, round_: list[int]
) -> None:
    batches = asyncio.run(thousand(world, watchers, batch))
    rounds = [batches[start : start + len(round_)] for start in range(0, len(batches), len(round_))]
    assert rounds[0] == round_
    assert len(batches) <= 12 * len(round_)  # rounds, however many jobs there are
    assert world.calls.count("open") == 1
    assert world.calls.count("close") == 1


def test_only_changes_are_told(world: World) -> None:
    async def body() -> None:
        poll = make(Door())
        async with watching(poll, job(world)) as news:
            assert await news() == RUNNING
            await settled(lambda: world.calls.count("poll") > 3)
            world.end()
            assert await news() == ENDED

    asyncio.run(body())


def test_the_loop_ends_and_the_client_closes_when_nobody_waits_and_starts_again(world: World) -> None:
    async def body() -> None:
        poll = make(Door())
        for times in (1, 2):
            async with watching(poll, job(world)) as news:
                await news()
                assert world.open_now == 1
            await settled(lambda: world.open_now == 0)
            count = len(world.batches)
            await asyncio.sleep(0.05)
            assert len(world.batches) == count
            assert world.calls.count("open") == times

    asyncio.run(body())


def test_a_watcher_that_leaves_is_not_asked_for_any_more(world: World) -> None:
    async def body() -> None:
        poll = make(Door())
        async with watching(poll, job(world, 1)) as stays:
            async with watching(poll, job(world, 2)) as leaves:
                await stays()
                await leaves()
                assert world.batches[-1] == 2
            count = len(world.batches)
            await settled(lambda: len(world.batches) > count + 2)
            assert world.batches[-1] == 1

    asyncio.run(body())


def test_one_that_joins_during_a_poll_does_not_wait_a_whole_interval(world: World) -> None:
    """The interval here is an hour: a lost wake-up would hang."""

    async def body() -> None:
        poll = make(Door(), pace=Pace(young=3600, calm=3600))
        late: list[asyncio.Task[News]] = []
        second = job(world, 2)

        async def join() -> News:
            async with watching(poll, second) as news:
                return await news()

        class Slow:
            async def __call__(self) -> None:
                late.append(asyncio.create_task(join()))
                await asyncio.sleep(0.02)

        from fakes import FakeSystem

        original = FakeSystem.poll

        async def slow_poll(self: FakeSystem, handles):  # type: ignore[no-untyped-def]
            if not late:
                await Slow()()
            return await original(self, handles)

        FakeSystem.poll = slow_poll  # type: ignore[method-assign]
        try:
            async with watching(poll, job(world, 1)) as news:
                assert await news() == RUNNING
                async with asyncio.timeout(2):
                    assert await late[0] == RUNNING
        finally:
            FakeSystem.poll = original  # type: ignore[method-assign]

    asyncio.run(body())


@pytest.mark.parametrize("fault", ["unreachable", "busy", "bug"])
def test_no_error_ends_a_wait(world: World, fault: str) -> None:
    async def body() -> None:
        poll = make(Door())
        world.opens[:] = ["unreachable", "bug"]
        world.polls[:] = [fault, "ok"]
        async with watching(poll, job(world)) as news:
            troubles = [await news() for _ in range(4)]
            assert [bool(one.trouble) for one in troubles] == [True, True, True, False]
            assert troubles[-1] == RUNNING
            world.end()
            assert await news() == ENDED

    asyncio.run(body())


def test_the_same_trouble_is_told_once(world: World) -> None:
    async def body() -> None:
        poll = make(Door())
        world.polls[:] = ["unreachable"] * 4
        async with watching(poll, job(world)) as news:
            assert (await news()).trouble == "fake://one cannot be reached"
            assert await news() == RUNNING

    asyncio.run(body())


def test_a_job_that_is_not_in_the_answer_is_simply_not_known_this_time(world: World) -> None:
    async def body() -> None:
        poll = make(Door())
        world.polls[:] = ["nothing", "nothing"]
        async with watching(poll, job(world)) as news:
            assert await news() == RUNNING
            assert len(world.batches) >= 3

    asyncio.run(body())


def test_a_sick_connection_does_not_delay_another(world: World) -> None:
    sick = WORLDS["fake_two"] = World(Protection.ATOMIC, identity="fake://two")
    sick.opens = ["unreachable"] * 10_000

    async def body() -> None:
        ill, well = make(Door(), "fake_two"), make(Door())
        async with watching(ill, job(sick), "fake://two") as bad, watching(well, job(world)) as good:
            assert (await bad()).trouble
            assert await good() == RUNNING
            world.end()
            assert await good() == ENDED
        assert sick.batches == []

    asyncio.run(body())


@pytest.mark.parametrize("where", ["open", "poll"])
def test_a_refused_login_blocks_is_not_repeated_and_lifts(world: World, where: str) -> None:
    async def body() -> None:
        door = Door()
        poll = make(door)
        (world.opens if where == "open" else world.polls).append("login")
        async with watching(poll, job(world)) as news:
            assert "the password" in (await news()).trouble
            assert "blocked" in (await news()).trouble
            logins = world.calls.count("open")
            await asyncio.sleep(0.1)
            assert world.calls.count("open") == logins == 1
            door.closed = False
            assert await news() == RUNNING
        assert len(door.blocked) == 1

    asyncio.run(body())


def test_a_block_that_cannot_be_written_does_not_end_the_wait(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        door = Door()
        door.fails = True
        world.opens[:] = ["login"]
        async with watching(make(door), job(world)) as news:
            assert (await news()).trouble
            assert await news() == RUNNING

    asyncio.run(body())


def test_a_connection_that_leads_elsewhere_is_told_and_the_job_is_not_asked_for(world: World) -> None:
    async def body() -> None:
        async with watching(make(Door()), job(world), "fake://the-old-one") as news:
            assert await news() == News(elsewhere="fake://one")
        assert world.batches == []

    asyncio.run(body())


def test_calls_pass_the_guard_and_refused_logins_block(world: World) -> None:
    async def body() -> None:
        door = Door()
        poll = make(door)

        async def nothing(_system: object) -> None:
            return None

        await poll.call(nothing)
        world.opens[:] = ["login"]
        with pytest.raises(LoginRefused):
            await poll.call(nothing)
        assert door.blocked == ["the password is wrong"]
        opened = world.calls.count("open")
        with pytest.raises(ConnectionBlocked):
            await poll.call(nothing)
        assert world.calls.count("open") == opened
        door.closed = False
        world.opens[:] = ["unreachable"]
        with pytest.raises(SystemUnreachable):
            await poll.call(nothing)

    asyncio.run(body())


def test_everybody_on_a_loop_shares_one_poller_per_connection() -> None:
    async def body() -> ConnectionPoller:
        assert poller(REGISTRATION, "a") is poller(REGISTRATION, "a")
        assert poller(REGISTRATION, "a") is not poller(REGISTRATION, "b")
        return poller(REGISTRATION, "a")

    assert asyncio.run(body()) is not asyncio.run(body())


def test_the_interval_widens_with_every_error_and_has_an_end() -> None:
    poll = make(Door(), pace=Pace())
    widened = [poll._widened() for _ in range(12)]
    assert widened == sorted(widened)
    assert widened[0] == 4.0
    assert widened[-1] == 300.0


def test_seconds_until() -> None:
    assert seconds_until(None) is None
    assert seconds_until(datetime.now(UTC) - timedelta(hours=1)) == 0.0
    left = seconds_until(datetime.now(UTC) + timedelta(hours=1))
    assert left is not None
    assert left > 3000
