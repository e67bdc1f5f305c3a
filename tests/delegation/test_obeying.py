"""A wish is obeyed once: again by what Airflow retries by itself, never after a person cleared the step."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fakes import START

from airflow_enterprise_orch.delegation.control import ControlBroken, Wish
from airflow_enterprise_orch.delegation.ledger import TaskTry
from airflow_enterprise_orch.delegation.obeying import Obedience, Obeyed, obeyed_cell, read_obeyed

SKIP = Wish("skip", "maria", "month end", id="k1")


class Cells(dict[str, Any]):
    """The task state store."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def of_try(cells: Cells, number: int, max_tries: int, retries: int = 3) -> Obedience:
    return Obedience(cells, TaskTry(number, max_tries, retries), lambda: START)


def test_a_wish_that_nobody_obeyed_applies() -> None:
    assert of_try(Cells(), 7, 9).applies(SKIP)


def test_a_try_that_airflow_makes_by_itself_obeys_again() -> None:
    """The try that obeyed it may have died before Airflow heard of it."""
    cells = Cells()
    of_try(cells, 1, 3).mark(SKIP, "skipped")
    assert of_try(cells, 2, 3).applies(SKIP)


def test_after_a_clear_it_is_not_obeyed_again() -> None:
    cells = Cells()
    of_try(cells, 1, 3).mark(SKIP, "skipped")
    cleared = of_try(cells, 2, 4)
    assert not cleared.applies(SKIP)
    assert not of_try(cells, 3, 4).applies(SKIP)
    assert cleared.applies(Wish("skip", "maria", "month end", id="k2")), "a new wish is obeyed"


def test_after_an_edit_of_the_retries_it_is_obeyed_and_the_next_clear_is_told_apart() -> None:
    cells = Cells()
    of_try(cells, 1, 3).mark(SKIP, "skipped")
    edited = of_try(cells, 2, 9, retries=7)
    assert edited.applies(SKIP)
    edited.mark(SKIP, "skipped")
    assert not of_try(cells, 3, 9 + 1, retries=7).applies(SKIP)


def test_what_was_obeyed_is_none_for_an_attempt_that_began_after_it_whatever_became_of_the_retries() -> None:
    cells = Cells()
    of_try(cells, 2, 3).mark(SKIP, "skipped")
    edited = of_try(cells, 4, 9, retries=7)
    assert edited.applies(SKIP, begun=2)
    assert not edited.applies(SKIP, begun=3), "try 3 began an attempt, so a person had cleared the step"


def test_a_wish_whose_place_a_newer_word_took_is_over_for_every_try() -> None:
    cells = Cells()
    of_try(cells, 1, 3).mark(SKIP, "replaced by an answer", over=True)
    assert not of_try(cells, 2, 3).applies(SKIP)
    assert read_obeyed(cells)["k1"].over


def test_a_late_write_of_an_earlier_try_takes_nothing_back() -> None:
    cells = Cells()
    of_try(cells, 3, 9, retries=7).mark(SKIP, "skipped")
    late = Cells()
    of_try(late, 1, 3).mark(SKIP, "skipped")
    cells.update(late)
    assert of_try(cells, 4, 9, retries=7).applies(SKIP)


def test_the_same_word_again_is_not_written_again() -> None:
    cells = Cells()
    of_try(cells, 1, 3).mark(SKIP, "skipped")
    before = dict(cells)
    of_try(cells, 2, 3).mark(SKIP, "skipped")
    assert cells == before
    of_try(cells, 2, 3).mark(SKIP, "too late")
    assert cells[obeyed_cell("k1", 2)]["how"] == "too late"


def test_the_newest_word_on_each_wish_is_read() -> None:
    cells = Cells({"orch.control": {"version": 2}})
    of_try(cells, 1, 3).mark(SKIP, "skipped")
    of_try(cells, 10, 20).mark(SKIP, "skipped again")
    of_try(cells, 2, 3).mark(Wish("hold", "otto", "SAP", id="a key: with spaces/and more"), "held")
    found = read_obeyed(cells)
    assert {wish: (word.what, word.how, word.at) for wish, word in found.items()} == {
        "k1": ("skip", "skipped again", START),
        "a key: with spaces/and more": ("hold", "held", START),
    }


def test_a_key_of_a_client_never_becomes_more_than_a_cell_name() -> None:
    assert obeyed_cell("k1", 2) == "orch.obeyed.k1.2"
    assert re.fullmatch(r"orch\.obeyed\.[0-9a-f]{32}\.1", obeyed_cell("x" * 600, 1))
    assert obeyed_cell("a.b", 1) != obeyed_cell("a.c", 1)


@pytest.mark.parametrize(
    "data",
    ["x", {}, {"version": 2}, {"version": 1, "wish": "k", "what": "skip", "obeyed": "noon"},
     {"version": 1, "wish": "k", "what": "skip", "obeyed": "2026-03-02T06:00:00", "try_number": 1,
      "max_tries": 1, "retries": 0}],
)  # fmt: skip
def test_a_broken_record_stops_in_one_line(data: object) -> None:
    with pytest.raises(ControlBroken, match=r"orch\.obeyed\.") as broken:
        Obeyed.from_json(data)
    assert "\n" not in str(broken.value)
    with pytest.raises(ControlBroken):
        of_try(Cells({obeyed_cell("k1", 1): data}), 1, 1).applies(SKIP)
