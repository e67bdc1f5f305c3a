"""Due times and alerts in the tools: told in words, compared in words, and what is probably not meant."""

from __future__ import annotations

import pytest

from airflow_enterprise_orch.template_tools import lint_alerts
from airflow_enterprise_orch.template_tools.diff import diff
from airflow_enterprise_orch.template_tools.explain import explain
from airflow_enterprise_orch.template_tools.lint import hints
from airflow_enterprise_orch.value_stream.model import ValueStream

WATCHED = """\
value_stream: watched
title: Watched
business: {domain: D, owner: o, criticality: high, key: "{{ run_id }}"}
due: {time: "09:00", timezone: Europe/Berlin, days: 1}
alerts:
  - on: [failed, late]
    to: {email: {connection: smtp_ops, to: [a@example.com, b@example.com]}, webhook: {connection: desk, path: /in}}
  - on: [waiting]
    after: 2h
    severity: [high, critical]
    send_as: critical
    to: {slack: {connection: slack_ops, channel: "#ops"}}
steps:
  work: {unix.script: {connection: c, command: /run}, due: {within: 90m}}
  ask: {after: [work], approval: {subject: "Go on?"}}
"""


def told(tmp_path, text: str) -> dict[str, str]:
    path = tmp_path / "watched.yaml"
    path.write_text(text)
    return {hint.rule: hint.problem.where for hint in hints(path, ValueStream.load(path))}


def test_the_tree_tells_when_it_is_due_and_who_is_told():
    tree = explain(ValueStream.load(WATCHED))
    assert "  due by 09:00 Europe/Berlin, 1 day after the business day\n" in tree
    assert "due within 1h30m of the start\n" in tree
    assert (
        "  tells of failed and late: mail a@example.com b@example.com by connection smtp_ops and "
        "webhook /in by connection desk\n"
    ) in tree
    assert (
        "  tells of waiting for 2h: Slack #ops by connection slack_ops, if its criticality is high or critical, "
        "sent as critical\n"
    ) in tree


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "within: 90m",
            "within: 2h",
            "step work: due changed from 'within 1h30m of the start' to 'within 2h of the start'",
        ),
        ("within: 90m", "within: 1h30m", ""),
        (
            "days: 1}",
            "days: 2}",
            "the stream: due changed from 'by 09:00 Europe/Berlin, 1 day after the business day' to "
            "'by 09:00 Europe/Berlin, 2 days after the business day'",
        ),
        ('due: {time: "09:00", timezone: Europe/Berlin, days: 1}\n', "", "the stream: due removed"),
        ("after: 2h", "after: 3h", "the stream: who is told of what changed from"),
    ],
)
def test_a_change_is_one_line(old: str, new: str, says: str):
    assert WATCHED.count(old) == 1
    found = [change.text for change in diff(ValueStream.load(WATCHED), ValueStream.load(WATCHED.replace(old, new)))]
    assert len(found) == (1 if says else 0)
    assert all(line.startswith(says) for line in found)


def test_what_is_right_has_no_hints(tmp_path):
    assert told(tmp_path, WATCHED) == {}


def test_a_stream_that_matters_and_tells_nobody(tmp_path):
    text = WATCHED[: WATCHED.index("alerts:")] + WATCHED[WATCHED.index("steps:") :]
    assert told(tmp_path, text) == {"missing-alerts": "value_stream"}
    assert told(tmp_path, text.replace("criticality: high", "criticality: low")) == {}


def test_an_alert_on_what_cannot_happen(tmp_path):
    text = WATCHED.replace('due: {time: "09:00", timezone: Europe/Berlin, days: 1}\n', "")
    assert told(tmp_path, text.replace(", due: {within: 90m}", ""))["idle-alert"] == "alerts[0].on[1]"
    nobody = WATCHED[: WATCHED.index("  ask:")]
    assert told(tmp_path, nobody) == {"idle-alert": "alerts[1].on[0]"}
    # A branch that leaves people time tells so when that begins, and nothing after a while.
    leaves_time = nobody + (
        "  way: {branch: {override_within: 1h, rules: [{when: steps.work.rc > 0, then: [go]}], otherwise: []},"
        " after: [work]}\n  go: {fail: {message: no}}\n"
    )
    assert told(tmp_path, leaves_time).get("idle-alert") == "alerts[1].on[0]"
    assert "idle-alert" not in told(tmp_path, leaves_time.replace("    after: 2h\n", ""))


def test_a_notifier_that_is_not_installed_here(tmp_path, monkeypatch):
    packages = {"slack": ("apache-airflow-providers-slack", "airflow.providers.no_slack")}
    monkeypatch.setattr(lint_alerts, "NOTIFIERS", packages)
    assert told(tmp_path, WATCHED) == {"missing-package": "alerts[1].to.slack"}
