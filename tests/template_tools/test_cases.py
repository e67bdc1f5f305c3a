"""A template's own cases."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from airflow_enterprise_orch.cli import main
from airflow_enterprise_orch.errors import OrchestrationError, TemplateError
from airflow_enterprise_orch.template_tools.cases import FileReport, find_cases, run_cases
from airflow_enterprise_orch.template_tools.given import read_sheet
from airflow_enterprise_orch.template_tools.report import case_lines
from airflow_enterprise_orch.value_stream.loader import load_value_streams, report_template_errors
from airflow_enterprise_orch.value_stream.template_folder import find_templates, read_templates
from tests.template_tools.samples import BRANCHING, HEAD, ROOT, SHIPPED, SHIPPED_CASES

TEMPLATE = HEAD + BRANCHING.replace("J", "unix.script: {connection: c, script: run}")


def run(folder: Path, cases: str) -> FileReport:
    (folder / "small.yaml").write_text(TEMPLATE, encoding="utf-8")
    (folder / "small.cases.yaml").write_text(cases, encoding="utf-8")
    return run_cases(folder / "small.yaml", folder / "small.cases.yaml")


def test_the_schema_takes_right_cases_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--cases"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(read_sheet(SHIPPED_CASES).data)] == []
    case = {"takes": ["book"]}
    assert validator.is_valid({"cases": {"small": case}})
    wrong: list[dict[str, object]] = [
        {},
        {"cases": {}},
        {"cases": {"small": {}}},
        {"cases": {"small": {**case, "ends": "well"}}},
        {"cases": {"small": {**case, "take": ["book"]}}},
        {"cases": {"small": {**case, "takes": "book"}}},
        {"cases": {"small": {**case, "results": {"book": 4}}}},
        {"cases": {"small": case}, "result": {}},
    ]
    assert [validator.is_valid(data) for data in wrong] == [False] * len(wrong)


ALL = """\
results: {book: {grade: A}}
cases:
  small: {takes: [book, route, send]}
  large: {params: {amount: 11}, results: {ask: {answer: approved}}, takes: [book, route, ask, send]}
  rejected: {params: {amount: 11}, results: {ask: {answer: rejected}}, takes: [book, route, ask]}
  risky: {results: {book: {grade: B}}, takes: [book, route, check, send], skips: [ask]}
"""


@pytest.mark.parametrize(("template", "cases"), [*find_cases(ROOT / "dag_templates")], ids=lambda path: path.name)
def test_the_shipped_templates_have_cases_for_all_their_paths(template: Path, cases: Path) -> None:
    report = run_cases(template, cases)
    assert [case.differences for case in report.cases if not case.passed] == []
    assert report.hints == ()
    assert len(report.cases) >= 7


def test_every_shipped_template_has_its_cases() -> None:
    found = list(find_cases(ROOT / "dag_templates"))
    assert [template for template, _cases in found] == [path for _name, path in find_templates(ROOT / "dag_templates")]
    assert list(find_cases(SHIPPED)) == list(find_cases(SHIPPED_CASES)) == [(SHIPPED, SHIPPED_CASES)]


def test_all_pass(tmp_path: Path) -> None:
    report = run(tmp_path, ALL)
    assert all(case.passed for case in report.cases)
    assert list(case_lines(report)) == [f"{tmp_path / 'small.yaml'}: 4 cases, all passed"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("small: {takes: [book, route, send]}", "small: {takes: [book, route]}", ["send runs, but is not in takes"]),
        (
            "takes: [book, route, ask, send]}",
            "takes: [book, route, check, send], skips: [ask]}",
            ["ask runs, but is not in takes: it is in skips", "check does not run: skipped, not chosen by route"],
        ),
        (
            "results: {ask: {answer: rejected}}, takes: [book, route, ask]}",
            "results: {ask: {answer: rejected}}, takes: [book, route, ask, send], ends: failed}",
            ["send does not run: skipped, ask was rejected", "ends: success, not failed"],
        ),
        (
            "risky: {results: {book: {grade: B}}",
            "risky: {results: {book: {rc: 8}}",
            [
                "route does not run: stopped, book failed",
                "check does not run: stopped, book failed",
                "send does not run: stopped, book failed",
                "ends: failed, not success (book failed: failed (rc 8))",
            ],
        ),
    ],
)
def test_a_case_that_fails_says_how_the_path_differs(tmp_path: Path, old: str, new: str, says: list[str]) -> None:
    assert old in ALL
    report = run(tmp_path, ALL.replace(old, new))
    (failed,) = [case for case in report.cases if not case.passed]
    assert list(failed.differences) == says
    lines = list(case_lines(report))
    assert lines[0] == f"{tmp_path / 'small.cases.yaml'}:{failed.line} FAILED {failed.name}"
    assert lines[-1].endswith("4 cases, 1 failed")


def test_a_missing_value_fails_the_case_and_is_named(tmp_path: Path) -> None:
    report = run(tmp_path, "cases:\n  one: {takes: [book]}\n")
    (case,) = report.cases
    assert "needs steps.book.grade, which is not given" in case.differences[0]


def test_ways_that_no_case_takes_are_hints_and_no_failure(tmp_path: Path) -> None:
    report = run(tmp_path, "results: {book: {grade: B}}\ncases:\n  one: {takes: [book, route, check, send]}\n")
    assert all(case.passed for case in report.cases)
    assert report.hints == (
        "route: no case takes rule 1 (params.amount > 10.0), to ask",
        "route: no case takes otherwise, to send",
    )
    assert json.loads(json.dumps(report.to_json()))["hints"] == list(report.hints)


@pytest.mark.parametrize(
    ("cases", "says"),
    [
        (
            "cases: {one: {tkes: [book]}}",
            "1:15 cases.one.tkes: there is no key 'tkes' here, did you mean 'takes', correct it",
        ),
        ("cases: {}", "must not be empty|has 0 entries"),
        ("casses: {one: {takes: []}}", "there is no key 'casses' here, did you mean 'cases'"),
        (
            "cases: {one: {takes: [bok]}}",
            "1:23 cases.one.takes[0]: there is no step 'bok', did you mean 'book', name a step",
        ),
        ("cases: {one: {takes: [book, book]}}", "step 'book' is in takes twice, remove one of them"),
        ("cases: {one: {takes: [book], skips: [book]}}", "step 'book' is in takes and in skips, remove one of them"),
        ("cases: {one: {takes: [route, book]}}", "step 'route' runs after 'book', put it behind 'book'"),
        ("cases: {one: {takes: [book], params: {amount: x}}}", "the param's type is 'number', this is the text 'x'"),
        ("cases: {one: {takes: [book], results: {bok: {rc: 0}}}}", "there is no step 'bok', did you mean 'book'"),
        ("results: {book: {rc: x}}\ncases: {one: {takes: [book]}}", "1:22 results.book.rc: must be a whole number"),
        ("cases: {one: {takes: [book], ends: well}}", "use success or failed"),
    ],
)
def test_a_wrong_file_of_cases_says_where(tmp_path: Path, cases: str, says: str) -> None:
    with pytest.raises(TemplateError) as caught:
        run(tmp_path, cases)
    assert any(one in str(caught.value) for one in says.split("|"))
    assert all("small.cases.yaml:" in line for line in str(caught.value).splitlines())


def test_no_door_takes_cases_for_a_template(tmp_path: Path) -> None:
    run(tmp_path, ALL)
    (tmp_path / "other.cases.yml").write_text("cases: {}\n", encoding="utf-8")
    assert [name for name, _ in find_templates(tmp_path)] == ["small.yaml"]
    assert [template.stream for template in read_templates(tmp_path)] == ["small"]
    namespace: dict[str, object] = {}
    load_value_streams(tmp_path, namespace)
    report_template_errors(tmp_path, namespace)
    assert list(namespace) == ["small"]


def test_the_example_of_the_reference_is_right(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
    (template,) = re.findall(r"```yaml\n(value_stream: order_to_certificate.*?)```", text, re.DOTALL)
    (cases,) = re.findall(r"```yaml\n([^`]*?\ncases:.*?)```", text, re.DOTALL)
    (tmp_path / "o.yaml").write_text(template, encoding="utf-8")
    (tmp_path / "o.cases.yaml").write_text(cases, encoding="utf-8")
    report = run_cases(tmp_path / "o.yaml", tmp_path / "o.cases.yaml")
    assert [case.differences for case in report.cases] == [(), (), ()]


def test_where_there_are_no_cases(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(TEMPLATE, encoding="utf-8")
    for path, says in (
        (tmp_path, "no template in this folder has cases"),
        (tmp_path / "small.yaml", "it has no cases; write them into small.cases.yaml beside it"),
        (tmp_path / "none.yaml", "there is no such file or folder"),
    ):
        with pytest.raises(OrchestrationError, match=says):
            list(find_cases(path))
    (tmp_path / "lost.cases.yaml").write_text(ALL, encoding="utf-8")
    with pytest.raises(OrchestrationError, match=r"its template lost\.yaml is not beside it"):
        list(find_cases(tmp_path / "lost.cases.yaml"))
