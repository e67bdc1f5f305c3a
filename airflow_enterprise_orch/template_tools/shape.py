"""The shape of a stream, for the tree and the picture: order, lanes, where paths meet, who uses what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from airflow_enterprise_orch.delegation.system import step_type
from airflow_enterprise_orch.expressions import compile_expression
from airflow_enterprise_orch.restricted_jinja import inspect, texts
from airflow_enterprise_orch.template_tools.words import in_words
from airflow_enterprise_orch.value_stream.conditions import condition_variables
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.paths import MEETING, OVER, Paths, TaskKind
from airflow_enterprise_orch.value_stream.steps import (
    AirflowStep,
    ApprovalStep,
    BranchStep,
    ChoiceStep,
    DecisionStep,
    DelegatedStep,
    FailStep,
    Step,
    SubStreamStep,
)
from airflow_enterprise_orch.value_stream.steps_waiting import WaitForStep, WaitStep

PEOPLE = "People"
DECISIONS = "Decisions"
STREAMS = "Value streams"
AIRFLOW = "Airflow"


@dataclass(frozen=True, slots=True)
class Join:
    """How a step with several predecessors waits for them.

    :param any_of: it runs when at least one of these ran; the others were not chosen, and are not waited for.
    :param all_of: these are over before it runs.
    """

    any_of: tuple[str, ...] = ()
    all_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """One way out of a branch.

    :param when: the condition as written; "" for ``otherwise`` and for what a person chooses.
    :param title: of what a person chooses, the answer.
    """

    label: str
    when: str
    then: tuple[str, ...]
    title: str = ""

    def words(self, stream: ValueStream) -> str:
        """Return when it is taken, for people."""
        if self.when:
            return in_words(self.when, stream)
        return f"{self.title!r} is chosen" if self.title else ""


def ways(step: Step) -> tuple[Way, ...]:
    """Return the ways out of a step: the options of a choice, or the rules of a branch, ``otherwise`` last."""
    if isinstance(step, ChoiceStep):
        return tuple(Way(name, "", option.then, option.title) for name, option in step.options.items())
    if not isinstance(step, BranchStep):
        return ()
    rules = [Way(str(number), rule.when, rule.then) for number, rule in enumerate(step.rules, start=1)]
    return (*rules, Way("otherwise", "", step.otherwise))


def lane(step: Step) -> str:
    """Return the technology stack that does a step."""
    if isinstance(step, DelegatedStep):
        return step_type(step.step)[0].stack
    if isinstance(step, AirflowStep):
        return AIRFLOW
    if isinstance(step, (SubStreamStep, WaitForStep)):
        return STREAMS
    return PEOPLE if isinstance(step, (ApprovalStep, ChoiceStep)) else DECISIONS


def texts_of(step: Step) -> Any:
    """Return what of a step may hold Jinja."""
    if isinstance(step, DelegatedStep):
        return [step.work, step.compensate.work] if step.compensate is not None else step.work
    if isinstance(step, AirflowStep):
        return step.arguments
    if isinstance(step, SubStreamStep):
        return step.params
    if isinstance(step, (ApprovalStep, ChoiceStep)):
        return [step.subject, step.body]
    if isinstance(step, WaitStep):
        return step.at
    if isinstance(step, WaitForStep):
        return step.key
    return step.message if isinstance(step, FailStep) else None


class Shape:
    """The shape of one stream."""

    def __init__(self, stream: ValueStream) -> None:
        self.stream = stream

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The steps as written, but each after those that come before it."""
        place = {name: index for index, name in enumerate(self.stream.steps)}
        waits = {name: sorted(before, key=place.__getitem__) for name, before in self.stream.upstream.items()}
        found: list[str] = []
        done: set[str] = set()
        for name in self.stream.steps:
            way = [name]
            while way:
                missing = next((one for one in waits[way[-1]] if one not in done), None)
                if missing is not None:
                    way.append(missing)
                    continue
                last = way.pop()
                if last not in done:
                    done.add(last)
                    found.append(last)
        return tuple(found)

    @cached_property
    def lanes(self) -> tuple[str, ...]:
        """The stacks, in the order in which the stream comes to them."""
        return tuple(dict.fromkeys(lane(self.stream.steps[name]) for name in self.order))

    @cached_property
    def home(self) -> Mapping[str, str]:
        """Of each step the branch below which it stands: it runs only where that branch chose it; "" for none."""
        above: dict[str, str] = {}  # the last step through which every way to a step leads
        depth: dict[str, int] = {"": 0}
        home: dict[str, str] = {}
        for name in self.order:
            before = list(self.stream.upstream[name])
            meet = before.pop() if before else ""
            for other in before:
                while meet != other:
                    if depth[meet] < depth[other]:
                        other = above[other]
                    else:
                        meet = above[meet]
            above[name], depth[name] = meet, depth[meet] + 1
            chosen = self.stream.upstream[name] == (meet,) and bool(meet and self.stream.steps[meet].targets)
            home[name] = meet if chosen else home.get(meet, "")
        return home

    @cached_property
    def joins(self) -> Mapping[str, Join]:
        """How each step that comes after several waits for them."""
        found: dict[str, Join] = {}
        paths = Paths(self.stream)
        tasks = {task.task_id: task for task in paths.tasks}

        def steps(names: tuple[str, ...]) -> tuple[str, ...]:
            """Return the steps behind tasks: a choice stands for its branch, a hold for nothing."""
            real = [
                tasks[name].upstream[0] if tasks[name].kind is TaskKind.CHOICE else name
                for name in names
                if tasks[name].kind in (TaskKind.STEP, TaskKind.CHOICE)
            ]
            return tuple(name for name in self.order if name in real)

        for name in self.order:
            if len(self.stream.upstream[name]) < 2:
                continue
            task = tasks[paths.entry(name)]
            helpers = [tasks[other] for other in task.upstream]
            meeting = next((one for one in (task, *helpers) if one.rule == MEETING), None)
            over = next((one for one in helpers if one.rule == OVER), None)
            if meeting is None:
                found[name] = Join(all_of=tuple(one for one in self.order if one in self.stream.upstream[name]))
            else:
                found[name] = Join(steps(meeting.upstream), steps(over.upstream) if over is not None else ())
        return found

    @cached_property
    def used_by(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """Of each value of a step the steps that use it."""
        found: dict[tuple[str, str], list[str]] = {}
        for name in self.order:
            for reads in dict.fromkeys(self._reads(self.stream.steps[name])):
                found.setdefault(reads, []).append(name)
        return {reads: tuple(names) for reads, names in found.items()}

    def _reads(self, step: Step) -> Iterator[tuple[str, str]]:
        names: set[str] = set()
        if isinstance(step, BranchStep):
            variables = condition_variables(self.stream, step.id)
            names = {name for rule in step.rules for name in compile_expression(rule.when, variables).references}
        elif isinstance(step, DecisionStep):
            names = set(step.inputs.values())
        else:
            tree = texts_of(step)
            names = {".".join(reference.path) for _, text in texts(tree) for reference in inspect(text)[0]}
        for name in sorted(names):
            group, _, rest = name.partition(".")
            if group == "steps":
                other, _, value = rest.partition(".")
                yield other, value
