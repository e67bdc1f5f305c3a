"""Talking HTTP to an engine: one request, and what its failure proves.

The mapping of failures is the foundation of "never twice, never lost", so it is strict:

================================================  ==========================================================
what happened                                     what is raised
================================================  ==========================================================
no connection, no SSH channel, no TLS             ``SystemUnreachable``: nothing was sent
a certificate or host key that is not trusted     ``ConnectionUntrusted``
our certificate, key or password is refused       ``LoginRefused``
cut, time-out, 5xx, HTML, after a changing call   ``AnswerLost``: look before doing anything
the same after a reading call                     ``SystemUnreachable``; 429 and 503: ``SystemBusy``
404, 409 with the engine's error document         :class:`EngineAbsent`, :class:`EngineConflict`
any other 4xx with it                             ``RequestRejected``
================================================  ==========================================================
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import quote, urlencode

from airflow_enterprise_orch.errors import (
    AnswerLost,
    ConnectionInvalid,
    ConnectionUntrusted,
    LoginRefused,
    RequestRejected,
    SystemBusy,
    SystemUnreachable,
)
from airflow_enterprise_orch.systems.container.settings import EngineSettings, Way
from airflow_enterprise_orch.systems.container.transport import Tunnel, alert_of, pool

if TYPE_CHECKING:
    from types import TracebackType

    import httpcore

    from airflow_enterprise_orch.systems.container.transport import Connect


class EngineAbsent(RequestRejected):
    """The engine says that it has no such container, image or volume."""


class EngineConflict(RequestRejected):
    """The engine says that the name is taken, or that the container's state does not allow it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    :param what: what it does, for messages: ``start of T123``.
    :param changing: it changes something, so that a lost answer is ambiguous.
    :param patience: seconds beside the session's time-out that the answer may take.
    """

    what: str
    method: str
    path: str
    changing: bool = False
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole.

    :param document: the JSON, or None where there was none.
    """

    status: int
    document: Any

    @property
    def message(self) -> str:
        """The engine's own words for an error, on one line; "" when there are none."""
        told = self.document.get("message") if isinstance(self.document, Mapping) else None
        return " ".join(str(told or "").split())


def part(text: str) -> str:
    """Return one part of a path, so that no value can become two."""
    return quote(text, safe="")


class EngineSession:
    """The HTTP side of one engine. An async context manager; one per event loop.

    :param connect: makes the SSH connection, for :attr:`Way.SSH`.
    """

    def __init__(self, settings: EngineSettings, connect: Connect | None = None) -> None:
        if (settings.way is Way.SSH) != (connect is not None):
            raise ValueError("an SSH connection is needed for the way 'ssh', and for no other")
        self.settings = settings
        self._tunnel = Tunnel(connect) if connect is not None else None
        self._pool: httpcore.AsyncConnectionPool | None = None
        # No version in the path: the engine then speaks its own newest (Docker 29 refuses what is older than 1.44, and
        # 20.10 knows none above 1.41), and what is used here is the same in all of them.
        origin = f"https://{settings.host}:{settings.port}" if settings.way is Way.TLS else "http://engine"
        self._origin = origin

    async def __aenter__(self) -> Self:
        self._pool = pool(self.settings, self._tunnel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            await self._pool.aclose()
            self._pool = None
        if self._tunnel is not None:
            await self._tunnel.close()

    async def call(self, call: Call) -> Answer:
        """Send one request; return its answer when it is a 2xx or 304 with the engine's own content."""
        answer = await self.ask(call)
        self.judge(call, answer)
        return answer

    async def ask(self, call: Call) -> Answer:
        """Send one request; return whatever the engine answered."""
        async with self._sent(call) as response:
            content = b"".join([chunk async for chunk in response.aiter_stream()])
        return self._read(call, response, content)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send one request; yield the content piece by piece when it is a 2xx. Leaving early closes the connection."""
        async with self._sent(call) as response:
            if response.status >= 300:
                content = b"".join([chunk async for chunk in response.aiter_stream()])
                answer = self._read(call, response, content)
                self.judge(call, answer)
            yield response.aiter_stream()

    def judge(self, call: Call, answer: Answer) -> None:
        """Raise what an answer other than 2xx or 304 means."""
        status, message = answer.status, answer.message
        if 200 <= status < 300 or status == 304:
            return
        where = f"the engine {self.settings.address}"
        if message and 400 <= status < 500 and status != 429:
            kind = {404: EngineAbsent, 409: EngineConflict}.get(status, RequestRejected)
            raise kind(f"{where} refused the {call.what}: {message}")
        said = f"answered {status}" + (f": {message}" if message else " without the engine's error document")
        if not call.changing:
            if status in (429, 503):
                raise SystemBusy(f"{where} is busy: the {call.what} was answered {status}")
            if 400 <= status < 500:
                raise RequestRejected(f"{where} {said} to the {call.what}; check the connection, and what is before it")
        self._unclear(call, said)

    @asynccontextmanager
    async def _sent(self, call: Call) -> AsyncIterator[httpcore.Response]:
        import httpcore

        if self._pool is None:
            raise SystemUnreachable("the session is closed; use it inside its 'async with' block")
        seconds = self.settings.timeout + call.patience
        url = self._origin + call.path + (f"?{urlencode(call.params)}" if call.params else "")
        headers = {"Host": self.settings.host or "engine", "User-Agent": "enterprise-orch", **call.headers}
        content = b""
        if call.body is not None:
            content = json.dumps(call.body).encode()
            headers["Content-Type"] = "application/json"
        if call.method != "GET":
            headers["Content-Length"] = str(len(content))
        timeouts = {"connect": min(30.0, seconds), "read": seconds, "write": seconds, "pool": seconds}
        try:
            async with self._pool.stream(
                call.method, url, headers=list(headers.items()), content=content, extensions={"timeout": timeouts}
            ) as response:
                yield response
        except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout) as error:
            self._no_way(call, error)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            # OSError: an alert of TLS is an ssl.SSLError, and httpcore lets it through as it is.
            self._certificate_refused(error)
            if self.settings.way is Way.TLS and not call.changing:
                # The alert is lost when the server hung up while we were still writing.
                self._certificate_refused(await alert_of(self.settings))
            self._unclear(call, f"gave no answer ({type(error).__name__})", cause=error)

    def _read(self, call: Call, response: httpcore.Response, content: bytes) -> Answer:
        kinds = [value.decode(errors="replace").lower() for name, value in response.headers if name == b"content-type"]
        document: Any = None
        if content and not any("html" in kind for kind in kinds):
            try:
                document = json.loads(content)
            except ValueError:
                document = None
        if content and document is None and 200 <= response.status < 300:
            # "OK" and other plain words come from a proxy, never from the engine.
            self._unclear(call, f"answered {response.status} with something that is not JSON")
        return Answer(response.status, document)

    def _no_way(self, call: Call, error: Exception) -> NoReturn:
        settings = self.settings
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise ConnectionUntrusted(
                    settings.connection,
                    f"the certificate of {settings.host} is not trusted ({cause.verify_message})",
                    "put the authority that signed it into a PEM file and name that file in the connection's ca_file",
                ) from error
            if isinstance(cause, PermissionError):
                raise ConnectionInvalid(
                    settings.connection,
                    f"this process may not use {settings.socket}",
                    "add the user that Airflow runs as to the group that owns the socket (usually 'docker')",
                ) from error
        self._certificate_refused(error)
        raise SystemUnreachable(
            f"the engine {settings.address} cannot be reached for the {call.what} "
            f"({' '.join(str(error).split()) or type(error).__name__}); nothing was sent; "
            f"check connection {settings.connection!r} and that the engine runs"
        ) from error

    def _certificate_refused(self, error: Exception | None) -> None:
        """With TLS 1.3 a server that wants another certificate says so only after the handshake, as an alert."""
        for cause in _causes(error) if error is not None else ():
            if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
                raise LoginRefused(
                    self.settings.connection,
                    f"{self.settings.address} refused our certificate ({cause.reason})",
                    "name a client_cert and client_key that the engine's authority signed",
                ) from error

    def _unclear(self, call: Call, said: str, cause: Exception | None = None) -> NoReturn:
        where = f"the engine {self.settings.address} {said}"
        if call.changing:
            raise AnswerLost(f"{where} to the {call.what}: it may have taken effect") from cause
        raise SystemUnreachable(f"{where} to the {call.what}; connection {self.settings.connection!r}") from cause


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found
