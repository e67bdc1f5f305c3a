"""The names that texts and conditions read, found without understanding more of them, in time linear to the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_CLOSES = {"{{": "}}", "{%": "%}"}
_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""", re.DOTALL)
_NAME = re.compile(r"""[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*|\s*\[\s*(?:"\w+"|'\w+')\s*\])*""")
_PLAIN = re.compile(r"[^\"'A-Za-z_{}%.\d]+|\d[\w.]*")
_OPENS = re.compile(r"\{\{|\{%")


class Name(NamedTuple):
    """A name such as ``params.order_id``: its parts, and where it stands."""

    parts: tuple[str, ...]
    start: int
    end: int


class Block(NamedTuple):
    """``{{ ... }}`` or ``{% ... %}``: where it stands with its braces, and the names that it reads."""

    start: int
    end: int
    names: tuple[Name, ...]

    def is_only(self, text: str, name: Name) -> bool:
        """Tell whether it puts out ``name`` and does nothing else."""
        inside = text[self.start + 2 : name.start] + text[name.end : self.end - 2]
        return not inside.strip() and text.startswith("{{", self.start)


def blocks(text: str) -> Iterator[Block]:
    """Yield the Jinja of a text; nothing more from where it is not closed, which its check tells of."""
    position = 0
    while opened := _OPENS.search(text, position):
        names: list[Name] = []
        end = _read(text, opened.end(), _CLOSES[opened[0]], names)
        if end < 0:
            return
        yield Block(opened.start(), end, tuple(names))
        position = end


def names_in(condition: str) -> tuple[Name, ...]:
    """Return the names that a condition (CEL) reads."""
    names: list[Name] = []
    _read(condition, 0, "", names)
    return tuple(names)


def _read(text: str, position: int, close: str, names: list[Name]) -> int:
    """Collect the names up to ``close``; return where that ends, -1 when it never comes."""
    after_dot = False
    while position < len(text):
        if close and text.startswith(close, position):
            return position + len(close)
        quoted = _QUOTED.match(text, position)
        name = _NAME.match(text, position)
        if quoted is None and text[position] in "\"'":
            return -1
        if name is not None and not after_dot:
            names.append(Name(tuple(re.findall(r"\w+", name[0])), position, name.end()))
        found = quoted or name or _PLAIN.match(text, position)
        after_dot = text[position] == "." or (after_dot and text[position].isspace())
        position = found.end() if found is not None else position + 1
    return -1
