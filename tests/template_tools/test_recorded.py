"""What an instance came to, taken as the results of a template that changed since.

How a user would notice that it is fake: a step that failed is taken to have succeeded; a record of last month is
refused for a value that the template has no more.
"""

from __future__ import annotations

from typing import Any

from airflow_enterprise_orch.template_tools.recorded import recorded
from airflow_enterprise_orch.template_tools.walk import walk
from airflow_enterprise_orch.value_stream.model import ValueStream

STREAM = """
value_stream: claims
title: Claims
business: {domain: Claims, owner: claims, criticality: low}
params: {amount: {type: number}, region: {type: string, default: north}}
steps:
  price:
    unix.script: {connection: host, script: "true"}
    outputs: {total: {log: log, match: 'TOTAL=(\\d+)', type: integer}}
  route: {after: [price], branch: [{when: steps.price.total > 100, then: [ask]}, {otherwise: [way]}]}
  ask: {approval: {subject: "Pay?", within: 1h, on_timeout: fail, on_reject: ON_REJECT}}
  way:
    choice:
      {subject: "How?", within: 1h, on_timeout: fail, options: {
        post: {title: By post, then: [send]}, wire: {title: By wire, then: [pay]}}}
  send: {unix.script: {connection: host, script: "true"}}
  pay: {unix.script: {connection: host, script: "true"}}
"""


def claims(on_reject: str = "fail") -> ValueStream:
    return ValueStream.load(STREAM.replace("ON_REJECT", on_reject))


def told(outputs: dict[str, Any], *, failed: str = "", **params: Any) -> dict[str, Any]:
    """Return the parts of the page of an instance that count."""
    nodes: list[dict[str, Any]] = [
        {"id": "not_begun", "run": None},
        {"id": "price", "run": {"airflow_state": "success"}},
    ]
    nodes += [{"id": failed, "run": {"airflow_state": "failed"}}] if failed else []
    return {"params": params, "outputs": outputs, "graph": {"nodes": nodes}}


def test_what_the_template_knows_nothing_of_is_left_out() -> None:
    price = {
        "outcome": "success",
        "rc": 0,
        "total": 7,
        "older": 1,
        "system": "ssh",
        "outputs": {"total": 7, "older": 1},
    }
    found = recorded(claims(), told({"price": price, "gone": {"rc": 0}}, amount=5.0, colour="red"))
    kept = {"outcome": "success", "rc": 0, "total": 7, "outputs": {"total": 7}}
    assert found == ({"amount": 5.0}, {"price": kept})


def test_what_failed_fails_again_and_nothing_else() -> None:
    failed = recorded(claims(), told({"price": {"rc": 0, "total": 7}}, failed="price", amount=5.0))
    walked = walk(claims(), *failed)
    assert (walked.ends, walked.takes) == ("failed", ("price",))


def test_a_person_s_failure_ends_the_path_there_again() -> None:
    dear, cheap = {"price": {"rc": 0, "total": 700}}, {"price": {"rc": 0, "total": 7}}
    for on_reject, result in (("fail", "rejected"), ("skip", "nobody")):
        _, results = given = recorded(claims(on_reject), told(dear, failed="ask", amount=5.0))
        assert results["ask"] == {"answer": result}
        assert walk(claims(on_reject), *given).ends == "failed"
    walked = walk(claims(), *recorded(claims(), told(cheap, failed="way", amount=5.0)))
    assert (walked.ends, walked.takes) == ("failed", ("price", "route", "way"))
