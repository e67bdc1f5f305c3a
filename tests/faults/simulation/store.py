"""Airflow's task state store as one try sees it: it looks at the owner before it writes, not while."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.errors import OwnershipLost

if TYPE_CHECKING:
    from .schedule import Schedule

SET_FAULTS = ("refused", "fails after the write", "stalls", "stalls for long", "said twice")
HEARTBEAT_LOST = 300.0
GET_FAULTS = ("fails",)


class StoreDown(Exception):
    """The API server does not answer a read; the SDK gives up and raises something that is none of ours."""


class Stored:
    """The cells of one task instance of one DAG run; they outlive every try, and go with the run."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.deleted = False


class SimulatedCells:
    """What one try reads and writes (:class:`~airflow_enterprise_orch.delegation.ledger_store.Cells`).

    :param owns: tells whether this try's id is still the task instance's.
    """

    def __init__(self, schedule: Schedule, stored: Stored, owns: Callable[[], bool]) -> None:
        self.schedule = schedule
        self.stored = stored
        self.owns = owns

    def get(self, key: str) -> object:
        schedule = self.schedule
        schedule.point("get")
        if schedule.fault("store get", len(GET_FAULTS)):
            schedule.happened("store get: fails")
            raise StoreDown(f"reading {key}")
        value = self.stored.values.get(key) if self.owns() else None
        return self._copied(value)

    def _copied(self, value: Any) -> Any:
        # What is written is made anew each time, so a copy is needed only to be sure that it is plain JSON.
        return json.loads(json.dumps(value)) if self.schedule.real_json else value

    def set(self, key: str, value: Any) -> None:
        schedule = self.schedule
        schedule.point("set")
        chosen = schedule.fault("store set", len(SET_FAULTS))
        fault = SET_FAULTS[chosen - 1] if chosen else ""
        if fault:
            if fault == "said twice" and not schedule.twins:
                fault = "stalls"
            schedule.happened(f"store set: {fault}")
        if not self.owns():
            schedule.scheduler.tell(f"set {key} refused: another try owns the task instance")
            raise OwnershipLost("another try owns the task instance")
        if fault == "refused":
            raise OwnershipLost("the API server answered 500")
        value = self._copied(value)
        if fault.startswith("stalls"):
            wait = (2.0, 20.0) if fault == "stalls" else (400.0, 1500.0)
            self._later(wait[schedule.choices.among("stall", 2)], key, value)
            return
        self._commit(key, value, "")
        if fault == "fails after the write":
            raise OwnershipLost("the API server answered 502")
        if fault == "said twice":
            # The client's first request timed out and was repeated; the first one is still under way over there.
            seconds = (20.0, 900.0)[schedule.choices.among("twin", 2)]
            schedule.late_writes += 1
            schedule.scheduler.after(seconds, lambda: self._commit_late(key, value, " (said twice)"))
        schedule.point("written")

    def _later(self, seconds: float, key: str, value: Any) -> None:
        """Accept the write now and do it later, whether or not the caller lives to see it."""
        done = False

        def commit() -> None:
            nonlocal done
            done = True
            self._commit_late(key, value, " (stalled)")

        self.schedule.late_writes += 1
        self.schedule.scheduler.after(seconds, commit)
        if seconds > HEARTBEAT_LOST:
            # An API server that hangs hears no heartbeats either.
            self.schedule.unheard()
        while not done:
            self.schedule.scheduler.sleep(seconds / 2 + 0.001)
            self.schedule.point("stalled")

    def _commit_late(self, key: str, value: Any, how: str) -> None:
        self.schedule.late_writes -= 1
        self.schedule.late_landed = True
        self._commit(key, value, how)

    def _commit(self, key: str, value: Any, how: str) -> None:
        if self.stored.deleted:
            return  # the rows went with the run
        before = self.stored.values.get(key)
        self.stored.values[key] = value
        if self.schedule.scheduler.trace is not None:
            self.schedule.scheduler.tell(f"set {key}{how} = {_short(value)}")
        self.schedule.judge.written(key, before, value, late=how == " (said twice)")


def _short(value: Any) -> str:
    if isinstance(value, dict) and "attempts" in value:
        return "; ".join(_short(attempt) for attempt in value["attempts"])
    if isinstance(value, dict) and "number" in value:
        told = ("state", "verdict", "kind", "sends", "waits", "released", "stopping", "closed_by", "max_tries")
        words = " ".join(f"{name}={value[name]}" for name in told if name in value)
        job = f" job={value['handle']['job_id']}" if "handle" in value else ""
        return f"#{value['number']} key=..{value['key'][-3:]}{job} {words}"
    return str(value)[:100]
