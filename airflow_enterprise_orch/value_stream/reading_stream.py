"""YAML -> a step that is another value stream; what is wrong is noted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_enterprise_orch.value_stream.draft import DraftStep
from airflow_enterprise_orch.value_stream.messages import kind_of, missing_key
from airflow_enterprise_orch.value_stream.model_types import CEL_TYPES, ID_PATTERN, STREAM_FACTS
from airflow_enterprise_orch.value_stream.notes import COMMON_KEYS, Notes
from airflow_enterprise_orch.value_stream.problems import Path
from airflow_enterprise_orch.value_stream.steps import Step, SubStreamStep

STREAM_KEYS = ("run", "params", "elsewhere")
"""What stands below ``stream``."""
BESIDE_STREAM = ("outputs", "retry", "time_limit")
"""What stands beside it."""


def read_stream(notes: Notes, step: DraftStep, path: Path, raw: dict[str, Any]) -> Step | None:
    """Read a step that runs another stream."""
    here, body = (*path, "stream"), raw["stream"]
    before = len(notes.problems)
    notes.unknown_keys(path, raw, (*COMMON_KEYS, *BESIDE_STREAM, "stream"), dict.fromkeys(STREAM_KEYS, "stream"))
    if not isinstance(body, dict):
        notes.add(here, f"must hold keys, not {kind_of(body)}", "write run: and the other stream", key=body is None)
        return None
    notes.unknown_keys(here, body, STREAM_KEYS, dict.fromkeys(BESIDE_STREAM, "the step itself"))
    data = {key: value for key, value in body.items() if key in STREAM_KEYS}
    if "run" not in data:
        data["run"] = "unknown"
        if (*here, "run") not in notes.meant:
            notes.problems.append(missing_key(notes.document, here, "run", "name the other value stream"))
    places: dict[str, Path] = {key: (*path, key) for key in (*COMMON_KEYS, *BESIDE_STREAM)}
    data |= {key: raw[key] for key in places if key in raw} | {"id": "step"}
    for name in raw["outputs"] if isinstance(raw.get("outputs"), dict) else ():
        notes.check_id((*path, "outputs", name), "output")
        if not re.match(ID_PATTERN, name):
            remedy = "use a-z, 0-9 and _, beginning with a letter"
            notes.add((*path, "outputs", name), f"{name!r} is no id", remedy, key=True)
    found: SubStreamStep | None = notes.validate(SubStreamStep, data, places, here)
    return found.model_copy(update={"id": step.id}) if found and len(notes.problems) == before else None


def stream_types(step: Mapping[str, Any]) -> dict[str, str]:
    """Return the types of what such a step leaves, from its YAML."""
    outputs = step.get("outputs")
    found = {}
    for name, output in (outputs if isinstance(outputs, dict) else {}).items():
        kind = output.get("type", "string") if isinstance(output, dict) else None
        found[name] = CEL_TYPES.get(kind, "dyn") if isinstance(kind, str) else "dyn"
    return {**found, **STREAM_FACTS}
