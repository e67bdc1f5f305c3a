"""What changed in what chooses, in lists, groups and calendars: in words, not in the template's own keys.

How a user would notice that it is fake: the owner of a table reads brackets and braces; a day that the calendar closes
now, or a group that is called otherwise, is not told at all.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_enterprise_orch.template_tools.diff import diff
from airflow_enterprise_orch.value_stream.model import ValueStream
from tests.template_tools.samples import HEAD, small

TABLE = """\
  grade: {J, outputs: {limit: {log: log, match: '(x)', type: integer}}}
  rate:
    after: [grade]
    decision:
      inputs: {amount: params.amount, limit: steps.grade.limit, grade: params.grade}
      outputs: {fee: number, name: string}
      rows:
        - {when: {amount: "> 100", grade: [A, B]}, then: {fee: 5, name: large}}
        - {when: {limit: "[1..10)", grade: B}, then: {fee: 2.5, name: small}}
        - otherwise: {fee: 0, name: "none"}
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "fee: 5, name: large",
            "fee: 6, name: large",
            ['row 1 gives fee 6 and name "large", before fee 5 and name "large"'],
        ),
        (
            'amount: "> 100", grade: [A, B]',
            'amount: "<= 100.5"',
            ['row 1 now asks if Amount is at most 100.5; before if Amount is more than 100 and grade is "A" or "B"'],
        ),
        (
            '        - {when: {limit: "[1..10)", grade: B}, then: {fee: 2.5, name: small}}\n',
            "",
            ['row 2 removed: if limit is at least 1 and less than 10 and grade is "B", then fee 2.5 and name "small"'],
        ),
        (
            "        - otherwise",
            "        - {when: {limit: '!= 3', amount: 7}, then: {fee: 1, name: odd}}\n        - otherwise",
            ['row 3 added: if limit is not 3 and Amount is 7, then fee 1 and name "odd"'],
        ),
        (
            "        - otherwise: {fee: 0",
            "        - otherwise: {fee: 9",
            ['when no row fits, it gives fee 9 and name "none"; before it gives fee 0 and name "none"'],
        ),
        (
            '        - otherwise: {fee: 0, name: "none"}\n',
            "        - {when: {}, then: {fee: 0, name: 'none'}}\n",
            [
                'row 3 added: if nothing else fits, then fee 0 and name "none"',
                'when no row fits, that cannot happen; before it gives fee 0 and name "none"',
            ],
        ),
        (
            "amount: params.amount,",
            "amount: params.copies,",
            ["input amount now reads params.copies, before params.amount"],
        ),
        (
            "fee: number, name: string",
            "fee: integer, name: string",
            None,
        ),
        ("    decision:\n", "    decision:\n      hit: unique\n", None),
    ],
)
def test_a_changed_table_is_told_in_words(old: str, new: str, says: list[str] | None) -> None:
    text = TABLE.replace("fee: 2.5", "fee: 2") if "integer" in new and "fee" in new else TABLE
    if "hit" in new:
        text = text.replace("grade: [A, B]", "grade: A")
    assert old in text
    says = says or [
        "output fee now is a whole number, before a number"
        if "fee" in new
        else "hit policy changed from 'first' to 'unique'"
    ]
    found = [change.text for change in diff(small(text), small(text.replace(old, new, 1)))]
    assert found == [f"step rate: {one}" for one in says]


def test_rows_that_change_places_and_rows_that_ask_the_same_twice() -> None:
    first, second = TABLE.splitlines(keepends=True)[7:9]
    swapped = TABLE.replace(first + second, second + first)
    assert [one.text for one in diff(small(TABLE), small(swapped))] == [
        "step rate: the rows are asked in another order"
    ]


CHOICE = """\
  ask:
    choice:
      subject: Which way?
      options:
        left: {title: To the left, then: [a]}
        right: {title: To the right, then: [b]}
  a: {J}
  b: {J}
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("title: To the left", "title: Left", 'answer left is now called "Left", before "To the left"'),
        ("To the left, then: [a]", "To the left, then: [a, b]", "answer left leads to a and b, before to a"),
        ("To the left, then: [a]", "To the left, then: []", None),
        (
            "        right:",
            "        stay: {title: Stay, then: []}\n        right:",
            'answer stay added: "Stay", to the end of the path',
        ),
        ("Which way?", "Where to?", "subject changed from 'Which way?' to 'Where to?'"),
    ],
)
def test_a_changed_choice_is_told_in_words(old: str, new: str, says: str | None) -> None:
    text = CHOICE.replace("then: [b]", "then: [a, b]") if says is None else CHOICE
    found = [change.text for change in diff(small(text), small(text.replace(old, new)))]
    assert found == [f"step ask: {says or 'answer left leads to the end of the path, before to a'}"]


def test_an_answer_that_is_gone() -> None:
    more = CHOICE.replace("        right:", "        stay: {title: Stay, then: []}\n        right:")
    (change,) = diff(small(more), small(CHOICE))
    assert change.text == 'step ask: answer stay removed: it was "Stay", to the end of the path'
    assert (change.kind, change.where) == ("removed", "steps.ask.choice.options.stay")


LISTED = HEAD.replace("params:\n", "params:\n  codes: {type: list, items: string, default: [x]}\n")
ONCE = "  a: {unix.script: {connection: c, command: /x}}\n"
EACH = "  a: {unix.script: {connection: c, command: '/x/{{ item }}'}, for_each: {item: params.codes, max: 50}}\n"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (ONCE, EACH, "step a is done for each item of params.codes, at most 50, before once"),
        (
            EACH.replace("50}", "50, at_once: 5}"),
            ONCE,
            "step a is done once, before for each item of params.codes, at most 50, 5 at a time",
        ),
        (EACH, EACH.replace("50}", "60}"), "step a: items at most changed from 50 to 60"),
        (EACH, EACH.replace("50}", "50, at_once: 5}"), "step a: items at a time added: 5"),
    ],
)
def test_work_for_each_item_is_told_in_words(old: str, new: str, says: str) -> None:
    found = [change.text for change in diff(small(old, LISTED), small(new, LISTED))]
    assert [text for text in found if "command" not in text] == [says]


GROUPS = "groups: {inner: {title: Inside, group: outer}, outer: {title: Outside}}\nsteps:\n"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("title: Inside", "title: Within", "group inner is now called 'Within', before 'Inside'"),
        ("{title: Outside}", "{}", "group outer is now called by its id, before 'Outside'"),
        (", group: outer", "", "group inner stands in no other, before in group outer"),
        ("{inner:", "{deep: {group: inner}, inner:", "group deep added: without a title, in group inner"),
    ],
)
def test_changed_groups_are_told(old: str, new: str, says: str) -> None:
    head = HEAD.replace("steps:\n", GROUPS)
    one, other = (
        small("  a: {J, group: inner}\n  b: {J, group: outer}\n" + ("  c: {J, group: deep}\n" if more else ""), text)
        for text, more in ((head, False), (head.replace(old, new), "deep" in new))
    )
    assert [change.text for change in diff(one, other) if change.where.startswith("groups")] == [says]


def test_changed_days_of_a_calendar_are_told(tmp_path: Path) -> None:
    calendar = tmp_path / "calendars" / "office.yaml"
    calendar.parent.mkdir()
    template = tmp_path / "s.yaml"
    schedule = "schedule: {cron: '0 6 * * *', calendar: office}\n"
    template.write_text(HEAD.replace("params:", f"{schedule}params:") + "  a: {fail: {message: x}}\n")
    texts = [
        "calendar: office\nfrom: 2026\nto: 2027\nclosed: [2026-12-24]\nopen: [2026-12-05]\n",
        "calendar: office\nfrom: 2026\nto: 2028\nweekend: [friday]\nopen: [2026-12-11]\nclosed: "
        "[2026-12-28, 2026-12-29, 2026-12-30, 2026-12-31, 2027-12-24, 2027-12-27, 2027-12-28]\n",
    ]
    streams = []
    for text in texts:
        calendar.write_text(text)
        streams.append(ValueStream.load(template))
    assert [change.text for change in diff(*streams)] == [
        "calendar office covers 2026-01-01 to 2028-12-31, before 2026-01-01 to 2027-12-31",
        "calendar office closes on Friday each week, before on Saturday and Sunday",
        "calendar office is closed on 2026-12-28, 2026-12-29, 2026-12-30, 2026-12-31, 2027-12-24 and 2 other days now",
        "calendar office is no longer closed on 2026-12-24",
        "calendar office works on 2026-12-11 now, which would be closed",
        "calendar office no longer works on 2026-12-05, which would be closed",
    ]
    assert diff(streams[0], streams[0]) == ()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "  a: {J, outputs: {o: {log: log, match: '(x)'}}}\n",
            "  a: {J, outputs: {o: {log: log, match: '(y)'}}}\n",
            "output o: what it is found by changed from '(x)' to '(y)'",
        ),
        (
            "  a: {J, compensate: {J}}\n  b: {J, after: [a]}\n",
            "  a: {J, compensate: {J, time_limit: 1h}}\n  b: {J, after: [a]}\n",
            "what undoes it: time limit added: '1h'",
        ),
        (
            "  a: {J, compensate: {J}}\n  b: {J, after: [a]}\n",
            "  a: {J, compensate: {unix.script: {connection: c, script: undo}}}\n  b: {J, after: [a]}\n",
            "what undoes it: script changed from 'run' to 'undo'",
        ),
        (
            "  a: {unix.script: {connection: c, command: /x}}\n",
            "  a: {unix.script: {connection: c, command: /x, env: {}}}\n",
            "env added: nothing",
        ),
    ],
)
def test_what_lies_deeper_is_told_in_words(old: str, new: str, says: str) -> None:
    assert [change.text for change in diff(small(old), small(new))] == [f"step a: {says}"]


def test_the_order_of_what_has_none_is_no_other_version() -> None:
    one = small("  a: {J}\n  b: {J}\n  c: {J, after: [a, b], publishes: [x, y], retry: [{on: [failed, lost]}]}\n")
    other = small("  a: {J}\n  b: {J}\n  c: {J, after: [b, a], publishes: [y, x], retry: [{on: [lost, failed]}]}\n")
    assert (diff(one, other), one.digest()) == ((), other.digest())
