"""What tells of steps: Airflow's callbacks, and what a step itself knows before Airflow does.

Airflow runs a task's callbacks in its worker, after the task's state is told; for one whose worker died, or that never
came to a worker, in a DAG processor, from the DAG's file. There is no listener, because Airflow refuses DAGs whose
triggers end tasks wherever there is one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_enterprise_orch.alerts.message import Alert

log = logging.getLogger(__name__)

LONGEST = 40.0
"""Seconds that telling may take in all, beside a step that is over or waits for a person."""


@dataclass(frozen=True)
class StepFailed:
    """A task's ``on_failure_callback``: Airflow calls it when no retry is left.

    :param alerts: what the stream wants told; see :mod:`~.telling`.
    """

    alerts: Mapping[str, Any]

    def __call__(self, context: Context) -> None:
        """Tell it."""
        error = context.get("exception")
        lost = error is None
        reason = "Airflow lost the worker that ran the step, or could not start one" if lost else _said(error)
        tell_of_step(context, self.alerts, "failed", reason=reason, what=str(context["ti"].try_number), alive=not lost)


@dataclass(frozen=True)
class StepWentOn:
    """A task's ``on_success_callback``: tells that a step is over that people were told of.

    :param alerts: what the stream wants told; see :mod:`~.telling`.
    """

    alerts: Mapping[str, Any]

    def __call__(self, context: Context) -> None:
        """Tell it, if they were."""
        released(context, self.alerts, "the step succeeded")


def alerts_of(context: Context) -> Mapping[str, Any] | None:
    """Return what the stream of a running task wants told; None for nothing."""
    callbacks = getattr(context["ti"].task, "on_failure_callback", None) or ()
    return next((one.alerts for one in callbacks if isinstance(one, StepFailed)), None)


def parked(context: Context, question: str, key: str) -> None:
    """Tell that nobody can prove what became of a job, and a person must look.

    :param key: of the attempt that it is about.
    """
    alerts = alerts_of(context)
    if alerts is not None:
        tell_of_step(context, alerts, "ambiguous", reason=question, what=key or str(context["ti"].try_number))


def waiting(context: Context, subject: str, after: float = 0.0) -> None:
    """Tell that a person must answer.

    :param after: the seconds that nobody has answered.
    """
    alerts = alerts_of(context)
    if alerts is not None:
        what = f"{context['ti'].try_number}-{after:g}"
        tell_of_step(context, alerts, "waiting", reason=subject, what=what, after=after)


def proposed(context: Context, what: str, until: datetime) -> None:
    """Tell that a branch goes where its rules say unless a person has it otherwise.

    :param what: where that is, and why.
    :param until: when it goes on; aware.
    """
    alerts = alerts_of(context)
    if alerts is not None:
        named = f"{context['ti'].try_number}-{until.astimezone(UTC):%Y%m%dT%H%M%S}"
        tell_of_step(context, alerts, "waiting", reason=what, what=named, after=0.0, until=until)


def waits(context: Context) -> list[float]:
    """Return after how many seconds of waiting for a person something is to be told, in order."""
    alerts = alerts_of(context)
    rules = alerts["rules"] if alerts is not None else ()
    return sorted({float(rule["after"]) for rule in rules if "waiting" in rule["on"]})


def released(context: Context, alerts: Mapping[str, Any] | None, how: str) -> None:
    """Tell that a step goes on, if people were told that it did not."""
    from airflow_enterprise_orch.alerts.register import Register
    from airflow_enterprise_orch.alerts.telling import wanted

    if alerts is None or not wanted(alerts, "released"):
        return
    try:
        ti = context["ti"]
        place = _place(ti.run_id, ti.task_id)
        if not Register.open(ti.dag_id, ti.run_id).forget((f"failed:{place}:", f"ambiguous:{place}:")):
            return
    except Exception:
        log.exception("it cannot be told whether people were told of this step; nothing is sent")
        return
    tell_of_step(context, alerts, "released", reason=how, what=f"{ti.try_number}-{datetime.now(UTC):%H%M%S%f}")


def tell_of_step(
    context: Context,
    alerts: Mapping[str, Any],
    event: str,
    *,
    reason: str,
    what: str,
    after: float | None = None,
    until: datetime | None = None,
    alive: bool = True,
) -> None:
    """Tell something of the step whose context is given, once; never raises.

    :param what: which time it is, so that another one is told again.
    :param until: when a branch goes on that waits for nobody's answer, but can be overridden.
    :param alive: the step's own process tells it; in a DAG processor there is no task state store to ask.
    """
    from airflow_enterprise_orch.alerts.register import Register
    from airflow_enterprise_orch.alerts.telling import tell, wanted

    rules = wanted(alerts, event, after=after)
    if not rules:
        return
    try:
        ti = context["ti"]
        mark = f"{event}:{_place(ti.run_id, ti.task_id)}:{what}"
        if not Register.open(ti.dag_id, ti.run_id).claim(mark):
            log.info("people were told already: %s", mark)
            return
        job_id = _job_id(context) if alive else ""
        about = {"reason": reason, "what": f"{ti.task_id}/{event}/{what}", "job_id": job_id, "override_until": until}
        alert = _alert(context, alerts, event, **about)
        asyncio.run(asyncio.wait_for(tell(alert, rules), LONGEST))
    except Exception:
        # The step is over, or waits for a person: nothing that goes wrong here is its business.
        log.exception("ALERT NOT SENT: %s of step %s", event, getattr(context.get("ti"), "task_id", "?"))


def _alert(context: Context, alerts: Mapping[str, Any], event: str, **more: Any) -> Alert:
    from airflow_enterprise_orch.alerts.telling import Run, alert_of
    from airflow_enterprise_orch.undoing import UNDO, UNDO_TITLE

    ti = context["ti"]
    task, run = ti.task, Run.of(context)
    # No step has a hyphen in its id: what follows one is ours (pay--undo, pay-each), and no name for people.
    step, undoing = ti.task_id.partition("-")[0], UNDO in ti.task_id
    own = alerts.get("steps", {}).get(step if not undoing else "")
    return alert_of(
        alerts,
        run,
        event,
        step=step,
        step_title=str(getattr(task, "task_display_name", "") or step).removeprefix(UNDO_TITLE if undoing else ""),
        undoing=undoing,
        task_id=ti.task_id,
        system=str(getattr(task, "step", "") or ""),
        connection=str(getattr(task, "connection", "") or ""),
        since=datetime.now(UTC),
        due=run.due(own) if own else run.due(alerts["due"]),
        map_index=ti.map_index if ti.map_index is not None else -1,
        **more,
    )


def _job_id(context: Context) -> str:
    """Return what the remote system calls the newest job of a delegated step."""
    from airflow_enterprise_orch.delegation.ledger import Ledger
    from airflow_enterprise_orch.delegation.ledger_store import ledger_cell

    ti = context["ti"]
    if not hasattr(ti.task, "connection"):
        return ""
    for number in range(ti.try_number, 0, -1):
        written = context["task_state_store"].get(ledger_cell(number))
        if written is not None:
            last = Ledger.from_json(written).last
            return last.handle.job_id if last is not None and last.handle is not None else ""
    return ""


def _place(run_id: str, task_id: str) -> str:
    return f"{run_id}:{task_id}"


def _said(error: object) -> str:
    """Return the first line of what an exception says; its type where that alone tells what it is."""
    lines = str(error).strip().splitlines()
    first = lines[0] if lines else ""
    if not isinstance(error, BaseException):
        return first
    plain = type(error).__module__.startswith(("airflow", "airflow_enterprise_orch"))
    return first if plain and first else f"{type(error).__name__}: {first}".rstrip(": ")
