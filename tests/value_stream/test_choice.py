"""A choice: what is asked, what is kept, which way it goes, and how a person overrides it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk.exceptions import AirflowFailException, DownstreamTasksSkipped, TaskAwaitingInput
from streams_for_tests import Store, context_for

from airflow_enterprise_orch.delegation.control import CONTROL_KEY
from airflow_enterprise_orch.template_tools.explain import explain, explain_json
from airflow_enterprise_orch.template_tools.graph import draw
from airflow_enterprise_orch.template_tools.walk import NotGiven, walk
from airflow_enterprise_orch.value_stream.choice import ChoiceStep
from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY, Override, read_decision
from airflow_enterprise_orch.value_stream.model import ValueStream

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
TEMPLATE = """
value_stream: leave
title: Leave
business: {domain: Tests, owner: tests}
params: {order_id: {type: string, default: O-1}}
steps:
  book: {unix.script: {connection: host, script: "true"}, outputs: {grade: {log: log, match: "(.)"}}}
  way:
    after: [book]
    choice:
      subject: "How shall {{ params.order_id }} leave?"
      body: "Grade {{ steps.book.grade }}"
      options:
        ship: {title: Ship it now, then: [pack, ship]}
        hold: {title: Hold it back, then: [hold]}
        drop: {title: Drop it, then: []}
      assignees: [dora]
      within: 2h
      on_timeout: hold
  pack: {unix.script: {connection: host, script: "true"}}
  ship: {after: [pack], unix.script: {connection: host, script: "true"}}
  hold: {unix.script: {connection: host, script: "true"}}
  close: {after: [ship, hold], unix.script: {connection: host, script: "true", args: ["{{ steps.way.outcome }}"]}}
"""
STREAM = ValueStream.load(TEMPLATE)


def choice(text: str = TEMPLATE) -> ChoiceStep:
    operator = compile_stream(ValueStream.load(text), source_hash="h").get_task("way")
    assert isinstance(operator, ChoiceStep)
    return operator


def context(operator: ChoiceStep, **more: Any) -> dict[str, Any]:
    return context_for(operator, params={"order_id": "O-1"}, left={"book": {"grade": "B"}}, **more)


def event(*titles: str, **more: Any) -> dict[str, Any]:
    user = {"id": "42", "name": "Dora"}
    return {"chosen_options": list(titles), "params_input": {}, "responded_at": AT, "responded_by_user": user, **more}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was written as the question."""
    written: dict[str, Any] = {}
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **arguments: written.update(arguments))
    return written


def test_it_asks_with_the_titles_in_their_order_and_waits_without_a_worker(asked: dict[str, Any]) -> None:
    operator = choice()
    with pytest.raises(TaskAwaitingInput) as waiting:
        operator.execute(context(operator))
    assert (asked["subject"], asked["body"]) == ("How shall O-1 leave?", "Grade B")
    assert asked["options"] == ["Ship it now", "Hold it back", "Drop it"]
    assert (asked["defaults"], asked["multiple"]) == (["Hold it back"], False)
    assert asked["assigned_users"] == [{"id": "dora", "name": "dora"}]
    assert waiting.value.timeout == timedelta(hours=2)


@pytest.mark.parametrize(
    ("title", "option", "chosen", "skipped"),
    [
        ("Ship it now", "ship", ("pack", "ship"), {"hold"}),
        ("Hold it back", "hold", ("hold",), {"pack", "way-ship"}),
        ("Drop it", "drop", (), {"pack", "way-ship", "hold"}),
    ],
)
def test_the_answer_is_kept_and_left_before_anything_is_skipped(
    title: str, option: str, chosen: tuple[str, ...], skipped: set[str]
) -> None:
    operator = choice()
    given = context(operator)
    with pytest.raises(DownstreamTasksSkipped) as skips:
        operator.execute_complete(given, event(title))
    assert {task for task, _ in skips.value.tasks} == skipped
    decision = read_decision(given["task_state_store"][DECISION_KEY])
    assert (decision.kind, decision.fired, decision.by, decision.at) == ("choice", (option,), "Dora", AT)
    assert (decision.chosen, decision.overridden) == (chosen, None)
    assert [way["title"] for way in decision.ways] == ["Ship it now", "Hold it back", "Drop it"]
    left = given["ti"].pushed["return_value"]
    assert (left["outcome"], left["by"], left["by_id"], left["timed_out"]) == (option, "Dora", "42", False)


def test_the_default_taken_in_time_is_nobodys() -> None:
    operator = choice()
    given = context(operator)
    with pytest.raises(DownstreamTasksSkipped):
        operator.execute_complete(given, event("Hold it back", responded_by_user=None, timedout=True))
    assert read_decision(given["task_state_store"][DECISION_KEY]).by == "nobody"
    assert given["ti"].pushed["return_value"]["timed_out"] is True


def test_nobody_in_time_fails_in_one_line_where_no_default_is_given(asked: dict[str, Any]) -> None:
    operator = choice(TEMPLATE.replace("on_timeout: hold", "on_timeout: fail"))
    with pytest.raises(TaskAwaitingInput):
        operator.execute(context(operator))
    assert asked["defaults"] is None
    with pytest.raises(AirflowFailException, match="choice 'way': nobody answered within 2:00:00; clear the step"):
        operator.execute_complete(context(operator), {"error": "x", "error_type": "timeout"})


@pytest.mark.parametrize("titles", [[], ["Ship it now", "Drop it"], ["ship"], ["Sell it"]])
def test_only_one_of_the_answers_is_one(titles: list[str]) -> None:
    operator = choice()
    given = context(operator)
    with pytest.raises((ValueError, AirflowFailException)):
        operator.execute_complete(given, event(*titles))
    assert DECISION_KEY not in given["task_state_store"]


def wish(*targets: str) -> Store:
    override = {"by": "eve", "reason": "the customer called", "targets": list(targets)}
    return Store({CONTROL_KEY: {"version": 1, "override": override}})


def test_an_override_needs_no_answer_and_names_who_and_why(asked: dict[str, Any]) -> None:
    operator = choice()
    given = context(operator, store=wish("ship", "pack"))
    with pytest.raises(DownstreamTasksSkipped):
        operator.execute(given)
    assert asked == {}
    decision = read_decision(given["task_state_store"][DECISION_KEY])
    assert (decision.fired, decision.overridden) == (("ship",), Override("eve", "the customer called"))
    assert given["ti"].pushed["return_value"]["outcome"] == "ship"


@pytest.mark.parametrize(
    ("targets", "says"),
    [(("ship",), "which is what no option does; choose pack, ship; or hold"), (("book",), "choose some of")],
)
def test_an_override_that_is_no_answer_is_refused(targets: tuple[str, ...], says: str, asked: dict[str, Any]) -> None:
    operator = choice()
    with pytest.raises(AirflowFailException, match=says):
        operator.execute(context(operator, store=wish(*targets)))
    assert asked == {}


def test_airflow_renders_nothing_in_it(asked: dict[str, Any]) -> None:
    assert tuple(choice().template_fields) == ()
    operator = choice(TEMPLATE.replace("Grade {{ steps.book.grade }}", "{{ steps.book.grade | replace('B', 'x') }}"))
    given = context_for(operator, params={"order_id": "{{ conn.host.password }}"}, left={"book": {"grade": "B"}})
    with pytest.raises(TaskAwaitingInput):
        operator.execute(given)
    assert asked["subject"] == "How shall {{ conn.host.password }} leave?"


def test_simulation_goes_the_way_that_is_answered() -> None:
    told = walk(STREAM, {}, {"way": {"answer": "ship", "by": "Dora"}})
    assert told.takes == ("book", "way", "pack", "ship", "close")
    assert (told.choices[0].fired, told.steps[1].why) == (("ship",), "Ship it now by Dora")
    assert walk(STREAM, {}, {"way": {"answer": "nobody"}}).takes == ("book", "way", "hold", "close")
    assert walk(STREAM, {}, {"way": {"outcome": "drop"}}).takes == ("book", "way")
    with pytest.raises(NotGiven, match="the choice 'way', and its answer is not given"):
        walk(STREAM, {}, {})


def test_it_is_explained_and_drawn_as_a_persons() -> None:
    text = explain(STREAM)
    assert "People: dora may choose: How shall {{ params.order_id }} leave?" in text
    assert "waits 2h; without an answer hold is chosen" in text
    assert "ship if 'Ship it now' is chosen → pack, ship" in text
    assert "leaves outcome: used by close" in text
    ways = next(step for step in explain_json(STREAM)["steps"] if step["id"] == "way")["ways"]
    assert [(way["label"], way["then"]) for way in ways] == [
        ("ship", ["pack", "ship"]),
        ("hold", ["hold"]),
        ("drop", []),
    ]
    picture = draw(STREAM)
    assert "a person chooses" in picture and "People" in picture
