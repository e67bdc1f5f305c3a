"""What an instance came to, as the executive view keeps it, as what a simulation is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_enterprise_orch.template_tools.given import Params, Results, known_keys
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.steps import (
    AirflowStep,
    ApprovalStep,
    ChoiceStep,
    DelegatedStep,
    Step,
    SubStreamStep,
)


def recorded(stream: ValueStream, told: Mapping[str, Any]) -> tuple[Params, Results]:
    """Return the params and the results of an instance, as far as the template has use for them.

    The template need not be the one that the instance began with: what it has no param, step or value for is left out.

    :param told: the answer of ``/dags/{dag_id}/dagRuns/{run_id}`` of the executive view's API.
    """
    params = {name: value for name, value in told["params"].items() if name in stream.params}
    results = {name: _kept(stream.steps[name], gave) for name, gave in told["outputs"].items() if name in stream.steps}
    for node in told["graph"]["nodes"]:
        step = stream.steps.get(node["id"])
        if step is not None and node["run"] is not None and node["run"]["airflow_state"] == "failed":
            results[step.id] = {**results.get(step.id, {}), **_failure(step)}
    return params, results


def _kept(step: Step, gave: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a step gave, without what the template knows nothing of."""
    known = known_keys(step)
    kept = {key: value for key, value in gave.items() if key in known}
    if isinstance(step, (DelegatedStep, SubStreamStep)) and isinstance(kept.get("outputs"), Mapping):
        kept["outputs"] = {name: value for name, value in kept["outputs"].items() if name in step.outputs}
    return kept


def _failure(step: Step) -> dict[str, Any]:
    """Return the result of a step that failed; nothing where the template alone says whether it fails again."""
    if isinstance(step, (AirflowStep, DelegatedStep, SubStreamStep)):
        return {"outcome": "failed"}
    if isinstance(step, ApprovalStep) and step.on_reject == "fail":
        return {"answer": "rejected"}  # or nobody answered: the path ends there in both
    if isinstance(step, (ApprovalStep, ChoiceStep)) and step.within is not None and step.on_timeout == "fail":
        return {"answer": "nobody"}
    return {}
