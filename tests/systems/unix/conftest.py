"""A UNIX host from the lab, and clients of it."""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import asyncssh
import pytest

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus
from airflow_enterprise_orch.lab.server import LabThread
from airflow_enterprise_orch.lab.ssh import SshStandIn
from airflow_enterprise_orch.lab.stand_in import LabJob
from airflow_enterprise_orch.systems.unix.ssh_jobs import Place, SshJobs, ssh_jobs

T = TypeVar("T")


class Host:
    """The lab's SSH host, as the tests use it."""

    def __init__(self, lab: LabThread) -> None:
        self.lab = lab
        self.endpoint = lab.endpoints["ssh"]
        self.stand_in = cast("SshStandIn", lab.stand_in("ssh"))
        self.address = f"ssh://lab@127.0.0.1:{self.endpoint['port']}"

    @property
    def root(self) -> Path:
        """Where the job directories are."""
        return self.stand_in.home / ".enterprise-orch" / "jobs"

    def refused_logins(self) -> int:
        """Return how many logins were refused; they are counted when their connections are gone."""
        deadline = time.monotonic() + 10
        while self.stand_in.connections and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.stand_in.refused_logins

    def place(self, **more: Any) -> Place:
        """Return where the jobs are, with short times."""
        return Place(self.address, **{"grace": timedelta(seconds=1), "timeout": timedelta(seconds=30), **more})

    async def connect(self) -> asyncssh.SSHClientConnection:
        """Log in as the lab's user."""
        return await asyncssh.connect(
            self.endpoint["host"],
            self.endpoint["port"],
            username=self.endpoint["user"],
            client_keys=[self.endpoint["private_key_file"]],
            known_hosts=self.endpoint["known_hosts_file"],
            config=None,
        )

    def open(self, **more: Any) -> AbstractAsyncContextManager[SshJobs]:
        """Open a client of its own."""
        return ssh_jobs(self.connect, self.place(**more))

    def run(self, work: Callable[[SshJobs], Awaitable[T]], **more: Any) -> T:
        """Run ``work`` with one client."""

        async def with_client() -> T:
            async with self.open(**more) as jobs:
                return await work(jobs)

        return asyncio.run(with_client())

    def launches(self, key: str = "") -> list[LabJob]:
        """Return what was really executed, as the lab recorded it."""
        return [job for job in self.lab.jobs("ssh") if key in ("", job.key)]

    def fault(self, do: str, on: str = "submit", **more: Any) -> None:
        """Plan a fault."""
        self.lab.fault("ssh", do, on, **more)


@pytest.fixture(scope="session")
def lab() -> Iterator[LabThread]:
    with LabThread(["ssh"]) as running:
        yield running


@pytest.fixture
def host(lab: LabThread) -> Host:
    lab.reset("ssh")
    return Host(lab)


@pytest.fixture
def new_key() -> Callable[[], str]:
    alphabet = string.ascii_uppercase + string.digits
    return lambda: "T" + "".join(secrets.choice(alphabet) for _ in range(19))


@pytest.fixture
def key(new_key: Callable[[], str]) -> str:
    return new_key()


@pytest.fixture
def until() -> Callable[..., Awaitable[JobStatus]]:
    async def until_final(jobs: SshJobs, handle: JobHandle) -> JobStatus:
        while True:  # pytest's own time limit ends it
            status = (await jobs.poll([handle])).get(handle.key)
            if status is not None and status.final:
                return status
            await asyncio.sleep(0.05)

    return until_final
