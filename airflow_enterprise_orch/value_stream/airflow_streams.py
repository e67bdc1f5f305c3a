"""Other value streams of this Airflow, as a remote system: an instance is started, watched and read like any job.

All goes through Airflow's task execution API, with what every task and trigger may do: no connection, no login. The run
id of an instance is made of the step that starts it and the delegation key of the attempt, and a run id can exist once:
so the start is ``atomic``. Nothing in that API ends a run, so nothing here does.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms
from pydantic import Field, JsonValue

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, Verdict
from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Output, Phase
from airflow_enterprise_orch.delegation.system import Absent, Candidate, Capabilities, Found, Protection
from airflow_enterprise_orch.delegation.work import Work
from airflow_enterprise_orch.errors import AnswerLost, OutputMissing, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.value_stream.problems import closest, listed

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.system import Sighting

Ask = Callable[[Any], Awaitable[Any]]
"""Sends one message to Airflow and returns the answer."""

STARTED_BY = "orch.started_by"
"""The key of a run's conf that names the step that started it; no param can have such a name."""
RUN_ID = "@run_id"
BUSINESS_KEY = "@business_key"
"""Sources of what is known of every instance, beside ``<step>.<value>``."""

LIVE = ["queued", "running"]
KEYS_LOOKED_AT = 20
"""In how many steps of an instance its business key is looked for."""
_ADMISSION = ("admit", "admit-instance")
_LATER = (401, 403, 408, 429)
"""Answers to a request that Airflow did not take, and may take later."""


class StreamWork(Work):
    """Which stream is started, and with what."""

    run: str
    params: dict[str, JsonValue] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parent:
    """The step that starts an instance."""

    dag_id: str
    run_id: str
    task_id: str

    def as_json(self) -> dict[str, str]:
        """Return it as an instance keeps it."""
        return {"stream": self.dag_id, "instance": self.run_id, "step": self.task_id}


class AirflowStreams:
    """The value streams of this Airflow; a :class:`RemoteSystem`.

    :param ask: how Airflow is asked from here.
    :param stream: the one that is started; "" where instances are only watched.
    :param parent: the step that starts it.
    :param earlier: the attempts before the newest.
    """

    identity: ClassVar[str] = "this Airflow"
    # Run ids go into the address of one request.
    capabilities: ClassVar[Capabilities] = Capabilities(
        Protection.ATOMIC, settle=timedelta(seconds=10), remembers=timedelta(days=7), batch=100
    )

    def __init__(
        self, ask: Ask, stream: str = "", parent: Parent | None = None, earlier: Sequence[Attempt] = ()
    ) -> None:
        self._ask = ask
        self._stream = stream
        self._parent = parent
        self._earlier = tuple(earlier)

    async def find(self, key: str) -> Sighting:
        """Look for the instance of an attempt, else for the one before it, which a person may have repaired.

        An instance that goes on again must not get a second one beside it; and one that failed and succeeds by now has
        done the work.
        """
        run_id = self._run_id(key)
        if await self._count(self._stream, [run_id]):
            return self._found(key, run_id)
        last = next((one for one in reversed(self._earlier) if one.handle is not None), None)
        if last is None or last.handle is None or last.handle.name != self._stream or last.key == key:
            return Absent()
        run_id = last.handle.job_id
        if last.state is AttemptState.CLOSED and await self._count(self._stream, [run_id], LIVE):
            return self._found(key, run_id)
        if last.verdict == Verdict.FAILURE and await self._count(self._stream, [run_id], ["success"]):
            return self._found(key, run_id)
        return Absent()

    def _found(self, key: str, run_id: str) -> Found:
        return Found((Candidate(JobHandle(key, run_id, self._stream), held=False, order=""),))

    async def identify(self, job_id: str, key: str) -> JobHandle:
        """Return the instance that a person named by its run id."""
        if not await self._count(self._stream, [job_id]):
            raise RequestRejected(f"{self._stream!r} has no instance {job_id!r}")
        return JobHandle(key, job_id, self._stream)

    async def submit(self, work: Work, key: str) -> JobHandle:
        """Start an instance; one that is there already is the one."""
        if not isinstance(work, StreamWork) or self._parent is None:
            raise AssertionError("only a step can start a stream")
        parent, run_id = self._parent, self._run_id(key)
        message = comms.TriggerDagRun(
            dag_id=work.run,
            run_id=run_id,
            conf={**work.params, STARTED_BY: parent.as_json()},
            note=f"Started by step {parent.task_id} of {parent.dag_id}, instance {parent.run_id}",
        )
        try:
            # "Already exists" is an answer and no error; the key in the run id says that it is ours.
            answer = await self._ask(message)
        except AirflowRuntimeError as error:
            status = _status(error)
            what = f"{work.run!r} was not started: {_reason(error)}"
            if status is not None and status < 500 and status not in _LATER:
                remedy = "add the stream, or correct its name" if status == 404 else "correct what it is started with"
                raise RequestRejected(f"{what}; {remedy}, then clear the step") from error
            if status in _LATER:
                raise SystemUnreachable(what) from error
            raise AnswerLost(f"the answer to the start of {run_id} was lost: {_reason(error)}") from error
        if isinstance(answer, comms.ErrorResponse) and answer.error != ErrorType.DAGRUN_ALREADY_EXISTS:
            raise AnswerLost(f"the start of {run_id} was answered with {answer.error.value}")
        return JobHandle(key, run_id, work.run)

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """Return the state of many instances: one question for each stream while none of them has ended."""
        found: dict[str, JobStatus] = {}
        for stream in sorted({handle.name for handle in handles}):
            group = [handle for handle in handles if handle.name == stream]
            for handle in await self._over(stream, group):
                there = await self._count(stream, [handle.job_id])
                found[handle.key] = JobStatus(Phase.ENDED if there else Phase.MISSING)
            found |= {handle.key: JobStatus(Phase.RUNNING) for handle in group if handle.key not in found}
        return found

    async def _over(self, stream: str, group: list[JobHandle]) -> list[JobHandle]:
        """Return those of a group that live no more, by halves."""
        runs = sorted({handle.job_id for handle in group})
        live = await self._count(stream, runs, LIVE)
        if live == len(runs):
            return []
        if live == 0 or len(group) == 1:
            return group
        half = len(group) // 2
        return [*await self._over(stream, group[:half]), *await self._over(stream, group[half:])]

    async def cancel(self, handle: JobHandle) -> None:
        """Refuse: a task may not end another instance."""
        raise RequestRejected(f"a step cannot end {handle.name} {handle.job_id}; whoever may, marks it as failed")

    async def hold(self, handle: JobHandle) -> None:
        """Refuse: there is no such thing."""
        raise RequestRejected(f"{handle.name} {handle.job_id} cannot be held")

    async def release(self, handle: JobHandle) -> None:
        """Do nothing: an instance is never held."""

    async def discard(self, handle: JobHandle) -> None:
        """Do nothing: an instance is never held."""

    async def restart(self, handle: JobHandle, at_step: str, key: str) -> JobHandle:
        """Refuse: an instance is repaired in itself."""
        raise RequestRejected(f"clear step {at_step!r} of {handle.name} {handle.job_id} itself")

    async def result(self, handle: JobHandle) -> JobResult:
        """Return how an instance ended, and which of its steps failed."""
        try:
            run = await self._ask(comms.GetDagRun(dag_id=handle.name, run_id=handle.job_id))
        except AirflowRuntimeError as error:
            if _status(error) == 404:
                return JobResult(Ending.LOST, "deleted", detail="somebody deleted the instance")
            raise self._unreachable(error) from error
        state = str(getattr(run.state, "value", run.state))
        if state in LIVE:
            raise SystemUnreachable(f"{handle.name} {handle.job_id} is {state} again; the next try waits for it")
        detail, good = "", state == "success"
        if not good:
            failed = [crumb["task_id"] for crumb in await self._steps(handle) if _is(crumb, "failed")]
            detail = f"its step {listed([repr(step) for step in failed[:5]])} failed" if failed else "no step failed"
        return JobResult(Ending.COMPLETED, f"state {state}", 0 if good else 1, run.start_date, run.end_date, detail)

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        """Return nothing: each step of an instance has a log of its own."""
        return Output("", cursor)

    async def read_tail(self, handle: JobHandle, *, lines: int = 20) -> str:
        """Say where the logs are."""
        return f"each of its steps has its own: see instance {handle.job_id} of {handle.name}"

    async def read_source(self, handle: JobHandle, source: str) -> str:
        """Return one value as JSON: ``<step>.<value>`` of an ended instance; ``null`` of a step that did not run."""
        if source == RUN_ID:
            return json.dumps(handle.job_id)
        if source == BUSINESS_KEY:
            return json.dumps(await self._business_key(handle))
        step, _, name = source.partition(".")
        states = {crumb["task_id"]: crumb for crumb in await self._steps(handle)}
        if step not in states:
            close = closest(step, states)
            hint = f"did you mean {close!r}?" if close else f"it has {listed(sorted(states))}"
            raise OutputMissing(f"{handle.name} {handle.job_id} has no step {step!r}: {hint}; {_AGAIN}")
        if not _is(states[step], "success"):
            return "null"
        values = await self._left(handle, step)
        if name not in values:
            known = listed(sorted(values)) or "nothing"
            what = f"step {step!r} of {handle.name} {handle.job_id} leaves no value {name!r}: it left {known}"
            raise OutputMissing(f"{what}; {_AGAIN}")
        return json.dumps(values[name])

    async def _business_key(self, handle: JobHandle) -> object:
        """Return the business key as a step of the instance saw it; None when no step says so."""
        done = [crumb["task_id"] for crumb in await self._steps(handle) if _is(crumb, "success")]
        for step in sorted(done, key=lambda step: (step not in _ADMISSION, step))[:KEYS_LOOKED_AT]:
            values = await self._left(handle, step)
            name = "key" if step in _ADMISSION and "admitted" in values else "business_key"
            if name in values and "run_id" not in values:  # else it is that of a stream which that step ran
                return values[name]
        return None

    async def _left(self, handle: JobHandle, step: str) -> Mapping[str, Any]:
        message = comms.GetXCom(key="return_value", dag_id=handle.name, run_id=handle.job_id, task_id=step)
        found = await self._read(message)
        value = found.value
        return value if isinstance(value, Mapping) else {}

    async def _steps(self, handle: JobHandle) -> list[Mapping[str, Any]]:
        found = await self._read(comms.GetTaskBreadcrumbs(dag_id=handle.name, run_id=handle.job_id))
        return [dict(crumb) for crumb in found.breadcrumbs]

    async def _count(self, stream: str, runs: list[str], states: list[str] | None = None) -> int:
        found = await self._read(comms.GetDRCount(dag_id=stream, run_ids=runs, states=states))
        return int(found.count)

    async def _read(self, message: Any) -> Any:
        try:
            return await self._ask(message)
        except AirflowRuntimeError as error:
            raise self._unreachable(error) from error

    @staticmethod
    def _unreachable(error: AirflowRuntimeError) -> SystemUnreachable:
        return SystemUnreachable(f"Airflow's API does not answer as it should: {_reason(error)}")

    def _run_id(self, key: str) -> str:
        if self._parent is None:
            raise AssertionError("only a step can start a stream")
        return f"{self._parent.dag_id}.{self._parent.task_id}.{key}"


_AGAIN = "the instance is not run again: correct the template and clear the step to read it once more"


def _is(crumb: Mapping[str, Any], state: str) -> bool:
    told = crumb.get("state")
    return str(getattr(told, "value", told)) == state


def _status(error: AirflowRuntimeError) -> int | None:
    detail = getattr(error.error, "detail", None)
    status = detail.get("status_code") if isinstance(detail, Mapping) else None
    return status if isinstance(status, int) else None


def _reason(error: AirflowRuntimeError) -> str:
    """Return the innermost message of what Airflow's API answered."""
    found, told = getattr(error.error, "detail", None), ""
    while isinstance(found, Mapping):
        told = str(found.get("message") or told)
        found = found.get("detail")
    told = told or (found if isinstance(found, str) else "") or str(error)
    return " ".join(told.split())[:500]
