"""A session under rule 10: whoever logs in, and whenever it is refused, nobody tries the same again."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from machine import Machine

from airflow_enterprise_orch.delegation import turns
from airflow_enterprise_orch.delegation.connection_fields import read_connection
from airflow_enterprise_orch.delegation.entrance import entered
from airflow_enterprise_orch.delegation.system import SystemRegistration
from airflow_enterprise_orch.errors import (
    ConnectionBlocked,
    ConnectionChanged,
    ConnectionInvalid,
    LoginRefused,
    RequestRejected,
    SystemUnreachable,
)

REFUSED = LoginRefused("zos", "ICH408I: the password is wrong", "correct it")


class Host:
    """A system that logs in with its first call, or when it is opened.

    :ivar takes: seconds of a login.
    :ivar until: what a login waits for beside.
    :ivar says: what logins raise, in order; then they work.
    :ivar at_once: how many logins were on their way at the same time, at most.
    """

    def __init__(self) -> None:
        self.says: list[Exception] = []
        self.when_opened = False
        self.takes = 0.01
        self.until: Callable[[], bool] = lambda: True
        self.logins = 0
        self.under_way = 0
        self.at_once = 0
        self.answers: list[Exception] = []
        self.opened_with: list[Any] = []

    async def log_in(self) -> None:
        self.logins += 1
        self.under_way += 1
        self.at_once = max(self.at_once, self.under_way)
        try:
            await asyncio.sleep(self.takes)
            while not self.until():
                await asyncio.sleep(0.01)
            if self.says:
                raise self.says.pop(0)
        finally:
            self.under_way -= 1


class Client:
    identity = "host://one"

    def __init__(self, host: Host) -> None:
        self.host = host
        self.logged_in = host.when_opened

    async def find(self, key: str) -> str:
        if not self.logged_in:
            await self.host.log_in()
            self.logged_in = True
        if self.host.answers:
            raise self.host.answers.pop(0)
        return f"found {key}"


HOST = Host()


@asynccontextmanager
async def opened(connection: str) -> AsyncIterator[Client]:
    HOST.opened_with.append(await read_connection(connection))
    if HOST.when_opened:
        await HOST.log_in()
    yield Client(HOST)


REGISTRATION = SystemRegistration("test", "Test", "http", f"{__name__}:opened", ())


@pytest.fixture(params=["first call", "opening"])
def host(request: pytest.FixtureRequest, machine: Machine) -> Host:
    """A system that nobody on this machine has logged in to yet."""
    HOST.__init__()  # type: ignore[misc]
    HOST.when_opened = request.param == "opening"
    machine.connection("zos")
    return HOST


async def step() -> Any:
    """Do what every step does: open, look, close."""
    async with entered(REGISTRATION, "zos") as system:
        return await system.find("K")


async def steps(count: int) -> list[str]:
    """Return what became of steps that begin at the same moment."""
    ends = await asyncio.gather(*(step() for _ in range(count)), return_exceptions=True)
    return sorted(end if isinstance(end, str) else type(end).__name__ for end in ends)


def forget(machine: Machine, seconds: float) -> None:
    """Let the newest login be so long ago."""
    for record in (machine.home / "enterprise_orch" / "logins").glob("*.json"):
        os.utime(record, times=(time.time() - seconds,) * 2)


def test_of_fifty_at_the_same_moment_one_is_refused(host: Host, machine: Machine) -> None:
    host.says = [REFUSED] * 50
    assert asyncio.run(steps(50)) == ["ConnectionBlocked"] * 49 + ["LoginRefused"]
    assert host.logins == 1
    assert machine.blocked() == {"zos": "ICH408I: the password is wrong"}


def test_of_fifty_at_the_same_moment_one_tries_and_then_all_are_in(host: Host) -> None:
    assert asyncio.run(steps(50)) == ["found K"] * 50
    assert host.logins == 50
    host.until = lambda: host.under_way == 50 or host.at_once == 50  # for ever if somebody waits for somebody else
    assert asyncio.run(steps(50)) == ["found K"] * 50


def test_after_a_while_one_tries_first_again(host: Host, machine: Machine) -> None:
    asyncio.run(steps(1))
    forget(machine, turns.FRESH + 1)
    host.says = [REFUSED] * 50
    assert asyncio.run(steps(50)) == ["ConnectionBlocked"] * 49 + ["LoginRefused"]
    assert host.logins == 2


def test_a_corrected_connection_is_tried_once_whatever_worked_before(host: Host, machine: Machine) -> None:
    asyncio.run(steps(1))
    machine.connection("zos", password="mistyped")
    host.says = [REFUSED] * 50
    assert asyncio.run(steps(50)).count("LoginRefused") == 1
    machine.connection("zos", password="right")
    host.says = []
    assert asyncio.run(steps(50)) == ["found K"] * 50, "a corrected connection lifts the block by itself"


def test_a_system_that_is_away_is_tried_by_one_and_nobody_waits_for_each(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.says = [SystemUnreachable("host://one cannot be reached")] * 50
    come = 0
    plain = turns.LoginTurns.turn

    def counted(one: turns.LoginTurns) -> Any:
        nonlocal come
        come += 1
        return plain(one)

    monkeypatch.setattr(turns.LoginTurns, "turn", counted)
    host.until = lambda: come >= 50
    assert asyncio.run(steps(50)) == ["SystemUnreachable"] * 50
    assert host.logins == 1, "they tried one after the other"
    host.says, host.until = [], lambda: True
    assert asyncio.run(steps(1)) == ["found K"]


def test_what_the_first_call_says_of_something_else_keeps_nobody_out(host: Host) -> None:
    """Its job is gone, say: that proves no login, and it must not hold the turn for as long as its session lasts."""
    host.answers = [RequestRejected("no such job")]

    async def live() -> list[str]:
        async with entered(REGISTRATION, "zos") as system:
            with pytest.raises(RequestRejected):
                await system.find("K")
            return await steps(3)

    assert asyncio.run(live()) == ["found K"] * 3


def test_a_session_that_waits_with_its_first_call_keeps_nobody_out(host: Host) -> None:
    async def live() -> list[str]:
        async with entered(REGISTRATION, "zos"):
            return await steps(3)

    assert asyncio.run(live()) == ["found K"] * 3


@pytest.mark.parametrize("changed", [False, True])
def test_a_refusal_in_a_long_session_blocks_unless_the_connection_changed(
    host: Host, machine: Machine, changed: bool
) -> None:
    async def live() -> None:
        async with entered(REGISTRATION, "zos") as system:
            await system.find("K")
            if changed:
                machine.connection("zos", password="new")
            host.answers = [LoginRefused("zos", "the token is over and the password is wrong", "correct it")]
            await system.find("K")

    with pytest.raises(ConnectionChanged if changed else LoginRefused):
        asyncio.run(live())
    if changed:
        assert machine.blocked() == {}
        assert asyncio.run(steps(1)) == ["found K"]
    else:
        logins = host.logins
        assert asyncio.run(steps(3)) == ["ConnectionBlocked"] * 3, "a fresh proof outlived a refusal"
        assert host.logins == logins


def test_a_block_that_airflow_does_not_take_holds_on_this_machine_and_is_told_later(
    host: Host, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    host.says = [REFUSED]
    machine.broken = True
    assert asyncio.run(steps(5)) == ["ConnectionBlocked"] * 4 + ["LoginRefused"]
    assert "connection zos could not be blocked in Airflow" in caplog.text
    assert (host.logins, machine.blocked()) == (1, {})
    machine.broken = False
    assert asyncio.run(steps(2)) == ["ConnectionBlocked"] * 2
    assert (host.logins, machine.blocked()) == (1, {"zos": "ICH408I: the password is wrong"})
    machine.variables.clear()
    assert asyncio.run(steps(1)) == ["found K"], "a block that a person lifted is lifted"


def test_a_block_of_another_machine_counts(host: Host, machine: Machine) -> None:
    asyncio.run(steps(1))
    host.says = [REFUSED]
    machine.connection("zos", password="wrong")
    asyncio.run(steps(1))
    for record in (machine.home / "enterprise_orch" / "logins").iterdir():
        record.unlink()
    with pytest.raises(ConnectionBlocked, match=r"delete the Variable 'enterprise_orch.blocked.zos'"):
        asyncio.run(step())
    assert host.logins == 2


def test_the_block_is_of_the_login_that_was_refused(host: Host, machine: Machine) -> None:
    """A person corrects the connection while its old password is on the way."""
    host.says = [REFUSED]
    corrected = False
    host.until = lambda: corrected

    async def live() -> None:
        nonlocal corrected
        first = asyncio.ensure_future(step())
        while not host.under_way:
            await asyncio.sleep(0.01)
        machine.connection("zos", password="right")
        corrected = True
        with pytest.raises(ConnectionChanged):
            await first

    asyncio.run(live())
    assert asyncio.run(steps(2)) == ["found K"] * 2


def test_the_connection_is_read_once_for_the_turn_and_the_opener(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.bases.hook import BaseHook

    read: list[str] = []
    plain = BaseHook.aget_connection

    async def counted(connection_id: str) -> Any:
        read.append(connection_id)
        return await plain(connection_id)

    monkeypatch.setattr(BaseHook, "aget_connection", staticmethod(counted))
    asyncio.run(step())
    assert read == ["zos"]
    assert host.opened_with[0].password == "secret"


def test_without_a_connection_the_opener_has_the_word(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_ZOS")
    assert asyncio.run(steps(2)) == ["found K"] * 2
    assert host.opened_with == [None, None]


def test_without_a_folder_nobody_logs_in(host: Host, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine.home / "enterprise_orch").write_text("no folder")
    monkeypatch.setattr(turns.tempfile, "gettempdir", lambda: str(machine.home / "enterprise_orch"))
    with pytest.raises(ConnectionInvalid, match="the processes of this machine cannot take turns"):
        asyncio.run(step())
    assert host.logins == 0
