"""What changed, in business words."""

from __future__ import annotations

import json

import pytest

from airflow_enterprise_orch.template_tools.diff import diff
from airflow_enterprise_orch.value_stream.model import ValueStream
from tests.template_tools.samples import HEAD, SHIPPED, shipped, small

TEXT = SHIPPED.read_text(encoding="utf-8")


def changes(*pairs: tuple[str, str]) -> list[str]:
    text = TEXT
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return [change.text for change in diff(shipped(), ValueStream.load(text, name="new.yaml"))]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "connection: zos_prod",
            "connection: zos_new",
            "step check_credit: connection changed from 'zos_prod' to 'zos_new'",
        ),
        (
            "params.amount > 10000.0",
            "params.amount > 25000.0",
            "step route: rule 1 now asks if Amount is more than 25000; before if Amount is more than 10000",
        ),
        ("limits: {instances: 200", "limits: {instances: 50", "the stream: instances at a time changed from 200 to 50"),
        (
            "duplicates: reject",
            "duplicates: queue",
            "the stream: a second live instance with the same key changed from 'reject' to 'queue'",
        ),
        (
            "owner: customer-operations",
            "owner: sales",
            "the stream: owner changed from 'customer-operations' to 'sales'",
        ),
        ("    minimum: 0\n", "", "param amount: minimum removed, it was 0"),
        ("    default: Example Ltd\n", "", "param customer: it must be given, before otherwise 'Example Ltd'"),
        (
            "choices: [standard, large]",
            "choices: [standard, large, huge]",
            "param size: choices changed from standard and large to standard, large and huge",
        ),
        (
            "within: 2h\n      on_timeout",
            "within: 4h\n      on_timeout",
            "step approve: how long it waits changed from '2h' to '4h'",
        ),
        ("time_limit: 10m", "time_limit: 20m", "step provision_large: time limit changed from '10m' to '20m'"),
        ("    time_limit: 10m\n", "", "step provision_large: time limit removed, it was '10m'"),
        (
            "{on: [failed], times: 2, delay: 5s}",
            "{on: [failed], times: 3, delay: 1m}",
            "step provision_standard: retry changed from if failed: again, up to 2 times, 5s later "
            "to if failed: again, up to 3 times, 1m later",
        ),
        (
            "warning: rc == 4}",
            "warning: rc > 2}",
            "step check_credit: a warning when changed from the return code is 4 to the return code is more than 2",
        ),
        (
            "- otherwise: [provision_standard]",
            "- otherwise: [provision_large]",
            "step size: otherwise leads to provision_large, before to provision_standard",
        ),
        (
            "{on: [failed], times: 2, delay: 5s}",
            "{on: [failed], times: 2, delay: 5s, backoff: 2, max_delay: 1m}",
            "step provision_standard: retry changed from if failed: again, up to 2 times, 5s later "
            "to if failed: again, up to 2 times, 5s later, each further wait 2 times as long, at most 1m",
        ),
        (
            "    time_limit: 10m\n",
            "    time_limit: 10m\n    at_once: 3\n",
            "step provision_large: instances at once at work here added: 3",
        ),
        (
            "    time_limit: 10m\n",
            "    time_limit: 10m\n    priority: critical\n",
            "step provision_large: priority added: 'critical'",
        ),
        ("title: Order to", "priority: 5\ntitle: Order to", "the stream: priority added: 5"),
        (
            "program: ZPOST_INVOICE",
            "program: ZPOST_BILL",
            "step post_invoice: program changed from 'ZPOST_INVOICE' to 'ZPOST_BILL'",
        ),
    ],
)
def test_one_change_is_one_line(old: str, new: str, says: str) -> None:
    assert changes((old, new)) == [says]


def test_a_pool_that_a_step_holds() -> None:
    one = small("  a: {J, resource: {pool: sap}}\n")
    other = small("  a: {J, resource: {pool: zos, slots: 2}}\n")
    assert [change.text for change in diff(one, other)] == [
        "step a: holds slots of pool changed from 'sap' to 'zos'",
        "step a: slots held changed from 1 to 2",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# --- A person decides", "# --- Somebody decides"),
        ("time_limit: 10m", "time_limit: 600s"),
        ("limits: {instances: 200, steps: 20}", "limits: {steps: 20, instances: 200}"),
        ("after: [provision_standard, provision_large]", "after: [provision_large, provision_standard]"),
        ("    minimum: 0\n", "    minimum: 0.0\n"),
        ("title: Release the order\n", "title: 'Release the order'\n"),
    ],
)
def test_comments_layout_and_the_order_of_keys_are_no_change(old: str, new: str) -> None:
    assert changes((old, new)) == []


def test_steps_in_another_order_are_no_change() -> None:
    one = HEAD + "  a: {unix.script: {connection: c, script: run}}\n  b: {unix.script: {connection: d, script: run}}\n"
    other = (
        HEAD + "  b: {unix.script: {connection: d, script: run}}\n  a: {unix.script: {connection: c, script: run}}\n"
    )
    assert diff(ValueStream.load(one), ValueStream.load(other)) == ()


def test_a_step_that_only_changed_its_name_is_renamed_and_nothing_else() -> None:
    assert changes(("post_invoice", "bill_customer")) == ["step post_invoice is now called bill_customer"]


def test_a_step_that_comes_and_one_that_goes() -> None:
    found = changes(
        (
            "  update_crm:\n",
            "  tell_sales:\n    after: [certify]\n    unix.script: {connection: mail, script: run}\n\n  update_crm:\n",
        ),
        ("    outcome: {success: rc == 0}\n", ""),
    )
    assert "step tell_sales added: a unix.script on connection mail, after certify" in found
    gone = [
        c.text
        for c in diff(ValueStream.load(TEXT), ValueStream.load(TEXT[: TEXT.index("  # --- An existing task of")]))
    ]
    assert gone == [
        "step update_crm removed: it was a windows.task on connection dynamics, after deliver_share and deliver_post"
    ]


def test_a_rule_put_in_front_changes_no_other() -> None:
    first = '      - when: params.size == "large"\n'
    found = changes((first, '      - when: params.size == "huge"\n        then: [provision_large]\n' + first))
    assert found == ['step size: rule 1 added: if Size of the environment is "huge", to provision_large']


def test_rules_that_change_places() -> None:
    two = (
        HEAD
        + """\
  a: {branch: [{when: params.amount > 1.0, then: [b]}, {when: params.copies > 1, then: [c]}, {otherwise: []}]}
  b: {unix.script: {connection: c, script: run}}
  c: {unix.script: {connection: d, script: run}}
"""
    )
    swapped = two.replace(
        "{when: params.amount > 1.0, then: [b]}, {when: params.copies > 1, then: [c]}",
        "{when: params.copies > 1, then: [c]}, {when: params.amount > 1.0, then: [b]}",
    )
    assert [c.text for c in diff(ValueStream.load(two), ValueStream.load(swapped))] == [
        "step a: the rules are asked in another order"
    ]


def test_a_step_that_does_something_else() -> None:
    new = HEAD + "  a: {approval: {subject: Well?}}\n"
    old = HEAD + "  a: {unix.script: {connection: c, script: run}}\n"
    (change,) = diff(ValueStream.load(old), ValueStream.load(new))
    assert change.text == "step a does something else: it was a unix.script on connection c, now an approval"


def test_for_tools() -> None:
    (change,) = diff(shipped(), ValueStream.load(TEXT.replace("zos_prod", "zos_new")))
    assert json.loads(json.dumps(change.to_json())) == {
        "kind": "changed",
        "where": "steps.check_credit.mainframe.job.connection",
        "text": "step check_credit: connection changed from 'zos_prod' to 'zos_new'",
        "old": "zos_prod",
        "new": "zos_new",
    }


def test_that_all_rules_that_hold_are_taken_now_is_a_change() -> None:
    rest = "  a: {J}\n  b: {J}\n"
    rules = "{when: params.amount > 10.0, then: [a]}, {when: params.amount > 1.0, then: [b]}"
    first = small(f"  route: {{branch: [{rules}, {{otherwise: []}}]}}\n{rest}")
    same = small(f"  route: {{branch: {{match: first, rules: [{rules}], otherwise: []}}}}\n{rest}")
    every = small(f"  route: {{branch: {{match: all, rules: [{rules}], otherwise: []}}}}\n{rest}")
    assert diff(first, same) == ()
    assert [change.text for change in diff(first, every)] == [
        "step route: which rules that hold are taken changed from 'first' to 'all'"
    ]
