"""The forecast of live instances, as columns of their rows: for whoever writes these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.executive_view import past
from airflow_enterprise_orch.executive_view.entries import entries
from airflow_enterprise_orch.executive_view.forecast import Outlook
from airflow_enterprise_orch.executive_view.pictures import Pictures
from airflow_enterprise_orch.executive_view.timeline import as_now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def foretold(session: Session, rows: Iterable[Any], now: datetime) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the ids of live instances with their columns ``forecast_...``, one after the other as they are told.

    One costs some milliseconds, so not all need to be foretold each time: those that changed, and the others now and
    then, because a step that goes on lasts longer. Without steps in its picture there is nothing to foretell.

    :param rows: of ``orch_instance``, with ``id``, ``dag_id``, ``run_id``, ``version``, ``run_after``, ``started_at``
        and ``steps``.
    """
    rows = list(rows)
    pictures = Pictures()
    pictures.load(session, {(row.dag_id, row.version) for row in rows})
    for row in rows:
        picture = pictures.of(row.dag_id, row.version)
        if not picture.steps:
            yield row.id, {}
            continue
        live = as_now(picture, entries(row.steps), now)
        history = past.history(session, row.dag_id, row.version, picture)
        began = row.started_at or max(row.run_after, now)
        yield row.id, columns(history.outlook(live, began=began, now=now, seed=f"{row.dag_id}/{row.run_id}"))


def columns(told: Outlook) -> dict[str, Any]:
    """Return the columns of one forecast."""
    return {
        "forecast_p50": told.p50,
        "forecast_p90": told.p90,
        "forecast_n": told.instances,
        "forecast_problem": told.problem or None,
    }
