"""Puts the values of a profile where a template names them: ``connection: "{{ values.zos }}"``."""

from __future__ import annotations

from airflow_enterprise_orch.value_stream.composed import Node, Run
from airflow_enterprise_orch.value_stream.jinja_names import Block, blocks
from airflow_enterprise_orch.value_stream.problems import Problem
from airflow_enterprise_orch.value_stream.profiles import Value, Values

GROUP = "values"
MAX_PUT_IN = 512 * 1024
"""How many characters may be put into one template."""
MAX_PROBLEMS = 100


class PutIn:
    """Puts values into a tree.

    :ivar problems: what is wrong with references, at each of them.
    :ivar refused: the nodes with such a reference, of which nothing more is to be said.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self._room = MAX_PUT_IN
        self.problems: list[Problem] = []
        self.refused: list[Node] = []

    def into(self, node: Node) -> Node:
        """Return the tree with values for references; what else is Jinja stays for run time."""
        if isinstance(node.value, dict):
            for key, item in node.value.items():
                if "{{" in key and any(_named(block) for block in blocks(key)):
                    self.problems.append(item.problem("a key cannot hold a value", "write the key out", key=True))
            return node.at({key: self.into(item) for key, item in node.value.items()})
        if isinstance(node.value, list):
            return node.at([self.into(item) for item in node.value])
        if isinstance(node.value, str) and GROUP in node.value and "{" in node.value:
            return self._text(node)
        return node

    def _text(self, node: Node) -> Node:
        before = len(self.problems)
        changes: list[tuple[int, int, tuple[Run, ...]]] = []
        for block in blocks(node.value):
            if not _named(block):
                continue
            if len(self.problems) >= MAX_PROBLEMS:
                break
            value = self._value(node, block)
            if value is None:
                continue
            whole = (block.start, block.end) == (0, len(node.value))
            if whole and not isinstance(value, str):
                if isinstance(value, list):
                    return node.at([node.at(one) for one in value])
                return node.at(value)
            if isinstance(value, list):
                what = "the value is a list, which cannot stand inside a text"
                self.problems.append(node.problem(what, "let nothing stand beside it", offset=block.start))
                continue
            text = written(value)
            self._room -= len(text)
            if self._room < 0:
                what = f"more than {MAX_PUT_IN // 1024} KB of values are put in"
                self.problems.append(node.problem(what, "use shorter values", offset=block.start))
                break
            changes.append((block.start, block.end, (stands_for(text, node, block.start),)))
        if len(self.problems) > before:
            # Nothing more is to be said about it, so nothing more is looked for in it.
            self.refused.append(node)
            return node.at("")
        return node.with_changes(changes) if changes else node

    def _value(self, node: Node, block: Block) -> Value | None:
        """Return what a reference stands for, or None after noting what is wrong with it."""
        name = next(name for name in block.names if name.parts[0] == GROUP)
        if len(name.parts) != 2 or not block.is_only(node.value, name):
            shown = f"{GROUP}.{name.parts[1]}" if len(name.parts) > 1 else f"{GROUP}.<name>"
            what = "a value is put in when the template is loaded, and by nothing but its name"
            self.problems.append(node.problem(what, f"write {{{{ {shown} }}}} by itself", offset=name.start))
            return None
        value = self._values.get(name.parts[1])
        if value is None:
            what, suggestion, remedy = self._values.missing(name.parts[1])
            self.problems.append(node.problem(what, remedy, suggestion=suggestion, offset=name.start))
        return value


def written(value: str | float | bool) -> str:
    """Return a value as it stands inside a text or a condition."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _named(block: Block) -> bool:
    return any(name.parts[0] == GROUP for name in block.names)


def stands_for(text: str, node: Node, offset: int) -> Run:
    """Return a piece of text that stands for what is written at a place of another."""
    start = 0
    for run in node.pieces():
        if offset < start + len(run.text):
            return Run(text, run.document, run.path, run.offset + (offset - start if run.exact else 0), exact=False)
        start += len(run.text)
    return Run(text, node.document, node.path, 0, exact=False)
