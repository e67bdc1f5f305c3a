"""What a condition asks, as far as that can be told without evaluating it: comparisons of one value with constants.

Conditions are CEL. Understood are ``&&``, ``||``, ``!``, parentheses, ``true``, ``false``, a boolean by its name, and
comparisons of one name with numbers, texts or a list of these. Everything else is a *riddle*: something that may hold
or not. A condition with riddles in it may seem to be possible when it is not; what is called impossible is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from airflow_enterprise_orch.value_stream.decision_table import Cell

LARGEST = 1e15
"""Numbers beyond this are riddles: there a half is no longer told from a whole."""

_NAME = r"(?:params|steps)(?:\s*\.\s*[a-z][a-z0-9_]*)+"
_TEXT = r'"(?:[^"\\\n])*"|\'(?:[^\'\\\n])*\''
_LITERAL = rf"{_TEXT}|-?\d+(?:\.\d+)?|true|false"
_COMPARED = re.compile(rf"({_NAME})\s*(==|!=|<=|>=|<|>)\s*({_LITERAL})")
_TURNED = re.compile(rf"({_LITERAL})\s*(==|!=|<=|>=|<|>)\s*({_NAME})")
_LISTED = re.compile(rf"({_NAME})\s+in\s+\[\s*((?:{_LITERAL})(?:\s*,\s*(?:{_LITERAL}))*)\s*\]")
_TURN = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}
_QUOTED = re.compile(r"""[rR]?"(?:\\.|[^"\\\n])*"|[rR]?'(?:\\.|[^'\\\n])*'""")

Values = Mapping[str, object]
"""By name; a riddle has its own text for a name, and a boolean for a value."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: is the value of ``name`` as ``cell`` says? A riddle has no cell."""

    name: str
    cell: Cell | None = None

    def holds(self, values: Values) -> bool:
        """Answer it."""
        value = values[self.name]
        return bool(value) if self.cell is None else self.cell.holds(value)

    def asked(self) -> Iterator[Asked]:
        """Yield all that is asked."""
        yield self


@dataclass(frozen=True, slots=True)
class Together:
    """Several conditions joined: ``all`` of them, ``any`` of them, or none (``not``)."""

    join: Callable[[Iterator[bool]], bool]
    parts: tuple[Condition, ...]

    def holds(self, values: Values) -> bool:
        """Tell whether it holds for these values."""
        return self.join(part.holds(values) for part in self.parts)

    def asked(self) -> Iterator[Asked]:
        """Yield all that is asked."""
        for part in self.parts:
            yield from part.asked()


Condition = Asked | Together


def none(answers: Iterator[bool]) -> bool:
    """Join conditions of which none may hold."""
    return not any(answers)


def understood(text: str) -> Condition:
    """Read a condition that is right CEL."""
    text = text.strip()
    blanked = _QUOTED.sub(lambda found: "'" * len(found[0]), text)
    while blanked.startswith("(") and _closing(blanked) == len(blanked) - 1:
        text, blanked = text[1:-1], blanked[1:-1]
        left = len(text) - len(text.lstrip())
        text, blanked = text.strip(), blanked[left:].rstrip()
    if "?" in blanked:
        return Asked(text)
    for sign, join in (("||", any), ("&&", all)):
        parts = list(_split(text, blanked, sign))
        if len(parts) > 1:
            return Together(join, tuple(understood(part) for part in parts))
    inner = blanked[1:].strip()
    if blanked.startswith("!") and (re.fullmatch(_NAME, inner) or (inner[:1] == "(" and _closes_all(inner))):
        return Together(none, (understood(text[1:]),))
    return _question(text)


def _question(text: str) -> Condition:
    if text in ("true", "false"):
        return Together(all if text == "true" else any, ())
    if re.fullmatch(_NAME, text):
        return Asked(_plain(text), Cell(values=(True,)))
    if found := _LISTED.fullmatch(text):
        values = [_value(one) for one in re.findall(_LITERAL, found[2])]
        return _cell(text, found[1], "==", values)
    if found := _COMPARED.fullmatch(text):
        return _cell(text, found[1], found[2], [_value(found[3])])
    if found := _TURNED.fullmatch(text):
        return _cell(text, found[3], _TURN[found[2]], [_value(found[1])])
    return Asked(text)


def _cell(text: str, name: str, sign: str, values: Sequence[str | float | bool]) -> Asked:
    numbers = [value for value in values if not isinstance(value, (str, bool))]
    if any(abs(number) > LARGEST for number in numbers):
        return Asked(text)
    if sign in ("==", "!="):
        return Asked(_plain(name), Cell(values=tuple(values), without=sign == "!="))
    if not numbers:
        return Asked(text)  # texts have an order too, which tells nothing here
    if sign.startswith("<"):
        return Asked(_plain(name), Cell(high=numbers[0], high_open=sign == "<"))
    return Asked(_plain(name), Cell(low=numbers[0], low_open=sign == ">"))


def _plain(name: str) -> str:
    return re.sub(r"\s", "", name)


def _value(text: str) -> str | float | bool:
    if text[0] in "'\"":
        return text[1:-1]
    number: float | bool = json.loads(text)
    return number


def _split(text: str, blanked: str, sign: str) -> Iterator[str]:
    """Yield the parts of a text between ``sign``, as far as that stands in no bracket."""
    depth = start = 0
    for index, character in enumerate(blanked):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and blanked.startswith(sign, index):
            yield text[start:index]
            start = index + len(sign)
    yield text[start:]


def _closing(blanked: str) -> int:
    """Return where the bracket that ``blanked`` begins with is closed."""
    depth = 0
    for index, character in enumerate(blanked):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return index
    return len(blanked)


def _closes_all(blanked: str) -> bool:
    return _closing(blanked) == len(blanked) - 1
