"""Reading an Airflow connection's fields, with messages that say what to correct: the same for every system."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_enterprise_orch.errors import ConnectionInvalid

if TYPE_CHECKING:
    from airflow.sdk.definitions.connection import Connection


_handed_on: ContextVar[tuple[str, Any] | None] = ContextVar("_handed_on", default=None)


@contextmanager
def handed_on(connection_id: str, connection: object) -> Iterator[None]:
    """Let openers use a connection that was just read: to read it costs a request to Airflow's API server."""
    before = _handed_on.set((connection_id, connection))
    try:
        yield
    finally:
        _handed_on.reset(before)


async def read_connection(connection_id: str) -> Connection | None:
    """Return the connection, None when Airflow has none of that id."""
    known = _handed_on.get()
    if known is not None and known[0] == connection_id:
        connection: Connection = known[1]
        return connection
    try:
        return await BaseHook.aget_connection(connection_id)
    except AirflowNotFoundException:
        return None


async def known_connection(connection_id: str, kind: str) -> Connection:
    """Return the connection; :raises ConnectionInvalid: when Airflow has none of that id.

    :param kind: its type, for the message.
    """
    connection = await read_connection(connection_id)
    if connection is None:
        raise _missing(connection_id, kind)
    return connection


def hook_connection(hook: BaseHook, connection_id: str) -> Connection:
    """Return the connection of a hook, as :func:`known_connection` does where nothing can be awaited."""
    try:
        return hook.get_connection(connection_id)
    except AirflowNotFoundException as error:
        raise _missing(connection_id, str(getattr(hook, "conn_type", ""))) from error


def _missing(connection_id: str, kind: str) -> ConnectionInvalid:
    return ConnectionInvalid(connection_id, "Airflow has no such connection", f"create it with the type {kind}")


class Fields:
    """The fields of one connection.

    :param known: which keys its extra may have.
    :raises ConnectionInvalid: when its type is another one or its extra has an unknown key.
    """

    def __init__(self, connection_id: str, connection: Connection, kind: str, known: Collection[str]) -> None:
        self.connection_id = connection_id
        self.connection = connection
        if connection.conn_type != kind:
            raise self.wrong(f"its type is {connection.conn_type!r}", f"make it a connection of type {kind}")
        self.extras: Mapping[str, Any] = connection.extra_dejson
        unknown = sorted(set(self.extras) - set(known))
        if unknown:
            raise self.wrong(
                f"its extra has {', '.join(unknown)}", f"it may have {', '.join(known)}; correct or remove it"
            )

    def wrong(self, reason: str, remedy: str) -> ConnectionInvalid:
        """Return what to raise for a field."""
        return ConnectionInvalid(self.connection_id, reason, remedy)

    def host(self, server: str) -> str:
        """Return the host's name.

        :param server: what people call it, for the message: ``the SAP server``.
        """
        host = re.sub(r"^https://", "", (self.connection.host or "").strip()).rstrip("/")
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
            raise self.wrong(
                f"its host is {self.connection.host!r}", f"give the name of {server}, without path or http://"
            )
        return host

    def login(self, user: str) -> tuple[str, str]:
        """Return login and password.

        :param user: who that is, for the message: ``the SAP user that runs the jobs``.
        """
        if not self.connection.login or not self.connection.password:
            raise self.wrong("it has no login or no password", f"give {user}, and its password")
        return self.connection.login, self.connection.password

    def text(self, name: str) -> str:
        """Return a text as it stands there; "" where there is none."""
        return str(self.extras.get(name) or "").strip()

    def word(self, name: str, default: str, pattern: str, remedy: str) -> str:
        """Return a text that fits ``pattern``."""
        value = self.extras.get(name)
        told = default if value is None or value == "" else str(value).strip()
        if told and not re.fullmatch(pattern, told):
            raise self.wrong(f"its {name} is {told!r}", remedy)
        return told

    def zone(self, name: str, default: str) -> str:
        """Return the name of a time zone."""
        told = self.text(name) or default
        try:
            if told:
                ZoneInfo(told)
        except (ValueError, OSError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError
            raise self.wrong(f"its {name} is {told!r}", "give a time zone such as Europe/Berlin") from error
        return told

    @property
    def verify(self) -> bool:
        """Whether the certificate is checked."""
        value = self.extras.get("verify")
        if value not in (None, True, False):
            raise self.wrong(f"its verify is {value!r}", "give true or false")
        return value is not False

    def timeout(self, default: float = 30) -> float:
        """Return the seconds for one answer."""
        value = self.extras.get("timeout") or default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 600:
            raise self.wrong(f"its timeout is {value!r}", "give seconds, from 1 to 600")
        return float(value)
