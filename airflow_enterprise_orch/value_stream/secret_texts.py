"""Secrets written into a template: what is one for certain, and what looks like one. Never repeats what it found.

Certain are the formats that their makers gave secrets so that they can be found in texts; a template with one is
refused. The rest is a hint of ``enterprise-orch lint``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from airflow_enterprise_orch.value_stream.problems import Path, Problem, dotted
from airflow_enterprise_orch.value_stream.yaml_source import Document

REMEDY = "remove it, change it where it is valid, and put it into an Airflow connection"

_CERTAIN: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")),
    ("a key of AWS", re.compile(r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b")),
    ("a token of GitHub", re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b|\bgithub_pat_[A-Za-z0-9_]{60,255}\b")),
    ("a token of GitLab", re.compile(r"\bglpat-[A-Za-z0-9_-]{20,64}\b")),
    ("a token of Slack", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{20,250}\b")),
    ("a webhook of Slack", re.compile(r"https://hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{16,}")),
    ("a key of Google", re.compile(r"\bAIza[A-Za-z0-9_-]{35}\b")),
    ("a key of Stripe", re.compile(r"\b[rs]k_live_[A-Za-z0-9]{20,250}\b")),
    (
        "a signed token (JWT)",
        re.compile(r"(?<![A-Za-z0-9_.-])eyJ[A-Za-z0-9_-]{10,2000}+\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,1000}"),
    ),
)
_BEGINNINGS = (
    *("-----BEGIN", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    *("glpat-", "xox", "hooks.slack", "AIza", "k_live_", "eyJ"),
)
"""What each of these holds unbroken, one of them."""
SHORTEST = 20
"""Characters of the shortest of these: a key of AWS."""
_EXAMPLE = re.compile(r"EXAMPLE|example")
_MARKER = (
    r"passw(?:or)?d|passwort|passphrase|pwd|secret|api[_-]?key|access[_-]?key|auth[_-]?token|private[_-]?key|token"
)
_KEY = re.compile(rf"(?:^|[_.-])(?:{_MARKER})$|^(?:{_MARKER})(?!.*(?:file|path|name|id|ref)$)", re.IGNORECASE)
# What follows a marker: no variable of a shell or of Windows, no Jinja, no placeholder, no type or empty text.
_GIVEN = re.compile(
    rf"(?:{_MARKER})[\"']?\s{{0,3}}[=:]\s{{0,3}}([\"']?)([^\s\"'$%<{{*&][^\s\"'&;]{{3,200}})\1", re.IGNORECASE
)
_IN_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@{$%<]{1,100}:([^\s/:@{$%<*]{3,200})@")
_MARKED = re.compile(rf"\b(?:{_MARKER}|bearer|basic|key)\b", re.IGNORECASE)
_LONG = re.compile(r"[A-Za-z0-9+/=_-]{32,200}")
_ENTROPY = 4.3
"""Bits a character: of random base64 of this length; hexadecimal digests and words have less."""


def refuse_secrets(document: Document) -> None:
    """Note every certain secret as a problem of the document, and that nothing else is to be said about that text."""
    file = "\n".join(document.lines)
    # Only an escape can write a letter in another way than itself; few templates need to be looked at text by text.
    if "\\" not in file and not any(beginning in file for beginning in _BEGINNINGS):
        return
    for path, text in _texts(document.data):
        if found := _certain(text):
            what, start = found
            at = document.inside(path, *_place(text, start))
            document.problems.append(document.problem(path, f"this is {what}", REMEDY, at=at))
            document.unreadable.add(dotted(path))
    for path in document.keys:
        if isinstance(path[-1], str) and (found := _certain(path[-1])):
            document.problems.append(document.problem(path, f"this is {found[0]}", REMEDY, key=True))
            document.unreadable.add(dotted(path))


def without_secrets(problem: Problem) -> Problem:
    """Return a problem that shows no certain secret, whatever text or key it is about."""
    where, what, suggestion = problem.where, problem.what, problem.suggestion
    for _, pattern in _CERTAIN:
        where, what, suggestion = (pattern.sub("***", text) for text in (where, what, suggestion))
    return replace(problem, where=where, what=what, suggestion=suggestion)


def _certain(text: str) -> tuple[str, int] | None:
    """Return what a text holds for certain, and where."""
    if len(text) < SHORTEST:
        return None
    for what, pattern in _CERTAIN:
        if (found := pattern.search(text)) and not _EXAMPLE.search(found[0]):
            return what, found.start()
    return None


def hints(document: Document) -> Iterator[tuple[Path, str, tuple[int, int] | None]]:
    """Yield where a text looks like a secret, and why: path, reason, and the place where that is known better."""
    for path, text in _texts(document.data):
        if path[:1] == ("params",) and path[-1] in ("title", "description", "type", "pattern"):
            continue
        name = str(next((part for part in reversed(path) if isinstance(part, str)), ""))
        if _KEY.search(name) and _literal(text) and len(path) > 1:
            yield path, f"the key {name!r} holds a text that stands in the template", None
        elif found := _GIVEN.search(text):
            yield path, "a password or key is written here", _inside(document, path, text, found.start())
        elif found := _IN_URL.search(text):
            yield path, "an address holds a password", _inside(document, path, text, found.start())
        elif _MARKED.search(text) and any(_random(found[0]) for found in _LONG.finditer(text)):
            yield path, "a long random text stands beside a word such as key or token", None


def _texts(data: Any) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    _collect(data, (), found)
    return found


def _collect(data: Any, path: Path, found: list[tuple[Path, str]]) -> None:
    if isinstance(data, str):
        found.append((path, data))
    elif isinstance(data, (dict, Mapping)):
        for key, value in data.items():
            _collect(value, (*path, key), found)
    elif isinstance(data, list):
        for index, value in enumerate(data):
            _collect(value, (*path, index), found)


def _literal(text: str) -> bool:
    return len(text) >= 4 and not re.search(r"[{$%<*]", text) and " " not in text


def _random(text: str) -> bool:
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values()) > _ENTROPY


def _place(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


def _inside(document: Document, path: Path, text: str, offset: int) -> tuple[int, int]:
    return document.inside(path, *_place(text, offset))
