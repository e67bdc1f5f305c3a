"""The stand-in of a z/OS system behind z/OSMF: its REST jobs interface over TLS, in front of :mod:`.jes`.

Written after IBM's *z/OSMF Programming Guide* and after what independent clients send: trailing slashes, ``NAME%2FID``,
encoded correlators. RACF is strict, as everywhere: three failed logins revoke the user until ``reset``.

Faults: ``unauthorized`` ends all logins and refuses the next one. ``hold`` keeps a job waiting (its class is held),
release or not, until it is cancelled or :meth:`ZosmfStandIn.lift_holds` is called.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

from aiohttp import web

from airflow_enterprise_orch.lab import company, jes
from airflow_enterprise_orch.lab.faulty_http import Action, FaultyHttp
from airflow_enterprise_orch.lab.jes import Jes, JesJob, JobRefused, SpoolData
from airflow_enterprise_orch.lab.stand_in import FaultPlan, LabJob, pause
from airflow_enterprise_orch.lab.tls import loopback_tls

USER = "IBMUSER"
REVOKED_AFTER = 3
JOBS = "/zosmf/restjobs/jobs"

LIBRARY: Mapping[str, str] = {
    "PROD.JCL(BOOKORD)": """\
//BOOKORD  JOB (ACCT),'BOOK AN ORDER',CLASS=A,MSGCLASS=H
//*        SYMBOLS: ORDER (THE ORDER'S NUMBER), CLASS (ITS CREDIT CLASS)
//CHECK    EXEC PGM=LABPROG,PARM='SLEEP=0.2,SAY=ORDER &ORDER CHECKED'
//BOOK     EXEC PGM=LABPROG,
//             PARM='RC=0,SAY=CREDIT CLASS=&CLASS'
""",
    "PROD.JCL(CREDCHK)": """\
//CREDCHK  JOB (ACCT),'CHECK THE CREDIT',CLASS=A,MSGCLASS=H
//*        SYMBOLS: ORDER (THE ORDER'S NUMBER), CLASS (ITS CREDIT CLASS)
//CHECK    EXEC PGM=LABPROG,
//             PARM='RC=0,SLEEP=0.2,SAY=&ORDER CREDIT CLASS=&CLASS'
""",
    "PROD.JCL(NOTHING)": """\
//NOTHING  JOB (ACCT),CLASS=A
//STEP1    EXEC PGM=IEFBR14
""",
    "/u/ibmuser/nothing.jcl": """\
//UNIXJOB  JOB (ACCT),CLASS=A
//STEP1    EXEC PGM=IEFBR14
""",
    **company.LIBRARY,
}
"""What the lab's data sets and files hold when it starts."""


class ZosmfStandIn:
    """z/OSMF on 127.0.0.1 and a free port.

    :param library: further data set members and UNIX files, by name.
    :param owner: the user; all jobs are his.
    :ivar calls: how many requests each operation met.
    :ivar failed_logins: failed logins since the last good one; three revoke the user.
    :ivar accepted_logins: good logins since the last reset.
    :ivar refused_logins: failed logins since then.
    """

    name: ClassVar[str] = "zosmf"
    cannot: ClassVar[tuple[str, ...]] = ()

    def __init__(self, library: Mapping[str, str] | None = None, owner: str = USER) -> None:
        self.faults = FaultPlan()
        self.library = {**LIBRARY, **(library or {})}
        self.user, self.password = owner, jes.password()
        self.jes = Jes(owner)
        self.calls: Counter[str] = Counter()
        self.failed_logins = 0
        self.accepted_logins = self.refused_logins = 0
        self.info = {"zosmf_version": "27", "zosmf_full_version": "27.0", "zosmf_hostname": "127.0.0.1"}
        self.has_authenticate = True
        self.has_sync_modify = True
        self._tokens: set[str] = set()
        self._refuse_next = False
        self._http = FaultyHttp()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, scratch: Path) -> dict[str, Any]:
        """Start serving; return its part of the lab's JSON without ``control``."""
        tls = await asyncio.to_thread(loopback_tls, scratch)
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        # A second of grace is plenty on loopback; the default of a minute would hold up every stop.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
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
                "conn_type": "zosmf",
                "host": "127.0.0.1",
                "port": port,
                "login": self.user,
                "password": self.password,
                "extra": {"ca_file": str(tls.ca_file)},
            },
        }

    async def stop(self) -> None:
        """Stop serving and end the jobs."""
        self._http.forget()
        await self.jes.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def jobs(self) -> list[LabJob]:
        """Return every job ever submitted, oldest first."""
        return [job.record for job in self.jes.queue]

    async def reset(self) -> None:
        """Forget jobs, faults and logins; the user may log in again."""
        self.faults.clear()
        self._http.forget()
        await self.jes.clear()
        self.calls.clear()
        self._tokens.clear()
        self.failed_logins, self._refuse_next = 0, False
        self.accepted_logins = self.refused_logins = 0

    def expire_tokens(self) -> None:
        """End all logins, as time does."""
        self._tokens.clear()

    @property
    def late(self) -> int:
        """How many requests were cut off and have yet to take effect."""
        return self._http.late

    def lift_holds(self) -> None:
        """Let the jobs go that the fate ``hold`` keeps waiting."""
        self.jes.unblock()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        """Meet one request: faults, login, then the operation."""
        path = unquote(request.raw_path.partition("?")[0]).rstrip("/")
        if path == "/zosmf/info":
            return web.json_response(self.info)
        body = await request.text()
        operation, action = self._route(request, path, body)
        self.calls[operation] += 1
        subject = " ".join((path, request.query_string, request.headers.get("X-IBM-User-Correlator", ""), body))
        fault = self.faults.disruption(operation, subject) if operation != "login" else None
        await pause(fault)
        if fault is not None and fault.do == "unauthorized":
            self._tokens.clear()
            self._refuse_next = not request.headers.get("Authorization", "").startswith("Basic")
            return _unauthorized()
        if "X-CSRF-ZOSMF-HEADER" not in request.headers:
            return _error(403, 4, 19, 6, "Cross-site request forgery: the X-CSRF-ZOSMF-HEADER header is missing")
        if operation != "login" and not self._knows(request):
            return _unauthorized()
        return await self._http.answer(
            request, fault, action, lambda: _error(500, 16, 0, 7, "Unexpected error: the lab was told to answer so")
        )

    def _route(self, request: web.Request, path: str, body: str) -> tuple[str, Action]:
        """Return the operation as faults name it, and what does it."""

        async def nothing() -> web.StreamResponse:
            return _error(404, 4, 7, 6, f"No match for method {request.method} and pathInfo='{path}'")

        if path == "/zosmf/services/authenticate" and self.has_authenticate:
            return "login", lambda: self._log_in(request)
        if path.startswith("/zosmf/restfiles/") and request.method == "GET":
            return "output", lambda: self._read_file(path)
        if not (path == JOBS or path.startswith(f"{JOBS}/")):
            return "any", nothing
        parts = [part for part in path.removeprefix(JOBS).split("/") if part]
        if parts and parts[0].startswith("-"):
            del parts[0]  # a secondary JES; the lab has one, under any name
        if not parts:
            if request.method == "PUT":
                return "submit", lambda: self._submit(request, body)
            if request.method == "GET":
                return ("find" if "user-correlator" in request.query else "poll"), lambda: self._list(request)
            return "any", nothing
        by_correlator = ":" in parts[0]
        rest = parts[1:] if by_correlator else parts[2:]
        job = (
            self.jes.by_correlator(parts[0]) if by_correlator else self.jes.job(parts[0], parts[1] if parts[1:] else "")
        )
        if job is None:
            named = parts[0] if by_correlator else f"{parts[0]}({parts[1] if parts[1:] else ''})"
            operation = self._operation(request.method, rest, body)

            async def absent() -> web.StreamResponse:
                return _error(400, 4, 10, 6, f"No job found for reference: '{named}'")

            return operation, absent
        found = job
        operation = self._operation(request.method, rest, body)
        if rest[:1] == ["files"] and request.method == "GET":
            return operation, lambda: self._files(request, found, rest[1:])
        if rest:
            return "any", nothing
        if request.method == "GET":
            return operation, lambda: self._status(request, found)
        if request.method in ("PUT", "DELETE"):
            return operation, lambda: self._modify(request, found, body)
        return "any", nothing

    @staticmethod
    def _operation(method: str, rest: list[str], body: str) -> str:
        if method == "GET":
            return "output" if rest[:1] == ["files"] else "poll"
        return "release" if method == "PUT" and re.search(r'"request"\s*:\s*"release"', body) else "cancel"

    def _knows(self, request: web.Request) -> bool:
        """True for a valid token or valid Basic credentials."""
        tokens = {request.cookies.get("LtpaToken2"), request.cookies.get("jwtToken")}
        authorization = request.headers.get("Authorization", "")
        if authorization.startswith("Bearer "):
            tokens.add(authorization[7:])
        if tokens & self._tokens:
            return True
        return authorization.startswith("Basic ") and self._let_in(authorization)

    def _let_in(self, authorization: str) -> bool:
        try:
            given = base64.b64decode(authorization.removeprefix("Basic "), validate=True).decode()
        except ValueError:
            given = ""
        right = secrets.compare_digest(given.encode(), f"{self.user}:{self.password}".encode())
        if self.failed_logins >= REVOKED_AFTER or self._refuse_next or not right:
            self.failed_logins += 1
            self.refused_logins += 1
            self._refuse_next = False
            return False
        self.failed_logins = 0
        self.accepted_logins += 1
        return True

    async def _log_in(self, request: web.Request) -> web.StreamResponse:
        if request.method == "DELETE":
            self._tokens.discard(request.cookies.get("LtpaToken2", ""))
            return web.Response(status=204)
        if not self._let_in(request.headers.get("Authorization", "")):
            return _unauthorized()
        token = secrets.token_urlsafe(32)
        self._tokens.add(token)
        answer = web.json_response({"returnCode": 0, "reasonCode": 0, "message": "Success."})
        answer.set_cookie("LtpaToken2", token, path="/", secure=True, httponly=True)
        answer.set_cookie("jwtToken", token, path="/", secure=True, httponly=True)
        return answer

    async def _submit(self, request: web.Request, body: str) -> web.StreamResponse:
        text, source = body, request.content_type == "application/json" or body.startswith("{")
        if source:
            try:
                name = str((await request.json())["file"])
            except (ValueError, KeyError, TypeError):
                return _error(400, 4, 5, 6, "Incorrect JSON document")
            found = self.library.get(name.removeprefix("//'").removesuffix("'") if name.startswith("//") else name)
            if found is None:
                return _error(400, 4, 16, 6, f"Data set not found: {name}")
            text = found
        if any(len(line) > 80 for line in text.splitlines()):
            return _error(400, 4, 9, 6, "Record length exceeds the limit of 80")
        correlator = request.headers.get("X-IBM-User-Correlator", "")
        if not re.fullmatch(r"(?:[A-Z$#@][A-Z0-9$#@_]{0,31})?", correlator):
            return _error(400, 4, 4, 6, f"Incorrect user correlator: {correlator}")
        prefix = "X-IBM-JCL-SYMBOL-"
        symbols = {
            header.upper().removeprefix(prefix): value
            for header, value in request.headers.items()
            if header.upper().startswith(prefix)
        }
        fates = self.faults.fate(f"{correlator} {text}")
        try:
            job = self.jes.submit(text, symbols=symbols, correlator=correlator, fates=fates)
        except JobRefused as error:
            return _error(400, 4, 13, 6, f"{error}", [f"{text[:72]}"])
        return web.json_response(jes.document(job, self.url + JOBS), status=201)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if "jobid" in query and "user-correlator" in query:
            return _error(400, 4, 4, 6, "jobid and user-correlator cannot be used together")
        limit = query.get("max-jobs", "1000")
        if not limit.isdigit() or not 1 <= int(limit) <= 1000:
            return _error(400, 4, 4, 6, f"Incorrect value for max-jobs: {limit}")
        owner, prefix = query.get("owner") or self.user, query.get("prefix", "*")
        found = [
            job
            for job in self.jes.queue
            if not job.purged
            and _matches(owner, job.owner)
            and _matches(prefix, job.name)
            and query.get("jobid", job.id) == job.id
            and query.get("user-correlator", job.user_correlator) == job.user_correlator
        ]
        exec_data = query.get("exec-data") == "Y"
        page = [jes.document(job, self.url + JOBS, exec_data=exec_data) for job in found[: int(limit)]]
        return web.json_response(page)

    async def _status(self, request: web.Request, job: JesJob) -> web.StreamResponse:
        wants = {name.replace("-", "_"): request.query.get(name) == "Y" for name in ("exec-data", "step-data")}
        return web.json_response(jes.document(job, self.url + JOBS, **wants))

    async def _modify(self, request: web.Request, job: JesJob, body: str) -> web.StreamResponse:
        if request.method == "DELETE":
            version = request.headers.get("X-IBM-Job-Modify-Version", "1.0")
            action: Callable[[JesJob], str] = self.jes.purge
        else:
            try:
                asked = await request.json()
            except ValueError:
                return _error(400, 4, 5, 6, "Incorrect JSON document")
            version = str(asked.get("version", "1.0"))
            actions: dict[str, Callable[[JesJob], str]] = {
                "hold": self.jes.hold,
                "release": self.jes.release,
                "cancel": self.jes.cancel,
            }
            if "class" in asked:
                job.job_class = str(asked["class"])
                actions["class"] = lambda _job: "0"
            if (asked.get("request") or "class") not in actions:
                return _error(400, 4, 6, 6, f"Incorrect request: {asked.get('request')}")
            action = actions[asked.get("request") or "class"]
        if version == "2.0" and not self.has_sync_modify:
            return _error(400, 4, 6, 6, "Synchronous job modify is not supported by this JES")
        status = action(job)
        if version != "2.0":
            return web.Response(status=202)
        feedback = {
            "jobid": job.id,
            "jobname": job.name,
            "original-jobid": job.id,
            "owner": job.owner,
            "member": jes.SYSTEM,
            "sysname": jes.SYSTEM,
            "job-correlator": job.correlator,
            "status": status,
            "internal-code": "0",
            "message": "Request was successful" if status == "0" else f"Request failed, status {status}",
        }
        return web.json_response(feedback)

    async def _files(self, request: web.Request, job: JesJob, rest: list[str]) -> web.StreamResponse:
        if not rest:
            return web.json_response([self._file_document(job, file) for file in job.spool if file.records])
        if rest[1:] != ["records"]:
            return _error(400, 4, 7, 6, "No match for method GET")
        if rest[0] == "JCL":
            records = job.jcl
        else:
            file = next((file for file in job.spool if str(file.id) == rest[0]), None)
            if file is None:
                return _error(400, 4, 12, 6, f"Job '{job.name}({job.id})' does not contain spool file id {rest[0]}")
            records = file.records
        asked = request.headers.get("X-IBM-Record-Range")
        if asked:
            span = re.fullmatch(r"(\d+)-(\d+)", asked)
            if not span or int(span[1]) > int(span[2]) or int(span[1]) >= max(len(records), 1):
                return _error(400, 4, 11, 6, f"Incorrect record range: {asked}")
            records = records[int(span[1]) : int(span[2]) + 1]
        return web.Response(text="".join(f"{record}\n" for record in records))

    def _file_document(self, job: JesJob, file: SpoolData) -> dict[str, Any]:
        return {
            "jobid": job.id,
            "jobname": job.name,
            "subsystem": "JES2",
            "job-correlator": job.correlator,
            "id": file.id,
            "ddname": file.ddname,
            "stepname": file.step,
            "procstep": None,
            "class": "H",
            "recfm": "UA",
            "lrecl": 133,
            "byte-count": sum(map(len, file.records)),
            "record-count": len(file.records),
            "records-url": f"{self.url}{JOBS}/{job.name}/{job.id}/files/{file.id}/records",
        }

    async def _read_file(self, path: str) -> web.StreamResponse:
        kind, _, name = path.removeprefix("/zosmf/restfiles/").partition("/")
        text = self.library.get(name if kind == "ds" else f"/{name.lstrip('/')}")
        if text is None:
            return _error(404, 8, 5, 1, f"Member not found: {name}")
        return web.Response(text=text)


def _matches(pattern: str, value: str) -> bool:
    """True where a filter with ``*`` and ``%`` fits."""
    wild = re.escape(pattern.upper()).replace(r"\*", ".*").replace("%", ".")
    return re.fullmatch(wild, value) is not None


def _error(
    status: int, rc: int, reason: int, category: int, message: str, details: list[str] | None = None
) -> web.Response:
    """Answer with z/OSMF's error report document."""
    told: dict[str, Any] = {"rc": rc, "reason": reason, "category": category, "message": message}
    return web.json_response({**told, "details": details} if details else told, status=status)


def _unauthorized() -> web.Response:
    """Answer as z/OSMF does, which does not say whether a user is wrong, expired or revoked."""
    return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="zOSMF"'}, text="")
