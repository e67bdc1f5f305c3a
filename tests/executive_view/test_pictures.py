"""Pictures as the compiler draws them, read, laid out in lanes, and compared.

How a user would notice that it is fake: a step is missing in the graph or lies on another, a way out of a branch leads
nowhere, or a changed rule is not among the changes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_enterprise_orch.executive_view.changes import changes
from airflow_enterprise_orch.executive_view.entries import entries
from airflow_enterprise_orch.executive_view.graphs import graph
from airflow_enterprise_orch.executive_view.pictures import Picture, read_picture
from airflow_enterprise_orch.executive_view.redacting import Sight
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.paths import Paths
from airflow_enterprise_orch.value_stream.picture import picture_text

NOTHING = Sight(frozenset())
ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.stem for path in (ROOT / "dag_templates").glob("*.yaml") if "." not in path.stem)


def drawn(name: str) -> dict[str, Any]:
    stream = ValueStream.load(ROOT / "dag_templates" / f"{name}.yaml")
    found: dict[str, Any] = json.loads(picture_text(stream, Paths(stream)))
    return found


def read(name: str) -> tuple[ValueStream, Picture]:
    return ValueStream.load(ROOT / "dag_templates" / f"{name}.yaml"), read_picture(drawn(name))


SHIPPED_STREAMS = [name for name in SHIPPED if name != "company"]


@pytest.mark.parametrize("name", SHIPPED_STREAMS)
def test_every_step_stands_in_its_lane_at_a_place_of_its_own(name: str) -> None:
    stream, picture = read(name)
    shown = graph(picture)
    assert {node.id for node in shown.nodes} == set(stream.steps)
    places = [(node.stack.id, node.column, node.row) for node in shown.nodes]
    assert len(places) == len(set(places))
    assert {node.stack.id for node in shown.nodes} == {lane.id for lane in shown.lanes}
    columns = {node.id: node.column for node in shown.nodes}
    assert all(columns[edge.source] < columns[edge.target] for edge in shown.edges)
    before = {(edge.source, edge.target) for edge in shown.edges}
    assert before == {(one, step) for step, upstream in stream.upstream.items() for one in upstream}


@pytest.mark.parametrize("name", SHIPPED_STREAMS)
def test_steps_come_after_what_they_come_after_and_ways_lead_to_steps(name: str) -> None:
    stream, picture = read(name)
    seen: set[str] = set()
    for step in picture.flow:
        assert set(step.after) <= seen
        assert set(step.leads_to) == set(stream.steps[step.id].targets)
        seen.add(step.id)
    of_steps = {task.task_id: task.step for task in Paths(stream).tasks if task.step}
    assert {task: picture.step_of_task(task).id for task in of_steps} == of_steps


def test_a_branch_says_which_rule_leads_where() -> None:
    _, picture = read("order_to_certificate")
    labels = {(edge.source, edge.target): edge.label for edge in graph(picture).edges}
    branch = next(step for step in picture.steps if step.kind == "branch")
    for way in branch.ways:
        for target in way.then:
            assert (labels[branch.id, target] is None) == (way.id == "otherwise" and not way.when)


def test_what_changed_in_a_template_is_told_and_nothing_else() -> None:
    before, after = drawn("order_to_certificate"), drawn("order_to_certificate")
    assert changes(read_picture(before), read_picture(after), NOTHING) == []
    branch = next(step for step in after["steps"] if step["kind"] == "branch")
    branch["rules"][0]["when"] = "params.amount > 5.0"
    job = next(step for step in after["steps"] if step["kind"] == "mainframe.job")
    job["connection"] = "zos_new"
    after["business"]["owner"] = "somebody else"
    after["digest"] = "another"
    told = [change.text for change in changes(read_picture(before), read_picture(after), NOTHING)]
    assert len(told) == 3
    assert told[0] == "the stream: owner changed from 'customer-operations' to 'somebody else'"
    assert any("connection changed from zos_prod to zos_new" in text for text in told)
    assert any(f"“{branch['title']}”: rule 1 now asks “params.amount > 5.0”; before “" in text for text in told)


def test_rules_are_compared_one_by_one_and_rows_by_what_they_give() -> None:
    step = {"id": "route", "title": "Route", "stack": "decisions", "after": []}
    others = [{"id": name, "title": name, "kind": "fail", "stack": "decisions", "after": ["route"]} for name in "ab"]

    def of(**own: Any) -> Picture:
        return read_picture({"title": "T", "steps": [{**step, **own}, *others]})

    branch = {"kind": "branch", "otherwise": ["a"]}
    old = of(**branch, rules=[{"when": "x", "then": ["a"]}])
    new = of(**branch | {"otherwise": []}, rules=[{"when": "x", "then": ["a", "b"]}, {"when": "y", "then": ["b"]}])
    assert [change.text for change in changes(old, new, NOTHING)] == [
        "step “Route”: rule 1 leads to a and b; before it leads to a",
        "step “Route”: rule 2 added: “y”, leads to b",
        "step “Route”: otherwise ends the path; before it leads to a",
    ]
    assert [change.kind for change in changes(new, old, NOTHING)] == ["changed", "changed", "removed"]
    table = {"kind": "decision", "inputs": {"size": "params.size"}}
    small, large = ({"when": {"size": "small"}, "then": {"discount": number}} for number in (0, 5))
    assert [change.text for change in changes(of(**table, rows=[small]), of(**table, rows=[large]), NOTHING)] == [
        "step “Route”: row 1 gives {'discount': 5}; before it gives {'discount': 0}"
    ]


def test_a_change_names_no_stream_that_one_may_not_see() -> None:
    def of(other: str) -> Picture:
        run = {"id": "hand", "title": "Hand", "kind": "stream", "stack": "s", "after": [], "runs": other}
        wait = {"id": "wait", "title": "Wait", "kind": "wait_for", "stack": "s", "after": [], "waits_on": other}
        return read_picture({"title": "T", "steps": [run, {**wait, "until": f"for {other} of the same date"}]})

    old, new = of("claims"), of("takeover")
    assert [one.text for one in changes(old, new, Sight(frozenset({"claims"})))] == [
        "step “Hand”: runs changed from claims to 'another stream that you may not see'",
        "step “Wait”: until changed from 'for claims of the same date' to 'another stream that you may not see'",
    ]
    assert changes(old, new, NOTHING) == []


def test_a_state_of_a_later_version_does_not_break_a_page() -> None:
    told = entries(
        {"a": {"state": "teleported"}, "b": {"state": "success", "ended": "2026-11-24T06:00:00+00:00"}, "c": {}}
    )
    assert [told[name].state for name in "abc"] == ["open", "success", "open"]


def test_a_list_is_told_by_how_many_of_its_items_are_how() -> None:
    counted = {"success": 3, "failed": 1, "running": 1, "deferred": 2, "None": 4}
    told = entries({"a": {"state": "running", "items": counted}})["a"].items
    assert told is not None
    assert told.model_dump() == {"total": 11, "done": 3, "running": 3, "failed": 1}
