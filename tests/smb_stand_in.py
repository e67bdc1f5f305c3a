"""A real Samba with what a stand-in of the lab has: a record of jobs, and faults, made by a proxy in front of it.

The proxy reads what nobody encrypted ([MS-SMB2] 2.2): the name that a rename gives, which is how records come into
being, and the name that is opened. It cannot answer in the server's name, because answers are signed: a fault of the
server's is a connection that ends. Jobs and operations are those of :mod:`airflow_enterprise_orch.lab.share_jobs`.
"""

from __future__ import annotations

import asyncio
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from airflow_enterprise_orch.lab.s3 import SAMPLES
from airflow_enterprise_orch.lab.share_jobs import RECORD, ShareJobs
from airflow_enterprise_orch.lab.stand_in import Fault, FaultPlan, LabJob

from .samba import Samba

CREATE, QUERY_DIRECTORY, SET_INFO = 0x05, 0x0E, 0x11
RENAME = 10
PENDING = 0x103
AFTER = ("cut_after_commit", "half_answer", "slow_answer")


@dataclass(frozen=True)
class Message:
    """One message of the protocol, with what it is about."""

    command: int
    status: int
    number: int
    path: str = ""
    renames: bool = False


class SmbStandIn:
    """A share of a real server; an entry of the lab's stand-ins, for tests."""

    name: ClassVar[str] = "smb"
    cannot: ClassVar[tuple[str, ...]] = ("hold", "fail", "abend", "run", "late_commit")
    late: ClassVar[int] = 0
    """Nothing takes effect after its connection has ended."""

    def __init__(self) -> None:
        self.faults = FaultPlan()
        self._jobs = ShareJobs(self.faults)
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._proxy: asyncio.Server | None = None
        self._samba: Samba | None = None
        self.home = Path()

    async def start(self, scratch: Path) -> dict[str, Any]:
        self._samba = await asyncio.to_thread(Samba, scratch)
        self.home = self._samba.folder
        self._proxy = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._fill()
        return {"connection": {**self._samba.connection(), "port": self._proxy.sockets[0].getsockname()[1]}}

    async def stop(self) -> None:
        if self._proxy is not None:
            self._proxy.close()
        await self._cut_all()
        if self._samba is not None:
            await asyncio.to_thread(self._samba.stop)

    async def reset(self) -> None:
        self.faults.clear()
        self._jobs.clear()
        await self._cut_all()
        for path in self.home.iterdir():
            shutil.rmtree(path)
        self._fill()

    def jobs(self) -> list[LabJob]:
        return self._jobs.jobs()

    def _fill(self) -> None:
        for name, content in SAMPLES.items():
            (self.home / name).parent.mkdir(exist_ok=True)
            (self.home / name).write_bytes(content)

    async def _cut_all(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert self._samba is not None
        self._serving.add(task)
        server, requests = await asyncio.open_connection("127.0.0.1", self._samba.port)
        met: dict[int, Fault | None] = {}
        renames: dict[int, str] = {}
        self._open |= {answers, requests}
        ways = [
            asyncio.create_task(self._pass_requests(client, requests, met, renames)),
            asyncio.create_task(self._pass_answers(server, answers, met, renames)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for writer in (answers, requests):
                writer.transport.abort()
                self._open.discard(writer)
            await asyncio.wait(ways)
            self._serving.discard(task)

    async def _pass_requests(
        self,
        client: asyncio.StreamReader,
        requests: asyncio.StreamWriter,
        met: dict[int, Fault | None],
        renames: dict[int, str],
    ) -> None:
        async for frame in _frames(client):
            for message in _messages(frame):
                operation = "any"
                if message.command == QUERY_DIRECTORY:
                    operation = "poll"
                elif message.path:
                    operation = self._jobs.operation(message.path, reads=not message.renames, creates=message.renames)
                fault = self.faults.disruption(operation, f"smb {message.command} {message.path}")
                if fault is not None and fault.do == "slow":
                    await asyncio.sleep(fault.seconds)
                    fault = None
                elif fault is not None and fault.do not in AFTER:
                    return
                met[message.number] = fault
                if message.renames:
                    renames[message.number] = message.path
            requests.write(frame)

    async def _pass_answers(
        self,
        server: asyncio.StreamReader,
        answers: asyncio.StreamWriter,
        met: dict[int, Fault | None],
        renames: dict[int, str],
    ) -> None:
        async for frame in _frames(server):
            for message in _messages(frame):
                if message.status == PENDING:
                    continue
                path = renames.pop(message.number, "")
                if path and message.status == 0 and RECORD.search(path):
                    self._note(path)
                fault = met.pop(message.number, None)
                if fault is not None and fault.do == "slow_answer":
                    await asyncio.sleep(fault.seconds)
                elif fault is not None:
                    return
            answers.write(frame)

    def _note(self, path: str) -> None:
        purged, _ = self._jobs.note(path, (self.home / path).read_bytes())
        for record in self.home.glob(".enterprise-orch/*/*"):
            if purged and record.name.startswith(f"{purged}."):
                record.unlink()


async def _frames(source: asyncio.StreamReader) -> Any:
    """Yield what is sent, frame by frame, until the connection ends ([MS-SMB2] 2.1)."""
    try:
        while True:
            head = await source.readexactly(4)
            yield head + await source.readexactly(int.from_bytes(head[1:], "big"))
    except (asyncio.IncompleteReadError, ConnectionError):
        return


def _messages(frame: bytes) -> Iterator[Message]:
    """Yield the messages of a frame: several may be compounded ([MS-SMB2] 2.2.1)."""
    rest = frame[4:]
    while rest[:4] == b"\xfeSMB":
        status, command = struct.unpack_from("<IH", rest, 8)
        flags, following, number = struct.unpack_from("<IIQ", rest, 16)
        here, rest = (rest[:following], rest[following:]) if following else (rest, b"")
        path, renames = "", False
        if not flags & 1 and command == CREATE:
            path = _text(here, *struct.unpack_from("<HH", here, 64 + 44))
        elif not flags & 1 and command == SET_INFO and here[64 + 3] == RENAME:
            (start,) = struct.unpack_from("<H", here, 64 + 8)
            path, renames = _text(here, start + 20, *struct.unpack_from("<I", here, start + 16)), True
        yield Message(command, status, number, path, renames)


def _text(message: bytes, start: int, length: int) -> str:
    return message[start : start + length].decode("utf-16-le").replace("\\", "/")
