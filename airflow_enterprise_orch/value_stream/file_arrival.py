"""Streams that files start: who notices a file, and who starts its instance.

Airflow makes one run of all events that came since its scheduler last looked, and such a run has no params. So the
event of an asset watcher starts a run that only hands files over: its first task starts an instance for each file, with
the params that the file fills, and skips all else. The instance's run id is made of the file, and a run id can exist
once: whatever is seen, told or handed over twice starts one instance.

Nothing is lost either. The watcher tells of a file until its instance is there: Airflow throws events away while a
stream is paused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetWatcher, BaseOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRuntimeError,
    DownstreamTasksSkipped,
    ErrorType,
)
from airflow.sdk.execution_time import comms
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_enterprise_orch.delegation.arrivals import Arrival, Place
from airflow_enterprise_orch.delegation.lookout import lookout
from airflow_enterprise_orch.delegation.system import registrations
from airflow_enterprise_orch.value_stream.awaited import Announcements

if TYPE_CHECKING:
    from airflow.sdk import Context

ARRIVAL_VERSION = 1
ARRIVED = "orch.arrived"
"""The key of a run's conf that tells the file; no param can have such a name."""
KNOWN = "orch.known"
"""The key of the asset's state that holds the marks of files that lie there and were handed over."""
AGAIN = 300.0
"""Seconds after which a file is told once more whose instance is not there."""
LONGEST_NOTE = 500
AT_ONCE = 200
"""So many files are told in one event."""


def watched_asset(stream: str, watch: Mapping[str, Any]) -> Asset:
    """Return the asset whose events are arrivals of files for a stream.

    :param watch: ``system``, ``connection`` and the fields of a :class:`~.delegation.arrivals.Place`.
    """
    name = f"enterprise_orch.arrivals.{stream}"
    trigger = FileArrivalTrigger(watch={"version": ARRIVAL_VERSION, "stream": stream, **watch})
    return Asset(name, watchers=[AssetWatcher(name=name, trigger=trigger)])


class FileArrivalTrigger(BaseEventTrigger):
    """Tells of complete files that have started no instance yet.

    :param watch: plain JSON, versioned: the stream, and where its files arrive.
    """

    def __init__(self, watch: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not annotated
        self.watch = watch

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what recreates the trigger in another process."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"watch": self.watch}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look at the place, with all that look at the same connection, for as long as the stream is there."""
        watch = self.watch
        place = Place(watch["folder"], watch["pattern"], watch["stable"], watch["marker"])
        registration = next((one for one in registrations() if one.name == watch["system"]), None)
        if registration is None:
            raise AirflowException(f"the package that brings {watch['system']!r} is not installed in the triggerer")
        known: set[str] | None = None
        told: dict[str, float] = {}
        async for files in lookout(registration, watch["connection"]).looks(place):
            try:
                if known is None:
                    known = await self._kept()
                there = {file.mark: file for file in files}
                started = await self._started(there[one].run_id for one in there.keys() - known)
                now_known = (known & there.keys()) | started
                if now_known != known:
                    await self._keep(now_known)
                    known = now_known
            except Exception as error:
                # Whatever it is, the next look is as good as this one: no trouble of Airflow ends the watch.
                self.log.warning("Cannot tell which files have started an instance: %s", error)
                continue
            now = asyncio.get_running_loop().time()
            told = {one: at for one, at in told.items() if one in there and one not in known}
            due = [one for one in there.keys() - known if now - told.get(one, -AGAIN) >= AGAIN]
            new = sorted(due, key=lambda one: there[one].path)[:AT_ONCE]
            if new:
                told |= dict.fromkeys(new, now)
                event = {"version": ARRIVAL_VERSION, "files": [there[one].to_json() for one in new]}
                yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # Airflow's is not annotated

    async def _kept(self) -> set[str]:
        """Return the marks that are kept, which outlive the runs: those are deleted some day, the file may stay."""
        if self.asset_state_store is None:
            raise AirflowException("Airflow gave the watcher no state of its asset")
        # Not its async methods: the first Airflow 3.3 has none.
        kept = await sync_to_async(self.asset_state_store.get)(KNOWN, [])
        return {str(one) for one in kept} if isinstance(kept, list) else set()

    async def _keep(self, known: set[str]) -> None:
        if self.asset_state_store is not None:
            await sync_to_async(self.asset_state_store.set)(KNOWN, [*sorted(known)])

    async def _started(self, run_ids: Iterable[str]) -> set[str]:
        """Return the marks of those that are there."""
        found = await Announcements(sync_to_async(_asked)).there(self.watch["stream"], run_ids)
        return {run_id.rpartition(".")[2] for run_id in found}


class ArriveStep(BaseOperator):
    """In the run of an event: starts an instance for each file and skips all else. In any other run: goes on.

    :param fills: by param what of the file it is.
    """

    template_fields: Sequence[str] = ()

    def __init__(self, *, fills: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fills = dict(fills)

    def execute(self, context: Context) -> None:
        """Hand the files over; the same again when run again.

        :raises DownstreamTasksSkipped: in a run that only hands over.
        """
        run = context["dag_run"]
        if str(getattr(run.run_type, "value", run.run_type)) != "asset_triggered":
            return
        files = {file.run_id: file for file in _files(context)}
        failed = []
        for run_id, file in sorted(files.items()):
            try:
                self._start(context["ti"].dag_id, run_id, file)
            except (AirflowException, ValueError) as error:
                failed.append(str(error))  # one file must not keep the others back
        if failed:
            raise AirflowException(f"{len(failed)} of {len(files)} file(s) started nothing: {'; '.join(failed)[:2000]}")
        self.log.info("%d file(s) were handed over; this run has nothing else to do", len(files))
        if self.dag is not None:
            others = sorted(set(self.dag.task_ids) - {self.task_id})
            raise DownstreamTasksSkipped(tasks=others)  # type: ignore[no-untyped-call]  # nor is this

    def _start(self, stream: str, run_id: str, file: Arrival) -> None:
        facts = {**file.to_json(), "name": file.name}
        conf = {param: facts[fact] for param, fact in self.fills.items()}
        message = comms.TriggerDagRun(
            dag_id=stream,
            run_id=run_id,
            conf={**conf, ARRIVED: file.to_json()},
            note=f"Started by the arrival of {file.path!r}"[:LONGEST_NOTE],
        )
        try:
            answer = _asked(message)
        except AirflowRuntimeError as error:
            raise AirflowException(f"{file.path!r}: {error}") from error
        there = isinstance(answer, comms.ErrorResponse)
        if there and answer.error != ErrorType.DAGRUN_ALREADY_EXISTS:
            raise AirflowException(f"{file.path!r}: {answer.error.value}")
        self.log.info("%r: instance %s %s", file.path, run_id, "is there already" if there else "was started")


def _files(context: Context) -> list[Arrival]:
    """Return the files of the events that started this run; only those that the watcher itself told of."""
    found = []
    for events in context["triggering_asset_events"].values():
        for event in events:
            payload = event.extra.get("payload")
            # An event that somebody makes through the API says so, and may not fill in params by this way.
            if event.extra.get("from_trigger") is not True or "from_rest_api" in event.extra:
                continue
            if not isinstance(payload, Mapping) or payload.get("version") != ARRIVAL_VERSION:
                raise AirflowFailException(f"an event of version {payload!s:.100} cannot be read by this package")
            found += [Arrival.from_json(one) for one in payload["files"]]
    return found


def _asked(message: Any) -> Any:
    from airflow.sdk.execution_time import task_runner

    return task_runner.SUPERVISOR_COMMS.send(message)
