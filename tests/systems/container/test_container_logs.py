"""Log frames and cursors: every line once, in order, wherever a read stops."""

from __future__ import annotations

from itertools import pairwise

import pytest
from engine_for_tests import run_to_end, sh
from hypothesis import given
from hypothesis import strategies as st

from airflow_enterprise_orch.systems.container.logs import DISORDER, SECOND, Cursor, Entry, FrameReader, Progress, frame

STAMP = b"2026-11-23T15:47:54.260420056Z "
NANOSECONDS = 1795448874260420056


def test_a_frame_is_a_stream_a_time_and_a_text():
    (entry,) = FrameReader().feed(frame(2, STAMP + b"told\n"))
    assert entry == Entry(2, NANOSECONDS, b"told\n")


def test_a_stamp_of_whole_seconds_or_another_zone_is_read_too():
    texts = (b"2026-11-23T15:47:54Z x", b"2026-11-23T17:47:54+02:00 x", b"2026-11-23T15:47:54.5Z x")
    read = [entry.stamp for text in texts for entry in FrameReader().feed(frame(1, text))]
    assert read == [1795448874 * SECOND, 1795448874 * SECOND, 1795448874 * SECOND + SECOND // 2]


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(0, 400), max_size=8))
def test_frames_may_be_cut_anywhere(texts, cuts):
    whole = b"".join(frame(1, STAMP + text) for text in texts)
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    reader = FrameReader()
    read = [entry.text for first, last in pairwise(edges) for entry in reader.feed(whole[first:last])]
    assert read == texts


@pytest.mark.parametrize("content", [b"plain text of a terminal", b"\x01\x00\x00\x00\x00\x00\x00\x05hello"])
def test_what_is_no_log_stream_is_not_read_as_one(content):
    with pytest.raises(ValueError, match=r"frames|begins with"):
        list(FrameReader().feed(content))


def read(log: list[Entry], cursor: str, most: int) -> tuple[list[bytes], str]:
    """Read as the client does: what ``since`` lets through, at most ``most`` new entries."""
    place = Cursor.read(cursor)
    progress, found = Progress(place), []
    for entry in log:
        if entry.stamp < place.since or not progress.is_new(entry):
            continue
        if len(found) == most:
            break
        progress.give(entry)
        found.append(entry.text)
    return found, str(progress.cursor)


@given(
    st.lists(st.tuples(st.integers(0, 10 * SECOND), st.integers(-DISORDER, 0)), max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5)), min_size=1, max_size=20),
)
def test_every_entry_comes_once_although_the_log_grows_and_is_out_of_order(steps, reads):
    moment, log = NANOSECONDS, []
    for number, (ahead, late) in enumerate(steps):
        moment += ahead
        # An entry is written at most DISORDER later than its stamp, so it may stand behind a younger one.
        log.append(Entry(1, moment + (late if log else 0), str(number).encode()))
    seen, cursor, length = [], "", 0
    for grown, most in reads:
        length = min(len(log), max(length, grown))
        found, cursor = read(log[:length], cursor, most)
        seen += found
    while found:
        found, cursor = read(log, cursor, 3)
        seen += found
    found, cursor = read(log, cursor, 100)
    seen += found
    assert seen == [entry.text for entry in log]


@given(st.integers(1, 40))
def test_many_entries_of_the_same_second_come_once(count):
    log = [Entry(1, 1795448874 * SECOND, str(number).encode()) for number in range(count)]
    seen, cursor = [], ""
    for _ in range(count + 1):
        found, cursor = read(log, cursor, 3)
        seen += found
    assert seen == [entry.text for entry in log]


def test_a_log_is_read_in_pieces_from_the_engine(engine, key):
    async def steps(system):
        handle, _ = await run_to_end(system, sh("seq 1000; seq 1001 1005 >&2"), key)
        text, cursor, reads = "", "", 0
        while True:
            piece = await system.read_output(handle, cursor, limit=500)
            if not piece.text:
                return text, reads
            assert len(piece.text) <= 500
            text, cursor, reads = text + piece.text, piece.cursor, reads + 1

    text, reads = engine.run(steps)
    assert sorted(map(int, text.split())) == list(range(1, 1006))
    assert reads > 5


def test_a_log_is_followed_while_it_grows(engine, key):
    async def steps(system):
        handle = await system.submit(sh("for i in 1 2 3 4 5 6 7 8; do echo $i; echo e$i >&2; sleep 0.1; done"), key)
        text, cursor = "", ""
        while len(text.split()) < 16:
            piece = await system.read_output(handle, cursor)
            text, cursor = text + piece.text, piece.cursor
        return text, (await system.read_output(handle, cursor)).text

    text, more = engine.run(steps)
    assert sorted(text.split()) == sorted([f"{number}" for number in range(1, 9)] + [f"e{n}" for n in range(1, 9)])
    assert more == ""


def test_bytes_that_are_no_text_do_not_stop_a_log(engine, key):
    async def steps(system):
        handle, _ = await run_to_end(system, sh(r"printf 'a\377b\n'"), key)
        return (await system.read_output(handle)).text, await system.read_tail(handle)

    assert engine.run(steps) == ("a\ufffdb\n", "a\ufffdb\n")


def test_the_tail_is_the_end(engine, key):
    async def steps(system):
        handle, _ = await run_to_end(system, sh("seq 100"), key)
        return await system.read_tail(handle, lines=3)

    assert engine.run(steps) == "98\n99\n100\n"
