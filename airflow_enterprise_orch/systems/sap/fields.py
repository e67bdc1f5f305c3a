"""Reading the fields of an Airflow connection to SAP, with messages that say what to correct."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.errors import ConnectionInvalid

if TYPE_CHECKING:
    from airflow.sdk.definitions.connection import Connection


class Fields:
    """The fields of one connection.

    :param known: which keys its extra may have.
    :raises ConnectionInvalid: when type, host, login or an unknown key is wrong.
    """

    def __init__(self, connection_id: str, connection: Connection, kind: str, known: Collection[str]) -> None:
        self.connection_id = connection_id
        self.connection = connection
        if connection.conn_type != kind:
            raise self.wrong(f"its type is {connection.conn_type!r}", f"make it a connection of type {kind}")
        self.host = re.sub(r"^https://", "", (connection.host or "").strip()).rstrip("/")
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", self.host):
            raise self.wrong(
                f"its host is {connection.host!r}", "give the name of the SAP server, without path or http://"
            )
        if not connection.login or not connection.password:
            raise self.wrong("it has no login or no password", "give the SAP user that runs the jobs, and its password")
        self.login, self.password = connection.login, connection.password
        extras: Mapping[str, Any] = connection.extra_dejson
        unknown = sorted(set(extras) - set(known))
        if unknown:
            raise self.wrong(
                f"its extra has {', '.join(unknown)}", f"it may have {', '.join(sorted(known))}; correct or remove it"
            )
        self._extras = extras

    def wrong(self, reason: str, remedy: str) -> ConnectionInvalid:
        """Return what to raise for a field."""
        return ConnectionInvalid(self.connection_id, reason, remedy)

    def word(self, name: str, default: str, pattern: str, remedy: str) -> str:
        """Return a text field that fits ``pattern``."""
        value = self._extras.get(name)
        told = default if value is None or value == "" else str(value).strip()
        if told and not re.fullmatch(pattern, told):
            raise self.wrong(f"its {name} is {told!r}", remedy)
        return told

    @property
    def verify(self) -> bool:
        """Whether the certificate is checked."""
        value = self._extras.get("verify")
        if value not in (None, True, False):
            raise self.wrong(f"its verify is {value!r}", "give true or false")
        return value is not False

    @property
    def timeout(self) -> float:
        """Seconds for one answer."""
        value = self._extras.get("timeout") or 30
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 600:
            raise self.wrong(f"its timeout is {value!r}", "give seconds, from 1 to 600")
        return float(value)

    @property
    def client(self) -> str:
        """The SAP client."""
        return self.word("client", "100", r"\d{3}", "give the SAP client, three digits")

    @property
    def ca_file(self) -> str:
        """The PEM file of the authorities that are trusted."""
        return str(self._extras.get("ca_file") or "")
