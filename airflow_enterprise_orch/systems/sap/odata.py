"""Talking OData V2 to SAP's application jobs: login, CSRF token, one request, and what its failure proves.

The service is ``BC_EXT_APPJOB_MANAGEMENT`` (communication scenarios SAP_COM_0326 and SAP_COM_0064; SAP help,
"Operations for External Job Scheduling Service"). The parameters of its function imports ride in the URL, of POSTs too.

===============================================  ===============================================================
what happened                                    what is raised
===============================================  ===============================================================
no connection, no TLS                            ``SystemUnreachable``: nothing was sent
a certificate that is not trusted                ``ConnectionUntrusted``
cut, time-out, 5xx, HTML, after a changing call  ``AnswerLost``: look before doing anything
the same after a reading call                    ``SystemUnreachable``; 429 and 503: ``SystemBusy``
400 with SAP's error document, ReturnCode <> 0   ``RequestRejected``
404 with SAP's error document                    :class:`JobAbsent`
404 without, or from the gateway's hub           ``RequestRejected``: the service is not active
401                                              ``LoginRefused``; this session sends nothing more
403 with ``x-csrf-token: Required``              a new token and the same request once more: it had no effect
403 without                                      ``RequestRejected``: an authorization is missing
===============================================  ===============================================================
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_enterprise_orch.delegation.https import Call, HttpsSession, address_of, json_of
from airflow_enterprise_orch.errors import RequestRejected, SystemUnreachable

if TYPE_CHECKING:
    import httpx

SERVICE = "/sap/opu/odata/SAP/BC_EXT_APPJOB_MANAGEMENT;v=0002"
LONGEST_URL = 60_000
"""Characters of a URL that SAP's gateway takes: refused above about 64,700 by a public project's measurement."""


class JobAbsent(RequestRejected):
    """SAP says that it has no such job."""


@dataclass(frozen=True, slots=True)
class OdataSettings:
    """Where the service is and who is calling.

    :param connection: the Airflow connection's id, for messages.
    :param client: the SAP client; "" for the one that the server takes by itself.
    :param ca_file: PEM file of the authorities that are trusted; "" for the machine's own.
    :param timeout: seconds for one answer.
    """

    connection: str
    host: str
    port: int = 443
    client: str = ""
    login: str = ""
    password: str = field(default="", repr=False)
    language: str = "EN"
    ca_file: str = ""
    verify: bool = True
    timeout: float = 30.0

    @property
    def address(self) -> str:
        """Host and port, as in a URL."""
        return address_of(self.host, self.port)


def literal(value: object) -> str:
    """Return a value as an OData V2 literal: texts in apostrophes, those in them doubled."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + str(value).replace("'", "''") + "'"


def query(parameters: Mapping[str, object], *, system: Mapping[str, str] | None = None) -> str:
    """Return a query string: parameters of a function import, and system options such as ``$filter``."""
    parts = [f"{name}={quote(literal(value), safe='')}" for name, value in parameters.items()]
    parts += [f"{name}={quote(value, safe='')}" for name, value in (system or {}).items()]
    return "&".join(parts)


class OdataSession(HttpsSession[OdataSettings]):
    """An HTTPS client with a CSRF token when it needs one. An async context manager; one per event loop."""

    system = "SAP application jobs"
    up = "SAP's HTTPS port is open"
    connections = 4

    def __init__(self, settings: OdataSettings) -> None:
        super().__init__(settings)
        self._token = ""
        self._fetching = asyncio.Lock()

    async def read(self, what: str, path: str, parameters: str = "") -> object:
        """GET; return what is below ``d``."""
        call = self._call(what, "GET", path, parameters)
        return self._document(call, await self._sent(call))

    async def change(self, what: str, function: str, parameters: str, *, changing: bool = True) -> object:
        """POST a function import with a CSRF token; return what is below ``d``.

        :param changing: False for one that only looks (``JobScheduleCheck``).
        """
        call = self._call(what, "POST", function, parameters, changing=changing)
        token = self._token or await self._fetch("")
        response = await self._sent(call, token)
        if _wants_token(response):
            response = await self._sent(call, await self._fetch(token))
        return self._document(call, response)

    async def _fetch(self, stale: str) -> str:
        """Return a token other than ``stale``; its cookies stay in the client."""
        async with self._fetching:
            if self._token and self._token != stale:
                return self._token
            call = self._call("CSRF token", "GET", "", "")
            response = await self._sent(call, "Fetch")
            self._judge(call, response)
            self._token = response.headers.get("x-csrf-token", "")
            if not self._token:
                raise SystemUnreachable(f"{self.where} gives no CSRF token; is there a proxy that removes it?")
            return self._token

    def _call(self, what: str, method: str, path: str, parameters: str, *, changing: bool = False) -> Call:
        client = self.settings.client
        more = "&".join(part for part in (parameters, f"sap-client={client}" if client else "") if part)
        url = f"{SERVICE}/{path}" + (f"?{more}" if more else "")
        if len(url) > LONGEST_URL:
            raise RequestRejected(
                f"{self.where}: the parameters of {what} make a URL of {len(url)} characters, SAP takes "
                f"{LONGEST_URL}; put them into the job template"
            )
        return Call(what, method, url, changing)

    async def _sent(self, call: Call, token: str = "") -> httpx.Response:
        if self._refused is not None:
            raise self._refused
        response = await self._send(replace(call, headers={"x-csrf-token": token}) if token else call)
        if response.status_code == 401:
            remedy = "correct user and password (wrong, expired or locked?) before anything is tried again"
            self._refuse(f"the login of {self.settings.login}", "", remedy)
        return response

    def _client_arguments(self) -> dict[str, Any]:
        import httpx

        settings = self.settings
        return {
            "auth": httpx.BasicAuth(settings.login, settings.password),
            "headers": {"Accept": "application/json", "Accept-Language": settings.language.lower()},
        }

    def _message(self, response: httpx.Response) -> str:
        return error_text(response.content)

    def _refine(self, call: Call, response: httpx.Response, message: str) -> None:
        status = response.status_code
        if status == 404 and message and "/IWFND/" not in message:
            raise JobAbsent(f"{self.where}: {call.what}: {message}")
        if status == 404:
            # No service, no statement about a job: a hub that lost its route must not make jobs vanish.
            raise RequestRejected(
                f"{self.where} has no service {SERVICE} ({message or 'not found'}); activate it (/IWFND/MAINT_SERVICE, "
                f"or the communication arrangement)"
            )
        if status == 403:
            raise RequestRejected(
                f"{self.where} refused {call.what}: {message or 'forbidden'}; the user lacks an authorization "
                f"(SAP_COM_0326)"
            )
        if 400 <= status < 500 and status != 429 and not message:
            # Somebody between us and SAP has answered: that says nothing about what was asked.
            self._unclear(call, f"answered {status} with something that is not OData")

    def _document(self, call: Call, response: httpx.Response) -> object:
        self._judge(call, response)
        document = json_of(response)
        if not isinstance(document, dict) or "d" not in document:
            self._unclear(call, f"answered {response.status_code} with something that is not OData")
        return document["d"]


def error_text(content: bytes) -> str:
    """Return code and message of an OData V2 error document; "" when it is none."""
    try:
        document: Any = json.loads(content)
        error = document["error"]
        message = error["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    text = message.get("value", "") if isinstance(message, Mapping) else str(message)
    return " ".join(f"{text} ({error.get('code') or 'no code'})".split())


def _wants_token(response: httpx.Response) -> bool:
    return response.status_code == 403 and response.headers.get("x-csrf-token", "").lower() == "required"
