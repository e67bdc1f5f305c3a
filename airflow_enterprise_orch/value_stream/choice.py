"""A choice: a person decides which steps come next, in Airflow's Required Actions or through its API.

While it waits the task is ``awaiting_input``: no worker, no triggerer. The decision is kept where a branch keeps its
own, before Airflow skips anything, because what follows the skip in this task never runs: the skip is an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.branch import BranchMixIn
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from airflow_enterprise_orch.instance import render_text
from airflow_enterprise_orch.value_stream.acted_on import WITHOUT_COMPLETE, ActedOn
from airflow_enterprise_orch.value_stream.asking import Answered, answered, check_answered
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY, Decision, Override
from airflow_enterprise_orch.value_stream.overriding import override_of
from airflow_enterprise_orch.value_stream.waiting import TellsWhileItWaits

if TYPE_CHECKING:
    from airflow.sdk import Context

FAIL = "fail"


class ChoiceStep(TellsWhileItWaits, ActedOn, HITLOperator, BranchMixIn):
    """Waits for a person to choose.

    What it leaves for later steps: ``outcome`` (the option's id), ``by`` (who, or ``nobody`` when the time limit
    decided) and ``at``.

    :param subject: the question in one line; may use what the stream's templates may see.
    :param options: ``{"id": ..., "title": ..., "then": [steps]}`` in order; a person sees the titles.
    :param body: what the person should know, Markdown.
    :param assignees: the ids of the users who may answer, as Airflow's auth manager has them; none means everyone who
        may act on the DAG.
    :param within: seconds to wait; None means for as long as it takes.
    :param on_timeout: ``fail``, or the id of the option that is taken when nobody answered in time.
    :param routes: of each step that can be chosen, the task that stands for the choice.
    :param always: tasks right after it that no choice skips.
    :param stream: what the texts may see.
    """

    inherits_from_skipmixin = True
    obeys = WITHOUT_COMPLETE  # which way is taken, an override says
    asks_again = True
    # Airflow would render these with connections and variables in reach; they are rendered here instead.
    template_fields: Sequence[str] = ()

    def __init__(
        self,
        *,
        subject: str,
        options: Sequence[Mapping[str, Any]],
        body: str | None = None,
        assignees: Sequence[str] = (),
        within: float | None = None,
        on_timeout: str = FAIL,
        routes: Mapping[str, str] | None = None,
        always: Sequence[str] = (),
        stream: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        titles = {option["id"]: option["title"] for option in options}
        super().__init__(
            subject=subject,
            body=body,
            options=list(titles.values()),
            assigned_users=[{"id": user, "name": user} for user in assignees] or None,
            response_timeout=timedelta(seconds=within) if within is not None else None,
            defaults=None if on_timeout == FAIL else [titles[on_timeout]],
            **kwargs,
        )
        self.ways = [{**option, "then": list(option["then"])} for option in options]
        self.within = within
        self.routes = dict(routes or {})
        self.always = list(always)
        self.stream = dict(stream or {})

    def execute(self, context: Context) -> Any:
        """Write the question, then wait without a worker; or do at once what a person wants instead.

        :raises AirflowFailException: in one line, when an override names the steps of no option; trying again would not
            help.
        """
        known = [step for way in self.ways for step in way["then"]]
        wish = override_of(context, "choice", known)
        if wish is not None:
            way = next((way for way in self.ways if set(way["then"]) == set(wish.targets)), None)
            if way is None:
                sets = "; or ".join(", ".join(way["then"]) for way in self.ways if way["then"])
                raise AirflowFailException(
                    f"choice {self.task_id!r}: the override by {wish.by} chooses {', '.join(wish.targets)}, which is "
                    f"what no option does; choose {sets}"
                )
            now = datetime.now(UTC)
            who = Answered(by=wish.by, by_id="", at=now.isoformat(), timed_out=False)
            return self._go(context, way, who, Override(wish.by, wish.reason))
        self.subject = render_text(self.subject, context, self.stream)
        self.body = render_text(self.body, context, self.stream) if self.body is not None else None
        return self.ask(context, super().execute)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Keep the decision, then go the way that was chosen."""
        check_answered(f"choice {self.task_id!r}", self.within, event)
        self.validate_chosen_options(event["chosen_options"])
        chosen = [way for way in self.ways if way["title"] in event["chosen_options"]]
        if len(chosen) != 1:
            raise AirflowFailException(
                f"choice {self.task_id!r}: {len(chosen)} options were chosen; clear the step to ask again"
            )
        return self._go(context, chosen[0], answered(event))

    def _go(self, context: Context, way: Mapping[str, Any], who: Answered, override: Override | None = None) -> Any:
        decision = Decision(
            "choice",
            "one",
            tuple(self.ways),
            {},
            (way["id"],),
            who.by,
            datetime.fromisoformat(who.at),
            chosen=tuple(way["then"]),
            overridden=override,
        )
        context["task_state_store"].set(DECISION_KEY, decision.to_json(), retention=NEVER_EXPIRE)
        # Airflow pushes no return value when something is skipped.
        context["ti"].xcom_push(key="return_value", value={"outcome": way["id"], **who.to_json()})
        self.log.info("%s", decision.sentence())
        self.do_branch(context, [self.routes.get(step, step) for step in way["then"]] + self.always)
        return {"outcome": way["id"], **who.to_json()}
