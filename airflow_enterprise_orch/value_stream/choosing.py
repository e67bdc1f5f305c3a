"""What a branch and a decision table choose. Pure: what runs in Airflow and ``simulate`` decide by the same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.expressions import ExpressionError, compile_expression
from airflow_enterprise_orch.value_stream.decision_table import OTHERWISE, Hit, fitting, read_cell, shown


class ChoiceImpossible(OrchestrationError):
    """A branch or a table cannot choose; trying again would not help.

    :param missing: the qualified name whose value is not there, or "".
    """

    def __init__(self, message: str, missing: str = "") -> None:
        super().__init__(message)
        self.missing = missing


def first_that_holds(
    step: str,
    rules: Sequence[Mapping[str, Any]],
    otherwise: Sequence[str],
    variables: Mapping[str, str],
    values: Mapping[str, object],
) -> tuple[int | str, list[str]]:
    """Return the number of the rule that fires (from 1) or ``otherwise``, and the steps that it chooses.

    :param rules: ``{"when": condition, "then": [steps]}`` in order.
    :param variables: what the conditions read, qualified name to CEL type.
    :param values: by qualified name; None for one that is not there.
    :raises ChoiceImpossible: when a rule needs a value that is not there.
    """
    for number, rule in enumerate(rules, start=1):
        try:
            holds = compile_expression(rule["when"], variables).evaluate(values)
        except ExpressionError as error:
            what = f"branch {step!r}, rule {number} ({rule['when']}): {error}"
            raise ChoiceImpossible(what, error.name if values.get(error.name) is None else "") from error
        if holds:
            return number, list(rule["then"])
    return OTHERWISE, list(otherwise)


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


def sentence(decision: Mapping[str, Any]) -> str:
    """Say a branch's decision in one line for people."""
    chosen = ", ".join(decision["chosen"]) or "nothing, the path ends here"
    fired = decision["fired"]
    if fired is None:
        rule = f"no rule could be evaluated ({decision['problem']})"
    elif fired == OTHERWISE:
        rule = "no rule holds, so otherwise"
    else:
        rule = f"rule {fired} holds: {decision['rules'][fired - 1]['when']}"
    seen = ", ".join(f"{name} = {value!r}" for name, value in decision["values"].items())
    line = f"goes on with {chosen}: {rule}" + (f" (with {seen})" if seen else "")
    if decision["overridden_by"] is None:
        return line
    instead = ", ".join(decision["by_rule"]) or "nothing"
    by, reason = decision["overridden_by"]["by"], decision["overridden_by"]["reason"]
    return f"goes on with {chosen}, as {by} wants ({reason}), instead of {instead}: {rule}"
