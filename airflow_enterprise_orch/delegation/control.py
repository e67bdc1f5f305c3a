"""What people asked for, read before anything leaves.

Wishes travel through one channel: for one step in one instance, the key :data:`CONTROL_KEY` of its task state store;
for a
whole stream, system or connection, one Airflow Variable, :data:`HOLDS_VARIABLE`. Both are versioned JSON. Each wish
names
who wants it and why; one that does not is refused, loudly, rather than obeyed or ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_enterprise_orch.errors import OrchestrationError

CONTROL_KEY = "orch.control"
HOLDS_VARIABLE = "enterprise_orch.holds"
CONTROL_VERSION = 1
SCOPES = ("stream", "system", "connection")


class ControlBroken(OrchestrationError):
    """A control record cannot be read; nothing is handed over until a person repairs it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing that one person wants.

    :param what: ``hold``, ``skip`` or ``override``.
    :param by: who.
    :param reason: why.
    :param until: of a hold, when it ends by itself; aware.
    :param targets: of an override, the steps that the branch is to choose.
    """

    what: str
    by: str
    reason: str
    until: datetime | None = None
    targets: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as a line for the task's log."""
        until = f" until {self.until.isoformat()}" if self.until else ""
        return f"{self.what}{until} by {self.by}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What applies to one step now."""

    hold: Wish | None = None
    skip: Wish | None = None
    override: Wish | None = None


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
    own = _object(control, f"task state store key {CONTROL_KEY!r}")
    found = {
        what: _wish(what, own[what], f"task state store key {CONTROL_KEY!r}")
        for what in ("hold", "skip", "override")
        if what in own
    }
    hold = found.get("hold")
    if hold is not None and hold.until is not None and hold.until <= now:
        hold = None
    if hold is None:
        where = f"Variable {HOLDS_VARIABLE!r}"
        names = {"stream": stream, "system": system, "connection": connection}
        entries = _object(holds, where).get("holds", [])
        if not isinstance(entries, list):
            raise ControlBroken(f"{where}: holds is no list; correct it")
        for entry in entries:
            if not isinstance(entry, Mapping) or entry.get("scope") not in SCOPES or "name" not in entry:
                raise ControlBroken(f"{where}: each hold needs a scope ({', '.join(SCOPES)}) and a name; correct it")
            if names[entry["scope"]] != entry["name"]:
                continue
            wish = _wish("hold", entry, where)
            if wish.until is None or wish.until > now:
                hold = wish
                break
    return Wishes(hold, found.get("skip"), found.get("override"))


def _object(data: object, where: str) -> Mapping[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, Mapping) or data.get("version") != CONTROL_VERSION:
        raise ControlBroken(f"{where} is no control record of version {CONTROL_VERSION}; correct or delete it")
    return data


def _wish(what: str, data: object, where: str) -> Wish:
    if not isinstance(data, Mapping) or not data.get("by") or not data.get("reason"):
        raise ControlBroken(f"{where}: {what} must say by whom and for what reason; correct or delete it")
    try:
        until = datetime.fromisoformat(str(data["until"])) if data.get("until") else None
    except ValueError as error:
        raise ControlBroken(f"{where}: {what}: until is no ISO 8601 time: {error}") from error
    if until is not None and until.tzinfo is None:
        raise ControlBroken(f"{where}: {what}: until has no time zone; add Z or an offset")
    return Wish(what, str(data["by"]), str(data["reason"]), until, tuple(map(str, data.get("targets") or ())))
