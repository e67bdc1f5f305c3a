"""One difference between two templates, and what differs between any two values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airflow_enterprise_orch.template_tools.words import in_words, retry_words
from airflow_enterprise_orch.value_stream.problems import listed

Kind = Literal["added", "removed", "renamed", "changed"]

MISSING: Any = object()
"""Stands for what is not there; a value may be nothing at all."""
STREAM = "the stream"

_WORDS: Mapping[str, str] = {
    "after": "comes after",
    "on_timeout": "what happens after that time",
    "on_reject": "on a rejection",
    "within": "how long it waits",
    "override_within": "how long people may override it",
    "assignees": "who may answer",
    "time_limit": "time limit",
    "resource.pool": "holds slots of pool",
    "resource.slots": "slots held",
    "at_once": "instances at once at work here",
    "publishes": "publishes assets",
    "outcome.success": "a success when",
    "outcome.warning": "a warning when",
    "hit": "hit policy",
    "match": "which rules that hold are taken",
    "key": "business key",
    "duplicates": "a second live instance with the same key",
    "which": "which instances count",
    "announce": "what its instances tell those who wait for them",
    "instances": "instances at a time",
    "steps": "steps of one instance at a time",
    "step": "step type",
    "run": "the value stream that it runs",
    "alerts": "who is told of what",
    "for_each.item": "the list for each item of which it is done",
    "for_each.max": "items at most",
    "for_each.at_once": "items at a time",
}
_WORDS_OF_SCHEDULES: Mapping[str, str] = {
    "match": "how many of the assets must have an event",
    "assets": "the assets that start it",
    "time": "time of day",
    "on_closed": "a run on a closed day",
    "catch_up": "missed runs that are made up for",
    "since": "first day",
}
_WORDS_OF_OUTPUTS: Mapping[str, str] = {"match": "what it is found by", "source": "where it is found"}
_INSIDE: Mapping[str, str] = {
    "compensate": "what undoes it",
    "file_arrival": "the files that start it",
    "days": "its working day",
}
"""What is said before the rest of a way that begins so."""
_NAMED: Mapping[str, str] = {"outputs": "output", "params": "param", "env": "variable", "symbols": "symbol"}
"""What is said for a name below these."""
OWN_KINDS = ("approval", "choice", "decision", "fail", "wait_until", "wait_for", "airflow", "step", "stream")
_CONDITIONS = ("when", "success", "warning")
_LISTS = ("announce", "after", "then", "otherwise", "tags", "on", "assignees", "alerts", "choices", "publishes")
"""Lists of words."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    :param where: the dotted path, in the new template where there is one.
    :param text: the difference in one line for people.
    """

    kind: Kind
    where: str
    text: str
    old: Any = None
    new: Any = None

    def to_json(self) -> dict[str, Any]:
        """Return it for tools."""
        return {"kind": self.kind, "where": self.where, "text": self.text, "old": self.old, "new": self.new}


def changes(before: Any, after: Any, path: tuple[str, ...], whose: str) -> Iterator[Change]:
    """Compare two values, key by key where both have keys; one that is not there is ``MISSING``."""
    keys = [value for value in (before, after) if isinstance(value, dict) and (value or len(path) < 2)]
    if len(keys) == 2 or (keys and MISSING in (before, after)):
        one, other = (value if isinstance(value, dict) else {} for value in (before, after))
        for key in (*other, *(key for key in one if key not in other)):
            yield from changes(one.get(key, MISSING), other.get(key, MISSING), (*path, str(key)), whose)
        return
    if same(before, after, unordered=_is_set(path)):
        return
    where, what = ".".join(path), _called(path, whose)
    if before is MISSING:
        yield Change("added", where, f"{whose}: {what} added: {_told(after, path)}", None, after)
    elif after is MISSING:
        yield Change("removed", where, f"{whose}: {what} removed, it was {_told(before, path)}", before)
    else:
        text = f"{whose}: {what} changed from {_told(before, path)} to {_told(after, path)}"
        yield Change("changed", where, text, before, after)


def same(before: Any, after: Any, *, unordered: bool = False) -> bool:
    """Compare two values as the template's hash does: 1 is no 1.0, because a text with it would be another.

    :param unordered: the order of a list says nothing.
    """
    if before is MISSING or after is MISSING:
        return before is after
    if unordered and isinstance(before, list) and isinstance(after, list):
        before, after = sorted(before), sorted(after)
    return json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)


def _is_set(path: tuple[str, ...]) -> bool:
    """Tell whether the order of the list at ``path`` says nothing; see ``canonical``."""
    if path[0] != "steps":
        return path in (("tags",), ("alerts",), ("business", "announce"))
    return path[2:] in (("after",), ("publishes",), ("approval", "assignees"), ("choice", "assignees"))


def shown(value: Any) -> str:
    """Return a value for people, as a template would write it."""
    if isinstance(value, str):
        text = repr(value)
    else:
        text = "nothing" if value is None or value in ([], {}) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:80]} ... {text[-30:]}"


def without(data: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return a copy without some keys."""
    return {key: value for key, value in data.items() if key not in keys}


def _called(path: tuple[str, ...], whose: str) -> str:
    own = path[1:] or path if whose == STREAM else path[2:]
    own = own[1:] if len(own) > 1 and ("." in own[0] or own[0] in OWN_KINDS) else own
    said = ""
    while len(own) > 1 and own[0] in _INSIDE and ".".join(own) not in _WORDS:
        said, own = f"{said}{_INSIDE[own[0]]}: ", own[1:]
        own = own[1:] if len(own) > 1 and "." in own[0] else own
    words = _WORDS_OF_SCHEDULES if path[0] == "schedule" else _WORDS
    if len(own) > 1 and own[0] in _NAMED:
        said, own = f"{said}{_NAMED[own[0]]} {own[1]}", own[2:]
        said, words = f"{said}: " if own else said, _WORDS_OF_OUTPUTS
    dotted = ".".join(own)
    return said + words.get(dotted, dotted.replace("_", " ") if len(own) == 1 else dotted)


def _told(value: Any, path: tuple[str, ...]) -> str:
    if path[-1] in _CONDITIONS and path[-2:-1] == ("outcome",) and isinstance(value, str):
        return in_words(value)
    if path[-1] == "retry" and len(path) in (3, 4):
        return "; ".join(retry_words(**{"kinds" if key == "on" else key: rule[key] for key in rule}) for rule in value)
    if path[-1] in _LISTS and isinstance(value, list):
        return listed([str(one).replace("\n", " ") for one in value]) or "nothing"
    return shown(value)
