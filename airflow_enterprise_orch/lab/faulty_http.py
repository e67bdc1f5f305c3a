"""Answering over HTTP as a fault wants it: cut, halved, late, slow, or with somebody else's error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from airflow_enterprise_orch.lab.stand_in import Fault

Action = Callable[[], Awaitable[web.StreamResponse]]


class FaultyHttp:
    """Does what a request asks for and answers it, or not, as the fault says."""

    def __init__(self) -> None:
        self._late: set[asyncio.Task[None]] = set()

    @property
    def late(self) -> int:
        """How many requests whose client was cut off are still to be done."""
        return len(self._late)

    def forget(self) -> None:
        """Let what is late never be done."""
        for task in self._late:
            task.cancel()

    async def answer(
        self, request: web.Request, fault: Fault | None, action: Action, failure: Callable[[], web.StreamResponse]
    ) -> web.StreamResponse:
        """Do ``action`` and return its answer, but for what the fault makes of both.

        :param failure: the system's own way to say 500.
        """
        kind = fault.do if fault is not None else ""
        if kind == "cut_before_commit":
            return cut(request)
        if kind == "error_500":
            return failure()
        if kind == "html_503":
            page = "<html><body>Service unavailable</body></html>"
            return web.Response(status=503, text=page, content_type="text/html")
        if fault is not None and kind == "late_commit":
            task = asyncio.create_task(_done_late(fault.seconds, action))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            return cut(request)
        answer = await action()
        if fault is not None and kind == "slow_answer":
            await asyncio.sleep(fault.seconds)
        if kind == "half_answer" and isinstance(answer, web.Response):
            return await halved(request, answer)
        return cut(request) if kind == "cut_after_commit" else answer


async def _done_late(seconds: float, action: Action) -> None:
    """Do what was asked long after the client was cut off, as a host does that reads its queue slowly."""
    await asyncio.sleep(seconds)
    await action()


async def halved(request: web.Request, answer: web.Response) -> web.StreamResponse:
    """Send the first half of an answer and then nothing more."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    if not body:
        return cut(request)
    half = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
    half.content_length = len(body)
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # an abort would lose the half, too
    return half


def cut(request: web.Request) -> web.StreamResponse:
    """Cut the connection without a word."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
