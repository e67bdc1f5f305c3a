"""Asking a person what only a person can know, in Airflow's Required Actions.

A parked step is in Airflow's state ``awaiting_input``: no worker slot, no trigger, no default and no time-out. What is
known stands in the question, and the answer is kept with the name of who gave it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from airflow_enterprise_orch.delegation.answers import JOB_ID, REASON
from airflow_enterprise_orch.delegation.answers import Answer as Answer
from airflow_enterprise_orch.delegation.answers import Answered as Answered
from airflow_enterprise_orch.delegation.answers import AnswerInvalid as AnswerInvalid

if TYPE_CHECKING:
    from airflow.sdk import Context

ADOPT = "Adopt the job with this id"
SUBMIT = "It did not run: hand it over"
DID_NOT_RUN = "It did not run"
FAIL = "Fail the step"
SUCCEEDED = "The job succeeded"
LOOK_AGAIN = "Look again"
RUN_AGAIN = "Run it again"
KEEP = "Keep the result"

AFTER_SUBMIT = (LOOK_AGAIN, ADOPT, SUBMIT, FAIL)
AFTER_WITHDRAWAL = (LOOK_AGAIN, ADOPT, DID_NOT_RUN, FAIL)
"""It is not wanted any more, so nothing is handed over when it did not run."""
AFTER_LEAVING = (LOOK_AGAIN, SUBMIT, FAIL)
"""It was left alone by a person's word: it is not this step's any more, and nothing is adopted."""
AFTER_RESULT = (LOOK_AGAIN, SUCCEEDED, FAIL)
AFTER_EDIT = (RUN_AGAIN, KEEP)


def park(context: Context, *, subject: str, question: str, options: tuple[str, ...], key: str = "") -> NoReturn:
    """Ask, and leave the worker; the answer resumes the operator's ``answered``.

    :param subject: one line for the list of Required Actions.
    :param key: of the attempt that the question is about: an answer counts for no other.
    """
    from airflow.sdk import Param
    from airflow.sdk.exceptions import TaskAwaitingInput
    from airflow.sdk.execution_time.hitl import upsert_hitl_detail

    params = {REASON: Param("", type="string", title="Reason", description="Why; kept with your name.")}
    if ADOPT in options:
        params[JOB_ID] = Param(None, type=["null", "string"], title="Job id", description=f"Only for {ADOPT!r}.")
    upsert_hitl_detail(
        ti_id=context["ti"].id,
        options=list(options),
        subject=subject,
        body=question,
        defaults=None,
        multiple=False,
        params={name: param.serialize() for name, param in params.items()},
    )
    raise TaskAwaitingInput(method_name="answered", kwargs={"asked": list(options), "key": key}, timeout=None)
