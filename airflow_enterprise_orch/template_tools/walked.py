"""What became of one instance and its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_enterprise_orch.value_stream.decision_record import Fired

State = Literal["ran", "failed", "skipped", "stopped"]
"""``failed``: it ran, and not well. ``skipped``: on a path not taken. ``stopped``: something before it failed."""


@dataclass(frozen=True, slots=True)
class WalkedStep:
    """What became of one step.

    :param why: why it failed, was skipped or stopped; of a decision what it chose and why.
    :param values: what it left, as far as that is known.
    """

    id: str
    state: State
    why: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a branch chose.

    :param fired: the numbers of the rules from 1, or ``otherwise``; none when a person decided against the rules.
    """

    branch: str
    fired: tuple[Fired, ...]
    chosen: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """One instance.

    :param key: its business key; "" without one.
    :param steps: in an order in which they can run.
    :param compensates: the steps that are undone, in this order.
    :param unfilled: values that texts of steps on the path need and that were not given: these were not filled in.
    """

    stream: str
    key: str
    steps: tuple[WalkedStep, ...]
    choices: tuple[Choice, ...]
    ends: Literal["success", "failed"]
    unfilled: Mapping[str, tuple[str, ...]]
    compensates: tuple[str, ...] = ()

    @property
    def takes(self) -> tuple[str, ...]:
        """The steps that run, well or not."""
        return tuple(step.id for step in self.steps if step.state in ("ran", "failed"))

    def to_json(self) -> dict[str, Any]:
        """Return it for tools."""
        return {
            "stream": self.stream,
            "key": self.key,
            "ends": self.ends,
            "takes": list(self.takes),
            "steps": [
                {"step": step.id, "state": step.state, "why": step.why, "values": dict(step.values)}
                for step in self.steps
            ],
            "choices": [
                {"branch": one.branch, "fired": list(one.fired), "chosen": list(one.chosen)} for one in self.choices
            ],
            "compensates": list(self.compensates),
            "unfilled": {name: list(steps) for name, steps in self.unfilled.items()},
        }
