"""Many clients at once that ask an HTTP server and wait for the whole answer; a process of its own, and a light one.

It shares the processors with what it measures, so it speaks just enough HTTP/1.1 over plain streams: a browser's
headers, one connection for each client, kept alive. No client thinks between two questions unless ``pause`` says so.

    python -m tests.bench.executive_load < load.json
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

CONNECT_TIMEOUT, ANSWER_TIMEOUT = 30.0, 120.0


@dataclass(frozen=True)
class Load:
    """What is asked, by how many, for how long.

    :param paths: each client takes them in turn, and begins anywhere.
    :param cookies: of the login, as the browser sends them.
    :param seconds: no question is sent after that; all that were sent are waited for.
    :param questions: at most so many in all; 0: as many as there is time for.
    :param pause: seconds from the beginning of a client's question to its next one; 0: at once.
    :param remember: give back the ETag of the last answer, as browsers do.
    """

    port: int
    paths: Sequence[str]
    cookies: str
    clients: int
    seconds: float
    questions: int = 0
    pause: float = 0.0
    remember: bool = False


@dataclass
class Told:
    """How long the answers took, in seconds, and which were none."""

    took: list[float] = field(default_factory=list)
    unchanged: int = 0
    bytes: int = 0
    failures: list[str] = field(default_factory=list)
    elapsed: float = 0.0
    cpu: float = 0.0

    def at(self, part: float) -> float:
        """Return the time in milliseconds in which a part of the answers was there: 0.95 for p95."""
        ranked = sorted(self.took)
        return 1000 * ranked[min(len(ranked) - 1, int(len(ranked) * part))] if ranked else float("nan")

    @property
    def p50(self) -> float:
        return self.at(0.5)

    @property
    def p95(self) -> float:
        return self.at(0.95)

    @property
    def rate(self) -> float:
        """Answers in a second."""
        return len(self.took) / self.elapsed if self.elapsed else 0.0

    def __str__(self) -> str:
        """For people: milliseconds."""
        kept = f", {self.unchanged} unchanged" if self.unchanged else ""
        wrong = f", {len(self.failures)} FAILED: {self.failures[0]}" if self.failures else ", no error"
        size = self.bytes / max(1, len(self.took)) / 1024
        return (
            f"p50 {self.p50:.1f}, p95 {self.p95:.1f}, p99 {self.at(0.99):.1f}, worst {self.at(1):.1f} ms; "
            f"{len(self.took)} answers of {size:.1f} KB, {self.rate:.1f}/s{kept}{wrong}"
        )


COMMAND = [sys.executable, "-m", "tests.bench.executive_load"]


def ask(load: Load) -> Told:
    """Let a process of its own do it."""
    text = json.dumps(dataclasses.asdict(load))
    ended = subprocess.run(COMMAND, input=text, stdout=subprocess.PIPE, text=True, check=True)
    return Told(**json.loads(ended.stdout))


@contextmanager
def asking(load: Load) -> Iterator[None]:
    """Let a process of its own do it for as long as the block lasts."""
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(dataclasses.asdict(load)))
        process.stdin.close()
        yield
    finally:
        process.kill()
        process.wait()


class Client:
    """One connection, and what it was told last."""

    def __init__(self, load: Load, told: Told) -> None:
        self._load, self._told = load, told
        self._tags: dict[str, str] = {}
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str) -> None:
        """Ask, and wait for the end of the answer; what goes wrong is written down."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                status, size = await self._exchange(path)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self._told.failures.append(f"{path}: {type(error).__name__} {error}")
            await self.close()
            return
        self._told.took.append(time.perf_counter() - began)
        self._told.bytes += size
        self._told.unchanged += status == 304
        if status not in (200, 304):
            self._told.failures.append(f"{path}: status {status}")

    async def _exchange(self, path: str) -> tuple[int, int]:
        reader, writer = self._streams = self._streams or await self._connect()
        tag = self._tags.get(path) if self._load.remember else None
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._load.port}\r\nCookie: {self._load.cookies}\r\n"
            f"Accept: application/json\r\nAccept-Encoding: gzip, deflate, br\r\n"
            f"{f'If-None-Match: {tag}{chr(13)}{chr(10)}' if tag else ''}\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split()[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        size = 0
        if headers.get("transfer-encoding") == "chunked":
            while length := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                size += len(await reader.readexactly(length + 2)) - 2
            await reader.readexactly(2)
        elif status != 304:
            size = len(await reader.readexactly(int(headers.get("content-length", 0))))
        if "etag" in headers:
            self._tags[path] = headers["etag"]
        if headers.get("connection") == "close":
            await self.close()
        return status, size

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            return await asyncio.open_connection("127.0.0.1", self._load.port, limit=4 * 1024 * 1024)

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def run(load: Load) -> Told:
    """Ask as the load says."""
    told, loop = Told(), asyncio.get_running_loop()
    began = loop.time()
    left = load.questions or sys.maxsize

    async def one(number: int) -> None:
        nonlocal left
        client, place = Client(load, told), number * len(load.paths) // load.clients
        if load.pause:  # people do not all look in the same moment
            await asyncio.sleep(random.Random(number).uniform(0, load.pause))
        while loop.time() - began < load.seconds and left > 0:
            left -= 1
            sent = loop.time()
            await client.ask(load.paths[place % len(load.paths)])
            place += 1
            if load.pause:
                await asyncio.sleep(max(0.0, sent + load.pause - loop.time()))
        await client.close()

    async with asyncio.TaskGroup() as group:
        for number in range(load.clients):
            group.create_task(one(number))
    told.elapsed = loop.time() - began
    told.cpu = time.process_time()
    return told


def main() -> int:
    """Read the load, ask, write what was told."""
    print(json.dumps(dataclasses.asdict(asyncio.run(run(Load(**json.load(sys.stdin)))))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
