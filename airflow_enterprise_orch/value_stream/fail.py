"""A step that ends its path as failed, because the template says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowFailException

from airflow_enterprise_orch.instance import render_text
from airflow_enterprise_orch.value_stream.acted_on import ActedOn

if TYPE_CHECKING:
    from airflow.sdk import Context


class FailStep(ActedOn):
    """Fails, for good.

    :param message: why; may use what the stream's templates may see.
    :param stream: what the message may see.
    """

    # Airflow would render it with connections and variables in reach; it is rendered here instead.
    template_fields: Sequence[str] = ()

    def __init__(self, *, message: str, stream: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message = message
        self.stream = dict(stream or {})

    def execute(self, context: Context) -> NoReturn:
        """Say why, and fail; :raises AirflowFailException: always, which Airflow never retries."""
        raise AirflowFailException(render_text(self.message, context, self.stream))
