"""The life of one task instance as Airflow 3.3 leads it.

The facts that matter: a new id with every retry and every clear, and none with a deferral; a state may be reported
only by the id that is running; a clear of a running task leaves ``max_tries`` alone, any other one sets it to the try
plus the task's retries; Airflow learns of a dead worker some time after its death, and cannot tell it from one that
sleeps. (``airflow/models/taskinstance.py``: ``clear_task_instances``, ``prepare_db_for_next_try``;
``airflow/api_fastapi/execution_api/routes/task_instances.py``: ``ti_run``, ``ti_update_state``.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.exceptions import AirflowFailException

from airflow_enterprise_orch.delegation.conduct import Conduct
from airflow_enterprise_orch.delegation.conduct_types import Again, Asked, Done, Failed, Held, Next, Skipped, Wait
from airflow_enterprise_orch.delegation.control import CONTROL_KEY, Wishes, read_wishes, with_wish, without_wish
from airflow_enterprise_orch.delegation.ledger import RetryRule, TaskTry
from airflow_enterprise_orch.delegation.ledger_store import LedgerStore
from airflow_enterprise_orch.delegation.outcome import OutcomeRules, OutputRule
from airflow_enterprise_orch.delegation.retry import DelegationRetryPolicy, RunAgain
from airflow_enterprise_orch.delegation.submission import Clock
from airflow_enterprise_orch.delegation.task_run import told_in_one_line
from airflow_enterprise_orch.delegation.work import Work
from airflow_enterprise_orch.errors import ConnectionBlocked, ConnectionProblem, OrchestrationError, OwnershipLost

from .remote import System
from .scheduler import Actor, drive
from .store import SimulatedCells, Stored, StoreDown
from .waiting_room import TriggerRow

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from airflow_enterprise_orch.delegation.system import RemoteSystem

    from .schedule import Schedule

HOLD_LOOK = 3600.0
END_STATES = ("success", "failed", "skipped", "gone")
RESTS = ("success", "failed", "skipped", "awaiting_input")


class SimulatedWork(Work):
    """What is to be done."""

    what: str = "book"


WORK = SimulatedWork()
JUDGED: tuple[OutcomeRules, Sequence[OutputRule]] = (OutcomeRules(), ())
POLICY = DelegationRetryPolicy()


@dataclass
class SimulatedStep:
    """What the template says."""

    rules: Sequence[RetryRule] = ()
    time_limit: float | None = None

    def work(self) -> Work:
        return WORK

    def judge(self, consequence: str) -> tuple[OutcomeRules, Sequence[OutputRule]]:
        return JUDGED

    def completed(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        return given


@dataclass
class SimulatedSite:
    """The connection, and what people wish."""

    schedule: Schedule
    cells: SimulatedCells

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RemoteSystem]:
        self.schedule.point("open")
        if self.schedule.blocked_until > self.schedule.scheduler.time:
            raise ConnectionBlocked("sim", "blocked", "lift it")
        yield System(self.schedule.remote)

    def wishes(self, *, holds: bool = True) -> Wishes:
        self.schedule.point("wishes")
        control = self.cells.get(CONTROL_KEY)
        now = self.schedule.scheduler.now()
        return read_wishes(control, None, stream="sim", system="sim", connection="sim", now=now)


@dataclass
class SimulatedClock(Clock):
    """Virtual time."""

    schedule: Schedule

    def now(self) -> datetime:
        return self.schedule.scheduler.now()

    async def sleep(self, duration: timedelta) -> None:
        self.schedule.scheduler.sleep(duration.total_seconds())
        self.schedule.point("slept")


@dataclass(eq=False)
class Worker:
    """One process that runs one part of one try."""

    ti_id: int
    try_number: int
    max_tries: int
    method: str
    arguments: dict[str, Any]
    should_retry: bool
    began: float = 0.0
    actor: Actor | None = None
    stopped: bool = False
    reported: bool = False


@dataclass
class TaskLife:
    """One task instance, through all of its tries and all of its runs of the same name."""

    schedule: Schedule
    step: SimulatedStep
    retries: int
    run: int = 1
    state: str = "none"
    ti_id: int = 1
    ids: int = 1
    try_number: int = 0
    max_tries: int = 0
    stored: Stored = field(default_factory=Stored)
    method: str = "start"
    arguments: dict[str, Any] = field(default_factory=dict)
    same_try: bool = False
    trigger: TriggerRow | None = None
    asked: dict[int, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    question: Asked | None = None
    worker: Worker | None = None
    workers: list[Worker] = field(default_factory=list)

    def begin(self) -> None:
        """The run is created."""
        self.max_tries = self.retries
        self.state = "none"
        self._soon()

    # The scheduler.

    def _enter(self, state: str) -> None:
        if self.schedule.scheduler.trace is not None:
            self.schedule.scheduler.tell(f"* {self.state} -> {state} (try {self.try_number}, id {self.ti_id})")
        self.state = state
        if state in RESTS:
            ti_id = self.ti_id
            for seconds in (40.0, 400.0):
                self.schedule.scheduler.after(seconds, lambda: self._rests(ti_id, state))

    def _rests(self, ti_id: int, state: str) -> None:
        if (self.ti_id, self.state) == (ti_id, state):
            self.schedule.idle()

    def _soon(self, seconds: float = 1.0, state: str = "") -> None:
        """Queue the task after a while, if nothing has happened to it until then."""
        if state:
            self._enter(state)
        ti_id, state = self.ti_id, self.state

        def queue() -> None:
            if (self.ti_id, self.state) != (ti_id, state):
                return
            self.schedule.idle()
            if (self.ti_id, self.state) != (ti_id, state):
                return
            if not self.same_try:
                self.try_number += 1
                self.method, self.arguments = "start", {}
            self.same_try = False
            self._enter("queued")
            self.schedule.scheduler.after(0.5, lambda: self._start(ti_id))

        self.schedule.scheduler.after(seconds, queue)

    def _start(self, ti_id: int) -> None:
        self.schedule.idle()
        if self.ti_id != ti_id or self.state != "queued":
            return
        self._enter("running")
        eligible = self.try_number <= self.max_tries
        began = self.schedule.scheduler.time
        worker = Worker(ti_id, self.try_number, self.max_tries, self.method, self.arguments, eligible, began)
        self.worker = worker
        self.workers.append(worker)
        worker.actor = self.schedule.scheduler.spawn(
            f"worker {len(self.workers)} try {worker.try_number}", lambda: self._work(worker)
        )
        self.schedule.worker_of[worker.actor] = worker

    # The worker.

    def _work(self, worker: Worker) -> None:
        schedule = self.schedule
        schedule.point("begins")
        failure: BaseException | None = None
        comes_next: Next | None = None
        try:
            with told_in_one_line():
                comes_next = self._conducted(worker)
        except AirflowFailException as error:
            failure = error
        except (OrchestrationError, StoreDown) as error:
            failure = error
        if schedule.scheduler.trace is not None:
            schedule.scheduler.tell(f"-> {comes_next if comes_next is not None else repr(failure)}"[:300])
        schedule.point("before report")
        self._report(worker, comes_next, failure)

    def _conducted(self, worker: Worker) -> Next:
        schedule = self.schedule
        stored = self.stored
        cells = SimulatedCells(schedule, stored, lambda: self.ti_id == worker.ti_id and self.stored is stored)

        def reached(point: str) -> None:
            schedule.count(f"point: {point}")
            schedule.point(point)
            if worker.stopped:
                raise OwnershipLost("Airflow stopped this try")

        conduct = Conduct(
            name="sim.job on connection 'sim'",
            step=self.step,
            site=SimulatedSite(schedule, cells),
            store=LedgerStore(cells, TaskTry(worker.try_number, worker.max_tries, self.retries)),
            clock=SimulatedClock(schedule),
            try_id=str(worker.ti_id),
            say=schedule.scheduler.tell,
            reached=reached,
            make_key=schedule.make_key,
        )
        schedule.count(f"part: {worker.method}")
        if worker.method == "collect":
            event = worker.arguments
            looks = bool(event.get("look"))
            schedule.count(f"looks: {looks}")
            return drive(
                conduct.collect(event["key"], timed_out=event["timed_out"], elsewhere=event["elsewhere"], look=looks)
            )
        if worker.method == "answered":
            return drive(conduct.answered(**worker.arguments))
        return drive(conduct.start())

    def _report(self, worker: Worker, comes_next: Next | None, failure: BaseException | None) -> None:
        """Tell Airflow how it went; it listens only to the id that runs."""
        if isinstance(comes_next, Asked) and self.ti_id == worker.ti_id:
            self._upsert_question(worker, comes_next)
            self.schedule.point("asked")
        if self.ti_id != worker.ti_id or self.state != "running":
            self.schedule.count("report: refused")
            self.schedule.scheduler.tell("the report is refused")
            self.schedule.scheduler.after(2.0, lambda: self.lost(worker))
            return
        worker.reported = True
        self.schedule.count(f"report: {type(comes_next or failure).__name__}")
        match comes_next:
            case Done():
                if not self.schedule.judge.completed():
                    self.schedule.judge.succeeded(self)
                self._enter("success")
            case Wait():
                self._enter("deferred")
                self.trigger = TriggerRow(self.schedule, worker.ti_id, comes_next, worker.try_number)
                self.trigger.begin()
            case Asked():
                self.question = comes_next
                self.schedule.judge.parked(comes_next)
                self._enter("awaiting_input")
                self.schedule.people.asked(self.ti_id, comes_next)
            case Held():
                self.schedule.judge.held()
                self.same_try, self.method, self.arguments = True, "start", {}
                self._soon(HOLD_LOOK, "up_for_reschedule")
            case Skipped():
                self.schedule.judge.left_alone("it is skipped")
                self.schedule.judge.overruled()
                self._enter("skipped")
            case Failed(message):
                if "was left alone" in message:
                    self.schedule.judge.gave_up("the job that was left alone has not ended")
                self._failed(worker, AirflowFailException(message))
            case Again(message, delay):
                self._failed(worker, RunAgain(message, delay))
            case None:
                assert failure is not None
                self._failed(worker, failure)

    def _upsert_question(self, worker: Worker, asked: Asked) -> None:
        told = (asked.question, asked.options)
        if self.asked.setdefault(worker.ti_id, told) != told:
            self.schedule.judge.violation(
                "a person is shown an old question", f"{told} over {self.asked[worker.ti_id]}"
            )

    def _failed(self, worker: Worker, failure: BaseException) -> None:
        if isinstance(failure, AirflowFailException):
            if isinstance(failure.__cause__, ConnectionProblem):
                self.schedule.judge.gave_up("the connection needs a person")
            self._enter("failed")
            return
        decision = POLICY.evaluate(failure, worker.try_number, worker.max_tries)
        if decision.action is RetryAction.FAIL or not worker.should_retry:
            self.schedule.judge.gave_up("no retry is left")
            self._enter("failed")
            return
        assert decision.retry_delay is not None
        self._new_id()
        self._soon(decision.retry_delay.total_seconds() + 1, "up_for_retry")

    # What Airflow notices.

    def lost(self, worker: Worker) -> None:
        """The executor or the heartbeat says that the worker is gone."""
        if self.worker is not worker or worker.reported:
            return
        if self.state == "restarting":
            self._soon(1.0, "up_for_retry")
        elif self.state == "running" and self.ti_id == worker.ti_id:
            if self.try_number <= self.max_tries:
                self._new_id()
                self._soon(10.0, "up_for_retry")
            else:
                self.schedule.judge.gave_up("no retry is left")
                self._enter("failed")

    def fired(self, trigger: TriggerRow, event: dict[str, Any]) -> None:
        """A trigger fires; only the one that the task waits for counts."""
        if self.trigger is not trigger or self.state != "deferred":
            return
        self.trigger = None
        self.same_try, self.method, self.arguments = True, "collect", event
        self._soon(1.0, "scheduled")

    def answered(self, ti_id: int, event: dict[str, Any], asked: Asked) -> None:
        """A person has answered."""
        if self.ti_id != ti_id or self.state != "awaiting_input":
            return
        self.question = None
        self.same_try, self.method = True, "answered"
        self.arguments = {"event": event, "asked": list(asked.options), "key": asked.key}
        self._soon(1.0, "scheduled")

    def _new_id(self) -> None:
        self.ids += 1
        self.ti_id = self.ids

    # What people do.

    def clear(self) -> None:
        """As ``clear_task_instances``."""
        self._new_id()
        if self.state == "running":
            worker = self.worker
            self._enter("restarting")
            assert worker is not None
            self.schedule.stop_worker(worker)
            return
        if self.state == "restarting":
            return
        self._drop_trigger()
        self.max_tries = self.try_number + self.retries
        self.same_try = False
        self.question = None
        self._soon(1.0, "none")

    def wish(self, what: str, number: int, **more: Any) -> None:
        """Leave a wish, and have the task look, as the action does."""
        said = {"id": f"w{number}", "by": "ann", "reason": "because", "at": self.schedule.scheduler.now().isoformat()}
        self._control(with_wish(self.stored.values.get(CONTROL_KEY), what, {**said, **more}))
        if what not in ("hold", "release") or self.state in ("deferred", "running"):
            self.nudge()

    def release(self, number: int) -> None:
        """Lift the hold, and wake the step."""
        said = {"id": f"r{number}", "by": "ann", "reason": "done", "at": self.schedule.scheduler.now().isoformat()}
        self._control(without_wish(self.stored.values.get(CONTROL_KEY), "hold", said))
        if self.state == "deferred":
            self.clear()
        else:
            self._wake()

    def _control(self, record: dict[str, Any]) -> None:
        self.stored.values[CONTROL_KEY] = record

    def nudge(self) -> None:
        """Have the task look at its wishes: what waits for long is woken or cleared."""
        running = self.state == "running" and self.schedule.choices.among("restarts", 2)
        if running or self.state in ("deferred", "awaiting_input", "failed"):
            self.clear()
        else:
            self._wake()

    def _wake(self) -> None:
        if self.state == "up_for_reschedule":
            self.same_try, self.method, self.arguments = True, "start", {}
            self._soon()

    def mark(self, state: str) -> None:
        """Mark the task as failed or as a success."""
        worker = self.worker
        if self.state in ("running", "restarting") and worker is not None and not worker.reported:
            self.schedule.stop_worker(worker)
        self._enter(state)
        self.question = None
        self.same_try = False
        self._drop_trigger()

    def delete(self) -> None:
        """Delete the run; it is created again with the same names."""
        worker = self.worker
        if self.state in ("running", "restarting") and worker is not None and not worker.reported:
            self.schedule.stop_worker(worker)
        self._enter("gone")
        self.stored.deleted = True
        self.question = None
        self.same_try = False
        self._drop_trigger()
        self._new_id()
        ti_id = self.ti_id

        def again() -> None:
            if self.ti_id == ti_id and self.state == "gone":
                self.run += 1
                self.stored = Stored()
                self.try_number = 0
                self._new_id()
                self.begin()

        self.schedule.scheduler.after(30.0, again)

    def _drop_trigger(self) -> None:
        trigger, self.trigger = self.trigger, None
        if trigger is not None:
            trigger.dropped()
