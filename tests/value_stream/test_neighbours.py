"""Streams that run or await one another, compared by lint where their templates lie in one folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_enterprise_orch.cli import main

OTHER = """\
value_stream: close_company
title: Close
business: {domain: D, owner: o}
params:
  company: {type: string, pattern: "^[A-Z]+$"}
  month: {type: integer, minimum: 1, maximum: 12}
  limit: {type: number, default: 1}
  kind: {type: string, choices: [hard, soft], default: hard}
steps:
  certify: {unix.script: {connection: c, script: x}, outputs: {pages: {log: log, match: (x), type: integer}}}
"""
HEAD = """\
value_stream: group
title: Group
business: {domain: D, owner: o}
params: {company: {type: string, default: A}, month: {type: integer, default: 1}, day: {type: string, default: x}}
steps:
"""


def lint(folder: Path, capsys: pytest.CaptureFixture[str], steps: str, other: str = OTHER) -> list[str]:
    (folder / "other.yaml").write_text(other)
    (folder / "group.yaml").write_text(HEAD + steps)
    code = main(["lint", str(folder / "group.yaml")])
    told = [line for line in capsys.readouterr().out.splitlines() if " warning (" not in line]
    lines = [line.removeprefix(f"{folder}/") for line in told]
    assert code == (1 if lines else 0)
    return lines


def close(params: str, more: str = "") -> str:
    return f"  close: {{stream: {{run: close_company, params: {{{params}}}}}{more}}}\n"


RIGHT = 'company: "{{ params.company }}", month: "{{ params.month }}"'


def test_what_fits_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = RIGHT + ', limit: "{{ params.month }}"'
    step = close(given, ", outputs: {n: {step: certify, value: pages, type: number}}")
    assert lint(tmp_path, capsys, step) == []


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            "  close: {stream: {run: close_compny}}\n",
            "6:25 steps.close.stream.run: there is no stream 'close_compny' in this folder, did you mean "
            "'close_company', correct it, or add 'elsewhere: true' when its template is in another folder",
        ),
        (
            "  close: {stream: {run: close_company, elsewhere: true, params: {company: A, month: 1}}}\n",
            "6:40 steps.close.stream.elsewhere: the stream 'close_company' is in this folder, remove elsewhere",
        ),
        (
            close(f"{RIGHT}, companny: A"),
            "6:111 steps.close.stream.params.companny: stream 'close_company' has no param 'companny', did you mean "
            "'company', it has company, month, limit and kind",
        ),
        (
            close("company: A"),
            "6:40 steps.close.stream.params: stream 'close_company' needs param 'month', which is not given, add "
            "month: and its value",
        ),
        (
            close('company: A, month: "{{ params.day }}"'),
            "6:68 steps.close.stream.params.month: param 'month' of 'close_company': its type is 'integer', params.day "
            "is of type 'string', hand on a value of its type",
        ),
        (
            close('company: A, month: "1{{ params.month }}"'),
            "6:68 steps.close.stream.params.month: param 'month' of 'close_company': its type is 'integer', this "
            "becomes a text, hand on one value alone, {{ params.<name> }}",
        ),
        (
            close("company: A, month: 13"),
            "6:68 steps.close.stream.params.month: param 'month' of 'close_company': 13 is above the maximum 12, "
            "correct one of them",
        ),
        (
            close("company: a, month: 1"),
            "6:58 steps.close.stream.params.company: param 'company' of 'close_company': 'a' does not match the "
            "param's pattern, correct one of them",
        ),
        (
            close("company: A, month: 1, kind: softly"),
            "6:77 steps.close.stream.params.kind: param 'kind' of 'close_company': 'softly' is none of the choices, "
            "use hard or soft",
        ),
        (
            close(RIGHT, ", outputs: {n: {step: certfy, value: pages}}"),
            "6:133 steps.close.outputs.n.step: stream 'close_company' has no step 'certfy', did you mean 'certify', it "
            "has certify",
        ),
        (
            close(RIGHT, ", outputs: {n: {step: certify, value: page, type: integer}}"),
            "6:149 steps.close.outputs.n.value: step 'certify' of 'close_company' leaves no value 'page', did you mean "
            "'pages', it leaves code, job_id, outcome, pages and rc",
        ),
        (
            close(RIGHT, ", outputs: {n: {step: certify, value: pages}}"),
            "6:126 steps.close.outputs.n: 'pages' of step 'certify' is of type 'integer', not 'string', write type: "
            "integer",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], step: str, message: str
) -> None:
    assert lint(tmp_path, capsys, step) == [f"group.yaml:{message}"]


LEDGER = """\
value_stream: ledger
title: Ledger
business: {domain: D, owner: o, key: "{{ params.n }}", announce: [business_date]}
params: {n: {type: integer, default: 0}}
steps:
  close: {unix.script: {connection: c, script: x}}
"""


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("{stream: ledger, step: close, offset: -1}", ""),
        ("{stream: world, elsewhere: true}", ""),
        (
            "{stream: legder}",
            "6:29 steps.wait.wait_for.stream: there is no stream 'legder' in this folder, did you mean 'ledger', "
            "correct it, or add 'elsewhere: true' when its template is in another folder",
        ),
        (
            "{stream: ledger, elsewhere: true}",
            "6:37 steps.wait.wait_for.elsewhere: the stream 'ledger' is in this folder, remove elsewhere",
        ),
        (
            '{stream: ledger, key: "4"}',
            "6:29 steps.wait.wait_for.stream: the instances of 'ledger' do not tell their business key, add announce: "
            "[business_key] to the business block of 'ledger'",
        ),
        (
            "{stream: group, offset: -1}",
            "6:29 steps.wait.wait_for.stream: the instances of 'group' do not tell their business date, add announce: "
            "[business_date] to the business block of 'group'",
        ),
        (
            "{stream: ledger, step: cloes}",
            "6:43 steps.wait.wait_for.step: stream 'ledger' has no step 'cloes', did you mean 'close', it has close",
        ),
    ],
)
def test_a_stream_that_is_waited_for_is_there_and_tells_of_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], step: str, message: str
) -> None:
    found = lint(tmp_path, capsys, f"  wait: {{wait_for: {step}}}\n", LEDGER)
    assert found == ([f"group.yaml:{message}"] if message else [])


@pytest.mark.parametrize(
    ("mine", "others", "circle"),
    [
        ("", "", True),
        ("", ", step: wait", False),  # a milestone: the two may hand over to one another
        (", offset: -1", "", False),
        ("", ', key: "4"', False),
    ],
)
def test_streams_that_wait_for_one_another_for_ever_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mine: str, others: str, circle: bool
) -> None:
    told = "announce: [business_date, business_key]"
    head = HEAD.replace("owner: o", f'owner: o, key: "{{{{ params.day }}}}", {told}')
    (tmp_path / "group.yaml").write_text(head + f"  wait: {{wait_for: {{stream: ledger{mine}}}}}\n")
    ledger = LEDGER.replace("announce: [business_date]", told)
    (tmp_path / "ledger.yaml").write_text(ledger + f"  back: {{wait_for: {{stream: group{others}}}}}\n")
    assert main(["lint", str(tmp_path)]) == (1 if circle else 0)
    out = capsys.readouterr().out
    assert ("the streams wait for one another in a circle: group -> ledger -> group, remove" in out) == circle


def test_a_circle_over_files_is_told_in_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    third = "value_stream: third\ntitle: T\nbusiness: {domain: D, owner: o}\nsteps:\n  a: {stream: {run: group}}\n"
    (tmp_path / "third.yaml").write_text(third)
    back = OTHER + "  back: {stream: {run: third}}\n"
    (line,) = lint(tmp_path, capsys, close(RIGHT), back)
    assert "the streams go round in a circle: group -> close_company -> third -> group, remove one" in line
    assert main(["lint", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("go round in a circle") == 3


def test_a_stream_whose_template_is_wrong_is_no_unknown_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lint(tmp_path, capsys, close(RIGHT), OTHER.replace("type: string", "type: sting")) == []
