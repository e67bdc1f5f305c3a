"""The Jinja that value-stream templates may use: names and a few filters, no Python.

A template sees ``params``, ``steps``, ``business`` and the run's dates, as plain JSON values; no connections, no
variables, no macros, no calls, no loops. What is not allowed is found when the template loads (:func:`inspect`), and
does not exist when it is rendered either: attributes are looked up in plain data only, never on Python objects.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from airflow_enterprise_orch.delegation.work import is_template
from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.expressions import missing_value

RUN_NAMES = (
    "run_id",
    "run_after",
    "logical_date",
    "data_interval_start",
    "data_interval_end",
    "ds",
    "ds_nodash",
    "business_date",
)
"""What is known of the run itself; all texts, times in ISO 8601 and UTC."""
BUSINESS_NAMES = ("domain", "owner", "criticality", "key")
GROUPS = ("params", "steps", "business")
ITEM = "item"
"""What the work of a step with ``for_each`` is done for."""
FILTERS = frozenset({
    "capitalize", "length", "lower", "replace", "string", "title", "trim", "truncate", "upper",
    "abs", "float", "int", "round",
    "d", "date", "default", "tojson",
})  # fmt: skip
TESTS = frozenset({"defined", "undefined", "true", "false", "string", "number"})
MAX_DEPTH = 40
MAX_EXPRESSIONS = 500
MAX_EXPRESSION = 2000
_ENDLESS = re.compile(rf"\{{[{{%][^}}]{{{MAX_EXPRESSION}}}")
MAX_RENDERED = 1024 * 1024

_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Const,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.CondExpr,
    nodes.If,
    nodes.Concat,
    nodes.Add,
    nodes.Sub,
    nodes.Neg,
    nodes.List,
    nodes.Tuple,
    nodes.Keyword,
)
_REFUSED: Mapping[type[nodes.Node], str] = {
    nodes.Call: "a call",
    nodes.For: "a loop",
    nodes.Assign: "an assignment",
    nodes.AssignBlock: "an assignment",
    nodes.Macro: "a macro",
    nodes.CallBlock: "a call",
    nodes.FilterBlock: "a filter block",
    nodes.Include: "an include",
    nodes.Import: "an import",
    nodes.FromImport: "an import",
    nodes.Extends: "an extends",
    nodes.Block: "a block",
    nodes.Slice: "a slice",
    nodes.Dict: "a dictionary",
    nodes.BinExpr: "this operator",
}
_REMEDIES: Mapping[str, str] = {
    "conn": "name the connection in the step, its login never passes through a template",
    "var": "make it a param of the stream",
    "dag_run": "use params, or run_id",
    "ti": "use steps.<step>.<value>",
    "task_instance": "use steps.<step>.<value>",
    "macros": "use ds or the filter date",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that a text reads: ``("steps", "book_order", "rc")``, and where inside the text it stands, from 1."""

    path: tuple[str, ...]
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something in a text that is not allowed, and where inside the text it stands, from 1."""

    what: str
    remedy: str
    line: int
    column: int
    suggestion: str = ""


@lru_cache(maxsize=1024)
def inspect(text: str) -> tuple[tuple[Reference, ...], tuple[Mistake, ...]]:
    """Parse a text; return the names that it reads, and what is wrong with it.

    Of names only the first part is checked here: what params, steps and values there are, the caller knows. The answer
    is kept, because a template is checked first and compiled then.
    """
    if text.count("{{") + text.count("{%") > MAX_EXPRESSIONS or _ENDLESS.search(text):
        what = f"the text holds more than {MAX_EXPRESSIONS} expressions, or one longer than {MAX_EXPRESSION} characters"
        return (), (Mistake(what, "make it simpler", 1, 1),)
    try:
        tree = _environment().parse(text)
    except jinja2.TemplateSyntaxError as error:
        lines = text.split("\n")
        line = min(max(error.lineno, 1), len(lines))
        reason = " ".join((error.message or "").split()).rstrip(".")
        return (), (Mistake(f"this is no Jinja ({reason})", "correct it", line, _column(lines[line - 1], "{{")),)
    except (RecursionError, ValueError, OverflowError, MemoryError):
        return (), (Mistake("the Jinja is nested too deeply or holds a number too large", "make it simpler", 1, 1),)
    inspector = _Inspector(text.split("\n"))
    inspector.visit(tree, 0)
    return tuple(inspector.references), tuple(inspector.mistakes)


class _Inspector:
    """Walks a syntax tree: an allow-list, so that a new kind of node is refused until somebody has thought about it."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.references: list[Reference] = []
        self.mistakes: list[Mistake] = []

    def _refuse(self, node: nodes.Node, word: str, what: str, remedy: str) -> None:
        self.mistakes.append(Mistake(what, remedy, node.lineno, self._column(node, word)))

    def _column(self, node: nodes.Node, word: str) -> int:
        line = self.lines[node.lineno - 1] if node.lineno <= len(self.lines) else ""
        return _column(line, word)

    def visit(self, node: nodes.Node, depth: int) -> None:
        if depth > MAX_DEPTH:
            self._refuse(node, "{{", "the Jinja is nested too deeply", "make it simpler")
            return
        if isinstance(node, (nodes.Name, nodes.Getattr, nodes.Getitem)):
            path, base = _path(node)
            if path:
                column = self._column(node, ".".join(path))
                if column == 1:
                    column = self._column(node, path[0])
                self._reference(Reference(path, node.lineno, column))
            elif isinstance(base, nodes.Call):
                self.visit(base, depth + 1)
            else:
                self._refuse(
                    node,
                    "[" if isinstance(node, nodes.Getitem) else "{{",
                    "a computed name is not available in templates",
                    "write the name out, as in params.order_id",
                )
            return
        if isinstance(node, (nodes.Filter, nodes.Test)):
            known, kind = (FILTERS, "filter") if isinstance(node, nodes.Filter) else (TESTS, "test")
            if node.name not in known:
                self._refuse(
                    node,
                    node.name,
                    f"the {kind} {node.name!r} is not available in templates",
                    f"use one of {', '.join(sorted(known))}",
                )
        elif not isinstance(node, _ALLOWED):
            self._refused_kind(node)
            return
        for child in node.iter_child_nodes():
            self.visit(child, depth + 1)

    def _reference(self, reference: Reference) -> None:
        root = reference.path[0]
        if root in GROUPS or root in RUN_NAMES or root == ITEM:
            self.references.append(reference)
            return
        name = ".".join(reference.path[:2])
        remedy = _REMEDIES.get(root, f"templates see {', '.join(GROUPS)} and the run's {', '.join(RUN_NAMES)}")
        close = difflib.get_close_matches(root, (*GROUPS, *RUN_NAMES), n=1)
        suggestion = close[0] if close and root not in _REMEDIES else ""
        what = f"{name!r} is not available in templates"
        self.mistakes.append(Mistake(what, remedy, reference.line, reference.column, suggestion))

    def _refused_kind(self, node: nodes.Node) -> None:
        kind = next((text for cls, text in _REFUSED.items() if isinstance(node, cls)), type(node).__name__)
        target = node.node if isinstance(node, nodes.Call) else None
        path = _path(target)[0] if isinstance(target, (nodes.Name, nodes.Getattr, nodes.Getitem)) else ()
        name = f": {'.'.join(path)}()" if path else ""
        self._refuse(
            node,
            ".".join(path) or ("{%" if isinstance(node, nodes.Stmt) else "{{"),
            f"{kind} is not available in templates{name}",
            "use params, steps, business and dates, and filters",
        )


def _path(node: nodes.Expr) -> tuple[tuple[str, ...], nodes.Expr]:
    """Return the constant path of a chain of names, or () and what it starts with."""
    parts: list[str] = []
    while isinstance(node, (nodes.Getattr, nodes.Getitem)):
        if isinstance(node, nodes.Getattr):
            parts.append(node.attr)
        elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            parts.append(node.arg.value)
        else:
            return (), node
        node = node.node
    return ((node.name, *reversed(parts)), node) if isinstance(node, nodes.Name) else ((), node)


def _column(line: str, word: str) -> int:
    found = re.search(rf"(?<![\w.]){re.escape(word)}", line) if word[:1].isalpha() or word[:1] == "_" else None
    return (found.start() if found else max(line.find(word), 0)) + 1


def render_tree(value: Any, context: Mapping[str, Any]) -> Any:
    """Return a JSON tree with every text rendered; keys stay as they are.

    :param context: ``params``, ``steps``, ``business`` (mappings) and the :data:`RUN_NAMES`; see :func:`run_names`.
    :raises TemplateError: when a name has no value.
    """
    if isinstance(value, str):
        return render(value, context)
    if isinstance(value, Mapping):
        return {key: render_tree(item, context) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [render_tree(item, context) for item in value]
    return value


def render(text: str, context: Mapping[str, Any]) -> str:
    """Return one text rendered; :raises TemplateError: when a name has no value or the text is not allowed."""
    if not is_template(text):
        return text
    shown = repr(" ".join(text.split())[:80])
    mistakes = _mistakes(text)
    if mistakes:
        raise TemplateError(f"{shown}: {mistakes[0].what}, {mistakes[0].remedy}")
    visible = {name: _View(name, value) if isinstance(value, Mapping) else value for name, value in context.items()}
    try:
        result = _compiled(text).render(visible)
    except jinja2.UndefinedError as error:
        raise TemplateError(f"{shown}: {error.message}") from error
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise TemplateError(f"{shown}: cannot be rendered ({reason}), correct it or the values it uses") from error
    if len(result) > MAX_RENDERED:
        raise TemplateError(f"{shown}: becomes longer than {MAX_RENDERED} characters, hand the data over in a file")
    return result


def run_names(
    *,
    run_id: str,
    run_after: datetime,
    logical_date: datetime | None = None,
    data_interval_start: datetime | None = None,
    data_interval_end: datetime | None = None,
    business_date: str = "",
) -> dict[str, str]:
    """Return the :data:`RUN_NAMES` of a run as texts in UTC.

    :param business_date: the working day that it is for; without it that of ``ds``.

    A run that people or the API start may have no logical date: the moment from which it may run stands for it then.
    """
    date = (logical_date or run_after).astimezone(UTC)
    return {
        "run_id": run_id,
        "run_after": _iso(run_after),
        "logical_date": _iso(date),
        "data_interval_start": _iso(data_interval_start or date),
        "data_interval_end": _iso(data_interval_end or date),
        "ds": f"{date:%Y-%m-%d}",
        "ds_nodash": f"{date:%Y%m%d}",
        "business_date": business_date or f"{date:%Y-%m-%d}",
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


@dataclass(frozen=True, slots=True)
class _View:
    """A group of values under a name; not iterable, not printable."""

    name: str
    values: Mapping[str, Any]


class _Missing(jinja2.StrictUndefined):
    """A name without a value; its message says why."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        what, remedy = missing_value(str(self._undefined_name))
        return f"{what}, {remedy}"


class _Environment(ImmutableSandboxedEnvironment):
    """Looks names up in plain data only, calls nothing."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return one value of a group."""
        if isinstance(obj, _Missing):
            return self.undefined(name=f"{obj._undefined_name}.{attribute}")
        if not isinstance(obj, _View):
            return self.undefined(name=str(attribute))
        name, value = f"{obj.name}.{attribute}", obj.values.get(attribute)
        if value is None:
            return self.undefined(name=name)
        return _View(name, value) if isinstance(value, Mapping) else value

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return one value of a group."""
        return self.getattr(obj, argument)

    def is_safe_callable(self, obj: Any) -> bool:
        """Nothing may be called."""
        return False


def _finalize(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _View):
        raise TypeError(f"{value.name!r} is a group of values, name one of them")
    return value


def _date(value: Any, form: str = "%Y-%m-%d") -> str:
    return datetime.fromisoformat(str(value)).strftime(form)


@lru_cache(maxsize=1)
def _environment() -> _Environment:
    # Comments are moved out of the way: "{#" is shell for the length of a variable.
    environment = _Environment(
        undefined=_Missing,
        finalize=_finalize,
        keep_trailing_newline=True,
        autoescape=False,  # the values go to schedulers and shells as arguments, never into HTML
        comment_start_string="{#jinja-comment#",
        comment_end_string="#jinja-comment#}",
        cache_size=0,
    )
    environment.globals.clear()
    environment.filters = {name: _date if name == "date" else environment.filters[name] for name in FILTERS}
    environment.tests = {name: environment.tests[name] for name in TESTS}
    return environment


@lru_cache(maxsize=2048)
def _mistakes(text: str) -> tuple[Mistake, ...]:
    return inspect(text)[1]


@lru_cache(maxsize=2048)
def _compiled(text: str) -> jinja2.Template:
    return _environment().from_string(text)


def texts(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Return every text with Jinja in a JSON tree, with its path, in the order in which they stand there."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    _collect(value, path, found)
    return iter(found)


def _collect(value: Any, path: tuple[str | int, ...], found: list[tuple[tuple[str | int, ...], str]]) -> None:
    # No generator, and no path for what is no template: each is looked through many times, and little of it is Jinja.
    parts: Iterable[tuple[str | int, Any]]
    if isinstance(value, str):
        if is_template(value):
            found.append((path, value))
        return
    if isinstance(value, (dict, Mapping)):
        parts = value.items()
    elif isinstance(value, (list, tuple)):
        parts = enumerate(value)
    else:
        return
    for part, item in parts:
        if isinstance(item, str):
            if is_template(item):
                found.append(((*path, part), item))
        elif isinstance(item, (dict, list, tuple, Mapping)):
            _collect(item, (*path, part), found)
