"""Decision tables in CSV: a file beside the template -> the rows that a template would have, with the file's places.

The header names inputs and outputs, in any order. A cell says what the same cell says in a template; because the type
of each column is known, a text needs no quotes that YAML would want: in a column of texts ``01067`` is a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.csv_source import WHERE, CsvCell, CsvRecord, read_csv
from airflow_enterprise_orch.value_stream.decision_table import CellWrong, is_interval, read_cell
from airflow_enterprise_orch.value_stream.messages import kind_of
from airflow_enterprise_orch.value_stream.model_types import CEL_TYPES
from airflow_enterprise_orch.value_stream.problems import (
    MAX_PROBLEMS,
    Path,
    Problem,
    closest,
    listed,
    problems_of,
    template_error,
)
from airflow_enterprise_orch.value_stream.secret_texts import refuse_secrets
from airflow_enterprise_orch.value_stream.steps import DecisionRow, DecisionStep
from airflow_enterprise_orch.value_stream.template_folder import MAX_BYTES
from airflow_enterprise_orch.value_stream.yaml_source import Document, plain_value

_ITEM = re.compile(r"""\s*(?:'((?:[^']|'')*+)'|"((?:[^"]|"")*+)"|([^,'"][^,]*)|)\s*(?:,|$)""")


@dataclass(slots=True)
class TableRows:
    """The rows of a table's file.

    :param document: the file's texts with their places, as if it were a template that holds ``rows`` and nothing else.
    :param lines: of each row the line in which it begins.
    :param problems: what is wrong with the file; the rows are what could be read around it.
    """

    document: Document
    rows: list[DecisionRow] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_table(path: FilePath, file: str, table: DecisionStep, kinds: Mapping[str, str]) -> TableRows:
    """Return the rows of the file at ``path``, and what is wrong with it.

    :param file: its name in messages.
    :param table: whose inputs and outputs the header names.
    :param kinds: the CEL type of each input; ``dyn`` where that cannot be told.
    """
    found = TableRows(Document(file))
    try:
        header, *records = read_csv(_content(path, file), file)
    except TemplateError as error:
        found.problems.extend(problems_of(error))
        return found
    found.document.lines = [cell.text for record in (header, *records) for cell in record]
    found.problems.extend(_header(found.document, header, table))
    if not found.problems and not records:
        what, remedy = "the table has no row", "add one below the header"
        found.problems.append(found.document.problem(("rows",), what, remedy))
    if found.problems:
        return found
    _Rows(found, table, kinds).read([cell.text for cell in header], records)
    refuse_secrets(found.document)
    if found.document.problems:
        # A text that must not be shown: nothing else is said about the file.
        found.problems = found.document.problems
    return found


def _content(path: FilePath, file: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 4)
    except OSError as error:
        what = f"the file cannot be read ({error.strerror or type(error).__name__})"
        raise template_error([Problem(file, 1, 1, WHERE, what, "", "check path and permissions")]) from error


def _header(document: Document, header: CsvRecord, table: DecisionStep) -> Iterator[Problem]:
    """Check that the header names each input and each output once, and nothing else."""
    known = (*table.inputs, *table.outputs)
    seen: set[str] = set()
    meant: set[str] = set()
    if not any(cell.text in known or closest(cell.text, known) for cell in header):
        at = (header[0].line, header[0].column)
        what, remedy = "the first line is no header", f"begin with the names of inputs and outputs: {', '.join(known)}"
        yield document.problem((WHERE,), what, remedy, at=at)
        return
    for cell in header:
        name, at = cell.text, (cell.line, cell.column)
        if name in seen:
            yield document.problem((WHERE,), f"the column {name!r} is here twice", "remove one of them", at=at)
        elif not name:
            what, remedy = "the column has no name", "name an input or an output, or remove the column"
            yield document.problem((WHERE,), what, remedy, at=at)
        elif name not in known:
            close = closest(name, known)
            meant.add(close)
            what, remedy = f"{name!r:.80} is no input and no output of the decision", f"known are {listed(known)}"
            yield document.problem((WHERE,), what, "correct it" if close else remedy, suggestion=close, at=at)
        seen.add(name)
    missing = [name for name in known if name not in seen and name not in meant]
    if missing:
        what = f"the header has no column {listed([repr(name) for name in missing])}"
        yield document.problem((WHERE,), what, "add it", at=(header[0].line, header[0].column))


class _Rows:
    """Makes rows of records."""

    def __init__(self, found: TableRows, table: DecisionStep, kinds: Mapping[str, str]) -> None:
        self.found, self.table, self.kinds = found, table, kinds

    def read(self, names: list[str], records: list[CsvRecord]) -> None:
        document = self.found.document
        rows: list[dict[str, dict[str, Any]]] = []
        document.values[("rows",)] = document.values[()] = (1, 1)
        for index, record in enumerate(records):
            if len(self.found.problems) > MAX_PROBLEMS:
                break
            path: Path = ("rows", index)
            document.values[path] = (record[0].line, record[0].column)
            self.found.lines.append(record[0].line)
            if not any(cell.text for cell in record):
                self._note(path, "the row is empty", "remove it")
                rows.append({})
                continue
            row: dict[str, dict[str, Any]] = {"when": {}, "then": {}}
            for name, cell in zip(names, record, strict=True):
                group = "when" if name in self.table.inputs else "then"
                here = (*path, group, name)
                document.values[here] = (cell.line, cell.column)
                value = (self._input if group == "when" else self._output)(here, name, cell)
                if value is not None:
                    row[group][name] = value
            rows.append(row)
        document.data = {"rows": rows}
        if not self.found.problems:
            # Right already, cell by cell.
            self.found.rows = [DecisionRow.model_construct(when=row["when"], then=row["then"]) for row in rows]

    def _note(self, path: Path, what: str, remedy: str) -> None:
        self.found.problems.append(self.found.document.problem(path, what, remedy))

    def _input(self, path: Path, name: str, cell: CsvCell) -> Any:
        """Return what a template would have there; None for an empty cell, and after noting what is wrong."""
        if not cell.text:
            return None
        kind = self.kinds[name]
        try:
            raw = cell_value(cell.text, kind)
            read_cell(raw, kind)
        except CellWrong as wrong:
            remedy = wrong.remedy.replace("leave the input out", "leave the cell empty")
            self._note(path, str(wrong), remedy)
            return None
        return raw

    def _output(self, path: Path, name: str, cell: CsvCell) -> Any:
        kind = CEL_TYPES[self.table.outputs[name]]
        if not cell.text:
            self._note(path, "the cell is empty, and the output has no value", f"write {SAID[kind]}")
            return None
        try:
            value = _single(cell.text, kind)
        except CellWrong as wrong:
            self._note(path, str(wrong), wrong.remedy)
            return None
        mistake = output_mistake(value, self.table.outputs[name])
        if mistake is not None:
            self._note(path, *mistake)
        return value


SAID: Mapping[str, str] = {
    "string": "a text",
    "int": "a whole number",
    "double": "a number",
    "bool": "true or false",
}
_PYTHON: Mapping[str, tuple[type, ...]] = {"string": (str,), "int": (int,), "double": (int, float), "bool": (bool,)}


def output_mistake(value: Any, declared: str) -> tuple[str, str] | None:
    """Say what is wrong with the value of an output of a type, and what to do; None when nothing is."""
    kind = CEL_TYPES[declared]
    if isinstance(value, _PYTHON[kind]) and (kind == "bool" or not isinstance(value, bool)):
        return None
    return f"the output's type is {declared!r}, this is {kind_of(value)}", f"write {SAID[kind]}"


def cell_value(text: str, kind: str) -> Any:
    """Return what a template would have where a table has this text; :raises CellWrong: for a list that is none."""
    if not (text.startswith("[") and text.endswith("]")) or (kind != "string" and is_interval(text)):
        return _single(text, kind)
    inside, items, position = text[1:-1].strip(), [], 0
    while position < len(inside):
        found = _ITEM.match(inside, position)
        if found is None:
            what, remedy = f"{text!r:.80} is no list", "write [A, B]; put an item with a comma in single quotes"
            raise CellWrong(what, remedy)
        single, double, plain = found.groups()
        if plain is not None:
            items.append(_single(plain.strip(), kind))
        elif single is not None or double is not None:
            items.append(single.replace("''", "'") if single is not None else double.replace('""', '"'))
        else:
            raise CellWrong(f"{text!r:.80} has an item that is empty", "remove the comma, or write the item")
        position = found.end()
    return items


def _single(text: str, kind: str) -> Any:
    if kind == "string":
        return text
    try:
        value = plain_value(text)
    except ValueError as error:
        raise CellWrong(str(error), "write a smaller number") from error
    return text if value is None else value
