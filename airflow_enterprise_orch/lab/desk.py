"""The incident desk of the lab's company: an HTTP server with a login that keeps the alerts which are posted to it.

It takes ``POST`` of a JSON object at any path and answers 202, as incident desks do. No job is ever handed to it, so
``GET jobs`` is an empty list; ``GET messages`` of its control API has what came, oldest first.
"""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path
from typing import Any, ClassVar

from aiohttp import web

from airflow_enterprise_orch.lab.faulty_http import cut
from airflow_enterprise_orch.lab.stand_in import FATES, FaultPlan, LabJob, now, pause

USER = "airflow"


class DeskStandIn:
    """The desk on 127.0.0.1 and a free port.

    :ivar posts: ``{"at", "path", "data"}`` of each alert.
    """

    name: ClassVar[str] = "desk"
    # It starts nothing, so there are no jobs with a fate; and what it answers is empty.
    cannot: ClassVar[tuple[str, ...]] = (*FATES, "half_answer", "late_commit", "slow_answer")

    def __init__(self) -> None:
        self.faults = FaultPlan()
        self.password = secrets.token_hex(8)
        self.posts: list[dict[str, Any]] = []
        self.accepted_logins = self.refused_logins = 0
        self._runner: web.AppRunner | None = None

    async def start(self, scratch: Path) -> dict[str, Any]:
        """Start serving; return its part of the lab's JSON without ``control``."""
        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        return {
            "url": f"http://127.0.0.1:{port}",
            "user": USER,
            "password": self.password,
            "connection": {
                "conn_type": "http",
                "host": "127.0.0.1",
                "port": port,
                "login": USER,
                "password": self.password,
            },
        }

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def jobs(self) -> list[LabJob]:
        """Return no job: nothing is delegated to a desk."""
        return []

    def messages(self) -> list[dict[str, Any]]:
        """Return every alert that came, oldest first."""
        return self.posts

    async def reset(self) -> None:
        """Forget alerts, faults and logins."""
        self.faults.clear()
        self.posts.clear()
        self.accepted_logins = self.refused_logins = 0

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        fault = self.faults.disruption("any", body)
        await pause(fault)
        kind = fault.do if fault is not None else ""
        if kind == "cut_before_commit":
            return cut(request)
        if kind in ("error_500", "html_503"):
            return web.Response(status=int(kind[-3:]), text="<html>out of order</html>", content_type="text/html")
        if kind == "unauthorized" or not self._knows(request):
            self.refused_logins += 1
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="incident desk"'})
        self.accepted_logins += 1
        if request.method != "POST":
            return web.Response(status=405, text="POST an alert\n")
        try:
            data = json.loads(body)
        except json.JSONDecodeError as error:
            return web.Response(status=400, text=f"the body is no JSON: {error}\n")
        self.posts.append({"at": now(), "path": request.path, "data": data})
        return cut(request) if kind == "cut_after_commit" else web.Response(status=202)

    def _knows(self, request: web.Request) -> bool:
        right = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        return secrets.compare_digest(given.encode(), right.encode())
