"""A step that does its work for each item of a list: the task that reads the list, and the one that comes after all.

Between them Airflow maps the work over the list: one task instance for each item, each with a ledger of its own, so
that of fifty only those are run again that failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from airflow_enterprise_orch.value_stream.acted_on import WITHOUT_COMPLETE, ActedOn

if TYPE_CHECKING:
    from airflow.sdk import Context


class ItemsStep(ActedOn):
    """Reads the list, and refuses one that is too long before anything is handed over.

    :param param: the param that is the list.
    :param most: how many items it may have.
    :param step: the step that it is for.
    """

    obeys = WITHOUT_COMPLETE  # the list is the instance's
    template_fields: Sequence[str] = ()

    def __init__(self, *, param: str, most: int, step: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.param, self.most, self.step = param, most, step

    def execute(self, context: Context) -> list[Any]:
        """Return the items; :raises AirflowFailException: in one line, when they are not what they must be."""
        found = context["params"].get(self.param)
        who = f"step {self.step!r}: params.{self.param}"
        if not isinstance(found, (list, tuple)):
            raise AirflowFailException(f"{who} is no list; start the instance with one")
        if len(found) > self.most:
            raise AirflowFailException(
                f"{who} has {len(found)} items, for_each takes {self.most} at most; nothing was handed over"
            )
        twice = [item for item, count in Counter(map(repr, found)).items() if count > 1]
        if twice:
            raise AirflowFailException(
                f"{who} has {', '.join(twice[:5])} more than once, and its work would be done as often; nothing was "
                f"handed over"
            )
        self.log.info("%d items", len(found))
        return list(found)


class DoneStep(ActedOn):
    """Comes after the work of all items, and says how many there were.

    :param items: the task that read the list.
    :param each: the task that did the work.
    """

    must_leave: Mapping[str, str] = {"count": "integer", "done": "integer"}
    template_fields: Sequence[str] = ()

    def __init__(self, *, items: str, each: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.items, self.each = items, each

    def execute(self, context: Context) -> dict[str, int]:
        """Return ``count``, the items, and ``done``, those whose work was not skipped."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        ti = context["ti"]
        count = len(ti.xcom_pull(task_ids=self.items, key="return_value") or ())
        done = RuntimeTaskInstance.get_ti_count(
            dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[self.each], states=["success"]
        )
        return {"count": count, "done": min(done, count)}
