"""One wait, on a virtual clock: its time limit, its cancel and its proof, and who may kill."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from polled_host import ENDED, IDENTITY, Client, Host, handle, spawn

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.delegation.polling import ConnectionPoller
from airflow_enterprise_orch.delegation.waiting import Wait, kill, kill_cancels, wait_for_end
from airflow_enterprise_orch.errors import SystemUnreachable
from tests.virtual_time import run, utc_now

LIMIT = timedelta(minutes=10)


@dataclass
class Said:
    lines: list[str] = field(default_factory=list)

    def info(self, text: str, *words: object) -> None:
        self.lines.append(text % words)

    warning = info

    def count(self, part: str) -> int:
        return sum(part in line for line in self.lines)


def a_wait(*, limit: timedelta | None = None, identity: str = IDENTITY, waited: timedelta = timedelta(0)) -> Wait:
    deadline = (utc_now() + limit).isoformat() if limit is not None else ""
    return Wait("polled.job", "polled_one", handle(1), identity, (utc_now() - waited).isoformat(), deadline)


async def waits(host: Host, wait: Wait, said: Said | None = None) -> dict[str, Any]:
    return await wait_for_end(host.poller(), wait, said or Said(), now=utc_now)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_job_that_ends_in_time_is_not_cancelled() -> None:
    async def body() -> None:
        host = Host()
        task = spawn(waits(host, a_wait(limit=LIMIT)))
        await asyncio.sleep(500)
        host.states["K1"] = ENDED
        event = await task
        assert event == {"version": 1, "key": "K1", "phase": "ended", "timed_out": False, "elsewhere": ""}
        assert host.cancels == []

    run(body())


def test_each_new_state_is_noted_and_that_nobody_waits_here_any_more() -> None:
    async def body() -> None:
        host, noted = Host(), []
        task = spawn(wait_for_end(host.poller(), a_wait(), Said(), now=utc_now, note=noted.append))
        await asyncio.sleep(60)
        held = JobStatus(Phase.HELD, "by the operator")
        host.states["K1"] = held
        await asyncio.sleep(60)
        host.states["K1"] = ENDED
        await task
        assert [None if one is None else one.phase for one in noted] == [
            Phase.RUNNING, Phase.HELD, Phase.ENDED, None,
        ]  # fmt: skip
        # A triggerer that hands the wait over to another one is no end of the job, and its note stays.
        cut, later = spawn(wait_for_end(host.poller(), a_wait(), Said(), now=utc_now, note=noted.append)), len(noted)
        await asyncio.sleep(1)
        cut.cancel()
        await asyncio.gather(cut, return_exceptions=True)
        assert noted[later:] in ([None], [*noted[later:-1], None])

    run(body())


def test_a_time_limit_asks_for_the_cancel_and_waits_for_its_proof() -> None:
    async def body() -> None:
        host, said = Host(), Said()
        event = await waits(host, a_wait(limit=LIMIT), said)
        assert (event["timed_out"], event["phase"]) == (True, "ended")
        assert host.cancels == ["K1"]
        assert 600 <= now() <= 620
        assert said.count("its time limit has passed") == 1

    run(body())


def test_a_cancel_that_did_not_work_is_asked_for_again_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        host, said, asked = Host(), Said(), []
        original = Client.cancel

        async def deaf(self: Client, job: JobHandle) -> None:
            asked.append(now())
            if len(asked) == 6:
                await original(self, job)

        monkeypatch.setattr(Client, "cancel", deaf)
        assert (await waits(host, a_wait(limit=LIMIT), said))["timed_out"] is True
        gaps = [round(later - earlier, -1) for earlier, later in pairwise(asked)]
        assert gaps == [60, 120, 240, 480, 600]
        assert said.count("it has not ended since its cancel was asked for") == 5

    run(body())


def test_a_cancel_that_cannot_be_asked_for_does_not_end_the_wait() -> None:
    async def body() -> None:
        host, said = Host(), Said()
        task = spawn(waits(host, a_wait(limit=LIMIT), said))
        await asyncio.sleep(590)
        host.fails = lambda _keys: SystemUnreachable("host://one cannot be reached")
        await asyncio.sleep(300)
        assert said.count("the cancel could not be asked for: host://one cannot be reached") >= 2
        host.fails = lambda _keys: None
        assert (await task)["timed_out"] is True
        assert host.cancels == ["K1"]

    run(body())


def test_a_job_that_ended_in_time_while_no_triggerer_was_up_did_not_time_out() -> None:
    async def body() -> None:
        host = Host(states={"K1": ENDED})
        event = await waits(host, a_wait(limit=timedelta(hours=-1), waited=timedelta(hours=5)))
        assert event["timed_out"] is False
        assert host.cancels == []

    run(body())


def test_a_time_limit_that_passed_while_no_triggerer_was_up_is_kept_soon() -> None:
    async def body() -> None:
        host = Host()
        event = await waits(host, a_wait(limit=timedelta(hours=-1), waited=timedelta(hours=5)))
        assert event["timed_out"] is True
        assert host.cancels == ["K1"]
        assert now() < 30

    run(body())


def test_a_job_that_nobody_can_see_is_cancelled_all_the_same() -> None:
    """Absence proves nothing, and a time limit holds for a job that no list shows too."""

    async def body() -> None:
        host = Host(unseen={"K1"})
        task = spawn(waits(host, a_wait(limit=LIMIT)))
        await asyncio.sleep(700)
        assert host.cancels == ["K1"]
        host.unseen.clear()
        assert (await task)["timed_out"] is True

    run(body())


def test_changes_and_the_connections_health_are_said() -> None:
    async def body() -> None:
        host, said = Host(states={"K1": JobStatus(Phase.HELD, "by an operator")}), Said()
        task = spawn(waits(host, a_wait(), said))
        await asyncio.sleep(60)
        host.fails = lambda _keys: SystemUnreachable("host://one cannot be reached")
        await asyncio.sleep(25)
        host.fails = lambda _keys: None
        host.states["K1"] = ENDED
        await task
        job = "polled.job 1 on host://one"
        assert said.lines[0] == f"{job}: held: by an operator"
        assert (
            said.lines[1] == f"{job}: cannot be seen now, waiting on: host://one cannot be reached; asked again in 4 s"
        )
        assert said.lines[-2:] == [f"{job}: can be seen again", f"{job}: ended"]

    run(body())


# Who may kill.


@pytest.mark.parametrize(
    ("state", "cancels"),
    [
        *((state, False) for state in ("deferred", "scheduled", "queued", "running", "up_for_retry", "awaiting_input")),
        *((state, True) for state in ("failed", "success", "skipped", None)),
    ],
)
def test_a_kill_means_a_cancel_unless_the_task_goes_on(state: str | None, cancels: bool) -> None:
    assert kill_cancels(state) is cancels

    async def body() -> None:
        host = Host()
        await kill(host.poller(), a_wait(), Said(), _in(state))
        assert host.cancels == (["K1"] if cancels else [])

    run(body())


def test_a_kill_whose_reason_cannot_be_told_leaves_the_job_alone() -> None:
    async def broken() -> str:
        raise ConnectionError("no supervisor")

    async def body() -> None:
        host, said = Host(), Said()
        await kill(host.poller(), a_wait(), said, broken)
        assert host.cancels == []
        assert said.count("not cancelled, the task's state cannot be told: no supervisor") == 1

    run(body())


@pytest.mark.parametrize(
    ("host", "identity", "line"),
    [
        (Host(), "host://old", "not cancelled, the connection now leads to host://one"),
        (Host(states={"K1": ENDED}), IDENTITY, "it has ended already; nothing to cancel"),
        (Host(open_fails=[RuntimeError("a fault of ours")]), IDENTITY, "RuntimeError: a fault of ours"),
    ],
)
def test_a_kill_that_must_not_or_cannot_cancel_says_why(host: Host, identity: str, line: str) -> None:
    async def body() -> None:
        said = Said()
        await kill(host.poller(), a_wait(identity=identity), said, _in("failed"))
        assert host.cancels == []
        assert said.count(line) == 1

    run(body())


def _in(state: str | None) -> Callable[[], Awaitable[str | None]]:
    async def told() -> str | None:
        return state

    return told


def test_one_poller_serves_all_that_wait() -> None:
    async def body() -> None:
        host = Host()
        poll: ConnectionPoller = host.poller()
        tasks = [
            spawn(
                wait_for_end(
                    poll, Wait("polled.job", "c", handle(n), IDENTITY, utc_now().isoformat()), Said(), now=utc_now
                )
            )
            for n in range(500)
        ]
        await asyncio.sleep(30)
        host.states.update({f"K{n}": ENDED for n in range(500)})
        assert {event["phase"] for event in await asyncio.gather(*tasks)} == {"ended"}
        assert len(host.opens) == 1

    run(body())
