"""One login at a time on a machine, until one is known to work: the files by which processes tell each other."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_enterprise_orch.delegation import turns
from airflow_enterprise_orch.delegation.turns import REFUSED, UNREACHABLE, WORKS, LoginTurns, login_folder
from airflow_enterprise_orch.errors import ConnectionInvalid

SECRET = "correct horse battery staple"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., LoginTurns]:
    def turns_of(told: str = SECRET, connection: str = "zos") -> LoginTurns:
        return LoginTurns(connection, told, tmp_path)

    return turns_of


def older(folder: Path, seconds: float) -> None:
    for record in folder.glob("*.json"):
        os.utime(record, times=(time.time() - seconds,) * 2)


def test_a_login_that_worked_counts_for_the_same_connection_and_for_a_while(
    make: Callable[..., LoginTurns], tmp_path: Path
) -> None:
    assert not make().works()
    make().note(WORKS)
    assert make().works()
    assert not make("another password").works()
    assert not make(connection="other").works()
    older(tmp_path, turns.FRESH + 1)
    assert not make().works()
    make().renew()
    assert make().works(), "a session that is still answered says so"
    older(tmp_path, -60)
    assert not make().works(), "a clock that was set back proves nothing"


def test_a_refusal_stands_whoever_is_still_answered(make: Callable[..., LoginTurns]) -> None:
    make().note(WORKS)
    make().note(REFUSED, "the password expired")
    make().renew()
    assert not make().works()
    refused = make().refused()
    assert refused is not None
    assert (refused.why, refused.told) == ("the password expired", False)
    assert make("another password").refused() is None


def test_the_record_gives_no_secret_away_and_is_private(make: Callable[..., LoginTurns], tmp_path: Path) -> None:
    digests = set()
    for _ in range(2):
        make().note(WORKS)
        (record,) = tmp_path.glob("*.json")
        assert SECRET not in record.read_text()
        said = json.loads(record.read_text())
        assert len(said["digest"]) == 4  # 16 bits: 65,536 passwords in a billion fit
        digests.add((said["salt"], said["digest"]))
        assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert len({salt for salt, _ in digests}) == 2
    asyncio.run(_turn(make()))
    (lock,) = tmp_path.glob("*.lock")
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    assert len(list(tmp_path.iterdir())) == 2, "something is left"


async def _turn(one: LoginTurns) -> None:
    async with one.turn():
        pass


@pytest.mark.parametrize("text", ["", "{", "7", "[]", '{"version": 2}', '{"version": 1, "what": "works"}'])
def test_a_record_that_cannot_be_read_proves_nothing(
    make: Callable[..., LoginTurns], tmp_path: Path, text: str
) -> None:
    make().note(WORKS)
    (record,) = tmp_path.glob("*.json")
    record.write_text(text)
    one = make()
    assert (one.works(), one.refused(), one.unreachable_since(0)) == (False, None, "")


class Clock:
    """The clock of those who wait, with hours to be put in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.more = 0.0
        monkeypatch.setattr(turns, "_clock", lambda: time.monotonic() + self.more)


async def _five(make: Callable[..., LoginTurns], clock: Clock, *, waited: float = 0.0, each: float = 0.0) -> list[int]:
    """Return how many had the turn whenever one of five got it.

    :param waited: seconds that pass when all have looked once.
    :param each: seconds that pass while one has it.
    """
    inside, at_once = 0, []

    async def one() -> None:
        nonlocal inside
        async with make().turn():
            inside += 1
            at_once.append(inside)
            clock.more += each
            await asyncio.sleep(0.01)
            inside -= 1

    waiting = [asyncio.ensure_future(one()) for _ in range(5)]
    await asyncio.sleep(0)
    clock.more += waited
    await asyncio.gather(*waiting)
    return at_once


def test_one_has_the_turn_the_others_wait(make: Callable[..., LoginTurns], monkeypatch: pytest.MonkeyPatch) -> None:
    # All five take longer than one may, and nobody is passed over: the patience is with each.
    assert asyncio.run(_five(make, Clock(monkeypatch), each=turns.PATIENCE / 2)) == [1] * 5
    assert make()._newest_lock() == 0


def test_who_waited_hears_that_the_system_was_not_reached_and_who_comes_later_tries(
    make: Callable[..., LoginTurns],
) -> None:
    async def live() -> list[str]:
        heard = []

        async def waiter() -> None:
            async with make().turn() as began:
                heard.append(make().unreachable_since(began))

        async with make().turn():
            waits = asyncio.ensure_future(waiter())
            await asyncio.sleep(0)
            make().note(UNREACHABLE, "zos cannot be reached")
        await waits
        await waiter()
        return heard

    assert asyncio.run(live()) == ["zos cannot be reached", ""]


HOLDS = """
import asyncio, sys
from pathlib import Path
from airflow_enterprise_orch.delegation.turns import LoginTurns

async def hold():
    async with LoginTurns("zos", "", Path(sys.argv[1])).turn():
        print("held", flush=True)
        await asyncio.sleep(600)

asyncio.run(hold())
"""


def test_the_turn_of_a_process_that_dies_is_free_and_one_that_is_stopped_is_passed_over(
    make: Callable[..., LoginTurns], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)
        passed = asyncio.run(_five(make, Clock(monkeypatch), waited=turns.PATIENCE + 1))
        assert passed == [1] * 5, "two of those who waited had the turn at once"
        assert f"process {holder.pid} of this machine has been logging in for 120 s and is passed over" in caplog.text
        assert make()._newest_lock() == 1
        holder.send_signal(signal.SIGCONT)
        asyncio.run(_turn(make()))
    finally:
        holder.kill()
        holder.communicate()
    dying = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert dying.stdout is not None
        assert dying.stdout.readline() == "held\n"
        dying.kill()
        asyncio.run(_turn(make()))
        assert make()._newest_lock() == 1, "it was passed over, though it was gone"
    finally:
        dying.kill()
        dying.communicate()


def test_the_folder_is_private_and_somebody_elses_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, other = tmp_path / "home", tmp_path / "tmp"
    other.mkdir()
    monkeypatch.setenv("AIRFLOW_HOME", str(home))
    monkeypatch.setattr(turns.tempfile, "gettempdir", lambda: str(other))
    place = login_folder("zos")
    assert place == home / "enterprise_orch" / "logins"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    place.chmod(0o777)
    spare = login_folder("zos")
    assert spare == other / f"enterprise-orch-{os.geteuid()}"
    spare.rmdir()
    spare.symlink_to(tmp_path)  # somebody was there first
    with pytest.raises(
        ConnectionInvalid, match=r"connection 'zos': .* take turns: .*is no private folder of user"
    ) as no:
        login_folder("zos")
    assert "\n" not in str(no.value)


def test_a_home_that_cannot_be_written_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(turns.tempfile, "gettempdir", lambda: str(tmp_path))
    assert login_folder("zos").parent == tmp_path
