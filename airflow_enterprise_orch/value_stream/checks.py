"""What must hold between the parts of a template: the graph, the branches, the names, the values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_enterprise_orch.delegation.outcome import OUTCOME_VARIABLES
from airflow_enterprise_orch.delegation.system import step_type
from airflow_enterprise_orch.restricted_jinja import texts
from airflow_enterprise_orch.value_stream.airflow_checks import check_airflow
from airflow_enterprise_orch.value_stream.conditions import check_condition, check_rule
from airflow_enterprise_orch.value_stream.draft import Draft, DraftStep, Link
from airflow_enterprise_orch.value_stream.for_each_checks import check_for_each
from airflow_enterprise_orch.value_stream.messages import kind_of
from airflow_enterprise_orch.value_stream.model import Param
from airflow_enterprise_orch.value_stream.model_types import format_duration
from airflow_enterprise_orch.value_stream.patterns import compiled
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest, listed
from airflow_enterprise_orch.value_stream.steps import (
    FIRST_DELAY,
    AirflowStep,
    BranchStep,
    ChoiceStep,
    DelegatedStep,
    RetryRule,
    SubStreamStep,
)
from airflow_enterprise_orch.value_stream.stream_checks import check_stream
from airflow_enterprise_orch.value_stream.table_checks import check_table
from airflow_enterprise_orch.value_stream.templating import check_text
from airflow_enterprise_orch.value_stream.text_file import check_text_files
from airflow_enterprise_orch.value_stream.wait_checks import check_wait, check_wait_for

_PARAM_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "list": (list, tuple),
}
FAIL = "fail"
_RIGHT_VALUES: Mapping[str, str] = {
    "string": "put it in quotes",
    "integer": "write digits only",
    "number": "write a number",
    "boolean": "write true or false",
    "list": "write [a, b]",
}


def check_graph(draft: Draft) -> Iterator[Problem]:
    """Check who comes after whom."""
    for step in draft.steps.values():
        yield from _check_links(draft, step, step.links)
        yield from _check_links(draft, step, step.targets)
        yield from _check_joins(draft, step)
    yield from _check_cycles(draft)


def _check_links(draft: Draft, step: DraftStep, links: list[Link]) -> Iterator[Problem]:
    seen: set[tuple[Path, str]] = set()
    for path, name in links:
        if (path[:-1], name) in seen:
            yield draft.document.problem(path, f"step {name!r} is here twice", "remove one of them")
        elif name == step.id:
            yield draft.document.problem(path, f"step {name!r} cannot come after itself", "name another step")
        elif name not in draft.steps:
            suggestion = closest(name, [other for other in draft.steps if other != step.id])
            yield draft.document.problem(
                path, f"there is no step {name!r}", "name a step of this stream", suggestion=suggestion
            )
        seen.add((path[:-1], name))


def _check_joins(draft: Draft, step: DraftStep) -> Iterator[Problem]:
    """A step that comes after a branch must be one that the branch can choose; after a fail comes nothing."""
    for path, name in step.links:
        branch = draft.steps.get(name)
        if branch is None or branch.model is None or name == step.id:
            continue
        if branch.kind == "fail":
            what = f"{name!r} ends its path as failed, so nothing comes after it"
            yield draft.document.problem(path, what, "come after another step")
        targets = {target for _, target in branch.targets}
        if targets and targets <= draft.steps.keys() and step.id not in targets:
            remedy = f"add {step.id!r} to one of its then lists, or come after the steps it chooses"
            what = f"{name!r} is a {branch.kind} that does not choose {step.id!r}"
            yield draft.document.problem(path, what, remedy)


def _check_cycles(draft: Draft) -> Iterator[Problem]:
    """Name each circle once: the shortest through its first step in the file."""
    if draft.has_order:
        return
    told: set[str] = set()
    for name in draft.steps:
        if name in told or name not in draft.ancestors(name):
            continue
        circle = _circle(draft, name)
        told.update(circle)
        told.update(other for other in draft.ancestors(name) if name in draft.ancestors(other))
        path = draft.before[circle[1]][circle[0]]
        way = " -> ".join(circle if len(circle) <= 20 else [*circle[:10], "...", *circle[-5:]])
        yield draft.document.problem(path, f"the steps go round in a circle: {way}", "remove one of these links")


def _circle(draft: Draft, start: str) -> list[str]:
    """Return the shortest way from ``start`` back to it, in the order of running."""
    after: dict[str, list[str]] = {name: [] for name in draft.steps}
    for name, before in draft.before.items():
        for other in before:
            after[other].append(name)
    ways = [[start]]
    seen: set[str] = set()
    for way in ways:
        for name in after[way[-1]]:
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    raise AssertionError(f"{start!r} is in no circle")


def check_steps(draft: Draft) -> Iterator[Problem]:
    """Check what each step says: its conditions, its Jinja, its outputs and retries.

    Reads the plain data, so that a step with a wrong key has its conditions checked all the same.
    """
    for name, step in draft.steps.items():
        path: Path = ("steps", name)
        if step.kind == "branch":
            yield from _check_branch(draft, step, (*path, "branch"))
        elif step.kind == "approval":
            yield from _check_approval(draft, name, (*path, "approval"))
        elif step.kind == "airflow":
            yield from check_airflow(draft, step, path)
        elif step.kind == "decision":
            yield from check_table(draft, step, (*path, "decision"))
        elif step.kind == "choice":
            yield from _check_choice(draft, step, (*path, "choice"))
        elif step.kind == "wait_until":
            yield from check_wait(draft, step, (*path, "wait_until"))
            yield from _check_texts(draft, name, (*path, "wait_until"), ("at",))
        elif step.kind == "wait_for":
            yield from check_wait_for(draft, step, (*path, "wait_for"))
            yield from _check_texts(draft, name, (*path, "wait_for"), ("key",))
        elif step.kind == "fail":
            yield from _check_texts(draft, name, (*path, "fail"), ("message",))
        elif step.kind == "stream":
            yield from check_stream(draft, step, path)
        elif step.kind == "delegated":
            yield from _check_delegated(draft, step, path)
            yield from _check_compensation(draft, step, (*path, "compensate"))
        if isinstance(step.model, (DelegatedStep, AirflowStep, SubStreamStep)):
            yield from _check_retry(draft, step.model.retry, (*path, "retry"))


def _check_branch(draft: Draft, step: DraftStep, path: Path) -> Iterator[Problem]:
    rules, place = draft.document.get(path), path
    if isinstance(rules, dict):
        rules, place = rules.get("rules"), (*path, "rules")
    for index in range(len(rules) if isinstance(rules, list) else 0):
        here = (*place, index, "when")
        text = draft.document.get(here)
        if not isinstance(text, str):
            continue
        problems = check_condition(draft, step.id, here, text)
        yield from problems
        if not problems and not re.search(r"\b(params|steps)\b", text):
            what = "the condition reads nothing, so it is always the same"
            yield draft.document.problem(here, what, "read a param or a step's value")
    if isinstance(step.model, BranchStep) and not step.model.targets:
        yield draft.document.problem(path, "the branch chooses no step at all", "name steps in a then list", key=True)


def _check_choice(draft: Draft, step: DraftStep, path: Path) -> Iterator[Problem]:
    yield from _check_approval(draft, step.id, path)
    if not isinstance(step.model, ChoiceStep):
        return
    options = step.model.options
    titles: dict[str, str] = {}
    for name, option in options.items():
        if name == FAIL:
            what = "no option can be called 'fail': on_timeout could not tell it from failing"
            yield draft.document.problem((*path, "options", name), what, "choose another name", key=True)
        if option.title in titles:
            what = f"option {titles[option.title]!r} has this title too"
            yield draft.document.problem((*path, "options", name, "title"), what, "write what tells them apart")
        titles.setdefault(option.title, name)
    default = step.model.on_timeout
    if default not in (FAIL, *options):
        what, known = f"there is no option {default!r}", listed([FAIL, *options], "or")
        close = closest(default, options)
        yield draft.document.problem((*path, "on_timeout"), what, f"use {known}", suggestion=close)
    if not step.model.targets:
        yield draft.document.problem(path, "the choice leads to no step at all", "name steps in a then list", key=True)


def _check_approval(draft: Draft, step: str, path: Path) -> Iterator[Problem]:
    body = draft.document.get(path)
    if not isinstance(body, dict):
        return
    yield from _check_texts(draft, step, path, ("subject", "body"))
    if "within" not in body and "on_timeout" in body:
        what = "has no effect without 'within'"
        yield draft.document.problem((*path, "on_timeout"), what, "add within, such as 2h", key=True)


def _check_texts(draft: Draft, step: str, path: Path, fields: tuple[str, ...]) -> Iterator[Problem]:
    body = draft.document.get(path)
    for field in fields:
        for _, jinja in texts(body.get(field) if isinstance(body, dict) else None):
            yield from check_text(draft, step, (*path, field), jinja)


def _check_compensation(draft: Draft, step: DraftStep, path: Path) -> Iterator[Problem]:
    """Check the work that undoes a step: it sees what a step right after it would."""
    if step.undo is None:
        return
    if draft.document.get((*path[:-1], "for_each")) is not None:
        what = "what a step with for_each did cannot be undone: each item would need another undoing"
        yield draft.document.problem(path, what, "remove compensate, or for_each", key=True)
        return
    if not any(step.id in draft.before[name] for name in draft.steps):
        what = f"no step comes after {step.id!r}, so it would never be undone"
        yield draft.document.problem(path, what, "remove it, or let the steps that may fail come after it", key=True)
    seen = Draft(draft.document, draft.params, {**draft.steps, step.undo.id: step.undo}, draft.beside)
    yield from _check_delegated(seen, step.undo, path)
    if isinstance(step.model, DelegatedStep):
        step.model = step.model.model_copy(update={"compensate": step.undo.model})
    if isinstance(step.undo.model, DelegatedStep):
        yield from _check_retry(draft, step.undo.model.retry, (*path, "retry"))


def _check_delegated(draft: Draft, step: DraftStep, path: Path) -> Iterator[Problem]:
    document = draft.document
    raw = document.get(path)
    body, outcome, outputs = (raw.get(key) for key in (step.type, "outcome", "outputs"))
    for below, jinja in texts(body) if isinstance(body, dict) else ():
        if below[0] != "connection":
            yield from check_text(draft, step.id, (*path, step.type, *below), jinja)
    for field in ("success", "warning") if isinstance(outcome, dict) else ():
        text = outcome.get(field)
        if isinstance(text, str):
            yield from check_rule(document, (*path, "outcome", field), text, OUTCOME_VARIABLES)
    for name in outputs if isinstance(outputs, dict) else ():
        here = (*path, "outputs", name)
        if name in step_type(step.type)[1].facts:
            what = f"every step of this type leaves a value {name!r} already"
            yield document.problem(here, what, "choose another name", key=True)
        match = document.get((*here, "match"))
        if isinstance(match, str):
            yield from _check_match(draft, (*here, "match"), match)
    yield from check_for_each(draft, step, path)
    yield from check_text_files(draft, step, path)


def _check_retry(draft: Draft, rules: Sequence[RetryRule], path: Path) -> Iterator[Problem]:
    document, seen = draft.document, set[str]()
    for index, rule in enumerate(rules):
        here = (*path, index)
        for position, kind in enumerate(rule.on):
            if kind in seen:
                yield document.problem((*here, "on", position), f"{kind!r} is here twice", "remove one of them")
            seen.add(kind)
        if rule.max_delay is None:
            continue
        if rule.backoff is None:
            yield document.problem(
                (*here, "max_delay"), "has no effect without 'backoff'", "add backoff, such as 2", key=True
            )
        first = rule.delay if rule.delay is not None else FIRST_DELAY
        if rule.max_delay < first:
            what = f"{format_duration(rule.max_delay)} is shorter than the first delay, {format_duration(first)}"
            yield document.problem((*here, "max_delay"), what, "correct one of them")


def _check_match(draft: Draft, path: Path, text: str) -> Iterator[Problem]:
    pattern, what, remedy = compiled(text)
    if pattern is None:
        yield draft.document.problem(path, what, remedy)
    elif pattern.groups != 1:
        groups = pattern.groups
        yield draft.document.problem(
            path, f"the regular expression has {groups} groups", "put what is wanted in one pair of parentheses"
        )


def check_params(draft: Draft, params: Mapping[str, Param]) -> Iterator[Problem]:
    """Check each param's default, choices and bounds against its type."""
    for name, param in params.items():
        yield from check_param(draft, ("params", name), param)


def check_param(draft: Draft, path: Path, param: Param) -> Iterator[Problem]:
    """Check the default, choices and bounds of the param that stands at ``path``."""
    document = draft.document
    pattern: re.Pattern[str] | None = None
    for field, types in (
        ("pattern", ("string",)),
        ("minimum", ("integer", "number")),
        ("maximum", ("integer", "number")),
        ("choices", ("string", "integer", "number", "boolean")),
        ("items", ("list",)),
        ("min_items", ("list",)),
        ("max_items", ("list",)),
    ):
        if getattr(param, field) is not None and param.type not in types:
            yield document.problem(
                (*path, field), f"a param of type {param.type!r} has no {field}", "remove it", key=True
            )
    if param.pattern is not None:
        pattern, what, remedy = compiled(param.pattern)
        if pattern is None:
            yield document.problem((*path, "pattern"), what, remedy)
    if param.type == "list" and param.items is None:
        what = "a list needs the type of its items"
        yield document.problem((*path, "type"), what, "add items: string, integer, number or boolean")
        return
    if param.min_items is not None and param.max_items is not None and param.min_items > param.max_items:
        what = f"min_items {param.min_items} is above max_items {param.max_items}"
        yield document.problem((*path, "min_items"), what, "correct one of them")
    if param.minimum is not None and param.maximum is not None and param.minimum > param.maximum:
        yield document.problem(
            (*path, "minimum"),
            f"the minimum {param.minimum} is above the maximum {param.maximum}",
            "correct one of them",
        )
    for index, choice in enumerate(param.choices or ()):
        wrong = wrong_value(param, choice, pattern)
        if wrong:
            yield document.problem((*path, "choices", index), *wrong)
    for value, count in Counter(map(repr, param.choices or ())).items():
        if count > 1:
            yield document.problem((*path, "choices"), f"the choice {value} is here twice", "remove one of them")
    if param.default is not None:
        wrong = wrong_value(param, param.default, pattern)
        if wrong:
            yield document.problem((*path, "default"), *wrong)
        elif param.choices is not None and param.default not in param.choices:
            yield document.problem(
                (*path, "default"),
                f"the default {param.default!r} is none of the choices",
                "add it to the choices, or choose another",
            )


def wrong_value(param: Param, value: Any, pattern: re.Pattern[str] | None) -> tuple[str, str] | None:
    """Say what is wrong with a value that the template itself gives to a param."""
    right = isinstance(value, _PARAM_TYPES[param.type]) and (param.type == "boolean" or not isinstance(value, bool))
    if not right:
        return f"the param's type is {param.type!r}, this is {kind_of(value)}", _RIGHT_VALUES[param.type]
    if param.type == "list":
        return _wrong_list(param, value)
    if pattern is not None and not pattern.search(value):
        return f"{value!r} does not match the param's pattern", "correct one of them"
    if param.minimum is not None and param.type in ("integer", "number") and value < param.minimum:
        return f"{value} is below the minimum {param.minimum}", "correct one of them"
    if param.maximum is not None and param.type in ("integer", "number") and value > param.maximum:
        return f"{value} is above the maximum {param.maximum}", "correct one of them"
    return None


def _wrong_list(param: Param, values: Sequence[Any]) -> tuple[str, str] | None:
    kind = param.items or "string"
    for number, value in enumerate(values, start=1):
        if not isinstance(value, _PARAM_TYPES[kind]) or (kind != "boolean" and isinstance(value, bool)):
            return f"the list's items are of type {kind!r}, item {number} is {kind_of(value)}", _RIGHT_VALUES[kind]
    if param.min_items is not None and len(values) < param.min_items:
        return f"the list has {len(values)} items, fewer than min_items {param.min_items}", "correct one of them"
    if param.max_items is not None and len(values) > param.max_items:
        return f"the list has {len(values)} items, more than max_items {param.max_items}", "correct one of them"
    return None


def check_business(draft: Draft) -> Iterator[Problem]:
    """Check the business key, and that duplicates can be told by it."""
    business = draft.document.get(("business",))
    if not isinstance(business, dict):
        return
    key, duplicates = business.get("key"), business.get("duplicates")
    for _, jinja in texts(key if isinstance(key, str) else ""):
        yield from check_text(draft, None, ("business", "key"), jinja)
    if duplicates in ("reject", "queue") and key is None:
        what = f"duplicates cannot be {duplicates!r} without a business key"
        yield draft.document.problem(("business", "duplicates"), what, "add key, such as {{ params.order_id }}")
    given = business.get("announce")
    announced = given if isinstance(given, list) else []
    for index, name in enumerate(announced):
        place: Path = ("business", "announce", index)
        if name in announced[:index]:
            yield draft.document.problem(place, f"{name!r} is here twice", "remove one of them")
        elif name == "business_key" and key is None:
            what = "there is no business key that could be told"
            yield draft.document.problem(place, what, "add key, such as {{ params.order_id }}")
