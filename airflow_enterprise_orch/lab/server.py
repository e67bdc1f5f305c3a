"""``enterprise-orch lab``: every stand-in in one process, and the same in-process for tests.

It prints where everything is once all is up, serves until SIGTERM, SIGINT or SIGHUP, and leaves nothing behind: no
process (jobs that were started over SSH included), no file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from airflow_enterprise_orch.lab.connections import CannotWrite
from airflow_enterprise_orch.lab.stand_in import Fault, LabJob

if TYPE_CHECKING:
    from types import TracebackType

    from airflow_enterprise_orch.lab.stand_in import StandIn

STAND_INS: Mapping[str, str] = {
    "zosmf": "airflow_enterprise_orch.lab.zosmf:ZosmfStandIn",
    "controlm": "airflow_enterprise_orch.lab.controlm:ControlmStandIn",
    "ssh": "airflow_enterprise_orch.lab.ssh:SshStandIn",
    "s3": "airflow_enterprise_orch.lab.s3:S3StandIn",
    "winrm": "airflow_enterprise_orch.lab.winrm:WinrmStandIn",
    "docker": "airflow_enterprise_orch.lab.docker:DockerStandIn",
    "sap_soap_rfc": "airflow_enterprise_orch.lab.sap_soap_rfc:SoapRfcStandIn",
    "sap_odata": "airflow_enterprise_orch.lab.sap_odata:OdataStandIn",
    "desk": "airflow_enterprise_orch.lab.desk:DeskStandIn",
}
"""Every stand-in by its key in the lab's JSON; imported when it is started, so ``--only ssh`` needs what ssh needs."""

Endpoints = dict[str, dict[str, Any]]
T = TypeVar("T")


class UnknownStandIn(ValueError):
    """Somebody asked for a stand-in that the lab does not have."""


def chosen(only: Sequence[str] | None) -> list[str]:
    """Return the names of the stand-ins to start; :raises UnknownStandIn: for a name that nobody has."""
    names = list(dict.fromkeys(only)) if only else list(STAND_INS)
    for name in names:
        if name not in STAND_INS:
            raise UnknownStandIn(f"the lab has no {name!r}; it has {', '.join(STAND_INS)}")
    return names


class Lab:
    """The stand-ins and their control APIs, running in the current event loop; an async context manager.

    :param only: names from :data:`STAND_INS`; all of them by default.
    :ivar endpoints: what ``enterprise-orch lab --json`` prints.
    :ivar stand_ins: the running stand-ins by name.
    """

    def __init__(self, only: Sequence[str] | None = None) -> None:
        self._names = chosen(only)
        self._stack = AsyncExitStack()
        self.endpoints: Endpoints = {}
        self.stand_ins: dict[str, StandIn] = {}

    async def __aenter__(self) -> Self:
        from airflow_enterprise_orch.lab.control import ControlApi

        async with AsyncExitStack() as stack:
            # mkdtemp makes it with mode 0700: keys and job logs below it are nobody else's business.
            scratch = Path(tempfile.mkdtemp(prefix="enterprise-orch-lab-"))
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            for name in self._names:
                module, _, attribute = STAND_INS[name].partition(":")
                stand_in = cast("StandIn", getattr(import_module(module), attribute)())
                place = scratch / name
                place.mkdir()
                stack.push_async_callback(stand_in.stop)  # also when start fails half way
                endpoint = await stand_in.start(place)
                control = await stack.enter_async_context(ControlApi(stand_in))
                self.stand_ins[name] = stand_in
                self.endpoints[name] = {**endpoint, "control": control.url}
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()


async def serve(
    only: Sequence[str] | None, ready: Callable[[Endpoints], None], until: asyncio.Event | None = None
) -> None:
    """Start the stand-ins, call ``ready`` with where they are, serve until ``until`` is set or this is cancelled."""
    async with Lab(only) as lab:
        ready(lab.endpoints)
        await (until or asyncio.Event()).wait()


class LabThread:
    """A lab in a thread and event loop of its own, for pytest fixtures and synchronous code; a context manager.

    :ivar endpoints: what ``enterprise-orch lab --json`` prints.
    """

    def __init__(self, only: Sequence[str] | None = None) -> None:
        self._lab = Lab(only)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="enterprise-orch-lab", daemon=True)
        self.endpoints: Endpoints = {}

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.run(self._lab.__aenter__())
        except BaseException:
            self._end()
            raise
        self.endpoints = self._lab.endpoints
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.run(self._lab.__aexit__(None, None, None))
        finally:
            self._end()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the lab's event loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stand_in(self, name: str) -> StandIn:
        """Return a stand-in; touch it only by :meth:`run`."""
        return self._lab.stand_ins[name]

    def jobs(self, name: str) -> list[LabJob]:
        """Return every job ever handed to a stand-in, oldest first."""

        async def read() -> list[LabJob]:
            return self.stand_in(name).jobs()

        return self.run(read())

    def fault(self, name: str, do: str, on: str = "submit", **more: Any) -> None:
        """Plan a fault; :raises FaultRefused: when the stand-in cannot make it."""
        from airflow_enterprise_orch.lab.control import plan_faults

        async def plan() -> list[Fault]:
            return plan_faults(self.stand_in(name), {"on": on, "do": do, **more})

        self.run(plan())

    def reset(self, name: str) -> None:
        """Forget all jobs and faults of a stand-in."""
        self.run(self.stand_in(name).reset())

    def _end(self) -> None:
        async def drain() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self._loop.shutdown_asyncgens()

        self.run(drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def listing(endpoints: Endpoints) -> str:
    """Return where everything is, for people."""
    lines = ["The lab is up; Ctrl-C ends it."]
    for name, endpoint in endpoints.items():
        lines.append(f"\n{name}")
        for key, value in endpoint.items():
            text = json.dumps(value) if isinstance(value, dict) else value
            lines.append(f"  {key:<17}{text}")
    return "\n".join(lines) + "\n"


async def _serve_until_signalled(
    only: Sequence[str] | None, as_json: bool, with_parent: bool, file: Path | None
) -> None:
    from airflow_enterprise_orch.lab import connections, processes

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    # SIGHUP too: closing the terminal ends the lab, unless nohup told it to ignore that.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, ended.set)

    def ready(endpoints: Endpoints) -> None:
        if file is not None:
            connections.write(file, connections.shipped(endpoints))
        sys.stdout.write(json.dumps(endpoints) + "\n" if as_json else listing(endpoints))
        sys.stdout.flush()

    async def watch_parent(parent: int) -> None:
        while not ended.is_set():
            await asyncio.sleep(0.5)
            if os.getppid() != parent:
                ended.set()

    not_ours = frozenset(processes.descendants())
    with processes.adopting_orphans():
        helpers = [asyncio.create_task(processes.reap_orphans(not_ours))]
        if with_parent:
            helpers.append(asyncio.create_task(watch_parent(os.getppid())))
        try:
            await serve(only, ready, ended)
        finally:
            if file is not None:
                connections.remove(file)
            for helper in helpers:
                helper.cancel()
            await asyncio.wait(helpers)
            await processes.end_descendants(not_ours)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``enterprise-orch lab``; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="enterprise-orch lab", description="Start a stand-in of every system on loopback, until SIGTERM or Ctrl-C."
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON once all is up")
    parser.add_argument("--only", default="", help=f"start only these, comma-separated: {','.join(STAND_INS)}")
    parser.add_argument("--with-parent", action="store_true", help="end, too, when the process that started it ends")
    parser.add_argument(
        "--connections",
        type=Path,
        metavar="FILE.json",
        help="write the connections that the shipped templates name, for Airflow's LocalFilesystemBackend",
    )
    options = parser.parse_args(argv)
    only = [name.strip() for name in options.only.split(",") if name.strip()]
    try:
        chosen(only)
        asyncio.run(_serve_until_signalled(only, options.json, options.with_parent, options.connections))
    except (UnknownStandIn, CannotWrite) as error:
        sys.stderr.write(f"enterprise-orch lab: {error}\n")
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("airflow_enterprise_orch"):
            raise
        sys.stderr.write(
            f"enterprise-orch lab: the module {error.name!r} is missing; pip install 'airflow-enterprise-orch[lab]'\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
