"""One container engine as a remote system (Docker Engine API; moby 20.10 and later).

**Atomic**: the delegation key is the container's name, and a name exists once; a second create is answered with 409,
and the container that has the name is adopted when the hash of its specification is ours.

**A start is not atomic.** The engine starts a container that has ended once more, and no request can say "only if it
never ran". So a start leaves under two rules, which together keep a late or a repeated one from running the work twice:

- it is sent only within :data:`LEASE` seconds after the question (or the create) that showed the container as never
  started was sent, on a clock that goes on while the machine sleeps;
- whoever did not create the container himself first watches it for :data:`LEASE` plus ``settle`` seconds: by then every
  start that somebody else sent has arrived, and shows.

**A cancel leaves a record of its own**, an empty volume named ``KEY.cancel``: exit codes 137 and 143 alone do not tell
a cancel from a kill. A removal has its record in a volume named by its key.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Output, Phase
from airflow_enterprise_orch.delegation.system import Absent, Candidate, Capabilities, Found, Protection, Sighting
from airflow_enterprise_orch.errors import AnswerLost, OutputMissing, RemoteError, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.container import spec, states
from airflow_enterprise_orch.systems.container.handles import (
    checked,
    facts_of,
    handle_of,
    id_of,
    removal_of,
    stop_of,
)
from airflow_enterprise_orch.systems.container.images import Images
from airflow_enterprise_orch.systems.container.log_reader import LogReader
from airflow_enterprise_orch.systems.container.session import (
    Call,
    EngineAbsent,
    EngineConflict,
    EngineSession,
    part,
)
from airflow_enterprise_orch.systems.container.steps import ContainerProvision, ContainerRemove, ContainerRun

if TYPE_CHECKING:
    from types import TracebackType

    from airflow_enterprise_orch.delegation.work import Work
    from airflow_enterprise_orch.systems.container.settings import EngineSettings
    from airflow_enterprise_orch.systems.container.transport import Connect

    Document = Mapping[str, Any]

log = logging.getLogger(__name__)

LATE_NEWS, LATE_NEWS_LOOKS = 2.0, 4
"""How long the engine may take to say that the kernel killed a container for its memory limit, and looks at it."""

LEASE = 5.0
"""Seconds for which the knowledge that a container never started is good enough to start it."""
DIRECT = 200
"""How many jobs that the list does not show one poll asks for one by one; the others wait for the next poll."""
LIVE = ("created", "running", "paused", "restarting", "removing")
SWEEP_EVERY = 6 * 3600.0
SWEEP_AT_ONCE = 100


class EngineSystem:
    """One engine. An async context manager; implements ``RemoteSystem``.

    :param connect: makes the SSH connection where that is the way.
    """

    def __init__(self, settings: EngineSettings, connect: Connect | None = None) -> None:
        self.settings = settings
        self._session = EngineSession(settings, connect)
        self._images = Images(self._session)
        self._logs = LogReader(self._session)
        self._swept = time.monotonic()

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.__aexit__(kind, error, trace)

    @property
    def identity(self) -> str:
        """The engine's address."""
        return self.settings.address

    @property
    def capabilities(self) -> Capabilities:
        """Atomic by name; one list tells of every live container, whatever their number."""
        return Capabilities(Protection.ATOMIC, settle=timedelta(seconds=self.settings.settle), batch=100_000)

    async def check(self) -> str:
        """Ask who is there and whether containers can be listed; return the engine's version in words."""
        answer = await self._session.call(Call("question for the version", "GET", "/version"))
        found = answer.document if isinstance(answer.document, Mapping) else {}
        if not found.get("ApiVersion"):
            raise SystemUnreachable(f"{self.identity} does not answer like a container engine; check host and socket")
        await self._list(("created",))
        return f"{found.get('Version')} (API {found['ApiVersion']})"

    async def find(self, key: str) -> Sighting:
        """Look for the container, or for a removal's record, that has this name."""
        document = await self._inspect(checked(key))
        if document is not None and states.label(document, spec.KEY) == key:
            held = states.inspected_status(document).phase is Phase.HELD
            return Found((Candidate(handle_of(key, document), held, str(document.get("Created") or "")),))
        record = await self._record(key)
        if record is None or not record.get(spec.REMOVES):
            return Absent()
        handle = removal_of(key, record[spec.REMOVES])
        return Found((Candidate(handle, await self._inspect(handle.job_id) is not None, ""),))

    async def identify(self, job_id: str, key: str) -> JobHandle:
        """Return the handle of the container that a person named, by id or name."""
        document = await self._inspect(job_id)
        if document is None:
            raise RequestRejected(f"{self.identity} has no container {job_id!r}")
        carried = states.label(document, spec.KEY)
        if carried not in ("", key):
            raise RequestRejected(f"{self.identity}: container {job_id!r} belongs to another attempt, {carried}")
        return handle_of(key, document)

    async def submit(self, work: Work, key: str) -> JobHandle:
        """Create the container and start it; where the key has one already, adopt that."""
        checked(key)
        if isinstance(work, ContainerRemove):
            return await self._submit_removal(work, key)
        if not isinstance(work, ContainerRun | ContainerProvision):
            raise RequestRejected(f"{self.identity} does not know how to do {type(work).__name__}")
        image = await self._images.ensure(work.image, work.pull)
        if isinstance(work, ContainerProvision) and not spec.has_health_check(work, image):
            raise RequestRejected(
                f"image {work.image} defines no health check, and neither does the step: nobody could tell when the "
                f"instance is up; give `health`"
            )
        asked = _now()
        call = Call(
            f"create of container {key}",
            "POST",
            "/containers/create",
            changing=True,
            params={"name": key},
            body=spec.container_document(work, key),
        )
        try:
            answer = await self._session.call(call)
        except EngineConflict:
            return await self._adopt(work, key)
        handle = handle_of(key, self._document(call, answer.document), spec.kind_of(work))
        await self._start(handle, asked)
        return handle

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """Return the state of many jobs: one list of what is alive, and one question for each that is not."""
        if not handles:
            return {}
        states_by_key: dict[str, JobStatus] = {}
        left: list[JobHandle] = []
        containers = any(handle.fields.get("kind") != spec.REMOVAL for handle in handles)
        listed = {str(entry.get("Id")): entry for entry in await self._list(LIVE)} if containers else {}
        for handle in handles:
            entry = listed.get(handle.fields.get("id", ""))
            status = states.listed_status(entry) if entry is not None else None
            if status is None:
                left.append(handle)
            else:
                states_by_key[handle.key] = status
        found = await asyncio.gather(*(self._status(handle) for handle in left[:DIRECT]))
        states_by_key |= {handle.key: status for handle, status in zip(left[:DIRECT], found, strict=True)}
        await self._sweep_now_and_then()
        return states_by_key

    async def cancel(self, handle: JobHandle) -> None:
        """Write down that the end was asked for, then stop the container: TERM, and KILL after its grace."""
        if handle.fields.get("kind") == spec.REMOVAL:
            return  # one request did it
        await self._write_record(f"{handle.key}.cancel", {**spec.labels(handle.key, "", spec.CANCEL)})
        document = await self._inspect(id_of(handle))
        if document is None:
            return
        status = states.inspected_status(document)
        if status.phase is Phase.HELD:
            # Without force the engine refuses to remove what runs by now.
            call = Call(
                f"removal of container {handle.key}, never started", "DELETE", self._path(handle), changing=True
            )
            try:
                await self._session.call(call)
            except EngineAbsent:
                return
            except EngineConflict:
                document = await self._inspect(id_of(handle)) or document
            else:
                return
        if states.state_of(document).get("Status") in ("running", "paused", "restarting"):
            try:
                await self._session.call(stop_of(document))
            except EngineAbsent:
                return

    async def hold(self, handle: JobHandle) -> None:
        """Not possible: a container runs at once."""
        raise RequestRejected(f"{self.identity} cannot hold container {handle.key}: an engine has no queue")

    async def release(self, handle: JobHandle) -> None:
        """Start a container that was created and never started, or go on with a removal. See the module's text."""
        if handle.fields.get("kind") == spec.REMOVAL:
            await self._remove(handle)
            return
        if not await self._never_started(handle):
            return
        await asyncio.sleep(LEASE + self.settings.settle)
        asked = _now()
        if await self._never_started(handle):
            if await self._record(f"{handle.key}.cancel") is not None:
                raise RequestRejected(f"{self.identity}: container {handle.key} was cancelled before it was started")
            await self._start(handle, asked)

    async def discard(self, handle: JobHandle) -> None:
        """Not needed: a name exists once."""
        raise RequestRejected(f"{self.identity} discards nothing: container {handle.key} is the only one of its name")

    async def restart(self, handle: JobHandle, at_step: str, key: str) -> JobHandle:
        """Not possible: a container has no steps."""
        raise RequestRejected(f"{self.identity} cannot restart {handle.key} at {at_step!r}: a container has no steps")

    async def result(self, handle: JobHandle) -> JobResult:
        """Return how a job ended, an instance came up, or a removal went."""
        if handle.fields.get("kind") == spec.REMOVAL:
            if await self._inspect(handle.job_id) is not None:
                return JobResult(Ending.UNKNOWN, detail=f"container {handle.job_id} is still there")
            return JobResult(Ending.COMPLETED, "removed", 0)
        document = await self._inspect(id_of(handle))
        cancelled = await self._record(f"{handle.key}.cancel") is not None
        for _ in range(LATE_NEWS_LOOKS):
            if document is None or cancelled or not states.killed_for_unknown_reason(document):
                break
            await asyncio.sleep(LATE_NEWS / LATE_NEWS_LOOKS)
            document = await self._inspect(id_of(handle))
        if document is not None:
            return states.result_of(document, cancelled=cancelled)
        if cancelled:
            return JobResult(Ending.CANCELLED, "removed", detail="it was removed when its end was asked for")
        return JobResult(Ending.UNKNOWN, detail=f"{self.identity} has no container {handle.key} any more")

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        """Return what the container wrote from a cursor on."""
        if handle.fields.get("kind") == spec.REMOVAL:
            return Output("", cursor)
        return await self._logs.read(id_of(handle), cursor, limit)

    async def read_tail(self, handle: JobHandle, *, lines: int = 20) -> str:
        """Return the last lines that the container wrote."""
        return "" if handle.fields.get("kind") == spec.REMOVAL else await self._logs.tail(id_of(handle), lines)

    async def read_source(self, handle: JobHandle, source: str) -> str:
        """Return ``log``, ``stdout`` or ``stderr``; of an instance also ``id``, ``name``, ``ip`` and ``address``."""
        if source in ("log", "stdout", "stderr") and handle.fields.get("kind") != spec.REMOVAL:
            return await self._logs.whole(id_of(handle), source)
        known = handle.fields.get("kind") == spec.INSTANCE and source in ("id", "name", "ip", "address")
        if not known:
            raise OutputMissing(
                f"{self.identity}: container {handle.key} has no output {source!r}; a container has log, stdout and "
                f"stderr, an instance also id, name, ip and address"
            )
        document = await self._inspect(id_of(handle))
        if document is None:
            raise OutputMissing(f"{self.identity}: instance {handle.job_id} is gone")
        values = facts_of(document, self.settings.serves_at)
        if not values[source]:
            raise OutputMissing(f"{self.identity}: instance {handle.job_id} has no {source}: see its network and ports")
        return values[source]

    async def _start(self, handle: JobHandle, asked: float) -> None:
        """Start a container that was seen as never started when ``asked``.

        :raises RequestRejected: the engine cannot start it: no such program, no such network.
        :raises AnswerLost: it may have started, or too much time has passed to send it safely.
        """
        if _now() - asked > LEASE:
            raise AnswerLost(f"{self.identity}: container {handle.key} was created, and nobody knows yet if it started")
        call = Call(f"start of container {handle.key}", "POST", f"{self._path(handle)}/start", changing=True)
        answer = await self._session.ask(call)
        if answer.status in (204, 304):
            return
        # A program that is not in the image is answered with 400, 404 or 500, by version: only the state tells.
        document = await self._inspect(id_of(handle))
        if document is not None and states.state_of(document).get("Status") != "created":
            return
        failure = states.start_failure(document) if document is not None else ""
        if failure:
            raise RequestRejected(f"{self.identity} cannot start container {handle.key}: {failure}")
        self._session.judge(call, answer)

    async def _adopt(self, work: ContainerRun | ContainerProvision, key: str) -> JobHandle:
        document = await self._inspect(key)
        waits_until = _now() + self.settings.settle
        while document is None and _now() < waits_until:
            # The engine reserves a name before the container can be looked at (moby, ``daemon.create``).
            await asyncio.sleep(0.2)
            document = await self._inspect(key)
        if document is None:
            raise AnswerLost(f"{self.identity}: the name {key} is taken, but nothing is there to be seen")
        if states.label(document, spec.KEY) != key:
            raise RequestRejected(f"{self.identity} has a container named {key} that is not ours; it is left alone")
        if states.label(document, spec.SPEC) != work.digest():
            raise RequestRejected(
                f"{self.identity} has container {key} with another specification (the step was changed since): "
                f"it is neither adopted nor replaced"
            )
        handle = handle_of(key, document)
        await self.release(handle)
        return handle

    async def _submit_removal(self, work: ContainerRemove, key: str) -> JobHandle:
        document = await self._inspect(work.instance)
        if document is not None and states.label(document, spec.KIND) != spec.INSTANCE:
            raise RequestRejected(
                f"{self.identity}: container {work.instance} is no instance that container.provision made; "
                f"it is left alone"
            )
        handle = removal_of(key, str(document.get("Id")) if document is not None else work.instance)
        labels = {**spec.labels(key, work.digest(), spec.REMOVAL), spec.REMOVES: handle.job_id}
        await self._write_record(key, labels)
        await self._remove(handle)
        return handle

    async def _remove(self, handle: JobHandle) -> None:
        """Stop an instance in good order, then remove it; what is gone already is fine."""
        document = await self._inspect(handle.job_id)
        if document is None:
            return
        path = f"/containers/{part(handle.job_id)}"
        remove = Call(f"removal of instance {handle.job_id[:12]}", "DELETE", path, True, params={"force": "1"})
        try:
            await self._session.call(stop_of(document))
            await self._session.call(remove)
        except EngineAbsent:
            return
        except EngineConflict as error:  # "removal is already in progress": polling shows its end
            log.info("%s", error)

    async def _status(self, handle: JobHandle) -> JobStatus:
        if handle.fields.get("kind") == spec.REMOVAL:
            gone = await self._inspect(handle.job_id) is None
            return JobStatus(Phase.ENDED) if gone else JobStatus(Phase.HELD, "its removal was not carried out")
        document = await self._inspect(id_of(handle))
        if document is not None:
            return states.inspected_status(document)
        if await self._record(f"{handle.key}.cancel") is not None:
            return JobStatus(Phase.ENDED, "removed when its end was asked for")
        return JobStatus(Phase.MISSING)

    async def _never_started(self, handle: JobHandle) -> bool:
        document = await self._inspect(id_of(handle))
        if document is None:
            return False
        failure = states.start_failure(document)
        if failure:
            raise RequestRejected(f"{self.identity} cannot start container {handle.key}: {failure}")
        return states.inspected_status(document).phase is Phase.HELD

    async def _inspect(self, name: str) -> Document | None:
        """Return the document of a container by id or name, None when there is none."""
        call = Call(f"look at container {name}", "GET", f"/containers/{part(name)}/json")
        try:
            return self._document(call, (await self._session.call(call)).document)
        except EngineAbsent:
            return None

    async def _list(self, wanted: Sequence[str]) -> list[Document]:
        """List our containers in the given states."""
        filters = {"label": [spec.KEY], "status": list(wanted)}
        call = Call(
            "list of containers", "GET", "/containers/json", params={"all": "1", "filters": json.dumps(filters)}
        )
        answer = (await self._session.call(call)).document
        if not isinstance(answer, list) or not all(isinstance(entry, Mapping) for entry in answer):
            raise SystemUnreachable(f"{self.identity} answered a list of containers with something else")
        return answer

    async def _record(self, name: str) -> dict[str, str] | None:
        """Return the labels of a record, None when there is none."""
        try:
            answer = await self._session.call(Call(f"look at record {name}", "GET", f"/volumes/{part(name)}"))
        except EngineAbsent:
            return None
        found = answer.document.get("Labels") if isinstance(answer.document, Mapping) else None
        return dict(found) if isinstance(found, Mapping) else {}

    async def _write_record(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a record; making it again changes nothing (Docker Engine API, ``VolumeCreate``)."""
        body = {"Name": name, "Driver": "local", "Labels": dict(labels)}
        await self._session.call(Call(f"record {name}", "POST", "/volumes/create", changing=True, body=body))

    async def _sweep_now_and_then(self) -> None:
        """Remove the containers of jobs that ended long ago. Only a client that lives long, a poller's, gets here."""
        if time.monotonic() - self._swept < SWEEP_EVERY:
            return
        self._swept = time.monotonic()
        try:
            removed = await self.sweep(datetime.now(UTC) - timedelta(days=self.settings.keep_days))
        except RemoteError as error:
            log.warning("ended containers are not cleaned up this time: %s", error)
        else:
            log.info("%s: %d containers of jobs that ended long ago were removed", self.identity, removed)

    async def sweep(self, before: datetime) -> int:
        """Remove the containers of jobs that ended before ``before``, with their records; return how many."""
        removed = 0
        for entry in await self._list(("exited", "dead")):
            created = entry.get("Created")
            if removed >= SWEEP_AT_ONCE:
                break
            if states.label(entry, spec.KIND) != spec.RUN or not isinstance(created, int | float):
                continue
            if created >= before.timestamp():
                continue
            document = await self._inspect(str(entry.get("Id")))
            ended = states.when(states.state_of(document).get("FinishedAt")) if document is not None else None
            if document is None or ended is None or ended >= before:
                continue
            handle = handle_of(states.label(document, spec.KEY), document)
            for path in (self._path(handle), f"/volumes/{part(handle.key + '.cancel')}"):
                try:
                    await self._session.call(Call(f"clean-up of {handle.key}", "DELETE", path, changing=True))
                except EngineAbsent:
                    continue
            removed += 1
        return removed

    def _document(self, call: Call, document: Any) -> Document:
        if isinstance(document, Mapping) and document.get("Id"):
            return document
        if call.changing:
            raise AnswerLost(f"{self.identity} answered the {call.what} with something else: it may have taken effect")
        raise SystemUnreachable(f"{self.identity} answered the {call.what} with something else")

    @staticmethod
    def _path(handle: JobHandle) -> str:
        return f"/containers/{part(id_of(handle))}"


def _now() -> float:
    """Seconds on a clock that goes on while the machine sleeps, which Python's monotonic clock does not on Linux."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
