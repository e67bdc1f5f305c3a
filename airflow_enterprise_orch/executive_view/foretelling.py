"""The forecast of live instances, as columns of their rows: for whoever writes these."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.executive_view import past
from airflow_enterprise_orch.executive_view.entries import entries
from airflow_enterprise_orch.executive_view.forecast import Outlook
from airflow_enterprise_orch.executive_view.pictures import Pictures
from airflow_enterprise_orch.executive_view.timeline import as_now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def foretold(session: Session, rows: Iterable[Any], now: datetime) -> dict[int, dict[str, Any]]:
    """Return the columns ``forecast_...`` of live instances, by their ids.

    One instance costs some milliseconds at most, so not all need to be foretold each time: those that changed, and the
    others now and then, because a step that goes on lasts longer.

    :param rows: of ``orch_instance``, with ``id``, ``dag_id``, ``run_id``, ``version``, ``run_after``, ``started_at``
        and ``steps``.
    """
    rows = list(rows)
    pictures = Pictures()
    pictures.load(session, {(row.dag_id, row.version) for row in rows})
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        picture = pictures.of(row.dag_id, row.version)
        if not picture.steps:
            continue
        live = as_now(picture, entries(row.steps), now)
        history = past.history(session, row.dag_id, row.version, picture)
        began = row.started_at or max(row.run_after, now)
        told = history.outlook(live, began=began, now=now, seed=f"{row.dag_id}/{row.run_id}")
        found[row.id] = columns(told)
    return found


def columns(told: Outlook) -> dict[str, Any]:
    """Return the columns of one forecast."""
    return {
        "forecast_p50": told.p50,
        "forecast_p90": told.p90,
        "forecast_n": told.instances,
        "forecast_problem": told.problem or None,
    }
