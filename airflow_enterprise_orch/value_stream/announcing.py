"""What an instance tells of itself: for which business date it is, and its business key.

A task of Airflow may not look for the runs of another DAG: it must know their ids. So each instance of a stream that
others wait for writes its own down before its first step, as Airflow Variables with a name of their own: one for each
instance, so nothing is changed that another one writes, and nothing has to be locked. What it tells is found by the
beginning of the name::

    enterprise_orch.told.<stream>.d.<business date>.<day of writing>.<hash of the run id>
    enterprise_orch.told.<stream>.k.<hash of the business key>.<day of writing>.<hash of the run id>

Each new instance clears away some of what is older than :data:`KEPT`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator, Variable
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time import comms

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.instance import render_text, run_business_date

if TYPE_CHECKING:
    from airflow.sdk import Context

TOLD_VERSION = 1
PREFIX = "enterprise_orch.told."
KEPT = timedelta(days=35)
LOOKED_AT = 1000
"""So many names are looked at to find what may be cleared away, of each kind."""
CLEARED = 50
"""So many are cleared away by one instance, of each kind."""

Told = Literal["business_date", "business_key"]


def told_by_date(stream: str, day: str) -> str:
    """Return the beginning of the names under which instances of a business date are told of."""
    return f"{PREFIX}{stream}.d.{day}."


def told_by_key(stream: str, key: str) -> str:
    """Return the beginning of the names under which instances with a business key are told of."""
    return f"{PREFIX}{stream}.k.{hashlib.sha256(key.encode()).hexdigest()[:32]}."


class AnnounceStep(BaseOperator):
    """Tells of the instance, for streams that wait for it; the same again when it is run again.

    What it leaves: what it told.

    :param tells: ``business_date``, ``business_key``.
    :param business_key: the template's ``business.key``.
    :param dates: what tells the business date; see :func:`airflow_enterprise_orch.business_date.business_date`.
    :param stream: what the key may see.
    """

    template_fields: Sequence[str] = ()

    def __init__(
        self,
        *,
        tells: Sequence[Told],
        business_key: str = "",
        dates: Mapping[str, Any] | None = None,
        stream: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tells = list(tells)
        self.business_key = business_key
        self.dates = dict(dates or {})
        self.stream = dict(stream or {})

    def execute(self, context: Context) -> dict[str, str]:
        """Write it down, then clear away what is old."""
        told: dict[str, str] = {name: self._value(context, name) for name in self.tells}
        run, stream, today = context["dag_run"], context["ti"].dag_id, datetime.now(UTC).date()
        value = {"version": TOLD_VERSION, "run_id": run.run_id, "after": run.run_after.isoformat(), **told}
        for name in self.tells:
            begins = (told_by_date if name == "business_date" else told_by_key)(stream, told[name])
            Variable.set(
                f"{begins}{today}.{hashlib.sha256(run.run_id.encode()).hexdigest()[:16]}",
                value,
                description=f"What instance {run.run_id} of {stream} tells those that wait for it",
                serialize_json=True,
            )
            # A small part of all keys, another one for each key: together they are all cleared away.
            _clear_away(f"{PREFIX}{stream}.d." if name == "business_date" else begins[:-31], today - KEPT)
        self.log.info("Told: %s", ", ".join(f"{name} {one}" for name, one in told.items()))
        return told

    def _value(self, context: Context, name: Told) -> str:
        if name == "business_key":
            key = render_text(self.business_key, context, self.stream)
            if not key.strip():
                raise AirflowFailException(
                    f"announcement: the business key {self.business_key!r} came out empty; start the instance with its "
                    "params"
                )
            return key
        try:
            return run_business_date(context, self.dates)
        except TemplateError as error:
            raise AirflowFailException(f"announcement: {error}") from error


def _clear_away(begins: str, before: date) -> None:
    """Forget what was told before a day, or some of it."""
    from airflow.sdk.execution_time import task_runner

    message = comms.GetVariableKeys(prefix=begins, limit=LOOKED_AT)
    names: list[str] = task_runner.SUPERVISOR_COMMS.send(message).keys  # type: ignore[union-attr]
    for name in [name for name in names if _day_of(name) < before.isoformat()][:CLEARED]:
        Variable.delete(name)


def _day_of(name: str) -> str:
    """Return the day on which something was told; a name that is none of ours is never old."""
    parts = name.split(".")
    return parts[5] if len(parts) == 7 else "9999"
