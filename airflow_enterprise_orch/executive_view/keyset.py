"""Pages that cost the same wherever they are: each begins behind the last row of the one before, and skips none.

Only who jumps into the middle of a list pays for what lies before it.

An order is a list of *phases*, each with a condition and a sort that an index serves; a phase's rows all come before
those of the next. So rows without a due time need no trick that would keep a database from its index.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_

from airflow_enterprise_orch.executive_view.answering import invalid

CURSOR_VERSION = 1


@dataclass(frozen=True)
class Phase:
    """One part of an order.

    :param where: which rows are in it.
    :param by: the columns that sort it, the last one unique, each with whether it falls.
    """

    where: ColumnElement[bool] | None
    by: tuple[tuple[ColumnElement[Any], bool], ...]

    def behind(self, values: Sequence[Any]) -> ColumnElement[bool]:
        """Return the condition for rows behind the one with these values."""
        ways: list[ColumnElement[bool]] = []
        for place, (column, falls) in enumerate(self.by):
            same = [other == values[number] for number, (other, _) in enumerate(self.by[:place])]
            ways.append(and_(*same, column < values[place] if falls else column > values[place]))
        return or_(*ways)


@dataclass(frozen=True)
class Place:
    """Where a page ends: in which phase, and the values of its last row there; none where that phase begins."""

    phase: int
    values: tuple[Any, ...]


def pages(
    select: Select[Any],
    phases: Sequence[Phase],
    start: Place | None,
    limit: int,
    run: Callable[[Select[Any]], Sequence[Any]],
) -> tuple[list[Any], Place | None]:
    """Return the rows of one page, and where it ends; None when it is the last.

    :param start: where the page before ended; None for the first page.
    :param run: runs a query. Its rows have the sorting columns by their names.
    """
    rows: list[Any] = []
    for number, phase in enumerate(phases):
        if start is not None and number < start.phase:
            continue
        part = select if phase.where is None else select.where(phase.where)
        if start is not None and number == start.phase and start.values:
            part = part.where(phase.behind(start.values))
        order = [column.desc() if falls else column.asc() for column, falls in phase.by]
        # One more than the page holds tells whether there is a next one.
        found = list(run(part.order_by(*order).limit(limit + 1 - len(rows))))
        rows += found
        if len(rows) > limit:
            if len(found) == 1:
                return rows[:limit], Place(number, ())
            last = rows[limit - 1]
            return rows[:limit], Place(number, tuple(last._mapping[column] for column, _ in phase.by))
    return rows, None


def seek(
    select: Select[Any],
    phases: Sequence[Phase],
    row: int,
    total: int,
    run: Callable[[Select[Any]], Sequence[Any]],
) -> Place | None:
    """Return the place behind the first ``row`` rows, or behind the last one; None when there is no row.

    For whoever jumps. The database counts from the nearer end, so half of the rows are the most that it passes over.

    :param row: at least 1.
    :param total: how many rows there are in all.
    :param run: runs a query. Its rows have the sorting columns by their names.
    """
    last = min(row, total) - 1
    if last < 0:
        return None
    backwards = 2 * last > total
    ahead = total - 1 - last if backwards else last
    numbered = list(enumerate(phases))
    for number, phase in reversed(numbered) if backwards else numbered:
        part = select if phase.where is None else select.where(phase.where)
        order = [column.asc() if falls == backwards else column.desc() for column, falls in phase.by]
        found = run(part.order_by(*order).offset(ahead).limit(1))
        if found:
            return Place(number, tuple(found[0]._mapping[column] for column, _ in phase.by))
        ahead -= run(part.with_only_columns(func.count(), maintain_column_froms=True))[0][0]
    return None


def everything(
    select: Select[Any], phase: Phase, run: Callable[[Select[Any]], Sequence[Any]], step: int = 2000
) -> Iterator[Any]:
    """Yield all rows of one phase, a bounded number in memory at a time."""
    start: Place | None = None
    while True:
        rows, start = pages(select, [phase], start, step, run)
        yield from rows
        if start is None:
            return


def to_cursor(place: Place | None, question: str) -> str | None:
    """Return a place as the opaque text that clients give back.

    :param question: the filter and the order; a cursor is good for no other.
    """
    if place is None:
        return None
    values = [{"at": value.isoformat()} if isinstance(value, datetime) else value for value in place.values]
    data = [CURSOR_VERSION, _digest(question), place.phase, values]
    return base64.urlsafe_b64encode(json.dumps(data, separators=(",", ":")).encode()).decode().rstrip("=")


def from_cursor(text: str, question: str, phases: Sequence[Phase]) -> Place | None:
    """Read a cursor; :raises HTTPException: 422 when it is none, or of another filter."""
    if not text:
        return None
    try:
        padded = text.encode() + b"=" * (-len(text) % 4)
        version, digest, number, given = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        values = tuple(datetime.fromisoformat(one["at"]) if isinstance(one, dict) else one for one in given)
        if version != CURSOR_VERSION or not 0 <= number < len(phases):
            raise ValueError("another form")
        if values and not all(_fits(*pair) for pair in zip(values, phases[number].by, strict=True)):
            raise ValueError("other columns")
    except (ValueError, TypeError, KeyError, binascii.Error, UnicodeError) as error:
        raise invalid("cursor: it is none that this address gave out; begin with the first page") from error
    if digest != _digest(question):
        raise invalid("cursor: it belongs to another filter or order; begin with the first page")
    return Place(number, values)


def _fits(value: Any, by: tuple[ColumnElement[Any], bool]) -> bool:
    """Tell whether a value may stand beside a column: a cursor can come from anywhere."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return False
    return isinstance(value, by[0].type.python_type) and not isinstance(value, bool)


def _digest(question: str) -> str:
    return hashlib.blake2b(question.encode(), digest_size=6).hexdigest()
