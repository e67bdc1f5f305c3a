"""What changed in a step that chooses: the rules of a branch, the rows of a decision, the answers of a choice."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_enterprise_orch.template_tools.changes import Change, changes, same, without
from airflow_enterprise_orch.template_tools.words import comparison_words, in_words
from airflow_enterprise_orch.value_stream.conditions import condition_variables
from airflow_enterprise_orch.value_stream.decision_table import read_cell
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.problems import listed
from airflow_enterprise_orch.value_stream.steps import DecisionStep

Entry = Mapping[str, Any]
_TYPES: Mapping[str, str] = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


@dataclass(frozen=True, slots=True)
class _Ways:
    """The ways out of a step that are asked one after the other.

    :param noun: what one is called: rule, row.
    :param leads: what stands before what it ends in, before what it ended in, and after a condition.
    :param end: says what an entry ends in.
    :param asked: says the condition of an entry as it was; ``asks``: as it is.
    """

    step: str
    place: str
    noun: str
    leads: tuple[str, str, str]
    end: Callable[[Entry], str]
    asked: Callable[[Entry], str]
    asks: Callable[[Entry], str]

    def changes(self, before: Sequence[Entry], after: Sequence[Entry]) -> Iterator[Change]:
        """Compare them by their conditions, so that one that is put in between changes no other."""
        was, now = _keys(before), _keys(after)
        gone, come = [one for one in was if one not in now], [one for one in now if one not in was]
        if len(was) == len(now):
            # As many as before: a condition that is new stands for the one at its place.
            for number, (one, other) in enumerate(zip(was, now, strict=True)):
                if one in gone and other in come:
                    gone.remove(one)
                    come.remove(other)
                    old, new = before[number], after[number]
                    text = f"{self._named(number)} now asks if {self.asks(new)}; before if {self.asked(old)}"
                    yield Change("changed", f"{self.place}[{number}].when", text, old["when"], new["when"])
                    yield from self._ends(number, old, new)
        for number, entry in enumerate(after):
            if now[number] in come:
                text = f"{self._named(number)} added: if {self.asks(entry)}, {self.leads[2]}{self.end(entry)}"
                yield Change("added", f"{self.place}[{number}]", text, None, dict(entry))
            elif now[number] in was:
                yield from self._ends(number, before[was.index(now[number])], entry)
        for number, entry in enumerate(before):
            if was[number] in gone:
                text = f"{self._named(number)} removed: if {self.asked(entry)}, {self.leads[2]}{self.end(entry)}"
                yield Change("removed", self.place, text, dict(entry))
        if [one for one in was if one in now] != [one for one in now if one in was]:
            text = f"step {self.step}: the {self.noun}s are asked in another order"
            yield Change("changed", self.place, text, [one["when"] for one in before], [one["when"] for one in after])

    def _named(self, number: int) -> str:
        return f"step {self.step}: {self.noun} {number + 1}"

    def _ends(self, number: int, old: Entry, new: Entry) -> Iterator[Change]:
        if not same(old["then"], new["then"], unordered=True):
            said = f"{self.leads[0]}{self.end(new)}, before {self.leads[1]}{self.end(old)}"
            where = f"{self.place}[{number}].then"
            yield Change("changed", where, f"{self._named(number)} {said}", old["then"], new["then"])


def _keys(entries: Sequence[Entry]) -> list[tuple[str, int]]:
    """Return what tells entries apart: the condition, and of those with the same one the how manieth it is."""
    seen: Counter[str] = Counter()
    found = []
    for entry in entries:
        text = json.dumps(entry["when"], sort_keys=True)
        found.append((text, seen[text]))
        seen[text] += 1
    return found


def branch_changes(name: str, before: Entry, after: Entry, old: ValueStream, new: ValueStream) -> Iterator[Change]:
    """Compare the rules of a branch, and where it leads otherwise."""
    place = f"steps.{name}.branch" + (".rules" if after["match"] == "all" else "")
    ways = _Ways(
        name,
        place,
        "rule",
        ("leads to ", "to ", "to "),
        lambda rule: _ends(rule["then"]),
        lambda rule: in_words(rule["when"], old),
        lambda rule: in_words(rule["when"], new),
    )
    own = ("rules", "otherwise")
    yield from changes(without(before, own), without(after, own), ("steps", name), f"step {name}")
    yield from ways.changes(before["rules"], after["rules"])
    if not same(before["otherwise"], after["otherwise"], unordered=True):
        text = f"step {name}: otherwise leads to {_ends(after['otherwise'])}, before to {_ends(before['otherwise'])}"
        yield Change("changed", f"steps.{name}.otherwise", text, before["otherwise"], after["otherwise"])


def _ends(steps: Sequence[str]) -> str:
    return listed(list(steps)) or "the end of the path"


# ------------------------------------------------------------------------------------------------------- decisions


def decision_changes(name: str, before: Entry, after: Entry, old: ValueStream, new: ValueStream) -> Iterator[Change]:
    """Compare the inputs, outputs and rows of a decision."""
    was, now = before["decision"], after["decision"]
    one, other = ({**step, "decision": {"hit": step["decision"]["hit"]}} for step in (before, after))
    yield from changes(one, other, ("steps", name), f"step {name}")
    place = f"steps.{name}.decision"
    for group, verb, words in (("inputs", "reads", str), ("outputs", "is", lambda kind: _TYPES.get(kind, kind))):
        yield from _columns(f"step {name}: {group[:-1]}", f"{place}.{group}", verb, words, was[group], now[group])
    ways = _Ways(
        name,
        f"{place}.rows",
        "row",
        ("gives ", "", "then "),
        lambda row: _gives(row["then"]),
        lambda row: _asks(row["when"], name, old),
        lambda row: _asks(row["when"], name, new),
    )
    yield from ways.changes(was["rows"], now["rows"])
    ends = was.get("otherwise"), now.get("otherwise")
    if not same(*ends):
        told = [f"it gives {_gives(row)}" if row is not None else "that cannot happen" for row in reversed(ends)]
        text = f"step {name}: when no row fits, {told[0]}; before {told[1]}"
        yield Change("changed", f"{place}.otherwise", text, *ends)


def _columns(
    whose: str, place: str, verb: str, words: Callable[[str], str], before: Entry, after: Entry
) -> Iterator[Change]:
    for name in (*after, *(name for name in before if name not in after)):
        was, now = before.get(name), after.get(name)
        if was is None:
            yield Change("added", f"{place}.{name}", f"{whose} {name} added: it {verb} {words(str(now))}", None, now)
        elif now is None:
            yield Change("removed", f"{place}.{name}", f"{whose} {name} removed: it {verb} {words(str(was))}", was)
        elif was != now:
            text = f"{whose} {name} now {verb} {words(str(now))}, before {words(str(was))}"
            yield Change("changed", f"{place}.{name}", text, was, now)


def _asks(when: Entry, step: str, stream: ValueStream) -> str:
    """Say when a row fits."""
    table = stream.steps.get(step)
    inputs = table.inputs if isinstance(table, DecisionStep) else {}
    kinds = condition_variables(stream, step) if inputs else {}
    said = [
        f"{_name(name, inputs.get(name, ''), stream)} {_cell(raw, kinds.get(inputs.get(name, ''), 'dyn'))}"
        for name, raw in when.items()
    ]
    return listed(said) or "nothing else fits"


def _name(name: str, reads: str, stream: ValueStream) -> str:
    param = stream.params.get(reads.removeprefix("params.")) if reads.startswith("params.") else None
    return param.title if param is not None and param.title else name


def _cell(raw: Any, kind: str) -> str:
    """Say what a cell asks for."""
    if isinstance(raw, str) and kind != "string":
        cell = read_cell(raw, kind)
        if not cell.values:
            return comparison_words(cell.low, cell.high, low_open=cell.low_open, high_open=cell.high_open)
        if cell.without:
            return f"is not {_value(cell.values[0])}"
    values = raw if isinstance(raw, list) else [raw]
    return f"is {listed([_value(one) for one in values], 'or')}"


def _gives(outputs: Entry) -> str:
    return listed([f"{name} {_value(value)}" for name, value in outputs.items()])


def _value(value: Any) -> str:
    return re.sub(r"\s+", " ", json.dumps(value, ensure_ascii=False))


# ---------------------------------------------------------------------------------------------------------- choices


def choice_changes(name: str, before: Entry, after: Entry) -> Iterator[Change]:
    """Compare the answers of a choice."""
    was, now = before["choice"].get("options", {}), after["choice"].get("options", {})
    one, other = ({**step, "choice": without(step["choice"], ("options",))} for step in (before, after))
    yield from changes(one, other, ("steps", name), f"step {name}")
    for option in (*now, *(one for one in was if one not in now)):
        where, whose = f"steps.{name}.choice.options.{option}", f"step {name}: answer {option}"
        if option not in was:
            new = now[option]
            yield Change("added", where, f"{whose} added: {_value(new['title'])}, to {_ends(new['then'])}", None, new)
        elif option not in now:
            old = was[option]
            yield Change(
                "removed", where, f"{whose} removed: it was {_value(old['title'])}, to {_ends(old['then'])}", old
            )
        else:
            old, new = was[option], now[option]
            if old["title"] != new["title"]:
                text = f"{whose} is now called {_value(new['title'])}, before {_value(old['title'])}"
                yield Change("changed", f"{where}.title", text, old["title"], new["title"])
            if not same(old["then"], new["then"], unordered=True):
                text = f"{whose} leads to {_ends(new['then'])}, before to {_ends(old['then'])}"
                yield Change("changed", f"{where}.then", text, old["then"], new["then"])
