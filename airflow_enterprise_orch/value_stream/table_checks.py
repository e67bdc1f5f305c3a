"""What must hold in a decision table: its inputs, its cells, its outputs, and the rows together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_enterprise_orch.value_stream.decision_table import (
    MAX_COMBINATIONS,
    Cell,
    CellWrong,
    Domain,
    Finding,
    Row,
    examine,
    read_cell,
)
from airflow_enterprise_orch.value_stream.draft import Draft, DraftStep
from airflow_enterprise_orch.value_stream.messages import kind_of, unknown_key
from airflow_enterprise_orch.value_stream.model_types import CEL_TYPES
from airflow_enterprise_orch.value_stream.problems import Path, Problem, listed
from airflow_enterprise_orch.value_stream.steps import DecisionStep

_NAME = re.compile(r"(params|steps)((?:\.[a-z][a-z0-9_]*)+)")
_PYTHON: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "double": (int, float),
    "bool": (bool,),
}
MAX_NAMED = 8
"""How many rows one message names."""
_SAID = {"string": "a text", "int": "a whole number", "double": "a number", "bool": "true or false"}


def check_table(draft: Draft, step: DraftStep, path: Path) -> Iterator[Problem]:
    """Check the table of a decision step that stands at ``path``."""
    if not isinstance(step.model, DecisionStep):
        return
    table = step.model
    problems = [*_check_inputs(draft, step, table, path), *_check_rows(draft, table, step, path)]
    yield from problems
    if not problems:
        yield from _check_together(draft, step, table, path)


def _check_inputs(draft: Draft, step: DraftStep, table: DecisionStep, path: Path) -> Iterator[Problem]:
    for name, reads in table.inputs.items():
        here = (*path, "inputs", name)
        if not _NAME.fullmatch(reads):
            what = f"{reads!r} is no value that a table can read"
            yield draft.document.problem(here, what, "write params.<param> or steps.<step>.<value>")
            continue
        mistake = draft.name_mistake(step.id, tuple(reads.split(".")))
        if mistake is not None:
            what, suggestion, remedy = mistake
            yield draft.document.problem(here, what, remedy, suggestion=suggestion)


def _check_rows(draft: Draft, table: DecisionStep, step: DraftStep, path: Path) -> Iterator[Problem]:
    kinds = _kinds(draft, step, table)
    entries: list[Any] = draft.document.get((*path, "rows"))
    for index, entry in enumerate(entries):
        here = (*path, "rows", index)
        for name, raw in (entry.get("when") or {}).items():
            place = (*here, "when", name)
            if name not in table.inputs:
                yield unknown_key(draft.document, place, table.inputs)
                continue
            try:
                read_cell(raw, kinds[name])
            except CellWrong as wrong:
                yield draft.document.problem(place, str(wrong), wrong.remedy)
        key = "otherwise" if "otherwise" in entry else "then"
        yield from _check_outputs(draft, table, (*here, key), entry[key])


def _check_outputs(draft: Draft, table: DecisionStep, here: Path, then: Mapping[str, Any]) -> Iterator[Problem]:
    meant = set()
    for name, value in then.items():
        if name not in table.outputs:
            problem = unknown_key(draft.document, (*here, name), table.outputs)
            meant.add(problem.suggestion)
            yield problem
            continue
        kind = CEL_TYPES[table.outputs[name]]
        if not isinstance(value, _PYTHON[kind]) or (kind != "bool" and isinstance(value, bool)):
            what = f"the output's type is {table.outputs[name]!r}, this is {kind_of(value)}"
            yield draft.document.problem((*here, name), what, f"write {_SAID[kind]}")
    missing = [name for name in table.outputs if name not in then and name not in meant]
    if missing:
        yield draft.document.problem(here, f"the row says nothing of {listed(missing)}", "add it", key=True)


def _check_together(draft: Draft, step: DraftStep, table: DecisionStep, path: Path) -> Iterator[Problem]:
    kinds = _kinds(draft, step, table)
    if "dyn" in kinds.values():
        return  # a type that is wrong is told elsewhere, and what is to be compared cannot be told
    rows = cells(table, kinds)
    domains = {name: _domain(draft, kinds[name], reads) for name, reads in table.inputs.items()}
    for finding in examine(rows, domains, table.hit, otherwise=table.otherwise is not None):
        yield _told(draft, (*path, "rows"), finding)


def cells(table: DecisionStep, kinds: Mapping[str, str]) -> list[Row]:
    """Return the rows of a checked table as cells."""
    return [{name: read_cell(raw, kinds[name]) for name, raw in row.when.items()} for row in table.rows]


def _told(draft: Draft, path: Path, finding: Finding) -> Problem:
    document = draft.document
    if finding.kind == "gap":
        what = f"no row fits {finding.shown()}"
        return document.problem(path, what, "add a row, or '- otherwise: {...}' at the end", key=True)
    if finding.kind == "overlap":
        more = len(finding.rows) - MAX_NAMED
        numbers = listed([str(number + 1) for number in finding.rows[:MAX_NAMED]] + [f"{more} more"] * (more > 0))
        what = f"rows {numbers} both fit {finding.shown()}, but the hit policy is unique"
        if len(finding.rows) > 2:
            what = what.replace(" both fit ", " all fit ")
        return document.problem((*path, finding.rows[-1]), what, "make them exclude each other, or write hit: first")
    if finding.kind == "unreachable":
        number = finding.rows[0]
        what = f"row {number + 1} is never taken: the rows before it, or the values possible, leave nothing for it"
        return document.problem((*path, number), what, "remove it, or put it further up")
    what = f"the table has more than {MAX_COMBINATIONS} combinations of inputs, or too many rows, to check for gaps"
    return document.problem(path, what, "split it into two decisions", key=True)


def _kinds(draft: Draft, step: DraftStep, table: DecisionStep) -> dict[str, str]:
    known = draft.variables(step.id)
    return {name: known.get(reads, "dyn") for name, reads in table.inputs.items()}


def _domain(draft: Draft, kind: str, reads: str) -> Domain:
    """Return what an input can be; of a param that is what the template allows."""
    group, _, name = reads.partition(".")
    param = draft.document.get(("params", name)) if group == "params" else None
    if not isinstance(param, dict):
        return Domain(kind)
    choices = param.get("choices")
    bounds = [param.get(bound) for bound in ("minimum", "maximum")]
    low, high = (bound if isinstance(bound, (int, float)) else None for bound in bounds)
    return Domain(kind, tuple(choices) if isinstance(choices, list) else (), low, high)


__all__ = ["Cell", "cells", "check_table"]
