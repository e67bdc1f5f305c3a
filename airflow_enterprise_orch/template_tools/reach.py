"""Which rules of a stream can fire and which steps can run, for all values that params and steps can have at once.

Each value that the rules compare with constants is tried with one representative of every range between these constants
(as in decision tables), within what the template allows; what a rule asks beyond that may hold or not. So what is found
here never to happen never does, unless a person overrides a branch; more may be impossible than is found. With more
than ``MAX_TRIES`` combinations (fewer for a stream of many steps) each branch is looked at by itself.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from airflow_enterprise_orch.template_tools.logic import Condition, understood
from airflow_enterprise_orch.value_stream.conditions import condition_variables
from airflow_enterprise_orch.value_stream.decision_table import OTHERWISE, Cell, Domain
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.steps import BranchStep, DecisionStep, Step

_READS = re.compile(r"\bsteps\s*\.\s*([a-z][a-z0-9_]*)")

MAX_TRIES = 5_000
MAX_WORK = 500_000
"""How many steps are looked at in all tries together."""

Way = int | str
"""A way out of a branch: the number of a rule, from 1, or ``otherwise``."""


@dataclass
class Reach:
    """What can happen in a stream.

    :param fires: of each branch that is reached the ways that can be taken.
    :param reached: the steps that can run.
    :param without: of each step the steps named in it that may not have run when it does, with values of an example.
    :param together: all branches were looked at together; False when there were too many combinations for that.
    """

    fires: dict[str, set[Way]] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)
    without: dict[tuple[str, str], Mapping[str, object]] = field(default_factory=dict)
    together: bool = True


def reach(stream: ValueStream) -> Reach:
    """Look at a stream."""
    return _Search(stream).search()


class _Search:
    """The steps in an order in which they can run, and what their rules ask."""

    def __init__(self, stream: ValueStream) -> None:
        self.stream = stream
        self.steps: list[Step] = list(stream.ordered())
        branches = [step for step in self.steps if isinstance(step, BranchStep)]
        self.rules = {step.id: [understood(rule.when) for rule in step.rules] for step in branches}
        self.every = {step.id for step in branches if step.match == "all"}
        self.kinds = {name: kind for step in branches for name, kind in condition_variables(stream, step.id).items()}
        before = _before(stream, self.steps)
        self.reads = {step.id: sorted(_named(step) & before[step.id]) for step in self.steps}
        choosers = {step.id: frozenset(step.targets) for step in self.steps}
        self.chosen_by: dict[str, list[str]] = {}
        self.on_paths: dict[str, list[str]] = {}
        for step in self.steps:
            by = [name for name in stream.upstream[step.id] if step.id in choosers[name]]
            others = [name for name in stream.upstream[step.id] if name not in by]
            self.chosen_by[step.id] = by
            # As in paths.py: where a branch names a step, only steps on another path of that branch lead to it too.
            behind = [name for name in others if any(choosers[one] & {name, *before[name]} for one in by)]
            self.on_paths[step.id] = behind if by else others

    def search(self) -> Reach:
        """Try all values that the rules tell apart."""
        conditions = [rule for rules in self.rules.values() for rule in rules]
        values = self._values(conditions)
        found = Reach()
        if prod(map(len, values.values())) > min(MAX_TRIES, MAX_WORK // len(self.steps)):
            found.together = False
            self._run(found, {name: self._ways_alone(name) for name in self.rules}, {})
            return found
        for combination in itertools.product(*values.values()):
            example = dict(zip(values, combination, strict=True))
            ways = {name: self._taken(name, example) for name in self.rules}
            told = {name: value for name, value in example.items() if name in self.kinds}
            self._run(found, ways, told)
        return found

    def _ways_alone(self, branch: str) -> set[Way]:
        """Return the ways out of one branch, whatever the others do."""
        rules = self.rules[branch]
        values = self._values(rules)
        if prod(map(len, values.values())) > MAX_TRIES:
            return {*range(1, len(rules) + 1), OTHERWISE}
        tries = (dict(zip(values, some, strict=True)) for some in itertools.product(*values.values()))
        return {way for example in tries for way in self._taken(branch, example)}

    def _taken(self, branch: str, values: Mapping[str, object]) -> set[Way]:
        """Return the ways out of a branch that are taken at once."""
        holds: list[Way] = [number for number, rule in enumerate(self.rules[branch], start=1) if rule.holds(values)]
        return set(holds if branch in self.every else holds[:1]) or {OTHERWISE}

    def _run(self, found: Reach, ways: Mapping[str, set[Way]], example: Mapping[str, object]) -> None:
        """Let the stream run once, with all jobs well and all questions answered in its favour."""
        ran: set[str] = set()
        chosen: set[tuple[str, str]] = set()
        for step in self.steps:
            by, paths = self.chosen_by[step.id], self.on_paths[step.id]
            if (by or paths) and not any((one, step.id) in chosen for one in by) and not ran.intersection(paths):
                continue
            ran.add(step.id)
            chosen |= {(step.id, target) for target in self._targets(step, ways)}
            if step.id in ways:
                found.fires.setdefault(step.id, set()).update(ways[step.id])
            if found.together:
                for other in self.reads[step.id]:
                    if other not in ran:
                        found.without.setdefault((step.id, other), example)
        found.reached |= ran

    def _targets(self, step: Step, ways: Mapping[str, set[Way]]) -> Iterable[str]:
        if not isinstance(step, BranchStep):
            return step.targets  # a person chooses: all of it is possible
        return [
            target
            for way in ways[step.id]
            for target in (step.rules[way - 1].then if isinstance(way, int) else step.otherwise)
        ]

    def _values(self, conditions: Iterable[Condition]) -> dict[str, list[object]]:
        """Return for each thing that is asked the values to try."""
        cells: dict[str, list[Cell]] = {}
        found: dict[str, list[object]] = {}
        for condition in conditions:
            for asked in condition.asked():
                if asked.cell is None or asked.name not in self.kinds:
                    found[asked.name] = [False, True]
                else:
                    cells.setdefault(asked.name, []).append(asked.cell)
        for name, some in sorted(cells.items()):
            # Where bounds leave no value at all, whatever follows would be called impossible: nobody asked about that.
            found[name] = self._domain(name).representatives(some) or Domain(self.kinds[name]).representatives(some)
        return found

    def _domain(self, name: str) -> Domain:
        group, owner, *value = name.split(".")
        kind = self.kinds[name]
        if group == "params":
            param = self.stream.params[owner]
            return Domain(kind, tuple(param.choices or ()), param.minimum, param.maximum)
        step = self.stream.steps[owner]
        if isinstance(step, DecisionStep):
            rows = [row.then for row in step.rows] + ([] if step.otherwise is None else [step.otherwise])
            return Domain(kind, tuple(dict.fromkeys(row[value[0]] for row in rows)))
        return Domain(kind)


def _before(stream: ValueStream, steps: Iterable[Step]) -> dict[str, frozenset[str]]:
    """Return all steps before each step; ``steps`` are in order."""
    found: dict[str, frozenset[str]] = {}
    for step in steps:
        direct = stream.upstream[step.id]
        found[step.id] = frozenset(direct).union(*(found[name] for name in direct))
    return found


def _named(step: Step) -> frozenset[str]:
    return frozenset(_READS.findall(json.dumps(step.model_dump(mode="json"))))
