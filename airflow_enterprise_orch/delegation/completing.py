"""The outputs of a step that a person declares to be done: of the declared types, or one line that says what is not.

Pure, and used twice: by the action before it writes the wish, and by the step's task before it obeys.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.errors import OrchestrationError

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.system import StepType

CEL_TYPES: Mapping[str, str] = {"string": "string", "int": "integer", "double": "number", "bool": "boolean"}
"""What the facts of a step type are declared as, in the words of outputs."""
OUTCOMES = ("success", "warning")


class OutputsInvalid(OrchestrationError):
    """What a person gave as a step's outputs is not what the step declares."""


def checked_outputs(
    given: Mapping[str, Any], declared: Mapping[str, str], optional: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the outputs that a person gave for a step.

    :param given: value by name.
    :param declared: type by name (``string``, ``integer``, ``number``, ``boolean``) of what must be given.
    :param optional: the same, of what may be given.
    :raises OutputsInvalid: in one line.
    """
    known = {**(optional or {}), **declared}
    unknown = [name for name in given if name not in known]
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known) or 'none'}"
        raise OutputsInvalid(f"the step has no output {unknown[0]!r}: {hint}")
    missing = [f"{name} ({declared[name]})" for name in declared if name not in given]
    if missing:
        raise OutputsInvalid(f"give a value for {', '.join(missing)}: later steps may need it")
    for name, value in given.items():
        if not is_of(value, known[name]):
            raise OutputsInvalid(f"output {name!r} is {value!r:.80}, which is no {known[name]}")
    return dict(given)


def checked_step_outputs(
    given: Mapping[str, Any],
    outputs: Mapping[str, Mapping[str, Any]],
    kind: StepType,
    more: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return what a person gave for a delegated step: its declared outputs, and facts that conditions can read.

    :param outputs: as the step declares them, each with its ``type``.
    :param kind: what the step is, which has the facts.
    :param more: facts beyond those; name to CEL type.
    :raises OutputsInvalid: in one line.
    """
    facts = {name: CEL_TYPES.get(cel, "string") for name, cel in {**kind.facts, **(more or {})}.items()}
    declared = {name: str(output.get("type", "string")) for name, output in outputs.items()}
    checked = checked_outputs(given, declared, facts)
    if checked.get("outcome", OUTCOMES[0]) not in OUTCOMES:
        raise OutputsInvalid(f"outcome is {checked['outcome']!r:.80}; a step that is done has {' or '.join(OUTCOMES)}")
    return checked


def is_of(value: Any, kind: str) -> bool:
    """Tell whether a JSON value is of a type of outputs; nothing is converted."""
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "string":
        return isinstance(value, str)
    if isinstance(value, bool):
        return False
    if kind == "integer":
        return isinstance(value, int)
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
