"""What pydantic finds, in words for template authors.

The words are a closed table: they are part of what the package promises, and tests hold each of them.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from airflow_enterprise_orch.value_stream.model_types import (
    ADDRESS,
    ASSET_PATTERN,
    ASSET_REFERENCE_PATTERN,
    CLASS_PATH,
    ID_PATTERN,
    MAX_PRIORITY,
    PATH_ON_HOST,
    TABLE_FILE,
    TIME_PATTERN,
    XCOM_PATH,
)
from airflow_enterprise_orch.value_stream.problems import MAX_PROBLEMS, Path, Problem, closest, listed
from airflow_enterprise_orch.value_stream.yaml_source import Document

_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_HABITS: Mapping[str, str] = {
    "if": "when",
    "condition": "when",
    "else": "otherwise",
    "default": "otherwise",
    "depends_on": "after",
    "needs": "after",
    "upstream": "after",
    "retries": "retry",
    "timeout": "time_limit",
    "pool": "resource",
    "resources": "resource",
    "pool_slots": "resource",
    "priority_weight": "priority",
    "concurrency": "at_once",
    "max_active_tis_per_dag": "at_once",
    "schedule_interval": "schedule",
    "parameters": "params",
    "id": "value_stream",
    "name": "title",
}
"""What the same thing is called elsewhere."""
_PATTERNS: Mapping[str, tuple[str, str]] = {
    ID_PATTERN: ("{input} is no id", "use a-z, 0-9 and _, beginning with a letter"),
    r"^[^\r\n]*$": ("must be a single line", "remove the line breaks"),
    CLASS_PATH: ("{input} is no class path", "write the module and the class, with dots"),
    XCOM_PATH: ("{input} is no way to a value", "write names and numbers with dots, such as files.0.name"),
    r"^[A-Za-z0-9_.\- ]+$": ("this is no name of a pool", "name an Airflow pool: letters, digits, spaces, _ . and -"),
    ASSET_PATTERN: ("{input} is no name of an asset", "use letters, digits, _ . and -"),
    ASSET_REFERENCE_PATTERN: ("{input} is no asset", "write its name or its URI, without spaces"),
    TIME_PATTERN: ("{input} is no time of the day", "write it as 18:00"),
    r"^[A-Za-z0-9_.\-]+$": ("this is no connection id", "name an Airflow connection: letters, digits, _ . and -"),
    ADDRESS: ("{input} is no mail address", "write it as ops@example.com"),
    TABLE_FILE: (
        "{input} is no CSV file beside the template",
        "name it as rates.csv, or tables/rates.csv: letters, digits, _ . and -",
    ),
    PATH_ON_HOST: ("{input} is no path on the host", "begin it with /, without spaces"),
}
_TABLE: Mapping[str, tuple[str, str]] = {
    "string_type": ("must be a text, not {kind}", "put it in quotes"),
    "int_type": ("must be a whole number, not {kind}", "write digits only"),
    "int_from_float": ("must be a whole number, not {kind}", "write digits only"),
    "float_type": ("must be a number, not {kind}", "write a number"),
    "finite_number": ("must be a finite number", "write a number"),
    "bool_type": ("must be true or false, not {kind}", "write true or false"),
    "list_type": ("must be a list, not {kind}", "write [a, b], or one item a line, each after a dash"),
    "tuple_type": ("must be a list, not {kind}", "write [a, b], or one item a line, each after a dash"),
    "dict_type": ("must hold keys, not {kind}", "write key: value"),
    "model_type": ("must hold keys, not {kind}", "write key: value"),
    "string_too_short": ("must not be empty", "write something"),
    "string_too_long": ("is longer than {max_length} characters", "shorten it"),
    "too_short": ("has {actual_length} entries, fewer than {min_length}", "add what is missing"),
    "too_long": ("has {actual_length} entries, more than {max_length}", "remove some"),
    "greater_than": ("must be more than {gt}, not {input}", "write a larger number"),
    "greater_than_equal": ("must be at least {ge}, not {input}", "write a larger number"),
    "less_than": ("must be less than {lt}, not {input}", "write a smaller number"),
    "less_than_equal": ("must be at most {le}, not {input}", "write a smaller number"),
    "day": ("{input} is no date", "write it as 2026-12-31"),
    "duration": ("{input} is no duration", "write 90s, 15m, 2h, 1d or 1h30m"),
    "priority": (
        "{input} is no priority",
        f"write low, normal, high or critical, or a whole number from 1 to {MAX_PRIORITY}",
    ),
    "never_retried": (
        "{input} is never retried: it cannot get better until a person changes something",
        "remove it",
    ),
    "scalar": ("must be a text, a number, true or false, not {kind}", "write a single value"),
}


def kind_of(value: object) -> str:
    """Return what a YAML value is, for people."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value!r:.60}"
    return "a list" if isinstance(value, (list, tuple)) else "keys and values"


def translate(
    document: Document,
    model: type[BaseModel],
    errors: Iterable[ErrorDetails],
    places: Mapping[str, Path],
    default: Path,
    meant: set[Path],
    extra_keys: Iterable[str] = (),
) -> list[Problem]:
    """Turn pydantic's errors into problems, one for each place.

    :param model: whose errors they are; its fields are what a misspelled key is compared with.
    :param places: where the model's fields stand in the template, if not simply below ``default``.
    :param meant: the keys that misspelled ones were probably meant to be: these are not missing. Added to.
    :param extra_keys: keys that are right in ``default`` beside the model's own fields.
    """
    found: dict[tuple[Path, str], Problem] = {}
    missing: list[tuple[Path, str]] = []
    errors = list(errors)
    for error in errors:
        if len(found) + len(missing) >= MAX_PROBLEMS:
            break
        loc = error["loc"]
        if error["type"] == "too_short" and any(other["loc"][:-1] == loc and other is not error for other in errors):
            continue  # the entries are there, and are told as wrong
        first = str(loc[0]) if loc else ""
        path, last = (
            _locate(document, (*places[first],), loc[1:]) if first in places else _locate(document, default, loc)
        )
        if error["type"] == "missing":
            missing.append((path, str(last if last is not None else loc[-1])))
        elif error["type"] == "extra_forbidden":
            owner = _owner(model, loc[:-1])
            known = [*_keys(owner), *(extra_keys if len(loc) == 1 else ())]
            problem = unknown_key(document, path, known)
            meant.add((*path[:-1], problem.suggestion))
            found.setdefault((path, ""), problem)
        else:
            found.setdefault((path, ""), _problem(document, path, error))
    for path, name in missing:
        # A misspelled key is one mistake, not two.
        if (*path, name) not in meant:
            found[path, name] = missing_key(document, path, name)
    return list(found.values())


def unknown_key(document: Document, path: Path, known: Iterable[str], remedy: str = "") -> Problem:
    """Return the problem of a key that nobody knows."""
    known = list(known)
    habit = _HABITS.get(str(path[-1]), "")
    suggestion = "" if remedy else habit if habit in known else closest(str(path[-1]), known)
    text = remedy or (
        "correct it"
        if suggestion
        else f"known {'are' if len(known) > 1 else 'is'} {listed(known)}"
        if known
        else "remove it"
    )
    return document.problem(path, f"there is no key {str(path[-1])!r} here", text, suggestion=suggestion, key=True)


def missing_key(document: Document, path: Path, name: str, remedy: str = "add it") -> Problem:
    """Return the problem of a key that must be there."""
    return document.problem(path, f"the key {name!r} is missing", remedy, key=True)


def _problem(document: Document, path: Path, error: ErrorDetails) -> Problem:
    value, context = error["input"], dict(error.get("ctx") or {})
    shown = {
        **context,
        "kind": kind_of(value),
        "input": repr(value)[:80] if isinstance(value, (str, int, float)) else kind_of(value),
    }
    key = error["loc"][-1:] == ("[key]",)
    if value is None:
        return document.problem(path, "has no value", "write one, or remove the key", key=True)
    kind = error["type"]
    if kind in ("literal_error", "enum"):
        expected = [word.strip(" '") for word in str(context.get("expected", "")).replace(" or ", ",").split(",")]
        suggestion = closest(value, expected) if isinstance(value, str) else ""
        return document.problem(
            path, f"{shown['input']} is not possible here", f"use {listed(expected, 'or')}", suggestion=suggestion
        )
    if kind == "string_type" and isinstance(value, (list, dict)):
        return document.problem(path, f"must be a text, not {shown['kind']}", "write a single text")
    if kind == "string_pattern_mismatch":
        what, remedy = _PATTERNS.get(str(context.get("pattern")), ("{input} does not match {pattern}", "correct it"))
        return document.problem(path, what.format(**shown), remedy, key=key)
    if kind == "bool_type" and isinstance(value, str) and value.lower() in _BOOLEANS:
        return document.problem(
            path, f"must be true or false, not {value!r}", "correct it", suggestion=_BOOLEANS[value.lower()]
        )
    if kind in ("list_type", "tuple_type") and isinstance(value, str):
        remedy = f"write [{value}]" if value.isprintable() and value.strip() else _TABLE[kind][1]
        return document.problem(path, f"must be a list, not {shown['kind']}", remedy)
    if kind in ("value_error", "assertion_error"):
        # A step's own validators say what is wrong, and often after a semicolon what to do.
        what, _, remedy = " ".join(str(context.get("error", error["msg"])).split()).partition("; ")
        return document.problem(path, what, remedy or "correct it")
    if kind == "model_type" and path[-1:] == ("resource",) and isinstance(value, str):
        return document.problem(path, f"must hold keys, not {shown['kind']}", f"write {{pool: {value}}}")
    if kind in _TABLE:
        what, remedy = _TABLE[kind]
        return document.problem(path, what.format(**shown), remedy, key=key)
    message = " ".join(error["msg"].split())
    return document.problem(path, message[:1].lower() + message[1:], "correct it", key=key)


def _locate(document: Document, base: Path, loc: tuple[int | str, ...]) -> tuple[Path, int | str | None]:
    """Return the path in the template that pydantic's ``loc`` means, and its last part when that is not there.

    Parts that are in no template (the tags of unions and validators) are left out.
    """
    path, rest = base, None
    for part in loc:
        rest = None
        if (*path, part) in document.values:
            path = (*path, part)
        else:
            rest = part
    return path, rest


def _keys(model: type[BaseModel] | None) -> list[str]:
    if model is None:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _owner(annotation: Any, loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the model that an error's ``loc`` leads to."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _owner(get_args(annotation)[0], loc)
    if origin in (Union, types.UnionType):
        return next((found for arg in get_args(annotation) if (found := _owner(arg, loc))), None)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not loc:
            return annotation
        for name, field in annotation.model_fields.items():
            if loc[0] in (name, field.alias):
                return _owner(field.annotation, loc[1:])
        return None
    if origin is None or not loc:
        return None
    arguments = [argument for argument in get_args(annotation) if argument is not Ellipsis]
    return _owner(arguments[-1], loc[1:])
