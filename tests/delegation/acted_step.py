"""A step that people act on, and what becomes of its work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    TaskAwaitingInput,
    TaskDeferred,
)
from fakes import FakeSystem, Killed, World
from step_life import Life

from airflow_enterprise_orch.delegation.attempt import AttemptState
from airflow_enterprise_orch.delegation.control import CONTROL_KEY, with_wish, without_wish
from airflow_enterprise_orch.delegation.job import Phase
from airflow_enterprise_orch.delegation.obeying import Obeyed, read_obeyed
from airflow_enterprise_orch.delegation.operator import DelegateOperator
from airflow_enterprise_orch.delegation.retry import RunAgain

OUTPUTS = {"total": {"log": "log", "match": r"TOTAL=(\d+)", "type": "integer"}}
VALUE = {"total": 7}


def sign(wish_id: str = "k1", **more: Any) -> dict[str, Any]:
    return {"id": wish_id, "by": "maria", "reason": "month end", "at": datetime.now(UTC).isoformat(), **more}


class Step(Life):
    """A step with an output, people who act on it, and Airflow round it."""

    def __init__(self, world: World, **arguments: Any) -> None:
        super().__init__(**{"outputs": OUTPUTS, **arguments})
        self.world = world
        self.die_at = ""
        self.rescheduled = datetime.min.replace(tzinfo=UTC)
        world.sources["log"] = "TOTAL=17"

    def operator(self) -> DelegateOperator:
        operator = super().operator()

        def reached(point: str) -> None:
            if point == getattr(self, "die_at", ""):
                self.die_at = ""
                raise Killed(point)

        operator._reached = reached  # type: ignore[method-assign]
        return operator

    @property
    def control(self) -> Any:
        text = self.cells.get(CONTROL_KEY)
        return json.loads(text) if text else None

    def wish(self, what: str, wish_id: str = "k1", **more: Any) -> Step:
        if what == "complete":
            more = {"value": VALUE, **more}
        self.cells[CONTROL_KEY] = json.dumps(with_wish(self.control, what, sign(wish_id, **more)))
        return self

    def take_back(self, what: str, wish_id: str = "back") -> Step:
        self.cells[CONTROL_KEY] = json.dumps(without_wish(self.control, what, sign(wish_id)))
        return self

    def word(self, wish_id: str = "k1") -> Obeyed | None:
        """What the task says that became of the wish."""
        return read_obeyed({name: json.loads(text) for name, text in self.cells.items()}).get(wish_id)

    def how(self, wish_id: str = "k1") -> str:
        word = self.word(wish_id)
        return word.how if word is not None else ""

    def state(self, wish_id: str = "k1") -> str:
        word = self.word(wish_id)
        return word.state if word is not None else ""

    def goes(self, act: Callable[[], Any]) -> str:
        """Let one part of a try run; return what Airflow hears."""
        try:
            return f"done {act()['total']}"
        except TaskDeferred as deferred:
            self.trigger: Any = deferred.trigger
            return "waits"
        except TaskAwaitingInput as asked:
            self.resumed = dict(asked.kwargs or {})
            return "asked"
        except AirflowRescheduleException as held:
            self.rescheduled = held.reschedule_date
            return "held"
        except AirflowSkipException as skipped:
            self.said = str(skipped)
            return "skipped"
        except AirflowFailException as failed:
            self.said = str(failed)
            return "failed"
        except RunAgain as again:
            self.said = str(again)
            return "runs again"
        except Killed:
            return "died"

    def starts(self) -> str:
        return self.goes(lambda: self.operator().execute(self.context()))

    def comes_to_rest(self) -> str:
        """Let the step go as Airflow and its trigger do until nothing more happens by itself."""
        told = self.starts()
        while told == "waits" and self.trigger.wait.deadline:
            assert datetime.fromisoformat(self.trigger.wait.deadline) <= datetime.now(UTC) + timedelta(seconds=1)
            asyncio.run(FakeSystem(self.world).cancel(self.trigger.wait.handle))
            told = self.goes(lambda: self.collect(timed_out=True))
        if told == "waits" and self.ended_over_there():
            told = self.goes(self.collect)
        return told

    def ended_over_there(self) -> bool:
        assert self.last.handle is not None
        return self.world.jobs[int(self.last.handle.fields["n"])].phase is Phase.ENDED

    def jobs(self) -> str:
        """What became of the work over there."""
        told = []
        for job in self.world.jobs.values():
            result = self.world.results.get(job.handle.job_id)
            told.append(job.phase.value if result is None else result.code)
        return ", ".join(told) or "none"

    def record(self) -> str:
        """What the ledger says of the last attempt."""
        last = self.ledger.last
        if last is None:
            return "none"
        if last.state is not AttemptState.CLOSED:
            return last.state.value
        return f"{last.verdict}/{last.kind}/{last.closed_by}"
