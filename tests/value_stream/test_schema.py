"""The JSON Schema that editors use says the same as the checks, as far as a schema can."""

from pathlib import Path

import jsonschema
import pytest

from airflow_enterprise_orch.delegation.system import step_types
from airflow_enterprise_orch.value_stream.model import json_schema
from airflow_enterprise_orch.value_stream.reading_own import OWN_KINDS
from airflow_enterprise_orch.value_stream.yaml_source import read_yaml

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def validator():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", sorted((HERE / "good").glob("*.yaml")), ids=lambda path: path.stem)
def test_good_templates_fit(validator, path):
    document = read_yaml(path.read_text(encoding="utf-8"), path.name)
    assert [error.message for error in validator.iter_errors(document.data)] == []


@pytest.mark.parametrize(
    "name",
    [
        "key_unknown_at_top", "key_unknown_in_step", "key_unknown_in_job", "key_missing_everywhere", "type_retry",
        "key_missing_connection", "type_wrong_everywhere", "type_steps_is_list", "type_ids", "step_type_unknown",
        "step_two_kinds", "step_none", "param_type", "branch_rule_keys", "branch_rule_mixed", "outcome_keys",
        "approval_keys", "decision_table_and_rows", "decision_table_names", "decision_table_otherwise",
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_key_or_a_type_does_not_fit(validator, name):
    document = read_yaml((HERE / "bad" / f"{name}.yaml").read_text(encoding="utf-8"), name)
    assert not validator.is_valid(document.data)


def test_rows_in_a_file_fit(validator):
    data = read_yaml((HERE / "bad" / "decision_table_gap.yaml").read_text(encoding="utf-8"), "gap").data
    assert [error.message for error in validator.iter_errors(data)] == []


def test_every_step_type_is_there_with_its_words():
    kinds = json_schema()["properties"]["steps"]["additionalProperties"]["anyOf"]
    names = [kind["required"][0] for kind in kinds]
    assert names[: len(step_types())] == sorted(step_types())
    assert sorted(names) == sorted([*step_types(), *OWN_KINDS])
    for kind in kinds:
        for name, field in kind["properties"].items():
            assert name in (*OWN_KINDS, *step_types()) or field["description"]
