"""The lab's engine, and clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import asyncssh

from airflow_enterprise_orch.delegation.job import JobHandle, JobResult, JobStatus
from airflow_enterprise_orch.errors import LoginRefused
from airflow_enterprise_orch.lab.docker import DockerStandIn
from airflow_enterprise_orch.lab.server import LabThread
from airflow_enterprise_orch.lab.stand_in import LabJob
from airflow_enterprise_orch.systems.container.engine import EngineSystem
from airflow_enterprise_orch.systems.container.settings import EngineSettings, Way
from airflow_enterprise_orch.systems.container.steps import ContainerRun

T = TypeVar("T")


def sh(script: str, **more: Any) -> ContainerRun:
    """Return a container that runs a shell script."""
    return ContainerRun(image="lab/tools:1", command=["sh", "-c", script], **{"grace": 1, **more})


async def until_final(system: EngineSystem, handle: JobHandle) -> JobStatus:
    """Poll until the job has ended; pytest's own time limit ends a wait in vain."""
    while True:
        status = (await system.poll([handle])).get(handle.key)
        if status is not None and status.final:
            return status
        await asyncio.sleep(0.05)


async def until_running(system: EngineSystem, handle: JobHandle, said: str) -> None:
    """Wait until the container has written ``said``."""
    while said not in (await system.read_output(handle)).text:
        await asyncio.sleep(0.05)


async def run_to_end(system: EngineSystem, work: ContainerRun, key: str) -> tuple[JobHandle, JobResult]:
    """Hand a job over and wait for its result."""
    handle = await system.submit(work, key)
    await until_final(system, handle)
    return handle, await system.result(handle)


class Engine:
    """The lab's engine, as the tests use it."""

    def __init__(self, lab: LabThread) -> None:
        self.lab = lab
        self.endpoint = lab.endpoints["docker"]
        self.stand_in = cast("DockerStandIn", lab.stand_in("docker"))

    def settings(self, way: Way = Way.UNIX, **more: Any) -> EngineSettings:
        """Return where it is, with short times."""
        place: dict[str, Any] = {"connection": "engine", "way": way, "settle": 0.3, "timeout": 20.0}
        if way is Way.UNIX:
            place |= {"socket": self.endpoint["socket"]}
        elif way is Way.TLS:
            files = ("ca_file", "client_cert", "client_key")
            port = int(self.endpoint["tls_url"].rpartition(":")[2])
            place |= {"host": "127.0.0.1", "port": port, **{name: self.endpoint[name] for name in files}}
        else:
            port = self.endpoint["ssh_port"]
            place |= {"host": "127.0.0.1", "port": port, "login": "lab", "socket": self.endpoint["socket"]}
        return EngineSettings(**{**place, **more})

    def client(self, way: Way = Way.UNIX, **more: Any) -> EngineSystem:
        """Return a client, to be entered."""
        return EngineSystem(self.settings(way, **more), self.connect if way is Way.SSH else None)

    async def connect(self) -> asyncssh.SSHClientConnection:
        """Log in over SSH."""
        known = self.endpoint["connection"]["extra"]["host_key"]
        try:
            return await asyncssh.connect(
                "127.0.0.1",
                self.endpoint["ssh_port"],
                username="lab",
                password=self.endpoint["password"],
                known_hosts=f"[127.0.0.1]:{self.endpoint['ssh_port']} {known}".encode(),
                config=None,
            )
        except asyncssh.PermissionDenied as error:
            raise LoginRefused("engine", "the lab refused the login", "wait for the next test") from error

    def run(self, work: Callable[[EngineSystem], Awaitable[T]], way: Way = Way.UNIX, **more: Any) -> T:
        """Run ``work`` with one client."""

        async def with_client() -> T:
            async with self.client(way, **more) as system:
                return await work(system)

        return asyncio.run(with_client())

    def starts(self, key: str) -> list[LabJob]:
        """Return every start of a container that carries ``key``; more than one is a job that ran twice."""
        return [job for job in self.lab.jobs("docker") if job.key == key and job.ran]

    def fault(self, do: str, on: str = "submit", **more: Any) -> None:
        """Plan a fault."""
        self.lab.fault("docker", do, on, **more)

    def drop_logins(self) -> None:
        """Cut every SSH connection."""

        async def drop() -> None:
            self.stand_in.drop_logins()

        self.lab.run(drop())

    def requests(self) -> list[str]:
        """Return method and path of every request since the last reset."""

        async def read() -> list[str]:
            return list(self.stand_in.requests)

        return self.lab.run(read())
