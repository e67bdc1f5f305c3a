"""Reading what a container wrote (Docker Engine API, ``ContainerLogs``)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from airflow_enterprise_orch.delegation.job import Output
from airflow_enterprise_orch.errors import OutputMissing, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.container.logs import STDERR, STDOUT, Cursor, Entry, FrameReader, Progress
from airflow_enterprise_orch.systems.container.session import Call, EngineAbsent, EngineSession, part

WHOLE_LOG = 16 * 1024 * 1024
"""The longest log that is read as a whole, for a step's outputs."""
TAIL_BYTES = 16384


class LogReader:
    """The logs of one engine's containers."""

    def __init__(self, session: EngineSession) -> None:
        self._session = session

    async def read(self, container: str, cursor: str, limit: int) -> Output:
        """Return the entries behind ``cursor``: at least one, if there is any, and none more beyond ``limit``."""
        place = Cursor.read(cursor)
        progress = Progress(place)
        text = bytearray()
        params = {"since": place.moment} if place.since else {}
        try:
            async with aclosing(self._entries(container, params)) as entries:
                async for entry in entries:
                    if not progress.is_new(entry):
                        continue
                    if text and len(text) + len(entry.text) > limit:
                        break
                    text += entry.text
                    progress.give(entry)
        except EngineAbsent:
            return Output("", cursor)
        return Output(text.decode(errors="replace"), str(progress.cursor))

    async def tail(self, container: str, lines: int) -> str:
        """Return the last lines; "" when the container, or a log that can be read, is not there."""
        text = bytearray()
        try:
            async with aclosing(self._entries(container, {"tail": str(lines)})) as entries:
                async for entry in entries:
                    text += entry.text
        except RequestRejected:
            return ""
        return text[-TAIL_BYTES:].decode(errors="replace")

    async def whole(self, container: str, source: str) -> str:
        """Return everything that was written to ``stdout``, ``stderr`` or both (``log``).

        :raises OutputMissing: it is gone, too long, or kept where the engine cannot read it.
        """
        where = f"{self._session.settings.address}: container {container[:12]}"
        wanted = {"stdout": (STDOUT,), "stderr": (STDERR,)}.get(source, (STDOUT, STDERR))
        text = bytearray()
        try:
            async with aclosing(self._entries(container, {})) as entries:
                async for entry in entries:
                    text += entry.text if entry.stream in wanted else b""
                    if len(text) > WHOLE_LOG:
                        raise OutputMissing(f"{where}: its log is longer than {WHOLE_LOG >> 20} MiB; let it write less")
        except RequestRejected as error:
            raise OutputMissing(f"{where}: its log cannot be read: {error}") from error
        return text.decode(errors="replace")

    async def _entries(self, container: str, params: dict[str, str]) -> AsyncGenerator[Entry, None]:
        wanted = {"stdout": "1", "stderr": "1", "timestamps": "1", **params}
        call = Call(f"log of {container[:12]}", "GET", f"/containers/{part(container)}/logs", params=wanted)
        frames = FrameReader()
        async with self._session.stream(call) as pieces:
            async for piece in pieces:
                try:
                    found = frames.feed(piece)
                except ValueError as error:
                    raise SystemUnreachable(f"{self._session.settings.address}: {call.what}: {error}") from error
                for entry in found:
                    yield entry
