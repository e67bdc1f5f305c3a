"""CSV that no spreadsheet takes for a program.

How a user would notice that it is fake: a business key that begins with ``=`` is calculated, a comma splits a title, or
-5 becomes a text.
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_enterprise_orch.executive_view.exporting import FORMULA, as_csv, cell


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, ""),
        (True, "true"),
        (-5, "-5"),
        (1.5, "1.5"),
        (date(2026, 11, 24), "2026-11-24"),
        (datetime(2026, 11, 24, 6, 0, tzinfo=UTC), "2026-11-24T06:00:00Z"),
        (["post"], '["post"]'),
        ("ORD-1", "ORD-1"),
        ("=1+1", "'=1+1"),
        ("  =1+1", "'  =1+1"),
        ("\t=1+1", "'\t=1+1"),
        ("-5", "'-5"),
        ("@SUM(A1)", "'@SUM(A1)"),
    ],
)
def test_a_cell_says_what_it_is(value: object, told: str) -> None:
    assert cell(value) == told


@given(st.text())
def test_no_text_begins_as_a_formula_does(text: str) -> None:
    assert not cell(text).lstrip(" ").startswith(FORMULA)


@given(
    st.lists(
        st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00")), min_size=2, max_size=2)
    )
)
def test_a_spreadsheet_reads_back_what_was_written(rows: list[list[str]]) -> None:
    text = "".join(as_csv(["a", "b"], rows))
    assert text.startswith("\ufeffa,b\r\n")
    read = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert read[1:] == [[cell(one) for one in row] for row in rows]


def test_it_is_sent_in_pieces_as_it_is_made() -> None:
    made = 0

    def rows() -> object:
        nonlocal made
        for _ in range(10_000):
            made += 1
            yield ["x" * 100]

    chunks = as_csv(["a"], rows())  # type: ignore[arg-type]
    next(chunks)
    assert made < 1000
