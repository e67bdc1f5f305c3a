"""Which files of a folder are templates, and which value stream each declares; reads text, understands no more."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.problems import Problem, one_line, template_error

log = logging.getLogger(__name__)

SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 512 * 1024
"""How large a template, a profile or a shared file may be."""
CASES = (".cases.yaml", ".cases.yml")
"""How the name of a file ends that holds a template's cases (``enterprise-orch test``): YAML, but no template."""
PROFILE = (".profile.yaml", ".profile.yml")
"""How the name of a file ends that holds the values of an environment: YAML, but no template."""
SHARED = (".shared.yaml", ".shared.yml")
"""How the name of a file ends that holds defaults and fragments for several templates: YAML, but no template."""
SIDE = (*PROFILE, *SHARED)
CALENDARS = "calendars"
"""The folder beside the templates that holds business calendars: YAML, but no templates."""

NAMED = (".csv", ".j2")
"""How the names of the files end that templates name: the rows of a decision table, the text of a certificate."""
_NAMED = re.compile(rb"[A-Za-z0-9_./-]*\.(?:csv|j2)")

# A top-level key: in valid YAML nothing else can begin a line like this, since nested text is indented.
_DECLARATION = re.compile(
    rb"""^(["']?)value_stream\1[ \t]*:[ \t]*(["']?)([a-z][a-z0-9_]{0,99})\2[ \t]*(?:#.*)?\r?$""", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """One template as it lies there, not checked.

    :param name: its path below the folder, with forward slashes; the name in messages.
    :param text: no more of it than needed to see that it is too large.
    :param stream: the id that it declares; "" where none can be read.
    :param unreadable: why nobody can read it, as its message; "" for a file that was read.
    """

    name: str
    text: bytes
    stream: str
    unreadable: str = ""


def read_file(path: Path, name: str) -> bytes:
    """Return what a file holds, up to a little more than a template may have.

    :param name: what messages call it.
    :raises TemplateError: when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 4)
    except OSError as error:
        what = f"the file cannot be read ({error.strerror or type(error).__name__})"
        raise template_error([Problem(name, 1, 1, "template", what, "", "check path and permissions")]) from error


def declared_stream(text: bytes) -> str:
    """Return the value stream's id that a template's text declares; "" where there is none, or more than one."""
    found = _DECLARATION.findall(text)
    return found[0][2].decode() if len(found) == 1 else ""


def find_templates(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each template below ``folder``, sorted by name.

    Files and folders whose name begins with ``.`` or ``_`` are left out, and so are calendars, files of cases, profiles
    and shared files.
    """
    for name, path in _yaml_files(folder):
        if not path.name.endswith((*CASES, *SIDE)):
            yield name, path


def find_side_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each profile and each shared file below ``folder``, sorted by name."""
    for name, path in _yaml_files(folder):
        if path.name.endswith(SIDE):
            yield name, path


def _yaml_files(folder: Path) -> list[tuple[str, Path]]:
    found = []
    for path in folder.rglob("*"):
        if path.suffix not in SUFFIXES:
            continue
        name = PurePosixPath(path.relative_to(folder))
        hidden = any(part.startswith((".", "_")) for part in name.parts)
        if not hidden and CALENDARS not in name.parts[:-1] and path.is_file():
            found.append((str(name), path))
    return sorted(found)


def read_templates(folder: Path) -> tuple[TemplateFile, ...]:
    """Read every template below ``folder``, sorted by name."""
    read = []
    for name, path in find_templates(folder):
        try:
            text = read_file(path, name)
        except TemplateError as error:
            read.append(TemplateFile(name, b"", "", str(error)))
        else:
            read.append(TemplateFile(name, text, declared_stream(text)))
    return tuple(read)


def find_companions(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each file below ``folder`` that templates refer to: calendars; sorted by name."""
    found = []
    for path in folder.rglob(f"{CALENDARS}/*"):
        name = PurePosixPath(path.relative_to(folder))
        hidden = any(part.startswith((".", "_")) for part in name.parts)
        if not hidden and path.suffix in SUFFIXES and path.is_file():
            found.append((str(name), path))
    yield from sorted(found)


def read_companions(folder: Path) -> tuple[tuple[str, bytes], ...]:
    """Read every file that :func:`find_companions` finds; one that cannot be read is as if it were not there."""
    return tuple(_readable(find_companions(folder)))


def read_named(folder: Path, texts: Iterable[bytes]) -> tuple[tuple[str, bytes], ...]:
    """Read every table and text below ``folder`` that one of these texts may name: path below it and content, sorted.

    A text that only ends a name (``{{ values.market }}.csv``) may name any. What a link brings from another place is
    left out, and of a file that is too large only so much is read that this shows.
    """
    found = []
    for path in (path for suffix in NAMED for path in folder.rglob(f"*{suffix}")):
        name = PurePosixPath(path.relative_to(folder))
        hidden = any(part.startswith((".", "_")) for part in name.parts)
        if not hidden and path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            found.append((str(name), path))
    if not found:
        return ()
    ends = tuple({named.decode() for text in texts for named in _NAMED.findall(text)})
    return tuple(_readable(one for one in sorted(found) if one[0].endswith(ends)))


def read_side_files(folder: Path) -> Mapping[str, bytes]:
    """Read every profile and every shared file below ``folder``: path below it to content, sorted.

    One that cannot be read is as if it were not there.
    """
    return dict(_readable(find_side_files(folder)))


def _readable(files: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, bytes]]:
    for name, path in files:
        try:
            yield name, read_file(path, name)
        except TemplateError as error:
            # Who uses it is told that there is no such file; the others do not care.
            log.warning("left out: %s", error)


def within_reach(template: str, side_files: Iterable[str]) -> list[str]:
    """Return those of some profiles and shared files that a template may use: beside it or in a folder above it."""
    above = PurePosixPath(template).parents
    return [name for name in side_files if PurePosixPath(name).parent in above]


def by_stream(templates: tuple[TemplateFile, ...]) -> Mapping[str, tuple[TemplateFile, ...]]:
    """Group the templates by the stream that they declare; more than one in a group is a mistake."""
    groups: dict[str, tuple[TemplateFile, ...]] = {}
    for template in templates:
        if template.stream:
            groups[template.stream] = (*groups.get(template.stream, ()), template)
    return groups


def duplicate_message(template: TemplateFile, group: tuple[TemplateFile, ...]) -> str:
    """Say that several files declare one stream, as the import error of ``template``."""
    match = _DECLARATION.search(template.text)
    line = template.text[: match.start()].count(b"\n") + 1 if match else 1
    others = ", ".join(one_line(other.name) for other in group if other is not template)
    return (
        f"{one_line(template.name)}:{line}:1 value_stream: {template.stream!r} is also declared by {others}; "
        "give each file a value stream of its own, or remove all but one"
    )
