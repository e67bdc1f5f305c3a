"""Decision tables: cells, rows that fit, and what is wrong with the rows together.

How a user would notice that it is fake: a table that was called complete stops an instance because no row fits.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_enterprise_orch.value_stream.decision_table import (
    OTHER,
    Cell,
    CellWrong,
    Domain,
    examine,
    fitting,
    read_cell,
)


@pytest.mark.parametrize(
    ("raw", "kind", "meets", "does_not"),
    [
        (5, "int", [5], [4, 6, True]),
        (5, "double", [5, 5.0], [5.1]),
        ("> 10", "int", [11], [10]),
        (">=10", "double", [10, 10.5], [9.99]),
        ("< -1.5", "double", [-2], [-1.5, 0]),
        ("<= 3", "int", [3, -7], [4]),
        ("!= 3", "int", [2, 4], [3]),
        ("[1..10)", "int", [1, 9], [0, 10]),
        ("( 0 .. 1 ]", "double", [0.001, 1], [0, 1.001]),
        ([1, 2], "int", [1, 2], [3]),
        ("> 10", "string", ["> 10"], ["11"]),
        (["A", "B"], "string", ["A"], ["C", "a"]),
        (True, "bool", [True], [False, 1]),
        ("A", "dyn", ["A"], ["B"]),
        ("> 1", "dyn", [2], [1]),
    ],
)
def test_a_cell_means_what_it_says(raw: Any, kind: str, meets: list[Any], does_not: list[Any]) -> None:
    cell = read_cell(raw, kind)
    assert [value for value in meets if not cell.holds(value)] == []
    assert [value for value in does_not if cell.holds(value)] == []


@pytest.mark.parametrize(
    ("raw", "kind", "what"),
    [
        ("ten", "int", "'ten' is no value for this input"),
        (1.5, "int", "1.5 is no value for this input"),
        ("> 1.5", "int", "the input is a whole number, 1.5 is none"),
        ("[10..1]", "double", r"the interval \[10..1\] is empty"),
        ("(1..1]", "double", "is empty"),
        (1, "string", "1 is no value for this input"),
        ("yes", "bool", "'yes' is no value for this input"),
        (True, "int", "True is no value for this input"),
        ([], "string", "an empty list fits nothing"),
        ([1, "x"], "int", "'x' is no value for this input"),
        ({"a": 1}, "dyn", "is no value for this input"),
    ],
)
def test_a_wrong_cell_says_what_to_write(raw: Any, kind: str, what: str) -> None:
    with pytest.raises(CellWrong, match=what) as wrong:
        read_cell(raw, kind if kind != "dyn" else "string")
    assert wrong.value.remedy


def rows(*entries: dict[str, Any], kind: str = "int") -> list[dict[str, Cell]]:
    return [{name: read_cell(raw, kind) for name, raw in entry.items()} for entry in entries]


def found(*args: Any, **kwargs: Any) -> list[tuple[str, tuple[int, ...], dict[str, Any]]]:
    return [(finding.kind, finding.rows, dict(finding.example)) for finding in examine(*args, **kwargs)]


INT = {"x": Domain("int")}


def test_a_gap_is_found_where_it_is() -> None:
    table = rows({"x": "< 5"}, {"x": "> 5"})
    assert found(table, INT, "first", otherwise=False) == [("gap", (), {"x": 5})]
    assert found(table, INT, "first", otherwise=True) == []
    assert found(rows({"x": "<= 5"}, {"x": "> 5"}), INT, "first", otherwise=False) == []


def test_whole_numbers_have_no_gap_between_neighbours() -> None:
    table = rows({"x": "<= 3"}, {"x": ">= 4"})
    assert found(table, INT, "unique", otherwise=False) == []
    assert found(table, {"x": Domain("double")}, "unique", otherwise=False) == [("gap", (), {"x": 3.5})]


def test_what_a_param_cannot_be_is_no_gap() -> None:
    limited = {"x": Domain("int", minimum=0, maximum=10)}
    assert found(rows({"x": "[0..10]"}), limited, "first", otherwise=False) == []
    letters = {"x": Domain("string", choices=("A", "B"))}
    assert found(rows({"x": ["A", "B"]}, kind="string"), letters, "first", otherwise=False) == []
    assert found(rows({"x": ["A", "B"]}, kind="string"), {"x": Domain("string")}, "first", otherwise=False) == [
        ("gap", (), {"x": OTHER})
    ]


def test_rows_of_a_unique_table_may_not_meet() -> None:
    table = rows({"x": "<= 5"}, {"x": ">= 5"})
    assert found(table, INT, "unique", otherwise=False) == [("overlap", (0, 1), {"x": 5})]
    assert found(table, INT, "first", otherwise=False) == []


def test_a_row_that_is_never_taken_is_named() -> None:
    table = rows({"x": "> 0"}, {"x": "[1..10]"}, {"x": "<= 0"})
    assert found(table, INT, "first", otherwise=False) == [("unreachable", (1,), {})]


def test_a_table_that_is_too_large_to_look_at_says_so() -> None:
    domains = {name: Domain("int") for name in "abcdef"}
    table = [{name: read_cell(number, "int") for name in domains} for number in range(9)]
    assert found(table, domains, "first", otherwise=False) == [("too large", (), {})]


CELLS = st.one_of(
    st.integers(0, 6),
    st.lists(st.integers(0, 6), min_size=1, max_size=3),
    st.tuples(st.sampled_from(["<", "<=", ">", ">=", "!="]), st.integers(0, 6)).map(
        lambda pair: f"{pair[0]} {pair[1]}"
    ),
    st.tuples(st.sampled_from("[("), st.integers(0, 2), st.integers(4, 6), st.sampled_from(")]")).map(
        lambda parts: f"{parts[0]}{parts[1]}..{parts[2]}{parts[3]}"
    ),
)
TABLES = st.lists(st.dictionaries(st.sampled_from("xy"), CELLS, max_size=2), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(TABLES, st.sampled_from(["first", "unique"]))
def test_it_finds_exactly_what_trying_every_value_finds(entries: list[dict[str, Any]], hit: Any) -> None:
    table = rows(*entries)
    values = [dict(zip("xy", pair, strict=True)) for pair in itertools.product(range(-2, 10), repeat=2)]
    fits = [fitting(table, value) for value in values]
    kinds = {finding.kind for finding in examine(table, {"x": INT["x"], "y": INT["x"]}, hit, otherwise=False)}
    taken = {number for numbers in fits for number in (numbers[:1] if hit == "first" else numbers)}
    assert ("gap" in kinds) is any(not numbers for numbers in fits)
    assert ("overlap" in kinds) is (hit == "unique" and any(len(numbers) > 1 for numbers in fits))
    assert ("unreachable" in kinds) is (taken != set(range(len(table))))
