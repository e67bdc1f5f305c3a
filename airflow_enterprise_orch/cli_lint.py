"""``enterprise-orch lint``: which files it looks at, and what it says of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_enterprise_orch.errors import OrchestrationError, TemplateError
from airflow_enterprise_orch.value_stream.problems import Problem, problems_of
from airflow_enterprise_orch.value_stream.template_folder import (
    CALENDARS,
    CASES,
    PROFILE,
    SIDE,
    find_companions,
    find_side_files,
    find_templates,
    read_file,
)

if TYPE_CHECKING:
    from airflow_enterprise_orch.template_tools.lint import Hint
    from airflow_enterprise_orch.value_stream.model import ValueStream
    from airflow_enterprise_orch.value_stream.surroundings import Surroundings


def check(options: argparse.Namespace) -> int:
    """Check templates without Airflow: exit 0 when all are right, 1 when one is not, 2 when there is none to check.

    Warnings tell what is probably not meant; they count with --strict only.
    """
    from airflow_enterprise_orch.value_stream.neighbours import check_neighbours, duplicates

    files = list(dict.fromkeys(_files(options.paths)))
    calendars = [file for file in files if file.parent.name == CALENDARS]
    files = [file for file in files if file.parent.name != CALENDARS]
    problems: list[Problem] = []
    warnings: list[Hint] = []
    if calendars:
        from airflow_enterprise_orch.template_tools.timing import check_calendars

        problems, warnings = check_calendars(calendars, datetime.now(UTC).date())
    for file in dict.fromkeys(_side_files(options.paths)):
        problems.extend(_check_side_file(file))
    right: dict[Path, ValueStream] = {}
    for file in files:
        wrong, doubtful = _checked(file, right, options)
        problems.extend(problem for problem in wrong if problem not in problems)
        warnings.extend(doubtful)
    # What is wrong with a shared file is told once, however many templates use it.
    problems.extend(duplicates(files))
    problems.extend(check_neighbours(right))
    code = 1 if problems or (warnings and options.strict) else 0
    if options.format == "json":
        for problem in problems:
            print(json.dumps({"severity": "error", "rule": "", **problem.to_json()}, ensure_ascii=False))
        for hint in warnings:
            print(json.dumps({"severity": "warning", "rule": hint.rule, **hint.problem.to_json()}, ensure_ascii=False))
        return code
    say("".join(f"{line}\n" for line in (*problems, *warnings)))
    count = f"{len(files)} template{'' if len(files) == 1 else 's'}"
    if calendars:
        count += f" and {len(calendars)} calendar{'' if len(calendars) == 1 else 's'}"
    doubts = f", {len(warnings)} warning{'' if len(warnings) == 1 else 's'}" if warnings else ""
    if problems:
        broken = {problem.file for problem in problems}
        print(f"{count} checked, {len(broken)} with problems: {len(problems)} in all{doubts}", file=sys.stderr)
    else:
        print(f"{count} checked, no problems{doubts}", file=sys.stderr)
    return code


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = [file for _, file in find_templates(path)]
            if not found:
                raise OrchestrationError(f"{path}: there is no template in this folder; templates end in .yaml or .yml")
            yield from found
            yield from (file for _, file in find_companions(path))
        elif path.name.endswith(CASES):
            raise OrchestrationError(f"{path} holds cases and is no template; enterprise-orch test checks and runs it")
        elif path.exists():
            if not path.name.endswith(SIDE):
                yield path
        else:
            raise OrchestrationError(f"{path}: there is no such file or folder; check the path")


def _side_files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (file for _, file in find_side_files(path))
        elif path.name.endswith(SIDE):
            yield path


def _check_side_file(file: Path) -> tuple[Problem, ...]:
    """Check a profile or a shared file by itself, whether a template uses it or not."""
    from airflow_enterprise_orch.value_stream.mistakes import ours_if_unforeseen
    from airflow_enterprise_orch.value_stream.profiles import read_profile
    from airflow_enterprise_orch.value_stream.shared import read_shared

    ending = next(ending for ending in SIDE if file.name.endswith(ending))
    read = read_profile if ending in PROFILE else read_shared
    try:
        with ours_if_unforeseen(str(file)):
            read(read_file(file, str(file)), str(file), file.name.removesuffix(ending))
    except TemplateError as error:
        return problems_of(error)
    return ()


def _checked(
    file: Path, right: dict[Path, ValueStream], options: argparse.Namespace
) -> tuple[tuple[Problem, ...], list[Hint]]:
    """Return what is wrong with a template, or what is probably not meant; one that is right is put to the others.

    It is checked with the values of one profile, or of each that there is when it names any.
    """
    from airflow_enterprise_orch.template_tools.lint import hints
    from airflow_enterprise_orch.value_stream.mistakes import ours_if_unforeseen
    from airflow_enterprise_orch.value_stream.model import ValueStream

    problems: list[Problem] = []
    doubtful: list[Hint] = []
    every: tuple[str, ...] = ("",) if options.profile is None else (options.profile,)
    if options.profile is None:
        every = beside(file, options, "").known_profiles() or every
    for profile in every:
        around = beside(file, options, profile)
        try:
            right[file] = ValueStream.load(file, surroundings=around)
            with ours_if_unforeseen(str(file)):
                doubtful += hints(file, right[file])
        except TemplateError as error:
            problems += problems_of(error)
        if not around.values_wanted:
            break
    if problems:
        right.pop(file, None)
    return tuple(dict.fromkeys(problems)), [] if problems else list(dict.fromkeys(doubtful))


def beside(file: Path, options: argparse.Namespace, profile: str | None) -> Surroundings:
    """Return what lies beside a template, as Airflow would find it."""
    from airflow_enterprise_orch.value_stream.surroundings import Surroundings

    folders = [options.root] if options.root is not None else [*getattr(options, "paths", ()), Path()]
    root = next((one for one in folders if one.is_dir() and file.resolve().is_relative_to(one.resolve())), None)
    if root is None and options.root is not None:
        raise OrchestrationError(f"--root: {file} is not below {options.root}; name a folder above it")
    return Surroundings.on_disk(file, root, profile)


def say(text: str) -> None:
    """Print a text for people, also where the terminal cannot draw lines."""
    from airflow_enterprise_orch.template_tools.words import harmless

    text, encoding = harmless(text), sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        from airflow_enterprise_orch.template_tools.explain import to_ascii

        text = to_ascii(text).encode(encoding, "replace").decode(encoding)
    print(text, end="")
