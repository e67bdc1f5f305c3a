"""HTTPS to a system that runs jobs: login, one request, and what its failure proves.

The mapping of failures is the foundation of "never twice, never lost", so it is strict, and the same for every system:

================================================  ==========================================================
what happened                                     what is raised
================================================  ==========================================================
no connection, no TLS                             ``SystemUnreachable``: nothing was sent
a certificate that is not trusted                 ``ConnectionUntrusted``
cut, time-out, 5xx, HTML, after a changing call   ``AnswerLost``: look before doing anything
the same after a reading call                     ``SystemUnreachable``; 429 and 503: ``SystemBusy``
4xx with the system's error document              ``RequestRejected``, or what the system's session makes of it
401 to the login                                  ``LoginRefused``; this session sends nothing more
401 to a token                                    one new login, then ``LoginRefused``
================================================  ==========================================================
"""

from __future__ import annotations

import asyncio
import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, Protocol, Self, TypeVar

from airflow_enterprise_orch.errors import (
    AnswerLost,
    ConnectionInvalid,
    ConnectionUntrusted,
    LoginRefused,
    RequestRejected,
    SystemBusy,
    SystemUnreachable,
)

if TYPE_CHECKING:
    from types import TracebackType

    import httpx


class HttpsSettings(Protocol):
    """Where a system is and who is calling, as far as HTTPS needs to know."""

    @property
    def connection(self) -> str:
        """The Airflow connection's id, for messages."""

    @property
    def address(self) -> str:
        """Host and port, as in a URL."""

    @property
    def login(self) -> str:
        """Who is calling."""

    @property
    def ca_file(self) -> str:
        """PEM file of the authorities that are trusted; "" for the machine's own."""

    @property
    def verify(self) -> bool:
        """False only where a person wants no certificate to be checked."""

    @property
    def timeout(self) -> float:
        """Seconds for one answer."""


Settings = TypeVar("Settings", bound=HttpsSettings)


def address_of(host: str, port: int) -> str:
    """Return host and port as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def trust(connection: str, ca_file: str, *, verify: bool) -> ssl.SSLContext:
    """Return how a server's certificate is checked; :raises ConnectionInvalid: when ``ca_file`` is of no use."""
    if ca_file and not Path(ca_file).is_file():
        raise ConnectionInvalid(
            connection,
            f"its ca_file {ca_file} is not there",
            "put the PEM file of the authority on every worker and triggerer, or correct the path",
        )
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (ssl.SSLError, OSError) as error:
        raise ConnectionInvalid(
            connection, f"its ca_file {ca_file} is no PEM certificate file", "correct the file"
        ) from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def unreached(settings: HttpsSettings, system: str, up: str, what: str, error: Exception) -> NoReturn:
    """Raise what a connection that did not come about means: nothing was sent.

    :param system: what people call it.
    :param up: what has to be so, for the message: ``z/OSMF is up``.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise ConnectionUntrusted(
                settings.connection,
                f"the certificate of {settings.address} is not trusted ({cause.verify_message})",
                "put the authority that signed it into a PEM file and name that file in the connection's ca_file",
            ) from error
        cause = cause.__cause__ or cause.__context__
    raise SystemUnreachable(
        f"{system} at {settings.address} cannot be reached for {what} ({error or type(error).__name__}); nothing was "
        f"sent; check connection {settings.connection!r}, the network and that {up}"
    ) from error


def retry_after(response: httpx.Response) -> timedelta | None:
    """Return how long the server asks to wait."""
    value = response.headers.get("retry-after", "")
    return timedelta(seconds=int(value)) if value.isdigit() else None


def json_of(response: httpx.Response) -> object:
    """Return the JSON of an answer; None when it is none."""
    try:
        return json.loads(response.content)
    except ValueError:
        return None


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


class HttpsSession(ABC, Generic[Settings]):
    """An HTTPS client of one system. An async context manager; one per event loop."""

    system: ClassVar[str]
    """What people call it, for messages."""
    up: ClassVar[str]
    """What has to be so that it can be reached, for messages."""
    connections: ClassVar[int] = 8

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._refused: LoginRefused | None = None
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        import httpx

        settings = self.settings
        self._client = httpx.AsyncClient(
            verify=trust(settings.connection, settings.ca_file, verify=settings.verify),
            timeout=httpx.Timeout(settings.timeout, connect=min(10.0, settings.timeout)),
            limits=httpx.Limits(max_connections=self.connections),
            trust_env=False,  # the connection alone says which way leads to the system
            **{"base_url": f"https://{settings.address}", **self._client_arguments()},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # No logout: systems end idle sessions by themselves, and a lost logout must not hide why the block was left.
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    @property
    def where(self) -> str:
        """The system and its address, for messages."""
        return f"{self.system} at {self.settings.address}"

    @abstractmethod
    def _client_arguments(self) -> dict[str, Any]:
        """Return the system's own arguments of the client: headers, authentication, a longer base URL."""

    @abstractmethod
    def _message(self, response: httpx.Response) -> str:
        """Return what the system's error document says, in one line; "" when the answer is none."""

    def _refine(self, call: Call, response: httpx.Response, message: str) -> None:
        """Raise what the system means by an answer other than 2xx, where it says more than its status."""

    async def _send(self, call: Call, auth: httpx.Auth | None = None) -> httpx.Response:
        import httpx

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
            raise RequestRejected(f"{self.where}: {call.what} cannot be written as a request: {error}") from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            unreached(self.settings, self.system, self.up, call.what, error)
        except (httpx.HTTPError, httpx.StreamError) as error:
            self._unclear(call, f"gave no answer ({type(error).__name__})", cause=error)

    def _judge(self, call: Call, response: httpx.Response) -> None:
        """Raise what an answer other than 2xx, or one in HTML, means."""
        status = response.status_code
        html = "html" in response.headers.get("content-type", "").lower()
        if 200 <= status < 300 and not html:
            return
        message = self._message(response)
        self._refine(call, response, message)
        if 400 <= status < 500 and status != 429 and message:
            raise RequestRejected(f"{self.where} refused {call.what}: {message}")
        said = f"answered {status}" + (f": {message}" if message else " with a web page" if html else "")
        if not call.changing:
            if status in (429, 503):
                raise SystemBusy(f"{self.where} is busy: {call.what} was answered {status}", retry_after(response))
            if 400 <= status < 500:
                raise RequestRejected(
                    f"{self.where} refused {call.what}: it {said}; check the connection and the user's rights"
                )
        self._unclear(call, said)

    def _unclear(self, call: Call, said: str, cause: Exception | None = None) -> NoReturn:
        if call.changing:
            raise AnswerLost(f"{self.where} {said} to {call.what}: it may have taken effect") from cause
        raise SystemUnreachable(
            f"{self.where} {said} to {call.what}; connection {self.settings.connection!r}"
        ) from cause

    def _refuse(self, who: str, told: str, remedy: str) -> NoReturn:
        """Remember the refusal: every further try may count against the user."""
        reason = f"{self.where} refused {who}" + (f" ({' '.join(told.split())})" if told else "")
        self._refused = LoginRefused(self.settings.connection, reason, remedy)
        raise self._refused

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            raise SystemUnreachable(f"the {self.system} session is closed; use it inside its 'async with' block")
        return self._client


class TokenSession(HttpsSession[Settings]):
    """One that logs in for a token when it has to, and once more when the token is over."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._login = asyncio.Lock()
        self._logins = 0

    async def call(self, call: Call) -> httpx.Response:
        """Send one request, logged in; return its answer if it is a 2xx with what was asked for."""
        generation = await self._logged_in(0)
        response = await self._send(call)
        if response.status_code == 401 and self._has_token():
            await self._logged_in(generation)
            # A 401 had no effect, so this is no second sending of anything.
            response = await self._send(call)
        if response.status_code == 401:
            self._refuse_login(response)
        self._judge(call, response)
        return response

    async def json(self, call: Call) -> object:
        """Send one request and return the JSON that came back."""
        response = await self.call(call)
        try:
            return json.loads(response.content)
        except ValueError:
            self._unclear(call, f"answered {response.status_code} with something that is not JSON")

    @abstractmethod
    async def _log_in(self) -> object:
        """Get a token."""

    @abstractmethod
    def _has_token(self) -> bool:
        """Tell whether a login gets a token here, which may be over one day."""

    @abstractmethod
    def _refuse_login(self, response: httpx.Response) -> NoReturn:
        """Refuse by :meth:`_refuse`, in the system's words."""

    def _needs_login(self) -> bool:
        """Tell whether there is anything to log in to."""
        return True

    async def _logged_in(self, generation: int) -> int:
        """Log in unless somebody did since ``generation``; return the generation of the login."""
        async with self._login:
            if self._refused is not None:
                raise self._refused
            if self._needs_login() and self._logins <= generation:
                await self._log_in()
                self._logins += 1
            return self._logins
