"""How it is told what became of the holds, and the releases, of jobs that were handed over already.

How a user would notice that it is fake: "held" stands beside a job that its system refused to hold; nobody tells
whether a hold was confirmed; an old hold's end is told of a newer one; who may only look is told who holds what.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.executive_view.acting import Instance
from tests.executive_view.served import Served


def closing(acting: Served) -> Instance:
    """An instance whose job is in JES."""
    one = Instance(acting, "closing", states={"post": "deferred"})
    one.job("post")
    return one


def told(one: Instance) -> Any:
    """What the API tells of the job's hold."""
    return one.view.get("boss", one.path).json["held_jobs"].get("post")


def obeyed(one: Instance, what: str, state: str, how: str) -> None:
    one.view.do("obeyed", dag_id="closing", run_id=one.run_id, name="post", what=what, state=state, how=how)


@pytest.mark.parametrize(
    ("state", "how"),
    [
        ("requested", "hold requested of zosmf://lpar"),
        ("confirmed", "held over there: confirmed by zosmf://lpar"),
        ("unsupported", "unsupported: zosmf://lpar holds no job; the job goes on"),
        ("refused", "refused: zosmf://lpar does not hold JOB00001; the job goes on"),
        ("too_late", "not held: it has started"),
    ],
)
def test_it_is_told_what_became_of_a_hold(acting: Served, state: str, how: str) -> None:
    one = closing(acting)
    assert told(one) is None, "nobody held it"
    one.does("hold", "post")
    (before,) = told(one)
    assert (before["what"], before["state"]) == ("hold", "asked")
    obeyed(one, "hold", state, how)
    (after,) = told(one)
    assert (after["what"], after["state"], after["text"]) == ("hold", state, how)
    assert after["job"] == "JOB-post on ssh://host"


def test_a_hold_that_is_taken_back_is_told_by_what_became_of_that(acting: Served) -> None:
    one = closing(acting)
    one.does("hold", "post")
    obeyed(one, "hold", "confirmed", "held over there: confirmed by zosmf://lpar")
    acting.do("put", dag_id="closing", run_id=one.run_id, states={"post": "deferred"})
    one.does("release", "post")
    (word,) = told(one)
    assert (word["what"], word["state"]) == ("release", "asked")
    obeyed(one, "release", "released", "released over there: confirmed by zosmf://lpar")
    assert [word["state"] for word in told(one)] == ["released"]


def test_so_is_the_release_of_what_an_operator_over_there_holds(acting: Served) -> None:
    one = closing(acting)
    one.does("release", "post", confirm=["release:post:-1"])
    assert [(word["what"], word["state"]) for word in told(one)] == [("release", "asked")]
    obeyed(one, "release", "refused", "refused: zosmf://lpar does not release JOB00001; it is held over there still")
    assert [word["state"] for word in told(one)] == ["refused"]


def test_who_may_only_look_is_told_nothing_of_it(acting: Served) -> None:
    one = closing(acting)
    one.does("hold", "post")
    answer = one.view.get("viewer", one.path).json
    assert (answer["may_act"], answer["held_jobs"]) == (False, {})
    one.refuses("hold", "post", user="viewer", status=403)


def test_a_job_that_is_over_is_told_of_no_more(acting: Served) -> None:
    one = Instance(acting, "closing", states={"post": "deferred"})
    one.does("hold", "tell")
    assert one.view.get("boss", one.path).json["held_jobs"] == {}, "nothing of it is out there"
