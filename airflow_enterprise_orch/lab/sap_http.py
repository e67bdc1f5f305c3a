"""What both SAP stand-ins share: TLS, Basic login with a lock, the order of the faults, and how a connection dies."""

from __future__ import annotations

import asyncio
import base64
import secrets
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

from aiohttp import web

from airflow_enterprise_orch.lab.faulty_http import Action, FaultyHttp
from airflow_enterprise_orch.lab.sap_jobs import SapJobs
from airflow_enterprise_orch.lab.stand_in import FaultPlan, LabJob, pause
from airflow_enterprise_orch.lab.tls import loopback_tls

LOCKED_AFTER = 5
"""SAP profile parameter login/fails_to_user_lock: its default."""
CLIENT = "100"


@dataclass(frozen=True, slots=True)
class Operation:
    """What one request asks for.

    :param kind: as faults name it; "" for one that meets no faults.
    :param subject: what the ``match`` of a fault searches.
    """

    kind: str
    subject: str
    action: Action


class SapHttp(ABC):
    """An SAP application server on 127.0.0.1 and a free port.

    :ivar calls: how many requests each operation met.
    :ivar accepted_logins: requests of a user with the right password.
    """

    user = "AIRFLOW"
    connection_type: str

    def __init__(self, jobs: SapJobs) -> None:
        self.faults = FaultPlan()
        self.sap = jobs
        self.password = secrets.token_hex(8)
        self.calls: Counter[str] = Counter()
        self.accepted_logins = self.refused_logins = 0
        self._failed = 0
        self._refuse_next = False
        self._http = FaultyHttp()
        self._runner: web.AppRunner | None = None
        self._transports: WeakSet[asyncio.Transport] = WeakSet()
        self.url = ""

    async def start(self, scratch: Path) -> dict[str, Any]:
        """Start serving; return its part of the lab's JSON without ``control``."""
        tls = await asyncio.to_thread(loopback_tls, scratch)
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        # Parameters of OData function imports ride in the URL, so that may be long.
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True, max_line_size=70_000
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls.server)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"https://127.0.0.1:{port}"
        return {
            "url": self.url,
            "user": self.user,
            "password": self.password,
            "ca_file": str(tls.ca_file),
            "connection": {
                "conn_type": self.connection_type,
                "host": "127.0.0.1",
                "port": port,
                "login": self.user,
                "password": self.password,
                "extra": {"ca_file": str(tls.ca_file), "client": CLIENT},
            },
        }

    async def stop(self) -> None:
        """Stop serving and end the jobs."""
        self._http.forget()
        await self.sap.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        for transport in list(self._transports):
            transport.abort()  # a client that left without TLS's farewell is waited for half a minute otherwise
        await asyncio.sleep(0)

    def jobs(self) -> list[LabJob]:
        """Return every job ever handed over, oldest first."""
        return self.sap.records()

    async def reset(self) -> None:
        """Forget jobs, faults, sessions and logins; the user may log in again."""
        self.faults.clear()
        self._http.forget()
        await self.sap.clear()
        self.calls.clear()
        self.accepted_logins = self.refused_logins = self._failed = 0
        self._refuse_next = False
        self.end_sessions()

    def lift_holds(self) -> None:
        """Let the jobs go that the fate ``hold`` keeps waiting."""
        self.sap.unblock()

    @property
    def late(self) -> int:
        """How many requests were cut off and have yet to take effect."""
        return self._http.late

    @abstractmethod
    def end_sessions(self) -> None:
        """End all sessions, as a restart of the server does."""

    @abstractmethod
    async def route(self, request: web.Request, body: str) -> Operation:
        """Tell what a request asks for; called for logged-in users only."""

    @abstractmethod
    def failure(self) -> web.StreamResponse:
        """Answer as the server does when it breaks: ``error_500``."""

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            self._transports.add(request.transport)
        if not self._let_in(request):
            return unauthorized()
        operation = await self.route(request, await request.text())
        self.calls[operation.kind or "none"] += 1
        fault = self.faults.disruption(operation.kind, operation.subject) if operation.kind else None
        await pause(fault)
        if fault is not None and fault.do == "unauthorized":
            self.end_sessions()
            self.refused_logins += 1
            return unauthorized()
        return await self._http.answer(request, fault, operation.action, self.failure)

    def _let_in(self, request: web.Request) -> bool:
        """True for the right user, password and client; five wrong ones lock the user until ``reset``."""
        authorization = request.headers.get("Authorization", "")
        try:
            given = base64.b64decode(authorization.removeprefix("Basic "), validate=True).decode()
        except ValueError:
            given = ""
        right = secrets.compare_digest(given.encode(), f"{self.user}:{self.password}".encode())
        if not right or self._failed >= LOCKED_AFTER or request.query.get("sap-client", CLIENT) != CLIENT:
            if authorization:  # a request without any is only asked for one
                self.refused_logins += 1
                self._failed += 1
            return False
        self._failed = 0
        self.accepted_logins += 1
        return True


def unauthorized() -> web.Response:
    """Answer as ICF does, which does not say whether a user is wrong, expired or locked."""
    headers = {"WWW-Authenticate": f'Basic realm="SAP NetWeaver Application Server [LAB/{CLIENT}]"'}
    return web.Response(status=401, headers=headers, text="<html>Logon failed</html>", content_type="text/html")
