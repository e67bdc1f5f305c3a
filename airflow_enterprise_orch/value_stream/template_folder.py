"""Which files of a folder are templates, and which value stream each declares; reads text, understands no more."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
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
HIDDEN = (".", "_")
"""How the name of a file or a folder begins that is left out."""
CALENDARS = "calendars"
"""The folder beside the templates that holds business calendars: YAML, but no templates."""

NAMED = (".csv", ".j2")
"""How the names of the files end that templates name: the rows of a decision table, the text of a certificate."""
_NAMED = re.compile(rb"[A-Za-z0-9_./-]*\.(?:csv|j2)")

# A top-level key: in valid YAML nothing else can begin a line like this, since nested text is indented.
_KEY = b"value_stream"
_NEWLINE = ord("\n")
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
    found, at = [], text.find(_KEY)
    while at >= 0:  # an expression that looks for the beginning of each line took ten times as long
        begins = at - (text[at - 1 : at] in (b"'", b'"'))
        if (begins == 0 or text[begins - 1] == _NEWLINE) and (match := _DECLARATION.match(text, begins)):
            found.append(match[3].decode())
        at = text.find(_KEY, at + 1)
    return found[0] if len(found) == 1 else ""


def find_templates(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each template below ``folder``, sorted by name.

    Files and folders whose name begins with ``.`` or ``_`` are left out, and so are calendars, files of cases, profiles
    and shared files.
    """
    for name, path in _files(folder, SUFFIXES):
        if not name.endswith((*CASES, *SIDE)) and CALENDARS not in name.split("/")[:-1]:
            yield name, path


def find_side_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each profile and each shared file below ``folder``, sorted by name."""
    for name, path in _files(folder, SIDE):
        if CALENDARS not in name.split("/")[:-1]:
            yield name, path


def _files(folder: Path, endings: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Return the path below ``folder``, and the path, of each file whose name ends so, sorted.

    What begins with ``.`` or ``_``, and what lies in a folder that does, is left out. A folder that is a link to
    another place is not looked into.
    """
    found: list[tuple[str, Path]] = []
    # A bundle looks again every few seconds, and a folder may hold thousands: no Path of what is left out.
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(HIDDEN)]
        found += _chosen(folder, place, names, endings)
    return sorted(found)


def _chosen(folder: Path, place: str, names: Iterable[str], endings: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Yield those of some names in ``place`` that end so and are files: path below ``folder``, and path."""
    below = os.path.relpath(place, folder).replace(os.sep, "/")
    for name in names:
        if name.endswith(endings) and not name.startswith(HIDDEN):
            path = Path(place, name)
            if path.is_file():
                yield name if below == "." else f"{below}/{name}", path


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
    found: list[tuple[str, Path]] = []
    for place, folders, _ in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(HIDDEN)]
        if CALENDARS in folders:  # also where it is a link to those of other folders
            calendars = os.path.join(place, CALENDARS)  # noqa: PTH118
            # One that nobody may read has none, as with the other folders.
            _, _, names = next(os.walk(calendars), (calendars, [], []))
            found += _chosen(folder, calendars, names, SUFFIXES)
    yield from sorted(found)


def read_companions(folder: Path) -> tuple[tuple[str, bytes], ...]:
    """Read every file that :func:`find_companions` finds; one that cannot be read is as if it were not there."""
    return tuple(_readable(find_companions(folder)))


def read_named(folder: Path, texts: Iterable[bytes]) -> tuple[tuple[str, bytes], ...]:
    """Read every table and text below ``folder`` that one of these texts may name: path below it and content, sorted.

    A text that only ends a name (``{{ values.market }}.csv``) may name any. What a link brings from another place is
    left out, and of a file that is too large only so much is read that this shows.
    """
    found = [one for one in _files(folder, NAMED) if one[1].resolve().is_relative_to(folder.resolve())]
    if not found:
        return ()
    ends = tuple({named.decode() for text in texts for named in _NAMED.findall(text)})
    return tuple(_readable(one for one in found if one[0].endswith(ends)))


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


def within_reach(template: str, side_files: Collection[str]) -> list[str]:
    """Return those of some profiles and shared files that a template may use: beside it or in a folder above it."""
    if not side_files:
        return []
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
