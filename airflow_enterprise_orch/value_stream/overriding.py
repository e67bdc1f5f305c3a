"""What a person wants instead of what a branch or a choice would come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from airflow_enterprise_orch.delegation.control import CONTROL_KEY, ControlBroken, Wish, read_wishes
from airflow_enterprise_orch.delegation.task_run import StateStoreCells
from airflow_enterprise_orch.value_stream.acted_on import obedience_of


def override_of(context: Mapping[str, Any], kind: str, known: Iterable[str]) -> Wish | None:
    """Return the override that a person left for the running task; None without, or when a clear has followed it.

    :param kind: what the task is, for people.
    :param known: the steps that it can choose.
    :raises AirflowFailException: in one line, when it names another step, or none; it is refused, not ignored.
    """
    task_id, stream = context["ti"].task_id, context["ti"].dag_id
    cells = StateStoreCells(context["task_state_store"])
    control = cells.get(CONTROL_KEY)
    try:
        wishes = read_wishes(control, None, stream=stream, system="", connection="", now=datetime.now(UTC))
        if wishes.override is None:
            return None
        obedience = obedience_of(context, cells)
        if not obedience.applies(wishes.override):
            return None
    except ControlBroken as error:
        raise AirflowFailException(f"{kind} {task_id!r}: {error}") from error
    known = dict.fromkeys(known)
    wrong = [step for step in wishes.override.targets if step not in known]
    if wrong or not wishes.override.targets:
        raise AirflowFailException(
            f"{kind} {task_id!r}: the override by {wishes.override.by} chooses {', '.join(wrong) or 'no step'}; "
            f"choose some of {', '.join(known)}"
        )
    obedience.mark(wishes.override, f"goes on with {', '.join(wishes.override.targets)}")
    return wishes.override
