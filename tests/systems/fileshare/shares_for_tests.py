"""A share and what really lies on it, and servers that are started for a test."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from airflow_enterprise_orch.lab.s3 import S3StandIn
from airflow_enterprise_orch.systems.fileshare.deliveries import FileShare
from airflow_enterprise_orch.systems.fileshare.hook import open_fileshare

T = TypeVar("T")
NAME = "share_under_test"


class Share:
    """One share, and what really lies on it, read by other means than ours."""

    def __init__(self, kind: str, connection: dict[str, Any], folder: Path | None = None, s3: S3StandIn | None = None):
        self.kind = kind
        self.connection = connection
        self.folder = folder
        self.s3 = s3

    def run(self, work: Callable[[FileShare], Awaitable[T]]) -> T:
        """Run ``work`` with one client."""

        async def with_client() -> T:
            async with open_fileshare(NAME) as share:
                return await work(share)

        return asyncio.run(with_client())

    def files(self) -> dict[str, bytes]:
        """Return what lies there beside the records of jobs."""
        if self.s3 is not None:
            found = self.s3.objects()
        else:
            assert self.folder is not None
            files = [file for file in self.folder.rglob("*") if file.is_file()]
            found = {str(file.relative_to(self.folder)): file.read_bytes() for file in files}
        return {name: data for name, data in found.items() if not name.startswith((".enterprise-orch/", "samples/"))}

    def records(self, kind: str) -> list[str]:
        """Return the names of the journal's records of one kind."""
        if self.s3 is not None:
            names = list(self.s3.objects())
        else:
            assert self.folder is not None
            names = [str(file.relative_to(self.folder)) for file in self.folder.rglob("*") if file.is_file()]
        return [name for name in names if name.startswith(f".enterprise-orch/{kind}/")]

    def put(self, path: str, data: bytes) -> None:
        """Put a file there as somebody else would."""
        if self.s3 is not None:
            self.s3._files.put_bytes(path, data)
        else:
            assert self.folder is not None
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            for place in (file, *file.relative_to(self.folder).parents):
                (self.folder / place).chmod(0o777)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def until_it_answers(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    while True:
        assert server.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
