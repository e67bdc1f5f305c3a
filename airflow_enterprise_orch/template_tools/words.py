"""Conditions and durations in the words of those who do not program."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.problems import listed

_TOKEN = re.compile(
    r"""(?P<text>[rR]?"(?:\\.|[^"\\\n])*"|[rR]?'(?:\\.|[^'\\\n])*')"""
    r"|(?P<name>[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*)"
    r"|(?P<sign>&&|\|\||==|!=|<=|>=|<|>|!)"
    r"|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<space>\s+)"
    r"|(?P<other>.)"
)
_SIGNS: Mapping[str, str] = {
    "&&": "and",
    "||": "or",
    "==": "is",
    "!=": "is not",
    "<": "is less than",
    "<=": "is at most",
    ">": "is more than",
    ">=": "is at least",
    "!": "not",
}
# Control characters but tab and line feed, line and paragraph separators, marks of direction, half a surrogate pair.
_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_OPENING, _CLOSING = ("(", "[", ".", "-"), (")", "]", ",", ".")


def in_words(condition: str, stream: ValueStream | None = None) -> str:
    """Say a condition for people: names, comparisons and logic in words, all else as it is written.

    :param stream: whose params and steps it reads: a param is called by its title.
    """
    said, apart = "", False
    for token in _TOKEN.finditer(condition):
        kind, text = token.lastgroup, token[0]
        if kind == "space":
            apart = True
            continue
        called = kind == "other" and text == "(" and not apart and said[-1:].isalnum()
        near = not said or called or said.endswith(_OPENING) or text in _CLOSING
        said += ("" if near else " ") + _word(kind or "", text, stream)
        apart = kind == "sign"
    return said


def _word(kind: str, text: str, stream: ValueStream | None) -> str:
    if kind == "sign":
        return _SIGNS[text]
    if kind == "number":
        return re.sub(r"\.0+$", "", text)
    if kind == "name":
        return "is one of" if text == "in" else _name(text, stream)
    return text


def _name(text: str, stream: ValueStream | None) -> str:
    group, *rest = re.split(r"\s*\.\s*", text)
    if group == "params" and rest:
        param = stream.params.get(rest[0]) if stream else None
        said = param.title if param and param.title else rest[0]
    elif group == "steps" and len(rest) > 1:
        said, rest = f"{rest[1]} of {rest[0]}", rest[1:]
    elif text == "rc":
        said = "the return code"
    else:
        return text
    # What follows a value is a function of CEL: .startsWith(...).
    return ".".join((said, *rest[1:]))


def comparison_words(low: float | None, high: float | None, *, low_open: bool = False, high_open: bool = False) -> str:
    """Say an interval or a comparison: ``is more than 100``, ``is at least 1 and less than 10``."""
    below = [] if low is None else [f"{'more than' if low_open else 'at least'} {low:g}"]
    above = [] if high is None else [f"{'less than' if high_open else 'at most'} {high:g}"]
    return f"is {listed(below + above)}"


def retry_words(kinds: Iterable[str], times: int, delay: str = "", backoff: float = 1, max_delay: str = "") -> str:
    """Say a retry rule."""
    later = f", {delay} later" if delay else ""
    if backoff > 1:
        later += f", each further wait {backoff:g} times as long" + (f", at most {max_delay}" if max_delay else "")
    named = listed([kind.replace("_", " ") for kind in kinds], "or")
    return f"if {named}: again, up to {counted(times, 'time')}{later}"


def due_words(data: Mapping[str, Any]) -> str:
    """Say a due time as a template has it."""
    if data.get("within") is not None:
        return f"within {data['within']} of the start"
    days = int(data.get("days") or 0)
    day = f", {counted(days, 'day')} after the business day" if days else ""
    return f"by {data.get('time')}{' ' + data['timezone'] if data.get('timezone') else ''}{day}"


def alert_words(data: Mapping[str, Any]) -> str:
    """Say an alert rule as a template has it."""
    told = listed(
        [f"waiting for {data['after']}" if one == "waiting" and data.get("after") else one for one in data["on"]]
    )
    kinds = {"email": "mail", "webhook": "webhook", "slack": "Slack"}
    targets = []
    for kind, target in sorted(data["to"].items()):
        where = " ".join([*target.get("to", ()), target.get("path") or "", target.get("channel") or ""])
        targets.append(" ".join(f"{kinds[kind]} {where} by connection {target['connection']}".split()))
    only = f", if its criticality is {listed(data['severity'], 'or')}" if data.get("severity") else ""
    sent = f", sent as {data['send_as']}" if data.get("send_as") else ""
    return f"{told}: {listed(targets)}{only}{sent}"


def harmless(text: str) -> str:
    """Return a text without what would move a terminal's cursor or turn the direction of reading; lines stay.

    YAML can write any character as an escape, so a title may hold them.
    """
    return _HARMFUL.sub("\ufffd", text)


def counted(number: int, one: str, many: str = "") -> str:
    """Return ``1 step``, ``2 steps``."""
    return f"{number} {one if number == 1 else many or one + 's'}"
