"""A decision: the values that a table gives for what the instance knows by now, and the record of how it came to them.

The record lies where a branch keeps its decision, before anything else reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from airflow_enterprise_orch.instance import values_of
from airflow_enterprise_orch.value_stream.acted_on import ActedOn
from airflow_enterprise_orch.value_stream.choosing import ChoiceImpossible, row_that_counts
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY, RULES, Decision, Override, ways_of_rules
from airflow_enterprise_orch.value_stream.decision_table import Hit

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_enterprise_orch.delegation.control import Wish


class DecisionStep(ActedOn):
    """Reads values off a table.

    :param hit: ``first`` or ``unique``.
    :param inputs: name to what it reads (``params.amount``).
    :param kinds: name to CEL type.
    :param rows: ``{"when": {input: cell}, "then": {output: value}}``.
    :param otherwise: the outputs when no row fits; None when there must be one.
    :param leaves: the outputs, name to type.
    """

    # Nothing here is for Airflow's Jinja, which would have connections and variables in reach.
    template_fields: Sequence[str] = ()

    def __init__(
        self,
        *,
        hit: Hit,
        inputs: Mapping[str, str],
        kinds: Mapping[str, str],
        rows: Sequence[Mapping[str, Any]],
        otherwise: Mapping[str, Any] | None = None,
        leaves: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hit, self.inputs, self.kinds = hit, dict(inputs), dict(kinds)
        self.rows = [{"when": dict(row["when"]), "then": dict(row["then"])} for row in rows]
        self.otherwise = dict(otherwise) if otherwise is not None else None
        self.must_leave = dict(leaves or {})

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide, keep the record, and return the outputs.

        :raises AirflowFailException: in one line, when an input is not there, or not exactly one row counts; trying
            again would not help.
        """
        read = values_of(context, self.inputs.values())
        values = {name: read[reads] for name, reads in self.inputs.items()}
        missing = [self.inputs[name] for name, value in values.items() if value is None]
        if missing:
            raise AirflowFailException(f"decision {self.task_id!r}: {', '.join(missing)} has no value")
        fired, outputs = self.decide(values)
        record = Decision(
            "table",
            self.hit,
            ways_of_rules(self.rows, self.otherwise),
            values,
            (fired,),
            RULES,
            datetime.now(UTC),
            outputs=outputs,
            reads=self.inputs,
        )
        context["task_state_store"].set(DECISION_KEY, record.to_json(), retention=NEVER_EXPIRE)
        self.log.info("%s", record.sentence())
        return outputs

    def completed(self, context: Mapping[str, Any], end: Wish) -> dict[str, Any]:
        """Keep that a person gave the outputs, and return them."""
        outputs = super().completed(context, end)
        ways, by = ways_of_rules(self.rows, self.otherwise), Override(end.by, end.reason)
        at = datetime.now(UTC)
        record = Decision(
            "table", self.hit, ways, {}, (), end.by, at, outputs=outputs, reads=self.inputs, overridden=by
        )
        context["task_state_store"].set(DECISION_KEY, record.to_json(), retention=NEVER_EXPIRE)
        return outputs

    def decide(self, values: Mapping[str, Any]) -> tuple[int | str, dict[str, Any]]:
        """Return the number of the row that counts (from 1) or ``otherwise``, and the outputs."""
        try:
            return row_that_counts(self.task_id, self.hit, self.kinds, self.rows, self.otherwise, values)
        except ChoiceImpossible as error:
            raise AirflowFailException(str(error)) from error
