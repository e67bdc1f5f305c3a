"""Where the time of an instance was lost: what the steps on its longest way took beyond what they usually take. Pure.

The longest way of an instance is found from its end: the step that ended last, before it that which it had to wait for
longest, and so on. Only there does a longer step make the instance longer. A step's own time begins when the last step
ended that it comes after, so what it waited for (a slot, a resource, a person) is its own; the wait of the first ones
begins when the instance could have begun. What a step usually takes is the median of its own times in the past.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from airflow_enterprise_orch.executive_view.forecast import Step, took

Ran = Mapping[str, tuple[datetime, datetime]]
"""Beginning and end of the steps that ran; the end of one at work is now."""


def longest_way(flow: Sequence[Step], ran: Ran) -> list[str]:
    """Return the steps on the longest way, the last one first."""
    after = {step.id: step.after for step in flow}
    way: list[str] = []
    name: str | None = max((one for one in ran if one in after), key=lambda one: (ran[one][1], one), default=None)
    while name is not None:
        way.append(name)
        name = _latest(after, ran, name)
    return way


def own_times(flow: Sequence[Step], began: datetime, ran: Ran) -> dict[str, float]:
    """Return the seconds of each step's own time."""
    return {name: one.waited + one.lasted for name, one in took(began, flow, ran).items()}


def lost(flow: Sequence[Step], began: datetime, ran: Ran, usual: Mapping[str, float]) -> dict[str, float]:
    """Return how many seconds were lost at which steps of the longest way.

    :param usual: the usual own time of steps in seconds; of one that is missing it is not known what it lost.
    """
    own = own_times(flow, began, ran)
    beyond = {name: own[name] - usual[name] for name in longest_way(flow, ran) if name in usual}
    return {name: seconds for name, seconds in beyond.items() if seconds > 0}


def lateness(
    late: float,
    flow: Sequence[Step],
    began: datetime,
    ran: Ran,
    usual: Mapping[str, float],
    stacks: Mapping[str, str],
) -> dict[str, float]:
    """Divide the lateness of one instance among its stacks, in proportion to the time that was lost on each.

    Where nothing was lost, or nobody can know it, the due time was too early for the longest way: then in proportion to
    its steps' own times.

    :param late: in seconds.
    :param stacks: the stack of each step.
    """
    own = own_times(flow, began, ran)
    parts = lost(flow, began, ran, usual) or {name: own[name] for name in longest_way(flow, ran)}
    seconds: defaultdict[str, float] = defaultdict(float)
    for name, part in parts.items():
        seconds[stacks.get(name, "")] += part
    whole = sum(seconds.values())
    return {stack: late * part / whole for stack, part in seconds.items()} if whole else {}


def _latest(after: Mapping[str, Sequence[str]], ran: Ran, name: str) -> str | None:
    """Return which step that ran ended last of those that a step came after, through steps that did not run."""
    open_, looked_at, found = list(after.get(name, ())), set(), None
    while open_:
        one = open_.pop()
        if one in looked_at:
            continue
        looked_at.add(one)
        if one not in ran:
            open_ += after.get(one, ())
        elif found is None or (ran[one][1], one) > (ran[found][1], found):
            found = one
    return found
