"""The JSON Schemas for editors: of templates as people write them, and of the files beside them.

A template as it is written is more than what it means. Shared defaults give what a step does not say, so with
``use:`` nothing that they can give is required. A value of a profile may stand wherever a single value or a list does.
A step may stand for a fragment. :mod:`~airflow_enterprise_orch.value_stream.schema` has what it must be after all that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from airflow_enterprise_orch.delegation.system import step_types
from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.value_stream.calendars import CalendarFile
from airflow_enterprise_orch.value_stream.model_types import ID_PATTERN
from airflow_enterprise_orch.value_stream.schema import model_schema, template_schema
from airflow_enterprise_orch.value_stream.shared import OWN_BODIES, STEPS, STEPS_KEYS, STREAM, STREAM_KEYS, WORK_KEYS
from airflow_enterprise_orch.value_stream.side_models import ProfileFile, SharedFile, SharedFragment, UsingStep

DRAFT = "https://json-schema.org/draft/2020-12/schema"
WITH_DEFAULTS = "_with_defaults"
"""How a definition is called of which nothing is required, because defaults may give it."""
OF_A_PROFILE: Mapping[str, Any] = {
    "type": "string",
    "pattern": r"\{\{-?\s*values\.",
    "title": "Value of a profile",
    "description": "A value of the chosen profile: {{ values.name }}.",
}
OF_A_FRAGMENT: Mapping[str, Any] = {
    "type": "string",
    "pattern": r"\{\{-?\s*(values|params)\.",
    "title": "Value of a profile, or param of the fragment",
    "description": "A value of the chosen profile, {{ values.name }}, or what a fragment is given, {{ params.name }}.",
}
_UNTOUCHED = ("value_stream", "use", "shared")
"""Keys whose value is read before any other is put in."""
_FREE_TEXT = (None, r"^[^\r\n]*$")

Schema = dict[str, Any]


def editor_schema(kind: str) -> Schema:
    """Return the JSON Schema (draft 2020-12) of a kind of file: template, calendar, profile, shared.

    :raises OrchestrationError: for another kind.
    """
    if kind not in KINDS:
        raise OrchestrationError(f"there is no schema of {kind!r}; use {', '.join(KINDS)}")
    return KINDS[kind]()


def calendar_schema() -> Schema:
    """Return the schema of a calendar."""
    schema = _strict(model_schema(CalendarFile))
    years = {"required": ["from", "to"]}
    _either(schema["$defs"]["Holidays"], "country", "market")
    schema |= {"if": {"required": ["extends"]}, "else": years}
    return _document("Calendar", "A business calendar: which days are worked.", schema)


def profile_schema() -> Schema:
    """Return the schema of a profile."""
    return _document("Profile", "The values of an environment.", _strict(model_schema(ProfileFile)))


def _template() -> Schema:
    schema = _strict(template_schema())
    kinds = schema["properties"]["steps"]["additionalProperties"]["anyOf"]
    definitions = schema["$defs"]
    loose, needed = _Loose(definitions), _needed(definitions)
    header = {key: value for key, value in schema["properties"].items() if key in STREAM_KEYS}
    wanted = {key: found for key, value in header.items() if (found := needed(value))}
    required = [key for key in schema["required"] if key in STREAM_KEYS]
    by_kind: Schema = {}
    for kind in kinds:
        (key,) = kind["required"]
        if key in step_types() or key in OWN_BODIES:
            body = {key: kind["properties"][key]} if key in OWN_BODIES else kind["properties"]
            found = {name: more for name, value in body.items() if (more := needed(value))}
            by_kind |= {key: {"properties": found}} if found else {}
            kind["properties"] |= {name: loose(value) for name, value in body.items()}
    schema["properties"] |= {key: loose(value) for key, value in header.items()}
    schema["required"] = [key for key in schema["required"] if key not in STREAM_KEYS]
    kinds.append(_using())
    steps = {"additionalProperties": {"dependentSchemas": by_kind}}
    schema |= {
        "if": {"not": {"required": ["use"]}},
        "then": {"required": required, "properties": {**wanted, "steps": steps}},
    }
    return _used_only(_with_values(schema, OF_A_PROFILE))


def _shared() -> Schema:
    template = _strict(template_schema())
    kinds = template["properties"]["steps"]["additionalProperties"]["anyOf"]
    schema = _strict(model_schema(SharedFile, SharedFragment))
    schema["$defs"] |= template["$defs"]
    loose = _Loose(schema["$defs"])
    by_key: dict[str, Any] = {kind["required"][0]: kind for kind in kinds}
    work = by_key[next(iter(step_types()))]["properties"]
    defaults: dict[str, Any] = {
        STEPS: _keys("All steps that do work.", {name: loose(work[name]) for name in STEPS_KEYS}),
        STREAM: _keys("The stream itself.", {name: loose(template["properties"][name]) for name in STREAM_KEYS}),
    }
    for key in OWN_BODIES:
        defaults[key] = _keys(f"Steps of the kind {key}.", loose(by_key[key]["properties"][key])["properties"])
    for key in step_types():
        own = by_key[key]["properties"]
        body = loose(own[key])["properties"]
        beside = {name: loose(own[name]) for name in WORK_KEYS if name in own}
        defaults[key] = _keys(f"Steps of the type {key}.", {**beside, **body})
    told = schema["properties"]["defaults"]
    schema["properties"]["defaults"] = {**_keys(told["description"], defaults)}
    for kind in kinds:
        kind["properties"] = {name: loose(value) for name, value in kind["properties"].items()}
    step = {"anyOf": [*kinds, _using()]}
    fragment = schema["$defs"]["SharedFragment"]["properties"]["steps"]
    fragment.pop("patternProperties", None)
    fragment |= {"propertyNames": {"pattern": ID_PATTERN}, "additionalProperties": _with_values(step, OF_A_FRAGMENT)}
    schema["minProperties"] = 2
    schema["properties"]["defaults"] = _with_values(schema["properties"]["defaults"], OF_A_PROFILE)
    schema["$defs"] = {
        name: value if name == "SharedFragment" else _with_values(value, OF_A_FRAGMENT)
        for name, value in schema["$defs"].items()
    }
    about = "Defaults and fragments for the templates that name the file under use:."
    return _used_only(_document("Shared file", about, schema))


KINDS: Mapping[str, Callable[[], Schema]] = {
    "template": _template,
    "calendar": calendar_schema,
    "profile": profile_schema,
    "shared": _shared,
}
"""The kinds of files that templates are made of."""


def using_schema() -> Schema:
    """Return the schema of a step that stands for a fragment, with its definitions."""
    schema: Schema = _strict(model_schema(UsingStep))
    schema |= {"title": "Fragment", "description": "The steps of a fragment of a shared file stand here."}
    return schema


def _using() -> Schema:
    schema = using_schema()
    use = schema.pop("$defs")["FragmentUse"]
    return {**schema, "properties": {**schema["properties"], "use": use}}


def _document(title: str, about: str, schema: Schema) -> Schema:
    return {"$schema": DRAFT, **schema, "title": title, "description": f"{about} For airflow_enterprise_orch."}


def _keys(about: str, properties: Mapping[str, Any]) -> Schema:
    return {"type": "object", "description": about, "properties": dict(properties), "additionalProperties": False}


def _either(schema: Schema, one: str, other: str) -> None:
    """Let exactly one of two keys be required, in a form that keeps both in one list of keys."""
    schema |= {"if": {"required": [other]}, "then": {"not": {"required": [one]}}, "else": {"required": [one]}}


# ------------------------------------------------------------------------------------------------ parts of a schema


def _strict(schema: Any) -> Any:
    """Leave out ``null``, which no key can have, and names that are none: whoever means nothing leaves the key out."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strict(value) for key, value in schema.items() if not (key == "default" and value is None)}
    some = found.get("anyOf")
    if isinstance(some, list) and {"type": "null"} in some:
        left = [one for one in some if one != {"type": "null"}]
        del found["anyOf"]
        found = {**left[0], **found} if len(left) == 1 else {"anyOf": left, **found}
    if "patternProperties" in found:
        found.setdefault("additionalProperties", False)
    return found


def _below(schema: Schema) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a schema that hold for what stands below names: the key, and what it holds."""
    for key in ("properties", "patternProperties"):
        if isinstance(schema.get(key), dict):
            yield key, schema[key]
    if isinstance(schema.get("additionalProperties"), dict):
        yield "additionalProperties", {"": schema["additionalProperties"]}


class _Loose:
    """Makes schemas of which nothing is required; what stands in lists stays as it is: lists are not put together."""

    def __init__(self, definitions: Schema) -> None:
        self._definitions = definitions

    def __call__(self, schema: Schema) -> Schema:
        found = {key: value for key, value in schema.items() if key not in ("required", "if", "then", "else")}
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if not name.endswith(WITH_DEFAULTS) and self._is_of_keys(name):
                found["$ref"] = f"#/$defs/{name}{WITH_DEFAULTS}"
                if f"{name}{WITH_DEFAULTS}" not in self._definitions:
                    self._definitions[f"{name}{WITH_DEFAULTS}"] = {}  # for one that refers to itself
                    self._definitions[f"{name}{WITH_DEFAULTS}"] = self(self._definitions[name])
        for key, named in _below(schema):
            below = {name: self(one) for name, one in named.items()}
            found[key] = below[""] if key == "additionalProperties" else below
        for key in ("anyOf", "oneOf"):
            if key in schema:
                found[key] = [self(one) for one in schema[key]]
        return found

    def _is_of_keys(self, name: str) -> bool:
        return bool(self._definitions[name].get("type") == "object")


def _needed(definitions: Schema, depth: int = 0) -> Callable[[Schema], Schema]:
    """Return what finds of a schema only what it requires, so that it can be asked for beside the loose one."""

    def needed(schema: Schema, depth: int = depth) -> Schema:
        if depth > 8:
            return {}
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rpartition("/")[2]]
        found: Schema = {key: schema[key] for key in ("required", "if", "then", "else") if key in schema}
        for key, named in _below(schema):
            below = {name: more for name, one in named.items() if (more := needed(one, depth + 1))}
            if below:
                found[key] = below[""] if key == "additionalProperties" else below
        return found

    return needed


def _with_values(schema: Any, reference: Mapping[str, Any]) -> Any:
    """Let a reference to a value stand wherever a single value or a list does."""
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    for key, named in _below(schema):
        below = {name: one if name in _UNTOUCHED else _value(one, reference) for name, one in named.items()}
        found[key] = below[""] if key == "additionalProperties" else below
    if isinstance(schema.get("items"), dict):
        found["items"] = _value(schema["items"], reference)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            found[key] = [_with_values(one, reference) for one in schema[key]]
    if "$defs" in schema:
        found["$defs"] = {name: _with_values(one, reference) for name, one in schema["$defs"].items()}
    return found


def _value(schema: Any, reference: Mapping[str, Any]) -> Any:
    """Return the schema of a value that a reference may stand for."""
    inside = _with_values(schema, reference)
    if not isinstance(schema, dict) or not _is_single(schema):
        return inside
    about = {key: inside.pop(key) for key in ("title", "description", "default") if key in inside}
    # One list of alternatives where there are some, so that an editor's help stays short.
    some = inside["anyOf"] if inside.keys() == {"anyOf"} else [inside]
    return {"anyOf": [*some, reference], **about}


def _is_single(schema: Schema) -> bool:
    """Tell whether a schema is of a single value or a list, and a text with Jinja is none of these by itself."""
    if "anyOf" in schema:
        return any(_is_single(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return True
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "string" in kinds:
        return schema.get("pattern") not in _FREE_TEXT or "format" in schema
    return bool({"integer", "number", "boolean", "array"} & set(kinds))


def _used_only(schema: Schema) -> Schema:
    """Leave out definitions that nothing refers to."""
    definitions = schema["$defs"]
    waiting = [*_references({key: value for key, value in schema.items() if key != "$defs"})]
    used: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            waiting += _references(definitions[name])
    return {**schema, "$defs": {name: definitions[name] for name in sorted(used)}}


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value.rpartition("/")[2]
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for one in schema:
            yield from _references(one)
