"""Pages over several phases, on a real SQLite: each row once, in order, whatever the size of a page.

How a user would notice that it is fake: the last row of a page comes again on the next one, or the first after a
boundary never comes.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from fastapi import HTTPException
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, DateTime, Integer, MetaData, Table, create_engine, insert, select

from airflow_enterprise_orch.executive_view.keyset import Phase, Place, everything, from_cursor, pages, seek, to_cursor

T = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("part", Integer), Column("rank", Integer))
PHASES = [
    Phase(T.c.part == 0, ((T.c.rank, False), (T.c.id, False))),
    Phase(T.c.part == 1, ((T.c.id, True),)),
    Phase(T.c.part == 2, ((T.c.rank, True), (T.c.id, True))),
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=25), st.integers(1, 7))
def test_each_row_comes_once_and_in_order(rows: list[tuple[int, int]], limit: int) -> None:
    engine = create_engine("sqlite://")
    T.metadata.create_all(engine)
    with engine.begin() as connection:
        for number, (part, rank) in enumerate(rows):
            connection.execute(insert(T).values(id=number, part=part, rank=rank))
        expected = sorted(
            ((number, part, rank) for number, (part, rank) in enumerate(rows)),
            key=lambda row: (
                row[1],
                {0: (row[2], row[0]), 1: (0, -row[0]), 2: (-row[2], -row[0])}[row[1]],
            ),
        )
        found: list[int] = []
        place: Place | None = None
        while True:
            cursor = to_cursor(place, "q") or ""
            start = from_cursor(cursor, "q", PHASES)
            assert start == place
            page, place = pages(select(T), PHASES, start, limit, lambda one: connection.execute(one).all())
            found += [row.id for row in page]
            if place is None:
                break
            assert len(page) == limit
        assert found == [row[0] for row in expected]
        run = lambda one: connection.execute(one).all()  # noqa: E731
        for row in range(1, len(rows) + 2):
            behind = seek(select(T), PHASES, row, len(rows), run)
            page, _ = pages(select(T), PHASES, behind, limit, run) if behind is not None else ([], None)
            assert [one.id for one in page] == [one[0] for one in expected[row : row + limit]]
        whole = everything(select(T), PHASES[1], lambda one: connection.execute(one).all(), step=limit)
        assert [row.id for row in whole] == [row[0] for row in expected if row[1] == 1]
    engine.dispose()


def test_a_cursor_keeps_moments_and_is_bound_to_its_question() -> None:
    by_time = [Phase(None, ((Column("at", DateTime), True), (Column("id", Integer), True)))]
    place = Place(0, (datetime(2026, 11, 24, 6, 0, 0, 123456, tzinfo=UTC), 7))
    text = to_cursor(place, "q")
    assert text is not None
    assert from_cursor(text, "q", by_time) == place
    with pytest.raises(HTTPException, match="another filter"):
        from_cursor(text, "other", by_time)


def test_no_text_that_somebody_makes_up_is_more_than_refused() -> None:
    dice = random.Random(3)
    good = to_cursor(Place(0, (1, 2)), "q")
    assert good is not None
    for _ in range(500):
        text = list(good)
        for _ in range(dice.randrange(1, 4)):
            text[dice.randrange(len(text))] = dice.choice("ABCxyz019-_é")
        try:
            place = from_cursor("".join(text), "q", PHASES)
        except HTTPException as error:
            assert error.status_code == 422
        else:
            assert place is not None
            assert all(type(value) is int for value in place.values)
