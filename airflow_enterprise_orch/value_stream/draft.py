"""A template while it is being checked: what could be read of it, even where parts are wrong.

So that all mistakes are reported at once, and no mistake is reported twice: a step whose own keys are wrong still has a
name, predecessors and values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from airflow_enterprise_orch.undoing import UNDO
from airflow_enterprise_orch.value_stream.beside import Beside
from airflow_enterprise_orch.value_stream.problems import Path, closest, listed
from airflow_enterprise_orch.value_stream.steps import Step
from airflow_enterprise_orch.value_stream.yaml_source import Document
from airflow_enterprise_orch.working_days import WorkingDays

Link = tuple[Path, str]
"""The name of a step, and where it is written."""


@dataclass(slots=True)
class DraftStep:
    """What is known of one step.

    :param kind: ``delegated``, the key of what Airflow itself does (``branch``), or "" when it cannot be told.
    :param type: of a delegated step the step type.
    :param facts: what it leaves for later steps, name to CEL type; None when it cannot be told.
    :param links: its ``after``.
    :param targets: of what chooses, such as a branch, the steps that it can choose.
    :param undo: the work that undoes it, as if that were a step after it.
    :param model: the step itself, when nothing is wrong with its own keys.
    """

    id: str
    kind: str = ""
    type: str = ""
    facts: Mapping[str, str] | None = None
    links: list[Link] = field(default_factory=list)
    targets: list[Link] = field(default_factory=list)
    undo: DraftStep | None = None
    model: Step | None = None


@dataclass
class Draft:
    """What is known of a template.

    :param params: name to CEL type; ``dyn`` when it cannot be told.
    :param beside: the files beside it; None for a text that lies nowhere.
    :ivar calendars: the working days of the calendars that it names, as far as they were found.
    :ivar effort: how much has been looked at in decision tables so far.
    :ivar cells: how many cells the tables in files held so far.
    """

    document: Document
    params: Mapping[str, str]
    steps: Mapping[str, DraftStep]
    beside: Beside | None = None
    calendars: dict[str, WorkingDays] = field(default_factory=dict)
    effort: int = 0
    cells: int = 0

    @cached_property
    def before(self) -> Mapping[str, Mapping[str, Path]]:
        """The direct predecessors of each step, each with where the link is written."""
        found: dict[str, dict[str, Path]] = {name: {} for name in self.steps}
        for name, step in self.steps.items():
            for path, other in step.links:
                if other in self.steps and other != name:
                    found[name].setdefault(other, path)
        for name, step in self.steps.items():
            for path, target in step.targets:
                if target in self.steps and target != name:
                    found[target].setdefault(name, path)
        return found

    @cached_property
    def has_order(self) -> bool:
        """Whether the steps can run one after the other: none comes, over others, after itself."""
        try:
            TopologicalSorter(self.before).prepare()
        except CycleError:
            return False
        return True

    def ancestors(self, step: str) -> frozenset[str]:
        """Return all steps that come before ``step``, directly or not."""
        found: set[str] = set()
        waiting = list(self.before[step])
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self.before[name])
        return frozenset(found)

    def variables(self, step: str) -> dict[str, str]:
        """Return what a condition of ``step`` can read: qualified name to CEL type."""
        found = {f"params.{name}": kind for name, kind in self.params.items()}
        for name in self.ancestors(step):
            found |= {f"steps.{name}.{fact}": kind for fact, kind in (self.steps[name].facts or {}).items()}
        return found

    def name_mistake(self, step: str, parts: tuple[str, ...]) -> tuple[str, str, str] | None:
        """Say what is wrong with ``params.<param>`` or ``steps.<step>.<value>`` read by ``step``.

        :return: what is wrong, what was probably meant, what to do; None when nothing is wrong or it cannot be told.
        """
        if parts[0] == "params":
            return self._param_mistake(parts)
        if len(parts) == 1:
            return "'steps' is a group of values", "", "name one value, as in steps.<step>.<value>"
        return self._step_mistake(step, parts)

    def _param_mistake(self, parts: tuple[str, ...]) -> tuple[str, str, str] | None:
        if len(parts) == 1:
            return "'params' is a group of values", "", "name one of them, as in params.<param>"
        if parts[1] not in self.params:
            close = closest(parts[1], self.params)
            known = f"known are {listed(sorted(self.params))}" if self.params else "declare it under params"
            return f"there is no param {parts[1]!r}", close and f"params.{close}", "correct it" if close else known
        if len(parts) > 2:
            return (
                f"'params.{parts[1]}' is a single value and has no {parts[2]!r}",
                "",
                "remove what follows the param's name",
            )
        return None

    def _step_mistake(self, step: str, parts: tuple[str, ...]) -> tuple[str, str, str] | None:
        name = parts[1]
        before = self.ancestors(step)
        if name not in self.steps:
            close = closest(name, self.steps)
            suggestion = ".".join(("steps", close, *parts[2:])) if close else ""
            known = f"steps before {step!r} are {listed(sorted(before)) or 'none'}"
            return f"there is no step {name!r}", suggestion, "correct it" if close else known
        if name == step:
            return f"step {name!r} reads its own result, which is not there yet", "", "read an earlier step"
        if name not in before:
            own = step.removesuffix(UNDO)  # of what undoes a step: that step
            remedy = f"add {name!r} to the after list of {own!r} or of a step before it"
            if own in self.ancestors(name):
                remedy = "it runs later: read an earlier step"
            return f"step {name!r} does not come before {own!r}, so its result may not be there", "", remedy
        facts = self.steps[name].facts
        if facts is None:
            return None
        if not facts:
            branch = "is a branch and " if self.steps[name].kind == "branch" else ""
            return f"step {name!r} {branch}leaves no values", "", "read a step that does work"
        if len(parts) == 2:
            return f"'steps.{name}' is a group of values", "", f"name one of them: {listed(sorted(facts), 'or')}"
        if parts[2] not in facts:
            close = closest(parts[2], facts)
            suggestion = close and f"steps.{name}.{close}"
            known = f"it leaves {listed(sorted(facts))}"
            return f"step {name!r} leaves no value {parts[2]!r}", suggestion, "correct it" if close else known
        if len(parts) > 3:
            return (
                f"'steps.{name}.{parts[2]}' is a single value and has no {parts[3]!r}",
                "",
                "remove what follows the value's name",
            )
        return None
