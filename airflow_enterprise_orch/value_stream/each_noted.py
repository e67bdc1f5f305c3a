"""The operator of a step with a list in a stream that wants lateness told: each item notes the job that it waits for.

Apart from the rest because it brings the operator with it. An item is made of its class in the worker, so what a
single step is given as an attribute (``watch_plan.noting_its_job``) would never come there.
"""

from __future__ import annotations

from typing import Any

from airflow_enterprise_orch.alerts.open_job import NotesItsJob
from airflow_enterprise_orch.delegation.operator import DelegateOperator
from airflow_enterprise_orch.delegation.trigger import DelegateTrigger

LONGEST_ITEM = 100
"""Characters of an item that people read, as of its name in Airflow."""


class EachNoted(DelegateOperator):
    """See :class:`~airflow_enterprise_orch.delegation.operator.DelegateOperator`."""

    @property
    def trigger_class(self) -> Any:  # type: ignore[override]
        """What notes the job of this item, in the place of the class of triggers."""
        return NotesItsJob(DelegateTrigger, str(self.item)[:LONGEST_ITEM])
