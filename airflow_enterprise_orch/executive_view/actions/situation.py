"""How one instance stands in Airflow's own tables at the moment somebody acts on it.

The run's row is locked first, as the scheduler locks it: between this reading and the writing that follows from it,
nobody schedules anything of the instance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.models.dag import DagModel
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.task_state_store import TaskStateStoreModel as Cell
from airflow.models.taskinstance import TaskInstance
from airflow.models.variable import Variable
from sqlalchemy import select

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState
from airflow_enterprise_orch.delegation.control import CONTROL_KEY, HOLDS_VARIABLE, Wish, read_wishes
from airflow_enterprise_orch.executive_view.feed_instance import attempts_of
from airflow_enterprise_orch.executive_view.pictures import Picture, Pictures, PictureStep
from airflow_enterprise_orch.executive_view.tables import INSTANCE
from airflow_enterprise_orch.value_stream.decision_record import (
    DECISION_KEY,
    Decision,
    DecisionUnreadable,
    read_decision,
)

if TYPE_CHECKING:
    from airflow.serialization.definitions.dag import SerializedDAG
    from sqlalchemy.orm import Session

Name = tuple[str, int]
"""A task instance within its run: task id and map index."""

KEPT = "orch."
"""How the keys of what this package keeps in the task state store begin."""
HELPERS = frozenset({"choice", "over", "hold", "meeting"})
"""Kinds of tasks that stand before a step and do no work; see ``value_stream/paths.py``."""


class Phase(StrEnum):
    """How far a step is."""

    AHEAD = "ahead"
    """Its turn has not come."""
    QUEUED = "queued"
    HELD = "held"
    RUNNING = "running"
    """A worker is at it: it is handed over, or its result is brought home."""
    WAITING = "waiting"
    """Its job is out there, or a moment is waited for."""
    RETRY = "retry"
    ASKING = "asking"
    """A person is asked."""
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    """Something before it failed."""
    SKIPPED = "skipped"
    GONE = "gone"
    """Airflow has no such task."""


OF_STATE: Mapping[str | None, Phase] = {
    None: Phase.AHEAD, "scheduled": Phase.QUEUED, "queued": Phase.QUEUED, "running": Phase.RUNNING,
    "restarting": Phase.RUNNING, "deferred": Phase.WAITING, "up_for_retry": Phase.RETRY,
    "up_for_reschedule": Phase.HELD, "awaiting_input": Phase.ASKING, "success": Phase.DONE, "failed": Phase.FAILED,
    "upstream_failed": Phase.BLOCKED, "skipped": Phase.SKIPPED, "removed": Phase.GONE,
}  # fmt: skip
NOT_BEGUN = frozenset({Phase.AHEAD, Phase.QUEUED, Phase.HELD})
AT_WORK = frozenset({Phase.RUNNING, Phase.WAITING, Phase.RETRY, Phase.ASKING})
OVER = frozenset({Phase.DONE, Phase.FAILED, Phase.BLOCKED, Phase.SKIPPED, Phase.GONE})
_NEWEST_FIRST = (Phase.FAILED, Phase.ASKING, Phase.RUNNING, Phase.WAITING, Phase.RETRY, Phase.HELD, Phase.QUEUED)
"""Of a step with a list, what its items tell of it."""


@dataclass(frozen=True)
class Task:
    """One task instance.

    :param row: Airflow's own; only ``carrying_out.py`` changes it.
    :param cells: what its task state store holds, as JSON texts.
    """

    task_id: str
    map_index: int
    row: TaskInstance
    cells: Mapping[str, str]

    @property
    def name(self) -> Name:
        """Which it is."""
        return self.task_id, self.map_index

    @property
    def state(self) -> str | None:
        """Airflow's word for it."""
        return None if self.row.state is None else str(getattr(self.row.state, "value", self.row.state))

    @property
    def phase(self) -> Phase:
        """How far it is."""
        return OF_STATE.get(self.state, Phase.GONE)

    @property
    def control(self) -> Any:
        """What people wish of it, as it is kept; None without."""
        text = self.cells.get(CONTROL_KEY)
        return None if text is None else json.loads(text)

    @cached_property
    def attempts(self) -> Sequence[Attempt]:
        """Its attempts, the oldest first; none where its ledger cannot be read."""
        return attempts_of(self.cells)

    @property
    def open_attempt(self) -> Attempt | None:
        """The attempt that nobody has proven to be over."""
        last = self.attempts[-1] if self.attempts else None
        return last if last is not None and last.state is not AttemptState.CLOSED else None

    @property
    def job(self) -> str | None:
        """Its newest remote job, for people."""
        with_job = [one for one in self.attempts if one.handle is not None]
        if not with_job or with_job[-1].handle is None:
            return None
        return f"{with_job[-1].handle.job_id} on {with_job[-1].system}"


@dataclass(frozen=True)
class Situation:
    """One instance.

    :param instance_id: of its row in our table.
    :param seen: that row's columns which actions change or tell.
    :param paused: nothing of the stream is scheduled.
    :param holds: the Variable with the holds of streams, systems and connections.
    """

    instance_id: int
    seen: Mapping[str, Any]
    picture: Picture
    run: DagRun
    tasks: Mapping[Name, Task]
    paused: bool
    holds: Any
    now: datetime
    _session: Session = field(repr=False)

    @property
    def key(self) -> str:
        """The instance's name for people."""
        return str(self.seen["business_key"])

    @property
    def live(self) -> bool:
        """Whether the run is not over."""
        return str(self.run.state) in ("queued", "running")

    @cached_property
    def dag(self) -> SerializedDAG | None:
        """The DAG that the run runs by."""
        return DBDagBag(load_op_links=False).get_dag_for_run(dag_run=self.run, session=self._session)

    def of(self, task_id: str) -> list[Task]:
        """Return the instances of one task, by item."""
        return sorted((one for one in self.tasks.values() if one.task_id == task_id), key=lambda one: one.map_index)

    def own(self, step: PictureStep) -> Task | None:
        """Return the task that has the step's name."""
        return self.tasks.get((step.id, -1))

    def entry(self, step: PictureStep) -> Task | None:
        """Return the step's first task: of one with a list that which reads the list."""
        items = self._helper(step, "items")
        return self.tasks.get((items, -1)) if items else self.own(step)

    def items(self, step: PictureStep) -> list[Task]:
        """Return the tasks that do a step's work for each item of its list."""
        return [one for one in self.of(step.each) if one.map_index >= 0] if step.each else []

    def undoing(self, step: PictureStep) -> Task | None:
        """Return the task that undoes the step."""
        return self.tasks.get((step.undone_by, -1)) if step.undone_by else None

    def work(self, step: PictureStep, map_index: int | None = None) -> list[Task]:
        """Return the tasks of a step that people can act on.

        :param map_index: only that item.
        """
        if map_index is not None:
            return [one for one in self.items(step) if one.map_index == map_index]
        found = [self.entry(step), *self.items(step), self.own(step)]
        return list({one.name: one for one in found if one is not None}.values())

    def helpers(self, step: PictureStep) -> list[Task]:
        """Return the tasks that stand before a step and do no work."""
        kinds: Mapping[str, str] = step.raw.get("tasks", {})
        names = {name for name, kind in kinds.items() if kind in HELPERS}
        return [one for one in self.tasks.values() if one.task_id in names]

    def every(self, step: PictureStep) -> list[Task]:
        """Return all tasks of a step but those that undo it."""
        return [*self.helpers(step), *self.work(step)]

    def phase(self, step: PictureStep) -> Phase:
        """Return how far a step is."""
        own = self.own(step)
        if own is None:
            return Phase.GONE
        if not step.each or own.phase not in (Phase.AHEAD, Phase.BLOCKED):
            return own.phase
        items = {one.phase for one in self.items(step)}
        found = next((phase for phase in _NEWEST_FIRST if phase in items), None)
        if found is not None and (own.phase is not Phase.BLOCKED or found is Phase.FAILED):
            return found
        entry = self.entry(step)
        return own.phase if entry is None or own.phase is Phase.BLOCKED or entry.phase in OVER else entry.phase

    def hold_of_all(self, step: PictureStep) -> Wish | None:
        """Return the hold of a stream, a system or a connection that applies to a step.

        :raises ControlBroken: when the Variable that keeps them cannot be read.
        """
        dag_id = str(self.run.dag_id)
        known = read_wishes(
            None, self.holds, stream=dag_id, system=step.system, connection=step.connection, now=self.now
        )
        return known.hold

    def decision(self, step: PictureStep) -> Decision | None:
        """Return what a deciding step decided; None where it has not, or nobody can read it."""
        own = self.own(step)
        text = own.cells.get(DECISION_KEY) if own is not None else None
        try:
            return None if text is None else read_decision(json.loads(text))
        except (DecisionUnreadable, ValueError):
            return None

    def behind(self, task_ids: Iterable[str]) -> set[str]:
        """Return all tasks that come after some, directly or not."""
        if self.dag is None:
            return set()
        found: set[str] = set()
        ahead = [one for one in task_ids if self.dag.has_task(one)]
        while ahead:
            for name in self.dag.get_task(ahead.pop()).downstream_task_ids:
                if name not in found:
                    found.add(name)
                    ahead.append(name)
        return found

    def version(self, concerned: Iterable[Name]) -> str:
        """Return a digest of how those task instances stand, and of the instance as a whole.

        Another one means that somebody, or the stream itself, was faster.
        """
        told: list[Any] = [str(self.run.state), self.run.conf or {}]
        told += [str(self.seen[name]) for name in ("due_at", "acknowledged_at")]
        for name in sorted(set(concerned)):
            task = self.tasks.get(name)
            if task is not None:
                told.append([*name, task.state, task.row.try_number, task.cells.get(CONTROL_KEY)])
        text = json.dumps(told, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def _helper(self, step: PictureStep, kind: str) -> str:
        kinds: Mapping[str, str] = step.raw.get("tasks", {})
        return next((name for name, known in kinds.items() if known == kind), "")


I = INSTANCE.c  # noqa: E741 - read as "I.run_id"
SEEN = (I.id, I.version, I.business_key, I.due_at, I.first_due_at, I.acknowledged_by, I.acknowledged_at, I.live)


def read_situation(session: Session, dag_id: str, run_id: str, *, lock: bool) -> Situation | None:
    """Read an instance; None where Airflow or our own tables have it no more.

    :param lock: nobody else may change it until the transaction is over.
    """
    newest = select(*SEEN).where(I.dag_id == dag_id, I.run_id == run_id, I.in_airflow).order_by(I.id.desc())
    seen = session.execute(newest.limit(1)).mappings().one_or_none()
    wanted = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    run = session.scalar(wanted.with_for_update(of=DagRun) if lock else wanted)
    if seen is None or run is None:
        return None
    pictures = Pictures()
    pictures.load(session, {(dag_id, seen["version"])})
    of_run = (TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
    tasks = select(TaskInstance).where(*of_run).order_by(TaskInstance.id)
    rows = session.scalars(tasks.with_for_update(of=TaskInstance) if lock else tasks).all()
    cells: dict[Name, dict[str, str]] = {}
    kept = select(Cell.task_id, Cell.map_index, Cell.key, Cell.value).where(
        Cell.dag_run_id == run.id, Cell.key.startswith(KEPT, autoescape=True)
    )
    for task_id, map_index, key, value in session.execute(kept):
        cells.setdefault((task_id, map_index), {})[key] = value
    holds = Variable.get(HOLDS_VARIABLE, default_var=None)
    paused = session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == dag_id))
    return Situation(
        int(seen["id"]),
        dict(seen),
        pictures.of(dag_id, seen["version"]),
        run,
        {
            (row.task_id, row.map_index): Task(
                row.task_id, row.map_index, row, cells.get((row.task_id, row.map_index), {})
            )
            for row in rows
        },
        bool(paused),
        json.loads(holds) if isinstance(holds, str) else holds,
        datetime.now(UTC),
        session,
    )
