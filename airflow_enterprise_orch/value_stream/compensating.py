"""What undoing a step needs to know while an instance runs: whether that is done already, and that it was done.

A task that undoes leaves a mark in its XCom, before its job leaves, with what it undoes: the very result that the step
left. Later steps look at the marks of all steps before them: with the mark of the result that is there now, they would
run on work that is no more. A step that ran anew left another result, and its old mark counts no longer.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from airflow_enterprise_orch.undoing import UNDO

log = logging.getLogger(__name__)

UNDO_KEY = "orch.undo"
"""Of the XCom that later steps read, and of the record in the task state store, which no clear takes away."""
UNDO_VERSION = 1


# Airflow writes the source of what it calls into the serialized DAG, once for each task: so these say little.


@dataclass(frozen=True)
class BeforeUndoing:
    """The ``pre_execute`` of what undoes a step."""

    step: str

    def __call__(self, context: Mapping[str, Any]) -> None:  # noqa: D102
        before_undoing(self.step, context)


@dataclass(frozen=True)
class AfterUndoing:
    """The ``post_execute`` of what undoes a step."""

    step: str

    def __call__(self, context: Mapping[str, Any], result: Any = None) -> None:  # noqa: D102
        after_undoing(self.step, context)


@dataclass(frozen=True)
class RefuseUndone:
    """The ``pre_execute`` of a step that comes after others that can be undone."""

    steps: tuple[str, ...]

    def __call__(self, context: Mapping[str, Any]) -> None:  # noqa: D102
        refuse_undone(self.steps, context)


def before_undoing(step: str, context: Mapping[str, Any]) -> None:
    """Mark what is undone, before anything leaves.

    :raises AirflowSkipException: when exactly this is undone already: a clear of a later step brings this task along.
    """
    ti, store = context["ti"], context["task_state_store"]
    of = _result_of(step, context)
    kept = store.get(UNDO_KEY)
    same = isinstance(kept, Mapping) and kept.get("version") == UNDO_VERSION and kept.get("of") == of
    record = dict(kept) if same else {"version": UNDO_VERSION, "of": of, "begun": _now(), "done": None}
    store.set(UNDO_KEY, record, retention=NEVER_EXPIRE)
    # Airflow takes away a task's XCom whenever it starts.
    ti.xcom_push(key=UNDO_KEY, value=record)
    if record["done"] is not None:
        raise AirflowSkipException(f"what step {step!r} did is undone already, since {record['done']}")


def after_undoing(step: str, context: Mapping[str, Any]) -> None:
    """Keep that it is undone."""
    record = {**context["task_state_store"].get(UNDO_KEY), "done": _now()}
    context["task_state_store"].set(UNDO_KEY, record, retention=NEVER_EXPIRE)
    context["ti"].xcom_push(key=UNDO_KEY, value=record)
    log.info("What step %r did is undone", step)


def refuse_undone(steps: Sequence[str], context: Mapping[str, Any]) -> None:
    """Do not run on work that was undone.

    :param steps: those before the task that something can undo.
    :raises AirflowFailException: in one line, when the result of one of them was undone, or is being.
    """
    ti = context["ti"]
    for step in steps:
        mark = ti.xcom_pull(task_ids=f"{step}{UNDO}", key=UNDO_KEY)
        if not isinstance(mark, Mapping) or mark.get("of") != _result_of(step, context):
            continue
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[step], run_ids=[context["run_id"]])
        if states.get(context["run_id"], {}).get(step) not in (None, "success"):
            continue  # an old result: this time the step did not run
        when = f"since {mark['done']}" if mark.get("done") else f"or being undone, since {mark.get('begun')}"
        raise AirflowFailException(
            f"step {ti.task_id!r}: what step {step!r} did is undone, {when}; "
            f"clear {step!r} with all that follows it, so that it is done again"
        )


def _result_of(step: str, context: Mapping[str, Any]) -> str:
    left = context["ti"].xcom_pull(task_ids=step, key="return_value")
    return hashlib.sha256(json.dumps(left, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _now() -> str:
    return datetime.now(UTC).isoformat()
