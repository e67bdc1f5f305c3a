"""The reference of every key, made from the models that check templates: it cannot say anything else than they do.

One page for the stream, one for each kind of file beside it, one for what every step has and one for what every step
that does work has; one for each step that Airflow itself does, and one for each step type of an installed system, those
of third parties included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_enterprise_orch.delegation.system import example_files, step_types
from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.template_tools.cases import cases_schema
from airflow_enterprise_orch.template_tools.reference_keys import Key, keys_of, resolved
from airflow_enterprise_orch.value_stream.calendars import CalendarFile
from airflow_enterprise_orch.value_stream.editor_schema import using_schema
from airflow_enterprise_orch.value_stream.notes import COMMON_KEYS
from airflow_enterprise_orch.value_stream.reading import DELEGATED_KEYS
from airflow_enterprise_orch.value_stream.schema import model_schema, template_schema
from airflow_enterprise_orch.value_stream.shared import OWN_BODIES, STEPS
from airflow_enterprise_orch.value_stream.shared import STREAM as STREAM_DEFAULTS
from airflow_enterprise_orch.value_stream.side_models import ProfileFile, SharedFile

STREAM = "value_stream"
STEP, WORK, USE = "step", "work", "use"
"""The pages of what every step has, of what every step that does work has, and of a step that uses a fragment."""
FILES = ("calendar", "profile", "shared", "cases")
"""The pages of the files beside a template."""
INDEX = "README.md"
WRITE = "enterprise-orch reference --output docs/reference"
"""What makes the committed pages anew."""

_MADE = f"<!-- Made from the models by `{WRITE}`; change the models' descriptions, not this page. -->"
_TYPES = """\
An *id* is made of `a-z`, `0-9` and `_` and begins with a letter. A *duration* is written `90s`, `15m`, `2h`, `1d` or
`1h30m`, a *date* `2026-12-31`. A *line* is a text without line breaks. `<name>` stands for a name of your own, `[]` for
the entries of a list. What a text with Jinja must be holds for what it has become."""
_FENCES = {".csv": "csv"}
_PACKAGE = "airflow_enterprise_orch.value_stream"


@dataclass(frozen=True, slots=True)
class Entry:
    """One page's worth.

    :param name: ``value_stream``, the kind of a file, or the step's key.
    :param head: the page's heading.
    :param examples: whole templates that use it, and what lies beside them: path to text; empty where whoever brings
        the step type gives none.
    :param more: where other keys stand that have a place there too; Markdown.
    """

    name: str
    title: str
    description: str
    keys: tuple[Key, ...]
    examples: Mapping[str, str] = field(default_factory=dict)
    head: str = ""
    more: str = ""

    def page(self) -> str:
        """Return it in Markdown."""
        rows = "\n".join(
            f"| `{key.name}` | {' | '.join(map(_cell, (key.type, key.default, key.description, key.limits)))} |"
            for key in self.keys
        )
        table = f"## Keys\n\n| key | type | default | meaning | limits |\n|---|---|---|---|---|\n{rows}\n"
        head = f"# {self.head or f'`{self.name}`: {self.title}'}"
        parts = (_MADE, head, _cell(self.description), self._shown(), table, self.more, f"{_TYPES}\n")
        return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"

    def _shown(self) -> str:
        blocks = []
        for path, text in self.examples.items():
            fence = _FENCES.get(Path(path).suffix, "yaml")
            named = f"`{path}`:\n\n" if len(self.examples) > 1 else ""
            blocks.append(f"{named}```{fence}\n{text.rstrip()}\n```")
        title = "## Example" if len(blocks) == 1 else "## Examples"
        return "\n\n".join([title, *blocks]) if blocks else ""


def entries() -> tuple[Entry, ...]:
    """Return the stream, the files beside it, what all steps have, the own steps, and those of every system."""
    schema = template_schema()
    definitions = schema["$defs"]
    steps = schema["properties"].pop("steps")
    about = f"{schema['description']} Each step is explained on a page of its own."
    every_step = Key("steps", "steps by id", "required", steps["description"], "not empty")
    keys = (*keys_of(schema, definitions), every_step)
    kinds: dict[str, Any] = {kind["required"][0]: kind for kind in steps["additionalProperties"]["anyOf"]}
    found = [
        Entry(STREAM, "The stream", about, keys, _own_examples(STREAM), "The stream"),
        *_files(),
        _every_step(kinds, definitions),
        _every_work(kinds, definitions),
    ]
    kinds[USE] = using_schema()
    definitions |= kinds[USE]["$defs"]
    ordered = sorted(kinds, key=lambda name: ("." in name, name))
    return (*found, *(_step(name, kinds[name], definitions) for name in ordered))


def _files() -> Iterator[Entry]:
    """Yield the pages of the files beside a template."""
    schemas = {
        "calendar": ("A calendar", "`calendars/NAME.yaml`", model_schema(CalendarFile)),
        "profile": ("A profile", "`NAME.profile.yaml`", model_schema(ProfileFile)),
        "shared": ("A shared file", "`NAME.shared.yaml`", model_schema(SharedFile)),
        "cases": ("The cases of a template", "`STREAM.cases.yaml`", cases_schema()),
    }
    abouts = {
        "calendar": "Which days are worked, for the schedules that name it.",
        "profile": "The values of an environment: what `{{ values.name }}` in a template stands for there.",
        "shared": "Defaults and fragments for the templates that name the file under `use:`.",
        "cases": "Instances to try with `enterprise-orch test`, and the paths that they must take.",
    }
    for name, (head, file, schema) in schemas.items():
        keys = tuple(keys_of(schema, schema["$defs"]))
        if name == "shared":
            keys = tuple(_shared_keys(keys))
        about = f"{abouts[name]} The file is {file} beside the templates, or in a folder above them."
        if name == "cases":
            about = f"{abouts[name]} The file is {file} beside the template."
        yield Entry(name, head, about, keys, _own_examples(name), head)


def _shared_keys(keys: tuple[Key, ...]) -> Iterator[Key]:
    """Yield the keys of a shared file; what may stand below them is what may stand in a template."""
    kinds = (
        (STEPS, "What every step that does work says: its keys beside the work, but outputs."),
        (STREAM_DEFAULTS, "What the stream says: business, schedule, due, alerts, limits, priority, tags."),
        *((kind, f"What every step of the kind {kind} says.") for kind in OWN_BODIES),
        ("<step type>", "What every step of the type says: connection, the keys of its work, and those beside it."),
    )
    for key in keys:
        if key.name.startswith("fragments.<name>.params."):
            continue
        yield key
        if key.name == "defaults":
            for name, about in kinds:
                yield Key(f"defaults.{name}", "keys", "", about, "")


def _every_step(kinds: Mapping[str, Any], definitions: Mapping[str, Any]) -> Entry:
    own = next(iter(kinds.values()))["properties"]
    schema = {"type": "object", "properties": {name: own[name] for name in COMMON_KEYS}}
    about = "What every step can say, whatever it does."
    return Entry(STEP, "Every step", about, tuple(keys_of(schema, definitions)), _own_examples(STEP), "Every step")


def _every_work(kinds: Mapping[str, Any], definitions: Mapping[str, Any]) -> Entry:
    name, (_, step) = next(iter(step_types().items()))
    own = kinds[name]["properties"]
    outputs = own["outputs"]
    model = {**outputs["additionalProperties"], "properties": dict(outputs["additionalProperties"]["properties"])}
    # Every system has its own word for where a value stands: it is told on the step's own page.
    del model["properties"][step.output_key]
    properties = {name: own[name] for name in DELEGATED_KEYS} | {"outputs": {**outputs, "additionalProperties": model}}
    about = "What every step of a connected system can say beside its work."
    keys = tuple(keys_of({"type": "object", "properties": properties}, definitions))
    return Entry(WORK, "Every step that does work", about, keys, _own_examples(WORK), "Every step that does work")


def _step(name: str, kind: Mapping[str, Any], definitions: Mapping[str, Any]) -> Entry:
    body = resolved(kind["properties"][name], definitions)
    about = body.get("description") or kind["description"]
    properties = {name: {**body, "description": about}}
    more = f"Beside it: [what every step can say]({STEP}.md)."
    if name in step_types():
        step = step_types()[name][1]
        outputs = kind["properties"]["outputs"]
        model = outputs["additionalProperties"]
        source = {**model, "properties": {step.output_key: model["properties"][step.output_key]}}
        properties["outputs"] = {**outputs, "additionalProperties": source}
        more = (
            f"Beside it: [what every step can say]({STEP}.md), and [what every step that does work can say]({WORK}.md)."
        )
    else:
        common = () if name == USE else COMMON_KEYS
        properties |= {key: one for key, one in kind["properties"].items() if key != name and key not in common}
        more = "" if name == USE else more
    schema = {**kind, "properties": properties}
    examples = step_types()[name][1].examples() if name in step_types() else _own_examples(name)
    return Entry(name, kind["title"], about, tuple(keys_of(schema, definitions)), examples, more=more)


def reference() -> dict[str, str]:
    """Return the pages: file name to Markdown."""
    everything = {entry.name: entry for entry in entries()}
    pages = {f"{name}.md": entry.page() for name, entry in everything.items()}
    about = (
        "Every key of a template, as the models that check templates have it. "
        "[Writing a value-stream template](../templates.md) explains how they work together."
    )
    general = (STREAM, STEP, WORK, *FILES)
    rows = [
        "\n".join(
            f"| [{everything[name].head or f'`{name}`'}]({name}.md) |{mid} {_cell(everything[name].description)} |"
            for name, mid in names
        )
        for names in (
            [(name, "") for name in general],
            [(name, f" {entry.title} |") for name, entry in everything.items() if name not in general],
        )
    ]
    pages[INDEX] = (
        f"{_MADE}\n\n# Reference\n\n{about}\n\n| page | |\n|---|---|\n{rows[0]}\n\n"
        f"| step | | |\n|---|---|---|\n{rows[1]}\n"
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


def _own_examples(name: str) -> dict[str, str]:
    return example_files(_PACKAGE, f"examples/{name}.yaml")


def _cell(text: str) -> str:
    """Return a text for a table: as Markdown, with nothing that a browser would take for HTML outside of code."""
    text = " ".join(text.split()).replace("``", "`").replace("|", "\\|")
    parts = text.split("`")
    return "`".join(part if number % 2 else part.replace("<", "\\<") for number, part in enumerate(parts))
