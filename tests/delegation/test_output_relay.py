"""What a job writes reaches the task's log while it waits: all of it, in order, within a budget, harming nobody."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polled_host import ENDED, IDENTITY, RUNNING, Host, handle, spawn

from airflow_enterprise_orch.delegation.job import JobStatus, Output, Phase
from airflow_enterprise_orch.delegation.output_relay import LONGEST_LINE, OutputPace, Reading, printable
from airflow_enterprise_orch.delegation.waiting import Wait, wait_for_end
from airflow_enterprise_orch.errors import LoginRefused, RequestRejected, SystemBusy, SystemUnreachable
from tests.virtual_time import run, utc_now

PACE = OutputPace()


class Log:
    """The task's log: when, what."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str]] = []

    def info(self, text: str, *words: object) -> None:
        self.lines.append((asyncio.get_running_loop().time(), text % words))

    warning = info

    def output(self, number: int = 1) -> list[str]:
        mark = f"{number} | "
        return [line.removeprefix(mark) for _, line in self.lines if line.startswith(mark)]


def waits(host: Host, log: Log, *, number: int = 1, waited: float = 0.0, poll: object = None) -> asyncio.Task[object]:
    deferred = (utc_now() - timedelta(seconds=waited)).isoformat()
    wait = Wait("polled.job", "polled_one", handle(number), IDENTITY, deferred)
    return spawn(wait_for_end(poll or host.poller(), wait, log, now=utc_now))  # type: ignore[arg-type]


def test_lines_come_while_the_job_runs_and_the_last_ones_at_its_end() -> None:
    async def body() -> None:
        host, log = Host(text={"K1": "one\ntwo\nthr"}), Log()
        task = waits(host, log)
        await asyncio.sleep(30)
        assert log.output() == ["one", "two"], "a line that is not whole yet is not shown"
        host.text["K1"] += "ee\nfour\nlast without an end"
        await asyncio.sleep(120)
        assert log.output() == ["one", "two", "three", "four"]
        host.text["K1"] += ", indeed"
        host.states["K1"] = ENDED
        await task
        assert log.output() == ["one", "two", "three", "four", "last without an end, indeed"]
        assert log.lines[-2][1].endswith(": ended")

    run(body())


def test_the_output_of_a_job_that_was_never_seen_running_is_shown_too() -> None:
    async def body() -> None:
        host, log = Host(text={"K1": "quick\n"}, states={"K1": ENDED}), Log()
        await waits(host, log)
        assert log.output() == ["quick"]

    run(body())


def test_a_job_that_waits_is_not_read() -> None:
    async def body() -> None:
        host, log = Host(text={"K1": "old\n"}, states={"K1": JobStatus(Phase.WAITING)}), Log()
        task = waits(host, log)
        await asyncio.sleep(300)
        assert host.reads == []
        host.states["K1"] = RUNNING
        await asyncio.sleep(60)
        assert log.output() == ["old"]
        task.cancel()

    run(body())


def test_another_triggerer_shows_everything_again_and_says_so() -> None:
    async def body() -> None:
        host, log = Host(text={"K1": "one\ntwo\n"}), Log()
        task = waits(host, log, waited=3600)
        await asyncio.sleep(60)
        assert log.output() == [
            "[from the beginning: another triggerer may have shown some of it before]",
            "one",
            "two",
        ]
        task.cancel()

    run(body())


def test_reads_keep_their_budget_go_round_and_delay_no_status_call() -> None:
    async def body(*, output: bool) -> list[float]:
        host = Host(read_takes=0.4, text={f"K{n}": "x\n" * 50 for n in range(2000)})
        poll = host.poller()
        watches = [poll.watch(handle(n), IDENTITY, output=output) for n in range(2000)]

        async def listen(number: int) -> None:
            async for _news in watches[number]:
                pass

        tasks = [spawn(listen(n)) for n in range(2000)]
        await asyncio.sleep(600)
        if output:
            seconds = 590
            assert len(host.reads) <= PACE.burst + seconds * PACE.per_second + 20
            assert len(host.reads) > seconds * PACE.per_second * 0.9
            assert len({key for _, key, _ in host.reads}) == len(host.reads), "all others come first"
        for task in tasks:
            task.cancel()
        return [time for time, _ in host.polls]

    with_output, without = run(body(output=True)), run(body(output=False))
    assert abs(len(with_output) - len(without)) <= 3
    gaps = [later - earlier for earlier, later in pairwise(with_output)]
    assert max(gaps) <= 15


def test_a_job_that_writes_nothing_is_read_ever_more_seldom() -> None:
    async def body() -> None:
        host, log = Host(), Log()
        task = waits(host, log)
        await asyncio.sleep(1200)
        gaps = [round(later[0] - earlier[0], 3) for earlier, later in pairwise(host.reads)]
        assert gaps == sorted(gaps)
        assert 59 < gaps[-1] < 61
        assert len(gaps) < 30
        task.cancel()

    run(body())


def test_a_job_that_writes_too_much_is_shown_up_to_the_cap_and_read_no_further() -> None:
    async def body() -> None:
        host, log = Host(text={"K1": "0123456789\n" * 500_000}), Log()
        task = waits(host, log)
        await asyncio.sleep(3000)
        *lines, last = log.output()
        assert last == f"[more than {PACE.whole} characters: the rest is in the output of 1 on host://one]"
        assert PACE.whole - 20 < sum(len(line) + 1 for line in lines) <= PACE.whole + 1
        reads = len(host.reads)
        assert reads <= PACE.whole / PACE.read + 2
        host.states["K1"] = ENDED
        await task
        assert len(host.reads) == reads
        assert log.output()[-1] == last

    run(body())


@pytest.mark.parametrize(
    "error", [RequestRejected("spool is protected"), LoginRefused("c", "revoked", "x"), ZeroDivisionError("ours")]
)
def test_output_that_cannot_be_read_is_said_once_and_harms_no_wait(error: Exception) -> None:
    async def body() -> None:
        host, log = Host(read_fails=lambda _key: error, text={"K1": "late\n"}), Log()
        task = waits(host, log)
        await asyncio.sleep(600)
        assert len(host.reads) > 3
        assert len(log.output()) == 1
        assert log.output()[0].startswith("[its output cannot be read now, which does not touch the job: ")
        host.read_fails = lambda _key: None
        await asyncio.sleep(120)
        assert log.output()[-1] == "late"
        host.read_fails = lambda _key: error
        host.states["K1"] = ENDED
        assert (await task)["phase"] == "ended"  # type: ignore[index]

    run(body())


def test_a_busy_system_has_a_rest_from_reads() -> None:
    async def body() -> None:
        host, log = Host(), Log()
        host.read_fails = lambda _key: SystemBusy("busy", timedelta(seconds=200)) if len(host.reads) == 1 else None
        poll = host.poller()
        tasks = [waits(host, log, number=n, poll=poll) for n in range(20)]
        await asyncio.sleep(300)
        assert host.reads[1][0] - host.reads[0][0] >= 200
        for task in tasks:
            task.cancel()

    run(body())


def test_nothing_is_read_while_the_system_is_in_trouble() -> None:
    async def body() -> None:
        host, log = Host(), Log()
        task = waits(host, log)
        await asyncio.sleep(60)
        host.fails = lambda _keys: SystemUnreachable("host://one cannot be reached")
        await asyncio.sleep(20)
        reads = len(host.reads)
        await asyncio.sleep(600)
        assert len(host.reads) == reads
        task.cancel()

    run(body())


@pytest.mark.parametrize("takes", [0.05, 1e9])
def test_a_thousand_ends_at_once_are_not_held_up_by_their_output(takes: float) -> None:
    async def body() -> None:
        host = Host(text={f"K{n}": "done\n" for n in range(1000)}, read_takes=takes)
        poll, logs = host.poller(), [Log() for _ in range(1000)]
        tasks = [waits(host, log, number=n, poll=poll) for n, log in enumerate(logs)]
        await asyncio.sleep(100)
        host.text = {key: "done\nmore\n" for key in host.text}
        reads = len(host.reads)
        host.states = {f"K{n}": ENDED for n in range(1000)}
        ended = asyncio.get_running_loop().time()
        await asyncio.gather(*tasks)
        assert asyncio.get_running_loop().time() - ended <= 15 + PACE.at_the_end
        assert len(host.reads) - reads <= PACE.burst + 20 * PACE.per_second
        for number, log in enumerate(logs):
            *_, last = log.output(number)
            assert (
                last == "more"
                or last == f"[the last lines are not shown here: see the output of {number} on {IDENTITY}]"
            )

    run(body())


# The lines themselves.


@given(text=st.text(alphabet="ab\n\r", max_size=60), cuts=st.lists(st.integers(1, 9)))
def test_however_the_text_is_cut_the_lines_are_the_same(text: str, cuts: list[int]) -> None:
    reading, lines, at = Reading(), [], 0
    for cut in [*cuts, len(text)]:
        piece, at = text[at : at + cut], at + cut
        lines += reading.take(Output(piece, str(at)), 1000, "job")
    lines += reading.rest()
    whole = text.split("\n")
    expected = [shown for line in (whole if whole[-1] else whole[:-1]) for shown in printable(line)]
    assert lines == expected


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain", "plain"),
        ("", ""),
        ("tab\tand space\u00a0stay", "tab\tand space\u00a0stay"),
        ("Übergröße 日本", "Übergröße 日本"),
        ("\x1b[2J\x1b[31mred", "\\x1b[2J\\x1b[31mred"),
        ("10%\r50%\r", "10%\\r50%"),
        ("\x0cpage", "\\x0cpage"),
        ("right\u202eleft", "right\\u202eleft"),
        ("line\u2028break", "line\\u2028break"),
        ("nul\x00", "nul\\x00"),
        ("half\udc80", "half\\udc80"),
    ],
)
def test_nothing_in_a_line_can_touch_the_readers_terminal(line: str, shown: str) -> None:
    assert printable(line) == [shown]


def test_a_line_without_an_end_is_shown_in_pieces_and_not_kept_in_memory() -> None:
    reading = Reading()
    lines = reading.take(Output("x" * 10_000, "10000"), 1_000_000, "job")
    assert [len(line) for line in lines] == [LONGEST_LINE, LONGEST_LINE, 10_000 - 2 * LONGEST_LINE]
    assert reading.partial == ""
