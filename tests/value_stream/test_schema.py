"""The JSON Schemas that editors use say the same as the checks, as far as a schema can.

How a user would notice that it is fake: the editor underlines what ``lint`` calls right, such as a value of a profile,
a step that uses a fragment, or a connection that shared defaults give; or it says nothing of a key that is misspelt.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_enterprise_orch.cli import SCHEMAS
from airflow_enterprise_orch.delegation.system import step_types
from airflow_enterprise_orch.errors import OrchestrationError, TemplateError
from airflow_enterprise_orch.template_tools.cases import cases_schema
from airflow_enterprise_orch.template_tools.scaffold import scaffold
from airflow_enterprise_orch.value_stream.editor_schema import KINDS, editor_schema
from airflow_enterprise_orch.value_stream.model import ValueStream, json_schema
from airflow_enterprise_orch.value_stream.reading_own import OWN_KINDS
from airflow_enterprise_orch.value_stream.yaml_source import read_yaml
from tests.value_stream import test_composing

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = ROOT / "airflow_enterprise_orch"


@cache
def checker(kind: str) -> jsonschema.Draft202012Validator:
    schema = cases_schema() if kind == "cases" else editor_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def mistakes(text: str, kind: str = "template") -> list[str]:
    found = (
        jsonschema.exceptions.best_match([error]) for error in checker(kind).iter_errors(read_yaml(text, "x").data)
    )
    return [f"{error.json_path}: {error.message}" for error in found]


def kind_of(path: Path) -> str:
    named = next((kind for kind in SCHEMAS if path.name.endswith(f".{kind}.yaml")), "template")
    return "calendar" if path.parent.name == "calendars" else named


RIGHT = [
    *ROOT.glob("dag_templates/**/*.yaml"),
    *PACKAGE.glob("**/examples/**/*.yaml"),
    *HERE.glob("good/*.yaml"),
    *HERE.glob("whole/**/*.yaml"),
    *HERE.glob("composed/*.profile.yaml"),
    HERE / "composed" / "late.shared.yaml",
    HERE / "bad_calendars" / "calendars" / "fine.yaml",
]


@pytest.mark.parametrize("path", sorted(RIGHT), ids=lambda path: path.name)
def test_right_files_fit(path: Path) -> None:
    assert mistakes(path.read_text(encoding="utf-8"), kind_of(path)) == []


def written() -> Iterator[tuple[str, str]]:
    """Yield each whole template that stands in the documentation or in the code of tests, and where."""
    for path in (*ROOT.glob("docs/**/*.md"), ROOT / "README.md"):
        for text in re.findall(r"```yaml\n(value_stream: .*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            yield path.name, text
    for path in ROOT.glob("tests/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node.value.startswith("value_stream:")
            ):
                yield path.name, node.value


def test_every_right_template_in_texts_and_tests_fits() -> None:
    wrong, right = {}, 0
    for text, where in {text: where for where, text in written()}.items():
        try:
            ValueStream.load(text)
        except TemplateError:
            continue
        right += 1
        wrong |= {f"{where}: {text}": found} if (found := mistakes(text)) else {}
    assert wrong == {}
    assert right >= 20


def test_right_parts_of_templates_in_the_text_fit() -> None:
    for kind in ("profile", "shared", "calendar"):
        text = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
        found = re.findall(rf"```yaml\n({kind}: .*?)```", text, re.DOTALL)
        assert found
        assert [mistakes(one, kind) for one in found] == [[]] * len(found)


def test_a_new_template_fits(tmp_path: Path) -> None:
    template, cases = scaffold("fresh", tmp_path)
    assert mistakes(template.read_text()) == mistakes(cases.read_text(), "cases") == []


COMPOSED = {
    "values": test_composing.TestValues.TEXT,
    "limits": test_composing.HEAD + 'limits: {steps: "{{ values.live }}"}\nsteps: {a: {fail: {message: x}}}\n',
    "fragment": test_composing.HEAD
    + "use: [bank]\nsteps:\n  s: {use: {fragment: notify, with: {customer: x, limit: 5}}}\n"
    "  t: {after: [s], fail: {message: x}}\n",
    "defaults": "value_stream: s\ntitle: S\nuse: [bank]\nbusiness: {key: x}\n"
    "steps:\n  a: {unix.script: {command: /x}}\n  b: {after: [a], approval: {subject: x}}\n",
    "outputs": "value_stream: s\ntitle: S\nuse: [bank]\n"
    "steps:\n  a: {unix.script: {command: /x}, compensate: {unix.script: {command: /x}}}\n"
    "  b: {after: [a], unix.script: {command: /x}}\n",
}


@pytest.mark.parametrize("text", COMPOSED.values(), ids=COMPOSED)
def test_what_is_put_together_fits(text: str) -> None:
    test_composing.load(text)
    assert mistakes(text) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("template", "value_stream: s\ntitle: S\nbusiness: {domain: D}\nsteps: {a: {fail: {message: x}}}\n"),
        ("template", test_composing.HEAD + "steps: {s: {use: {fragmnet: f}}}\n"),
        ("template", test_composing.HEAD + "steps: {s: {use: {fragment: f}, unix.script: {connection: c}}}\n"),
        ("template", test_composing.HEAD + "limits: {steps: '{{ params.n }}'}\nsteps: {a: {fail: {message: x}}}\n"),
        ("template", test_composing.HEAD + "steps: {a: {unix.script: {command: /x}}}\n"),
        ("template", test_composing.HEAD + "use: [bank]\nsteps: {a: {unix.script: {comand: /x}}}\n"),
        (
            "template",
            test_composing.HEAD + "steps: {a: {unix.script: {connection: c, command: /x}, outputs: {o: {log: log}}}}\n",
        ),
        ("template", test_composing.HEAD + "tags:\nsteps: {a: {fail: {message: x}}}\n"),
        ("calendar", "calendar: c\nfrom: 2026\n"),
        ("calendar", "calendar: c\nfrom: 2026\nto: 2027\nholidays: {country: DE, market: XECB}\n"),
        ("calendar", "calendar: c\nextends: b\nweekend: [sun]\n"),
        ("calendar", "calendar: c\nextends: b\nclosed: [tomorrow]\n"),
        ("profile", "profile: p\n"),
        ("profile", "profile: p\nvalues: {a: '{{ params.x }}'}\n"),
        ("profile", "profile: p\nvalues: {a: {b: c}}\n"),
        ("profile", "profile: p\nvalues: {A: b}\n"),
        ("shared", "shared: s\n"),
        ("shared", "shared: s\ndefaults: {unix.scrpt: {connection: c}}\n"),
        ("shared", "shared: s\ndefaults: {unix.script: {conection: c}}\n"),
        ("shared", "shared: s\ndefaults: {steps: {outputs: {}}}\n"),
        ("shared", "shared: s\nfragments: {f: {steps: {}}}\n"),
        ("shared", "shared: s\nfragments: {f: {steps: {a: {unix.script: {comand: x}}}}}\n"),
        ("shared", "shared: s\nfragments: {f: {params: {p: {type: text}}, steps: {a: {fail: {message: x}}}}}\n"),
        ("cases", "cases: {a: {skips: [b]}}\n"),
    ],
)
def test_wrong_files_do_not_fit(kind: str, text: str) -> None:
    assert mistakes(text, kind)


def test_there_is_a_schema_of_every_kind_of_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert (*KINDS, "cases") == SCHEMAS
    with pytest.raises(OrchestrationError, match="there is no schema of 'tempalte'"):
        editor_schema("tempalte")


@pytest.mark.parametrize(
    "name",
    [
        "key_unknown_at_top", "key_unknown_in_step", "key_unknown_in_job", "key_missing_everywhere", "type_retry",
        "key_missing_connection", "type_wrong_everywhere", "type_steps_is_list", "type_ids", "step_type_unknown",
        "step_two_kinds", "step_none", "param_type", "branch_rule_keys", "branch_rule_mixed", "outcome_keys",
        "approval_keys", "decision_table_and_rows", "decision_table_names", "decision_table_otherwise",
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_key_or_a_type_does_not_fit(name: str) -> None:
    assert mistakes((HERE / "bad" / f"{name}.yaml").read_text(encoding="utf-8"))


def test_rows_in_a_file_fit() -> None:
    assert mistakes((HERE / "bad" / "decision_table_gap.yaml").read_text(encoding="utf-8")) == []


def test_every_step_type_is_there_with_its_words() -> None:
    kinds: list[dict[str, Any]] = json_schema()["properties"]["steps"]["additionalProperties"]["anyOf"]
    names = [kind["required"][0] for kind in kinds]
    assert names[: len(step_types())] == sorted(step_types())
    assert sorted(names) == sorted([*step_types(), *OWN_KINDS, "use"])
    for kind in kinds:
        for name, field in kind["properties"].items():
            assert name in (*OWN_KINDS, *step_types()) or field["description"]
