"""What a template's author gives to try it: params, and what each step came to; read strictly, and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from airflow_enterprise_orch.delegation.job import Ending
from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.value_stream.checks import wrong_value
from airflow_enterprise_orch.value_stream.messages import kind_of
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest, listed, template_error
from airflow_enterprise_orch.value_stream.steps import (
    AirflowStep,
    ApprovalStep,
    BranchStep,
    ChoiceStep,
    DelegatedStep,
    FailStep,
    Step,
    SubStreamStep,
)
from airflow_enterprise_orch.value_stream.steps_waiting import WAIT_FOR_STATES, WaitForStep, WaitStep
from airflow_enterprise_orch.value_stream.yaml_source import MAX_BYTES, Document, decode, read_yaml

Params = Mapping[str, Any]
Results = Mapping[str, Mapping[str, Any]]
"""Step to what it came to: ``outcome``, ``rc``, ``code``, ``ending``, values; ``answer``, ``by``; ``chooses``."""

OUTCOMES = ("success", "warning", "failed")
ANSWERS = ("approved", "rejected", "nobody")
ENDINGS = tuple(ending.value for ending in Ending if ending not in (Ending.UNKNOWN, Ending.REJECTED))
JOB_KEYS = ("outcome", "rc", "code", "ending", "outputs")
RECORDED = ("system", "started", "ended", "approved", "by_id", "at", "timed_out", "business_key", "job_id")
"""What a step leaves in Airflow beside what matters here, so that its record can be pasted as it is."""

_TYPES: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "string": ("a text", (str,)),
    "int": ("a whole number", (int,)),
    "double": ("a number", (int, float)),
    "bool": ("true or false", (bool,)),
}


def read_sheet(path: FilePath) -> Document:
    """Read a file of keys and values: YAML as strict as a template's, or JSON.

    :raises OrchestrationError: when there is no such file.
    :raises TemplateError: with everything that is wrong with it.
    """
    try:
        with path.open("rb") as stream:
            text = decode(stream.read(MAX_BYTES + 4), str(path))
    except OSError as error:
        raise OrchestrationError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if not text.strip():
        return Document(str(path), data={})
    document = _read_json(text, str(path)) if path.suffix == ".json" else read_yaml(text, str(path))
    if not document.problems and not isinstance(document.data, dict):
        what = f"the file must hold keys, not {kind_of(document.data)}"
        document.problems.append(document.problem((), what, "write 'name: value'"))
    if document.problems:
        raise template_error(document.problems)
    return document


def _read_json(text: str, file: str) -> Document:
    document = Document(file)

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in found]
        for name in sorted({name for name in names if names.count(name) > 1}):
            document.problems.append(document.problem((), f"the key {name!r} is here twice", "remove one of them"))
        return dict(found)

    def constant(name: str) -> None:
        document.problems.append(document.problem((), f"{name} is no JSON", "write a number"))

    try:
        document.data = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        what = f"this is no JSON ({error.msg})"
        problem = document.problem((), what, "correct it", at=(error.lineno, error.colno))
        raise template_error([problem]) from error
    except RecursionError:
        raise template_error([document.problem((), "nests too deeply", "make it flatter")]) from None
    return document


def with_defaults(stream: ValueStream, given: Params) -> dict[str, Any]:
    """Return the params of an instance: those given, and the defaults of the others."""
    # The model keeps lists as tuples; an instance has them as JSON does.
    kept = {name: param.default for name, param in stream.params.items() if not param.required}
    defaults = {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}
    return defaults | dict(given)


def check_params(stream: ValueStream, document: Document, path: Path, given: Params) -> Iterator[Problem]:
    """Check what is given for params, as the form that starts an instance would; the keys stand at ``path``."""
    for name, value in given.items():
        here = (*path, name)
        if name not in stream.params:
            known = f"known are {listed(list(stream.params))}" if stream.params else "the stream has none"
            close = closest(name, stream.params)
            yield document.problem(here, f"there is no param {name!r}", known, suggestion=close, key=True)
            continue
        param = stream.params[name]
        wrong = wrong_value(param, value, re.compile(param.pattern) if param.pattern is not None else None)
        if wrong is None and param.choices is not None and value not in param.choices:
            wrong = f"{value!r} is none of the choices", f"use {listed([str(one) for one in param.choices], 'or')}"
        if wrong is not None:
            yield document.problem(here, f"param {name!r}: {wrong[0]}", wrong[1])


def check_required(stream: ValueStream, document: Document, path: Path, given: Params) -> Iterator[Problem]:
    """Name every param that an instance needs and that is not given."""
    for name, param in stream.params.items():
        if param.required and name not in given:
            what = f"param {name!r} is needed and not given"
            yield document.problem((*path, name), what, f"add {name}: and {_with_article(param.type)}", key=True)


def check_results(stream: ValueStream, document: Document, path: Path, given: Any) -> Iterator[Problem]:
    """Check what is given for steps; the keys stand at ``path``."""
    for name, result in given.items():
        here = (*path, name)
        if name not in stream.steps:
            close = closest(name, stream.steps)
            yield document.problem(here, f"there is no step {name!r}", "name a step", suggestion=close, key=True)
        elif not isinstance(result, dict):
            what = f"a result must hold keys, not {kind_of(result)}"
            yield document.problem(here, what, "write such as {rc: 0}", key=result is None)
        else:
            yield from _check_result(stream.steps[name], document, here, result)


def _check_result(step: Step, document: Document, path: Path, result: Mapping[str, Any]) -> Iterator[Problem]:
    known = known_keys(step)
    for key, value in result.items():
        here = (*path, key)
        if key == "outputs" and isinstance(step, (DelegatedStep, SubStreamStep)):
            yield from _check_outputs(step, document, here, value)
        elif key in known:
            yield from _check_value(document, here, value, known[key])
        elif key not in RECORDED:
            close = closest(key, known)
            remedy = f"known are {listed(sorted(known))}" if known else "it needs no result"
            yield document.problem(here, f"step {step.id!r} has no {key!r}", remedy, suggestion=close, key=True)


def _check_outputs(
    step: DelegatedStep | SubStreamStep, document: Document, path: Path, given: Any
) -> Iterator[Problem]:
    if not isinstance(given, dict):
        yield document.problem(path, f"must hold keys, not {kind_of(given)}", "write 'name: value'")
        return
    for name, value in given.items():
        if name in step.outputs:
            yield from _check_value(document, (*path, name), value, step.facts[name])
        else:
            known = f"it has {listed(sorted(step.outputs))}" if step.outputs else "it has none"
            close = closest(name, step.outputs)
            what = f"step {step.id!r} has no output {name!r}"
            yield document.problem((*path, name), what, known, suggestion=close, key=True)


def known_keys(step: Step) -> dict[str, str | tuple[str, ...]]:
    """Return the keys that a step's result can have: the CEL type of each, or the only words."""
    if isinstance(step, BranchStep):
        return {"chooses": step.targets, "by": "string", "reason": "string"}
    if isinstance(step, FailStep):
        return {}
    if isinstance(step, WaitStep):
        return {"until": "string"}
    if isinstance(step, WaitForStep):
        return {**step.facts, "state": WAIT_FOR_STATES}
    if isinstance(step, ChoiceStep):
        answers = (*step.options, "nobody")
        return {"answer": answers, "outcome": answers, "by": "string"}
    if isinstance(step, ApprovalStep):
        return {"answer": ANSWERS, "outcome": ANSWERS, "by": "string"}
    if isinstance(step, AirflowStep):
        return {**step.facts, "outcome": ("success", "failed")}
    job: dict[str, str | tuple[str, ...]] = dict(step.facts)
    if isinstance(step, DelegatedStep):
        job |= {"rc": "int", "code": "string", "ending": ENDINGS, "outputs": "outputs"}
    if isinstance(step, SubStreamStep):
        # The record of a run has the codes, too.
        return job | {"outcome": ("success", "failed"), "rc": "int", "code": "string", "outputs": "outputs"}
    return job | {"outcome": OUTCOMES}


def _check_value(document: Document, path: Path, value: Any, kind: str | tuple[str, ...]) -> Iterator[Problem]:
    if value is None:
        return  # as in the record of a job without a return code
    if isinstance(kind, tuple):
        if value == []:
            yield document.problem(path, "chooses no step", f"use {listed(kind, 'or')}")
        several = isinstance(value, list) and path[-1] == "chooses"
        for index, word in enumerate(value if several else [value]):
            if word not in kind:
                close = closest(word, kind) if isinstance(word, str) else ""
                what = f"{word!r} is not possible here" if isinstance(word, str) else f"this is {kind_of(word)}"
                here = (*path, index) if several else path
                yield document.problem(here, what, f"use {listed(kind, 'or')}", suggestion=close)
        return
    said, types = _TYPES.get(kind, ("a single value", (str, int, float, bool)))
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        yield document.problem(path, f"must be {said}, not {kind_of(value)}", f"write {said}")


def _with_article(word: str) -> str:
    return f"an {word}" if word[:1] in "aeiou" else f"a {word}"
