"""An approval: a person says yes or no, in Airflow's Required Actions or through its API.

While it waits the task is ``awaiting_input``: no worker, no triggerer. The answer is recorded in the task state store
before it has any effect, because Airflow pushes no return value when the effect is to skip.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from airflow_enterprise_orch.delegation.completing import checked_outputs
from airflow_enterprise_orch.instance import render_text
from airflow_enterprise_orch.undoing import HELPER
from airflow_enterprise_orch.value_stream.acted_on import ActedOn
from airflow_enterprise_orch.value_stream.asking import answered, check_answered
from airflow_enterprise_orch.value_stream.waiting import TellsWhileItWaits

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_enterprise_orch.delegation.control import Wish

APPROVAL_KEY = "orch.approval"
APPROVAL_VERSION = 1

OnTimeout = Literal["fail", "approve", "reject"]
OnReject = Literal["fail", "skip"]


class ApprovalStep(TellsWhileItWaits, ActedOn, ApprovalOperator):
    """Waits for a person to approve or reject.

    What it leaves for later steps: ``approved`` (bool), ``outcome`` (``approved`` or ``rejected``), ``by`` (who, or
    ``nobody`` when the time limit decided) and ``at``.

    :param subject: the question in one line; may use what the stream's templates may see.
    :param body: what the person should know, Markdown.
    :param assignees: the ids of the users who may answer, as Airflow's auth manager has them; none means everyone who
        may act on the DAG.
    :param within: seconds to wait; None means for as long as it takes.
    :param on_timeout: what happens when nobody answered in time.
    :param on_reject: a rejection fails the task, or skips every step behind it.
    :param stream: what the texts may see.
    """

    asks_again = True
    # Airflow would render these with connections and variables in reach; they are rendered here instead.
    template_fields: Sequence[str] = ()
    FIXED: ClassVar[Mapping[str, list[str] | None]] = {
        "fail": None,
        "approve": [ApprovalOperator.APPROVE],
        "reject": [ApprovalOperator.REJECT],
    }

    def __init__(
        self,
        *,
        subject: str,
        body: str | None = None,
        assignees: Sequence[str] = (),
        within: float | None = None,
        on_timeout: OnTimeout = "fail",
        on_reject: OnReject = "fail",
        stream: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            subject=subject,
            body=body,
            assigned_users=[{"id": user, "name": user} for user in assignees] or None,
            response_timeout=timedelta(seconds=within) if within is not None else None,
            defaults=self.FIXED[on_timeout],
            # No trigger rule could tell a rejection from a path not taken; skipping all that is behind needs none.
            ignore_downstream_trigger_rules=True,
            **kwargs,
        )
        self.within = within
        self.on_timeout = on_timeout
        self.on_reject = on_reject
        self.stream = dict(stream or {})

    def execute(self, context: Context) -> None:
        """Write the question, then wait without a worker."""
        self.subject = render_text(self.subject, context, self.stream)
        self.body = render_text(self.body, context, self.stream) if self.body is not None else None
        self.ask(context, super().execute)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Record the answer, then let it have its effect."""
        check_answered(f"approval {self.task_id!r}", self.within, event)
        self.validate_chosen_options(event["chosen_options"])
        answer = self._answer(event)
        context["task_state_store"].set(APPROVAL_KEY, {"version": APPROVAL_VERSION, **answer}, retention=NEVER_EXPIRE)
        context["ti"].xcom_push(key="return_value", value=answer)
        self.log.info("%s by %s at %s", answer["outcome"], answer["by"], answer["at"])
        if not answer["approved"] and self.on_reject == "fail":
            raise AirflowFailException(
                f"approval {self.task_id!r}: rejected by {answer['by']} at {answer['at']}; clear the step to ask again"
            )
        super().execute_complete(context, event)
        return answer

    def completed(self, context: Mapping[str, Any], end: Wish) -> dict[str, Any]:
        """Approve in the name of who completes the step; a rejection is given where it is asked for."""
        checked_outputs(end.value, {})
        who = {"by": end.by, "by_id": "", "at": datetime.now(UTC).isoformat(), "timed_out": False}
        answer = {"approved": True, "outcome": "approved", **who}
        record = {"version": APPROVAL_VERSION, **answer, "reason": end.reason}
        context["task_state_store"].set(APPROVAL_KEY, record, retention=NEVER_EXPIRE)
        return answer

    def skip(self, ti: Any, tasks: Iterable[Any]) -> None:
        """Skip steps, but nothing that undoes other steps: another one may have failed."""
        super().skip(ti, [task for task in tasks if HELPER not in task.node_id])

    def _answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        approved = event["chosen_options"] == [self.APPROVE]
        outcome = "approved" if approved else "rejected"
        return {"approved": approved, "outcome": outcome, **answered(event).to_json()}
