"""Which task of a DAG waits for which, and how: the paths of a stream in Airflow's trigger rules.

What a template means
    A step runs once every step that it is ``after`` is over, and then

    - not at all, if one of them failed (Airflow: ``upstream_failed``), or if a rejected approval comes before it;
    - if a branch names it: when such a branch chose it, or when a step on another path of that branch, which it is
      ``after``, ran (that is where paths meet again);
    - otherwise: when at least one of the steps that it is ``after`` ran. A path that was not taken is not waited for.

How Airflow does it
    Two rules are nearly enough: ``all_success`` where nothing can be skipped, ``none_failed_min_one_success`` where
    paths meet. But they count a branch itself as a success, whatever it chose. So where a step is chosen by a branch
    *and* can be reached on another path, its choice becomes a task of its own, an empty one that no worker runs. And
    they skip early: a step that is not chosen would be skipped, and what follows it would run, although something
    else that comes before it is still open and may yet stop the stream. So where a step that a branch names also waits
    for steps beside that branch, three more empty tasks keep "which path" apart from "all else is over", and hold
    the first back until the second is known. With that nothing is decided before all that comes before it is, and so a
    rejection can skip everything behind the approval, at once and by name: none of it has run.

What undoes steps
    A step is undone when it ran and a step failed that comes after it, or one that such a step waits for: once all of
    these are over, and what comes after it is undone. One empty task sees a failure (``one_failed``), another that all
    is over (``all_done``), and behind them and the step stands the task that undoes; when nothing failed the first is
    skipped and so is the last, without a worker. An instance ends as its last task does, so a last empty one waits for
    all steps and fails with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from airflow_enterprise_orch.each import EACH
from airflow_enterprise_orch.undoing import HELPER, UNDO
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.steps import DelegatedStep

ALL_SUCCESS = "all_success"
MEETING = "none_failed_min_one_success"
OVER = "none_failed"
NEVER = "all_skipped"
FAILED = "one_failed"
ENDED = "all_done"
ADMIT = "admit"
ANNOUNCE = "announce"
ARRIVE = "arrive"

END = "stream--end"


class TaskKind(StrEnum):
    """What a task is for."""

    STEP = "step"
    ADMIT = "admit"
    """Looks for another live instance with the same business key."""
    ANNOUNCE = "announce"
    """Tells of the instance, for streams that wait for it."""
    ARRIVE = "arrive"
    """Starts an instance for each file that has arrived, in a run that is there for nothing else."""
    CHOICE = "choice"
    """A branch's choice of one step, where that step can be reached on another path too."""
    MEETING = "meeting"
    """Paths meet before a step that also waits for other things."""
    OVER = "over"
    """The other things are over, whether they ran or were skipped."""
    ITEMS = "items"
    """Reads the list of a step with ``for_each``."""
    EACH = "each"
    """Does the work of such a step, once for each item; the step's own task comes after all of them."""
    HOLD = "hold"
    """Holds a meeting back until the other things are over; it is always skipped, so that it counts for no path."""
    FAILURE = "failure"
    """A step failed for which the step is to be undone; skipped when none did."""
    SETTLED = "settled"
    """Nothing is at work any more that comes after the step, and what comes after it is undone."""
    UNDO = "undo"
    """Undoes the step."""
    END = "end"
    """Fails when any step failed: what undoes ends well, and an instance ends as its last task does."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task of the DAG.

    :param step: the step that it is, or that it stands before; "" for :data:`ADMIT` and :data:`ANNOUNCE`.
    :param upstream: the tasks that it waits for; sorted.
    """

    task_id: str
    kind: TaskKind
    step: str
    upstream: tuple[str, ...]
    rule: str = ALL_SUCCESS


class Paths:
    """The tasks of one stream."""

    def __init__(self, stream: ValueStream) -> None:
        self._stream = stream
        self._tasks: list[Task] = []
        self._choices: dict[str, dict[str, str]] = {}
        self._conditional: dict[str, bool] = {}
        first: tuple[str, ...] = ()
        if stream.schedule is not None and stream.schedule.file_arrival is not None:
            first = self._before_all(ARRIVE, TaskKind.ARRIVE, first)
        if stream.business.key and stream.business.duplicates != "allow":
            first = self._before_all(ADMIT, TaskKind.ADMIT, first)
        if stream.business.announce:
            first = self._before_all(ANNOUNCE, TaskKind.ANNOUNCE, first)
        for step in stream.ordered():
            self._add(step.id, first)
        self._add_undoing()

    def _before_all(self, name: str, kind: TaskKind, after: tuple[str, ...]) -> tuple[str, ...]:
        """Add a task that comes before every step."""
        task_id = name if name not in {*self._stream.steps, *self._stream.groups} else f"{name}-instance"
        self._tasks.append(Task(task_id, kind, "", after))
        return (task_id,)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, each after those that it waits for; the same order every time."""
        return tuple(self._tasks)

    def routes(self, branch: str) -> Mapping[str, str]:
        """Return what a branch has to choose for each step that it names: the step's task or a choice."""
        targets = self._stream.steps[branch].targets
        return {target: self._choices.get(branch, {}).get(target, self.entry(target)) for target in targets}

    def entry(self, step: str) -> str:
        """Return the first task of a step: of one with ``for_each`` that which reads the list."""
        return f"{step}-items" if self._lists(step) else step

    def _lists(self, step: str) -> bool:
        of = self._stream.steps[step]
        return isinstance(of, DelegatedStep) and of.for_each is not None

    def helpers(self, step: str) -> tuple[str, ...]:
        """Return the tasks right after a step that no choice may skip."""
        return tuple(task.task_id for task in self._tasks if HELPER in task.task_id and step in task.upstream)

    def _add_undoing(self) -> None:
        """Add what undoes steps, the last ones first."""
        undone = [step.id for step in self._stream.ordered() if step.compensation is not None]
        for step in reversed(undone):
            concerned = self._stream.concerned(step)
            later = [f"{other}{UNDO}" for other in undone if step in self._stream.ancestors(other)]
            failure = self._helper(f"{step}--failure", TaskKind.FAILURE, step, concerned, FAILED)
            # A step with a list has failed as soon as one item has, and others of its items may still be at work.
            each = [f"{other}{EACH}" for other in concerned if self._lists(other)]
            settled = self._helper(f"{step}--settled", TaskKind.SETTLED, step, [*concerned, *each, *later], ENDED)
            self._helper(f"{step}{UNDO}", TaskKind.UNDO, step, [step, failure, settled], ALL_SUCCESS)
        if undone:
            every = [*self._stream.steps, *(f"{step}{UNDO}" for step in undone)]
            self._helper(END, TaskKind.END, "", every, OVER)

    @cached_property
    def _choosers(self) -> Mapping[str, list[str]]:
        """Of each step the names, sorted, of those that choose whether it runs."""
        choosers: dict[str, list[str]] = {}
        for name, step in sorted(self._stream.steps.items()):
            for target in dict.fromkeys(step.targets):
                choosers.setdefault(target, []).append(name)
        return choosers

    @cached_property
    def _behind(self) -> Mapping[str, frozenset[str]]:
        """Of each branch the steps that its choices lead to, directly or not."""
        behind: dict[str, frozenset[str]] = {}
        for name, step in self._stream.steps.items():
            if step.targets:
                targets = set(step.targets)
                behind[name] = frozenset(
                    other for other in self._stream.steps if other in targets or targets & self._stream.ancestors(other)
                )
        return behind

    def _add(self, step: str, first: tuple[str, ...]) -> None:
        """Add the tasks of one step; those before it are there."""
        choosers = self._choosers.get(step, [])
        others = [name for name in self._stream.upstream[step] if name not in choosers]
        # A step that runs in any case says nothing about which path was taken.
        paths = [name for name in others if self._conditional[name] and any(name in self._behind[b] for b in choosers)]
        rest = [name for name in others if name not in paths]
        self._conditional[step] = bool(choosers) or (bool(others) and all(self._conditional[name] for name in others))
        if not choosers:
            self._put(step, others or first, MEETING if self._some_skipped(others) else ALL_SUCCESS)
            return
        # What comes before all of its branches anyway is over when they choose.
        rest = [name for name in rest if not all(name in self._stream.ancestors(branch) for branch in choosers)]
        if len(choosers) == 1 and not paths and not rest:
            self._put(step, choosers, ALL_SUCCESS)
            return
        ways = [self._choice(branch, step) for branch in choosers] + paths
        if not rest:
            self._put(step, ways, MEETING)
            return
        over = self._helper(f"{step}-over", TaskKind.OVER, step, rest, OVER)
        hold = self._helper(f"{step}-hold", TaskKind.HOLD, step, [over], NEVER)
        meet = self._helper(f"{step}-meet", TaskKind.MEETING, step, [*ways, hold], MEETING)
        self._put(step, [meet, over], ALL_SUCCESS)

    def _some_skipped(self, upstream: list[str]) -> bool:
        return len(upstream) > 1 and any(self._conditional[name] for name in upstream)

    def _choice(self, branch: str, step: str) -> str:
        task_id = self._helper(f"{branch}-{step}", TaskKind.CHOICE, step, [branch], ALL_SUCCESS)
        self._choices.setdefault(branch, {})[step] = task_id
        return task_id

    def _helper(self, task_id: str, kind: TaskKind, step: str, upstream: Iterable[str], rule: str) -> str:
        # A step's id has no hyphen, so this is nobody's.
        self._tasks.append(Task(task_id, kind, step, tuple(sorted(upstream)), rule))
        return task_id

    def _put(self, step: str, upstream: Iterable[str], rule: str) -> None:
        if self._lists(step):
            # Its own task runs when the list was read and no item failed: an empty list is a success, not a skip.
            items = self._helper(self.entry(step), TaskKind.ITEMS, step, upstream, rule)
            each = self._helper(f"{step}{EACH}", TaskKind.EACH, step, [items], ALL_SUCCESS)
            upstream, rule = (items, each), MEETING
        self._tasks.append(Task(step, TaskKind.STEP, step, tuple(sorted(upstream)), rule))
