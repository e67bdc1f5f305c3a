"""What is wrong with a template, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from airflow_enterprise_orch.errors import TemplateError

Path = tuple[str | int, ...]
"""Where something stands in a template: ``("steps", "route", "branch", 0, "when")``."""


def dotted(path: Path) -> str:
    """Return a path as people write it: ``steps.route.branch[0].when``; the whole template is ``template``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "template"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a template.

    :param file: the file's name as the author knows it.
    :param line: from 1.
    :param column: from 1.
    :param where: the dotted path of the key: ``steps.route.branch[0].when``.
    :param what: what is wrong.
    :param suggestion: what was probably meant, or "".
    :param remedy: what to do.
    """

    file: str
    line: int
    column: int
    where: str
    what: str
    suggestion: str
    remedy: str

    def __str__(self) -> str:
        hint = f"did you mean {self.suggestion!r}" if self.suggestion else ""
        text = ", ".join(part for part in (self.what, hint, self.remedy) if part)
        return one_line(f"{self.file}:{self.line}:{self.column} {self.where}: {text}")

    def to_json(self) -> dict[str, str | int]:
        """Return it for tools."""
        return {**asdict(self), "file": one_line(self.file)}


def one_line(text: str) -> str:
    """Return a text in one line that every terminal and every database takes.

    A file's name can hold line breaks, and bytes that are no text at all; these are written as escapes.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode("ascii") for one in text
    )


MAX_PROBLEMS = 100
"""How many problems of one template are told: nobody corrects more at once, and each one costs time to explain."""


class TooMany(TemplateError):
    """There are as many problems as are told; the rest is not looked for."""


def too_many(problems: Iterable[Problem]) -> Problem:
    """Return what is told last where there are enough problems."""
    last = max(problems, key=lambda one: (one.line, one.column))
    what = f"there are {MAX_PROBLEMS} problems or more, and no others are looked for"
    return Problem(last.file, last.line, last.column, "template", what, "", "correct these first")


class ProblemList(list[Problem]):
    """The problems of one template; it ends the search when there are enough."""

    def append(self, problem: Problem) -> None:
        """Add one; :raises TooMany: when there are enough."""
        super().append(problem)
        if len(self) >= MAX_PROBLEMS:
            super().append(too_many(self))
            found = template_error(self)
            raise TooMany(str(found), found.problems)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add several, and look for no more than needed."""
        for problem in problems:
            self.append(problem)


def template_error(problems: Iterable[Problem]) -> TemplateError:
    """Return the exception that carries ``problems``, each once, sorted by file and position."""
    ordered = sorted(
        dict.fromkeys(problems),
        key=lambda problem: (problem.file, problem.line, problem.column, problem.where, problem.what),
    )
    return TemplateError("\n".join(map(str, ordered)), ordered)


MAX_GUESSED = 200
"""Longer words are not compared with others: that takes long, and helps nobody."""


_NOT_MEANT = {("retry", "restart")}
"""Words that look alike and that nobody takes for one another: both are keys, of different steps."""


def closest(word: str, known: Iterable[str]) -> str:
    """Return what was probably meant by ``word``, or ""."""
    if len(word) > MAX_GUESSED:
        return ""
    candidates = sorted(candidate for candidate in known if (word, candidate) not in _NOT_MEANT)
    longer = [candidate for candidate in candidates if len(word) >= 3 and candidate.startswith(word)]
    if len(longer) == 1:
        return longer[0]
    found = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    if not found:
        lowered = {candidate.lower(): candidate for candidate in reversed(candidates)}
        found = [lowered[word.lower()]] if word.lower() in lowered else []
    return found[0] if found else ""


def listed(words: Sequence[str], last: str = "and") -> str:
    """Join words for people: ``a, b and c``."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)


def problems_of(error: TemplateError) -> tuple[Problem, ...]:
    """Return what an exception of :func:`template_error` carries."""
    return tuple(problem for problem in error.problems if isinstance(problem, Problem))
