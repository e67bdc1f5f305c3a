"""What must hold in a decision table: its inputs, its cells, its outputs, and the rows together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_enterprise_orch.value_stream.beside import named_file
from airflow_enterprise_orch.value_stream.decision_table import (
    MAX_COMBINATIONS,
    MAX_EFFORT,
    Cell,
    CellWrong,
    Domain,
    Finding,
    Row,
    effort,
    examine,
    read_cell,
)
from airflow_enterprise_orch.value_stream.draft import Draft, DraftStep
from airflow_enterprise_orch.value_stream.messages import unknown_key
from airflow_enterprise_orch.value_stream.problems import Path, Problem, listed
from airflow_enterprise_orch.value_stream.steps import DecisionStep
from airflow_enterprise_orch.value_stream.table_file import TableRows, output_mistake, read_table
from airflow_enterprise_orch.value_stream.yaml_source import MAX_VALUES, Document

_NAME = re.compile(r"(params|steps)((?:\.[a-z][a-z0-9_]*)+)")
MAX_NAMED = 8
"""How many rows one message names."""


def check_table(draft: Draft, step: DraftStep, path: Path) -> Iterator[Problem]:
    """Check the table of a decision step that stands at ``path``; rows of a file become those of the step."""
    if not isinstance(step.model, DecisionStep):
        return
    table, kinds = step.model, _kinds(draft, step, step.model)
    problems = list(_check_inputs(draft, step, table, path))
    place = Place(draft.document, (*path, "rows"), "'- otherwise: {...}' at the end")
    if table.table is None:
        problems += _check_rows(draft, table, kinds, path)
    else:
        rows = _read_rows(draft, table, table.table, kinds, path)
        problems += rows.problems
        step.model = table = table.model_copy(update={"rows": tuple(rows.rows)})
        place = Place(rows.document, ("rows",), "'otherwise: {...}' beside table", tuple(rows.lines))
        if not problems and table.otherwise is not None:
            problems += _check_outputs(draft.document, table, (*path, "otherwise"), table.otherwise)
    yield from problems
    if not problems:
        yield from _check_together(draft, table, kinds, place)


def _read_rows(draft: Draft, table: DecisionStep, name: str, kinds: Mapping[str, str], path: Path) -> TableRows:
    """Return the rows of the file that a decision names."""
    both = [name for name in table.inputs if name in table.outputs]
    here = (*path, "table")
    if both:
        what = f"{listed([repr(one) for one in both])} is the name of an input and of an output"
        problem = draft.document.problem(here, what, "give them two names, for a header cannot tell them apart")
        return TableRows(draft.document, problems=[problem])
    file = named_file(draft.beside, name)
    if isinstance(file, tuple) or draft.beside is None:
        what, remedy, close = file if isinstance(file, tuple) else ("", "", "")
        problem = draft.document.problem(here, what, remedy, suggestion=close)
        return TableRows(draft.document, problems=[problem])
    rows = read_table(file, draft.beside.name(file), table, kinds)
    draft.cells += len(rows.lines) * (len(table.inputs) + len(table.outputs))
    if draft.cells > MAX_VALUES:
        what = f"the tables of the stream hold more than {MAX_VALUES:,} cells together"
        rows.problems.append(draft.document.problem(here, what, "split the stream"))
    return rows


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


def _check_rows(draft: Draft, table: DecisionStep, kinds: Mapping[str, str], path: Path) -> Iterator[Problem]:
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
        yield from _check_outputs(draft.document, table, (*here, key), entry[key])


def _check_outputs(document: Document, table: DecisionStep, here: Path, then: Mapping[str, Any]) -> Iterator[Problem]:
    meant = set()
    for name, value in then.items():
        if name not in table.outputs:
            problem = unknown_key(document, (*here, name), table.outputs)
            meant.add(problem.suggestion)
            yield problem
            continue
        mistake = output_mistake(value, table.outputs[name])
        if mistake is not None:
            yield document.problem((*here, name), *mistake)
    missing = [name for name in table.outputs if name not in then and name not in meant]
    if missing:
        yield document.problem(here, f"the row says nothing of {listed(missing)}", "add it", key=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the rows of a table stand.

    :param path: of the rows in ``document``.
    :param otherwise: what to write where no row fits.
    :param lines: of the rows of a file, by which people call them; empty for those in a template, which have numbers.
    """

    document: Document
    path: Path
    otherwise: str
    lines: tuple[int, ...] = ()

    def called(self, rows: Sequence[int]) -> str:
        """Return how people call some rows: ``rows 1 and 2``, ``line 7``."""
        numbers = [str(self.lines[row] if self.lines else row + 1) for row in rows[:MAX_NAMED]]
        more = len(rows) - MAX_NAMED
        word = "line" if self.lines else "row"
        return f"{word}{'s' if len(rows) > 1 else ''} {listed(numbers + [f'{more} more'] * (more > 0))}"


def _check_together(draft: Draft, table: DecisionStep, kinds: Mapping[str, str], place: Place) -> Iterator[Problem]:
    if "dyn" in kinds.values():
        return  # a type that is wrong is told elsewhere, and what is to be compared cannot be told
    rows = cells(table, kinds)
    domains = {name: _domain(draft, kinds[name], reads) for name, reads in table.inputs.items()}
    draft.effort += effort(rows, domains) or 0
    if draft.effort > MAX_EFFORT:
        what = "the tables of the stream are together too large to check for gaps"
        yield place.document.problem(place.path, what, "split the stream", key=True)
        return
    for finding in examine(rows, domains, table.hit, otherwise=table.otherwise is not None):
        yield _told(place, finding)


def cells(table: DecisionStep, kinds: Mapping[str, str]) -> list[Row]:
    """Return the rows of a checked table as cells."""
    return [{name: read_cell(raw, kinds[name]) for name, raw in row.when.items()} for row in table.rows]


def _told(place: Place, finding: Finding) -> Problem:
    document, path = place.document, place.path
    if finding.kind == "gap":
        what = f"no row fits {finding.shown()}"
        return document.problem(path, what, f"add a row, or {place.otherwise}", key=True)
    if finding.kind == "overlap":
        all_of = "all" if len(finding.rows) > 2 else "both"
        what = f"{place.called(finding.rows)} {all_of} fit {finding.shown()}, but the hit policy is unique"
        return document.problem((*path, finding.rows[-1]), what, "make them exclude each other, or write hit: first")
    if finding.kind == "unreachable":
        called = place.called(finding.rows)
        what = f"{called} is never taken: the rows before it, or the values possible, leave nothing for it"
        return document.problem((*path, finding.rows[0]), what, "remove it, or put it further up")
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
