"""Airflow's scheduler, as far as it decides the path of an instance: the trigger rules that a stream uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from airflow_enterprise_orch.value_stream.paths import ALL_SUCCESS, ENDED, FAILED, MEETING, NEVER, Task


def verdict(task: Task, states: Mapping[str, str]) -> str:
    """Return what Airflow's trigger rule makes of a task all of whose predecessors are over (TriggerRuleDep)."""
    before = [states[name] for name in task.upstream]
    bad = any(state in ("failed", "upstream_failed") for state in before)
    if task.rule == NEVER:
        return "skipped" if bad or "success" in before else "success"
    if task.rule == ENDED:
        return "success"
    if task.rule == FAILED:
        return "success" if bad else "skipped"
    if bad:
        return "upstream_failed"
    if task.rule == ALL_SUCCESS and "skipped" in before:
        return "skipped"
    if task.rule == MEETING and before and "success" not in before:
        return "skipped"
    return "success"


def behind(tasks: Iterable[Task]) -> dict[str, frozenset[str]]:
    """Return the tasks that come after each, directly or not."""
    found: dict[str, set[str]] = {task.task_id: set() for task in tasks}
    for task in reversed(list(tasks)):
        for before in task.upstream:
            found[before] |= {task.task_id, *found[task.task_id]}
    return {name: frozenset(others) for name, others in found.items()}
