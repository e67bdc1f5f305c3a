"""What stands still for all who use a system: connections that a refused login blocks, and holds by people.

Both are Airflow Variables: of what is written there, only what concerns the steps of one instance is told on its page.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow.models.connection import Connection
from airflow.models.variable import Variable
from airflow.sdk.exceptions import AirflowException
from sqlalchemy import select

from airflow_enterprise_orch.delegation.control import ControlBroken, Wish, read_holds, read_wishes
from airflow_enterprise_orch.delegation.guard import BLOCK_PREFIX, still_blocked
from airflow_enterprise_orch.executive_view.pictures import PictureStep

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

Scope = Literal["step", "stream", "system", "connection"]


@dataclass(frozen=True)
class Hold:
    """A hold that keeps a step from beginning.

    :param scope: what somebody holds, with the step among it.
    :param name: of the stream, system or connection.
    """

    wish: Wish
    scope: Scope = "step"
    name: str = ""


@dataclass(frozen=True)
class Block:
    """A connection that no step may use any more.

    :param reason: why its login was refused, in the system's words.
    :param at: when; None where the record does not say so.
    """

    connection: str
    reason: str
    at: datetime | None

    @property
    def variable(self) -> str:
        """The Variable that a person deletes to lift it."""
        return f"{BLOCK_PREFIX}{self.connection}"


def hold_of(step: PictureStep, control: Any, holds: Any, *, stream: str, now: datetime) -> Hold | None:
    """Return what holds a step, the hold on the step itself first.

    :param control: what people asked for at the step.
    :param holds: the Variable with the holds on streams, systems and connections.
    :raises ControlBroken: where a record cannot be read; the step itself stops there and says so.
    """
    names: Mapping[Scope, str] = {"stream": stream, "system": step.system, "connection": step.connection}
    own = read_wishes(control, None, stream=stream, system=step.system, connection=step.connection, now=now).hold
    if own is not None:
        return Hold(own)
    for scope, name, wish in read_holds(holds):
        for known, mine in names.items():
            if (scope, name) == (known, mine) and (wish.until is None or wish.until > now):
                return Hold(wish, known, name)
    return None


def holds_of(
    steps: Iterable[PictureStep], wishes: Mapping[str, Any], holds: Any, *, stream: str, now: datetime
) -> dict[str, Hold]:
    """Return by step what holds it; see :func:`hold_of`."""
    found = {}
    for step in steps:
        try:
            hold = hold_of(step, wishes.get(step.id), holds, stream=stream, now=now)
        except ControlBroken:
            continue
        if hold is not None:
            found[step.id] = hold
    return found


def blocks_of(session: Session, connections: Collection[str]) -> dict[str, Block]:
    """Return which of some connections are blocked; one that was changed since its login was refused is not."""
    keys = [f"{BLOCK_PREFIX}{connection}" for connection in sorted(connections) if connection]
    if not keys:
        return {}
    found = {}
    for variable in session.scalars(select(Variable).where(Variable.key.in_(keys))):
        connection = variable.key.removeprefix(BLOCK_PREFIX)
        record = _record(variable.val)
        if record is None or not _still(connection, record):
            continue
        told = record if isinstance(record, Mapping) else {}
        reason = str(told.get("reason") or "its record cannot be read")
        found[connection] = Block(connection, reason, _moment(told.get("at")))
    return found


def _record(text: str) -> Any:
    """Return what a Variable says; one that is no JSON blocks too, as it does for the steps."""
    try:
        return json.loads(text)
    except ValueError:
        return "unreadable"


def _still(connection_id: str, record: Any) -> bool:
    try:
        connection = Connection.get_connection_from_secrets(connection_id)
    except AirflowException as error:
        log.debug("whether connection %s was changed since it was blocked cannot be told: %s", connection_id, error)
        return True
    return still_blocked(connection_id, record, connection) is not None


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo is not None else None
