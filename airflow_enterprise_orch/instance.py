"""What a running instance knows, as its templates may see it.

The shell between Airflow's task context and plain data: everything here runs inside a task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from airflow_enterprise_orch.business_date import business_date
from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.restricted_jinja import render, run_names

if TYPE_CHECKING:
    from airflow.sdk import Context


def left_by(context: Context, steps: Iterable[str]) -> dict[str, dict[str, Any] | None]:
    """Return what each step left (its ``return_value``); None for one that did not run."""
    found: dict[str, dict[str, Any] | None] = {}
    for step in steps:
        value = context["ti"].xcom_pull(task_ids=step, key="return_value")
        found[step] = dict(value) if isinstance(value, Mapping) else None
    return found


def values_of(context: Context, names: Iterable[str]) -> dict[str, object]:
    """Return the values of qualified names (``params.amount``, ``steps.book.rc``); None for one that is not there."""
    names = sorted(names)
    steps = left_by(context, sorted({name.split(".")[1] for name in names if name.startswith("steps.")}))
    values: dict[str, object] = {}
    for name in names:
        group, *path = name.split(".", 2)
        if group == "params":
            values[name] = context["params"].get(".".join(path))
        else:
            values[name] = (steps[path[0]] or {}).get(path[1])
    return values


def visible_names(context: Context, stream: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names that the templates of a step may see, with their values.

    :param stream: what they may see: ``steps`` (ids), ``business``, ``business_key``, and ``dates`` where a text reads
        the business date.
    :raises TemplateError: when the business key has no value, or the calendar does not tell the business date.
    """
    run, dates = context["dag_run"], stream.get("dates")
    names = run_names(
        run_id=run.run_id,
        run_after=run.run_after,
        logical_date=run.logical_date,
        data_interval_start=run.data_interval_start,
        data_interval_end=run.data_interval_end,
        business_date=run_business_date(context, dates) if dates else "",
    )
    visible: dict[str, Any] = {"params": dict(context["params"]), **names}
    key = stream.get("business_key")
    business = {**stream.get("business", {}), "key": render(key, visible) if key else run.run_id}
    return visible | {"steps": left_by(context, stream.get("steps", ())), "business": business}


def run_business_date(context: Context, dates: Mapping[str, Any]) -> str:
    """Return the business date of the instance; see :func:`~airflow_enterprise_orch.business_date.business_date`.

    :raises TemplateError: when the calendar does not tell.
    """
    run = context["dag_run"]
    return business_date(run.logical_date or run.run_after, context["params"], dates)


def render_text(text: str, context: Context, stream: Mapping[str, Any]) -> str:
    """Return a text of the template with its restricted Jinja rendered.

    :param stream: as for :func:`visible_names`.
    :raises AirflowFailException: in one line, when a name has no value; trying again would not help.
    """
    try:
        return render(text, visible_names(context, stream))
    except TemplateError as error:
        raise AirflowFailException(f"step {context['ti'].task_id!r}: {error}") from error
