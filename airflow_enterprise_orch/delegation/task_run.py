"""The edge between the conduct of a step and Airflow: its task state store, and its words for a definitive failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from airflow_enterprise_orch.delegation.attempt import LedgerBroken
from airflow_enterprise_orch.delegation.control import ControlBroken
from airflow_enterprise_orch.errors import ConnectionProblem, OwnershipLost, RequestRejected, TemplateError

if TYPE_CHECKING:
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor


class StateStoreCells:
    """Airflow's task state store of one task instance, as one try sees it."""

    def __init__(self, accessor: TaskStateStoreAccessor) -> None:
        self._accessor = accessor

    def get(self, key: str) -> object:
        """Return the JSON value, None when there is none or when this try owns the task instance no more."""
        value: object = self._accessor.get(key)
        return value

    def set(self, key: str, value: Any) -> None:
        """Write a JSON value for ever; :raises OwnershipLost: when Airflow refuses it."""
        try:
            self._accessor.set(key, value, retention=NEVER_EXPIRE)
        except AirflowRuntimeError as error:
            raise OwnershipLost(
                f"the task state store cannot be written ({error}): this try may own the task instance no more, "
                f"so it does nothing more"
            ) from error


class told_in_one_line:
    """Turn what only a person can change into Airflow's definitive failure, so that no retry is wasted on it."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Translate."""
        definitive = (ConnectionProblem, ControlBroken, LedgerBroken, RequestRejected, TemplateError)
        if isinstance(error, definitive):
            raise AirflowFailException(str(error)) from error
