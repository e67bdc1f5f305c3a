"""YAML -> a step that runs an operator of Airflow's providers; what is wrong is noted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_enterprise_orch.value_stream.draft import DraftStep
from airflow_enterprise_orch.value_stream.messages import kind_of
from airflow_enterprise_orch.value_stream.model_types import AIRFLOW_FACTS, CEL_TYPES
from airflow_enterprise_orch.value_stream.notes import COMMON_KEYS, Notes
from airflow_enterprise_orch.value_stream.problems import Path
from airflow_enterprise_orch.value_stream.steps import AirflowStep, Step

AIRFLOW_KEYS = ("operator", "arguments")
BESIDE_AIRFLOW = ("outputs", "retry", "time_limit", "resource", "at_once")


def read_airflow(notes: Notes, step: DraftStep, path: Path, raw: dict[str, Any]) -> Step | None:
    """Read a step that runs an operator."""
    here, body, outputs = (*path, "airflow"), raw["airflow"], raw.get("outputs")
    before = len(notes.problems)
    beside = (*COMMON_KEYS, *BESIDE_AIRFLOW)
    notes.unknown_keys(path, raw, (*beside, "airflow"), dict.fromkeys(AIRFLOW_KEYS, "airflow"))
    for name in outputs if isinstance(outputs, dict) else ():
        notes.check_id((*path, "outputs", name), "output")
    if not isinstance(body, dict):
        notes.add(here, f"must hold keys, not {kind_of(body)}", "write operator: and arguments:", key=body is None)
        return None
    notes.unknown_keys(here, body, AIRFLOW_KEYS, dict.fromkeys(BESIDE_AIRFLOW, "the step itself"))
    data = {key: raw[key] for key in beside if key in raw}
    places: dict[str, Path] = {key: (*path, key) for key in data}
    data |= {key: value for key, value in body.items() if key in AIRFLOW_KEYS} | {"id": "step"}
    found: AirflowStep | None = notes.validate(AirflowStep, data, places, here)
    return found.model_copy(update={"id": step.id}) if found and len(notes.problems) == before else None


def airflow_types(step: Mapping[str, Any]) -> dict[str, str]:
    """Return the types of what such a step leaves, from its YAML."""
    outputs = step.get("outputs")
    found = {}
    for name, output in (outputs if isinstance(outputs, dict) else {}).items():
        kind = output.get("type", "string") if isinstance(output, dict) else None
        found[name] = CEL_TYPES.get(kind, "dyn") if isinstance(kind, str) else "dyn"
    return {**found, **AIRFLOW_FACTS}
