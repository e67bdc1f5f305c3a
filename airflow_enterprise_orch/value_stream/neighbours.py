"""What must hold between the templates of one folder: streams that run one another, or wait for one another.

Whether a stream is there, takes what it is given and leaves what is read can only be told where its template lies
beside. So ``lint`` tells it, and the doors into Airflow do not: no template may fail there for what another one says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.checks import wrong_value
from airflow_enterprise_orch.value_stream.conditions import condition_variables
from airflow_enterprise_orch.value_stream.handed_on import value_itself
from airflow_enterprise_orch.value_stream.mistakes import ours_if_unforeseen
from airflow_enterprise_orch.value_stream.model import Param, ValueStream
from airflow_enterprise_orch.value_stream.model_types import CEL_TYPES
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest, listed, problems_of
from airflow_enterprise_orch.value_stream.steps import SubStreamStep
from airflow_enterprise_orch.value_stream.steps_waiting import WaitForStep
from airflow_enterprise_orch.value_stream.template_folder import CASES, SUFFIXES, declared_stream, read_file
from airflow_enterprise_orch.value_stream.yaml_source import Document, decode, read_yaml

_WORDS = {kind: word for word, kind in CEL_TYPES.items()}
_FITS = {("integer", "number")}
"""A value of the first type can be given where the second is wanted."""


def check_neighbours(streams: Mapping[FilePath, ValueStream]) -> list[Problem]:
    """Return what is wrong between right templates and those that lie in the same folders.

    :param streams: by file.
    """
    runs = {file: stream for file, stream in streams.items() if any(_other_streams(stream))}
    files = _declared(sorted({file.parent for file in runs}))
    # None: there is such a stream, and what is wrong with its template is told elsewhere.
    beside: dict[str, ValueStream | None] = {**dict.fromkeys(files), **{one.id: one for one in streams.values()}}
    _load_missing(runs, files, beside)
    problems: list[Problem] = []
    for file, stream in runs.items():
        try:
            with ours_if_unforeseen(str(file)):
                problems += _check_one(file, stream, beside)
        except TemplateError as error:
            problems += problems_of(error)
    return problems


def _check_one(file: FilePath, stream: ValueStream, beside: Mapping[str, ValueStream | None]) -> Iterator[Problem]:
    document = read_yaml(decode(read_file(file, str(file)), str(file)), str(file))
    for step in _sub_streams(stream):
        yield from _check(stream, step, document, beside)
    for wait in _waits(stream):
        yield from _check_wait(stream, wait, document, beside)


def _sub_streams(stream: ValueStream) -> Iterator[SubStreamStep]:
    return (step for step in stream.steps.values() if isinstance(step, SubStreamStep))


def _waits(stream: ValueStream) -> Iterator[WaitForStep]:
    return (step for step in stream.steps.values() if isinstance(step, WaitForStep))


def _other_streams(stream: ValueStream) -> Iterator[str]:
    yield from (step.run for step in _sub_streams(stream))
    yield from (step.stream for step in _waits(stream))


def _deadlocks(stream: ValueStream) -> Iterator[str]:
    """Yield the streams whose whole instances of the same business date it waits for."""
    return (step.stream for step in _waits(stream) if step.key is None and not step.offset and step.step is None)


def _declared(folders: Iterable[FilePath]) -> dict[str, FilePath]:
    """Return the streams that templates in these folders declare, by id."""
    found: dict[str, FilePath] = {}
    for folder in folders:
        for file in sorted(folder.iterdir()):
            if file.suffix in SUFFIXES and not file.name.endswith(CASES) and not file.name.startswith((".", "_")):
                try:
                    found[declared_stream(read_file(file, str(file)))] = file
                except TemplateError:
                    continue  # no file, or one that nobody may read: nobody can say what it declares
    found.pop("", None)
    return found


def _load_missing(
    runs: Mapping[FilePath, ValueStream], files: dict[str, FilePath], beside: dict[str, ValueStream | None]
) -> None:
    """Load the templates that lie beside those that were named, as far as somebody runs or awaits them."""
    waiting = [name for stream in runs.values() for name in _other_streams(stream)]
    while waiting:
        name = waiting.pop()
        if beside.get(name) is not None or name not in files:
            continue
        try:
            beside[name] = found = ValueStream.load(files.pop(name))
        except TemplateError:
            continue  # lint tells it of that file
        waiting += _other_streams(found)


def _check(
    stream: ValueStream, step: SubStreamStep, document: Document, beside: Mapping[str, ValueStream | None]
) -> Iterator[Problem]:
    here: Path = ("steps", step.id, "stream")
    yield from _check_there(stream, step.run, here, "run", step.elsewhere, document, beside)
    if step.run not in beside:
        return
    circle = _circle(stream.id, step.run, beside, lambda one: (step.run for step in _sub_streams(one)))
    if circle:
        what = f"the streams go round in a circle: {' -> '.join(circle)}"
        yield document.problem((*here, "run"), what, "remove one of these steps")
    other = beside[step.run]
    if other is not None:
        yield from _check_params(stream, step, document, other)
        yield from _check_outputs(step, document, other)


def _check_there(
    stream: ValueStream,
    other: str,
    here: Path,
    key: str,
    elsewhere: bool,
    document: Document,
    beside: Mapping[str, ValueStream | None],
) -> Iterator[Problem]:
    """Check that another stream is where the step says, in this folder or elsewhere."""
    if other not in beside and not elsewhere:
        what = f"there is no stream {other!r} in this folder"
        remedy = "correct it, or add 'elsewhere: true' when its template is in another folder"
        close = closest(other, [name for name in beside if name != stream.id])
        yield document.problem((*here, key), what, remedy, suggestion=close)
    if other in beside and elsewhere:
        what = f"the stream {other!r} is in this folder"
        yield document.problem((*here, "elsewhere"), what, "remove elsewhere", key=True)


def _check_wait(
    stream: ValueStream, step: WaitForStep, document: Document, beside: Mapping[str, ValueStream | None]
) -> Iterator[Problem]:
    """Check that the other stream tells what is asked for, and has the step."""
    here: Path = ("steps", step.id, "wait_for")
    yield from _check_there(stream, step.stream, here, "stream", step.elsewhere, document, beside)
    other = beside.get(step.stream)
    if other is None:
        return
    if step.stream != stream.id and step.stream in _deadlocks(stream):
        circle = _circle(stream.id, step.stream, beside, _deadlocks)
        if circle:
            what = f"the streams wait for one another in a circle: {' -> '.join(circle)}"
            yield document.problem((*here, "stream"), what, "remove one of these steps, or name a milestone: step")
    told = "business_date" if step.key is None else "business_key"
    if told not in other.business.announce:
        what = f"the instances of {other.id!r} do not tell their {told.replace('_', ' ')}"
        remedy = f"add announce: [{told}] to the business block of {other.id!r}"
        yield document.problem((*here, "stream"), what, remedy)
    if step.step is not None and step.step not in other.steps:
        close = closest(step.step, other.steps)
        what = f"stream {other.id!r} has no step {step.step!r}"
        yield document.problem((*here, "step"), what, f"it has {listed(list(other.steps))}", suggestion=close)


def _circle(
    start: str,
    run: str,
    beside: Mapping[str, ValueStream | None],
    follow: Callable[[ValueStream], Iterable[str]],
) -> list[str]:
    """Return the shortest way from ``start`` over ``run`` back to it."""
    ways = [[start, run]]
    seen = {run}
    for way in ways:
        last = beside.get(way[-1])
        for name in follow(last) if last is not None else ():
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def _check_params(
    stream: ValueStream, step: SubStreamStep, document: Document, other: ValueStream
) -> Iterator[Problem]:
    here: Path = ("steps", step.id, "stream", "params")
    for name, value in step.params.items():
        if name not in other.params:
            known = f"it has {listed(list(other.params))}" if other.params else "it has none"
            close = closest(name, other.params)
            what = f"stream {other.id!r} has no param {name!r}"
            yield document.problem((*here, name), what, known, suggestion=close, key=True)
            continue
        wrong = _wrong(stream, step, other.params[name], value)
        if wrong is not None:
            yield document.problem((*here, name), f"param {name!r} of {other.id!r}: {wrong[0]}", wrong[1])
    for name, param in other.params.items():
        if param.required and name not in step.params:
            what = f"stream {other.id!r} needs param {name!r}, which is not given"
            path = here if step.params else here[:-1]
            yield document.problem(path, what, f"add {name}: and its value", key=True)


def _wrong(stream: ValueStream, step: SubStreamStep, param: Param, value: Any) -> tuple[str, str] | None:
    """Say what is wrong with what a param of the other stream is given."""
    path = value_itself(value)
    if path is not None:
        name = ".".join(path)
        kind = _WORDS.get(condition_variables(stream, step.id).get(name, "string"), "")
        if kind and kind != param.type and (kind, param.type) not in _FITS:
            return f"its type is {param.type!r}, {name} is of type {kind!r}", "hand on a value of its type"
        return None
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        if param.type != "string":
            return f"its type is {param.type!r}, this becomes a text", "hand on one value alone, {{ params.<name> }}"
        return None
    wrong = wrong_value(param, value, re.compile(param.pattern) if param.pattern is not None else None)
    if wrong is None and param.choices is not None and value not in param.choices:
        return f"{value!r} is none of the choices", f"use {listed([str(one) for one in param.choices], 'or')}"
    return wrong


def _check_outputs(step: SubStreamStep, document: Document, other: ValueStream) -> Iterator[Problem]:
    for name, output in step.outputs.items():
        here: Path = ("steps", step.id, "outputs", name)
        if output.step not in other.steps:
            close = closest(output.step, other.steps)
            what = f"stream {other.id!r} has no step {output.step!r}"
            yield document.problem((*here, "step"), what, f"it has {listed(list(other.steps))}", suggestion=close)
            continue
        facts = other.steps[output.step].facts
        if output.value not in facts:
            close = closest(output.value, facts)
            what = f"step {output.step!r} of {other.id!r} leaves no value {output.value!r}"
            known = f"it leaves {listed(sorted(facts)) or 'nothing'}"
            yield document.problem((*here, "value"), what, known, suggestion=close)
            continue
        kind = _WORDS.get(facts[output.value], output.type)
        if kind != output.type and (kind, output.type) not in _FITS:
            where = (*here, "type") if document.get((*here, "type")) is not None else here
            what = f"{output.value!r} of step {output.step!r} is of type {kind!r}, not {output.type!r}"
            yield document.problem(where, what, f"write type: {kind}")


def duplicates(files: Sequence[FilePath]) -> tuple[Problem, ...]:
    """Find value streams that several files declare: in one Airflow only one of them could live."""
    declared: dict[str, list[FilePath]] = {}
    for file in files:
        try:
            stream = declared_stream(read_file(file, str(file)))
        except TemplateError:
            continue  # told where it is checked
        if stream:
            declared.setdefault(stream, []).append(file)
    return tuple(
        Problem(
            str(file),
            1,
            1,
            "value_stream",
            f"{stream!r} is also declared by {', '.join(str(other) for other in group if other != file)}",
            "",
            "give each file a value stream of its own, or remove all but one",
        )
        for stream, group in declared.items()
        if len(group) > 1
        for file in group
    )
