"""The stand-in of an S3 store: one bucket, held below its scratch directory.

It keeps the promises that a delivery relies on: ``If-None-Match: *`` on PutObject and CompleteMultipartUpload, the
checksums of bodies and parts (SHA-256, SHA-1, CRC-32), Signature Version 4 in headers and in presigned links.
``honest`` can be switched off: it then ignores ``If-None-Match`` and wrong checksums, as some stores do.

Jobs, and the operations that meet faults, are those of :mod:`.share_jobs`; a listing is ``poll``. A wait in a folder
where the company answers (:mod:`.company`) is served by it. ``match`` searches ``METHOD /bucket/name?query``.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

from aiohttp import web

from airflow_enterprise_orch.lab import company
from airflow_enterprise_orch.lab.s3_objects import Objects
from airflow_enterprise_orch.lab.s3_wire import Refusal, check_signature, document, text
from airflow_enterprise_orch.lab.share_jobs import RECORD, ShareJobs
from airflow_enterprise_orch.lab.stand_in import Fault, FaultPlan, LabJob

BUCKET = "certificates"
USER = "LABACCESSKEY"
SAMPLES = {"samples/ANSWER=42.txt": b"ANSWER=42\n", "samples/DISK FULL.txt": b"somebody else's file\n"}


class S3StandIn:
    """An S3 server on 127.0.0.1 and a free port, with an access key of its own.

    :ivar honest: False makes it ignore ``If-None-Match`` and wrong checksums.
    :ivar requests: ``METHOD /bucket/name?query`` of every request that was signed right, oldest first.
    """

    name: ClassVar[str] = "s3"
    cannot: ClassVar[tuple[str, ...]] = ("hold", "fail", "abend", "run")

    def __init__(self) -> None:
        self.faults = FaultPlan()
        self.honest = True
        self.accepted_logins = 0
        self.refused_logins = 0
        self.secret = secrets.token_urlsafe(30)
        self.seal = secrets.token_urlsafe(30)
        self.requests: list[str] = []
        self._jobs = ShareJobs(self.faults)
        self._late: set[asyncio.Task[Any]] = set()
        self._answers: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self._scratch = Path()
        self._files = Objects(Path(), honest=lambda: self.honest)

    async def start(self, scratch: Path) -> dict[str, Any]:
        """Start serving; return its part of the lab's JSON without ``control``."""
        self._scratch = scratch
        self._seed()
        application = web.Application(client_max_size=1 << 40)
        application.router.add_route("*", "/{tail:.*}", self._serve)
        # handler_cancellation: a client that goes away does not end what it asked for.
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
        logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # a cut connection is no news here
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return {
            "url": url,
            "user": USER,
            "password": self.secret,
            "bucket": BUCKET,
            "connection": {
                "conn_type": "aws",
                "login": USER,
                "password": self.secret,
                "extra": {
                    "endpoint_url": url,
                    "region_name": "eu-central-1",
                    "service_config": {"s3": {"bucket_name": BUCKET}},
                    "certificate_secret": self.seal,
                },
            },
        }

    async def stop(self) -> None:
        """Stop serving."""
        for task in (*self._late, *self._answers):
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def reset(self) -> None:
        """Forget all objects, jobs, faults and counted logins."""
        for task in (*self._late, *self._answers):
            task.cancel()
        self.faults.clear()
        self.honest = True
        self.requests.clear()
        self._jobs.clear()
        self.accepted_logins = self.refused_logins = 0
        self._seed()

    @property
    def late(self) -> int:
        """How many requests were cut off and have yet to take effect."""
        return len(self._late)

    def jobs(self) -> list[LabJob]:
        """Return every job whose record was written, oldest first; two with one key are a duplicate."""
        return self._jobs.jobs()

    def objects(self) -> dict[str, bytes]:
        """Return what lies in the bucket."""
        return {name: self._files.content(name) for name in self._files.names()}

    def _seed(self) -> None:
        place = self._scratch / secrets.token_hex(4)
        shutil.rmtree(self._scratch, ignore_errors=True)
        place.mkdir(parents=True)
        self._files = Objects(place, honest=lambda: self.honest)
        for name, data in SAMPLES.items():
            self._files.put_bytes(name, data)

    # Requests.

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        subject = f"{request.method} {unquote(request.raw_path)}"
        try:
            check_signature(request, USER, self.secret, time.time)
        except Refusal as refusal:
            self.refused_logins += 1
            return _answer(refusal, request)
        operation = self._operation(request)
        fault = self.faults.disruption(operation, subject)
        kind = fault.do if fault else ""
        if fault is not None and kind == "slow":
            await asyncio.sleep(fault.seconds)
        if kind == "unauthorized":
            self.refused_logins += 1
            return _answer(Refusal(403, "InvalidAccessKeyId", "The AWS Access Key Id is not valid."), request)
        self.accepted_logins += 1
        self.requests.append(subject)
        if kind == "cut_before_commit":
            return _cut(request)
        if kind == "error_500":
            return _answer(Refusal(500, "InternalError", "We encountered an internal error."), request)
        if kind == "html_503":
            return web.Response(status=503, text="<html>the proxy is sorry</html>", content_type="text/html")
        if fault is not None and kind == "late_commit":
            return await self._take_late(request, fault)
        answer = await self._act(request)
        if fault is not None and kind == "slow_answer":
            await asyncio.sleep(fault.seconds)
        if kind == "cut_after_commit":
            return _cut(request)
        if kind == "half_answer":
            return await _half(request, answer)
        return answer

    async def _act(self, request: web.Request) -> web.StreamResponse:
        try:
            bucket, _, name = unquote(request.raw_path.partition("?")[0]).lstrip("/").partition("/")
            if bucket != BUCKET:
                raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist")
            answer = await self._files.handle(request, name)
        except Refusal as refusal:
            return _answer(refusal, request)
        if request.method == "PUT" and answer.status == 200:
            self._note(request)
        return answer

    async def _take_late(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        """Cut the connection now and let the request take effect later."""
        data = await request.read()  # aiohttp keeps it: the handler reads it again from there

        async def later() -> None:
            await asyncio.sleep(fault.seconds)
            name = unquote(request.raw_path.partition("?")[0]).lstrip("/").partition("/")[2]
            if self._files.put_if_absent(name, data):
                self._note(request)

        task = asyncio.get_running_loop().create_task(later())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return _cut(request)

    def _operation(self, request: web.Request) -> str:
        if "list-type" in request.query:
            return "poll"
        reads = request.method in ("GET", "HEAD")
        return self._jobs.operation(unquote(request.path), reads=reads, creates=request.method == "PUT")

    def _note(self, request: web.Request) -> None:
        """Keep the record of jobs: what was written to the journal; let the company answer a wait."""
        name = unquote(request.path).lstrip("/").partition("/")[2]
        if RECORD.search(name) is None:
            return
        purged, files = self._jobs.note(name, self._files.content(name))
        if files:
            task = asyncio.get_running_loop().create_task(self._put_later(files))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)
        if purged:
            self._files.forget(purged)

    async def _put_later(self, files: Mapping[str, bytes]) -> None:
        await asyncio.sleep(company.ANSWERED_AFTER)
        for name, data in files.items():
            self._files.put_if_absent(name, data)


def _answer(refusal: Refusal, request: web.Request) -> web.Response:
    if request.method == "HEAD":
        return web.Response(status=refusal.status)
    body = document("Error", text("Code", refusal.code), text("Message", refusal.message))
    return web.Response(status=refusal.status, body=body, content_type="application/xml")


def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.write(f"HTTP/1.1 {answer.status} OK\r\nContent-Length: 100\r\n\r\nhalf".encode())
        await asyncio.sleep(0.05)
    return _cut(request)
