"""Due times and alerts of a stream: their part of the plan, and what of the DAG is made from that.

The first half belongs to the compiler, the second to every process that builds a DAG, and only for streams that have
either.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.restricted_jinja import inspect, texts
from airflow_enterprise_orch.value_stream.steps import DelegatedStep

if TYPE_CHECKING:
    from airflow_enterprise_orch.value_stream.model import ValueStream

OF_STEPS = frozenset({"failed", "ambiguous", "waiting", "released"})
LATE = "airflow_enterprise_orch.alerts.late.tell"


def plan_watch(stream: ValueStream) -> dict[str, Any] | None:
    """Return what a stream's due times and alerts compile to, plain JSON; None without any.

    ``deadlines`` has ``name``, ``due`` and ``step`` of each due time, the stream's first; ``alerts`` what
    :mod:`airflow_enterprise_orch.alerts.telling` reads.
    """
    zone = stream.schedule.timezone if stream.schedule is not None else "UTC"
    rules = [
        rule.to_plan(stream.business.criticality)
        for rule in stream.alerts
        if rule.severity is None or stream.business.criticality in rule.severity
    ]
    deadlines: list[dict[str, Any]] = []
    if stream.due is not None:
        deadlines.append({"name": "due", "due": stream.due.to_plan(zone), "step": {}})
    for name, step in sorted(stream.steps.items()):
        if step.due is not None:
            own: dict[str, str] = {"id": name, "title": step.title or name}
            if isinstance(step, DelegatedStep):
                own |= {"system": step.step, "connection": step.connection}
            deadlines.append({"name": f"due: {step.title or name}"[:250], "due": step.due.to_plan(zone), "step": own})
    if not rules and not deadlines:
        return None
    key = stream.business.key or ""
    named = {
        reference.path[1]
        for _, text in texts(key)
        for reference in inspect(text)[0]
        if reference.path[0] == "params" and len(reference.path) > 1
    }
    business = stream.business
    return {
        "deadlines": deadlines,
        "alerts": {
            "title": stream.title,
            "business": {"domain": business.domain, "owner": business.owner, "criticality": business.criticality},
            "key": key,
            "defaults": {name: stream.params[name].default for name in sorted(named) if name in stream.params},
            "due": deadlines[0]["due"] if stream.due is not None else None,
            "steps": {one["step"]["id"]: one["due"] for one in deadlines if one["step"]},
            "timezone": (stream.due.timezone if stream.due is not None else None) or zone,
            "rules": rules,
        },
    }


def dag_arguments(watch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the DAG that stand for due times."""
    if not watch["deadlines"]:
        return {}
    from airflow.sdk.definitions.callback import AsyncCallback
    from airflow.sdk.definitions.deadline import DeadlineAlert

    from airflow_enterprise_orch.value_stream.deadline import DueReference

    # A triggerer keeps what its callback is told: of the rules those for lateness alone, of the steps none.
    alerts = {
        **watch["alerts"],
        "steps": {},
        "rules": [rule for rule in watch["alerts"]["rules"] if "late" in rule["on"]],
    }
    return {
        "deadline": [
            DeadlineAlert(
                reference=DueReference(one["due"], one["step"].get("id", "")),
                interval=timedelta(0),
                callback=AsyncCallback(LATE, kwargs={"alerts": alerts, "due": one["due"], "step": one["step"]}),
                name=one["name"],
            )
            for one in watch["deadlines"]
        ]
    }


def task_arguments(watch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of every task that stand for alerts."""
    events = {event for rule in watch["alerts"]["rules"] for event in rule["on"]}
    if not events & OF_STEPS:
        return {}
    from airflow_enterprise_orch.alerts.callbacks import StepFailed, StepWentOn

    # A step finds what it is to tell by itself (parked, waiting) in the first of these, so that one is always there.
    arguments: dict[str, Any] = {"on_failure_callback": [StepFailed(watch["alerts"])]}
    if "released" in events:
        arguments["on_success_callback"] = [StepWentOn(watch["alerts"])]
    return arguments


def notes_jobs(watch: Mapping[str, Any]) -> bool:
    """Tell whether steps are to note their jobs, for the alert that something is late."""
    return bool(watch["deadlines"]) and any("late" in rule["on"] for rule in watch["alerts"]["rules"])


def noting_its_job(operator: Any) -> None:
    """Let a delegated step note its job when it begins to wait."""
    from airflow_enterprise_orch.alerts.open_job import NotesItsJob

    operator.trigger_class = NotesItsJob(operator.trigger_class)
