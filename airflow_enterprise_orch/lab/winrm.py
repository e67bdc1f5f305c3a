"""The stand-in of a Windows host: WinRM (WS-Management over TLS, basic and NTLM) in front of a Task Scheduler.

Independent clients (pypsrp, pywinrm, Airflow's own WinRM hook) log in, open shells and run the few commands of
:class:`~.wsman.CommandShell`. Of PowerShell it runs the scripts of this package only, recognised by their whole text
(:mod:`.windows_verbs`).

Faults meet the script they name, at the moment it has arrived whole: ``submit`` (claim and the start of an existing
task), ``release`` (the start of an own task), ``find``, ``poll``, ``cancel``, ``output``. A fault on ``any`` meets the
next shell that is opened.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import spnego
from aiohttp import web

from airflow_enterprise_orch.lab import wsman
from airflow_enterprise_orch.lab.stand_in import Fault, FaultPlan, LabJob
from airflow_enterprise_orch.lab.tls import loopback_tls
from airflow_enterprise_orch.lab.windows_host import WindowsHost
from airflow_enterprise_orch.lab.windows_verbs import StarterDied, Verbs, operation, recognise

USER = "svc-orch"
DOMAIN = "LABWIN"
POWERSHELL = "http://schemas.microsoft.com/powershell/"


class WinrmStandIn:
    """WinRM on 127.0.0.1 and a free port.

    :ivar host: the machine behind it; touch it in the lab's event loop only.
    :ivar verbs: how our scripts are done there.
    :ivar calls: how many scripts arrived, by operation.
    :ivar open_shells: shells that nobody has closed.
    """

    name: ClassVar[str] = "winrm"
    cannot: ClassVar[tuple[str, ...]] = ("hold",)

    def __init__(self) -> None:
        self.faults = FaultPlan()
        self.host = WindowsHost()
        self.verbs = Verbs(self.host, self.faults.fate)
        self.password = secrets.token_urlsafe(12)
        self.calls: Counter[str] = Counter()
        self.accepted_logins = 0
        self.refused_logins = 0
        self.open_shells: dict[str, wsman.Shell] = {}
        self._logins: dict[Any, Any] = {}
        self._refuse_next = False
        self._basic = False
        self._cuts: set[str] = set()
        self._late: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self._credentials = Path()

    async def start(self, scratch: Path) -> dict[str, Any]:
        """Start serving; return its part of the lab's JSON without ``control``."""
        tls = await asyncio.to_thread(loopback_tls, scratch)
        self._credentials = scratch / "ntlm_users"
        self._credentials.touch(mode=0o600)
        self._credentials.write_text(f"{DOMAIN}:{USER}:{self.password}\n:{USER}:{self.password}\n")
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/wsman", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls.server)
        await site.start()
        port = self._runner.addresses[0][1]
        return {
            "url": f"https://127.0.0.1:{port}/wsman",
            "user": USER,
            "password": self.password,
            "ca_file": str(tls.ca_file),
            "connection": {
                "conn_type": "winrm",
                "host": "127.0.0.1",
                "port": port,
                "login": USER,
                "password": self.password,
                "extra": {"transport": "ssl", "ca_trust_path": str(tls.ca_file)},
            },
        }

    async def stop(self) -> None:
        """Stop serving and end what runs."""
        self._forget_late()
        await self.host.clear()
        for connection in self._logins:
            # A client that hangs, or whose thread was given up, must not outlive the lab.
            if connection.transport is not None:
                connection.transport.abort()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def jobs(self) -> list[LabJob]:
        """Return every job ever handed over, and every launch of one, oldest first."""
        return list(self.host.journal)

    async def reset(self) -> None:
        """Forget jobs, faults and counts; the machine is set up anew."""
        self.faults.clear()
        self._forget_late()
        await self.host.clear()
        self.verbs.start_dies = ""
        self.calls.clear()
        self.open_shells.clear()
        self._cuts.clear()
        self.accepted_logins = self.refused_logins = 0
        self._refuse_next = False

    @property
    def late(self) -> int:
        """How many scripts were cut off and have yet to take effect."""
        return len(self._late)

    def _forget_late(self) -> None:
        for task in self._late:
            task.cancel()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        refusal = self._log_in(request)
        if refusal is not None:
            return refusal
        body = await request.read()
        if not body:
            return web.Response(status=200)
        asked = None
        try:
            asked = wsman.read(body)
            return await self._answer(request, asked)
        except wsman.Fault as fault:
            return _soap(500, wsman.fault_envelope(asked, fault))
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        except _Cut as cut:
            if cut.answer is not None:
                return cut.answer
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)

    async def _answer(self, request: web.Request, asked: wsman.Request) -> web.StreamResponse:
        match asked.operation:
            case "Create":
                await self._meet_login()
                shell: wsman.Shell = (
                    wsman.PowerShellShell(asked, self._run_script)
                    if asked.resource.startswith(POWERSHELL)
                    else wsman.CommandShell(f"{DOMAIN}\\{USER}")
                )
                self.open_shells[shell.id] = shell
                body = wsman.created(shell)
            case "Delete":
                self._shell(asked)
                del self.open_shells[asked.shell]
                body = ""
            case "Command":
                identifier = await self._shell(asked).command(asked)
                body = f"<rsp:CommandResponse><rsp:CommandId>{identifier}</rsp:CommandId></rsp:CommandResponse>"
            case "Send":
                await self._shell(asked).send(asked)
                body = "<rsp:SendResponse/>"
            case "Receive":
                return await self._receive(request, asked)
            case "Signal":
                self._shell(asked)
                body = "<rsp:SignalResponse/>"
            case _:
                raise wsman.Fault(wsman.NO_OPERATION, f"The action {asked.action} is not supported.")
        return _soap(200, wsman.envelope(asked, f"{asked.action}Response", body))

    async def _receive(self, request: web.Request, asked: wsman.Request) -> web.StreamResponse:
        wanted = asked.body.find("rsp:Receive/rsp:DesiredStream", wsman.NAMES)
        command = wanted.get("CommandId", "").upper() if wanted is not None else ""
        stream = self._shell(asked).streams.get(command)
        if stream is None:
            raise wsman.Fault(wsman.NO_SHELL, "The command was not found on the server.")
        text = wsman.envelope(asked, f"{asked.action}Response", await stream.fetch(command, asked.timeout))
        if command and asked.shell in self._cuts:
            self._cuts.discard(asked.shell)
            half = web.StreamResponse(status=200, headers={"Content-Type": "application/soap+xml;charset=UTF-8"})
            half.content_length = len(text)
            await half.prepare(request)
            await half.write(text[: len(text) // 2])
            if request.transport is not None:
                request.transport.close()
            return half
        return _soap(200, text)

    def _shell(self, asked: wsman.Request) -> wsman.Shell:
        shell = self.open_shells.get(asked.shell)
        if shell is None:
            raise wsman.Fault(wsman.NO_SHELL, "The shell was not found on the server.", "w:InvalidSelectors")
        return shell

    async def _meet_login(self) -> None:
        """A fault on ``any`` meets a shell that is opened."""
        fault = self.faults.disruption("login")
        if fault is None:
            return
        if fault.do in ("slow", "slow_answer"):
            await asyncio.sleep(fault.seconds)
        else:
            self._disrupt(fault)
            raise _Cut

    async def _run_script(self, shell: str, text: str, values: Mapping[str, Any]) -> list[str]:
        """Do what a script does, with the faults that were planned for it."""
        verb = recognise(text)
        what = operation(verb, values)
        self.calls[what] += 1
        fault = self.faults.disruption(what, f"{verb} {json.dumps(dict(values))}")
        if fault is not None:
            if fault.do == "slow":
                await asyncio.sleep(fault.seconds)
            elif fault.do == "late_commit":
                task = asyncio.create_task(self._commit_late(fault.seconds, verb, values))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
                raise _Cut
            else:
                self._disrupt(fault)
        try:
            answer = self.verbs.run(verb, values)
        except StarterDied:
            raise _Cut from None
        if fault is not None:
            if fault.do == "slow_answer":
                await asyncio.sleep(fault.seconds)
            elif fault.do == "cut_after_commit":
                raise _Cut
            elif fault.do == "half_answer":
                self._cuts.add(shell)
        mark = f"@{values['Token']}"
        return [mark, json.dumps(answer), mark]

    def _disrupt(self, fault: Fault) -> None:
        """Make the faults that come before anything took effect; :raises _Cut:."""
        if fault.do == "cut_before_commit":
            raise _Cut
        if fault.do == "unauthorized":
            # Who logs in with every request is refused by this answer; who logged his connection in, at his next login.
            self._refuse_next = not self._basic
            self.refused_logins += self._basic
            self._logins.clear()
            raise _Cut(self._unauthorized())
        if fault.do == "error_500":
            raise _Cut(web.Response(status=500, text="the lab was told to answer so"))
        if fault.do == "html_503":
            raise _Cut(web.Response(status=503, text="<html><body>Busy<br></body></html>", content_type="text/html"))

    async def _commit_late(self, seconds: float, verb: str, values: Mapping[str, Any]) -> None:
        await asyncio.sleep(seconds)
        self.verbs.run(verb, values)

    def _log_in(self, request: web.Request) -> web.Response | None:
        """Return the refusal, or None for who is logged in. NTLM logs a connection in, basic every request."""
        for connection in [each for each in self._logins if each.transport is None]:
            del self._logins[connection]
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        known = self._logins.get(request.protocol)
        self._basic = scheme == "Basic"
        if not scheme:
            return None if known is True else self._unauthorized()
        if scheme == "Basic":
            given = base64.b64decode(token or "").decode(errors="replace")
            right = any(
                hmac.compare_digest(given.encode(), f"{user}:{self.password}".encode())
                for user in (USER, f"{DOMAIN}\\{USER}")
            )
            return self._judge_login(request, right=right and not self._refuse_next)
        if scheme in ("Negotiate", "NTLM"):
            return self._ntlm(request, scheme, base64.b64decode(token or ""))
        return self._unauthorized()

    def _ntlm(self, request: web.Request, scheme: str, token: bytes) -> web.Response | None:
        context = self._logins.get(request.protocol)
        with self._ntlm_users():
            try:
                if context is None or context is True:
                    context = self._logins[request.protocol] = spnego.server(protocol="ntlm")
                answer = context.step(token)
            except spnego.exceptions.SpnegoError:
                self._logins.pop(request.protocol, None)
                self.refused_logins += 1
                return self._unauthorized()
        if context.complete:
            return self._judge_login(request, right=not self._refuse_next)
        told = base64.b64encode(answer or b"").decode()
        return web.Response(status=401, headers={"WWW-Authenticate": f"{scheme} {told}"})

    def _judge_login(self, request: web.Request, *, right: bool) -> web.Response | None:
        if not right:
            self._refuse_next = False
            self.refused_logins += 1
            self._logins.pop(request.protocol, None)
            return self._unauthorized()
        if self._logins.get(request.protocol) is not True:
            self.accepted_logins += 1
        self._logins[request.protocol] = True
        return None

    @contextmanager
    def _ntlm_users(self) -> Iterator[None]:
        """Let the NTLM library find our users: it reads a file that an environment variable names."""
        before = os.environ.get("NTLM_USER_FILE")
        os.environ["NTLM_USER_FILE"] = str(self._credentials)
        try:
            yield
        finally:
            if before is None:
                del os.environ["NTLM_USER_FILE"]
            else:
                os.environ["NTLM_USER_FILE"] = before

    @staticmethod
    def _unauthorized() -> web.Response:
        answer = web.Response(status=401)
        answer.headers.add("WWW-Authenticate", "Negotiate")
        answer.headers.add("WWW-Authenticate", 'Basic realm="WSMAN"')
        return answer


class _Cut(Exception):
    """End this request so, or without a word."""

    def __init__(self, answer: web.Response | None = None) -> None:
        super().__init__()
        self.answer = answer


def _soap(status: int, text: bytes) -> web.Response:
    return web.Response(status=status, body=text, headers={"Content-Type": "application/soap+xml;charset=UTF-8"})
