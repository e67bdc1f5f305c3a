"""Conditions: CEL, compiled and type-checked before anything runs, evaluated without Python.

Names are declared with their types (``params.amount`` as a double, ``steps.book_order.rc`` as an int), so that a
misspelled name or a number compared with a text is found when a template loads. CEL (Common Expression Language) has no
loops, no I/O and no side effects; its C++ implementation bounds depth and iterations.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from airflow_enterprise_orch.errors import OrchestrationError

MAX_LENGTH = 4000

TYPE_NAMES = {
    "int": "integer",
    "double": "number",
    "string": "string",
    "bool": "boolean",
    "null_type": "null",
    "list(dyn)": "list",
}
"""CEL's types in the words that params and outputs use."""

_OPERATORS = {"_==_": "==", "_!=_": "!=", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_ARITHMETIC = {"_+_": "+", "_-_": "-", "_*_": "*", "_/_": "/", "_%_": "%"}
_LOGIC = {"_&&_": "&&", "_||_": "||", "!_": "!"}
_HABITS = {
    "and": "&&",
    "or": "||",
    "not": "!",
    "=": "==",
    "&": "&&",
    "|": "||",
    "<>": "!=",
    "=<": "<=",
    "=>": ">=",
    "“": '"',
    "”": '"',
    "\u2019": "'",
}
_CONSTANTS = {"True": "true", "False": "false", "None": "null"}

_STRING = re.compile(r"""[rR]?("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')""")
_CHAIN = re.compile(r"[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*")
_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '(.*)' \(in container")
_OVERLOAD = re.compile(r"found no matching overload for '(.*)' applied to '\((.*)\)'")
_SELECT = re.compile(r"expression of type '(.*)' cannot be the operand of a select operation")
_TOKEN = re.compile(
    r"(?:mismatched input|extraneous input|token recognition error at:|no viable alternative at input) '(.*?)'"
)
_MATCHES = re.compile(r"""\.\s*matches\s*\(\s*([rR]?(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))\s*\)""")
_MISSING = re.compile(r'No value with name "(.*)" found')


class ExpressionError(OrchestrationError):
    """A condition is wrong, or cannot be evaluated.

    :param message: what is wrong.
    :param line: where, from 1, inside the text.
    :param column: where, from 1, inside the line.
    :param remedy: what to do.
    :param suggestion: a text that was probably meant, or "".
    :param name: the qualified name that is undeclared or has no value, or "".
    """

    def __init__(
        self, message: str, line: int = 1, column: int = 1, *, remedy: str = "", suggestion: str = "", name: str = ""
    ) -> None:
        hint = f"did you mean {suggestion!r}" if suggestion else ""
        super().__init__(", ".join(part for part in (message, hint, remedy) if part))
        self.what = message
        self.line = line
        self.column = column
        self.remedy = remedy
        self.suggestion = suggestion
        self.name = name


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled condition.

    :param text: as written.
    :param references: the declared names that it reads.
    """

    text: str
    references: frozenset[str]
    _variables: Mapping[str, str] = field(repr=False)
    _program: Any = field(repr=False, compare=False)

    def evaluate(self, values: Mapping[str, object]) -> object:
        """Return the result.

        :param values: by qualified name; a name that is absent or None has no value, which matters only when the
            result depends on it.
        :raises ExpressionError: when it does, when a value has another type than declared, or on a division by zero.
        """
        data = {
            name: _value(name, self._variables[name], values[name])
            for name in self.references
            if values.get(name) is not None
        }
        try:
            result = self._program.eval(data=data)
        except (
            Exception
        ) as error:  # the library has no exception class of its own, it raises RuntimeError and TypeError
            raise ExpressionError(f"cannot be evaluated ({_one_line(error)})", remedy="check the values") from error
        if result.type() == _cel().Type.ERROR:
            raise _evaluation_error(str(result.value()))
        return result.plain_value()


def compile_expression(text: str, variables: Mapping[str, str], expects: str = "bool") -> Expression:
    """Compile and type-check a condition.

    :param variables: qualified name to type: ``int``, ``double``, ``string``, ``bool`` or ``dyn``.
    :param expects: the type that it must give.
    :raises ExpressionError: the first problem; :func:`find_problems` has all.
    """
    compiled, errors = _compiled(text, variables, expects)
    if compiled is None:
        # A new one each time: an exception collects tracebacks, and the cached ones must not.
        raise _copy(errors[0])
    return compiled


def find_problems(text: str, variables: Mapping[str, str], expects: str = "bool") -> list[ExpressionError]:
    """Return everything that is wrong with a condition, in the order of the text."""
    return [_copy(error) for error in _compiled(text, variables, expects)[1]]


def _compiled(
    text: str, variables: Mapping[str, str], expects: str
) -> tuple[Expression | None, tuple[ExpressionError, ...]]:
    """Compile with those variables alone that the text can name: a late step has hundreds, and each costs time.

    Where anything is wrong it is looked at with all of them, for what is told of it.
    """
    if len(text) <= MAX_LENGTH:
        named = {".".join(parts[:end]) for parts in _chains(text) for end in range(1, len(parts) + 1)}
        known = tuple((name, variables[name]) for name in sorted(named) if name in variables)
        found = _compile(text, known, expects)
        if found[0] is not None:
            return found
    return _compile(text, tuple(sorted(variables.items())), expects)


def _chains(text: str) -> list[list[str]]:
    """Return the dotted names of a text, each as its parts."""
    return [[part.strip() for part in chain.split(".")] for chain in _CHAIN.findall(text)]


def _copy(error: ExpressionError) -> ExpressionError:
    return ExpressionError(
        error.what, error.line, error.column, remedy=error.remedy, suggestion=error.suggestion, name=error.name
    )


@lru_cache(maxsize=2048)
def _compile(
    text: str, variables: tuple[tuple[str, str], ...], expects: str
) -> tuple[Expression | None, tuple[ExpressionError, ...]]:
    if len(text) > MAX_LENGTH:
        return None, (ExpressionError(f"is longer than {MAX_LENGTH} characters", remedy="split the rule"),)
    if not text.strip():
        return None, (ExpressionError("is empty", remedy="write a condition such as rc <= 4"),)
    if bad := re.search("[\x00-\x08\x0b-\x1f\ud800-\udfff]", text):
        line, column = _position(text, bad.start())
        return None, (ExpressionError("holds a character that is no text", line, column, remedy="remove it"),)
    blanked = _STRING.sub(lambda found: "'" + " " * (len(found[0]) - 2) + "'", text)
    if has := re.search(r"(?<![\w.])has\s*\(", blanked):
        line, column = _position(text, has.start())
        remedy = "name the value itself; a rule that needs a value of a step that did not run stops the stream"
        return None, (ExpressionError("has() is not available here", line, column, remedy=remedy),)
    declared = dict(variables)
    try:
        program = _environment(variables).compile(text)
    except ExpressionError as error:  # the library is not here
        return None, (error,)
    except (RuntimeError, TypeError) as error:
        return None, tuple(_translate(str(error), text, blanked, declared))
    errors = []
    for literal in _MATCHES.finditer(text):
        problem = _environment(()).compile(f"''.matches({literal[1]})").eval(data={})
        if problem.type() == _cel().Type.ERROR:
            reason = str(problem.value()).removeprefix("INVALID_ARGUMENT: ")
            line, column = _position(text, literal.start(1))
            errors.append(
                ExpressionError(_one_line(reason), line, column, remedy="correct the regular expression (RE2)")
            )
    kind = program.return_type().name().lower()
    if kind != expects:
        what = f"gives {_with_article(kind)}, not {_with_article(expects)}"
        remedy = "compare it with something, such as == true" if kind == "dyn" else "compare it with something"
        errors.append(ExpressionError(what, remedy=remedy if expects == "bool" else "correct it"))
    if errors:
        return None, tuple(errors)
    return Expression(text, _references(blanked, declared), declared, program), ()


def _references(blanked: str, variables: Mapping[str, str]) -> frozenset[str]:
    """Return the longest declared beginning of each dotted name; a name shadowed by a macro's may be one too many."""
    found = set()
    for parts in _chains(blanked):
        while parts and ".".join(parts) not in variables:
            parts.pop()
        if parts:
            found.add(".".join(parts))
    return frozenset(found)


@cache
def _cel() -> Any:
    try:
        from cel_expr_python import cel
    except ImportError as error:
        remedy = (
            "it runs on CPython 3.11 to 3.14 on Linux (glibc, x86-64 and arm64), macOS and Windows: use one of these"
        )
        raise ExpressionError(
            "conditions need the package cel-expr-python, which is not here", remedy=remedy
        ) from error
    return cel


@lru_cache(maxsize=256)
def _environment(variables: tuple[tuple[str, str], ...]) -> Any:
    types = _cel().Type
    return _cel().NewEnv(variables={name: getattr(types, kind.upper()) for name, kind in variables})


def _translate(message: str, text: str, blanked: str, variables: Mapping[str, str]) -> list[ExpressionError]:
    """Turn CEL's report into one line per problem."""
    if "recursion limit" in message:
        return [ExpressionError("is nested too deeply", remedy="split the rule")]
    errors: list[ExpressionError] = []
    for line, column, what in _ERROR.findall(message):
        offset = _offset(text, int(line), int(column))
        if what.startswith("Syntax error"):
            # What follows a syntax error is noise.
            return [*errors, _syntax_error(what, text, blanked, offset)]
        errors.append(_type_error(what, text, blanked, offset, variables))
    return errors or [ExpressionError(f"is no condition ({_one_line(message)})", remedy="correct it")]


def _syntax_error(what: str, text: str, blanked: str, offset: int) -> ExpressionError:
    found = _TOKEN.search(what)
    token = found[1].strip() if found else ""
    before = re.search(r"(\S+)\s*$", blanked[:offset])
    for word, at in ((token, offset), (before[1] if before else "", before.start(1) if before else 0)):
        if text[max(at - 1, 0) : at + 1] == "<>":
            word, at = "<>", at - 1
        if word in _HABITS:
            line, column = _position(text, at)
            return ExpressionError(
                f"{word!r} means nothing here", line, column, suggestion=_HABITS[word], remedy="conditions are CEL"
            )
    line, column = _position(text, offset)
    if token[:1] in ("'", '"') and token:
        return ExpressionError("a text has no closing quote", line, column, remedy="close it on the same line")
    if token == "<EOF>":  # noqa: S105  # a token of a grammar
        return ExpressionError("ends too early", line, column, remedy="complete the condition")
    if not token:
        return ExpressionError(
            _one_line(what.removeprefix("Syntax error: ")), line, column, remedy="correct the condition"
        )
    return ExpressionError(f"{token!r} is not expected here", line, column, remedy="correct the condition")


def _type_error(what: str, text: str, blanked: str, offset: int, variables: Mapping[str, str]) -> ExpressionError:
    line, column = _position(text, offset)
    if found := _UNDECLARED.match(what):
        return _undeclared(found[1], text, blanked, offset, variables)
    if found := _OVERLOAD.match(what):
        message, remedy = _overload(found[1], found[2].split(", "), blanked, offset)
        return ExpressionError(message, line, column, remedy=remedy)
    if found := _SELECT.match(what):
        return ExpressionError(
            f"{_with_article(found[1])} has no parts", line, column, remedy="remove what follows the dot"
        )
    if found := re.match(r"reserved identifier: (\w+)", what):
        return ExpressionError(f"{found[1]!r} is a reserved word", line, column, remedy="use another name")
    if "invalid int literal" in what:
        return ExpressionError("the number is too large for an integer", line, column, remedy="add .0")
    return ExpressionError(_one_line(what), line, column, remedy="correct the condition")


def _undeclared(name: str, text: str, blanked: str, offset: int, variables: Mapping[str, str]) -> ExpressionError:
    # CEL points at the last dot of a chain, or at a call's parenthesis: look for the chain that covers that place.
    start = next((c.start() for c in _CHAIN.finditer(blanked) if c.start() <= offset <= c.end()), offset)
    line, column = _position(text, start)
    if name in _CONSTANTS:
        return ExpressionError(
            f"{name!r} is no CEL", line, column, suggestion=_CONSTANTS[name], remedy="correct it", name=name
        )
    if text[offset : offset + 1] == "(":
        return ExpressionError(
            f"there is no function {name!r}", line, column, remedy="use one of CEL's functions", name=name
        )
    close = difflib.get_close_matches(name, variables, n=1)
    known = ", ".join(sorted(variables)[:20]) or "none"
    remedy = "use a declared name" if close else f"known are {known}"
    return ExpressionError(
        f"there is no {name!r}", line, column, suggestion=close[0] if close else "", remedy=remedy, name=name
    )


def _overload(function: str, types: list[str], blanked: str, offset: int) -> tuple[str, str]:
    """Return what is wrong with the types that an operator or function meets, and what to do."""
    names = [TYPE_NAMES.get(kind, kind) for kind in types]
    if function in _OPERATORS or function in _ARITHMETIC:
        symbol = _OPERATORS.get(function) or _ARITHMETIC[function]
        what = f"{symbol!r} {'compares' if function in _OPERATORS else 'combines'} {names[0]} with {names[-1]}"
        if set(types) == {"int", "double"}:
            return what, _mixed_numbers(types, blanked, offset, len(symbol))
        if "null_type" in types:
            return what, "a value is never null: a step that did not run stops the rule"
        if types[0] == types[-1]:
            return what, f"{_with_article(types[0])} cannot be used with {symbol!r}"
        return what, "compare values of the same type" if function in _OPERATORS else "use values of the same type"
    if function in _LOGIC:
        wrong = next(name for kind, name in zip(types, names, strict=True) if kind != "bool")
        return f"{_LOGIC[function]!r} meets {_article(wrong)}", "give it a condition, such as x == 1"
    if function == "_?_:_":
        return f"'?:' meets {', '.join(names)}", "give it a condition and two values of the same type"
    if function == "@in":
        return f"'in' meets {' and '.join(names)}", "write a list on its right: x in ['a', 'b']"
    return f"{function}() cannot be used with ({', '.join(names)})", "give it what it takes"


def _mixed_numbers(types: list[str], blanked: str, offset: int, width: int) -> str:
    """Say how to compare an integer with a number: by writing one of them differently, if it is written out."""
    before, after = blanked[:offset], blanked[offset + width :]
    left, right = re.search(r"(-?\b\d+(?:\.0*)?)\s*$", before), re.match(r"\s*(-?\d+(?:\.0*)?)(?![\w.])", after)
    for literal, kind in ((right, types[1]), (left, types[0])):
        if literal and kind == "int":
            return f"write {literal[1]}.0"
        if literal and kind == "double" and "." in literal[1]:
            return f"write {literal[1].partition('.')[0]}"
    return "put double(...) round the integer"


def missing_value(name: str) -> tuple[str, str]:
    """Return what to say of a qualified name that has no value at run time: what is wrong, and what to do."""
    parts = name.split(".")
    if parts[0] == "steps" and len(parts) > 2:
        what = f"step {parts[1]!r} left no value {'.'.join(parts[2:])!r}: it did not run, or was skipped"
        return what, "ask only steps that ran on every way to here"
    if parts[0] == "steps" and len(parts) > 1:
        return (
            f"step {parts[1]!r} left no values: it did not run, or was skipped",
            "ask only steps that ran on every way to here",
        )
    if parts[0] == "params" and len(parts) > 1:
        return f"param {parts[1]!r} has no value", "start the run with one"
    return f"{name!r} has no value", "do not rely on it"


def _evaluation_error(message: str) -> ExpressionError:
    if found := _MISSING.search(message):
        what, remedy = missing_value(found[1])
        return ExpressionError(what, remedy=remedy, name=found[1])
    reason = re.sub(r"^[A-Z_]+: ", "", _one_line(message))
    return ExpressionError(f"cannot be evaluated ({reason})", remedy="correct the condition")


def _value(name: str, kind: str, value: object) -> object:
    """Return ``value`` as CEL takes it; JSON has lost the difference between 4 and 4.0."""
    if kind == "dyn":
        return value
    right = {
        "bool": isinstance(value, bool),
        "string": isinstance(value, str),
        "int": not isinstance(value, bool)
        and (isinstance(value, int) or (isinstance(value, float) and value.is_integer())),
        "double": not isinstance(value, bool) and isinstance(value, (int, float)),
        "list": isinstance(value, (list, tuple)),
    }[kind]
    if not right:
        what = f"{name!r} is {value!r:.60}, not {_with_article(kind)}"
        raise ExpressionError(_one_line(what), remedy="check where the value comes from", name=name)
    if kind == "list":
        return list(value)  # type: ignore[call-overload]  # checked above
    if kind == "int":
        return int(value)  # type: ignore[call-overload]  # checked above
    return float(value) if kind == "double" else value  # type: ignore[arg-type]  # checked above


def _with_article(kind: str) -> str:
    return _article("value of unknown type" if kind == "dyn" else TYPE_NAMES.get(kind, kind))


def _article(name: str) -> str:
    return f"an {name}" if name[:1] in "aeio" else f"a {name}"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300]


def _offset(text: str, line: int, column: int) -> int:
    lines = text.split("\n")
    return min(len(text), sum(len(one) + 1 for one in lines[: line - 1]) + column - 1)


def _position(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
