"""What a plan holds of a stream beside its tasks: its params, and its documentation."""

from __future__ import annotations

from typing import Any

from airflow_enterprise_orch.due import in_words
from airflow_enterprise_orch.value_stream.model import Param, ValueStream


def param_arguments(param: Param) -> dict[str, Any]:
    """Return the param as the form that starts a run shows and checks it: the arguments of Airflow's ``Param``."""
    given = {
        "type": "array" if param.type == "list" else param.type,
        "title": param.title,
        "enum": list(param.choices) if param.choices is not None else None,
        "pattern": param.pattern,
        "minimum": param.minimum,
        "maximum": param.maximum,
        "items": {"type": param.items} if param.items is not None else None,
        "minItems": param.min_items,
        "maxItems": param.max_items,
    }
    schema: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    default = (
        {}
        if param.required
        else {"default": list(param.default) if isinstance(param.default, tuple) else param.default}
    )
    return {**default, "description": param.description, **schema}


def documentation(stream: ValueStream, source_hash: str, source: str) -> str:
    """Return what Airflow shows of the stream (Markdown)."""
    business = stream.business
    zone = stream.schedule.timezone if stream.schedule is not None else "UTC"
    due = stream.due.to_plan(zone) if stream.due is not None else None
    lines = [f"# {stream.title}", ""]
    if stream.description:
        lines += [stream.description.rstrip(), ""]
    lines += [
        f"- domain: {business.domain}",
        f"- owner: {business.owner}",
        f"- criticality: {business.criticality}",
        f"- business key: `{business.key}`" if business.key else "- business key: the run's id",
        f"- a second live instance with the same key: {business.duplicates}",
        *([f"- due: {in_words(due)}"] if due is not None else []),
        f"- template: {f'`{source}`, ' if source else ''}version `{source_hash}`",
    ]
    lines += [f"- calendar: `{name}`, known to {days.last}" for name, days in sorted(stream.calendars.items())]
    return "\n".join(lines) + "\n"
