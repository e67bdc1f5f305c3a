"""The reference of every key, made from the models that check templates: it cannot say anything else than they do.

One page for the stream, one for each step that Airflow itself does, one for each step type of an installed system,
those of third parties included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from airflow_enterprise_orch.delegation.system import step_types
from airflow_enterprise_orch.delegation.work import MEANING_KEY
from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.value_stream.model_types import DAY_PATTERN, DURATION_PATTERN, ID_PATTERN
from airflow_enterprise_orch.value_stream.schema import template_schema

STREAM = "value_stream"
INDEX = "README.md"
WRITE = "enterprise-orch reference --output docs/reference"
"""What makes the committed pages anew."""

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
_MADE = f"<!-- Made from the models by `{WRITE}`; change the models' descriptions, not this page. -->"
_TYPES = """\
An *id* is made of `a-z`, `0-9` and `_` and begins with a letter. A *duration* is written `90s`, `15m`, `2h`, `1d` or
`1h30m`, a *date* `2026-12-31`. A *line* is a text without line breaks. `<name>` stands for a name of your own, `[]` for
the entries of a list. What a text with Jinja must be holds for what it has become."""


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


@dataclass(frozen=True, slots=True)
class Entry:
    """One page's worth.

    :param name: ``value_stream``, or the step's key.
    :param example: a whole template that uses it; "" where whoever brings the step type gives none.
    """

    name: str
    title: str
    description: str
    keys: tuple[Key, ...]
    example: str

    def page(self) -> str:
        """Return it in Markdown."""
        head = f"# {self.title}" if self.name == STREAM else f"# `{self.name}`: {self.title}"
        example = f"## Example\n\n```yaml\n{self.example.rstrip()}\n```\n" if self.example else ""
        rows = "\n".join(
            f"| `{key.name}` | {' | '.join(map(_cell, (key.type, key.default, key.description, key.limits)))} |"
            for key in self.keys
        )
        table = f"## Keys\n\n| key | type | default | meaning | limits |\n|---|---|---|---|---|\n{rows}\n"
        parts = (_MADE, head, _cell(self.description), example, table, f"{_TYPES}\n")
        return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def entries() -> tuple[Entry, ...]:
    """Return the stream, the steps that Airflow itself does, and those of every installed system."""
    schema = template_schema()
    definitions = schema["$defs"]
    steps = schema["properties"].pop("steps")
    about = f"{schema['description']} Each step is explained on a page of its own."
    every_step = Key("steps", "steps by id", "required", steps["description"], "not empty")
    keys = (*_keys(schema, definitions), every_step)
    found = [Entry(STREAM, "The stream", about, keys, _own_example(STREAM))]
    kinds: dict[str, Any] = {kind["required"][0]: kind for kind in steps["additionalProperties"]["anyOf"]}
    for name in sorted(kinds, key=lambda name: ("." in name, name)):
        kind = kinds[name]
        body = _resolved(kind["properties"][name], definitions)
        about = body.get("description") or kind["description"]
        kind["properties"][name] = {**body, "description": about}
        found.append(Entry(name, kind["title"], about, tuple(_keys(kind, definitions)), _example(name)))
    return tuple(found)


def reference() -> dict[str, str]:
    """Return the pages: file name to Markdown."""
    everything = entries()
    pages = {f"{entry.name}.md": entry.page() for entry in everything}
    rows = "\n".join(
        f"| [`{entry.name}`]({entry.name}.md) | {entry.title} | {_cell(entry.description)} |"
        for entry in everything[1:]
    )
    about = (
        "Every key of a template, as the models that check templates have it. "
        "[Writing a value-stream template](../templates.md) explains how they work together."
    )
    pages[INDEX] = (
        f"{_MADE}\n\n# Reference\n\n{about}\n\n[The stream]({STREAM}.md): all keys but those of the steps.\n\n"
        f"| step | | |\n|---|---|---|\n{rows}\n"
    )
    return dict(sorted(pages.items()))


def stale(folder: Path) -> list[str]:
    """Return the names of the pages in ``folder`` that are not what the models make, missing and needless ones too."""
    made = reference()
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    return sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))


def write(folder: Path) -> list[str]:
    """Write all pages into ``folder`` and remove those that nothing makes any more; return the names that changed."""
    changed = stale(folder)
    made = reference()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in changed:
            path = folder / name
            if name in made:
                path.write_text(made[name], encoding="utf-8", newline="\n")
            elif _MADE in path.read_text(encoding="utf-8"):
                path.unlink()
            else:
                raise OrchestrationError(f"{path} is no page of the reference; choose a folder of its own")
    except OSError as error:
        raise OrchestrationError(f"{folder} cannot be written: {error.strerror}; check the path") from error
    return changed


def _example(name: str) -> str:
    if name in step_types():
        return step_types()[name][1].example_text()
    return _own_example(name)


def _own_example(name: str) -> str:
    return files("airflow_enterprise_orch.value_stream").joinpath("examples", f"{name}.yaml").read_text("utf-8")


def _keys(schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[Key]:
    """Yield the keys below ``schema``, each followed by those below it."""
    if depth > _MAX_DEPTH:
        raise OrchestrationError(f"the keys below {prefix} never end; give the model a schema without a circle")
    schema = _resolved(schema, definitions)
    forms = _alternatives(schema, definitions)
    needed = "required" if len(forms) == 1 else "required in this form"
    for some in forms:
        if "items" in some:
            yield from _keys(some["items"], definitions, f"{prefix}[]", depth + 1)
        if (named := _by_name(some)) is not None:
            yield from _keys(named, definitions, f"{prefix}.<name>", depth + 1)
        for name, field in some.get("properties", {}).items():
            where = f"{prefix}.{name}".removeprefix(".")
            default = needed if name in some.get("required", ()) else _default(field)
            about = field.get("description") or _resolved(field, definitions).get("description", "")
            yield Key(where, _type(field, definitions), default, about, _limits(field, definitions))
            yield from _keys(field, definitions, where, depth + 1)


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow references, and leave out ``null``: no key of a template can have nothing as its value."""
    while "$ref" in schema:
        own = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **own}
    some = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(some) == 1:
        own = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**_resolved(some[0], definitions), **own}
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
        for one in _alternatives(_resolved(part, definitions), definitions)
    ]


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    schema = _resolved(schema, definitions)
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
    schema = _resolved(schema, definitions)
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


def _cell(text: str) -> str:
    """Return a text for a table: as Markdown, with nothing that a browser would take for HTML outside of code."""
    text = " ".join(text.split()).replace("``", "`").replace("|", "\\|")
    parts = text.split("`")
    return "`".join(part if number % 2 else part.replace("<", "\\<") for number, part in enumerate(parts))
