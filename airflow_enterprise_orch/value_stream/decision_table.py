"""Decision tables: what a cell means, which row fits, and whether the rows leave gaps or overlap. Pure.

The words are DMN's (Decision Model and Notation 1.5, chapter 8): inputs, rules (here: rows), and hit policies. A cell
is one of its unary tests: a value, a list of values, a comparison or an interval.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

Hit = Literal["first", "unique"]
OTHERWISE = "otherwise"
MAX_COMBINATIONS = 50_000
"""How many combinations of inputs are looked at; a table with more cannot be checked for gaps."""
MAX_COMPARISONS = 500_000
"""How often a value of a row is compared with a value of its input."""
MAX_EFFORT = 1_000_000
"""How many combinations and comparisons the tables of one stream may want together."""
MAX_FINDINGS = 10

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_COMPARISON = re.compile(rf"\s*(<=|>=|<|>|!=)\s*({_NUMBER})\s*")
_INTERVAL = re.compile(rf"\s*([\[(])\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*([\])])\s*")
_WORDS = {"string": "a text", "int": "a whole number", "double": "a number", "bool": "true or false"}


class CellWrong(Exception):
    """A cell says nothing that a value of its input could meet.

    :param remedy: what to write instead.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Cell:
    """What one input must be for a row to fit.

    :param values: one of these; empty for an interval.
    :param without: anything but ``values``.
    :param low: the lower bound of an interval, None without one; ``low_open`` leaves the bound itself out.
    """

    values: tuple[Any, ...] = ()
    without: bool = False
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def holds(self, value: Any) -> bool:
        """Tell whether a value meets it."""
        if self.values:
            return any(same(value, one) for one in self.values) is not self.without
        above = self.low is None or value > self.low or (value == self.low and not self.low_open)
        below = self.high is None or value < self.high or (value == self.high and not self.high_open)
        return bool(above and below)

    @property
    def bounds(self) -> tuple[float, ...]:
        """The numbers at which its answer can change."""
        return tuple(bound for bound in (self.low, self.high, *self.values) if isinstance(bound, (int, float)))


def same(one: Any, other: Any) -> bool:
    """Compare two values; ``true`` is no 1."""
    return isinstance(one, bool) is isinstance(other, bool) and one == other


def read_cell(raw: Any, kind: str) -> Cell:
    """Read a cell.

    :param raw: as YAML has it.
    :param kind: the input's CEL type: ``string``, ``int``, ``double``, ``bool``, or ``dyn`` when it cannot be told.
    :raises CellWrong: when it is none for this type.
    """
    if isinstance(raw, list):
        if not raw:
            raise CellWrong("an empty list fits nothing", "name the values, or leave the input out")
        return Cell(values=tuple(_value(one, kind) for one in raw))
    if isinstance(raw, str) and kind in ("int", "double", "dyn"):
        if found := _COMPARISON.fullmatch(raw):
            return _comparison(found[1], _number(found[2], kind))
        if found := _INTERVAL.fullmatch(raw):
            return _interval(found, kind)
    return Cell(values=(_value(raw, kind),))


def is_interval(text: str) -> bool:
    """Tell whether a text is written as an interval."""
    return _INTERVAL.fullmatch(text) is not None


def _comparison(sign: str, number: float) -> Cell:
    if sign == "!=":
        return Cell(values=(number,), without=True)
    if sign.startswith("<"):
        return Cell(high=number, high_open=sign == "<")
    return Cell(low=number, low_open=sign == ">")


def _interval(found: re.Match[str], kind: str) -> Cell:
    low, high = _number(found[2], kind), _number(found[3], kind)
    cell = Cell(low=low, high=high, low_open=found[1] == "(", high_open=found[4] == ")")
    if low > high or (low == high and (cell.low_open or cell.high_open)):
        raise CellWrong(f"the interval {found[0].strip()} is empty", "write the smaller number first")
    return cell


def _number(text: str, kind: str) -> float:
    if kind == "int" and not re.fullmatch(r"[+-]?\d+", text):
        raise CellWrong(f"the input is a whole number, {text} is none", "write digits only")
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)


def _value(raw: Any, kind: str) -> Any:
    right: Mapping[str, tuple[type, ...]] = {"string": (str,), "int": (int,), "double": (int, float), "bool": (bool,)}
    if kind == "dyn" and isinstance(raw, (str, int, float, bool)):
        return raw
    if not isinstance(raw, right.get(kind, ())) or (kind != "bool" and isinstance(raw, bool)):
        more = "" if kind in ("string", "bool") else ', a comparison such as "> 100", an interval such as "[1..10]"'
        raise CellWrong(f"{raw!r} is no value for this input", f"write {_WORDS[kind]}{more} or a list")
    return raw


@dataclass(frozen=True, slots=True)
class Domain:
    """What an input can be.

    :param kind: its CEL type.
    :param choices: the only values, where they are known.
    """

    kind: str
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    def representatives(self, cells: Sequence[Cell]) -> list[Any]:
        """Return values of which each stands for all others that no cell tells apart from it."""
        if self.choices:
            return list(self.choices)
        if self.kind == "bool":
            return [False, True]
        if self.kind in ("int", "double"):
            return self._numbers(sorted({bound for cell in cells for bound in cell.bounds}))
        mentioned = dict.fromkeys(value for cell in cells for value in cell.values)
        return [*mentioned, OTHER]

    def _numbers(self, bounds: list[float]) -> list[float]:
        limits = [limit for limit in (self.minimum, self.maximum) if limit is not None]
        points = sorted({*bounds, *limits}) or [0]
        pairs = itertools.pairwise(points)
        between = [(low + high) // 2 if self.kind == "int" else (low + high) / 2 for low, high in pairs]
        found = sorted({points[0] - 1, *points, *between, points[-1] + 1})
        return [
            number
            for number in found
            if (self.minimum is None or number >= self.minimum) and (self.maximum is None or number <= self.maximum)
        ]


class Other:
    """A text that no row names."""

    def __repr__(self) -> str:
        """Show it to people."""
        return "any other"


OTHER = Other()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with the rows together.

    :param rows: the rows that it is about, from 0.
    :param example: values of the inputs that show it.
    """

    kind: Literal["gap", "overlap", "unreachable", "too large"]
    rows: tuple[int, ...] = ()
    example: Mapping[str, Any] = field(default_factory=dict)

    def shown(self) -> str:
        """Return the example for people."""
        return shown(self.example)


def shown(values: Mapping[str, Any]) -> str:
    """Return values of inputs or outputs for people, as a template would write them."""
    return ", ".join(
        f"{name} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for name, value in values.items()
    )


Row = Mapping[str, Cell]


def fitting(rows: Sequence[Row], values: Mapping[str, Any]) -> list[int]:
    """Return the rows that fit, from 0. An input that a row does not name may be anything."""
    return [number for number, row in enumerate(rows) if all(cell.holds(values[name]) for name, cell in row.items())]


def _tries(rows: Sequence[Row], domains: Mapping[str, Domain]) -> list[list[Any]]:
    """Return for each input the values to try."""
    return [domain.representatives([row[name] for row in rows if name in row]) for name, domain in domains.items()]


def effort(rows: Sequence[Row], domains: Mapping[str, Domain]) -> int | None:
    """Return how many combinations and comparisons it takes to examine the rows; None when that is too many."""
    values = _tries(rows, domains)
    combinations = prod(max(len(some), 1) for some in values)
    comparisons = sum(
        len(some) * sum(max(len(row[name].values), 1) if name in row else 1 for row in rows)
        for name, some in zip(domains, values, strict=True)
    )
    return combinations + comparisons if combinations <= MAX_COMBINATIONS and comparisons <= MAX_COMPARISONS else None


def examine(rows: Sequence[Row], domains: Mapping[str, Domain], hit: Hit, *, otherwise: bool) -> Iterator[Finding]:
    """Find gaps (unless there is an ``otherwise``), overlaps of ``unique`` rows, and rows that are never taken."""
    if effort(rows, domains) is None:
        yield Finding("too large")
        return
    names, values = list(domains), _tries(rows, domains)
    everything = (1 << len(rows)) - 1
    # For each input and value the set of rows that it leaves possible, as bits.
    masks = [
        [
            sum(1 << number for number, row in enumerate(rows) if name not in row or row[name].holds(value))
            for value in some
        ]
        for name, some in zip(names, values, strict=True)
    ]
    taken, gap = 0, None
    overlaps: dict[tuple[int, ...], tuple[Any, ...]] = {}
    for combination, possible in zip(itertools.product(*values), itertools.product(*masks), strict=True):
        fits = everything
        for mask in possible:
            fits &= mask
        if not fits:
            gap = gap or combination
        elif hit == "first":
            taken |= fits & -fits
        else:
            taken |= fits
            if fits & (fits - 1) and len(overlaps) < MAX_FINDINGS:
                overlaps.setdefault(tuple(n for n in range(len(rows)) if fits >> n & 1), combination)
    if gap is not None and not otherwise:
        yield Finding("gap", example=dict(zip(names, gap, strict=True)))
    for together, combination in overlaps.items():
        yield Finding("overlap", together, dict(zip(names, combination, strict=True)))
    for number in range(len(rows)):
        if not taken >> number & 1:
            yield Finding("unreachable", (number,))
