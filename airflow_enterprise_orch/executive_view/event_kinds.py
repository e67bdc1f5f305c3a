"""The kinds of events that are written, in the order in which people choose among them."""

from __future__ import annotations

from airflow_enterprise_orch.executive_view.actions.carrying_out import KINDS as CALLED
from airflow_enterprise_orch.executive_view.actions.planning import OF_ALL, OF_STEP
from airflow_enterprise_orch.executive_view.feed_acts import KINDS as OF_AIRFLOW

OF_FEED = (
    "triggered", "decision", "override", "asked", "parked", "answered", "sub_stream", "late", "ended", "deleted",
)  # fmt: skip
"""What the feed finds evidence of; see ``feed_events.py``."""

EVENT_KINDS: tuple[str, ...] = (
    *OF_FEED,
    *dict.fromkeys(OF_AIRFLOW.values()),
    *dict.fromkeys(CALLED.get(action, action) for action in (*OF_STEP, *OF_ALL)),
)
"""With what people do in Airflow's own pages, and here."""
