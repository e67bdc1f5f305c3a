"""The control API of one stand-in: what happened there, and what shall go wrong there.

Plain HTTP on loopback, beside the stand-in's own protocol:

- ``GET jobs``: every job ever handed over, oldest first (a list of :class:`~.stand_in.LabJob`);
- ``GET faults``: the faults that are still to be made;
- ``GET made``: the faults that were made, oldest first (a list of :class:`~.stand_in.MadeFault`);
- ``POST faults``: one fault or a list of them, e.g. ``{"on": "submit", "do": "cut_after_commit", "times": 1}``;
- ``GET logins``: how many logins were accepted and refused, where the stand-in counts them;
- ``GET messages``: what a stand-in was told that takes no jobs but alerts;
- ``POST reset``: forget all jobs (ending those that run) and all faults.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from aiohttp import web

from airflow_enterprise_orch.lab.stand_in import Fault, FaultRefused

if TYPE_CHECKING:
    from types import TracebackType

    from airflow_enterprise_orch.lab.stand_in import StandIn


@runtime_checkable
class CountsLogins(Protocol):
    """A stand-in that can prove that nobody retries a refused login."""

    accepted_logins: int
    refused_logins: int


@runtime_checkable
class KeepsMessages(Protocol):
    """A stand-in that people are told things through."""

    def messages(self) -> list[dict[str, Any]]:
        """Return what came, oldest first."""
        ...


def plan_faults(stand_in: StandIn, data: Any) -> list[Fault]:
    """Add one fault, or a list of them, to the stand-in's plan: all of them or, when one is wrong, none.

    :raises FaultRefused: in one line that says what is wrong.
    """
    entries = data if isinstance(data, list) else [data]
    try:
        faults = [Fault.from_json(entry) for entry in entries]
    except FaultRefused:
        raise
    except (TypeError, ValueError) as error:
        raise FaultRefused(f"times is a whole number and seconds is a number: {error}") from error
    for fault in faults:
        if fault.do in stand_in.cannot:
            raise FaultRefused(f"{stand_in.name} cannot make {fault.do!r}: its protocol has no meaning for it")
        if fault.times < 1:
            raise FaultRefused(f"times: {fault.times} is not at least 1")
    for fault in faults:
        stand_in.faults.add(fault)
    return faults


class ControlApi:
    """Serves the control API of ``stand_in`` on 127.0.0.1 and a free port; an async context manager.

    :ivar url: the base URL, without a slash at its end.
    """

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=1 << 20)
        # Several slashes are as good as one: people write f"{control}/jobs" whether or not control ends with a slash.
        application.router.add_get("/{_:/*}jobs", self._jobs)
        application.router.add_get("/{_:/*}faults", self._list_faults)
        application.router.add_post("/{_:/*}faults", self._post_faults)
        application.router.add_get("/{_:/*}made", self._list_made)
        application.router.add_get("/{_:/*}logins", self._logins)
        application.router.add_get("/{_:/*}messages", self._messages)
        application.router.add_post("/{_:/*}reset", self._reset)
        # 0.2 s: a client that keeps its connection open must not keep the lab alive.
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _jobs(self, request: web.Request) -> web.Response:
        return web.json_response([job.to_json() for job in self._stand_in.jobs()])

    async def _list_faults(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(fault) for fault in self._stand_in.faults.faults])

    async def _list_made(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(made) for made in self._stand_in.faults.made])

    async def _post_faults(self, request: web.Request) -> web.Response:
        try:
            faults = plan_faults(self._stand_in, await request.json())
        except json.JSONDecodeError as error:
            return _refusal(f"the body is no JSON: {error}")
        except FaultRefused as error:
            return _refusal(str(error))
        return web.json_response([asdict(fault) for fault in faults])

    async def _logins(self, request: web.Request) -> web.Response:
        if not isinstance(self._stand_in, CountsLogins):
            return web.json_response({"error": f"{self._stand_in.name} does not count logins"}, status=404)
        counts = {"accepted": self._stand_in.accepted_logins, "refused": self._stand_in.refused_logins}
        return web.json_response(counts)

    async def _messages(self, request: web.Request) -> web.Response:
        if not isinstance(self._stand_in, KeepsMessages):
            return web.json_response({"error": f"{self._stand_in.name} keeps no messages"}, status=404)
        return web.json_response(self._stand_in.messages())

    async def _reset(self, request: web.Request) -> web.Response:
        await self._stand_in.reset()
        return web.json_response({})


def _refusal(line: str) -> web.Response:
    return web.json_response({"error": line}, status=400)
