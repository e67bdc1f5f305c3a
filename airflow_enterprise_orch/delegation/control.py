"""What people asked for, read before anything leaves.

Wishes travel through one channel: for one step in one instance, the key :data:`CONTROL_KEY` of its task state store;
for a whole stream, system or connection, one Airflow Variable, :data:`HOLDS_VARIABLE`. Both are versioned JSON. Each
wish names who wants it and why; one that does not is refused, loudly, rather than obeyed or ignored.

Only people write the control record, and only the step's own task writes that a wish was obeyed (``obeying.py``): no
write of the one can wash away a write of the other. A wish that another one replaces, or that a person takes back,
stays in the record's ``past``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from airflow_enterprise_orch.errors import OrchestrationError

CONTROL_KEY = "orch.control"
HOLDS_VARIABLE = "enterprise_orch.holds"
CONTROL_VERSION = 2
"""Of a step's record; version 1, whose wishes have neither ``id`` nor ``at``, is read too."""
HOLDS_VERSION = 1
SCOPES = ("stream", "system", "connection")
WISHES = ("hold", "skip", "complete", "cancel", "override", "restart_at", "release")
ENDS = ("skip", "complete", "cancel")
"""Each of them says how the step ends, so the newest takes the place of the others."""
HOLDS = ("hold", "release")
"""The same of these: a release is for a job that waits over there, whoever held it."""
MOST_PAST = 50
"""Wishes of the past that a record keeps; the audit has them all."""

_SIGNED = {"id", "by", "reason", "at"}
_FIELDS: Mapping[str, set[str]] = {
    "hold": {"until"},
    "skip": {"leave_job"},
    "complete": {"value", "leave_job"},
    "override": {"targets"},
    "restart_at": {"point"},
}


class ControlBroken(OrchestrationError):
    """A control record cannot be read; nothing is handed over until a person repairs it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing that one person wants.

    :param what: one of :data:`WISHES`.
    :param by: who.
    :param reason: why.
    :param until: of a hold, when it ends by itself; aware.
    :param targets: of an override, the steps that the branch is to choose.
    :param id: of the action that left it; of a record of version 1, a digest of what it says.
    :param at: when it was wished for; aware. None in a record of version 1.
    :param value: of a complete, the step's outputs by name.
    :param leave_job: of a complete or a skip, an open job is left alone and counts as over by that person's word,
        instead of being cancelled with proof.
    :param point: of a restart_at, where the remote job is to begin again.
    :param scope: of a hold of many steps, one of :data:`SCOPES`; "" for one of this step alone.
    """

    what: str
    by: str
    reason: str
    until: datetime | None = None
    targets: tuple[str, ...] = ()
    id: str = ""
    at: datetime | None = None
    value: Mapping[str, Any] = field(default_factory=dict)
    leave_job: bool = False
    point: str = ""
    scope: str = ""

    def __str__(self) -> str:
        """Return it as a line for the task's log."""
        until = f" until {self.until.isoformat()}" if self.until else ""
        return f"{self.what}{until} by {self.by}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What applies to one step now, obeyed already or not.

    :param taken_back: that a person took the step's hold back, as a release of what was held by it alone; None while
        the step is held again.
    :param held_before: ids of the step's holds that are in force no more, the newest first.
    """

    hold: Wish | None = None
    release: Wish | None = None
    taken_back: Wish | None = None
    held_before: tuple[str, ...] = ()
    skip: Wish | None = None
    override: Wish | None = None
    complete: Wish | None = None
    cancel: Wish | None = None
    restart_at: Wish | None = None

    @property
    def let_go(self) -> Wish | None:
        """The newest word by which a person ends a hold over there."""
        return _newest(self.release, self.taken_back)

    @property
    def end(self) -> Wish | None:
        """How a person wants the step to end: the newest of skip, complete and cancel."""
        return _newest(self.cancel, self.complete, self.skip)


def read_variable(name: str) -> object:
    """Return the JSON value of an Airflow Variable, None when there is none.

    Airflow's own ``deserialize_json`` takes a Variable that is no JSON for one that does not exist, and a slip of the
    keyboard would lift a hold.

    :raises ControlBroken: when it is no JSON.
    """
    from airflow.sdk import Variable

    raw = Variable.get(name, default=None)
    if not isinstance(raw, str):
        return raw
    try:
        value: object = json.loads(raw)
    except ValueError as error:
        raise ControlBroken(f"Variable {name!r} is no JSON: {error}; correct or delete it") from error
    return value


def read_wishes(control: object, holds: object, *, stream: str, system: str, connection: str, now: datetime) -> Wishes:
    """Return what applies to a step.

    :param control: what the step's task state store holds under :data:`CONTROL_KEY`, or None.
    :param holds: the JSON value of :data:`HOLDS_VARIABLE`, or None.
    :raises ControlBroken: when either is not what it must be.
    """
    found = _wishes(control)
    held = "hold" in found
    hold = found.pop("hold", None)
    before = _held_before(control)
    if hold is not None and hold.until is not None and hold.until <= now:
        before, hold = (hold.id, *before), None
    if hold is None:
        names = {"stream": stream, "system": system, "connection": connection}
        of_all = (
            wish
            for scope, name, wish in read_holds(holds)
            if names[scope] == name and (wish.until is None or wish.until > now)
        )
        hold = next(of_all, None)
    return Wishes(hold=hold, taken_back=None if held else _taken_back(control), held_before=before, **found)


def read_holds(holds: object) -> list[tuple[str, str, Wish]]:
    """Return scope, name and wish of each hold of :data:`HOLDS_VARIABLE`, over or not.

    :raises ControlBroken: when it is not what it must be.
    """
    return [(entry["scope"], str(entry["name"]), _hold_wish(entry)) for entry in _entries(holds)]


# What the actions of people write.


def with_wish(record: object, what: str, wish: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's control record with one more wish; the same ``id`` again changes nothing.

    A wish of the same kind goes to the record's past, and with skip, complete and cancel so does each other of them;
    hold and release take the place of one another.

    :param record: what the store holds under :data:`CONTROL_KEY`, or None. Of version 1 it becomes version 2.
    :param wish: ``{"id", "by", "reason", "at"}``, all of them; a hold's ``until``, a complete's ``value`` and
        ``leave_job``, an override's ``targets`` and a restart_at's ``point`` beside.
    :raises ControlBroken: in one line, when the record cannot be read or the wish cannot be obeyed.
    """
    if what not in WISHES:
        raise ControlBroken(f"{what!r} is no wish; wishes are {', '.join(WISHES)}")
    where = f"the new {what}"
    new = _wish(what, wish, where, signed=True)
    _said_of(new, where)
    changed = _upgraded(record)
    if any(known.get("id") == new.id for known in (changed.get(what, {}), *changed.get("past", ()))):
        return changed
    for other in next((group for group in (ENDS, HOLDS) if what in group), (what,)):
        _retire(changed, other, {"replaced": {"by": new.by, "at": str(wish["at"]), "id": new.id, "what": what}})
    changed[what] = dict(wish)
    return changed


def without_wish(record: object, what: str, taken_back: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's control record without a wish; it goes to the record's past.

    :param taken_back: who does that and why: ``{"id", "by", "reason", "at"}``.
    :raises ControlBroken: in one line, when the record cannot be read or nobody signs.
    """
    if what not in WISHES:
        raise ControlBroken(f"{what!r} is no wish; wishes are {', '.join(WISHES)}")
    _wish(what, taken_back, f"what takes the {what} back", signed=True)
    changed = _upgraded(record)
    _retire(changed, what, {"taken_back": dict(taken_back)})
    return changed


def with_hold(holds: object, scope: str, name: str, wish: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of :data:`HOLDS_VARIABLE` with one more hold; the same ``id`` again changes nothing.

    :param scope: one of :data:`SCOPES`.
    :param wish: ``{"id", "by", "reason", "at"}``, and ``until`` if it is to end by itself.
    :raises ControlBroken: in one line.
    """
    if scope not in SCOPES or not name:
        raise ControlBroken(f"the new hold needs a scope ({', '.join(SCOPES)}) and a name")
    new = _wish("hold", wish, "the new hold", signed=True)
    entries = [dict(entry) for entry in _entries(holds)]
    if all(entry.get("id") != new.id for entry in entries):
        entries.append({"scope": scope, "name": name, **wish})
    return {"version": HOLDS_VERSION, "holds": entries}


def without_hold(holds: object, hold_id: str) -> dict[str, Any]:
    """Return the value of :data:`HOLDS_VARIABLE` without the hold of that id; :raises ControlBroken: in one line.

    :param hold_id: as :func:`read_holds` tells it, which gives one to those that people wrote by hand too.
    """
    kept = [dict(entry) for entry in _entries(holds) if _hold_wish(entry).id != hold_id]
    return {"version": HOLDS_VERSION, "holds": kept}


def control_digest(record: object) -> str:
    """Return a short digest of a control record, "" when there is none: another one means that somebody was faster."""
    return "" if record is None else _digest(record)


# Reading and checking.


def _newest(*wishes: Wish | None) -> Wish | None:
    there = [wish for wish in wishes if wish is not None]
    return max(there, key=lambda wish: wish.at or datetime.min.replace(tzinfo=UTC), default=None)


def _taken_back(control: object) -> Wish | None:
    """Return the newest word by which a person took a hold of this step back."""
    past = control.get("past", ()) if isinstance(control, Mapping) else ()
    words = [entry["taken_back"] for entry in past if entry.get("what") == "hold" and "taken_back" in entry]
    return _wish("release", words[-1], f"task state store key {CONTROL_KEY!r}", signed=True) if words else None


def _held_before(control: object) -> tuple[str, ...]:
    past = control.get("past", ()) if isinstance(control, Mapping) else ()
    return tuple(str(entry["id"]) for entry in reversed(past) if entry.get("what") == "hold" and entry.get("id"))


def _wishes(control: object) -> dict[str, Wish]:
    where = f"task state store key {CONTROL_KEY!r}"
    own = _object(control, where, (1, CONTROL_VERSION))
    signed = own.get("version") == CONTROL_VERSION
    if signed and set(own) - {"version", "past", *WISHES}:
        unknown = ", ".join(sorted(map(str, set(own) - {"version", "past", *WISHES})))
        raise ControlBroken(f"{where}: {unknown}: no wish is called that; correct or delete it")
    return {what: _wish(what, own[what], where, signed=signed) for what in WISHES if what in own}


def _upgraded(record: object) -> dict[str, Any]:
    """Return a copy of a record that can be read, in the newest version."""
    changed: dict[str, Any] = {"version": CONTROL_VERSION}
    if record is None:
        return changed
    known = _wishes(record)
    own = _object(record, CONTROL_KEY, (1, CONTROL_VERSION))
    for what, wish in known.items():
        # A wish of version 1 keeps what it says; its time is not known, so it is older than all others.
        changed[what] = {"id": wish.id, "at": datetime.fromtimestamp(0, UTC).isoformat(), **own[what]}
    if own.get("past"):
        changed["past"] = list(own["past"])
    return changed


def _retire(record: dict[str, Any], what: str, because: Mapping[str, Any]) -> None:
    old = record.pop(what, None)
    if old is not None:
        record["past"] = [*record.get("past", ()), {"what": what, **old, **because}][-MOST_PAST:]


def _entries(holds: object) -> list[Mapping[str, Any]]:
    where = f"Variable {HOLDS_VARIABLE!r}"
    entries = _object(holds, where, (HOLDS_VERSION,)).get("holds", [])
    if not isinstance(entries, list):
        raise ControlBroken(f"{where}: holds is no list; correct it")
    for entry in entries:
        if not isinstance(entry, Mapping) or entry.get("scope") not in SCOPES or "name" not in entry:
            raise ControlBroken(f"{where}: each hold needs a scope ({', '.join(SCOPES)}) and a name; correct it")
    return entries


def _hold_wish(entry: Mapping[str, Any]) -> Wish:
    hold = _wish("hold", entry, f"Variable {HOLDS_VARIABLE!r}", signed=False)
    return replace(hold, scope=str(entry["scope"]))


def _object(data: object, where: str, versions: tuple[int, ...]) -> Mapping[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, Mapping) or data.get("version") not in versions:
        wanted = " or ".join(map(str, versions))
        raise ControlBroken(f"{where} is no control record of version {wanted}; correct or delete it")
    return data


def _wish(what: str, data: object, where: str, *, signed: bool) -> Wish:
    if not isinstance(data, Mapping) or not data.get("by") or not data.get("reason"):
        raise ControlBroken(f"{where}: {what} must say by whom and for what reason; correct or delete it")
    if signed:
        missing = [name for name in ("id", "at") if not data.get(name)]
        unknown = sorted(map(str, set(data) - _SIGNED - _FIELDS.get(what, set())))
        if missing or unknown:
            wrong = f"lacks {', '.join(missing)}" if missing else f"cannot say {', '.join(unknown)}"
            raise ControlBroken(f"{where}: {what} {wrong}; correct or delete it")
    targets, value = data.get("targets") or (), data.get("value") or {}
    if isinstance(targets, str) or not isinstance(targets, (list, tuple)):
        raise ControlBroken(f"{where}: {what}: targets is no list of steps; correct or delete it")
    if not isinstance(value, Mapping):
        raise ControlBroken(f"{where}: {what}: value is no object of outputs by name; correct or delete it")
    return Wish(
        what,
        str(data["by"]),
        str(data["reason"]),
        until=_moment(data, "until", what, where),
        targets=tuple(map(str, targets)),
        id=str(data.get("id") or _digest(data)),
        at=_moment(data, "at", what, where),
        value=dict(value),
        leave_job=data.get("leave_job") is True,
        point=str(data.get("point") or ""),
    )


def _moment(data: Mapping[str, Any], name: str, what: str, where: str) -> datetime | None:
    if not data.get(name):
        return None
    try:
        moment = datetime.fromisoformat(str(data[name]))
    except ValueError as error:
        raise ControlBroken(f"{where}: {what}: {name} is no ISO 8601 time: {error}") from error
    if moment.tzinfo is None:
        raise ControlBroken(f"{where}: {what}: {name} has no time zone; add Z or an offset")
    return moment


def _said_of(wish: Wish, where: str) -> None:
    """Refuse a new wish that names nothing; what a step makes of the rest, the step knows."""
    if wish.what == "override" and not wish.targets:
        raise ControlBroken(f"{where}: targets must name the steps that are to run")
    if wish.what == "restart_at" and not wish.point:
        raise ControlBroken(f"{where}: point must say where the job is to begin again")


def _digest(data: object) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
