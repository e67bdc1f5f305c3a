"""A Windows host from the lab, and clients of it."""

from __future__ import annotations

import asyncio
import secrets
import string
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, cast

import pytest

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus
from airflow_enterprise_orch.lab.server import LabThread
from airflow_enterprise_orch.lab.stand_in import LabJob
from airflow_enterprise_orch.lab.winrm import WinrmStandIn
from airflow_enterprise_orch.systems.windows.psrp import Endpoint, PsrpHost
from airflow_enterprise_orch.systems.windows.task_scheduler import Place, WindowsTasks, windows_tasks

T = TypeVar("T")


class Host:
    """The lab's Windows host, as the tests use it."""

    def __init__(self, lab: LabThread) -> None:
        self.lab = lab
        self.endpoint = lab.endpoints["winrm"]
        self.stand_in = cast("WinrmStandIn", lab.stand_in("winrm"))
        self.root = Place().root

    def client(self, **more: Any) -> PsrpHost:
        """Return a client of its own."""
        connection = self.endpoint["connection"]
        timeout = more.pop("timeout", 60.0)
        fields: dict[str, Any] = {
            "connection": "lab",
            "host": connection["host"],
            "port": connection["port"],
            "tls": True,
            "path": "wsman",
            "auth": "basic",
            "user": connection["login"],
            "password": connection["password"],
            "trust": self.endpoint["ca_file"],
        }
        return PsrpHost(Endpoint(**{**fields, **more}), timeout=timeout)

    def open(self, place: Place | None = None, **more: Any) -> AbstractAsyncContextManager[WindowsTasks]:
        """Open the jobs on the host."""
        return windows_tasks(self.client(**more), place or Place())

    def run(self, work: Callable[[WindowsTasks], Awaitable[T]], place: Place | None = None, **more: Any) -> T:
        """Run ``work`` with one client."""

        async def with_client() -> T:
            async with self.open(place, **more) as tasks:
                return await work(tasks)

        return asyncio.run(with_client())

    def there(self, act: Callable[[], T]) -> T:
        """Do something on the machine, in the lab's own event loop."""

        async def acting() -> T:
            return act()

        return self.lab.run(acting())

    def launches(self, key: str) -> list[LabJob]:
        """Return what really began for a key."""
        return [job for job in self.lab.jobs("winrm") if job.key == key and job.ran]

    def fault(self, do: str, on: str = "submit", **more: Any) -> None:
        """Plan a fault."""
        self.lab.fault("winrm", do, on, **more)


@pytest.fixture(scope="session")
def lab() -> Iterator[LabThread]:
    with LabThread(["winrm"]) as running:
        yield running


@pytest.fixture
def host(lab: LabThread) -> Host:
    lab.reset("winrm")
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
    async def until_final(tasks: WindowsTasks, handle: JobHandle) -> JobStatus:
        while True:  # pytest's own time limit ends it
            status = (await tasks.poll([handle])).get(handle.key)
            if status is not None and status.final:
                return status
            await asyncio.sleep(0.1)

    return until_final
