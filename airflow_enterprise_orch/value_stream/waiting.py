"""Telling, while a step waits for a person, that it does: at once, and again after a while in which nobody answered.

Airflow wakes a step that waits for input only when its time is up. So what is to be told later wakes it with a first,
shorter limit; it tells, and waits on for the rest. An answer that comes in between is kept by Airflow, which goes on
with it as soon as the step would wait again: the question must not be written anew, because that forgets the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import TaskAwaitingInput

from airflow_enterprise_orch.alerts import callbacks

if TYPE_CHECKING:
    from airflow.sdk import Context


def later(context: Context, within: float | None) -> list[float]:
    """Return after how many seconds something is to be told while nobody answers.

    :param within: how long the step waits at most.
    """
    return [after for after in callbacks.waits(context) if after > 0 and (within is None or after < within)]


class TellsWhileItWaits:
    """What a step that waits for a person has, beside Airflow's operator.

    :ivar within: seconds that it waits at most.
    :ivar subject: what is asked.
    :ivar defaults: the answer when nobody gives one; None when that is a failure.
    """

    within: float | None
    subject: str
    defaults: list[str] | None

    def ask(self, context: Context, ask: Callable[[Context], object]) -> NoReturn:
        """Ask, tell what is to be told at once, and let Airflow wake the step for what is to be told later.

        :param ask: Airflow's operator's own ``execute``, which writes the question and parks the task.
        """
        stages, defaults = later(context, self.within), self.defaults
        if stages:
            # Airflow would answer with them when the first limit is up, which is only there to tell something.
            self.defaults = None
        try:
            ask(context)
        except TaskAwaitingInput as parked:
            callbacks.waiting(context, self.subject)
            if stages:
                parked.method_name = "still_waiting"
                parked.kwargs = {"subject": self.subject, "stages": stages}
                parked.timeout = timedelta(seconds=stages[0])
            raise
        finally:
            self.defaults = defaults
        raise AssertionError("Airflow's operator parks the task")

    def still_waiting(self, context: Context, event: dict[str, Any], subject: str, stages: list[float]) -> Any:
        """Tell that nobody has answered for so long, and wait on; or go on with the answer.

        :param stages: the seconds after which something is told; the first of them have passed.
        """
        if event.get("error_type") != "timeout":
            return self.execute_complete(context, event)
        if not stages:
            return self.execute_complete(context, unanswered(self.defaults, event))
        callbacks.waiting(context, subject, stages[0])
        until = stages[1] if len(stages) > 1 else self.within
        raise TaskAwaitingInput(
            method_name="still_waiting",
            kwargs={"subject": subject, "stages": stages[1:]},
            timeout=timedelta(seconds=until - stages[0]) if until is not None else None,
        )

    if TYPE_CHECKING:  # the operator has it, and what stood here would come before its base class's

        def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
            """Go on with an answer."""


def unanswered(options: list[str] | None, event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event of a time-out that ``options`` answer, as Airflow writes it; without them the event itself."""
    if options is None:
        return dict(event)
    return {
        "chosen_options": options,
        "params_input": {},
        "responded_at": datetime.now(UTC),
        "responded_by_user": None,
        "timedout": True,
    }
