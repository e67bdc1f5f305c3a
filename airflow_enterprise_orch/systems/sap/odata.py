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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import quote

from airflow_enterprise_orch.errors import AnswerLost, LoginRefused, RequestRejected, SystemBusy, SystemUnreachable
from airflow_enterprise_orch.systems.sap.soap_rfc import no_way, retry_after, trust

if TYPE_CHECKING:
    from types import TracebackType

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
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def where(self) -> str:
        """The system, for messages."""
        return f"SAP application jobs at {self.address}"


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


class OdataSession:
    """An HTTPS client with a CSRF token when it needs one. An async context manager; one per event loop."""

    def __init__(self, settings: OdataSettings) -> None:
        self.settings = settings
        self._token = ""
        self._fetching = asyncio.Lock()
        self._refused: LoginRefused | None = None
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        import httpx

        settings = self.settings
        headers = {"Accept": "application/json", "Accept-Language": settings.language.lower()}
        self._client = httpx.AsyncClient(
            base_url=f"https://{settings.address}",
            auth=httpx.BasicAuth(settings.login, settings.password),
            headers=headers,
            verify=trust(settings.connection, settings.ca_file, verify=settings.verify),
            timeout=httpx.Timeout(settings.timeout, connect=min(10.0, settings.timeout)),
            limits=httpx.Limits(max_connections=4),
            trust_env=False,  # the connection alone says which way leads to SAP
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def read(self, what: str, path: str, parameters: str = "") -> object:
        """GET; return what is below ``d``."""
        response = await self._send(what, "GET", path, parameters, changing=False)
        self._judge(what, response, changing=False)
        return self._document(what, response, changing=False)

    async def change(self, what: str, function: str, parameters: str, *, changing: bool = True) -> object:
        """POST a function import with a CSRF token; return what is below ``d``.

        :param changing: False for one that only looks (``JobScheduleCheck``).
        """
        token = self._token or await self._fetch("")
        response = await self._send(what, "POST", function, parameters, changing=changing, token=token)
        if _wants_token(response):
            token = await self._fetch(token)
            response = await self._send(what, "POST", function, parameters, changing=changing, token=token)
        self._judge(what, response, changing=changing)
        return self._document(what, response, changing=changing)

    async def _fetch(self, stale: str) -> str:
        """Return a token other than ``stale``; its cookies stay in the client."""
        async with self._fetching:
            if self._token and self._token != stale:
                return self._token
            response = await self._send("CSRF token", "GET", "", "", changing=False, token="Fetch")  # noqa: S106 - the word
            self._judge("CSRF token", response, changing=False)
            self._token = response.headers.get("x-csrf-token", "")
            if not self._token:
                raise SystemUnreachable(f"{self.settings.where} gives no CSRF token; is there a proxy that removes it?")
            return self._token

    async def _send(
        self, what: str, method: str, path: str, parameters: str, *, changing: bool, token: str = ""
    ) -> httpx.Response:
        import httpx

        settings = self.settings
        if self._refused is not None:
            raise self._refused
        more = "&".join(
            part for part in (parameters, f"sap-client={settings.client}" if settings.client else "") if part
        )
        url = f"{SERVICE}/{path}" + (f"?{more}" if more else "")
        if len(url) > LONGEST_URL:
            raise RequestRejected(
                f"{settings.where}: the parameters of {what} make a URL of {len(url)} characters, SAP takes "
                f"{LONGEST_URL}; put them into the job template"
            )
        try:
            response = await self._opened().request(method, url, headers={"x-csrf-token": token} if token else None)
        except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
            raise RequestRejected(f"{settings.where}: {what} cannot be written as a request: {error}") from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            no_way(settings.connection, settings.address, what, error)
        except (httpx.HTTPError, httpx.StreamError) as error:
            self._unclear(what, f"gave no answer ({type(error).__name__})", changing=changing, cause=error)
        if response.status_code == 401:
            self._refused = LoginRefused(
                settings.connection,
                f"{settings.where} refused the login of {settings.login}",
                "correct user and password (wrong, expired or locked?) before anything is tried again",
            )
            raise self._refused
        return response

    def _judge(self, what: str, response: httpx.Response, *, changing: bool) -> None:
        """Raise what an answer other than 2xx, or one in HTML, means."""
        status, where = response.status_code, self.settings.where
        html = "html" in response.headers.get("content-type", "").lower()
        if 200 <= status < 300 and not html:
            return
        message = error_text(response.content)
        if status == 404 and message and "/IWFND/" not in message:
            raise JobAbsent(f"{where}: {what}: {message}")
        if status == 404:
            # No service, no statement about a job: a hub that lost its route must not make jobs vanish.
            raise RequestRejected(
                f"{where} has no service {SERVICE} ({message or 'not found'}); activate it (/IWFND/MAINT_SERVICE, or "
                f"the communication arrangement)"
            )
        if status == 403:
            raise RequestRejected(
                f"{where} refused {what}: {message or 'forbidden'}; the user lacks an authorization (SAP_COM_0326)"
            )
        if 400 <= status < 500 and status != 429 and message:
            raise RequestRejected(f"{where} refused {what}: {message}")
        if not changing and status in (429, 503):
            raise SystemBusy(f"{where} is busy: {what} was answered {status}", retry_after(response))
        told = f"answered {status}" + (f": {message}" if message else " with a web page" if html else "")
        self._unclear(what, told, changing=changing)

    def _document(self, what: str, response: httpx.Response, *, changing: bool) -> object:
        try:
            document = json.loads(response.content)
        except ValueError:
            document = None
        if not isinstance(document, dict) or "d" not in document:
            self._unclear(what, f"answered {response.status_code} with something that is not OData", changing=changing)
        return document["d"]

    def _unclear(self, what: str, said: str, *, changing: bool, cause: Exception | None = None) -> NoReturn:
        if changing:
            raise AnswerLost(f"{self.settings.where} {said} to {what}: it may have taken effect") from cause
        raise SystemUnreachable(
            f"{self.settings.where} {said} to {what}; connection {self.settings.connection!r}"
        ) from cause

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            raise SystemUnreachable("the OData session is closed; use it inside its 'async with' block")
        return self._client


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
