"""What many ask for at once, and is made once.

How a user would notice that it is fake: the more people look, the slower it is for each of them; or what one of them
was refused is kept for all.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_enterprise_orch.executive_view.kept import Kept


def test_the_same_is_made_once_however_many_ask_for_it_at_once() -> None:
    kept, made, asked = Kept[str](8), [], threading.Barrier(6)

    def make() -> str:
        made.append(1)
        return "told"

    def ask(_number: int) -> str:
        asked.wait()
        return kept.get(("overview", 1), make)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(6))) == ["told"] * 6
    assert len(made) == 1
    assert kept.get(("overview", 2), lambda: "after the next write") == "after the next write"


def test_who_asks_for_something_else_does_not_wait_for_it() -> None:
    kept = Kept[str](8)
    assert kept.get("slow", lambda: kept.get("quick", lambda: "quick") + ", then slow") == "quick, then slow"


def test_an_error_is_kept_for_nobody() -> None:
    kept = Kept[int](8)
    with pytest.raises(ZeroDivisionError):
        kept.get("share", lambda: 1 // 0)
    assert kept.get("share", lambda: 7) == 7


def test_what_was_asked_for_least_lately_goes_first() -> None:
    kept = Kept[str](2)
    for name in ("a", "b", "a", "c"):
        kept.get(name, lambda: "once")
    assert [kept.get(name, lambda: "anew") for name in ("a", "c", "b")] == ["once", "once", "anew"]
