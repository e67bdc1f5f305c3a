"""What changed between two templates, in the words of the business.

Comments, layout, the order of keys, and how a duration is written do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airflow_enterprise_orch.template_tools.words import alert_words, due_words, in_words, retry_words
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.notes import COMMON_KEYS
from airflow_enterprise_orch.value_stream.problems import listed
from airflow_enterprise_orch.value_stream.reading_airflow import AIRFLOW_KEYS
from airflow_enterprise_orch.value_stream.reading_stream import STREAM_KEYS
from airflow_enterprise_orch.value_stream.steps import (
    AirflowStep,
    ApprovalStep,
    BranchStep,
    ChoiceStep,
    DecisionStep,
    DelegatedStep,
    FailStep,
    Step,
    SubStreamStep,
)
from airflow_enterprise_orch.value_stream.steps_waiting import WaitForStep, WaitStep

Kind = Literal["added", "removed", "renamed", "changed"]

_WORDS: Mapping[str, str] = {
    "after": "comes after",
    "on_timeout": "what happens after that time",
    "on_reject": "on a rejection",
    "within": "how long it waits",
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
}
_KINDS: Mapping[type[Step], str] = {
    ApprovalStep: "approval",
    ChoiceStep: "choice",
    DecisionStep: "decision",
    FailStep: "fail",
    WaitStep: "wait_until",
    WaitForStep: "wait_for",
}
_OWN_KINDS = (*_KINDS.values(), "airflow", "step", "stream")
_CONDITIONS = ("when", "success", "warning")
_SETS = ("announce", "after", "then", "otherwise", "tags", "on", "assignees", "alerts")
"""Lists whose order says nothing."""


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


def diff(old: ValueStream, new: ValueStream) -> tuple[Change, ...]:
    """Return the differences: the stream, its params, then its steps."""
    before, after = _data(old), _data(new)
    renamed = _renamed(before["steps"], after["steps"])
    before = _with_names(before, renamed)
    changes = [*_head(before, after), *_params(before["params"], after["params"])]
    for name, was in renamed.items():
        changes.append(Change("renamed", f"steps.{name}", f"step {was} is now called {name}", was, name))
    return (*changes, *_steps(before["steps"], after["steps"], old, new))


def _data(stream: ValueStream) -> dict[str, Any]:
    data = stream.model_dump(mode="json", by_alias=True, exclude_none=True)
    if "due" in data:
        data["due"] = due_words(data["due"])
    data["alerts"] = [alert_words(rule) for rule in data["alerts"]]
    data["steps"] = {name: _step(step, data["steps"][name]) for name, step in stream.steps.items()}
    return data


def _step(step: Step, data: dict[str, Any]) -> dict[str, Any]:
    """Return a step as a template has it: what it does below the key that says so."""
    common: dict[str, Any] = {}
    for key in COMMON_KEYS:
        if key in data:
            common[key] = data.pop(key)
    if "due" in common:
        common["due"] = due_words(common["due"])
    data.pop("id")
    if isinstance(step, BranchStep):
        return {"kind": "branch", **common, **data}
    if isinstance(step, (DelegatedStep, AirflowStep)):
        retry = [{**rule, "on": sorted(rule["on"])} for rule in data.pop("retry")]
        if isinstance(step, AirflowStep):
            kind, work = "airflow", {name: data.pop(name) for name in AIRFLOW_KEYS}
        else:
            kind = data.pop("step")
            work = {"connection": data.pop("connection"), **data.pop("work")}
            if step.compensate is not None:
                undo = _step(step.compensate, data.pop("compensate"))
                data["compensate"] = {name: undo[name] for name in undo if name not in ("kind", "title", "after")}
        return {"kind": kind, **common, kind: work, **data, **({"retry": retry} if retry else {})}
    if isinstance(step, SubStreamStep):
        retry = [{**rule, "on": sorted(rule["on"])} for rule in data.pop("retry")]
        does = {key: data.pop(key) for key in STREAM_KEYS}
        return {"kind": "stream", **common, "stream": does, **data, **({"retry": retry} if retry else {})}
    kind = _KINDS.get(type(step), "step")
    return {"kind": kind, **common, kind: data}


# --------------------------------------------------------------------------------------------------------- renamed


def _renamed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Return steps that only changed their name, new to old: removed here, added there, and otherwise the same."""
    gone = [name for name in before if name not in after]
    come = [name for name in after if name not in before]
    pairs: dict[str, str] = {}
    for name in come:
        same = [other for other in gone if _work(before[other]) == _work(after[name])]
        twins = [other for other in come if _work(after[other]) == _work(after[name])]
        if len(same) == 1 and len(twins) == 1:
            pairs[name] = same[0]
    return pairs


def _work(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a step does, without its title and its place among the others, which change with other names."""
    return {key: value for key, value in step.items() if key not in ("title", "after")}


def _with_names(data: dict[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return a template with the new names of steps wherever the old ones stand."""
    names = {old: new for new, old in renamed.items()}
    if not names:
        return data

    def over(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {name: over(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [over(item, key) for item in value]
        if not isinstance(value, str):
            return value
        if key in ("after", "then", "otherwise"):
            return names.get(value, value)
        return re.sub(r"\bsteps\.([a-z]\w*)", lambda found: f"steps.{names.get(found[1], found[1])}", value)

    steps = {names.get(name, name): over(step, "") for name, step in data["steps"].items()}
    return {**data, "steps": steps}


# ----------------------------------------------------------------------------------------------- the parts of a stream


def _head(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for key in (
        "value_stream",
        "title",
        "description",
        "business",
        "schedule",
        "limits",
        "due",
        "alerts",
        "priority",
        "tags",
    ):
        yield from _changes(before.get(key), after.get(key), (key,), "the stream")


def _params(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in (*after, *(name for name in before if name not in after)):
        where = f"params.{name}"
        if name not in before:
            need = "must be given" if "default" not in after[name] else f"otherwise {_shown(after[name]['default'])}"
            text = f"param {name} added: {after[name]['type']}, {need}"
            yield Change("added", where, text, None, after[name])
        elif name not in after:
            yield Change("removed", where, f"param {name} removed", before[name])
        else:
            yield from _param(name, before[name], after[name])


def _param(name: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    was, now = (param.get("default") for param in (before, after))
    if (was is None) != (now is None):
        told = [f"otherwise {_shown(value)}" if value is not None else "it must be given" for value in (now, was)]
        text = f"param {name}: {told[0]}, before {told[1]}"
        yield Change("changed", f"params.{name}.default", text, was, now)
        before, after = _without(before, ("default",)), _without(after, ("default",))
    yield from _changes(before, after, ("params", name), f"param {name}")


def _steps(before: Mapping[str, Any], after: Mapping[str, Any], old: ValueStream, new: ValueStream) -> Iterator[Change]:
    for name in (*after, *(name for name in before if name not in after)):
        where = f"steps.{name}"
        if name not in before:
            yield Change("added", where, f"step {name} added: {_about(after[name])}", None, after[name])
        elif name not in after:
            yield Change("removed", where, f"step {name} removed: it was {_about(before[name])}", before[name])
        elif before[name]["kind"] != after[name]["kind"]:
            text = f"step {name} does something else: it was {_about(before[name])}, now {_about(after[name])}"
            yield Change("changed", where, text, before[name], after[name])
        elif after[name]["kind"] == "branch":
            yield from _branch(name, before[name], after[name], old, new)
        else:
            yield from _changes(before[name], after[name], ("steps", name), f"step {name}")


def _about(step: Mapping[str, Any]) -> str:
    connection = step.get(step["kind"], {}).get("connection")
    where = f" on connection {connection}" if connection else ""
    after = f", after {listed(step['after'])}" if step.get("after") else ""
    article = "an" if step["kind"][:1] in "aeio" else "a"
    return f"{article} {step['kind']}{where}{after}"


def _branch(
    name: str, before: Mapping[str, Any], after: Mapping[str, Any], old: ValueStream, new: ValueStream
) -> Iterator[Change]:
    """Compare the rules by their conditions, so that one that is put in between changes no other."""
    own = ("rules", "otherwise")
    yield from _changes(_without(before, own), _without(after, own), ("steps", name), f"step {name}")
    place = f"steps.{name}.branch" + (".rules" if after["match"] == "all" else "")
    yield from _rules(name, place, before["rules"], after["rules"], old, new)
    if sorted(before["otherwise"]) != sorted(after["otherwise"]):
        text = f"step {name}: otherwise leads to {_ends(after['otherwise'])}, before to {_ends(before['otherwise'])}"
        yield Change("changed", f"steps.{name}.otherwise", text, before["otherwise"], after["otherwise"])


def _rules(
    name: str, place: str, before: list[dict[str, Any]], after: list[dict[str, Any]], old: ValueStream, new: ValueStream
) -> Iterator[Change]:
    was, now = [rule["when"] for rule in before], [rule["when"] for rule in after]
    gone, come = [one for one in was if one not in now], [one for one in now if one not in was]
    if len(was) == len(now):
        # As many as before: a condition that is new stands for the one at its place.
        for number, (one, other) in enumerate(zip(before, after, strict=True), start=1):
            if one["when"] in gone and other["when"] in come:
                gone.remove(one["when"])
                come.remove(other["when"])
                asks, asked = in_words(other["when"], new), in_words(one["when"], old)
                text = f"step {name}: rule {number} now asks if {asks}; before if {asked}"
                yield Change("changed", f"{place}[{number - 1}].when", text, one["when"], other["when"])
                yield from _leads(name, f"{place}[{number - 1}]", number, one, other)
    for number, rule in enumerate(after, start=1):
        where = f"{place}[{number - 1}]"
        if rule["when"] in come:
            text = f"step {name}: rule {number} added: if {in_words(rule['when'], new)}, to {_ends(rule['then'])}"
            yield Change("added", where, text, None, rule)
        elif rule["when"] in was:
            yield from _leads(name, where, number, before[was.index(rule["when"])], rule)
    for number, rule in enumerate(before, start=1):
        if rule["when"] in gone:
            text = f"step {name}: rule {number} removed: if {in_words(rule['when'], old)}, to {_ends(rule['then'])}"
            yield Change("removed", place, text, rule)
    if [one for one in was if one in now] != [one for one in now if one in was]:
        text = f"step {name}: the rules are asked in another order"
        yield Change("changed", place, text, was, now)


def _leads(name: str, where: str, number: int, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    if sorted(before["then"]) != sorted(after["then"]):
        text = f"step {name}: rule {number} leads to {_ends(after['then'])}, before to {_ends(before['then'])}"
        yield Change("changed", f"{where}.then", text, before["then"], after["then"])


def _ends(steps: Sequence[str]) -> str:
    return listed(list(steps)) or "the end of the path"


# ------------------------------------------------------------------------------------------------------ any value


def _changes(before: Any, after: Any, path: tuple[str, ...], whose: str) -> Iterator[Change]:
    """Compare two values, key by key where both have keys."""
    if isinstance(before, dict) or isinstance(after, dict):
        one, other = (value if isinstance(value, dict) else {} for value in (before, after))
        for key in (*other, *(key for key in one if key not in other)):
            yield from _changes(one.get(key), other.get(key), (*path, str(key)), whose)
        return
    if _same(before, after, path[-1]):
        return
    where, what = ".".join(path), _called(path, whose)
    if before is None:
        yield Change("added", where, f"{whose}: {what} added: {_told(after, path)}", None, after)
    elif after is None:
        yield Change("removed", where, f"{whose}: {what} removed, it was {_told(before, path)}", before)
    else:
        text = f"{whose}: {what} changed from {_told(before, path)} to {_told(after, path)}"
        yield Change("changed", where, text, before, after)


def _same(before: Any, after: Any, key: str) -> bool:
    if key in _SETS and isinstance(before, list) and isinstance(after, list):
        return sorted(map(str, before)) == sorted(map(str, after))
    if key in _SETS and not before and not after:
        return True  # an empty list, or none
    numbers = (int, float)  # 1 and 1.0 are the same number, true is none
    alike = type(before) is type(after) or (type(before) in numbers and type(after) in numbers)
    return bool(alike and before == after)


def _called(path: tuple[str, ...], whose: str) -> str:
    own = path[2:] if whose != "the stream" else path[1:] or path
    own = own[1:] if len(own) > 1 and ("." in own[0] or own[0] in _OWN_KINDS) else own
    dotted = ".".join(own)
    return _WORDS.get(dotted, dotted.replace("_", " ") if len(own) == 1 else dotted)


def _told(value: Any, path: tuple[str, ...]) -> str:
    if path[-1] in _CONDITIONS and path[-2:-1] == ("outcome",) and isinstance(value, str):
        return in_words(value)
    if path[-1] == "retry":
        return "; ".join(retry_words(**{"kinds" if key == "on" else key: rule[key] for key in rule}) for rule in value)
    if path[-1] in (*_SETS, "choices"):
        return listed([str(one).replace("\n", " ") for one in value]) or "nothing"
    return _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:80]} ... {text[-30:]}"


def _without(data: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in keys}
