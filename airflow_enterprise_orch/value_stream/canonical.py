"""All that a template says, in one form: what its hash is made of, and what ``diff`` compares.

Two templates that say the same have the same form: defaults are left out, and lists whose order says nothing are
sorted.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_enterprise_orch.value_stream.model import ValueStream

SETS = ("after", "assignees", "publishes")
"""Lists of a step whose order says nothing; so do the steps that rules and options lead to, and what a retry is for."""


def canonical(stream: ValueStream) -> dict[str, Any]:
    """Return what a template says, as plain JSON."""
    data = stream.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if stream.calendars:
        data["calendars"] = {name: days.to_json() for name, days in stream.calendars.items()}
    for part, name in ((data, "tags"), (data.get("business", {}), "announce")):
        if name in part:
            part[name] = sorted(part[name])
    if "alerts" in data:
        data["alerts"] = sorted(data["alerts"], key=lambda rule: json.dumps(rule, sort_keys=True))
    for step in data["steps"].values():
        _step(step)
    return data


def _step(step: dict[str, Any]) -> None:
    for name in SETS:
        if name in step:
            step[name] = sorted(step[name])
    if isinstance(step.get("otherwise"), list):
        step["otherwise"] = sorted(step["otherwise"])
    options = step.get("options", {})
    for way in (*step.get("rules", ()), *(options.values() if isinstance(options, dict) else ())):
        way["then"] = sorted(way["then"])
    for rule in step.get("retry", ()):
        rule["on"] = sorted(rule["on"])
    if isinstance(step.get("compensate"), dict):
        _step(step["compensate"])
