"""A branch: rules choose the steps that come next, a person may override them, and the decision is kept.

With a time for people, the rules only propose until it is over, or somebody has overridden them.

The decision is written to the task state store before Airflow skips anything, because what follows the skip in this
task never runs: the skip is an exception.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.python import BranchPythonOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from airflow_enterprise_orch.alerts import callbacks
from airflow_enterprise_orch.instance import values_of
from airflow_enterprise_orch.value_stream.acted_on import WITHOUT_COMPLETE, ActedOn
from airflow_enterprise_orch.value_stream.choosing import ChoiceImpossible, Match, rules_that_hold
from airflow_enterprise_orch.value_stream.decision_record import (
    DECISION_KEY,
    RULES,
    Decision,
    DecisionUnreadable,
    Fired,
    Override,
    ways_of_rules,
)
from airflow_enterprise_orch.value_stream.decision_table import OTHERWISE as OTHERWISE
from airflow_enterprise_orch.value_stream.override_window import PROPOSAL_KEY, waits_for_people
from airflow_enterprise_orch.value_stream.overriding import override_of

log = logging.getLogger(__name__)


class BranchStep(ActedOn, BranchPythonOperator):
    """Chooses the steps that come next.

    :param match: ``first``: the first rule that holds fires; ``all``: all that hold.
    :param rules: ``{"when": condition, "then": [steps]}`` in order.
    :param otherwise: the steps when none does.
    :param variables: what the conditions read, qualified name to CEL type.
    :param routes: of each step that can be chosen, the task that stands for the choice.
    :param always: tasks right after it that no choice skips.
    :param override_within: seconds in which a person may override what the rules came to, before anything follows.
    """

    obeys = WITHOUT_COMPLETE  # which way is taken, an override says
    # Nothing here is for Airflow's Jinja, which would have connections and variables in reach.
    template_fields: Sequence[str] = ()

    def __init__(
        self,
        *,
        rules: Sequence[Mapping[str, Any]],
        otherwise: Sequence[str],
        variables: Mapping[str, str],
        match: Match = "first",
        routes: Mapping[str, str] | None = None,
        always: Sequence[str] = (),
        override_within: float | None = None,
        **kwargs: Any,
    ) -> None:
        plan = {
            "match": match,
            "rules": [{"when": rule["when"], "then": list(rule["then"])} for rule in rules],
            "otherwise": list(otherwise),
            "variables": dict(variables),
            "routes": dict(routes or {}),
            "always": list(always),
            **({} if override_within is None else {"override_within": override_within}),
        }
        super().__init__(python_callable=decide, op_kwargs={"plan": plan}, **kwargs)


def decide(*, plan: Mapping[str, Any], **context: Any) -> list[str]:
    """Make the decision of a branch, keep it, and return the tasks that are to run.

    :raises AirflowFailException: in one line, when a rule needs a value that is not there, or an override names a step
        that the branch cannot choose; trying again would not help.
    :raises AirflowRescheduleException: a person may still override it; it has no worker slot meanwhile.
    """
    task_id = context["ti"].task_id
    known = [step for rule in plan["rules"] for step in rule["then"]] + plan["otherwise"]
    override = override_of(context, "branch", known)
    values = values_of(context, plan["variables"])  # type: ignore[arg-type]  # Airflow hands the context as keywords
    fired: tuple[Fired, ...]
    try:
        fired, by_rule = _rules_that_hold(task_id, plan, values)
        problem = ""
    except AirflowFailException as error:
        if override is None:
            raise
        fired, by_rule, problem = (), [], str(error)
    decision = Decision(
        "branch",
        plan["match"],
        ways_of_rules(plan["rules"], plan["otherwise"]),
        values,
        fired,
        RULES if override is None else override.by,
        datetime.now(UTC),
        chosen=tuple(by_rule) if override is None else override.targets,
        overridden=None if override is None else Override(override.by, override.reason, tuple(by_rule)),
        problem=problem,
    )
    window = plan.get("override_within")
    if window is not None and override is None:
        _leave_time(context, decision, timedelta(seconds=window))
    store = context["task_state_store"]
    store.set(DECISION_KEY, decision.to_json(), retention=NEVER_EXPIRE)
    if window is not None:
        store.delete(PROPOSAL_KEY)
    log.info("%s", decision.sentence())
    return [*(plan["routes"].get(step, step) for step in decision.chosen), *plan["always"]]


def _leave_time(context: Mapping[str, Any], decision: Decision, window: timedelta) -> None:
    try:
        proposal = waits_for_people(context["task_state_store"], decision, window)
    except DecisionUnreadable as error:
        raise AirflowFailException(
            f"branch {context['ti'].task_id!r}: what it keeps under {PROPOSAL_KEY!r} or {DECISION_KEY!r} in its task "
            f"state store cannot be read: {error}; delete it to decide anew"
        ) from error
    if proposal is not None:
        log.info("%s", proposal.sentence())
        if proposal.until == decision.at + window:  # and not one that stood before
            callbacks.proposed(context, proposal.sentence(), proposal.until)  # type: ignore[arg-type]  # as keywords
        raise AirflowRescheduleException(proposal.until)  # type: ignore[no-untyped-call]  # Airflow's


def _rules_that_hold(
    task_id: str, plan: Mapping[str, Any], values: Mapping[str, object]
) -> tuple[tuple[Fired, ...], list[str]]:
    try:
        return rules_that_hold(task_id, plan["match"], plan["rules"], plan["otherwise"], plan["variables"], values)
    except ChoiceImpossible as error:
        raise AirflowFailException(str(error)) from error
