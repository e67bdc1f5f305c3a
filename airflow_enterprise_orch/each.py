"""How the task is called that does a step's work for each item of a list: for whoever meets its items among tasks."""

from __future__ import annotations

import re

EACH = "-each"
"""Ends its id; no step's id has a hyphen, and no task's of another step ends so with a number behind it."""
_ITEM = re.compile(rf"(?P<step>[a-z][a-z0-9_]*){EACH}_(?P<index>[0-9]+)")


def item_of(state: str) -> tuple[str, int] | None:
    """Return step and map index of an item, by its name among the states that Airflow tells: ``pay-each_3``.

    None for what is no item. Airflow tells the states of mapped tasks so (``get_task_instance_states`` of its execution
    API).
    """
    found = _ITEM.fullmatch(state)
    return (found["step"], int(found["index"])) if found else None
