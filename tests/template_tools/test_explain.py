"""The tree in the terminal."""

from __future__ import annotations

import json

from hypothesis import given, settings

from airflow_enterprise_orch.template_tools.explain import explain, explain_json, to_ascii
from airflow_enterprise_orch.template_tools.shape import Shape
from airflow_enterprise_orch.value_stream.model import ValueStream
from tests.template_tools.samples import BRANCHING, HEAD, shipped, small, streams

TREE = """\
5 steps on UNIX, Decisions and People
├─ book
│      UNIX: unix.script, connection c
│      leaves limit: used by ask
│      leaves grade: used by route
├─ route
│  ├─ 1. if Amount is more than 10 → ask
│  │  └─ ask
│  │         People: everyone who may act on the stream may answer: Release over {{ steps.book.limit }}?
│  │         waits for as long as it takes
│  │         a rejection skips the steps that follow
│  ├─ 2. if grade of book is "B" → check
│  │  └─ check
│  │         UNIX: unix.script, connection c
│  └─ otherwise → send
└─ send
       paths meet: goes on after those of route (if it chooses this), ask and check that run
       UNIX: unix.script, connection c
"""


def tree(stream: ValueStream) -> str:
    return explain(stream).partition("Started with\n")[2].partition("\n\n")[2]


def test_a_tree() -> None:
    assert tree(small(BRANCHING)) == TREE


def test_the_shipped_stream_says_what_a_reviewer_looks_for() -> None:
    text = explain(shipped())
    for said in (
        "an instance is known by {{ params.order_id }}; a second live one with the same key fails at once",
        "order_id        Order number; string; must match ^ORD-[0-9]{6}$; must be given",
        "Mainframe: mainframe.job, connection zos_prod",
        "a success when the return code is at most 4, with a warning when the return code is 4",
        "cancelled after 30m",
        "if failed: again, up to 2 times, 5s later",
        "waits 2h; without an answer the step fails",
        "leaves credit_class: used by book_order, route and approve",
        "paths meet: goes on after those of provision_standard and provision_large that run",
    ):
        assert said in text
    assert text.isprintable() is False and "\x1b" not in text


def test_steps_that_wait_for_all() -> None:
    text = tree(small("  a: {J}\n  b: {J}\n  c: {J, after: [a, b]}\n  d: {J, after: [a]}\n"))
    assert "waits for a and b" in text
    assert "after a\n" in text
    assert text.count("begins at once") == 1


def test_what_a_step_holds_and_when_it_goes_first() -> None:
    head = HEAD.replace("steps:", "priority: high\nsteps:")
    text = explain(small("  a: {J, resource: {pool: sap, slots: 2}, at_once: 1, priority: critical}\n", head))
    for said in (
        "  priority high\n",
        "holds 2 slots of pool sap until its job has ended",
        "at work in at most 1 instance at a time",
        "   priority critical\n",
    ):
        assert said in text


def test_paths_that_meet_beside_something_else() -> None:
    steps = """\
  start: {J}
  other: {J}
  route: {after: [start], branch: [{when: params.amount > 1.0, then: [a]}, {otherwise: [join]}]}
  a: {J}
  join: {J, after: [a, other]}
"""
    assert "paths meet: goes on after those of route (if it chooses this) and a that run, and other over" in tree(
        small(steps)
    )


@settings(max_examples=30, deadline=None)
@given(streams())
def test_every_step_stands_in_the_tree_once_behind_those_before_it(stream: ValueStream) -> None:
    order = Shape(stream).order
    assert sorted(order) == sorted(stream.steps)
    assert all(order.index(before) < order.index(name) for name in order for before in stream.upstream[name])
    heads = [line.strip("│├└─ ") for line in tree(stream).splitlines()]
    assert sorted(line for line in heads if line in stream.steps) == sorted(stream.steps)


def test_for_tools() -> None:
    told = json.loads(json.dumps(explain_json(shipped())))
    assert told["value_stream"] == "order_to_certificate"
    steps = {step["id"]: step for step in told["steps"]}
    assert steps["route"]["ways"][0] == {
        "label": "1", "when": "params.amount > 10000.0", "words": "Amount is more than 10000", "then": ["approve"],
    }  # fmt: skip
    assert steps["size"]["join"] == {"any_of": ["route", "approve"], "all_of": []}
    assert steps["check_credit"]["used_by"] == {"credit_class": ["book_order", "route", "approve"]}
    assert steps["approve"]["chosen_by"] == "route"


def test_a_terminal_that_draws_no_lines() -> None:
    assert to_ascii(tree(small(BRANCHING))).isascii()
