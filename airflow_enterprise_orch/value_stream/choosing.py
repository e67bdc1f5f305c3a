"""What branches and decision tables choose. Pure: what runs in Airflow and ``simulate`` decide by the same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.expressions import ExpressionError, compile_expression
from airflow_enterprise_orch.value_stream.decision_record import Fired
from airflow_enterprise_orch.value_stream.decision_table import OTHERWISE, Hit, fitting, read_cell, shown

Match = Literal["first", "all"]


class ChoiceImpossible(OrchestrationError):
    """A branch or a table cannot choose; trying again would not help.

    :param missing: the qualified name whose value is not there, or "".
    """

    def __init__(self, message: str, missing: str = "") -> None:
        super().__init__(message)
        self.missing = missing


def rules_that_hold(
    step: str,
    match: Match,
    rules: Sequence[Mapping[str, Any]],
    otherwise: Sequence[str],
    variables: Mapping[str, str],
    values: Mapping[str, object],
) -> tuple[tuple[Fired, ...], list[str]]:
    """Return the numbers of the rules that fire (from 1) or ``otherwise``, and the steps that they choose.

    :param match: ``first``: the first rule that holds fires, and no later one is asked; ``all``: all that hold.
    :param rules: ``{"when": condition, "then": [steps]}`` in order.
    :param variables: what the conditions read, qualified name to CEL type.
    :param values: by qualified name; None for one that is not there.
    :raises ChoiceImpossible: when a rule needs a value that is not there.
    """
    fired: list[int] = []
    for number, rule in enumerate(rules, start=1):
        if fired and match == "first":
            break
        try:
            holds = compile_expression(rule["when"], variables).evaluate(values)
        except ExpressionError as error:
            what = f"branch {step!r}, rule {number} ({rule['when']}): {error}"
            raise ChoiceImpossible(what, error.name if values.get(error.name) is None else "") from error
        if holds:
            fired.append(number)
    if not fired:
        return (OTHERWISE,), list(otherwise)
    # A step that several of them name runs once.
    return tuple(fired), list(dict.fromkeys(name for number in fired for name in rules[number - 1]["then"]))


def row_that_counts(
    step: str,
    hit: Hit,
    kinds: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    otherwise: Mapping[str, Any] | None,
    values: Mapping[str, Any],
) -> tuple[int | str, dict[str, Any]]:
    """Return the number of the row that counts (from 1) or ``otherwise``, and the outputs.

    :param kinds: input to CEL type.
    :param rows: ``{"when": {input: cell}, "then": {output: value}}``.
    :param values: of every input.
    :raises ChoiceImpossible: when not exactly one row counts.
    """
    cells = [{name: read_cell(raw, kinds[name]) for name, raw in row["when"].items()} for row in rows]
    fits = fitting(cells, values)
    seen = shown(values)
    if hit == "unique" and len(fits) > 1:
        numbers = ", ".join(str(number + 1) for number in fits)
        raise ChoiceImpossible(f"decision {step!r}: rows {numbers} all fit {seen}; one may")
    if fits:
        return fits[0] + 1, dict(rows[fits[0]]["then"])
    if otherwise is None:
        raise ChoiceImpossible(f"decision {step!r}: no row fits {seen}, and there is no otherwise")
    return OTHERWISE, dict(otherwise)
