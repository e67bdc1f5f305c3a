"""Strict CSV with positions: RFC 4180, in UTF-8, with a header.

Cells are separated by commas, or by semicolons as spreadsheets of many countries write them: the header tells which,
because no name in it can hold either. What the cells mean is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from airflow_enterprise_orch.value_stream.problems import Problem, template_error
from airflow_enterprise_orch.value_stream.template_folder import MAX_BYTES
from airflow_enterprise_orch.value_stream.yaml_source import MAX_VALUES, decode, harmful_character

SEPARATORS = (",", ";")
WHERE = "table"
"""What messages call the file as a whole."""

_BREAK = re.compile("\r\n|[\n\r]")
_QUOTED = re.compile('"((?:[^"]|"")*+)"')
_PLAIN = {separator: re.compile(rf'[^"{separator}\r\n]*') for separator in SEPARATORS}


@dataclass(frozen=True, slots=True)
class CsvCell:
    """One cell.

    :param text: what it says: without quotes, and without the spaces around it where it has none.
    :param line: where it begins, from 1.
    :param column: from 1.
    """

    text: str
    line: int
    column: int


CsvRecord = tuple[CsvCell, ...]


@lru_cache(maxsize=8)
def read_csv(content: bytes, file: str) -> tuple[CsvRecord, ...]:
    """Return the records of a file, the header first; each has as many cells as the header. Empty lines are left out.

    :raises TemplateError: with the first thing that is wrong with the file, or all lines with too many or few cells.
    """
    text = decode(content, file, WHERE)
    if len(content) > MAX_BYTES:
        raise _wrong(file, 1, 1, f"the file is larger than {MAX_BYTES // 1024} KB", "split the table")
    if (harm := harmful_character(text, "a table")) is not None:
        what, offset = harm
        before = _BREAK.split(text[:offset])
        raise _wrong(file, len(before), len(before[-1]) + 1, what, "remove it")
    found: list[CsvRecord] = []
    problems: list[Problem] = []
    count = 0
    for record in _records(text, file):
        if len(record) == 1 and not record[0].text:
            continue
        count += len(record)
        if count > MAX_VALUES:
            what = f"the table holds more than {MAX_VALUES:,} cells"
            raise _wrong(file, record[0].line, 1, what, "split it into two decisions")
        found.append(record)
        if len(record) != len(found[0]):
            problems.append(_uneven(file, record, len(found[0])))
    if not found:
        raise _wrong(file, 1, 1, "the file is empty", "begin with a header: the names of the inputs and outputs")
    if problems:
        raise template_error(problems[:100])
    return tuple(found)


def _records(text: str, file: str) -> Iterator[CsvRecord]:
    separator = _separator(text, file)
    position, line, start = 0, 1, 0
    record: list[CsvCell] = []
    while position < len(text) or record:
        column = position - start + 1
        quoted = text[position : position + 1] == '"'
        found = (_QUOTED if quoted else _PLAIN[separator]).match(text, position)
        if found is None:
            remedy = "close the quote; a quote inside a cell in quotes is written twice"
            raise _wrong(file, line, column, "a cell in quotes is not closed", remedy)
        said = _BREAK.sub("\n", found[1].replace('""', '"')) if quoted else found[0].strip(" \t")
        record.append(CsvCell(said, line, column))
        for one in _BREAK.finditer(found[0]):
            line, start = line + 1, position + one.end()
        position = found.end()
        then = text[position : position + 1]
        if then == separator:
            position += 1
            continue
        end = _BREAK.match(text, position)
        if then and end is None:
            what = "a quote stands inside a cell" if then == '"' else "something stands behind a closing quote"
            remedy = "put the whole cell in quotes, and write a quote inside it twice"
            raise _wrong(file, line, position - start + 1, what, remedy)
        yield tuple(record)
        record = []
        if end is not None:
            position = end.end()
            line, start = line + 1, position


def _separator(text: str, file: str) -> str:
    header = _BREAK.split(text.lstrip("\r\n"), maxsplit=1)[0]
    used = [separator for separator in SEPARATORS if separator in header]
    if len(used) > 1:
        at = max(header.index(separator) for separator in used) + 1
        line = 1 + len(_BREAK.findall(text[: len(text) - len(text.lstrip("\r\n"))]))
        raise _wrong(file, line, at, "the header holds both commas and semicolons", "separate by one of them")
    return used[0] if used else SEPARATORS[0]


def _uneven(file: str, record: CsvRecord, many: int) -> Problem:
    cells = f"{len(record)} cell{'' if len(record) == 1 else 's'}"
    what = f"the line has {cells}, the header {many}"
    remedy = "put a cell that holds the separator in quotes, or remove what is too much"
    if len(record) < many:
        remedy = "add the separators that are missing; an empty cell is nothing between two of them"
    place = record[many] if len(record) > many else record[0]
    return Problem(file, place.line, place.column, WHERE, what, "", remedy)


def _wrong(file: str, line: int, column: int, what: str, remedy: str) -> Exception:
    return template_error([Problem(file, line, column, WHERE, what, "", remedy)])
