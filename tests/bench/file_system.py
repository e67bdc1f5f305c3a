"""The lightest remote system there can be: a folder. It leaves the cost of a delegated step to the package and Airflow.

A job is a folder named by its key, so the submit is atomic (mkdir(2) makes a name once); it ends when its time is over.
Whoever wants to know what was handed over lists the folder: the record is not the package's.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Output, Phase
from airflow_enterprise_orch.delegation.system import (
    Absent,
    Candidate,
    Capabilities,
    Found,
    Protection,
    Sighting,
    StepType,
    SystemRegistration,
)
from airflow_enterprise_orch.delegation.work import Work
from airflow_enterprise_orch.errors import RequestRejected

ENDS = "ends"


class Wait(Work):
    """The work: to last a while."""

    seconds: float


class FileSystem:
    """The client; see :class:`airflow_enterprise_orch.delegation.system.RemoteSystem`."""

    capabilities = Capabilities(Protection.ATOMIC, settle=timedelta(0))

    def __init__(self, root: Path) -> None:
        self.root = root
        self.identity = root.as_uri()

    async def find(self, key: str) -> Sighting:
        if not (self.root / key).is_dir():
            return Absent()
        return Found((Candidate(JobHandle(key, key), held=False, order=key),))

    async def identify(self, job_id: str, key: str) -> JobHandle:
        return JobHandle(key, job_id)

    async def submit(self, work: Work, key: str) -> JobHandle:
        assert isinstance(work, Wait)
        (self.root / key).mkdir(exist_ok=True)
        (self.root / key / ENDS).write_text(str(time.time() + work.seconds))
        return JobHandle(key, key)

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        now = time.time()
        return {
            handle.key: JobStatus(Phase.ENDED if self._ends(handle) <= now else Phase.RUNNING) for handle in handles
        }

    def _ends(self, handle: JobHandle) -> float:
        path = self.root / handle.job_id / ENDS
        return float(path.read_text()) if path.exists() else float("inf")

    async def result(self, handle: JobHandle) -> JobResult:
        return JobResult(Ending.COMPLETED, "exit 0", 0, ended=datetime.fromtimestamp(self._ends(handle), UTC))

    async def cancel(self, handle: JobHandle) -> None:
        (self.root / handle.job_id / ENDS).write_text(str(time.time()))

    async def hold(self, handle: JobHandle) -> None:
        raise RequestRejected("a folder cannot hold a job")

    async def release(self, handle: JobHandle) -> None:
        raise RequestRejected("a folder holds no job")

    async def discard(self, handle: JobHandle) -> None:
        raise RequestRejected("a folder holds no job")

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        return Output("", "")

    async def read_tail(self, handle: JobHandle, *, lines: int = 20) -> str:
        return ""

    async def read_source(self, handle: JobHandle, source: str) -> str:
        return ""

    async def restart(self, handle: JobHandle, at_step: str, key: str) -> JobHandle:
        raise RequestRejected("a folder restarts no job")


@asynccontextmanager
async def open_folder(connection_id: str) -> AsyncIterator[FileSystem]:
    """Read the Airflow connection; its extra names the folder."""
    from airflow.sdk.bases.hook import BaseHook

    connection = await BaseHook.aget_connection(connection_id)
    yield FileSystem(Path(connection.extra_dejson["root"]))


REGISTRATION = SystemRegistration(
    name="bench",
    stack="Bench",
    connection_type="generic",
    opener="tests.bench.file_system:open_folder",
    steps=(
        StepType(
            name="bench.wait",
            title="Wait",
            work="tests.bench.file_system:Wait",
            operator="airflow_enterprise_orch.delegation.operator:DelegateOperator",
            output_key="log",
        ),
    ),
)
