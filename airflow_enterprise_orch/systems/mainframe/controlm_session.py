"""Talking HTTPS to Control-M's Automation API: login, one request, and what its failure proves.

BMC, *Control-M Automation API*, "Authentication Tokens": a session token comes from ``POST session/login``, travels as
``Authorization: Bearer`` and ends after some time without use; an API token travels as ``x-api-key`` and needs no
login. "Errors" are documents ``{"errors": [{"message", "id", "item", ...}]}``.

================================================  ==========================================================
what happened                                     what is raised
================================================  ==========================================================
no connection, no TLS                             ``SystemUnreachable``: nothing was sent
a certificate that is not trusted                 ``ConnectionUntrusted``
cut, time-out, 5xx, HTML, after a changing call   ``AnswerLost``: look before doing anything
the same after a reading call                     ``SystemUnreachable``; 429 and 503: ``SystemBusy``
4xx                                               ``RequestRejected``, or ``JobAbsent`` when no such job is there
401 to the login or to an API token               ``LoginRefused``; this session sends nothing more
401 to a session token                            one new login, then ``LoginRefused``
================================================  ==========================================================
"""

from __future__ import annotations

import asyncio
import json
import re
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
from airflow_enterprise_orch.systems.mainframe.session import Call, JobAbsent

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

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
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ControlmSession:
    """An HTTPS client that is logged in when it has to be. An async context manager; one per event loop."""

    def __init__(self, settings: ControlmSettings) -> None:
        self.settings = settings
        self._login = asyncio.Lock()
        self._logins = 0
        self._refused: LoginRefused | None = None
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        import httpx

        settings = self.settings
        self._client = httpx.AsyncClient(
            base_url=f"https://{settings.address}{settings.path}",
            headers={"Accept": "application/json"},
            verify=self._trust(),
            timeout=httpx.Timeout(settings.timeout, connect=min(10.0, settings.timeout)),
            limits=httpx.Limits(max_connections=8),
            trust_env=False,  # the connection alone says which way leads to Control-M
        )
        if not settings.login:
            self._client.headers["x-api-key"] = settings.password
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # No logout: BMC ends idle sessions by itself, and a lost logout must not hide why the block was left.
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def call(self, call: Call) -> httpx.Response:
        """Send one request, logged in; return its answer if it is a 2xx with what was asked for."""
        generation = await self._logged_in(0)
        response = await self._send(call)
        if response.status_code == 401 and self.settings.login:
            await self._logged_in(generation)
            # A 401 had no effect, so this is no second sending of anything.
            response = await self._send(call)
        if response.status_code == 401:
            self._refuse(response)
        self._judge(call, response)
        return response

    async def document(self, call: Call) -> Mapping[str, object]:
        """Send one request and return the JSON object that came back."""
        value = await self.json(call)
        if not isinstance(value, Mapping):
            self._unclear(call, "answered with something else")
        return value

    async def json(self, call: Call) -> object:
        """Send one request and return the JSON that came back."""
        response = await self.call(call)
        try:
            return json.loads(response.content)
        except ValueError:
            self._unclear(call, f"answered {response.status_code} with something that is not JSON")

    async def version(self) -> str:
        """Log in where there is something to log in to; return the version that the login told, "" for none."""
        if not self.settings.login:
            return ""
        async with self._login:
            version = await self._log_in()
            self._logins += 1
        return version

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
            if self.settings.login and self._logins <= generation:
                await self._log_in()
                self._logins += 1
            return self._logins

    async def _log_in(self) -> str:
        client = self._opened()
        client.headers.pop("Authorization", None)
        body = {"username": self.settings.login, "password": self.settings.password}
        call = Call("login", "POST", LOGIN_PATH, headers=JSON_BODY, content=json.dumps(body).encode())
        response = await self._send(call)
        # Only the status is trusted: which error text means a wrong password differs from version to version.
        if response.status_code in (400, 401, 403) and message_of(_json(response)):
            self._refuse(response)
        if response.status_code == 401:
            self._refuse(response)
        self._judge(call, response)
        document = _json(response)
        token = document.get("token") if isinstance(document, Mapping) else None
        if not isinstance(token, str) or not token or not isinstance(document, Mapping):
            self._unclear(call, "answered the login without a token; check host, port and path")
        client.headers["Authorization"] = f"Bearer {token}"
        return str(document.get("version") or "")

    async def _send(self, call: Call) -> httpx.Response:
        import httpx

        try:
            return await self._opened().request(
                call.method,
                call.path,
                params=dict(call.params) or None,
                headers=dict(call.headers),
                content=call.content,
            )
        except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
            raise RequestRejected(f"{self._where}: {call.what} cannot be written as a request: {error}") from error
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
            f"{self._where} cannot be reached for {call.what} ({error or type(error).__name__}); nothing was sent; "
            f"check connection {self.settings.connection!r}, the network and that the Automation API is up"
        ) from error

    def _judge(self, call: Call, response: httpx.Response) -> None:
        """Raise what an answer other than 2xx, or one in HTML, means."""
        status = response.status_code
        html = "html" in response.headers.get("content-type", "").lower()
        if 200 <= status < 300 and not html:
            return
        message = message_of(_json(response))
        if message and _NO_OUTPUT.search(message):
            raise OutputAbsent(f"{self._where}: {call.what}: {message}")
        if "/run/job/" in call.path and (status == 404 or status < 500) and message and _ABSENT.search(message):
            raise JobAbsent(f"{self._where}: {call.what}: {message}")
        if 400 <= status < 500 and status != 429 and message:
            raise RequestRejected(f"{self._where} refused {call.what}: {message}")
        said = f"answered {status}" + (f": {message}" if message else " with a web page" if html else "")
        if not call.changing:
            if status in (429, 503):
                raise SystemBusy(f"{self._where} is busy: {call.what} was answered {status}", _retry_after(response))
            if 400 <= status < 500:
                raise RequestRejected(
                    f"{self._where} refused {call.what}: it {said}; check the connection and the user's rights"
                )
        self._unclear(call, said)

    def _unclear(self, call: Call, said: str, cause: Exception | None = None) -> NoReturn:
        if call.changing:
            raise AnswerLost(f"{self._where} {said} to {call.what}: it may have taken effect") from cause
        raise SystemUnreachable(
            f"{self._where} {said} to {call.what}; connection {self.settings.connection!r}"
        ) from cause

    def _refuse(self, response: httpx.Response) -> NoReturn:
        """Remember the refusal: every further try may count against the user."""
        told = message_of(_json(response))
        who = f"the login of {self.settings.login}" if self.settings.login else "the API token"
        self._refused = LoginRefused(
            self.settings.connection,
            f"{self._where} refused {who}" + (f" ({told})" if told else ""),
            "correct login and password, or the API token (wrong, expired or locked?), before anything is tried again",
        )
        raise self._refused

    @property
    def _where(self) -> str:
        return f"Control-M at {self.settings.address}"

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            raise SystemUnreachable("the Control-M session is closed; use it inside its 'async with' block")
        return self._client


JSON_BODY: Mapping[str, str] = {"Content-Type": "application/json"}


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


def _json(response: httpx.Response) -> object:
    try:
        return json.loads(response.content)
    except ValueError:
        return None


def _retry_after(response: httpx.Response) -> timedelta | None:
    value = response.headers.get("retry-after", "")
    return timedelta(seconds=int(value)) if value.isdigit() else None
