"""What is probably not meant in a template that is right: hints, each by a rule with a name.

A hint stops nothing. A comment in the template silences it, with a reason: on the line that the hint names, or on a
line of its own above it. ``# lint-file:`` anywhere in the file silences a rule for all of it::

    link: {from: link, match: '(.+)'} # lint: allow unread-output: the customer's portal reads it
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from airflow_enterprise_orch.restricted_jinja import texts
from airflow_enterprise_orch.template_tools import lint_alerts
from airflow_enterprise_orch.template_tools.reach import Reach, reach
from airflow_enterprise_orch.value_stream import secret_texts
from airflow_enterprise_orch.value_stream.beside import Beside
from airflow_enterprise_orch.value_stream.decision_table import shown
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest, listed
from airflow_enterprise_orch.value_stream.steps import (
    AirflowStep,
    ApprovalStep,
    BranchStep,
    DecisionStep,
    DelegatedStep,
    Step,
    SubStreamStep,
)
from airflow_enterprise_orch.value_stream.steps_waiting import WaitForStep
from airflow_enterprise_orch.value_stream.table_file import read_table
from airflow_enterprise_orch.value_stream.yaml_source import Document, decode, read_yaml

_COMMENT = re.compile(r"(?:^|\s)#\s*lint(-file)?:\s*allow\s+([a-z-]+(?:\s*,\s*[a-z-]+)*)\s*(?::\s*(\S.*?))?\s*$")
_PARAM = re.compile(r"\bparams\s*\.\s*([a-z][a-z0-9_]*)")
_VALUE = re.compile(r"\bsteps\s*\.\s*([a-z][a-z0-9_]*)\s*\.\s*([a-z][a-z0-9_]*)")
_OF_THE_RUN = re.compile(
    r"\b(?:run_id|run_after|logical_date|data_interval_start|data_interval_end|ds|ds_nodash|business_date)\b"
)
NO_SECRETS = "put secrets into an Airflow connection"
_LENIENT = re.compile(r"\|\s*d(?:efault)?\b|\{%")


@dataclass(frozen=True, slots=True)
class Hint:
    """Something that is probably not meant.

    :param rule: its name, by which it can be silenced.
    """

    rule: str
    problem: Problem

    def __str__(self) -> str:
        place, _, text = str(self.problem).partition(": ")
        return f"{place}: warning ({self.rule}): {text}"


@dataclass(frozen=True)
class Template:
    """A template that is right, as the rules see it.

    :param text: all that it says, as one JSON text: what it names somewhere is in it.
    :param tables: the rows that stand in files, by step.
    """

    stream: ValueStream
    document: Document
    reach: Reach
    text: str
    tables: Mapping[str, Document]

    def hint(self, rule: str, path: Path, what: str, remedy: str, *, key: bool = True) -> Hint:
        """Return a hint at the key at ``path``, or at its value."""
        return Hint(rule, self.document.problem(path, what, remedy, key=key))


def hints(file: FilePath, stream: ValueStream) -> list[Hint]:
    """Return what is probably not meant in a template, sorted by position, silenced hints left out."""
    document = read_yaml(decode(file.read_bytes(), str(file)), str(file))
    text = json.dumps(stream.model_dump(mode="json"))
    template = Template(stream, document, reach(stream), text, dict(_tables(file, stream)))
    found = [hint for rule in RULES.values() for hint in rule.find(template)]
    left = _silenced(document, found)
    return sorted(left, key=lambda hint: (hint.problem.line, hint.problem.column, hint.rule, hint.problem.what))


def _tables(file: FilePath, stream: ValueStream) -> Iterator[tuple[str, Document]]:
    beside = Beside.of(file)
    for name, step in stream.steps.items():
        if isinstance(step, DecisionStep) and step.table is not None:
            path = beside.find_file(step.table)
            if path is not None:
                yield name, read_table(path, beside.name(path), step, dict.fromkeys(step.inputs, "string")).document


# ---------------------------------------------------------------------------------------------------------- silencing


@dataclass(slots=True)
class _Silence:
    line: int
    column: int
    rule: str
    whole_file: bool
    used: bool = False

    def fits(self, hint: Hint, lines: list[str]) -> bool:
        """Tell whether it is meant for this hint."""
        if hint.rule != self.rule:
            return False
        above = self.line == hint.problem.line - 1 and lines[self.line - 1].lstrip().startswith("#")
        return self.whole_file or self.line == hint.problem.line or above


def _silenced(document: Document, found: list[Hint]) -> list[Hint]:
    """Return the hints that no comment silences, and what is wrong with such comments."""
    silences: list[_Silence] = []
    left: list[Hint] = []
    for number, line in enumerate(document.lines, start=1):
        comment = _COMMENT.search(line)
        if comment is None:
            continue
        at = (number, comment.start() + len(comment[0]) - len(comment[0].lstrip()) + 1)
        for rule in re.split(r"\s*,\s*", comment[2]):
            if rule not in RULES:
                close = closest(rule, RULES)
                problem = document.problem(
                    (), f"there is no rule {rule!r}", f"known are {listed(sorted(RULES))}", suggestion=close, at=at
                )
                left.append(Hint("wrong-comment", problem))
            elif comment[3] is None:
                what = f"the comment does not say why {rule} is allowed here"
                problem = document.problem((), what, f"write # lint: allow {rule}: and the reason", at=at)
                left.append(Hint("wrong-comment", problem))
            else:
                silences.append(_Silence(*at, rule, comment[1] is not None))
    for hint in found:
        by = [silence for silence in silences if silence.fits(hint, document.lines)]
        for silence in by:
            silence.used = True
        if not by:
            left.append(hint)
    for silence in silences:
        if not silence.used:
            what = f"nothing here is silenced by this: there is no hint {silence.rule}"
            problem = document.problem((), what, "remove the comment", at=(silence.line, silence.column))
            left.append(Hint("wrong-comment", problem))
    return left


# -------------------------------------------------------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of hint.

    :param about: what it tells, for people.
    """

    about: str
    find: Callable[[Template], Iterator[Hint]]


def _unused_params(template: Template) -> Iterator[Hint]:
    used = set(_PARAM.findall(template.text))
    for name in template.stream.params:
        if name not in used:
            what = f"nothing reads the param {name!r}, but whoever starts a run is asked for it"
            yield template.hint("unused-param", ("params", name), what, "remove it, or use it")


def _unread_outputs(template: Template) -> Iterator[Hint]:
    read = set(_VALUE.findall(template.text))
    for name, step in template.stream.steps.items():
        here: Path = ("steps", name)
        path: Path
        if isinstance(step, DecisionStep):
            outputs, path = list(step.outputs), (*here, "decision", "outputs")
        elif isinstance(step, (AirflowStep, DelegatedStep, SubStreamStep)):
            outputs, path = list(step.outputs), (*here, "outputs")
        else:
            continue
        for output in outputs:
            if (name, output) not in read:
                what = f"no step reads the output {output!r}"
                yield template.hint("unread-output", (*path, output), what, "remove it, or read it")


def _dead_rules(template: Template) -> Iterator[Hint]:
    for name, step in template.stream.steps.items():
        if not isinstance(step, BranchStep) or name not in template.reach.fires:
            continue
        fires = template.reach.fires[name]
        for number, _ in enumerate(step.rules, start=1):
            if number not in fires:
                path: Path = ("steps", name, "branch", number - 1, "when")
                if isinstance(template.document.get(path[:3]), dict):
                    path = (*path[:3], "rules", *path[3:])
                if step.match == "all":
                    what = f"rule {number} is never taken: it cannot hold"
                    yield template.hint("dead-rule", path, what, "correct it, or remove it", key=False)
                    continue
                what = f"rule {number} is never taken: it cannot hold, or wherever it does a rule above it is taken"
                yield template.hint("dead-rule", path, what, "correct it, remove it, or put it further up", key=False)


def _unreachable_steps(template: Template) -> Iterator[Hint]:
    stream, reached = template.stream, template.reach.reached
    for name in stream.steps:
        before = stream.upstream[name]
        if name in reached or (before and not any(other in reached for other in before)):
            continue  # told of the step before it
        what = "no rule leads here: it runs only where a person overrides a branch"
        if len(before) > 1:
            what = f"the paths that meet here never come: {what}"
        yield template.hint("unreachable-step", ("steps", name), what, "correct the rules, or remove it")


def _missing_values(template: Template) -> Iterator[Hint]:
    for (name, other), example in template.reach.without.items():
        if other not in template.reach.reached:
            continue  # told already, and of the step itself
        step = template.stream.steps[name]
        for path, value in _needed(step, other):
            when = f" when {shown(example)}" if example else ""
            fails = "it cannot be undone" if "compensate" in path else "it fails"
            what = f"{name!r} runs although {other!r} does not{when}: then {fails}, because {value} has no value"
            remedy = "read it where it is always there, or allow for it with | default(...)"
            yield template.hint("missing-value", path, what, remedy, key=False)
            break


def _needed(step: Step, other: str) -> Iterator[tuple[Path, str]]:
    """Yield where a step reads values of ``other`` that it cannot do without, and which."""
    path: Path = ("steps", step.id)
    found: list[tuple[Path, str]] = []
    if isinstance(step, DelegatedStep):
        found = [((*path, step.step, *below), text) for below, text in texts(step.work)]
        if step.compensate is not None:
            undo = (*path, "compensate", step.compensate.step)
            found += [((*undo, *below), text) for below, text in texts(step.compensate.work)]
    elif isinstance(step, SubStreamStep):
        found = [((*path, "stream", "params", *below), text) for below, text in texts(step.params)]
    elif isinstance(step, WaitForStep):
        found = [((*path, "wait_for", "key"), step.key or "")]
    elif isinstance(step, AirflowStep):
        found = [((*path, "airflow", "arguments", *below), text) for below, text in texts(step.arguments)]
    elif isinstance(step, ApprovalStep):
        found = [((*path, "approval", field), getattr(step, field) or "") for field in ("subject", "body")]
    elif isinstance(step, DecisionStep):
        found = [((*path, "decision", "inputs", name), reads) for name, reads in step.inputs.items()]
    for where, text in found:
        if _LENIENT.search(text):
            continue
        for owner, value in _VALUE.findall(text):
            if owner == other:
                yield where, f"steps.{owner}.{value}"


def _possible_secrets(template: Template) -> Iterator[Hint]:
    for path, what, at in secret_texts.hints(template.document):
        problem = template.document.problem(path, what, NO_SECRETS, at=at)
        yield Hint("possible-secret", problem)
    for name, table in template.tables.items():
        for path, what, _ in secret_texts.hints(table):
            line, column = table.position(path)
            here = ("steps", name, "decision", "table")
            yield template.hint("possible-secret", here, f"{table.file}:{line}:{column}: {what}", NO_SECRETS, key=False)


def _filled_by_files(template: Template) -> set[str]:
    """Return the params that the file fills which starts a run."""
    schedule = template.stream.schedule
    return set(schedule.file_arrival.params) if schedule is not None and schedule.file_arrival is not None else set()


def _constant_keys(template: Template) -> Iterator[Hint]:
    business, scheduled = template.stream.business, template.stream.schedule is not None
    if business.key is None or _OF_THE_RUN.search(business.key):
        return
    path = ("business", "key")
    if not _PARAM.search(business.key):
        what = "all runs have the same business key: it holds neither a param nor a date"
        yield template.hint("constant-key", path, what, "use what tells one run from another", key=False)
    elif scheduled and not _filled_by_files(template).intersection(_PARAM.findall(business.key)):
        what = "all runs that the schedule starts have the same business key: their params are the defaults"
        if business.duplicates != "allow":
            happens = "fails" if business.duplicates == "reject" else "waits"
            what += f", so one {happens} while the last is not over"
        yield template.hint("constant-key", path, what, "add a date, such as {{ ds }}", key=False)


def _missing_due(template: Template) -> Iterator[Hint]:
    stream: Any = template.stream
    if "due" not in type(stream).model_fields or stream.due is not None:
        return
    why = (
        f"its criticality is {stream.business.criticality!r}"
        if stream.business.criticality in ("high", "critical")
        else "it has a schedule"
        if stream.schedule is not None
        else ""
    )
    if why:
        what = f"nobody is told when the stream is late: {why}, but it has no due time"
        yield template.hint("missing-due", ("value_stream",), what, "add due:")


def _unprotected(template: Template) -> Iterator[Hint]:
    for name, step in template.stream.steps.items():
        if isinstance(step, AirflowStep):
            what = "an operator of Airflow may run twice: after a worker that dies, a retry or a clear"
            yield template.hint("unprotected", ("steps", name, "airflow"), what, "allow it here if it may happen twice")


def _nothing(_: Template) -> Iterator[Hint]:
    return iter(())


RULES: Mapping[str, Rule] = {
    "unused-param": Rule("A param that nothing reads.", _unused_params),
    "unread-output": Rule("An output that no later step reads.", _unread_outputs),
    "dead-rule": Rule("A rule of a branch that is never taken.", _dead_rules),
    "unreachable-step": Rule("A step, or a meeting of paths, that no rule of any branch leads to.", _unreachable_steps),
    "missing-value": Rule(
        "A step that reads a value of a step that does not run on every path to it: there it fails.", _missing_values
    ),
    "possible-secret": Rule("A text that looks like a password, a key or a token.", _possible_secrets),
    "constant-key": Rule(
        "A business key that is the same for all runs, or for all that the schedule starts.", _constant_keys
    ),
    "missing-due": Rule("A stream of high criticality, or with a schedule, without a due time.", _missing_due),
    "unprotected": Rule("A step that may run twice: an operator of Airflow.", _unprotected),
    "missing-alerts": Rule("A stream of high criticality without alerts.", lint_alerts.missing_alerts),
    "idle-alert": Rule("An alert on something that cannot happen in the stream.", lint_alerts.idle_alerts),
    "missing-package": Rule("An alert whose notifier's package is not installed here.", lint_alerts.missing_packages),
    "wrong-comment": Rule("A comment that is to silence a rule, without a reason or without effect.", _nothing),
}
"""All rules, by name."""
