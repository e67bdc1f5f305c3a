"""What Airflow calls, in a triggerer, when a due time has passed; it keeps no import of weight until then.

Airflow's scheduler hands each missed deadline to a triggerer once. A triggerer that dies while it tells is followed by
another, which tells it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.each import EACH, item_of

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
    if state == "success" or (step and states.get(step["id"]) in OVER):
        log.info("%s, instance %s: it was over by the time its due time was looked at", where, run.run_id)
        return
    passed = _deadline(context) or run.due(due)
    log.warning("%s, instance %s is late: it was due at %s", where, run.run_id, passed)
    rules = wanted(alerts, "late")
    if not rules:
        return
    name = step.get("id", "")
    jobs = await _open_jobs(run, states, name)
    own = next((job for job in jobs if job.step == name and not job.item), None)
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
        job_id=own.job_id if own is not None else "",
        open_jobs=tuple(job for job in jobs if job is not own),
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


async def _open_jobs(run: Run, states: Mapping[str, str], step: str) -> list[OpenJob]:
    """Return the remote jobs that the run waits for, those of a late step first; not more than :data:`MOST_NAMED`."""
    from airflow_enterprise_orch.alerts.open_job import open_jobs

    waits = sorted((name for name, state in states.items() if state == "deferred"), key=_in_order)
    waits.sort(key=lambda name: _step_of(name) != step)
    tasks = [(f"{item[0]}{EACH}", item[1]) if (item := item_of(name)) else (name, -1) for name in waits]
    try:
        return await open_jobs(run.dag_id, run.run_id, tasks[:MOST_NAMED])
    except Exception as error:
        log.warning("which remote jobs the instance %s waits for cannot be told: %r", run.run_id, error)
        return []


def _in_order(name: str) -> tuple[str, int]:
    return item_of(name) or (name, -1)


def _step_of(name: str) -> str:
    return _in_order(name)[0]


def _reason(state: str, states: Mapping[str, str], step: str) -> str:
    """Say where it stands; the items of a list by their number."""
    at_work: Counter[tuple[bool, str, str]] = Counter()
    items = Counter[str](item[0] for name in states if (item := item_of(name)))
    for name, one in states.items():
        if one == "failed" or one in STANDS:
            at_work[one != "failed", _step_of(name), one.replace("_", " ")] += 1
    parts = [
        f"{name} ({f'{count} of {items[name]} items ' if name in items else ''}{one})"
        for (_, name, one), count in sorted(at_work.items())
    ][:MOST_NAMED]
    at = f" It stands at {', '.join(parts)}." if parts else " Nothing of it has begun." if not states else ""
    what = "The step is not over." if step else f"The instance is not over: Airflow says {state}."
    return what + at
