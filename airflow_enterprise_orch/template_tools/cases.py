"""A template's own cases: params and step results in, the expected path out.

They stand beside the template ``name.yaml`` in ``name.cases.yaml``, which no door into Airflow takes for a template.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError

from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.template_tools.given import check_params, check_required, check_results, read_sheet
from airflow_enterprise_orch.template_tools.walk import NotGiven, walk
from airflow_enterprise_orch.template_tools.walked import Walk
from airflow_enterprise_orch.value_stream.decision_record import Fired
from airflow_enterprise_orch.value_stream.decision_table import OTHERWISE
from airflow_enterprise_orch.value_stream.messages import translate
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.model_types import GivenValue, Identifier, Line, Part, StepIds
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest, listed, template_error
from airflow_enterprise_orch.value_stream.steps import BranchStep, ChoiceStep
from airflow_enterprise_orch.value_stream.surroundings import Surroundings
from airflow_enterprise_orch.value_stream.template_folder import CASES, SUFFIXES, find_templates
from airflow_enterprise_orch.value_stream.yaml_source import Document

StepResults = dict[Identifier, dict[str, JsonValue]]


class Case(Part):
    """One instance to try, and the path that it must take."""

    params: dict[Identifier, GivenValue] = Field(default_factory=dict, description="What it is started with.")
    results: StepResults = Field(default_factory=dict, description="What its steps come to.")
    takes: StepIds = Field(description="The steps that run, all of them, branches included.")
    skips: StepIds = Field((), description="Steps that must not run.")
    compensates: StepIds = Field((), description="The steps that are undone, all of them.")
    ends: Literal["success", "failed"] = Field("success", description="How the instance ends.")


class Cases(Part):
    """The cases of one template. What is given at the top holds for every case that does not say otherwise."""

    params: dict[Identifier, GivenValue] = Field(default_factory=dict, description="Params of all cases.")
    results: StepResults = Field(default_factory=dict, description="Step results of all cases.")
    cases: Annotated[dict[Line, Case], Field(min_length=1)] = Field(description="Each case by what it is about.")


def cases_schema() -> dict[str, Any]:
    """Return the JSON Schema of a file of cases, for editors: draft 2020-12."""
    schema = Cases.model_json_schema()
    about = "The cases of a value-stream template of airflow_enterprise_orch."
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Cases of a value stream",
        "description": about,
    }


@dataclass(frozen=True, slots=True)
class CaseReport:
    """What came of one case.

    :param line: where it stands in its file.
    :param differences: how its path differs from what was expected; none when it passed.
    :param decisions: what each branch on the path chose, and why.
    """

    name: str
    line: int
    differences: tuple[str, ...]
    decisions: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True when the path is the expected one."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class FileReport:
    """What came of the cases of one template.

    :param hints: ways out of branches that no case takes.
    """

    template: str
    file: str
    cases: tuple[CaseReport, ...]
    hints: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it for tools."""
        cases = [
            {
                "name": case.name,
                "line": case.line,
                "passed": case.passed,
                "differences": list(case.differences),
                "decisions": list(case.decisions),
            }
            for case in self.cases
        ]
        return {"template": self.template, "file": self.file, "cases": cases, "hints": list(self.hints)}


def find_cases(path: FilePath) -> Iterator[tuple[FilePath, FilePath]]:
    """Yield template and file of cases for what a person named: a template, a file of cases, or a folder.

    :raises OrchestrationError: when there are none.
    """
    if path.is_dir():
        pairs = [(template, cases) for _, template in find_templates(path) if (cases := _beside(template)) is not None]
        if not pairs:
            raise OrchestrationError(f"{path}: no template in this folder has cases; write them into NAME{CASES[0]}")
        yield from pairs
    elif not path.is_file():
        raise OrchestrationError(f"{path}: there is no such file or folder; check the path")
    elif path.name.endswith(CASES):
        stem = path.name.rpartition(".cases.")[0]
        templates = [found for suffix in SUFFIXES if (found := path.with_name(stem + suffix)).is_file()]
        if not templates:
            raise OrchestrationError(f"{path}: its template {stem}{SUFFIXES[0]} is not beside it; put them together")
        yield templates[0], path
    else:
        cases = _beside(path)
        if cases is None:
            raise OrchestrationError(f"{path}: it has no cases; write them into {path.stem}{CASES[0]} beside it")
        yield path, cases


def _beside(template: FilePath) -> FilePath | None:
    found = (template.with_name(template.stem + suffix) for suffix in CASES)
    return next((path for path in found if path.is_file()), None)


def run_cases(template: FilePath, file: FilePath, surroundings: Surroundings | None = None) -> FileReport:
    """Run the cases of a template.

    :param surroundings: the profiles and shared files that the template may use; by default those beside it.
    :raises TemplateError: when the template or the file of cases is wrong.
    """
    stream = ValueStream.load(template, surroundings=surroundings)
    document = read_sheet(file)
    cases = _read(stream, document)
    reports: list[CaseReport] = []
    choices: set[tuple[str, Fired]] = set()
    for name, case in cases.cases.items():
        line = document.position(("cases", name), key=True)[0]
        try:
            walked = walk(stream, {**cases.params, **case.params}, _together(cases.results, case.results))
        except NotGiven as error:
            reports.append(CaseReport(name, line, (str(error),)))
            continue
        choices |= {(choice.branch, fired) for choice in walked.choices for fired in choice.fired}
        decisions = tuple(
            f"{step.id} {step.why}"
            for step in walked.steps
            if step.why and step.id in {c.branch for c in walked.choices}
        )
        reports.append(CaseReport(name, line, tuple(_differences(case, walked)), decisions))
    return FileReport(str(template), str(file), tuple(reports), tuple(_hints(stream, choices)))


def _read(stream: ValueStream, document: Document) -> Cases:
    problems: list[Problem] = []
    try:
        cases = Cases.model_validate(document.data)
    except ValidationError as error:
        problems = translate(document, Cases, error.errors(include_url=False), {}, (), set())
        raise template_error(problems) from error
    problems += check_params(stream, document, ("params",), cases.params)
    problems += check_results(stream, document, ("results",), cases.results)
    for name, case in cases.cases.items():
        here = ("cases", name)
        problems += check_params(stream, document, (*here, "params"), case.params)
        problems += check_required(stream, document, (*here, "params"), {**cases.params, **case.params})
        problems += check_results(stream, document, (*here, "results"), case.results)
        problems += _check_path(stream, document, here, case)
        problems += _check_compensates(stream, document, here, case)
    if problems:
        raise template_error(problems)
    return cases


def _check_path(stream: ValueStream, document: Document, path: Path, case: Case) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for group, names in (("takes", case.takes), ("skips", case.skips)):
        for index, name in enumerate(names):
            here = (*path, group, index)
            if name not in stream.steps:
                close = closest(name, stream.steps)
                yield document.problem(here, f"there is no step {name!r}", "name a step", suggestion=close)
            elif name in seen:
                twice = f"step {name!r} is in {seen[name]}" + (f" and in {group}" if group != seen[name] else " twice")
                yield document.problem(here, twice, "remove one of them")
            elif group == "takes" and (late := [one for one in stream.ancestors(name) if one in names[index:]]):
                first = next(one for one in names if one in late)
                yield document.problem(here, f"step {name!r} runs after {first!r}", f"put it behind {first!r}")
            seen[name] = group


def _check_compensates(stream: ValueStream, document: Document, path: Path, case: Case) -> Iterator[Problem]:
    undone = [name for name, step in stream.steps.items() if step.compensation is not None]
    for index, name in enumerate(case.compensates):
        if name not in undone:
            what = f"nothing undoes step {name!r}" if name in stream.steps else f"there is no step {name!r}"
            known = f"use {listed(undone, 'or')}" if undone else "remove it"
            close = closest(name, undone)
            yield document.problem((*path, "compensates", index), what, known, suggestion=close)


def _together(common: StepResults, own: StepResults) -> dict[str, Mapping[str, Any]]:
    """Return the results of a case: its own before the common ones, key by key."""
    return {step: {**common.get(step, {}), **own.get(step, {})} for step in {**common, **own}}


def _differences(case: Case, walked: Walk) -> Iterator[str]:
    became = {step.id: step for step in walked.steps}
    for name in walked.takes:
        if name not in case.takes:
            yield f"{name} runs, but is not in takes" + (": it is in skips" if name in case.skips else "")
    for name in (step.id for step in walked.steps if step.id in case.takes):
        if name not in walked.takes:
            why = became[name].why
            yield f"{name} does not run: {'skipped' if became[name].state == 'skipped' else 'stopped'}, {why}"
    for name in walked.compensates:
        if name not in case.compensates:
            yield f"{name} is undone, but is not in compensates"
    for name in case.compensates:
        if name not in walked.compensates:
            yield f"{name} is in compensates, but is not undone"
    if walked.ends != case.ends:
        failed = "; ".join(f"{step.id} failed: {step.why}" for step in walked.steps if step.state == "failed")
        yield f"ends: {walked.ends}, not {case.ends}" + (f" ({failed})" if failed else "")


def _hints(stream: ValueStream, choices: set[tuple[str, Fired]]) -> Iterator[str]:
    for step in stream.ordered():
        if isinstance(step, ChoiceStep):
            for name, option in step.options.items():
                if (step.id, name) not in choices:
                    yield f"{step.id}: no case chooses {name} ({option.title}), to {_named(option.then)}"
        if not isinstance(step, BranchStep):
            continue
        for number, rule in enumerate(step.rules, start=1):
            if (step.id, number) not in choices:
                yield f"{step.id}: no case takes rule {number} ({rule.when}), to {_named(rule.then)}"
        if (step.id, OTHERWISE) not in choices:
            yield f"{step.id}: no case takes otherwise, to {_named(step.otherwise)}"


def _named(steps: tuple[str, ...]) -> str:
    return ", ".join(steps) or "the end of the path"
