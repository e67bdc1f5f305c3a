"""A step that waits for a moment, by Airflow's own trigger: without a worker.

The moment is found out once, when the step begins, and kept in the task state store: whatever dies, is retried or
cleared meanwhile, the step waits for that same moment.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from airflow_enterprise_orch.instance import render_text
from airflow_enterprise_orch.value_stream.acted_on import ActedOn
from airflow_enterprise_orch.value_stream.moments import LONGEST, Day, IfPast, next_time, read_moment

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_enterprise_orch.delegation.control import Wish

WAIT_KEY = "orch.wait"
WAIT_VERSION = 1
SHORTEST_DEFERRAL = timedelta(seconds=10)
"""What is left of a wait is slept when it is shorter: Airflow fails tasks whose trigger fires before the scheduler has
read that they were deferred."""


class WaitStep(ActedOn):
    """Waits for a moment; one of ``clock``, ``at`` and ``seconds``.

    What it leaves for later steps: ``until``, ISO 8601 in UTC.

    :param clock: a time of day, ``18:00``.
    :param timezone: of ``clock``, and of an ``at`` that has no offset.
    :param days: the days of the week that count for ``clock``; all without.
    :param at: ISO 8601; may use what the stream's templates may see.
    :param seconds: from when the step begins.
    :param if_past: what happens when the moment is past already: on that day, of ``clock``.
    :param stream: what ``at`` may see.
    """

    may_leave: ClassVar[Mapping[str, str]] = {"until": "string"}
    # Airflow would render these with connections and variables in reach; they are rendered here instead.
    template_fields: Sequence[str] = ()

    def __init__(
        self,
        *,
        clock: str | None = None,
        timezone: str | None = None,
        days: Sequence[Day] = (),
        at: str | None = None,
        seconds: float | None = None,
        if_past: IfPast = "next_day",
        stream: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.clock, self.timezone, self.days = clock, timezone, list(days)
        self.at, self.seconds, self.if_past = at, seconds, if_past
        self.stream = dict(stream or {})

    def execute(self, context: Context) -> dict[str, str]:
        """Wait, in Airflow's triggerer if it is not over in a moment.

        :raises AirflowFailException: in one line, when there is no such moment; trying again would not help.
        """
        until = self._until(context)
        left = until - datetime.now(UTC)
        if left > SHORTEST_DEFERRAL:
            self.log.info("Waits until %s", until.isoformat())
            self.defer(trigger=DateTimeTrigger(moment=until), method_name="execute_complete")
        if left > timedelta():
            time.sleep(left.total_seconds())
        return {"until": until.isoformat()}

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, str]:
        """Go on: the moment has come."""
        return {"until": self._until(context).isoformat()}

    def completed(self, context: Mapping[str, Any], end: Wish) -> dict[str, Any]:
        """Wait no longer: what it leaves is when that was, or what a person gave."""
        return {"until": datetime.now(UTC).isoformat(), **super().completed(context, end)}

    def _until(self, context: Context) -> datetime:
        """Return the moment that is kept, or find it out and keep it."""
        store = context["task_state_store"]
        kept = store.get(WAIT_KEY)
        if kept is None:
            now = datetime.now(UTC)
            kept = {"version": WAIT_VERSION, "begun": now.isoformat(), "until": self._found(context, now).isoformat()}
            store.set(WAIT_KEY, kept, retention=NEVER_EXPIRE)
        try:
            if not isinstance(kept, Mapping) or kept.get("version") != WAIT_VERSION:
                raise ValueError(f"it is no record of version {WAIT_VERSION}")
            return read_moment(str(kept["until"]), None)
        except (KeyError, ValueError) as error:
            raise AirflowFailException(
                f"step {self.task_id!r}: what is kept under {WAIT_KEY!r} in its task state store cannot be read: "
                f"{error}; delete it to wait anew"
            ) from error

    def _found(self, context: Context, now: datetime) -> datetime:
        try:
            if self.seconds is not None:
                return now + timedelta(seconds=self.seconds)
            if self.clock is not None:
                return next_time(now, self.clock, self.timezone or "UTC", self.days, self.if_past)
            moment = read_moment(render_text(self.at or "", context, self.stream).strip(), self.timezone)
            if moment <= now and self.if_past == "fail":
                raise ValueError(f"{moment.isoformat()} is past already")
            if moment - now > LONGEST:
                raise ValueError(f"{moment.isoformat()} is more than {LONGEST.days} days away")
        except ValueError as error:
            raise AirflowFailException(f"step {self.task_id!r}: {error}") from error
        return moment
