"""Strict YAML with positions.

PyYAML's C parser (libyaml) delivers events; what they mean is decided here, because PyYAML's own answer is YAML 1.1, in
which ``on`` is true, ``012`` is ten and ``12:30`` is 750. Here, as in YAML 1.2's core schema, only ``true`` and
``false`` are booleans, only ``null``, ``~`` and nothing are null, only plain decimals are numbers; all else is text,
dates and ``012`` included. Anchors, aliases, tags, merge keys and duplicate keys are refused, each with its place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from airflow_enterprise_orch.value_stream.problems import (
    MAX_PROBLEMS,
    Path,
    Problem,
    dotted,
    template_error,
    too_many,
)
from airflow_enterprise_orch.value_stream.template_folder import MAX_BYTES as MAX_BYTES

MAX_DEPTH = 24
MAX_KEY = 500
MAX_VALUES = 50_000
"""How many keys, list items and values a file may hold."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, Any] = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_CONSTANTS |= dict.fromkeys(("null", "Null", "NULL", "~", ""))
_BEGINS_NUMBER = frozenset("0123456789+-")
# What YAML allows as a character (YAML 1.2, production c-printable), less the byte order mark.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
# Marks that turn the direction of what follows (Unicode Technical Standard 55, "Source code handling"): a reviewer
# reads something else than the parser.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_RARE_BREAKS = "\r\x85\u2028\u2029"
_PLAIN_BYTES = bytes((9, 10, 13, *range(32, 127)))
"""The characters of ASCII that a file may hold. Most files hold no others, which is seen without an expression."""

TOO_LARGE = "the number is too large"
_SYNTAX = (
    ("cannot start any token", "this character cannot begin a value", "put the text in quotes"),
    (
        "mapping values are not allowed",
        "a colon followed by a space has no place here",
        "put the text in quotes, or correct the indentation",
    ),
    ("could not find expected ':'", "a key has no colon", "write 'key: value', and check the indentation"),
    ("did not find expected key", "a key was expected here", "correct the indentation, or close a quote above"),
    ("expected <block end>", "a key was expected here", "correct the indentation, or close a quote above"),
    ("did not find expected '-' indicator", "a list item was expected here", "correct the indentation"),
    ("unexpected end of stream", "a quoted text is not closed", "close the quote"),
    ("expected ',' or '}'", "a brace is not closed", "separate entries by commas and close with }"),
    ("expected ',' or ']'", "a bracket is not closed", "separate entries by commas and close with ]"),
    ("unknown escape character", "there is no such escape", "use single quotes, where a backslash is only a backslash"),
    ("did not find expected hexdecimal number", "an escape is not complete", "use single quotes"),
    ("mapping keys are not allowed", "a question mark has no place here", "put the text in quotes"),
    ("sequence entries are not allowed", "a list item has no place here", "start the list on a line of its own"),
    ("did not find expected <document start>", "the text goes on after its end", "correct the indentation"),
    ("undefined alias", "aliases are not available in templates", "write the value out"),
    ("did not find expected node content", "a value was expected here", "write it, or put the text in quotes"),
)


@dataclass(slots=True)
class Document:
    """One YAML file as plain data, with the place of every key and value.

    :param values: line and column of each value.
    :param keys: line and column of each key.
    :param scalars: of each text its line and column, and the line in which it ends.
    :param problems: what is wrong with the YAML itself; the data is what could be read around it.
    :param unreadable: the dotted paths of values that were refused: nothing more is to be said about these.
    """

    file: str
    data: Any = None
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    scalars: dict[Path, tuple[int, int, int]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)

    def get(self, path: Path) -> Any:
        """Return the data at ``path``; None when there is none."""
        data = self.data
        for part in path:
            try:
                data = data[part]
            except (KeyError, IndexError, TypeError):
                return None
        return data

    def position(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        """Return line and column of a value, or of its key; the nearest place above it when it is not there."""
        places = self.keys if key else self.values
        for end in range(len(path), -1, -1):
            found = (places if end == len(path) else self.keys).get(path[:end]) or self.values.get(path[:end])
            if found:
                return found
        return (1, 1)

    def inside(self, path: Path, line: int, column: int) -> tuple[int, int]:
        """Return where in the file a place inside a text is; the text's beginning where that cannot be told."""
        scalar, value = self.scalars.get(path), self.get(path)
        if scalar is None or not isinstance(value, str):
            return self.position(path)
        first_line, first_column, last_line = scalar
        wanted = value.split("\n")[line - 1] if line <= value.count("\n") + 1 else ""
        if "\n" not in value and first_line == last_line:
            start = self.lines[first_line - 1].find(wanted, first_column - 1)
            return (first_line, start + column) if start >= 0 and wanted else (first_line, first_column)
        # A literal block keeps its lines: the first stands below the indicator.
        source = self.lines[first_line + line - 1] if first_line + line - 1 < len(self.lines) else ""
        if wanted and source.strip() == wanted.strip() and source.endswith(wanted):
            return (first_line + line, len(source) - len(wanted) + column)
        return (first_line, first_column)

    def problem(
        self,
        path: Path,
        what: str,
        remedy: str,
        *,
        suggestion: str = "",
        key: bool = False,
        at: tuple[int, int] | None = None,
    ) -> Problem:
        """Return a problem at ``path``: at its value, at its key, or at a place that is known better."""
        line, column = at or self.position(path, key=key)
        return Problem(self.file, line, column, dotted(path), what, suggestion, remedy)


def decode(content: bytes, file: str, where: str = "template") -> str:
    """Return a file's text; :raises TemplateError: when it is not UTF-8.

    :param where: what the message calls the file.
    """
    if len(content) > MAX_BYTES:
        return content.decode("utf-8-sig", "replace")  # it is refused for its size; it may end within a character
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        what = f"the byte {content[error.start]:#04x} is not UTF-8"
        raise template_error([Problem(file, line, column, where, what, "", "save the file as UTF-8")]) from error


def read_yaml(text: str, file: str) -> Document:
    """Read one YAML document; :raises TemplateError: when nothing can be made of it."""
    text = text.removeprefix("\ufeff")
    document = Document(file, lines=lines_of(text))
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise template_error(
            [document.problem((), f"the file is larger than {MAX_BYTES // 1024} KB", "split the stream")]
        )
    if (harm := harmful_character(text, "YAML")) is not None:
        what, offset = harm
        raise template_error([document.problem((), what, "remove it", at=_position(text, offset))])
    builder = _Builder(document)
    try:
        # What yaml.parse does, without a generator between: None comes behind the last event.
        builder.build(iter(_LOADER(text).get_event, None))
    except yaml.MarkedYAMLError as error:
        document.problems.append(_syntax_problem(document, error))
        raise template_error(document.problems) from error
    except _Stop:
        raise template_error(document.problems) from None
    return document


def lines_of(text: str) -> list[str]:
    """Return the lines of a text, as YAML ends them."""
    return _BREAK.split(text) if any(one in text for one in _RARE_BREAKS) else text.split("\n")


def harmful_character(text: str, language: str) -> tuple[str, int] | None:
    """Return what is wrong with the first character that no file may hold, and its offset; None when all may stay."""
    if text.isascii() and not text.encode("ascii").translate(None, _PLAIN_BYTES):
        return None
    if bad := _UNPRINTABLE.search(text):
        return f"the character U+{ord(bad[0]):04X} is not allowed in {language}", bad.start()
    if turn := _TURNING.search(text):
        return f"the character U+{ord(turn[0]):04X} makes a text look different from what it says", turn.start()
    return None


def plain_value(text: str) -> Any:
    """Return what a plain scalar means: YAML 1.2's core schema without octal, hexadecimal, infinity and NaN.

    :raises ValueError: for a number that is too large.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in _BEGINS_NUMBER:  # nearly all are words
        return text
    if _INTEGER.fullmatch(text):
        if len(text) > 19 or not -(2**63) <= int(text) < 2**63:
            raise ValueError(TOO_LARGE)
        return int(text)
    if _NUMBER.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(TOO_LARGE)
        return number
    return text


def _position(text: str, offset: int) -> tuple[int, int]:
    """Return line and column of a place in a file."""
    lines = _BREAK.split(text[:offset])
    return len(lines), len(lines[-1]) + 1


def _syntax_problem(document: Document, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    at = (min(at[0], len(document.lines)), at[1])
    line = document.lines[at[0] - 1]
    text = f"{error.context or ''}: {error.problem or ''}"
    if "\t" in line[: at[1]] and not line[: at[1] - 1].strip():
        return document.problem((), "a tab is used for indentation", "use spaces", at=at)
    for part, what, remedy in _SYNTAX:
        if part in text:
            if what.endswith("not closed") and error.context_mark:
                # Where it opens says more than the end of the file.
                at = (error.context_mark.line + 1, error.context_mark.column + 1)
            return document.problem((), what, remedy, at=at)
    return document.problem((), f"this is no YAML ({' '.join(text.split()).strip(': ')})", "correct it", at=at)


class _Stop(Exception):  # no error by itself: the problem is in the document already
    """Reading on makes no sense."""


class _Builder:
    """Makes plain data and positions of parser events."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def build(self, events: Iterator[Any]) -> None:
        """Read the first document, refuse a second."""
        seen = False
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if seen:
                    self._add((), event, "the file holds several documents", "put each stream in a file of its own")
                    raise _Stop
                seen = True
                self.document.data = self._value(next(events), events, ())
        if not seen or self.document.data is None:
            problem = self.document.problem((), "the file is empty", "begin with value_stream: and a name", at=(1, 1))
            self.document.problems.append(problem)
            raise _Stop

    def _add(self, path: Path, event: Any, what: str, remedy: str) -> None:
        problems, at = self.document.problems, _place(event)
        problems.append(self.document.problem(path, what, remedy, at=at))
        if len(problems) >= MAX_PROBLEMS:
            problems.append(too_many(problems))
            raise _Stop

    def _value(self, event: Any, events: Iterator[Any], path: Path) -> Any:
        # By the class itself, not isinstance: the parser makes no subclasses, and reading spends most of its time here.
        document, kind, mark = self.document, type(event), event.start_mark
        line, column = mark.line + 1, mark.column + 1
        document.values.setdefault(path, (line, column))
        if len(document.values) > MAX_VALUES or len(path) > MAX_DEPTH:
            self._refuse_size(event, path)
        if event.anchor is not None:
            self._refuse_anchor(event, path)
            if kind is yaml.AliasEvent:
                return None
        if event.tag is not None:
            document.unreadable.add(dotted(path))
            what = f"the tag {_tag(event.tag)} is not available in templates"
            self._add(path, event, what, "remove it; put texts in quotes")
        if kind is yaml.ScalarEvent:
            document.scalars[path] = (line, column, event.end_mark.line + 1)
            # None or '' (libyaml) is a plain scalar.
            return event.value if event.style else self._plain(event, path)
        return self._mapping(events, path) if kind is yaml.MappingStartEvent else self._sequence(events, path)

    def _refuse_size(self, event: Any, path: Path) -> NoReturn:
        """Stop at the value with which a file holds, or nests, too much."""
        if len(self.document.values) > MAX_VALUES:
            self._add(path[:1], event, f"the file holds more than {MAX_VALUES:,} values", "split the stream")
        else:
            self._add(path[:3], event, f"the file nests more than {MAX_DEPTH} levels", "make it flatter")
        raise _Stop

    def _refuse_anchor(self, event: Any, path: Path) -> None:
        if isinstance(event, yaml.AliasEvent):
            self.document.unreadable.add(dotted(path))
            self._add(path, event, f"the alias *{event.anchor} is not available in templates", "write the value out")
        else:
            self._add(path, event, f"the anchor &{event.anchor} is not available in templates", "remove it")

    def _sequence(self, events: Iterator[Any], path: Path) -> list[Any]:
        items: list[Any] = []
        while type(event := next(events)) is not yaml.SequenceEndEvent:
            items.append(self._value(event, events, (*path, len(items))))
        return items

    def _mapping(self, events: Iterator[Any], path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        keys = self.document.keys
        while (kind := type(event := next(events))) is not yaml.MappingEndEvent:
            if kind is not yaml.ScalarEvent:
                self._add(path, event, "a key must be a plain word", "write 'key: value'; put {{ ... }} in quotes")
                raise _Stop
            name, mark = event.value, event.start_mark
            if len(name) > MAX_KEY:
                what = f"a key has more than {MAX_KEY} characters"
                self._add(path, event, what, "put long texts behind a key, not into it")
                raise _Stop
            here = (*path, name)
            if event.tag is not None or event.anchor is not None:
                self._add(here, event, "a key can have neither tag nor anchor", "remove it")
            merge = name == "<<" and not event.style
            if merge:
                self._add(path, event, "the merge key << is not available in templates", "write the keys out")
            if name in found:
                first = keys[here][0]
                self._add(here, event, f"the key {name!r} is here twice, first in line {first}", "remove one of them")
                # Read on below a name that no template can have, so that the first keeps its positions.
                self._value(next(events), events, (*path, f"{name}\n{len(keys)}"))
                continue
            keys[here] = (mark.line + 1, mark.column + 1)
            value = self._value(next(events), events, here)
            if not merge:
                found[name] = value
        return found

    def _plain(self, event: Any, path: Path) -> Any:
        """Return the value of a plain scalar; 0 after noting a number that is too large."""
        try:
            return plain_value(event.value)
        except ValueError as error:
            self._add(path, event, str(error), "put it in quotes if it is a text")
            return 0


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!", 1)
