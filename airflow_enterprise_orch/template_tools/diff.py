"""What changed between two templates, in the words of the business.

Comments, layout, the order of keys, and how a duration is written do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from airflow_enterprise_orch.template_tools.changes import MISSING, STREAM, Change, changes, shown, without
from airflow_enterprise_orch.template_tools.diff_ways import branch_changes, choice_changes, decision_changes
from airflow_enterprise_orch.template_tools.words import alert_words, counted, due_words
from airflow_enterprise_orch.value_stream.canonical import canonical
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
from airflow_enterprise_orch.working_days import WEEKDAYS, WorkingDays

_KINDS: Mapping[type[Step], str] = {
    ApprovalStep: "approval",
    ChoiceStep: "choice",
    DecisionStep: "decision",
    FailStep: "fail",
    WaitStep: "wait_until",
    WaitForStep: "wait_for",
}
_HEAD = (
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
)
MAX_DAYS = 5
"""How many days of a calendar are named; of more their number is told."""


def diff(old: ValueStream, new: ValueStream) -> tuple[Change, ...]:
    """Return the differences: the stream, its calendars and groups, its params, then its steps.

    There are none exactly when both have the same hash.
    """
    before, after = _data(old), _data(new)
    renamed = _renamed(before["steps"], after["steps"])
    before = _with_names(before, renamed)
    found = [
        *_head(before, after),
        *_calendars(old.calendars, new.calendars),
        *_groups(before["groups"], after["groups"]),
        *_params(before["params"], after["params"]),
    ]
    for name, was in renamed.items():
        found.append(Change("renamed", f"steps.{name}", f"step {was} is now called {name}", was, name))
    found += _steps(before["steps"], after["steps"], old, new)
    if not found and old.digest() != new.digest():
        # What no words are for, such as a default that is written out where it counts.
        found = list(changes(canonical(old), canonical(new), (), "the template"))
    return tuple(found)


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
    for key in _HEAD:
        yield from changes(before.get(key, MISSING), after.get(key, MISSING), (key,), STREAM)


def _calendars(before: Mapping[str, WorkingDays], after: Mapping[str, WorkingDays]) -> Iterator[Change]:
    """Compare the days of calendars that both use; that another one is used is said where it is named."""
    for name, now in after.items():
        was = before.get(name)
        if was is None or was == now:
            continue
        where, whose = f"calendars.{name}", f"calendar {name}"
        if (was.first, was.last) != (now.first, now.last):
            text = f"{whose} covers {now.first} to {now.last}, before {was.first} to {was.last}"
            yield Change("changed", where, text, f"{was.first}/{was.last}", f"{now.first}/{now.last}")
        if was.weekend != now.weekend:
            weekends = [[WEEKDAYS[day].capitalize() for day in sorted(days.weekend)] for days in (now, was)]
            text = f"{whose} closes on {listed(weekends[0]) or 'no day'} each week, before on {listed(weekends[1])}"
            yield Change("changed", f"{where}.weekend", text, weekends[1], weekends[0])
        both = (
            ("closed", "is closed on {} now", "is no longer closed on {}"),
            ("opened", "works on {} now, which would be closed", "no longer works on {}, which would be closed"),
        )
        for key, come, gone in both:
            old, new = getattr(was, key), getattr(now, key)
            for text, days, kind in ((come, new - old, "added"), (gone, old - new, "removed")):
                if days:
                    said = f"{whose} {text.format(_days(days))}"
                    told = [day.isoformat() for day in sorted(days)]
                    pair = (None, told) if kind == "added" else (told, None)
                    yield Change("changed", f"{where}.{key}", said, *pair)


def _days(days: Sequence[date] | frozenset[date]) -> str:
    some = [day.isoformat() for day in sorted(days)]
    return listed([*some[:MAX_DAYS], *([counted(len(some) - MAX_DAYS, "other day")] if len(some) > MAX_DAYS else [])])


def _groups(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in (*after, *(name for name in before if name not in after)):
        was, now, where, whose = before.get(name), after.get(name), f"groups.{name}", f"group {name}"
        if was is None or now is None:
            one = now or was or {}
            about = one.get("title", "without a title")
            about += f", in group {one['group']}" if "group" in one else ""
            text = f"{whose} added: {about}" if was is None else f"{whose} removed: it was {about}"
            yield Change("added" if was is None else "removed", where, text, was, now)
            continue
        if was.get("title") != now.get("title"):
            titles = [shown(one["title"]) if "title" in one else "by its id" for one in (now, was)]
            text = f"{whose} is now called {titles[0]}, before {titles[1]}"
            yield Change("changed", f"{where}.title", text, was.get("title"), now.get("title"))
        if was.get("group") != now.get("group"):
            places = [f"in group {one['group']}" if "group" in one else "in no other" for one in (now, was)]
            text = f"{whose} stands {places[0]}, before {places[1]}"
            yield Change("changed", f"{where}.group", text, was.get("group"), now.get("group"))


def _params(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in (*after, *(name for name in before if name not in after)):
        where = f"params.{name}"
        if name not in before:
            need = "must be given" if "default" not in after[name] else f"otherwise {shown(after[name]['default'])}"
            text = f"param {name} added: {after[name]['type']}, {need}"
            yield Change("added", where, text, None, after[name])
        elif name not in after:
            yield Change("removed", where, f"param {name} removed", before[name])
        else:
            yield from _param(name, before[name], after[name])


def _param(name: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    was, now = (param.get("default") for param in (before, after))
    if (was is None) != (now is None):
        told = [f"otherwise {shown(value)}" if value is not None else "it must be given" for value in (now, was)]
        text = f"param {name}: {told[0]}, before {told[1]}"
        yield Change("changed", f"params.{name}.default", text, was, now)
        before, after = without(before, ("default",)), without(after, ("default",))
    yield from changes(before, after, ("params", name), f"param {name}")


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
        else:
            yield from _same_kind(name, before[name], after[name], old, new)


def _same_kind(
    name: str, before: Mapping[str, Any], after: Mapping[str, Any], old: ValueStream, new: ValueStream
) -> Iterator[Change]:
    kind = after["kind"]
    if kind == "branch":
        yield from branch_changes(name, before, after, old, new)
    elif kind == "decision":
        yield from decision_changes(name, before, after, old, new)
    elif kind == "choice":
        yield from choice_changes(name, before, after)
    else:
        was, now = before.get("for_each"), after.get("for_each")
        if (was is None) != (now is None):
            yield _for_each(name, was, now)
            before, after = without(before, ("for_each",)), without(after, ("for_each",))
        yield from changes(before, after, ("steps", name), f"step {name}")


def _for_each(name: str, was: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> Change:
    """Tell of a step that is now done for each item of a list, or no longer."""
    each = now or was or {}
    several = f", {each['at_once']} at a time" if "at_once" in each else ""
    about = f"for each item of {each['item']}, at most {each['max']}{several}"
    text = (
        f"step {name} is done {about}, before once" if now is not None else f"step {name} is done once, before {about}"
    )
    return Change("changed", f"steps.{name}.for_each", text, was, now)


def _about(step: Mapping[str, Any]) -> str:
    connection = step.get(step["kind"], {}).get("connection")
    where = f" on connection {connection}" if connection else ""
    after = f", after {listed(step['after'])}" if step.get("after") else ""
    article = "an" if step["kind"][:1] in "aeio" else "a"
    return f"{article} {step['kind']}{where}{after}"
