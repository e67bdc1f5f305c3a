"""A template put together from several files: plain data of which every part knows where it was written.

While it is put together the template is a tree of :class:`Node`; what comes out is a :class:`Composed` document, which
the checks read as they read any other. A problem that they find in it names the file, line and column where the mistake
was written, be it the template's own or a shared one, and also inside a text into which something was put.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow_enterprise_orch.value_stream.problems import Path, Problem, dotted
from airflow_enterprise_orch.value_stream.yaml_source import Document


class Run(NamedTuple):
    """A piece of a text, and where its characters were written.

    :param offset: where in the text at ``path`` of ``document`` it begins.
    :param exact: its characters stand there one by one; otherwise all of them stand for that one place.
    """

    text: str
    document: Document
    path: Path
    offset: int
    exact: bool = True


@dataclass(slots=True)
class Node:
    """One value of a template.

    :param value: ``dict[str, Node]``, ``list[Node]`` or a scalar.
    :param path: where it was written, in ``document``.
    :param runs: of a text that was changed its pieces.
    """

    value: Any
    document: Document
    path: Path
    runs: tuple[Run, ...] = ()

    def child(self, key: str) -> Node | None:
        """Return the value of a key; None when there is none."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def at(self, value: Any) -> Node:
        """Return another value that stands for this place."""
        return Node(value, self.document, self.path)

    def pieces(self) -> tuple[Run, ...]:
        """Return the pieces of its text; of any other value an empty one, that stands for its place."""
        text = self.value if isinstance(self.value, str) else ""
        return self.runs or (Run(text, self.document, self.path, 0),)

    def place(self, offset: int) -> Place:
        """Return where a character of its text was written."""
        run, start = self.pieces()[-1], 0
        for run in self.pieces():
            if offset < start + len(run.text):
                break
            start += len(run.text)
        else:
            start -= len(run.text)
        original = run.document.get(run.path)
        if not isinstance(original, str):
            return Place.of(run.document.position(run.path), run.document, run.path)
        origin = min(run.offset + (offset - start if run.exact else 0), len(original))
        line, before = original.count("\n", 0, origin) + 1, original.rfind("\n", 0, origin) + 1
        return Place.of(run.document.inside(run.path, line, origin - before + 1), run.document, run.path)

    def problem(
        self, what: str, remedy: str, *, suggestion: str = "", key: bool = False, offset: int | None = None
    ) -> Problem:
        """Return a problem of it: at its value, at its key, or at a character of its text."""
        if offset is not None:
            return self.place(offset).problem(what, remedy, suggestion)
        return self.document.problem(self.path, what, remedy, suggestion=suggestion, key=key)

    def with_changes(self, changes: Sequence[tuple[int, int, tuple[Run, ...]]]) -> Node:
        """Return its text with pieces put in: start and end of what they stand for, in order, and the pieces."""
        found: list[Run] = []
        last = 0
        for start, end, new in changes:
            found += [*self._cut(last, start), *new]
            last = end
        found += self._cut(last, len(self.value))
        return Node("".join(run.text for run in found), self.document, self.path, tuple(found))

    def _cut(self, start: int, end: int) -> Iterator[Run]:
        """Yield the pieces between two places of its text."""
        begin = 0
        for run in self.pieces():
            first, last = max(start - begin, 0), min(end - begin, len(run.text))
            if first < last:
                yield run._replace(text=run.text[first:last], offset=run.offset + (first if run.exact else 0))
            begin += len(run.text)


class Place(tuple[int, int]):
    """Line and column, and the document that they belong to."""

    document: Document
    path: Path

    @classmethod
    def of(cls, at: tuple[int, int], document: Document, path: Path) -> Place:
        """Return a place in ``document``."""
        place = cls(at)
        place.document, place.path = (at.document, at.path) if isinstance(at, Place) else (document, path)
        return place

    def problem(self, what: str, remedy: str, suggestion: str) -> Problem:
        """Return a problem there."""
        return Problem(self.document.file, self[0], self[1], dotted(self.path), what, suggestion, remedy)


@dataclass(slots=True)
class Composed(Document):
    """A document whose parts were written in several files."""

    nodes: dict[Path, Node] = field(default_factory=dict)

    def position(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        """Return line and column of a value, or of its key, in the file where it was written."""
        node, rest = self._node(path)
        return node.document.position((*node.path, *rest), key=key)

    def inside(self, path: Path, line: int, column: int) -> tuple[int, int]:
        """Return where a place inside a text was written; :meth:`problem` knows in which file."""
        node, rest = self._node(path)
        if rest or not node.runs:
            return node.document.inside((*node.path, *rest), line, column)
        offset = column - 1
        for part in node.value.split("\n")[: line - 1]:
            offset += len(part) + 1
        return node.place(offset)

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
        """Return a problem with the file, the place and the key of where it was written."""
        if isinstance(at, Place):
            return at.problem(what, remedy, suggestion)
        node, rest = self._node(path)
        return node.document.problem((*node.path, *rest), what, remedy, suggestion=suggestion, key=key, at=at)

    def _node(self, path: Path) -> tuple[Node, Path]:
        """Return the node at ``path`` or the nearest above it, and the rest of the path."""
        for end in range(len(path), -1, -1):
            node = self.nodes.get(path[:end])
            if node is not None:
                return node, path[end:]
        raise AssertionError("a composed document has a root")


def wrap(document: Document, value: Any, path: Path = ()) -> Node:
    """Return plain data of a document as nodes."""
    if isinstance(value, dict):
        value = {key: wrap(document, item, (*path, key)) for key, item in value.items()}
    elif isinstance(value, list):
        value = [wrap(document, item, (*path, index)) for index, item in enumerate(value)]
    return Node(value, document, path)


def count(node: Node) -> int:
    """Return how many values a tree has."""
    items: Iterable[Node] = ()
    if isinstance(node.value, dict):
        items = node.value.values()
    elif isinstance(node.value, list):
        items = node.value
    return 1 + sum(map(count, items))


def merged(base: Node | None, over: Node | None) -> Node | None:
    """Lay one value over another: maps are merged key by key, anything else replaces what it lies on."""
    if base is None or over is None:
        return base or over
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    found = {key: merged(base.child(key), node) for key, node in over.value.items()}
    return over.at({**found, **{key: node for key, node in base.value.items() if key not in found}})


def document_of(base: Document, root: Node, problems: Iterable[Problem]) -> Composed:
    """Return the document that a tree is.

    :param base: the template's own.
    :param problems: what was found wrong while it was put together.
    """
    found = Composed(base.file, lines=base.lines, problems=list(problems), unreadable=set(base.unreadable))

    def lay(node: Node, path: Path) -> Any:
        found.nodes[path] = node
        found.values[path] = node.document.position(node.path)
        if path and isinstance(path[-1], str):
            found.keys[path] = node.document.position(node.path, key=True)
        if isinstance(node.value, dict):
            return {key: lay(item, (*path, key)) for key, item in node.value.items()}
        if isinstance(node.value, list):
            return [lay(item, (*path, index)) for index, item in enumerate(node.value)]
        return node.value

    found.data = lay(root, ())
    return found
