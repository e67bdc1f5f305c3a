"""One loop per connection, on a virtual clock: whom it asks, when, how often, and whom it tells what."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from fakes import REGISTRATION
from hypothesis import given, settings
from hypothesis import strategies as st
from polled_host import ENDED, IDENTITY, RUNNING, Door, Host, handle, settle, spawn

from airflow_enterprise_orch.delegation.job import JobStatus, Phase
from airflow_enterprise_orch.delegation.polling import (
    ACTIONS,
    ConnectionPoller,
    News,
    Pace,
    Watch,
    poller,
    seconds_until,
)
from airflow_enterprise_orch.errors import (
    ConnectionBlocked,
    ConnectionChanged,
    ConnectionInvalid,
    LoginRefused,
    RequestRejected,
    SystemBusy,
    SystemUnreachable,
)
from tests.virtual_time import run

PACE = Pace()
HOUR = 3600.0


def now() -> float:
    return asyncio.get_running_loop().time()


async def told(watch: Watch, seconds: float = HOUR) -> News:
    news = await watch.next(seconds)
    assert news is not None, f"nothing was told within {seconds} s"
    return news


def watch_many(poll: ConnectionPoller, jobs: int, *, waited: float = 0.0, first: int = 0) -> list[Watch]:
    return [poll.watch(handle(number), IDENTITY, waited=waited) for number in range(first, first + jobs)]


def unreachable(_keys: Sequence[str] = ()) -> Exception:
    return SystemUnreachable("host://one cannot be reached")


# How many calls.


@pytest.mark.parametrize(("jobs", "batch", "calls"), [(1, 1000, 1), (1000, 1000, 1), (1000, 400, 3)])
def test_a_round_takes_one_call_per_batch_and_one_client(jobs: int, batch: int, calls: int) -> None:
    async def body() -> None:
        host = Host(batch=batch)
        poll = host.poller()
        watches = watch_many(poll, jobs)
        assert {(await told(watch)).status for watch in watches} == {RUNNING}
        assert len(host.polls) == calls
        assert len({key for _, keys in host.polls for key in keys}) == jobs
        for number in range(jobs):
            host.states[f"K{number}"] = ENDED
        assert {(await told(watch)).status for watch in watches} == {ENDED}
        assert len(host.opens) == 1

    run(body())


@pytest.mark.parametrize("batch", [1000, 5000])
def test_ten_thousand_calm_jobs_keep_the_budget_of_calls_while_young_ones_come_and_go(batch: int) -> None:
    """One job of every second is young: it must not drag the ten thousand along."""

    async def body() -> None:
        host = Host(batch=batch)
        poll = host.poller()
        watch_many(poll, 10_000, waited=HOUR)
        await asyncio.sleep(30)
        for number in range(60):
            watch_many(poll, 1, first=20_000 + number)
            await asyncio.sleep(1)
        assert host.most_calls_within(PACE.calm) <= 25
        for key in ("K0", "K5000", "K9999"):
            gaps = [later - earlier for earlier, later in pairwise(host.times_of(key))]
            assert min(gaps) > PACE.calm * 0.85 - PACE.young - 0.1, "a calm job is asked for at the pace of a young one"
            assert max(gaps) <= PACE.calm + PACE.young
        young = [later - earlier for earlier, later in pairwise(host.times_of("K20000")[:10])]
        assert max(young) < 3.5, "a young job waits behind the calm ones"

    run(body())


def test_ten_thousand_young_jobs_keep_the_budget_too() -> None:
    async def body() -> None:
        host = Host()
        watch_many(host.poller(), 10_000)
        await asyncio.sleep(60)
        assert host.most_calls_within(PACE.calm) <= 25
        assert len({key for _, keys in host.polls for key in keys}) == 10_000

    run(body())


@settings(max_examples=40, deadline=None)
@given(
    batch=st.sampled_from([1, 7, 50, 1000]),
    takes=st.sampled_from([0.0, 0.05, 1.5]),
    seed=st.integers(0, 1000),
    life=st.lists(
        st.tuples(
            st.sampled_from(["join", "join old", "leave", "end", "hold", "sleep"]),
            st.integers(1, 40),
            st.integers(0, 99),
        ),
        min_size=1,
        max_size=25,
    ),
)
def test_whatever_comes_and_goes_the_budget_holds_and_nobody_is_forgotten(
    batch: int, takes: float, seed: int, life: list[tuple[str, int, int]]
) -> None:
    async def body() -> None:
        host = Host(batch=batch, takes=takes)
        poll = host.poller(seed=seed)
        alive: dict[str, Watch] = {}
        joined: dict[str, float] = {}
        left: dict[str, float] = {}
        most = 0
        for what, number, which in life:
            some = list(alive)[which % len(alive) :][:number] if alive else []
            if what.startswith("join"):
                for watch in watch_many(poll, number, waited=HOUR if "old" in what else 0.0, first=len(joined)):
                    alive[watch.handle.key], joined[watch.handle.key] = watch, now()
            elif what == "leave":
                for key in some:
                    alive.pop(key).leave()
                    left[key] = now()
            elif what == "sleep":
                await asyncio.sleep(number)
            else:
                for key in some:
                    if host.states.get(key) != ENDED:
                        host.states[key] = ENDED if what == "end" else JobStatus(Phase.HELD, str(number))
            most = max(most, len(alive))
            await asyncio.sleep(0.3)
        round_ = (takes + PACE.gap(most, batch)) * (most / batch + 1)
        patience = PACE.calm + 2 * PACE.young + 2 * round_
        await asyncio.sleep(2 * patience)
        if host.polls:
            assert host.most_calls_within(PACE.calm) <= max(25, 2 * -(-most // batch) + 1)
            assert all(len(keys) <= batch and len(set(keys)) == len(keys) for _, keys in host.polls)
        for key, watch in alive.items():
            expected = host.states.get(key, RUNNING)
            assert watch.last == expected, "a change was never seen"
            final = expected.final
            moments = [joined[key], *host.times_of(key), *([] if final else [now()])]
            assert max(later - earlier for earlier, later in pairwise(moments)) <= patience
        for key, moment in left.items():
            assert all(time <= moment + takes for time in host.times_of(key))

    run(body())


def test_only_who_has_news_is_woken() -> None:
    async def body() -> None:
        host = Host()
        poll = host.poller()
        watches = watch_many(poll, 3000, waited=HOUR)
        woken: Counter[str] = Counter()

        async def listen(watch: Watch) -> None:
            async for _news in watch:
                woken[watch.handle.key] += 1

        tasks = [spawn(listen(watch)) for watch in watches]
        await asyncio.sleep(60)
        assert woken.total() == 3000, "each hears once that it runs"
        host.states["K7"] = host.states["K70"] = ENDED
        await asyncio.sleep(60)
        assert woken.total() == 3002
        assert tasks[7].done(), "nothing follows the end"
        assert not tasks[8].done()
        for task in tasks:
            task.cancel()

    run(body())


def test_a_thousand_that_end_at_the_same_moment_are_seen_within_an_interval() -> None:
    async def body() -> None:
        host = Host()
        poll = host.poller()
        watch_many(poll, 9000, waited=HOUR)
        watches = watch_many(poll, 1000, waited=HOUR, first=9000)
        for watch in watches:
            await told(watch)
        await asyncio.sleep(100)
        for number in range(9000, 10_000):
            host.states[f"K{number}"] = ENDED
        ended = now()
        assert {(await told(watch)).status for watch in watches} == {ENDED}
        assert now() - ended <= PACE.calm + 5

    run(body())


# How often one job is asked for.


def test_a_job_is_asked_for_often_while_young_then_ever_more_seldom_and_often_after_a_change() -> None:
    async def body() -> None:
        host = Host()
        poll = host.poller()
        watch_many(poll, 1)
        await asyncio.sleep(200)
        gaps = [later - earlier for earlier, later in pairwise(host.times_of("K0"))]
        assert all(gap < 2.1 for gap in gaps[:14])
        assert gaps[-1] > PACE.calm * 0.84
        host.states["K0"] = JobStatus(Phase.HELD, "by an operator")
        changed = now()
        await asyncio.sleep(40)
        after = [time for time in host.times_of("K0") if time > changed]
        assert after[0] - changed <= PACE.calm
        assert max(later - earlier for earlier, later in pairwise(after[:10])) < 2.1

    run(body())


def test_one_that_joins_during_a_call_is_asked_for_soon() -> None:
    async def body() -> None:
        host = Host(takes=1.0)
        poll = host.poller()
        watch_many(poll, 100, waited=HOUR)
        await settle(lambda: host.at_once == 1, step=0.01)
        (late,) = watch_many(poll, 1, first=500)
        joined = now()
        assert (await told(late)).status == RUNNING
        assert now() - joined < 2 * PACE.young + host.takes

    run(body())


def test_one_that_leaves_is_asked_for_no_more_and_costs_no_memory() -> None:
    async def body() -> None:
        host = Host()
        poll = host.poller()
        stays, leaves = watch_many(poll, 2)
        await told(stays)
        leaves.leave()
        begin = now()
        for number in range(2000):
            watch_many(poll, 1, first=100 + number)[0].leave()
        assert len(poll._due) < 100
        await asyncio.sleep(60)
        assert {key for time, keys in host.polls if time > begin for key in keys} == {"K0"}

    run(body())


# A triggerer starts.


def test_ten_thousand_that_join_at_once_are_asked_for_once_each() -> None:
    async def body() -> None:
        host = Host()
        watch_many(host.poller(), 10_000, waited=HOUR)
        await asyncio.sleep(PACE.calm * 0.8)
        assert [len(keys) for _, keys in host.polls] == [1000] * 10
        assert len(host.opens) == 1
        await asyncio.sleep(120)
        assert host.most_calls_within(PACE.calm) <= 25

    run(body())


def test_ten_thousand_that_join_as_fast_as_airflow_starts_them_keep_the_budget() -> None:
    async def body() -> None:
        host = Host()
        poll = host.poller()
        for second in range(100):
            watch_many(poll, 100, waited=HOUR, first=second * 100)
            await asyncio.sleep(0.77)
        await asyncio.sleep(60)
        assert host.most_calls_within(PACE.calm) <= 25
        assert len({key for _, keys in host.polls for key in keys}) == 10_000

    run(body())


def test_several_triggerers_do_not_ask_in_step() -> None:
    async def first_call(seed: int) -> float:
        host = Host()
        watch_many(host.poller(seed=seed), 10)
        await settle(lambda: bool(host.polls), step=0.001)
        return host.polls[0][0]

    starts = sorted(run(first_call(seed)) for seed in range(8))
    assert starts[-1] - starts[0] > 0.5
    assert len(set(starts)) == 8


# Sessions.


def test_the_client_lingers_for_the_next_step_and_closes_when_none_comes() -> None:
    async def body() -> None:
        host = Host()
        poll = host.poller()
        for number in range(3):
            (watch,) = watch_many(poll, 1, first=number)
            await told(watch)
            watch.leave()
            await asyncio.sleep(PACE.linger * 0.9)
        calls = len(host.polls)
        assert (len(host.opens), host.closes) == (1, [])
        await asyncio.sleep(PACE.linger)
        assert (len(host.opens), len(host.closes), len(host.polls)) == (1, 1, calls)
        (watch,) = watch_many(poll, 1)
        assert (await told(watch)).status == RUNNING
        assert len(host.opens) == 2

    run(body())


def test_a_thousand_cancels_share_the_session_and_are_not_all_at_once() -> None:
    async def body() -> None:
        host = Host()
        poll = host.poller()
        watches = watch_many(poll, 1000)
        await told(watches[0])
        await asyncio.gather(*(poll.call(lambda system, w=watch: system.cancel(w.handle)) for watch in watches))
        assert len(host.cancels) == 1000
        assert len(host.opens) == 1
        assert host.most_at_once <= ACTIONS + 1

    run(body())


def test_a_cancel_whose_session_is_closed_under_it_goes_out_in_one_of_its_own() -> None:
    async def body() -> None:
        host = Host(cancel_takes=5.0)
        poll = host.poller()
        (watch,) = watch_many(poll, 1)
        await told(watch)
        task = spawn(poll.call(lambda system: system.cancel(watch.handle)))
        host.fails = unreachable
        await task
        assert host.cancels == ["K0"]
        assert len(host.opens) >= 2

    run(body())


def test_what_goes_on_in_the_background_outlives_who_asked_for_it() -> None:
    async def body() -> None:
        host = Host(cancel_takes=30.0)
        poll = host.poller()

        async def kill() -> None:
            await asyncio.shield(poll.go_on(poll.call(lambda system: system.cancel(handle(1)))))

        task = spawn(kill())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(40)
        assert host.cancels == ["K1"]

    run(body())


def test_calls_pass_the_guard_and_refused_logins_block() -> None:
    async def body() -> None:
        door, host = Door(), Host()
        poll = host.poller(door)

        async def nothing(_system: object) -> None:
            return None

        await poll.call(nothing)
        host.open_fails.append(LoginRefused("polled_one", "the password is wrong", "correct it"))
        with pytest.raises(LoginRefused):
            await poll.call(nothing)
        assert door.blocked == ["the password is wrong"]
        opened = len(host.opens)
        with pytest.raises(ConnectionBlocked):
            await poll.call(nothing)
        assert len(host.opens) == opened
        door.closed = False
        host.open_fails.append(SystemUnreachable("host://one cannot be reached"))
        with pytest.raises(SystemUnreachable):
            await poll.call(nothing)

    run(body())


# What goes wrong.


def test_the_pause_widens_is_told_once_each_time_and_the_return_is_told() -> None:
    async def body() -> None:
        host = Host(fails=unreachable)
        poll = host.poller()
        (watch,) = watch_many(poll, 1)
        pauses = ["4", "8", "16", "32", "64", "128", "256", "300"]
        for pause in pauses:
            news = await told(watch)
            assert news == News(trouble=f"host://one cannot be reached; asked again in {pause} s")
        assert await watch.next(2000) is None, "at its widest, the pause is not told again and again"
        gaps = [later - earlier for earlier, later in pairwise(time for time, _ in host.polls)]
        for gap, pause in zip(gaps, pauses, strict=False):
            assert float(pause) * 0.85 <= gap <= float(pause) * 1.15 + 0.2
        assert max(gaps) <= 300 * 1.15 + 0.2
        host.fails = lambda _keys: None
        assert await told(watch) == News(RUNNING, back=True)
        host.fails = unreachable
        assert (await told(watch)).trouble.endswith("asked again in 4 s"), "after a good answer it begins anew"
        host.fails = lambda _keys: None
        assert await told(watch) == News(back=True), "the state is the same as before"

    run(body())


@pytest.mark.parametrize(("asked", "least"), [(120.0, 120.0), (None, 4.0), (86_400.0, 3600.0)])
def test_a_busy_system_is_left_alone_for_as_long_as_it_says(asked: float | None, least: float) -> None:
    async def body() -> None:
        host = Host()
        retry_after = timedelta(seconds=asked) if asked else None
        host.fails = lambda _keys: SystemBusy("host://one is busy", retry_after) if len(host.polls) == 1 else None
        poll = host.poller()
        (watch,) = watch_many(poll, 1)
        assert (await told(watch)).trouble == f"host://one is busy; asked again in {least:g} s"
        newcomers = watch_many(poll, 50, first=100)
        assert (await told(newcomers[0], 0)).trouble.startswith("host://one is busy")
        assert (await told(watch, 5000)).status == RUNNING
        first, second = (time for time, _ in host.polls)
        assert least * (1.0 if asked else 0.85) <= second - first <= least * 1.15 + 1

    run(body())


def test_who_joins_a_sick_connection_hears_so_at_once_and_brings_no_call() -> None:
    async def body() -> None:
        host = Host(fails=unreachable)
        poll = host.poller()
        watch_many(poll, 1)
        await asyncio.sleep(1000)
        calls = len(host.polls)
        watches = watch_many(poll, 500, first=10)
        assert {(await told(watch, 0)).trouble for watch in watches} == {
            "host://one cannot be reached; asked again in 300 s"
        }
        await asyncio.sleep(20)
        assert len(host.polls) <= calls + 1

    run(body())


@pytest.mark.parametrize("sickness", ["hangs", "refuses", "slow"])
def test_a_sick_connection_does_not_delay_another(sickness: str) -> None:
    """The other one's calls come at the very same moments as without it."""

    async def times(*, with_sick: bool) -> list[float]:
        well, sick = Host(), Host()
        if with_sick:
            sick.takes = {"hangs": 1e9, "refuses": 0.0, "slow": 100.0}[sickness]
            sick.fails = unreachable if sickness == "refuses" else lambda _keys: None
            watch_many(sick.poller(seed=7), 100)
        watch_many(well.poller(), 100)
        await asyncio.sleep(120)
        assert bool(sick.polls) is with_sick
        return [time for time, _ in well.polls]

    assert run(times(with_sick=True)) == run(times(with_sick=False))


def test_a_call_that_never_comes_back_is_given_up_in_a_new_session() -> None:
    async def body() -> None:
        host = Host(takes=1e9)
        poll = host.poller()
        (watch,) = watch_many(poll, 1)
        assert "did not answer a status call within 180 s" in (await told(watch)).trouble
        host.takes = 0.05
        assert (await told(watch)).status == RUNNING
        assert len(host.opens) == 2

    run(body())


@pytest.mark.parametrize("error", [RequestRejected("no right to see K613"), ZeroDivisionError("a fault of ours")])
def test_one_job_that_spoils_the_answer_hurts_only_itself(error: Exception) -> None:
    async def body() -> None:
        host = Host(fails=lambda keys: error if "K613" in keys else None)
        poll = host.poller()
        watches = watch_many(poll, 2000, waited=HOUR)
        for watch in watches:
            if watch.handle.key != "K613":
                assert await told(watch, 60) == News(RUNNING)
        assert str(error) in (await told(watches[613], 60)).trouble
        await asyncio.sleep(300)
        begin = now()
        await asyncio.sleep(150)
        sizes = [len(keys) for time, keys in host.polls if time > begin and "K613" in keys]
        assert set(sizes) == {1}, "it is asked for alone"
        assert len(sizes) <= 12, "and as seldom as any calm job"
        assert host.most_calls_within(PACE.calm) <= 25
        host.fails = lambda _keys: None
        assert await told(watches[613], 60) == News(RUNNING, back=True)
        assert not any(watch._news for watch in watches), "nobody else heard of it"

    run(body())


def test_a_job_that_is_not_in_the_answer_is_simply_not_known_this_time() -> None:
    async def body() -> None:
        host = Host(unseen={"K0"})
        poll = host.poller()
        watch, other = watch_many(poll, 2)
        assert (await told(other)).status == RUNNING
        assert await watch.next(HOUR) is None
        host.unseen.clear()
        assert (await told(watch)).status == RUNNING

    run(body())


@pytest.mark.parametrize("where", ["open", "poll"])
def test_a_refused_login_blocks_is_not_repeated_and_lifts(where: str) -> None:
    async def body() -> None:
        door, host = Door(), Host()
        refused = LoginRefused("polled_one", "the password expired", "change it")
        if where == "open":
            host.open_fails.append(refused)
        else:
            host.fails = lambda _keys: refused if len(host.polls) == 1 else None
        poll = host.poller(door)
        (watch,) = watch_many(poll, 1)
        assert "the password expired" in (await told(watch)).trouble
        assert "blocked" in (await told(watch)).trouble
        await asyncio.sleep(600)
        assert len(host.opens) == 1
        door.closed = False
        lifted = now()
        assert (await told(watch)).status == RUNNING
        assert now() - lifted < PACE.blocked * 1.15 + PACE.young
        assert len(door.blocked) == 1

    run(body())


def test_a_password_that_was_changed_in_time_blocks_nothing() -> None:
    """The session is older than the password: only a refusal of what the connection says now counts."""

    async def body() -> None:
        door, host = Door(), Host()
        refused = LoginRefused("polled_one", "the token ran out and the old password is wrong", "change it")
        host.fails = lambda _keys: refused if len(host.polls) == 3 else None
        (watch,) = watch_many(host.poller(door), 1)
        assert (await told(watch)).status == RUNNING
        door.changed = True
        assert await watch.next(600) is None, "somebody was told of a trouble that there is none of"
        assert (len(host.opens), door.blocked) == (2, [])

    run(body())


def test_a_password_that_is_wrong_by_now_is_not_tried_again() -> None:
    async def body() -> None:
        door, host = Door(), Host()
        refused = LoginRefused("polled_one", "the password expired", "change it")
        host.fails = lambda _keys: refused if len(host.polls) >= 3 else None
        (watch,) = watch_many(host.poller(door), 1)
        assert (await told(watch)).status == RUNNING
        assert "the password expired" in (await told(watch)).trouble
        await asyncio.sleep(600)
        assert (len(host.opens), door.blocked) == (1, ["the password expired"])

    run(body())


@pytest.mark.parametrize("changed", [True, False])
def test_a_cancel_in_a_session_with_an_old_password_is_asked_with_the_new_one_only(changed: bool) -> None:
    async def body() -> None:
        host = Host()
        poll = host.poller()
        (watch,) = watch_many(poll, 1)
        await told(watch)
        asked: list[object] = []

        async def act(system: object) -> None:
            asked.append(system)
            if len(asked) == 1:
                refused = LoginRefused("polled_one", "the old password is wrong", "change it")
                raise ConnectionChanged("the connection was changed since") if changed else refused

        if changed:
            await poll.call(act)
            assert len(asked) == 2
            assert asked[0] is not asked[1]
        else:
            with pytest.raises(LoginRefused):
                await poll.call(act)
            assert (len(asked), len(host.opens)) == (1, 1)

    run(body())


@pytest.mark.parametrize(
    "error", [ConnectionInvalid("polled_one", "no host", "give one"), RuntimeError("a fault of ours")]
)
def test_no_error_ends_a_wait(error: Exception) -> None:
    async def body() -> None:
        host = Host(open_fails=[error, error])
        (watch,) = watch_many(host.poller(), 1)
        assert (await told(watch)).trouble
        assert (await told(watch)).trouble
        assert (await told(watch)).status == RUNNING

    run(body())


def test_a_connection_that_leads_elsewhere_is_told_and_the_job_is_not_asked_for() -> None:
    async def body() -> None:
        host = Host()
        poll = host.poller()
        watch = poll.watch(handle(1), "host://the-old-one")
        assert await told(watch) == News(elsewhere=IDENTITY)
        await asyncio.sleep(60)
        assert host.polls == []

    run(body())


# Around it.


def test_the_loop_belongs_to_no_trigger(caplog: pytest.LogCaptureFixture) -> None:
    """Airflow binds a trigger's log to its context: what the loop says must not go into the first trigger's."""
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")
    seen: list[str] = []

    async def body() -> None:
        host = Host()
        host.fails = lambda _keys: seen.append(whose.get())  # type: ignore[func-returns-value]
        host.read_fails = lambda _key: seen.append(whose.get())  # type: ignore[func-returns-value]
        whose.set("the first trigger's")
        poll = host.poller()
        poll.watch(handle(1), IDENTITY, output=True)
        await asyncio.sleep(30)

    with caplog.at_level(logging.CRITICAL):
        run(body())
    assert set(seen) == {"nobody's"}


def test_a_watch_ends_as_an_iterator_and_as_a_generator_would() -> None:
    async def body() -> None:
        host = Host(states={"K0": ENDED})
        poll = host.poller()
        async with aclosing(poll.watch(handle(0), IDENTITY)) as watch:
            assert await anext(watch) == News(ENDED)
        with pytest.raises(StopAsyncIteration):
            await anext(watch)

    run(body())


def test_everybody_on_a_loop_shares_one_poller_per_connection() -> None:
    async def body() -> ConnectionPoller:
        assert poller(REGISTRATION, "a") is poller(REGISTRATION, "a")
        assert poller(REGISTRATION, "a") is not poller(REGISTRATION, "b")
        return poller(REGISTRATION, "a")

    assert asyncio.run(body()) is not asyncio.run(body())


def test_seconds_until() -> None:
    assert seconds_until(None) is None
    assert seconds_until(datetime.now(UTC) - timedelta(hours=1)) == 0.0
    left = seconds_until(datetime.now(UTC) + timedelta(hours=1))
    assert left is not None
    assert left > 3000
