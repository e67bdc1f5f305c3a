"""Talking HTTPS to z/OSMF: login, one request, and what its failure proves.

The mapping of failures is the foundation of "never twice, never lost", so it is strict:

================================================  ==========================================================
what happened                                     what is raised
================================================  ==========================================================
no connection, no TLS                             ``SystemUnreachable``: nothing was sent
a certificate that is not trusted                 ``ConnectionUntrusted``
cut, time-out, 5xx, HTML, after a changing call   ``AnswerLost``: look before doing anything
the same after a reading call                     ``SystemUnreachable``; 429 and 503: ``SystemBusy``
4xx with z/OSMF's error document                  ``RequestRejected``, or :class:`JobAbsent`
401 to the login                                  ``LoginRefused``; this session sends nothing more
401 to a token                                    one new login, then ``LoginRefused``
================================================  ==========================================================
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from airflow_enterprise_orch.errors import (
    AnswerLost,
    ConnectionInvalid,
    ConnectionUntrusted,
    LoginRefused,
    RequestRejected,
    SystemBusy,
    SystemUnreachable,
)
from airflow_enterprise_orch.systems.mainframe.documents import is_absent, message_of

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

LOGIN_PATH = "/zosmf/services/authenticate"
INFO_PATH = "/zosmf/info"
TOKENS = ("LtpaToken2", "jwtToken")
# Any value does; without the header z/OSMF refuses every call as a possible cross-site request.
CSRF = {"X-CSRF-ZOSMF-HEADER": "enterprise-orch"}


class JobAbsent(RequestRejected):
    """z/OSMF says that it has no such job."""


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
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    :param what: what it does, for messages: ``submit ORDERJOB``.
    :param changing: it changes something, so that a lost answer is ambiguous.
    """

    what: str
    method: str
    path: str
    changing: bool = False
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


class ZosmfSession:
    """An HTTPS client that is logged in when it has to be. An async context manager; one per event loop."""

    def __init__(self, settings: ZosmfSettings) -> None:
        self.settings = settings
        self._login = asyncio.Lock()
        self._logins = 0
        self._basic = False
        self._refused: LoginRefused | None = None
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        import httpx

        settings = self.settings
        self._client = httpx.AsyncClient(
            base_url=f"https://{settings.address}",
            headers=CSRF,
            verify=self._trust(),
            timeout=httpx.Timeout(settings.timeout, connect=min(10.0, settings.timeout)),
            limits=httpx.Limits(max_connections=8),
            trust_env=False,  # the connection alone says which way leads to the mainframe
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def call(self, call: Call) -> httpx.Response:
        """Send one request, logged in; return its answer if it is a 2xx with what was asked for."""
        generation = await self._logged_in(0)
        response = await self._send(call)
        if response.status_code == 401 and not self._basic:
            await self._logged_in(generation)
            # A 401 had no effect, so this is no second sending of anything.
            response = await self._send(call)
        if response.status_code == 401:
            self._refuse(response)
        self._judge(call, response)
        return response

    async def documents(self, call: Call) -> object:
        """Send one request and return the JSON that came back."""
        response = await self.call(call)
        try:
            return json.loads(response.content)
        except ValueError:
            self._unclear(call, f"answered {response.status_code} with something that is not JSON")

    async def info(self) -> Mapping[str, object]:
        """Return what z/OSMF tells everybody about itself; needs no login."""
        call = Call("info", "GET", INFO_PATH)
        response = await self._send(call)
        self._judge(call, response)
        try:
            document = json.loads(response.content)
        except ValueError:
            document = None
        if not isinstance(document, dict) or not any("zosmf" in name for name in document):
            self._unclear(call, "does not answer like z/OSMF; check host and port")
        return document

    def _trust(self) -> ssl.SSLContext:
        settings = self.settings
        if settings.ca_file and not Path(settings.ca_file).is_file():
            raise ConnectionInvalid(
                settings.connection,
                f"its ca_file {settings.ca_file} is not there",
                "put the PEM file of the authority on every worker and triggerer, or correct the path",
            )
        try:
            context = ssl.create_default_context(cafile=settings.ca_file or None)
        except (ssl.SSLError, OSError) as error:
            raise ConnectionInvalid(
                settings.connection, f"its ca_file {settings.ca_file} is no PEM certificate file", "correct the file"
            ) from error
        if not settings.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def _logged_in(self, generation: int) -> int:
        """Log in unless somebody did since ``generation``; return the generation of the login."""
        async with self._login:
            if self._refused is not None:
                raise self._refused
            if self._logins <= generation:
                await self._log_in()
                self._logins += 1
            return self._logins

    async def _log_in(self) -> None:
        import httpx

        client = self._opened()
        client.cookies.clear()
        basic = httpx.BasicAuth(self.settings.login, self.settings.password)
        call = Call("login", "POST", LOGIN_PATH)
        response = await self._send(call, basic)
        if response.status_code == 401:
            self._refuse(response)
        if response.status_code == 404:
            # Older z/OSMF has no such service, and it can be switched off; Basic on each call works everywhere.
            self._basic, client.auth = True, basic
            return
        self._judge(call, response)
        if not any(token in client.cookies for token in TOKENS):
            self._unclear(call, "answered the login without a token; check that host and port are those of z/OSMF")

    async def _send(self, call: Call, auth: httpx.Auth | None = None) -> httpx.Response:
        import httpx

        where = f"z/OSMF at {self.settings.address}"
        try:
            return await self._opened().request(
                call.method,
                call.path,
                params=dict(call.params) or None,
                headers=dict(call.headers),
                content=call.content,
                auth=auth or httpx.USE_CLIENT_DEFAULT,
            )
        except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
            raise RequestRejected(f"{where}: {call.what} cannot be written as a request: {error}") from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            self._no_way(call, error)
        except (httpx.HTTPError, httpx.StreamError) as error:
            self._unclear(call, f"gave no answer ({type(error).__name__})", cause=error)

    def _no_way(self, call: Call, error: Exception) -> NoReturn:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise ConnectionUntrusted(
                    self.settings.connection,
                    f"the certificate of {self.settings.address} is not trusted ({cause.verify_message})",
                    "put the authority that signed it into a PEM file and name that file in the connection's ca_file",
                ) from error
            cause = cause.__cause__ or cause.__context__
        raise SystemUnreachable(
            f"z/OSMF at {self.settings.address} cannot be reached for {call.what} ({error or type(error).__name__}); "
            f"nothing was sent; check connection {self.settings.connection!r}, the network and that z/OSMF is up"
        ) from error

    def _judge(self, call: Call, response: httpx.Response) -> None:
        """Raise what an answer other than 2xx, or one in HTML, means."""
        status = response.status_code
        document = _json(response)
        html = "html" in response.headers.get("content-type", "").lower()
        if 200 <= status < 300 and not html:
            return
        message = message_of(document)
        where = f"z/OSMF at {self.settings.address}"
        if is_absent(status, document):
            raise JobAbsent(f"{where}: {call.what}: {message}")
        if 400 <= status < 500 and status != 429 and message:
            raise RequestRejected(f"{where} refused {call.what}: {message}")
        said = f"answered {status}" + (f": {message}" if message else " with a web page" if html else "")
        if not call.changing:
            if status in (429, 503):
                raise SystemBusy(f"{where} is busy: {call.what} was answered {status}", _retry_after(response))
            if 400 <= status < 500:
                raise RequestRejected(
                    f"{where} refused {call.what}: it {said}; check the connection and the user's rights"
                )
        self._unclear(call, said)

    def _unclear(self, call: Call, said: str, cause: Exception | None = None) -> NoReturn:
        where = f"z/OSMF at {self.settings.address} {said}"
        if call.changing:
            raise AnswerLost(f"{where} to {call.what}: it may have taken effect") from cause
        raise SystemUnreachable(f"{where} to {call.what}; connection {self.settings.connection!r}") from cause

    def _refuse(self, response: httpx.Response) -> NoReturn:
        """Remember the refusal: every further try counts against the user in RACF."""
        document = _json(response)
        told = str(document.get("message") or "") if isinstance(document, Mapping) else ""
        self._refused = LoginRefused(
            self.settings.connection,
            f"z/OSMF at {self.settings.address} refused the login of {self.settings.login}"
            + (f" ({' '.join(told.split())})" if told else ""),
            "correct login and password (wrong, expired or revoked?) before anything is tried again",
        )
        raise self._refused

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            raise SystemUnreachable("the z/OSMF session is closed; use it inside its 'async with' block")
        return self._client


def _json(response: httpx.Response) -> object:
    try:
        return json.loads(response.content)
    except ValueError:
        return None


def _retry_after(response: httpx.Response) -> timedelta | None:
    value = response.headers.get("retry-after", "")
    return timedelta(seconds=int(value)) if value.isdigit() else None
