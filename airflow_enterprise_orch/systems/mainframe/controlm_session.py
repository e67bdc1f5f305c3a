"""Talking HTTPS to Control-M's Automation API: its login, and what its failures prove.

BMC, *Control-M Automation API*, "Authentication Tokens": a session token comes from ``POST session/login``, travels as
``Authorization: Bearer`` and ends after some time without use; an API token travels as ``x-api-key`` and needs no
login. "Errors" are documents ``{"errors": [{"message", "id", "item", ...}]}``. The failures that all systems share are
those of :mod:`~airflow_enterprise_orch.delegation.https`; here texts that say so make ``JobAbsent`` and
:class:`OutputAbsent` of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_enterprise_orch.delegation.https import Call, TokenSession, address_of, json_of
from airflow_enterprise_orch.errors import RequestRejected
from airflow_enterprise_orch.systems.mainframe.session import JobAbsent

if TYPE_CHECKING:
    import httpx

JSON_BODY: Mapping[str, str] = {"Content-Type": "application/json"}
LOGIN_PATH = "/session/login"
_ABSENT = re.compile(r"\b(?:no such job|not (?:be )?found|does not exist|no longer exists)\b", re.IGNORECASE)
_NO_OUTPUT = re.compile(r"output does not exist for this job", re.IGNORECASE)


class OutputAbsent(RequestRejected):
    """Control-M has no output of that job (yet, or any more)."""


@dataclass(frozen=True, slots=True)
class ControlmSettings:
    """Where the Automation API is, and who is calling.

    :param connection: the Airflow connection's id, for messages.
    :param server: the Control-M/Server whose folders are ordered.
    :param login: user of Control-M; "" where ``password`` is an API token.
    :param folders: patterns of the folders that this connection orders; empty for all. Keys are looked for there.
    :param timezone: of the times that Control-M tells, IANA name; "" leaves them out.
    :param path: where the Automation API begins on the host.
    :param ca_file: PEM file of the authorities that are trusted; "" for the machine's own.
    :param timeout: seconds for one answer.
    """

    connection: str
    host: str
    server: str
    port: int = 8443
    login: str = ""
    password: str = field(default="", repr=False)
    folders: tuple[str, ...] = ()
    timezone: str = ""
    path: str = "/automation-api"
    ca_file: str = ""
    verify: bool = True
    timeout: float = 30.0

    @property
    def address(self) -> str:
        """Host and port, as in a URL."""
        return address_of(self.host, self.port)


class ControlmSession(TokenSession[ControlmSettings]):
    """An HTTPS client that is logged in when it has to be. An async context manager; one per event loop."""

    system = "Control-M"
    up = "the Automation API is up"

    async def document(self, call: Call) -> Mapping[str, object]:
        """Send one request and return the JSON object that came back."""
        value = await self.json(call)
        if not isinstance(value, Mapping):
            self._unclear(call, "answered with something else")
        return value

    async def version(self) -> str:
        """Log in where there is something to log in to; return the version that the login told, "" for none."""
        if not self.settings.login:
            return ""
        async with self._login:
            version = await self._log_in()
            self._logins += 1
        return version

    def _client_arguments(self) -> dict[str, Any]:
        settings = self.settings
        token = {} if settings.login else {"x-api-key": settings.password}
        return {
            "base_url": f"https://{settings.address}{settings.path}",
            "headers": {"Accept": "application/json", **token},
        }

    def _message(self, response: httpx.Response) -> str:
        return message_of(json_of(response))

    def _refine(self, call: Call, response: httpx.Response, message: str) -> None:
        if message and _NO_OUTPUT.search(message):
            raise OutputAbsent(f"{self.where}: {call.what}: {message}")
        if "/run/job/" in call.path and response.status_code < 500 and message and _ABSENT.search(message):
            raise JobAbsent(f"{self.where}: {call.what}: {message}")

    def _needs_login(self) -> bool:
        return bool(self.settings.login)

    def _has_token(self) -> bool:
        return bool(self.settings.login)

    async def _log_in(self) -> str:
        client = self._opened()
        client.headers.pop("Authorization", None)
        body = {"username": self.settings.login, "password": self.settings.password}
        call = Call("login", "POST", LOGIN_PATH, headers=JSON_BODY, content=json.dumps(body).encode())
        response = await self._send(call)
        # Only the status is trusted: which error text means a wrong password differs from version to version.
        if response.status_code in (400, 401, 403) and self._message(response):
            self._refuse_login(response)
        if response.status_code == 401:
            self._refuse_login(response)
        self._judge(call, response)
        document = json_of(response)
        token = document.get("token") if isinstance(document, Mapping) else None
        if not isinstance(token, str) or not token or not isinstance(document, Mapping):
            self._unclear(call, "answered the login without a token; check host, port and path")
        client.headers["Authorization"] = f"Bearer {token}"
        return str(document.get("version") or "")

    def _refuse_login(self, response: httpx.Response) -> NoReturn:
        who = f"the login of {self.settings.login}" if self.settings.login else "the API token"
        remedy = (
            "correct login and password, or the API token (wrong, expired or locked?), before anything is tried again"
        )
        self._refuse(who, self._message(response), remedy)


def message_of(document: object) -> str:
    """Return what an error document says, in one line; "" when it is none."""
    errors = document.get("errors") if isinstance(document, Mapping) else None
    if not isinstance(errors, list):
        return ""
    said = []
    for error in errors:
        if isinstance(error, Mapping):
            parts = [str(error.get(name) or "") for name in ("message", "item")]
            said.append(" ".join(" ".join(parts).split()))
    return "; ".join(line for line in said if line)
