"""Talking HTTPS to z/OSMF: its login, and what its failures prove.

The failures that all systems share are those of :mod:`~airflow_enterprise_orch.delegation.https`; here a document
that says so makes :class:`JobAbsent` of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_enterprise_orch.delegation.https import Call, TokenSession, address_of, json_of
from airflow_enterprise_orch.errors import RequestRejected
from airflow_enterprise_orch.systems.mainframe.documents import is_absent, message_of

if TYPE_CHECKING:
    import httpx

LOGIN_PATH = "/zosmf/services/authenticate"
INFO_PATH = "/zosmf/info"
TOKENS = ("LtpaToken2", "jwtToken")
# Any value does; without the header z/OSMF refuses every call as a possible cross-site request.
CSRF = {"X-CSRF-ZOSMF-HEADER": "enterprise-orch"}


class JobAbsent(RequestRejected):
    """The mainframe says that it has no such job."""


@dataclass(frozen=True, slots=True)
class ZosmfSettings:
    """Where z/OSMF is and who is calling.

    :param connection: the Airflow connection's id, for messages.
    :param subsystem: a secondary JES; "" for the primary.
    :param owner: whose jobs are listed; the login by default.
    :param ca_file: PEM file of the authorities that are trusted; "" for the machine's own.
    :param timeout: seconds for one answer.
    """

    connection: str
    host: str
    port: int = 443
    login: str = ""
    password: str = field(default="", repr=False)
    subsystem: str = ""
    owner: str = ""
    ca_file: str = ""
    verify: bool = True
    timeout: float = 30.0

    @property
    def address(self) -> str:
        """Host and port, as in a URL."""
        return address_of(self.host, self.port)


class ZosmfSession(TokenSession[ZosmfSettings]):
    """An HTTPS client that is logged in when it has to be. An async context manager; one per event loop."""

    system = "z/OSMF"
    up = "z/OSMF is up"

    def __init__(self, settings: ZosmfSettings) -> None:
        super().__init__(settings)
        self._basic = False

    async def info(self) -> Mapping[str, object]:
        """Return what z/OSMF tells everybody about itself; needs no login."""
        call = Call("info", "GET", INFO_PATH)
        response = await self._send(call)
        self._judge(call, response)
        document = json_of(response)
        if not isinstance(document, dict) or not any("zosmf" in name for name in document):
            self._unclear(call, "does not answer like z/OSMF; check host and port")
        return document

    def _client_arguments(self) -> dict[str, Any]:
        return {"headers": CSRF}

    def _message(self, response: httpx.Response) -> str:
        return message_of(json_of(response))

    def _refine(self, call: Call, response: httpx.Response, message: str) -> None:
        if is_absent(response.status_code, json_of(response)):
            raise JobAbsent(f"{self.where}: {call.what}: {message}")

    def _has_token(self) -> bool:
        return not self._basic

    async def _log_in(self) -> None:
        import httpx

        client = self._opened()
        client.cookies.clear()
        basic = httpx.BasicAuth(self.settings.login, self.settings.password)
        call = Call("login", "POST", LOGIN_PATH)
        response = await self._send(call, basic)
        if response.status_code == 401:
            self._refuse_login(response)
        if response.status_code == 404:
            # Older z/OSMF has no such service, and it can be switched off; Basic on each call works everywhere.
            self._basic, client.auth = True, basic
            return
        self._judge(call, response)
        if not any(token in client.cookies for token in TOKENS):
            self._unclear(call, "answered the login without a token; check that host and port are those of z/OSMF")

    def _refuse_login(self, response: httpx.Response) -> NoReturn:
        document = json_of(response)
        told = str(document.get("message") or "") if isinstance(document, Mapping) else ""
        remedy = "correct login and password (wrong, expired or revoked?) before anything is tried again"
        self._refuse(f"the login of {self.settings.login}", told, remedy)
