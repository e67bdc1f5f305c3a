"""Calling function modules of SAP: one small interface, whatever carries it.

What a failure proves depends on whether the function changes something, so those that only read are listed here, and
everything else counts as changing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from airflow_enterprise_orch.delegation.https import address_of
from airflow_enterprise_orch.errors import AnswerLost, RequestRejected, SystemUnreachable

READS = frozenset(
    {
        "BAPI_XMI_LOGON",
        "BAPI_XMI_LOGOFF",
        "BAPI_XBP_JOB_SELECT",
        "BAPI_XBP_JOB_COUNT",
        "BAPI_XBP_JOB_STATUS_GET",
        "BAPI_XBP_JOB_STATUS_CHECK",
        "BAPI_XBP_JOBLIST_STATUS_GET",
        "BAPI_XBP_JOB_DEFINITION_GET",
        "BAPI_XBP_JOB_JOBLOG_READ",
        "BAPI_XBP_JOB_SPOOLLIST_READ",
        "BAPI_XBP_GET_APPLICATION_RC",
        "RFC_SYSTEM_INFO",
    }
)
"""Functions that may be called again without harm."""

Answer = Mapping[str, Any]
"""What a function returns, by parameter: text, a structure (mapping) or a table (list of rows)."""


@dataclass(frozen=True, slots=True)
class XbpSettings:
    """Where an SAP system is, who is calling, and how its jobs are started.

    :param connection: the Airflow connection's id, for messages.
    :param host: of the ICM's HTTPS port (``soap``) or of the application server's gateway (``pyrfc``).
    :param client: the SAP client, three digits.
    :param backend: ``soap`` or ``pyrfc``.
    :param system_number: for ``pyrfc``.
    :param external_user: who did it, in XMI's audit log; at most 16 characters.
    :param company: with ``product``, what XMI's authorization S_XMI_PROD is checked against.
    :param server: the application server that runs the jobs; "" for the one that answers.
    :param server_group: an RZ12 group of servers instead.
    :param start: ``asap`` waits for a free background work process; ``immediately`` is refused when there is none.
    :param time_zone: of the SAP system: XBP tells local times.
    :param ca_file: PEM file of the authorities that are trusted; "" for the machine's own.
    :param timeout: seconds for one answer.
    """

    connection: str
    host: str
    port: int = 443
    client: str = "100"
    login: str = ""
    password: str = field(default="", repr=False)
    language: str = "EN"
    backend: str = "soap"
    system_number: str = "00"
    external_user: str = "AIRFLOW"
    company: str = "APACHE"
    product: str = "AIRFLOW"
    server: str = ""
    server_group: str = ""
    start: str = "asap"
    time_zone: str = "UTC"
    ca_file: str = ""
    verify: bool = True
    timeout: float = 30.0

    @property
    def address(self) -> str:
        """Host and port, as in a URL."""
        return address_of(self.host, self.port)

    @property
    def where(self) -> str:
        """The system, for messages."""
        place = self.address if self.backend == "soap" else f"{self.host} system {self.system_number}"
        return f"SAP at {place}, client {self.client}"

    @property
    def identity(self) -> str:
        """Which system this is; the same for both backends would be a lie, since nothing proves that it is."""
        place = self.address if self.backend == "soap" else f"{self.host}/{self.system_number}"
        return f"sap-xbp://{place}/{self.client}"


class Rfc(Protocol):
    """One connection to SAP, over which function modules are called; an async context manager.

    State that a function leaves in its session (XMI's logon) is there for the next call.
    """

    async def call(self, function: str, /, **parameters: Any) -> Answer:
        """Call a function module.

        Tables are lists of rows; a table comes back only when it is among the parameters, empty if need be.

        :raises SessionGone: the session ended before the call; nothing was done.
        :raises LoginRefused, ConnectionUntrusted, SystemUnreachable, AnswerLost, RequestRejected: as everywhere.
        """
        ...

    async def fresh(self) -> None:
        """Forget the session; the next call begins another."""
        ...


class SessionGone(SystemUnreachable):
    """The session, and the XMI logon with it, is no more; the call did nothing."""


class FunctionRefused(RequestRejected):
    """A function answered with an error of its own (BAPIRET2 type E or A).

    :param message_id: class and number of the message: ``XM/028``.
    """

    def __init__(self, text: str, message_id: str) -> None:
        super().__init__(text)
        self.message_id = message_id


def text(answer: Mapping[str, Any], name: str) -> str:
    """Return a field as text without the blanks that pad ABAP fields; "" when it is not there."""
    value = answer.get(name)
    return "" if value is None or isinstance(value, Mapping | list) else str(value).strip()


def structure(answer: Answer, name: str) -> Mapping[str, Any]:
    """Return a structure; an empty one when it is not there."""
    value = answer.get(name)
    return value if isinstance(value, Mapping) else {}


def rows(answer: Answer, name: str) -> Sequence[Mapping[str, Any]]:
    """Return the rows of a table; none when it is not there."""
    value = answer.get(name)
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def judge(where: str, function: str, answer: Answer) -> None:
    """Raise what a ``RETURN`` of type E or A says; :raises FunctionRefused: with SAP's own message."""
    told = structure(answer, "RETURN")
    if text(told, "TYPE") in ("", "S", "W", "I"):
        return
    number = text(told, "NUMBER")
    message_id = f"{text(told, 'ID')}/{number.zfill(3) if number else '???'}"
    message = " ".join(text(told, "MESSAGE").split()) or "no message"
    raise FunctionRefused(f"{where} refused {function}: {message} ({message_id})", message_id)


def unclear(where: str, function: str, said: str, cause: BaseException | None = None) -> NoReturn:
    """Raise what a missing or senseless answer means: ambiguous for a function that changes something."""
    if function in READS:
        raise SystemUnreachable(f"{where} {said} to {function}") from cause
    raise AnswerLost(f"{where} {said} to {function}: it may have taken effect") from cause


def about_rights(message: str) -> bool:
    """True for a fault by which SAP refuses a call before the function runs (S_RFC)."""
    return re.search(r"authori[sz]ation|RFC_NO_AUTHORITY|not authori[sz]ed", message, re.IGNORECASE) is not None
