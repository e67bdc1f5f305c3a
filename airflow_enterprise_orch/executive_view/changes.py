"""What is different between two versions of a stream, told from their pictures. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_enterprise_orch.executive_view.answers_stream import Change
from airflow_enterprise_orch.executive_view.pictures import Picture, PictureStep, WayOut
from airflow_enterprise_orch.executive_view.redacting import ANOTHER, Sight
from airflow_enterprise_orch.executive_view.saying import listed
from airflow_enterprise_orch.value_stream.decision_table import OTHERWISE

LONGEST = 80
"""Of a value in a sentence."""

UNSAID = frozenset({"steps", "edges", "stacks", "tasks", "digest", "version", "dates"})
"""What of a picture says the same as its steps, or nothing to people."""

OF_WAYS = frozenset({"tasks", "rules", "rows", "options", "otherwise"})
"""What of a step is compared otherwise, or follows from the rest."""

NAMES: Mapping[str, str] = {
    "key": "business key",
    "connection": "connection",
    "after": "what it comes after",
    "due": "due time",
    "title": "title",
    "kind": "what it does",
}


def changes(old: Picture, new: Picture, sight: Sight) -> list[Change]:
    """Return the differences: of the stream, then step by step, in the order of the new version.

    :param sight: what the viewer may see.
    """
    return [*_head(old, new), *_steps(old, new, sight)]


def _head(old: Picture, new: Picture) -> Iterator[Change]:
    before, after = ({key: value for key, value in one.raw.items() if key not in UNSAID} for one in (old, new))
    yield from _values(before, after, "", "the stream")


def _steps(old: Picture, new: Picture, sight: Sight) -> Iterator[Change]:
    for step in new.steps:
        before = old.by_id.get(step.id)
        if before is None:
            yield Change(kind="added", where=f"steps.{step.id}", text=f"step {_named(step)} added: {_about(step, new)}")
        elif before.kind != step.kind:
            text = f"step {_named(step)} does something else: it was {_about(before, old)}, now {_about(step, new)}"
            yield Change(kind="changed", where=f"steps.{step.id}", text=text)
        else:
            was, now = _told(before, old, sight), _told(step, new, sight)
            yield from _values(was, now, f"steps.{step.id}", f"step {_named(step)}")
            yield from _ways(before, old, step, new)
    for step in old.steps:
        if step.id not in new.by_id:
            text = f"step {_named(step)} removed: it was {_about(step, old)}"
            yield Change(kind="removed", where=f"steps.{step.id}", text=text)


def _told(step: PictureStep, of: Picture, sight: Sight) -> dict[str, Any]:
    """Return what of a step is compared; of a stream that the viewer may not see not which one it is."""
    told = {key: value for key, value in step.raw.items() if key not in OF_WAYS}
    if sight.hides(of, step.id):
        told |= {key: ANOTHER for key in ("runs", "until", "waits_on") if key in told}
    if "until" in told:  # which says for which stream, too
        told.pop("waits_on", None)
    return told


def _ways(before: PictureStep, old: Picture, step: PictureStep, new: Picture) -> Iterator[Change]:
    """Compare rules, rows and options one by one."""
    was, whose = {way.id: way for way in before.ways}, f"step {_named(step)}"
    now = {way.id: way for way in step.ways}
    what = "row" if step.kind == "decision" else "option" if step.kind == "choice" else "rule"
    for name in [*now, *(name for name in was if name not in now)]:
        where = f"steps.{step.id}.{what}s.{name}"
        said = name if name == OTHERWISE else f"{what} {name}"
        if name not in was:
            text = f"{whose}: {said} added: {_asks(now[name])}, {_ends(now[name], new)}"
            yield Change(kind="added", where=where, text=text)
            continue
        if name not in now:
            text = f"{whose}: {said} removed, it was {_asks(was[name])}, {_ends(was[name], old)}"
            yield Change(kind="removed", where=where, text=text)
            continue
        if was[name].when != now[name].when:
            text = f"{whose}: {said} now asks {_asks(now[name])}; before {_asks(was[name])}"
            yield Change(kind="changed", where=where, text=text)
        if _ends(was[name], old) != _ends(now[name], new):
            text = f"{whose}: {said} {_ends(now[name], new)}; before it {_ends(was[name], old)}"
            yield Change(kind="changed", where=where, text=text)


def _asks(way: WayOut) -> str:
    return f"“{way.when}”" if way.when else "nothing"


def _ends(way: WayOut, of: Picture) -> str:
    if way.gives is not None:
        return f"gives {_shown(way.gives)}"
    names = [_named(of.by_id[one]) if one in of.by_id else one for one in sorted(way.then)]
    return f"leads to {listed(names)}" if names else "ends the path"


def _named(step: PictureStep) -> str:
    return f"“{step.title}”" if step.title != step.id else step.id


def _about(step: PictureStep, of: Picture) -> str:
    where = f" on connection {step.connection}" if step.connection else ""
    before = [_named(of.by_id[one]) for one in step.after if one in of.by_id]
    after = f", after {listed(before)}" if before else ""
    return f"{'an' if step.kind[:1] in 'aeio' else 'a'} {step.kind}{where}{after}"


def _values(old: Mapping[str, Any], new: Mapping[str, Any], where: str, whose: str) -> Iterator[Change]:
    """Compare two values key by key."""
    for key in [*new, *(key for key in old if key not in new)]:
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        place = f"{where}.{key}" if where else key
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _values(before, after, place, whose)
            continue
        name = _called(place, where)
        if before in (None, "", [], {}):
            yield Change(kind="added", where=place, text=f"{whose}: {name} added: {_shown(after)}")
        elif after in (None, "", [], {}):
            yield Change(kind="removed", where=place, text=f"{whose}: {name} removed, it was {_shown(before)}")
        else:
            text = f"{whose}: {name} changed from {_shown(before)} to {_shown(after)}"
            yield Change(kind="changed", where=place, text=text)


def _called(place: str, where: str) -> str:
    key = place.removeprefix(where).removeprefix(".")
    return NAMES.get(key, key.replace("_", " "))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        text = listed(value)
    else:
        text = value if isinstance(value, str) and value.isidentifier() else repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 24]} ... {text[-19:]}"
