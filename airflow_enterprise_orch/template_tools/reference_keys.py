"""The keys of a JSON Schema, as a table for people has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_enterprise_orch.delegation.work import MEANING_KEY
from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.value_stream.model_types import DAY_PATTERN, DURATION_PATTERN, ID_PATTERN

_MAX_DEPTH = 8
_KNOWN_PATTERNS = {ID_PATTERN: "id", DURATION_PATTERN: "duration", DAY_PATTERN: "date", r"^[^\r\n]*$": "line"}
_LIMITS = (
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minimum", "at least {}"),
    ("maximum", "at most {}"),
    ("exclusiveMinimum", "more than {}"),
    ("exclusiveMaximum", "less than {}"),
    ("minItems", "at least {} entries"),
    ("maxItems", "at most {} entries"),
    ("minProperties", "at least {} entries"),
    ("maxProperties", "at most {} entries"),
)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a template.

    :param name: where it stands: ``decision.rows[].when``.
    :param default: what counts without it, ``required``, or "".
    :param limits: what else must hold, or "".
    """

    name: str
    type: str
    default: str
    description: str
    limits: str


def keys_of(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str = "", depth: int = 0
) -> Iterator[Key]:
    """Yield the keys below ``schema``, each followed by those below it."""
    if depth > _MAX_DEPTH:
        raise OrchestrationError(f"the keys below {prefix} never end; give the model a schema without a circle")
    schema = resolved(schema, definitions)
    forms = _alternatives(schema, definitions)
    needed = "required" if len(forms) == 1 else "required in this form"
    for some in forms:
        if "items" in some:
            yield from keys_of(some["items"], definitions, f"{prefix}[]", depth + 1)
        if (named := _by_name(some)) is not None:
            yield from keys_of(named, definitions, f"{prefix}.<name>", depth + 1)
        for name, field in some.get("properties", {}).items():
            where = f"{prefix}.{name}".removeprefix(".")
            default = needed if name in some.get("required", ()) else _default(field)
            about = field.get("description") or resolved(field, definitions).get("description", "")
            yield Key(where, _type(field, definitions), default, about, _limits(field, definitions))
            yield from keys_of(field, definitions, where, depth + 1)


def resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow references, and leave out ``null``: no key of a template can have nothing as its value."""
    while "$ref" in schema:
        own = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **own}
    some = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(some) == 1:
        own = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**resolved(some[0], definitions), **own}
    return schema


def _by_name(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of what stands below names of the author's own; None where there are none."""
    patterns = list(schema.get("patternProperties", {}).values())
    named = patterns[0] if patterns else schema.get("additionalProperties")
    return named if isinstance(named, dict) else None


def _alternatives(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    group = schema.get("anyOf") or schema.get("oneOf")
    if not group:
        return [schema]
    return [
        one
        for part in group
        if part != {"type": "null"}
        for one in _alternatives(resolved(part, definitions), definitions)
    ]


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    schema = resolved(schema, definitions)
    some = _alternatives(schema, definitions)
    if len(some) > 1:
        return " or ".join(dict.fromkeys(_type(one, definitions) for one in some))
    schema = some[0]
    if "const" in schema:
        return f"`{_written(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{_written(value)}`" for value in schema["enum"])
    kind = schema.get("type", "")
    if isinstance(kind, list):
        return " or ".join(_word(one) for one in kind)
    if kind == "array":
        return f"list of {_type(schema.get('items', {}), definitions)}"
    if kind == "object" and (named := _by_name(schema)) is not None:
        return f"{_type(named, definitions)} by name"
    if kind == "string" and schema.get("pattern") in _KNOWN_PATTERNS:
        return _KNOWN_PATTERNS[schema["pattern"]]
    return _word(kind)


def _word(kind: str) -> str:
    words = {
        "string": "text",
        "integer": "whole number",
        "boolean": "`true`, `false`",
        "object": "keys",
        "": "any value",
    }
    return words.get(kind, kind)


def _limits(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    schema = resolved(schema, definitions)
    found = []
    for one in _alternatives(schema, definitions):
        if MEANING_KEY in one:
            found.append(one[MEANING_KEY])
        found += [text.format(one[name]) for name, text in _LIMITS if name in one]
        if one.get("pattern") and one["pattern"] not in _KNOWN_PATTERNS:
            # A backtick would end the code; its number means the same in a pattern.
            found.append("matches `" + one["pattern"].replace("`", r"\x60") + "`")
        for below in (one.get("items"), _by_name(one)):
            if below is not None and (each := _limits(below, definitions)):
                found.append(f"each: {each}")
    text = "; ".join(dict.fromkeys(found))
    return text.replace("at least 1 characters", "not empty").replace("at least 1 entries", "not empty")


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    return "" if value is None or value in ([], {}, "") else f"`{_written(value)}`"


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
