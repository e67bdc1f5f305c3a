"""Streams for these tests."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from airflow_enterprise_orch.value_stream.model import ValueStream

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "dag_templates" / "order_to_certificate.yaml"
SHIPPED_CASES = ROOT / "dag_templates" / "order_to_certificate.cases.yaml"

PARAMS = {"order_id": "ORD-000001", "amount": 500}

HEAD = """\
value_stream: small
title: Small
business: {domain: D, owner: o}
params:
  amount: {type: number, title: Amount, default: 5}
  copies: {type: integer, default: 1}
  grade: {type: string, choices: [A, B], default: A}
steps:
"""


def shipped() -> ValueStream:
    return ValueStream.load(SHIPPED)


def small(steps: str, head: str = HEAD) -> ValueStream:
    """Return a stream; ``J`` in the steps stands for a script on a UNIX host."""
    text = steps.replace("J", "unix.script: {connection: c, script: run}")
    return ValueStream.load(head + text, name="small.yaml")


BRANCHING = """\
  book: {J, outputs: {limit: {log: log, match: '(x)', type: integer}, grade: {log: log, match: '(x)'}}}
  route:
    after: [book]
    branch:
      - {when: params.amount > 10.0, then: [ask]}
      - {when: steps.book.grade == "B", then: [check]}
      - {otherwise: [send]}
  ask: {approval: {subject: "Release over {{ steps.book.limit }}?", on_reject: skip}}
  check: {J}
  send: {J, after: [ask, check]}
"""


@st.composite
def streams(draw: st.DrawFn) -> ValueStream:
    """Return any stream of jobs, branches and approvals whose links all lead forward."""
    count = draw(st.integers(1, 12))
    kinds = draw(st.lists(st.sampled_from(["job", "job", "branch", "approval"]), min_size=count, max_size=count))
    kinds[-1] = "job"
    connections = draw(st.lists(st.sampled_from(["unix", "windows"]), min_size=count, max_size=count))
    lines = []
    for index, kind in enumerate(kinds):
        earlier = [f"s{before}" for before in range(index) if kinds[before] != "branch"]
        after = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
        later = [f"s{target}" for target in range(index + 1, count)]
        if kind == "branch":
            some = st.lists(st.sampled_from(later), unique=True, max_size=3)
            first, second = (", ".join(draw(some) or later[:1]) for _ in range(2))
            rules = f"{{when: params.amount > 10.0, then: [{first}]}}, {{when: params.amount > 1.0, then: [{second}]}}"
            does = f"branch: [{rules}, {{otherwise: [{', '.join(draw(some))}]}}]"
        elif kind == "approval":
            does = f"approval: {{subject: Well?, on_reject: {draw(st.sampled_from(['fail', 'skip']))}}}"
        elif connections[index] == "unix":
            does = "unix.script: {connection: c, script: run}"
        else:
            does = "windows.task: {connection: c, task: '\\Task'}"
        lines.append(f"  s{index}: {{{does}, after: [{', '.join(after)}]}}\n")
    return ValueStream.load(HEAD + "".join(lines))
