"""The stand-in of BMC Control-M's Automation API: session, order, status, log and output, hold to kill, over TLS.

Written after BMC's *Control-M Automation API* ("Run Service", "Session Service") and after what its own Python client
sends, in front of :mod:`.controlm_server`.

Faults: ``unauthorized`` ends all logins and refuses the next one. ``hold`` keeps a job waiting for a host, freed or
not, until it is cancelled or :meth:`ControlmStandIn.lift_holds` is called.
"""

from __future__ import annotations

import asyncio
import secrets
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

from aiohttp import web

from airflow_enterprise_orch.lab.controlm_server import SERVER, ControlmServer, Entry, OrderRefused, matches
from airflow_enterprise_orch.lab.faulty_http import Action, FaultyHttp
from airflow_enterprise_orch.lab.stand_in import FaultPlan, LabJob, pause
from airflow_enterprise_orch.lab.tls import loopback_tls

USER = "emuser"
BASE = "/automation-api"
RUN_PAGE = 25
"""How many entries one answer of ``run status`` has."""
OPERATIONS = {
    "free": "release",
    "hold": "cancel",
    "kill": "cancel",
    "delete": "cancel",
    "log": "output",
    "output": "output",
    "get": "find",
}


class ControlmStandIn:
    """The Automation API on 127.0.0.1 and a free port.

    :ivar server: the Control-M/Server behind it.
    :ivar calls: how many requests each operation met.
    :ivar shows: how many entries a list of jobs has at most, whatever ``limit`` asks for.
    """

    name: ClassVar[str] = "controlm"
    cannot: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.faults = FaultPlan()
        self.user, self.password, self.api_token = USER, secrets.token_urlsafe(16), secrets.token_urlsafe(32)
        self.server = ControlmServer(self.user)
        self.calls: Counter[str] = Counter()
        self.accepted_logins = self.refused_logins = 0
        self.has_waiting_info = True
        self.shows = 10_000
        self._tokens: set[str] = set()
        self._refuse_next = False
        self._http = FaultyHttp()
        self._transports: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, scratch: Path) -> dict[str, Any]:
        """Start serving; return its part of the lab's JSON without ``control``."""
        tls = await asyncio.to_thread(loopback_tls, scratch)
        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls.server).start()
        port = self._runner.addresses[0][1]
        self.url = f"https://127.0.0.1:{port}{BASE}"
        return {
            "url": self.url,
            "server": SERVER,
            "user": self.user,
            "password": self.password,
            "api_token": self.api_token,
            "ca_file": str(tls.ca_file),
            "connection": {
                "conn_type": "controlm",
                "host": "127.0.0.1",
                "port": port,
                "login": self.user,
                "password": self.password,
                "extra": {"server": SERVER, "ca_file": str(tls.ca_file), "timezone": "UTC"},
            },
        }

    async def stop(self) -> None:
        """Stop serving and end the jobs."""
        self._http.forget()
        await self.server.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        # TLS closes politely and waits for the other side, which may have gone away without a word.
        for transport in list(self._transports):
            transport.abort()
        await asyncio.sleep(0)

    def jobs(self) -> list[LabJob]:
        """Return every order ever made, oldest first."""
        return list(self.server.records())

    async def reset(self) -> None:
        """Forget jobs, faults and logins."""
        self.faults.clear()
        self._http.forget()
        await self.server.clear()
        self.calls.clear()
        self._tokens.clear()
        self.accepted_logins = self.refused_logins = 0
        self._refuse_next = False

    @property
    def late(self) -> int:
        """How many requests were cut off and have yet to take effect."""
        return self._http.late

    def expire_tokens(self) -> None:
        """End all logins, as time does."""
        self._tokens.clear()

    def lift_holds(self) -> None:
        """Let the jobs go that the fate ``hold`` keeps waiting."""
        self.server.unblock()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        """Meet one request: faults, login, then the operation."""
        if request.transport is not None:
            self._transports.add(request.transport)
        path = unquote(request.raw_path.partition("?")[0]).rstrip("/")
        body = await request.text()
        operation, action = self._route(request, path.removeprefix(BASE), body)
        if not path.startswith(BASE):
            return web.Response(status=404, text="<html><body>Not Found</body></html>", content_type="text/html")
        self.calls[operation] += 1
        login = operation == "login"
        fault = None if login else self.faults.disruption(operation, f"{path} {request.query_string} {body}")
        await pause(fault)
        if fault is not None and fault.do == "unauthorized":
            self._tokens.clear()
            self._refuse_next = True
            return _error(401, "Unauthorized: the session has ended")
        if not login and not self._knows(request):
            return _error(401, "Unauthorized: token is missing, invalid or expired")

        async def answered() -> web.StreamResponse:
            try:
                return await action()
            except OrderRefused as error:
                return _error(400, str(error))

        return await self._http.answer(
            request, fault, answered, lambda: _error(500, "Internal error: the lab was told to answer so")
        )

    def _route(self, request: web.Request, path: str, body: str) -> tuple[str, Action]:
        """Return the operation as faults name it, and what does it."""
        parts = [part for part in path.split("/") if part]
        method = request.method
        if path == "/session/login" and method == "POST":
            return "login", lambda: self._log_in(request)
        if path == "/session/logout" and method == "POST":
            return "login", lambda: self._log_out(request)
        if path == "/run/order" and method == "POST":
            return "submit", lambda: self._order(request, body)
        if path == "/run/jobs/status" and method == "GET":
            return "poll", lambda: self._list(request)
        if parts[:2] == ["run", "status"] and len(parts) == 3 and method == "GET":
            return "find", lambda: self._run(request, parts[2])
        if parts[:2] == ["run", "job"] and len(parts) == 4:
            operation = OPERATIONS.get(parts[3], "poll")
            return operation, lambda: self._job(request, parts[2], parts[3])

        async def nothing() -> web.StreamResponse:
            return _error(404, f"No service at {method} {path}")

        return "any", nothing

    def _knows(self, request: web.Request) -> bool:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return token in self._tokens or request.headers.get("x-api-key", "") == self.api_token

    async def _log_in(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = dict(await request.json())
        except (ValueError, TypeError):
            return _error(400, "Invalid JSON")
        right = secrets.compare_digest(str(asked.get("password")).encode(), self.password.encode())
        if asked.get("username") != self.user or not right or self._refuse_next:
            self._refuse_next = False
            self.refused_logins += 1
            return _error(401, "Failed to login: Incorrect username or password")
        self.accepted_logins += 1
        token = secrets.token_hex(64).upper()
        self._tokens.add(token)
        return web.json_response({"username": self.user, "token": token, "version": "9.21.300"})

    async def _log_out(self, request: web.Request) -> web.StreamResponse:
        self._tokens.discard(request.headers.get("Authorization", "").removeprefix("Bearer "))
        return web.json_response({"message": f"Successfully logged out from session {self.user}"})

    async def _order(self, request: web.Request, body: str) -> web.StreamResponse:
        try:
            asked = dict(await request.json())
        except (ValueError, TypeError):
            return _error(400, "Invalid JSON")
        run_id = self.server.order(asked, self.faults.fate(body))
        return web.json_response({"runId": run_id, "statusURI": f"{self.url}/run/status/{run_id}"})

    async def _run(self, request: web.Request, run_id: str) -> web.StreamResponse:
        if run_id not in self.server.runs:
            return _error(404, f"Run {run_id} was not found")
        ids = self.server.runs[run_id]
        entries = [entry for job_id in ids if (entry := self.server.entry(job_id))]
        start = int(request.query.get("startIndex", "0"))
        page = entries[start : start + RUN_PAGE]
        told = {"startIndex": start, "itemsPerPage": RUN_PAGE, "total": len(entries)}
        return web.json_response({"statuses": [self._document(entry) for entry in page], **told})

    async def _list(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        filters: dict[str, Callable[[Entry], str]] = {
            "ctm": lambda _entry: SERVER,
            "folder": lambda entry: entry.folder or entry.name,
            "jobname": lambda entry: entry.name,
            "jobid": lambda entry: entry.id,
            "status": lambda entry: entry.status,
            "held": lambda entry: str(entry.held).lower(),
            "deleted": lambda entry: str(entry.deleted).lower(),
        }
        for name in query:
            if name != "limit" and name not in filters:
                return _error(400, f"Unsupported search parameter {name}")
        # BMC's own client writes yes and no as Python does.
        yes_no = ("held", "deleted")
        asked = [
            (query[name].lower() if name in yes_no else query[name], told)
            for name, told in filters.items()
            if name in query
        ]
        found = [
            entry
            for entry in self.server.active
            if not entry.gone and all(matches(pattern, told(entry)) for pattern, told in asked)
        ]
        page = found[: min(int(query.get("limit", "1000")), self.shows)]
        answer = {"statuses": [self._document(entry) for entry in page], "returned": len(page), "total": len(found)}
        return web.json_response(answer)

    async def _job(self, request: web.Request, job_id: str, action: str) -> web.StreamResponse:
        entry = self.server.entry(job_id)
        if entry is None:
            return _error(404, f"Job {job_id} was not found")
        server = self.server
        if request.method == "POST":
            actions: dict[str, Callable[[Entry], str]] = {
                "hold": server.hold,
                "free": server.free,
                "kill": server.kill,
                "delete": server.delete,
                "rerun": server.rerun,
                "setToOk": server.set_to_ok,
            }
            if action not in actions:
                return _error(404, f"No service {action}")
            done = actions[action](entry)
            if action == "rerun":
                return web.json_response(self._document(entry))
            return web.json_response({"message": f"Job {entry.id} was successfully {done}"})
        if action == "status":
            return web.json_response(self._document(entry))
        if action == "get":
            return web.json_response(self._definition(entry))
        if action == "waitingInfo" and self.has_waiting_info:
            return web.json_response(server.waits_for(entry))
        if action == "log":
            width = max(len(message) for _, message, _ in entry.log)
            lines = [f"{'Event Time':<21} {'Message':<{width}}\tCode", ""]
            lines += [f"{time:<21} {message:<{width}}\t{code}" for time, message, code in entry.log]
            return web.Response(text="\n".join(lines) + "\n")
        if action == "output":
            return self._output(request, entry)
        return _error(404, f"No service {action}")

    @staticmethod
    def _output(request: web.Request, entry: Entry) -> web.Response:
        number = int(request.query.get("runNo", "0")) or len(entry.outputs)
        if entry.kind == "Folder" or not 1 <= number <= len(entry.outputs) or not entry.over:
            return _error(404, "OUTPUT DOES NOT EXIST FOR THIS JOB")
        return web.Response(text=entry.outputs[number - 1])

    def _document(self, entry: Entry) -> dict[str, Any]:
        uri = f"{self.url}/run/job/{entry.id}"
        has_output = entry.over and entry.kind != "Folder"
        return {
            "jobId": entry.id,
            "folderId": entry.folder_id or (entry.id if entry.kind == "Folder" else f"{SERVER}:00000"),
            "numberOfRuns": entry.runs,
            "name": entry.name,
            "folder": entry.folder,
            "type": entry.kind,
            "status": entry.status,
            "held": entry.held,
            "deleted": entry.deleted,
            "cyclic": entry.cyclic,
            "startTime": entry.started,
            "endTime": entry.ended,
            "estimatedStartTime": [],
            "estimatedEndTime": [],
            "orderDate": entry.log[0][0][2:8],
            "ctm": SERVER,
            "description": "",
            "host": SERVER if entry.runs else "",
            "library": "",
            "application": "LAB",
            "subApplication": "LAB",
            "outputURI": f"{uri}/output" if has_output else "Job did not run, it has no output",
            "logURI": f"{uri}/log",
        }

    @staticmethod
    def _definition(entry: Entry) -> dict[str, Any]:
        kind = "Folder" if entry.kind == "Folder" else "Job:Command"
        told = [{name: value} for name, value in entry.variables.items()]
        return {entry.name: {"Type": kind, "ControlmServer": SERVER, "Variables": told}}


def _error(status: int, message: str) -> web.Response:
    """Answer with the Automation API's error document."""
    return web.json_response({"errors": [{"message": message}]}, status=status)
