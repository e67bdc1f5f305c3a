"""What an author gives: read strictly, with the place of every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_enterprise_orch.errors import OrchestrationError, TemplateError
from airflow_enterprise_orch.template_tools.given import (
    check_params,
    check_required,
    check_results,
    read_sheet,
    with_defaults,
)
from tests.template_tools.samples import shipped


def sheet(folder: Path, text: str, name: str = "g.yaml") -> Any:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_sheet(path)


def problems(check: Any, document: Any) -> list[str]:
    return [str(problem).partition("g.yaml:")[2] for problem in check(shipped(), document, (), document.data)]


def test_params_are_checked_as_the_form_would(tmp_path: Path) -> None:
    text = "order_id: ORD-1\namount: -1\nsize: huge\namuont: 5\ncustomer: 5\ndelivery: post\n"
    assert problems(check_params, sheet(tmp_path, text)) == [
        "1:11 order_id: param 'order_id': 'ORD-1' does not match the param's pattern, correct one of them",
        "2:9 amount: param 'amount': -1 is below the minimum 0, correct one of them",
        "3:7 size: param 'size': 'huge' is none of the choices, use standard or large",
        "4:1 amuont: there is no param 'amuont', did you mean 'amount', known are order_id, amount, customer, "
        "proposed_class, size and delivery",
        "5:11 customer: param 'customer': the param's type is 'string', this is the number 5, put it in quotes",
    ]


def test_params_that_are_needed_are_named(tmp_path: Path) -> None:
    assert problems(check_required, sheet(tmp_path, "size: large\n")) == [
        "1:1 order_id: param 'order_id' is needed and not given, add order_id: and a string",
        "1:1 amount: param 'amount' is needed and not given, add amount: and a number",
    ]
    assert with_defaults(shipped(), {"amount": 1})["size"] == "standard"


def test_results_are_checked_against_the_steps(tmp_path: Path) -> None:
    text = """\
check_credti: {rc: 0}
check_credit: {rc: four, credit_clas: A, outcome: sucess, outputs: {credit_class: 5, grade: A}}
book_order: 4
approve: {answer: yes}
route: {chooses: [size, certify]}
size: {chooses: []}
post_invoice:
certify: {rc: null, system: s3, started: now, ended: later, link: https://x}
"""
    assert problems(check_results, sheet(tmp_path, text)) == [
        "1:1 check_credti: there is no step 'check_credti', did you mean 'check_credit', name a step",
        "2:20 check_credit.rc: must be a whole number, not the text 'four', write a whole number",
        "2:26 check_credit.credit_clas: step 'check_credit' has no 'credit_clas', did you mean 'credit_class', "
        "known are code, credit_class, ending, job_id, outcome, outputs and rc",
        "2:51 check_credit.outcome: 'sucess' is not possible here, did you mean 'success', "
        "use success, warning or failed",
        "2:83 check_credit.outputs.credit_class: must be a text, not the number 5, write a text",
        "2:86 check_credit.outputs.grade: step 'check_credit' has no output 'grade', it has credit_class",
        "3:13 book_order: a result must hold keys, not the number 4, write such as {rc: 0}",
        "4:19 approve.answer: 'yes' is not possible here, use approved, rejected or nobody",
        "5:25 route.chooses[1]: 'certify' is not possible here, use approve or size",
        "6:17 size.chooses: chooses no step, use provision_large or provision_standard",
        "7:1 post_invoice: a result must hold keys, not nothing, write such as {rc: 0}",
    ]


def test_json_is_read_too(tmp_path: Path) -> None:
    assert sheet(tmp_path, '{"amount": 5, "size": "large"}', "g.json").data == {"amount": 5, "size": "large"}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("g.json", '{"a": 1, "a": 2}', "g.json:1:1 template: the key 'a' is here twice, remove one of them"),
        ("g.json", '{"a": NaN}', "g.json:1:1 template: NaN is no JSON, write a number"),
        ("g.json", '{"a": 1,\n "b"}', "g.json:2:5 template: this is no JSON (Expecting ':' delimiter), correct it"),
        ("g.json", "[" * 100_000, "g.json:1:1 template: nests too deeply, make it flatter"),
        ("g.yaml", "- a\n", "g.yaml:1:1 template: the file must hold keys, not a list, write 'name: value'"),
        ("g.yaml", "a: 1\na: 2\n", "g.yaml:2:1 a: the key 'a' is here twice, first in line 1, remove one of them"),
        ("g.yaml", "a: !!python/name:os.system\n", "the tag !!python/name:os.system is not available in templates"),
        ("g.yaml", "a: &x 1\nb: *x\n", "the anchor &x is not available in templates"),
        ("g.yaml", "a: [1\n", "a bracket is not closed"),
    ],
)
def test_what_cannot_be_read_says_where(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(TemplateError) as caught:
        sheet(tmp_path, text, name)
    assert says in str(caught.value)


def test_an_empty_file_gives_nothing_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    assert sheet(tmp_path, "\n").data == {}
    with pytest.raises(OrchestrationError, match=r"none\.yaml: cannot be read \(No such file or directory\)"):
        read_sheet(tmp_path / "none.yaml")
