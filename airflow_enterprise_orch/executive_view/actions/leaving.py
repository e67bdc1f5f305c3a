"""What a person must give for a step to count as done, by its kind: what later steps and conditions read of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.delegation.completing import CEL_TYPES, OUTCOMES, OutputsInvalid, checked_outputs
from airflow_enterprise_orch.delegation.system import step_types

if TYPE_CHECKING:
    from airflow_enterprise_orch.executive_view.pictures import PictureStep

NO_COMPLETE = frozenset({"branch", "choice"})
"""Kinds of steps whose way is told by an override."""
_MAY: Mapping[str, Mapping[str, str]] = {
    "wait": {"until": "string"},
    "wait_for": {"run_id": "string", "ended": "string", "state": "string"},
    "airflow": {"outcome": "string"},
    "stream": {"run_id": "string", "business_key": "string", "rc": "integer", "code": "string", "outcome": "string"},
}


@dataclass(frozen=True)
class Leaves:
    """What a step leaves when it is done.

    :param must: what a person must give to complete it: type by name.
    :param may: what may be given besides.
    """

    must: Mapping[str, str] = field(default_factory=dict)
    may: Mapping[str, str] = field(default_factory=dict)

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was given; :raises OutputsInvalid: in one line, when it is not that."""
        checked = checked_outputs(given, self.must, self.may)
        if checked.get("outcome", OUTCOMES[0]) not in OUTCOMES:
            raise OutputsInvalid(
                f"outcome is {checked['outcome']!r:.80}; a step that is done has {' or '.join(OUTCOMES)}"
            )
        return checked


def leaves(step: PictureStep) -> Leaves:
    """Return what completing a step asks for; of a step with a list, for one of its items."""
    must: Mapping[str, str] = step.raw.get("outputs", {})
    known = step_types().get(step.kind)
    if known is None:
        return Leaves(must, _MAY.get(step.kind, {}))
    facts = {name: CEL_TYPES.get(cel, "string") for name, cel in known[1].facts.items()}
    return Leaves(must, {name: kind for name, kind in facts.items() if name not in must})
