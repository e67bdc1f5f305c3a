"""The JSON Schema of what templates mean: the vocabulary plus the step types of every installed system.

The reference is made from it; :mod:`~airflow_enterprise_orch.value_stream.editor_schema` makes of it what editors use.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from airflow_enterprise_orch.delegation.system import StepType, step_types
from airflow_enterprise_orch.value_stream.model import Header
from airflow_enterprise_orch.value_stream.model_types import ID_PATTERN
from airflow_enterprise_orch.value_stream.notes import COMMON_KEYS, COMPENSATE_KEYS
from airflow_enterprise_orch.value_stream.reading import DELEGATED_KEYS
from airflow_enterprise_orch.value_stream.reading_airflow import AIRFLOW_KEYS, BESIDE_AIRFLOW
from airflow_enterprise_orch.value_stream.reading_own import DECISION_KEYS
from airflow_enterprise_orch.value_stream.reading_stream import BESIDE_STREAM, STREAM_KEYS
from airflow_enterprise_orch.value_stream.step_parts import BaseStep
from airflow_enterprise_orch.value_stream.steps import (
    AirflowStep,
    ApprovalStep,
    BranchRule,
    BranchStep,
    ChoiceStep,
    DecisionRow,
    DecisionStep,
    DelegatedStep,
    FailStep,
    SubStreamStep,
    output_model,
)
from airflow_enterprise_orch.value_stream.steps_waiting import WaitForStep, WaitStep

_REFERENCE = "#/$defs/{model}"


def template_schema() -> dict[str, Any]:
    """Return the schema: draft 2020-12, one definition per kind of step."""
    header = model_schema(Header)
    definitions: dict[str, Any] = header.pop("$defs", {})
    kinds = [_delegated(step, definitions) for _, (_, step) in sorted(step_types().items())]
    kinds += [_branch(), _approval(), _decision(), _sub_stream(), _airflow()]
    kinds += [_keyed("choice", ChoiceStep, "Choice", "A person chooses which steps come next.")]
    kinds += [_keyed("wait_until", WaitStep, "Wait until", "Waits for a moment, without a worker.")]
    kinds += [_keyed("wait_for", WaitForStep, "Wait for", "Waits for another value stream, without a worker.")]
    kinds += [_keyed("fail", FailStep, "Fail", "Ends its path as failed.")]
    for kind in kinds:
        definitions |= kind.pop("$defs", {})
    header["properties"]["steps"] = {
        "type": "object",
        "description": "What is done, by the step's id.",
        "propertyNames": {"pattern": ID_PATTERN},
        "minProperties": 1,
        "additionalProperties": {"anyOf": kinds},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **header,
        "title": "Value stream",
        "description": "A value-stream template of airflow_enterprise_orch.",
        "required": [*header["required"], "steps"],
        "$defs": dict(sorted(definitions.items())),
    }


def model_schema(*models: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of the first model; those of the others are in its definitions."""
    references, together = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    definitions = together.get("$defs", {})
    own = definitions.pop(references[models[0], "validation"]["$ref"].removeprefix("#/$defs/"))
    return {**own, "$defs": definitions}


def _step(key: str, title: str, description: str, body: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    common = model_schema(BaseStep)["properties"]
    return {
        "type": "object",
        "title": title,
        "description": description,
        "properties": {key: body, **{name: common[name] for name in COMMON_KEYS}, **more},
        "required": [key],
        "additionalProperties": False,
    }


def _delegated(step: StepType, definitions: dict[str, Any]) -> dict[str, Any]:
    own = model_schema(DelegatedStep)
    definitions |= {name: value for name, value in own.pop("$defs").items() if name not in ("Output", "DelegatedStep")}
    work = model_schema(step.work_model())
    prefix = step.name.replace(".", "_")
    body = _renamed({key: value for key, value in work.items() if key != "$defs"}, prefix)
    definitions |= {f"{prefix}_{name}": _renamed(value, prefix) for name, value in work["$defs"].items()}
    body["properties"] = {"connection": own["properties"]["connection"], **body.get("properties", {})}
    body["required"] = ["connection", *body.get("required", [])]
    output = {key: value for key, value in model_schema(output_model(step.output_key)).items() if key != "$defs"}
    more = {name: own["properties"][name] for name in DELEGATED_KEYS}
    more["compensate"] = {
        "type": "object",
        "description": own["properties"]["compensate"]["description"],
        "properties": {name: own["properties"][name] for name in COMPENSATE_KEYS},
        "patternProperties": {
            r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$": {"type": "object", "description": "The work, as in a step."}
        },
        "additionalProperties": False,
        "minProperties": 1,
    }
    more["outputs"] = {
        "type": "object",
        "description": "Values taken from the job's output for later steps.",
        "propertyNames": {"pattern": ID_PATTERN},
        "additionalProperties": output,
    }
    return _step(step.name, step.title, f"A step that {step.name.partition('.')[0]} does.", body, more)


def _renamed(schema: Any, prefix: str) -> Any:
    """Give the definitions of one system's model names that no other's can have."""
    if isinstance(schema, dict):
        return {
            key: value.replace("#/$defs/", f"#/$defs/{prefix}_") if key == "$ref" else _renamed(value, prefix)
            for key, value in schema.items()
        }
    return [_renamed(item, prefix) for item in schema] if isinstance(schema, list) else schema


def _approval() -> dict[str, Any]:
    return _keyed("approval", ApprovalStep, "Approval", "A person approves or rejects.")


def _airflow() -> dict[str, Any]:
    own = model_schema(AirflowStep)
    body = {
        "type": "object",
        "properties": {name: own["properties"][name] for name in AIRFLOW_KEYS},
        "required": ["operator"],
        "additionalProperties": False,
    }
    more = {name: own["properties"][name] for name in BESIDE_AIRFLOW}
    description = "An operator of Airflow's providers, if the deployment allows it; not protected from running twice."
    return {**_step("airflow", "Airflow operator", description, body, more), "$defs": own["$defs"]}


def _keyed(key: str, model: type[BaseStep], title: str, description: str) -> dict[str, Any]:
    """Return the schema of a step whose own keys all stand below the key of its kind."""
    own = model_schema(model)
    names = [name for name in own["properties"] if name not in BaseStep.model_fields]
    body = {
        "type": "object",
        "properties": {name: own["properties"][name] for name in names},
        "required": [name for name in own.get("required", ()) if name in names],
        "additionalProperties": False,
    }
    return {**_step(key, title, description, body, {}), "$defs": own["$defs"]}


def _decision() -> dict[str, Any]:
    own = model_schema(DecisionStep)
    row = {key: value for key, value in model_schema(DecisionRow).items() if key != "$defs"}
    then = {**row["properties"]["then"], "description": "The outputs when no row fits; the last entry."}
    otherwise = {
        "type": "object",
        "properties": {"otherwise": then},
        "required": ["otherwise"],
        "additionalProperties": False,
    }
    properties = {name: own["properties"][name] for name in DECISION_KEYS}
    properties["rows"] = {**properties["rows"], "items": {"anyOf": [row, otherwise]}}
    body = {
        "type": "object",
        "properties": properties,
        "required": ["inputs", "outputs"],
        "additionalProperties": False,
        # Either rows or a table; both are keys of one form, so that editors offer them beside one another.
        "if": {"required": ["table"]},
        "then": {"not": {"required": ["rows"]}},
        "else": {"required": ["rows"], "not": {"required": ["otherwise"]}},
    }
    return _step("decision", "Decision", "Reads values off a table.", body, {})


def _sub_stream() -> dict[str, Any]:
    own = model_schema(SubStreamStep)
    body = {
        "type": "object",
        "properties": {name: own["properties"][name] for name in STREAM_KEYS},
        "required": ["run"],
        "additionalProperties": False,
    }
    more = {name: own["properties"][name] for name in BESIDE_STREAM}
    more["outputs"] = {**more["outputs"], "propertyNames": {"pattern": ID_PATTERN}}
    kind = _step("stream", "Another value stream", "Starts another value stream and waits for it.", body, more)
    return {**kind, "$defs": own["$defs"]}


def _branch() -> dict[str, Any]:
    rule = {key: value for key, value in model_schema(BranchRule).items() if key != "$defs"}
    then = {**rule["properties"]["then"], "description": "The steps that run when no rule holds; the last entry."}
    otherwise = {
        "type": "object",
        "properties": {"otherwise": then},
        "required": ["otherwise"],
        "additionalProperties": False,
    }
    by_order = {"type": "array", "minItems": 2, "items": {"anyOf": [rule, otherwise]}}
    own = model_schema(BranchStep)["properties"]
    by_key = {
        "type": "object",
        "properties": {
            "match": own["match"],
            "rules": {"type": "array", "minItems": 1, "description": own["rules"]["description"], "items": rule},
            "otherwise": own["otherwise"],
            "override_within": own["override_within"],
        },
        "required": ["rules", "otherwise"],
        "additionalProperties": False,
    }
    body = {"anyOf": [by_order, by_key]}
    return _step("branch", "Branch", "Chooses which steps come next, by rules.", body, {})
