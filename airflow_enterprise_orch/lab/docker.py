"""The stand-in of a container engine: the Docker Engine API in front of :mod:`.docker_engine`.

It is served three ways, as engines are: on a socket, through SSH to that socket (an SSH server that forwards to it and
does nothing else), and on TCP with certificates on both sides. Clients may write a version (``/v1.41/``) or none.

Faults: ``create`` is ``submit``, ``start`` is ``release``, what ends or removes is ``cancel``. ``unauthorized``
cuts SSH connections and refuses the next login. ``hold`` has no meaning: an engine has no queue.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import os
import re
import secrets
import signal
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import asyncssh
from aiohttp import web

from airflow_enterprise_orch.lab import docker_documents as documents
from airflow_enterprise_orch.lab.company import ENTRY_POINTS
from airflow_enterprise_orch.lab.docker_engine import LabContainer, LabEngine, NameTaken, StartFailed
from airflow_enterprise_orch.lab.docker_tls import mutual_tls
from airflow_enterprise_orch.lab.faulty_http import Action, FaultyHttp, cut
from airflow_enterprise_orch.lab.stand_in import FaultPlan, LabJob, pause

USER = "lab"
SOCKET = "docker.sock"
LONGEST_SOCKET = 100
REGISTRY = "registry.lab"
IMAGES = ("lab/tools:1", "lab/tools:latest", "lab/web:1", *ENTRY_POINTS)
"""What the engine has when it starts; ``lab/web`` brings a health check, and the company's own bring a program."""
REMOTE = ("docker.io/lab/remote:1", f"{REGISTRY}/private/tools:1")
"""What can be pulled; the second one needs the registry's login."""


class DockerStandIn:
    """An engine on a socket, behind SSH and behind TLS.

    :ivar calls: how many requests each operation met.
    :ivar requests: method and path of every request, without the version.
    :ivar pull_errors_in_stream: a refused pull is answered 200 and says so in its progress, as Podman does.
    """

    name: ClassVar[str] = "docker"
    cannot: ClassVar[tuple[str, ...]] = ("hold",)

    def __init__(self) -> None:
        self.faults = FaultPlan()
        self.engine = LabEngine()
        self.calls: Counter[str] = Counter()
        self.requests: list[str] = []
        self.password = secrets.token_urlsafe(12)
        self.registry_password = secrets.token_urlsafe(12)
        self.images = set(IMAGES)
        self.pull_errors_in_stream = False
        self.accepted_logins = 0
        self.refused_logins = 0
        self.logins: set[asyncssh.SSHServerConnection] = set()
        self._refuse_next = False
        self._http = FaultyHttp()
        self._runner: web.AppRunner | None = None
        self._ssh: asyncssh.SSHAcceptor | None = None
        self.socket = Path()
        self._short: tempfile.TemporaryDirectory[str] | None = None

    def _place_of_socket(self, scratch: Path) -> Path:
        """Return where the socket goes: a path of more than 107 bytes cannot be bound (unix(7))."""
        if len(os.fsencode(scratch / SOCKET)) <= LONGEST_SOCKET:
            return scratch / SOCKET
        self._short = tempfile.TemporaryDirectory(prefix="orch-", dir="/tmp")
        return Path(self._short.name) / SOCKET

    async def start(self, scratch: Path) -> dict[str, Any]:
        """Start serving; return its part of the lab's JSON without ``control``."""
        quiet = logging.getLogger("asyncssh")
        if quiet.level == logging.NOTSET:
            quiet.setLevel(logging.WARNING)  # it tells ten lines per channel at INFO
        self.engine.scratch = scratch / "containers"
        self.engine.scratch.mkdir()
        self.socket = self._place_of_socket(scratch)
        tls = await asyncio.to_thread(mutual_tls, scratch)
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=False)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls.server).start()
        tls_port = next(address[1] for address in self._runner.addresses if isinstance(address, tuple))
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._ssh = await asyncssh.create_server(
            lambda: _Login(self), "127.0.0.1", 0, server_host_keys=[host_key], keepalive_interval=0
        )
        ssh_port = self._ssh.get_port()
        known = " ".join(host_key.export_public_key("openssh").decode().split()[:2])
        by_ssh = {
            "conn_type": "container_engine",
            "host": "127.0.0.1",
            "port": ssh_port,
            "login": USER,
            "password": self.password,
            "extra": {"transport": "ssh", "socket": str(self.socket), "host_key": known},
        }
        certificates = {
            "ca_file": str(tls.ca_file),
            "client_cert": str(tls.client_cert),
            "client_key": str(tls.client_key),
        }
        by_tls = {
            "conn_type": "container_engine",
            "host": "127.0.0.1",
            "port": tls_port,
            "extra": {"transport": "tls", **certificates},
        }
        by_unix = {"conn_type": "container_engine", "extra": {"transport": "unix", "socket": str(self.socket)}}
        return {
            "url": f"unix://{self.socket}",
            "socket": str(self.socket),
            "tls_url": f"https://127.0.0.1:{tls_port}",
            **certificates,
            "ssh_port": ssh_port,
            "user": USER,
            "password": self.password,
            "registry": REGISTRY,
            "registry_user": USER,
            "registry_password": self.registry_password,
            "connection": by_ssh,
            "connections": {"ssh": by_ssh, "tls": by_tls, "unix": by_unix},
        }

    async def stop(self) -> None:
        """Stop serving and end the containers."""
        await self._end_serving()
        if self._short is not None:
            self._short.cleanup()

    async def _end_serving(self) -> None:
        self._http.forget()
        await self.engine.clear()
        if self._ssh is not None:
            self._ssh.close()
            for login in list(self.logins):
                login.abort()
            await self._ssh.wait_closed()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def jobs(self) -> list[LabJob]:
        """Return one entry per container, and one more for each time that it was started again, oldest first."""
        return list(self.engine.records)

    async def reset(self) -> None:
        """Forget containers, volumes, faults and logins; SSH connections are cut."""
        self.faults.clear()
        self._http.forget()
        await self.engine.clear()
        self.calls.clear()
        self.requests.clear()
        self.images = set(IMAGES)
        self.pull_errors_in_stream = self._refuse_next = False
        self.drop_logins()
        self.accepted_logins = self.refused_logins = 0

    @property
    def late(self) -> int:
        """How many requests were cut off and have yet to take effect."""
        return self._http.late

    def drop_logins(self) -> None:
        """Cut every SSH connection."""
        for login in list(self.logins):
            login.abort()

    def refuse_login(self) -> bool:
        """Return whether this login is the one that ``unauthorized`` refuses."""
        refuse, self._refuse_next = self._refuse_next, False
        return refuse

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        """Meet one request: faults, then the operation."""
        path = re.sub(r"^/v\d+\.\d+(?=/)", "", request.raw_path.partition("?")[0])
        body = await request.text()
        operation, action = self._route(request, path, body)
        self.calls[operation] += 1
        self.requests.append(f"{request.method} {path}")
        fault = self.faults.disruption(operation, f"{unquote(path)} {unquote(request.query_string)} {body}")
        await pause(fault)
        if fault is not None and fault.do == "unauthorized":
            self._refuse_next = True
            self.drop_logins()
            return cut(request)
        return await self._http.answer(
            request, fault, action, lambda: documents.error(500, "the lab was told to answer so")
        )

    def _route(self, request: web.Request, path: str, body: str) -> tuple[str, Action]:
        """Return the operation as faults name it, and what does it."""
        parts = [unquote(piece) for piece in path.strip("/").split("/")]
        method, head, rest = request.method, parts[0], parts[1:]
        if head == "containers" and rest:
            return self._route_container(request, rest, body)
        if head == "images" and rest == ["create"] and method == "POST":
            return "any", lambda: self._pull(request)
        if head == "images" and len(rest) > 1 and rest[-1] == "json" and method == "GET":
            return "any", lambda: self._image("/".join(rest[:-1]))
        if head == "volumes":
            return self._route_volume(method, rest, body)
        plain = {"_ping": self._ping, "version": self._version, "info": self._info}
        if len(parts) == 1 and head in plain and method in ("GET", "HEAD"):
            return "any", plain[head]

        async def nothing() -> web.StreamResponse:
            return documents.error(404, "page not found")

        return "any", nothing

    def _route_container(self, request: web.Request, rest: list[str], body: str) -> tuple[str, Action]:
        method = request.method
        if rest == ["create"] and method == "POST":
            return "submit", lambda: self._create(request, body)
        if rest == ["json"] and method == "GET":
            return "poll", lambda: self._list(request)
        container = self.engine.find(rest[0])
        verb = rest[1] if len(rest) > 1 else ""
        verbs: dict[
            tuple[str, str], tuple[str, Callable[[web.Request, LabContainer], Awaitable[web.StreamResponse]]]
        ] = {
            ("GET", "json"): ("find" if re.fullmatch(r"[A-Z][A-Z0-9]{19}", rest[0]) else "poll", self._inspect),
            ("GET", "logs"): ("output", self._logs),
            ("POST", "start"): ("release", self._start),
            ("POST", "stop"): ("cancel", self._stop),
            ("POST", "kill"): ("cancel", self._kill),
            ("POST", "wait"): ("poll", self._wait),
            ("DELETE", ""): ("cancel", self._remove),
        }
        operation, act = verbs.get((method, verb), ("any", None))

        async def absent() -> web.StreamResponse:
            return documents.error(404, f"No such container: {rest[0]}" if act else "page not found")

        if container is None or act is None:
            return operation, absent
        found, does = container, act
        return operation, lambda: does(request, found)

    def _route_volume(self, method: str, rest: list[str], body: str) -> tuple[str, Action]:
        name = rest[0] if rest else ""

        async def make() -> web.StreamResponse:
            asked = json.loads(body or "{}")
            labels = asked.get("Labels") or {}
            return web.json_response(
                self.engine.volume(str(asked.get("Name") or secrets.token_hex(32)), labels), status=201
            )

        async def show() -> web.StreamResponse:
            if not name:
                return web.json_response({"Volumes": list(self.engine.volumes.values()), "Warnings": None})
            found = self.engine.volumes.get(name)
            return web.json_response(found) if found else documents.error(404, f"get {name}: no such volume")

        async def remove() -> web.StreamResponse:
            found = self.engine.volumes.pop(name, None)
            return web.Response(status=204) if found else documents.error(404, f"get {name}: no such volume")

        async def nothing() -> web.StreamResponse:
            return documents.error(404, "page not found")

        if method == "POST" and name == "create":
            return ("cancel" if ".cancel" in body else "submit"), make
        acts = {"GET": ("poll" if name.endswith(".cancel") else "find", show), "DELETE": ("any", remove)}
        return acts.get(method, ("any", nothing))

    async def _ping(self) -> web.StreamResponse:
        return web.Response(text="OK", headers={"Api-Version": documents.API, "Ostype": "linux"})

    async def _version(self) -> web.StreamResponse:
        return web.json_response(documents.VERSION)

    async def _info(self) -> web.StreamResponse:
        running = sum(container.state == "running" for container in self.engine.containers.values())
        return web.json_response(documents.info(len(self.engine.containers), running))

    async def _create(self, request: web.Request, body: str) -> web.StreamResponse:
        try:
            asked = json.loads(body)
        except ValueError as error:
            return documents.error(400, f"invalid JSON: {error}")
        name = request.query.get("name", "").lstrip("/")
        if name and not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name):
            allowed = "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            return documents.error(400, f"Invalid container name ({name}), {allowed}")
        image = documents.image_name(str(asked.get("Image") or ""))
        if image not in self.images:
            return documents.error(404, f"No such image: {image}")
        if image.startswith("lab/web:"):
            asked = {"Healthcheck": documents.WEB_HEALTH, **asked}
        if image in ENTRY_POINTS and not asked.get("Entrypoint"):
            asked = {**asked, "Entrypoint": list(ENTRY_POINTS[image])}
        if not (asked.get("Cmd") or asked.get("Entrypoint")):
            return documents.error(400, "No command specified")
        fates = self.faults.fate(f"{name} {body}")
        try:
            container = self.engine.create(name, asked, fates)
        except NameTaken as error:
            return documents.error(
                409,
                f'Conflict. The container name "/{name}" is already in use by container "{error}". You have to remove '
                f"(or rename) that container to be able to reuse that name.",
            )
        return web.json_response({"Id": container.id, "Warnings": []}, status=201)

    async def _start(self, request: web.Request, container: LabContainer) -> web.StreamResponse:
        try:
            started = await self.engine.start(container)
        except StartFailed as error:
            return documents.error(400, f"failed to create shim task: OCI runtime create failed: {error}")
        return web.Response(status=204 if started else 304)

    async def _stop(self, request: web.Request, container: LabContainer) -> web.StreamResponse:
        if container.state != "running":
            return web.Response(status=304)
        own = container.body.get("StopTimeout")
        await self.engine.stop(container, float(request.query.get("t") or (own if own is not None else 10)))
        return web.Response(status=204)

    async def _kill(self, request: web.Request, container: LabContainer) -> web.StreamResponse:
        if container.state != "running":
            return documents.error(409, f"Cannot kill container: {container.id}: Container is not running")
        word = request.query.get("signal", "SIGKILL")
        number = int(word) if word.isdigit() else signal.Signals["SIG" + word.removeprefix("SIG")]
        self.engine.signal(container, number)
        return web.Response(status=204)

    async def _wait(self, request: web.Request, container: LabContainer) -> web.StreamResponse:
        if container.state == "running" or request.query.get("condition") == "next-exit":
            await container.ended.wait()
        return web.json_response({"StatusCode": container.exit_code, "Error": None})

    async def _remove(self, request: web.Request, container: LabContainer) -> web.StreamResponse:
        if container.state == "running":
            if request.query.get("force", "").lower() not in ("1", "true"):
                told = f"You cannot remove a running container {container.id}. Stop the container before attempting"
                return documents.error(409, f"{told} removal or force remove")
            await self.engine.stop(container, 0)
        self.engine.remove(container)
        return web.Response(status=204)

    async def _inspect(self, request: web.Request, container: LabContainer) -> web.StreamResponse:
        return web.json_response(documents.inspected(container))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = documents.read_filters(request.query.get("filters", ""))
        except ValueError as error:
            return documents.error(400, f"invalid filter: {error}")
        everything = request.query.get("all", "").lower() in ("1", "true") or "status" in wanted
        found = [
            documents.listed(container)
            for container in reversed(self.engine.containers.values())
            if (everything or container.state == "running") and documents.passes(container, wanted)
        ]
        return web.json_response(found)

    async def _logs(self, request: web.Request, container: LabContainer) -> web.StreamResponse:
        try:
            wanted = documents.LogQuery.read(request.query)
        except ValueError as error:
            return documents.error(400, str(error))
        if wanted.follow and container.state == "running":
            await container.ended.wait()
        content = wanted.frames(container.log)
        return web.Response(body=content, content_type="application/vnd.docker.raw-stream")

    async def _image(self, reference: str) -> web.StreamResponse:
        name = documents.image_name(reference)
        if name not in self.images:
            return documents.error(404, f"No such image: {name}")
        return web.json_response(documents.image(name))

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        reference, tag = request.query.get("fromImage", ""), request.query.get("tag", "")
        joined = f"{reference}@{tag}" if tag.startswith("sha256:") else f"{reference}:{tag}" if tag else reference
        name = documents.image_name(joined)
        failed = ""
        if name.startswith(f"{REGISTRY}/") and not self._registry_login(request):
            failed = f'Get "https://{REGISTRY}/v2/": unauthorized: incorrect username or password'
        elif name not in REMOTE and f"docker.io/{name}" not in REMOTE:
            repository = name.rpartition(":")[0]
            failed = f"pull access denied for {repository}, repository does not exist or may require 'docker login'"
        if failed and not self.pull_errors_in_stream:
            return documents.error(500 if "unauthorized" in failed else 404, failed)
        told: list[dict[str, Any]] = [{"status": f"Pulling from {name}", "id": tag}]
        if failed:
            told.append({"error": failed, "errorDetail": {"message": failed}})
        else:
            self.images.add(name)
            told.append({"status": f"Status: Downloaded newer image for {name}"})
        lines = "".join(json.dumps(line) + "\r\n" for line in told)
        return web.Response(text=lines, content_type="application/json")

    def _registry_login(self, request: web.Request) -> bool:
        try:
            login = json.loads(base64.urlsafe_b64decode(request.headers.get("X-Registry-Auth", "")))
        except ValueError:
            return False
        given = str(login.get("password", "")).encode()
        return login.get("username") == USER and hmac.compare_digest(given, self.registry_password.encode())


class _Login(asyncssh.SSHServer):
    """Lets in the lab's user by password, and forwards to the engine's socket and nowhere else."""

    def __init__(self, stand_in: DockerStandIn) -> None:
        self._stand_in = stand_in
        self._refuse = self._tried = self._accepted = False
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._stand_in.logins.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._stand_in.logins.discard(self._connection)
        if self._tried and not self._accepted:
            self._stand_in.refused_logins += 1

    def begin_auth(self, username: str) -> bool:
        self._refuse = self._stand_in.refuse_login()
        return True

    def auth_completed(self) -> None:
        self._accepted = True
        self._stand_in.accepted_logins += 1

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self._tried = True
        right = hmac.compare_digest(password.encode(), self._stand_in.password.encode())
        return right and not self._refuse and username == USER

    def unix_connection_requested(self, dest_path: str) -> bool:
        return dest_path == str(self._stand_in.socket)
