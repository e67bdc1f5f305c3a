"""From what Airflow or a step says to an alert that is sent. Nothing here ever raises into a step.

What a stream wants told is plain JSON, made by the compiler (``value_stream.watch_plan``)::

    {"title", "business": {"domain", "owner", "criticality"}, "key": the business key as written or "",
     "defaults": of the params that the key names, "due": as due.due_at reads it or None, "timezone",
     "rules": [{"on": [events], "severity", "after": seconds, "to": [targets]}]}
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_enterprise_orch.alerts.message import Alert, render
from airflow_enterprise_orch.alerts.sending import send
from airflow_enterprise_orch.due import due_at
from airflow_enterprise_orch.errors import TemplateError

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """What must be known of a run; dates are aware.

    :param known: False when Airflow told nothing but its id.
    """

    dag_id: str
    run_id: str
    params: Mapping[str, Any]
    run_after: datetime
    logical_date: datetime | None = None
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    known: bool = True

    @classmethod
    def of(cls, context: Context) -> Run:
        """Read it from the context of a task."""
        run = context.get("dag_run")
        if run is None:
            # Airflow tells nothing of the run when it never came to start the task.
            return cls(context["ti"].dag_id, context["ti"].run_id, {}, datetime.now(UTC), known=False)
        return cls(
            context["ti"].dag_id,
            run.run_id,
            dict(context["params"]),
            run.run_after,
            run.logical_date,
            run.data_interval_start,
            run.data_interval_end,
        )

    def business_key(self, alerts: Mapping[str, Any]) -> str:
        """Return the business key; the run's id where there is none, or it has no value."""
        from airflow_enterprise_orch.restricted_jinja import render as render_jinja
        from airflow_enterprise_orch.restricted_jinja import run_names

        if not alerts["key"] or not self.known:
            return self.run_id
        dates = run_names(
            run_id=self.run_id,
            run_after=self.run_after,
            logical_date=self.logical_date,
            data_interval_start=self.data_interval_start,
            data_interval_end=self.data_interval_end,
        )
        try:
            return (
                render_jinja(alerts["key"], {"params": {**alerts["defaults"], **self.params}, **dates}) or self.run_id
            )
        except TemplateError:
            return self.run_id

    def due(self, due: Mapping[str, Any] | None) -> datetime | None:
        """Return when something of this run must be over."""
        if not due or not self.known:
            return None
        return due_at(due, run_after=self.run_after, logical_date=self.logical_date)


def alert_of(alerts: Mapping[str, Any], run: Run, event: str, *, what: str, **more: Any) -> Alert:
    """Return an alert, all but its severity, which is each rule's.

    :param what: of this event, so that it is told once.
    :param more: the other fields of :class:`Alert`, and where the link leads: ``task_id``, else ``step``; of what can
        be overridden to the instance's page, where that is done.
    """
    task_id, map_index = more.pop("task_id", more.get("step", "")), more.pop("map_index", -1)
    page = more.get("override_until") is not None
    return Alert(
        event=event,
        severity="",
        stream=run.dag_id,
        title=alerts["title"],
        domain=alerts["business"]["domain"],
        owner=alerts["business"]["owner"],
        key=run.business_key(alerts),
        run_id=run.run_id,
        alert_id="/".join((run.dag_id, run.run_id, what)),
        timezone=alerts["timezone"],
        link=page_link(run.dag_id, run.run_id) if page else link(run.dag_id, run.run_id, task_id, map_index),
        **{"due": run.due(alerts["due"]), **more},
    )


def link(dag_id: str, run_id: str, step: str, map_index: int = -1) -> str:
    """Return where Airflow shows an instance, or one of its steps; "" when nobody said where Airflow is."""
    base = _base_url()
    task = f"/tasks/{quote(step, safe='')}" if step else ""
    mapped = f"/mapped/{map_index}" if step and map_index >= 0 else ""
    return f"{base}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}{task}{mapped}" if base else ""


def page_link(dag_id: str, run_id: str) -> str:
    """Return where the executive view shows an instance; "" when nobody said where Airflow is."""
    base = _base_url()
    return f"{base}/plugin/streams/instance/{quote(dag_id, safe='')}/{quote(run_id, safe='')}" if base else ""


def _base_url() -> str:
    from airflow.sdk.configuration import conf

    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")


def wanted(alerts: Mapping[str, Any], event: str, *, after: float | None = None) -> list[Mapping[str, Any]]:
    """Return the rules for an event; of ``waiting`` those that want it told after so many seconds."""
    rules = [rule for rule in alerts["rules"] if event in rule["on"]]
    return rules if after is None else [rule for rule in rules if rule["after"] == after]


async def tell(alert: Alert, rules: Sequence[Mapping[str, Any]]) -> None:
    """Send an alert as each rule says; a target that two rules of one severity name gets it once."""
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for rule in rules:
        for target in rule["to"]:
            groups.setdefault(rule["severity"], {})[repr(sorted(target.items()))] = target
    safe = replace(alert, reason=without_secrets(alert.reason))
    await asyncio.gather(
        *(send(render(replace(safe, severity=severity)), list(to.values())) for severity, to in groups.items())
    )


def without_secrets(text: str) -> str:
    """Return a text with what Airflow knows as secrets in this process replaced by stars."""
    from airflow.sdk.log import redact  # type: ignore[attr-defined]  # it has no other public name

    return str(redact(text))
