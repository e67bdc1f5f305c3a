"""What Airflow calls, in a triggerer, when a due time has passed; it keeps no import of weight until then.

Airflow's scheduler hands each missed deadline to a triggerer once. A triggerer that dies while it tells is followed by
another, which tells it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_enterprise_orch.alerts.message import OpenJob
    from airflow_enterprise_orch.alerts.telling import Run

log = logging.getLogger(__name__)

OVER = frozenset({"success", "skipped"})
"""A step in one of these states is over. One that failed is not: it has not brought what was due."""
STANDS = frozenset(
    {"running", "deferred", "awaiting_input", "up_for_retry", "up_for_reschedule", "queued", "scheduled"}
)
LONGEST = 60.0
"""Seconds that telling may take in all."""
MOST_NAMED = 10
"""So many of the steps, and of the jobs, at which an instance stands."""


async def tell(alerts: Mapping[str, Any], due: Mapping[str, Any], step: Mapping[str, Any], context: Any = None) -> None:
    """Tell that an instance, or a step of it, is late, unless it is over by now.

    :param alerts: what the stream wants told; see :mod:`~.telling`.
    :param due: the due time that has passed, as :func:`airflow_enterprise_orch.due.due_at` reads it.
    :param step: ``id``, ``title``, ``system`` and ``connection`` of the step; empty for the instance.
    :param context: what Airflow says: ``dag_run`` as its API shows it, and ``deadline``.
    """
    from airflow_enterprise_orch.alerts.telling import alert_of, wanted
    from airflow_enterprise_orch.alerts.telling import tell as send

    told = context["dag_run"]
    run = run_of(told)
    where = f"step {step['id']} of {run.dag_id}" if step else run.dag_id
    try:
        states = await _states(run)
    except Exception as error:
        # That it is late is worth telling even when nobody can say where it stands.
        log.warning("where the instance %s stands cannot be told: %r", run.run_id, error)
        states = {}
    state = str(told.get("state"))
    if state == "success" or (step and _over(states, step["id"])):
        log.info("%s, instance %s: it was over by the time its due time was looked at", where, run.run_id)
        return
    passed = _deadline(context) or run.due(due)
    log.warning("%s, instance %s is late: it was due at %s", where, run.run_id, passed)
    rules = wanted(alerts, "late")
    if not rules:
        return
    name = step.get("id", "")
    jobs = await _open_jobs(run, states)
    alert = alert_of(
        alerts,
        run,
        "late",
        what=f"{name}/late",
        reason=_reason(state, states, name),
        since=passed,
        due=passed,
        step=name,
        step_title=step.get("title", ""),
        system=step.get("system", ""),
        connection=step.get("connection", ""),
        job_id=next((job.job_id for job in jobs if job.step == name), ""),
        open_jobs=tuple(job for job in jobs if job.step != name),
    )
    await asyncio.wait_for(send(alert, rules), LONGEST)


def _deadline(context: Mapping[str, Any]) -> datetime | None:
    """Return the moment that Airflow saw pass: a person may have moved it since the template said when."""
    moment = (context.get("deadline") or {}).get("deadline_time")
    return datetime.fromisoformat(moment) if isinstance(moment, str) else moment


def run_of(told: Mapping[str, Any]) -> Run:
    """Read a run as Airflow's API shows it."""
    from airflow_enterprise_orch.alerts.telling import Run

    def at(name: str) -> datetime | None:
        value = told.get(name)
        return value if isinstance(value, datetime) or value is None else datetime.fromisoformat(str(value))

    run_after = at("run_after")
    if run_after is None:
        raise ValueError("Airflow tells no run_after of the run")
    return Run(
        str(told["dag_id"]),
        str(told["dag_run_id"]),
        dict(told.get("conf") or {}),
        run_after,
        at("logical_date"),
        at("data_interval_start"),
        at("data_interval_end"),
    )


async def _states(run: Run) -> dict[str, str]:
    """Return the state of each task of the run that has one."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    from asgiref.sync import sync_to_async

    states = await sync_to_async(RuntimeTaskInstance.get_task_states)(dag_id=run.dag_id, run_ids=[run.run_id])
    found = states.get(run.run_id, {})
    return {name: str(getattr(state, "value", state)) for name, state in found.items() if state is not None}


async def _open_jobs(run: Run, states: Mapping[str, str]) -> list[OpenJob]:
    """Return the remote jobs that the run waits for; not more than its reason names steps."""
    from airflow_enterprise_orch.alerts.open_job import open_jobs

    waits = sorted(name for name, state in states.items() if state == "deferred")[:MOST_NAMED]
    try:
        return await open_jobs(run.dag_id, run.run_id, waits)
    except Exception as error:
        log.warning("which remote jobs the instance %s waits for cannot be told: %r", run.run_id, error)
        return []


def _over(states: Mapping[str, str], step: str) -> bool:
    """Tell whether a step is over; of one with mapped parts (``step_0``) all of them."""
    own = [state for name, state in states.items() if name == step or name.removeprefix(f"{step}_").isdecimal()]
    return bool(own) and all(state in OVER for state in own)


def _reason(state: str, states: Mapping[str, str], step: str) -> str:
    """Say where it stands."""
    stands = sorted(name for name, one in states.items() if one in STANDS)
    failed = sorted(name for name, one in states.items() if one == "failed")
    parts = [f"{name} ({states[name].replace('_', ' ')})" for name in (*failed, *stands)][:MOST_NAMED]
    at = f" It stands at {', '.join(parts)}." if parts else " Nothing of it has begun." if not states else ""
    what = "The step is not over." if step else f"The instance is not over: Airflow says {state}."
    return what + at
