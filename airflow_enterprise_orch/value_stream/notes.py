"""What is wrong with a template, noted while it is read: with places, and all of it at once."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from airflow_enterprise_orch.value_stream.draft import Link
from airflow_enterprise_orch.value_stream.messages import translate, unknown_key
from airflow_enterprise_orch.value_stream.problems import Path, Problem, ProblemList
from airflow_enterprise_orch.value_stream.yaml_source import Document

RESERVED = frozenset({
    "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
    "namespace", "null", "package", "return", "true", "var", "void", "while",
})  # fmt: skip
"""CEL's words (language definition, "Syntax"): no id can be one of them, because conditions could not name it."""


COMPENSATE_KEYS = ("outcome", "retry", "time_limit", "resource")
"""What the work that undoes a step can say beside itself."""
COMMON_KEYS = ("title", "after", "group", "priority", "due", "restart")
"""What every step may have."""


class Notes:
    """What was found wrong with one document so far.

    :ivar problems: all of it.
    :ivar meant: the keys that a misspelt one probably stands for; they are not missing as well.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems = ProblemList()
        self.problems.extend(document.problems)
        self.meant: set[Path] = set()

    def validate(
        self,
        model: type[BaseModel],
        data: Mapping[str, Any],
        places: Mapping[str, Path],
        default: Path,
        extra_keys: Iterable[str] = (),
    ) -> Any:
        """Return an instance of ``model``, or None after noting what is wrong."""
        try:
            return model.model_validate(data)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            self.problems.extend(translate(self.document, model, errors, places, default, self.meant, extra_keys))
        except RecursionError:
            self.add(default, "nests too deeply", "make it flatter")
        return None

    def add(self, path: Path, what: str, remedy: str, *, suggestion: str = "", key: bool = False) -> None:
        """Note one thing that is wrong; see :meth:`Document.problem`."""
        self.problems.append(self.document.problem(path, what, remedy, suggestion=suggestion, key=key))

    def is_news(self, problem: Problem) -> bool:
        """Say no to what only follows from a tag or an alias that was refused already."""
        if problem in self.document.problems:
            return True
        parts = problem.where.replace("[", ".[").split(".")
        parents = {".".join(parts[:end]).replace(".[", "[") for end in range(1, len(parts) + 1)}
        return not parents & self.document.unreadable

    def check_id(self, path: Path, what: str) -> None:
        """Note it when the key at ``path`` is a word that conditions reserve; ``what`` it names."""
        name = str(path[-1])
        if name in RESERVED or keyword.iskeyword(name):
            self.add(path, f"{name!r} is a reserved word", f"choose another name for the {what}", key=True)

    def unknown_keys(self, path: Path, raw: Mapping[str, Any], known: Iterable[str], below: Mapping[str, str]) -> bool:
        """Note the keys that ``raw`` must not have; ``below`` says where those belong that stand too high."""
        known, clean = tuple(known), True
        for key in raw:
            if key not in known:
                remedy = f"move it below {below[key]}" if key in below else ""
                problem = unknown_key(self.document, (*path, key), known, remedy)
                self.problems.append(problem)
                self.meant.add((*path, problem.suggestion))
                clean = False
        return clean


def links(path: Path, raw: Any) -> list[Link]:
    """Return the step names below ``path``, as far as they are names."""
    if isinstance(raw, str):
        return [(path, raw)]
    if not isinstance(raw, list):
        return []
    return [((*path, index), name) for index, name in enumerate(raw) if isinstance(name, str)]
