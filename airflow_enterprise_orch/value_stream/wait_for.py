"""A step that waits for another value stream: of the same business date, some working days off, or of a business key.

What it waits for is found out once, when the step begins, and kept in the task state store: whatever dies or is retried
meanwhile, it waits for the same, and its time limit does not begin anew. The triggerer only says when there may be
something new; whether the wait is over the task decides, by its own look.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from uuid import uuid4

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowRuntimeError
from airflow.sdk.execution_time import comms
from airflow.sdk.execution_time.context import NEVER_EXPIRE
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.delegation.polling import poller, seconds_until
from airflow_enterprise_orch.delegation.system import Capabilities, Protection, SystemRegistration
from airflow_enterprise_orch.delegation.trigger import min_wait
from airflow_enterprise_orch.errors import OrchestrationError, TemplateError
from airflow_enterprise_orch.instance import render_text, run_business_date
from airflow_enterprise_orch.value_stream.acted_on import ActedOn
from airflow_enterprise_orch.value_stream.awaited import Announcements, Ask, Instance, Instances, Verdict, Wanted, judge
from airflow_enterprise_orch.working_days import DAY, WorkingDays

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_enterprise_orch.delegation.control import Wish
    from airflow_enterprise_orch.delegation.watch import News

WAIT_FOR_KEY = "orch.wait_for"
WAIT_FOR_VERSION = 1
REMOVED = "removed"
"""The tag of a DAG whose template was taken away."""


class WaitForStep(ActedOn):
    """Waits for an instance of another stream to succeed, or for a step of it.

    What it leaves for later steps: ``run_id``, ``ended`` and ``state`` of the other one.

    :param other: the other stream.
    :param milestone: a step of it that is enough.
    :param offset: working days, from the business date of this instance to that of the other.
    :param key: instead of the business date the other's business key; may use what the stream's templates may see.
    :param instances: which count where several are there.
    :param on_failure: what a failure of the other one means.
    :param within: seconds after which it waits no longer.
    :param on_timeout: what happens then.
    :param dates: what tells the business date; see :func:`airflow_enterprise_orch.business_date.business_date`.
    :param stream: what ``key`` may see.
    """

    may_leave: ClassVar[Mapping[str, str]] = {"run_id": "string", "ended": "string", "state": "string"}
    # Airflow would render these with connections and variables in reach; they are rendered here instead.
    template_fields: Sequence[str] = ()

    def __init__(
        self,
        *,
        other: str,
        milestone: str | None = None,
        offset: int = 0,
        key: str | None = None,
        instances: Instances = "newest",
        on_failure: Literal["wait", "fail"] = "wait",
        within: float | None = None,
        on_timeout: Literal["fail", "go_on"] = "fail",
        dates: Mapping[str, Any] | None = None,
        stream: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.other, self.milestone, self.offset, self.key = other, milestone, offset, key
        self.instances, self.on_failure = instances, on_failure
        self.within, self.on_timeout = within, on_timeout
        self.dates, self.stream = dict(dates or {}), dict(stream or {})

    def execute(self, context: Context) -> dict[str, str]:
        """Look, and wait in Airflow's triggerer if it is not there.

        :raises AirflowFailException: in one line, when it failed, came too late, or cannot be told.
        """
        wanted, begun = self._wanted(context)
        verdict = judge(self._look(wanted), self.instances, failure_ends=self.on_failure == "fail")
        if verdict.over:
            return self._over(context, wanted, verdict)
        deadline = begun + timedelta(seconds=self.within) if self.within is not None else None
        now = datetime.now(UTC)
        if deadline is not None and now >= deadline:
            return self._too_late(context, wanted, verdict)
        self.log.info("%s", verdict.words(wanted))
        if verdict.instance is None:
            self._look_at_stream()
        wait = {
            "version": WAIT_FOR_VERSION,
            "wanted": wanted.to_text(),
            "instances": self.instances,
            "failure_ends": self.on_failure == "fail",
            "begun": begun.isoformat(),
            "deferred": now.isoformat(),
            "deadline": deadline.isoformat() if deadline is not None else "",
        }
        self.defer(trigger=InstanceTrigger(wait), method_name="look_again")
        raise AssertionError("a deferred task does not go on here")

    def look_again(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Look once more: something may have changed, or the time is over."""
        return self.execute(context)

    def completed(self, context: Mapping[str, Any], end: Wish) -> dict[str, Any]:
        """Wait no longer, and leave of the other instance what a person gave."""
        given = super().completed(context, end)
        context["task_state_store"].delete(WAIT_FOR_KEY)
        return {"run_id": "", "ended": "", "state": "success", **given}

    def _wanted(self, context: Context) -> tuple[Wanted, datetime]:
        """Return what is waited for, and since when: as it is kept, or found out and kept."""
        store = context["task_state_store"]
        kept = store.get(WAIT_FOR_KEY)
        if kept is None:
            wanted, begun = self._found_out(context), datetime.now(UTC)
            kept = {"version": WAIT_FOR_VERSION, "begun": begun.isoformat(), "wanted": wanted.to_text()}
            store.set(WAIT_FOR_KEY, kept, retention=NEVER_EXPIRE)
        try:
            if not isinstance(kept, Mapping) or kept.get("version") != WAIT_FOR_VERSION:
                raise ValueError(f"it is no record of version {WAIT_FOR_VERSION}")
            return Wanted.from_text(str(kept["wanted"])), datetime.fromisoformat(str(kept["begun"])).astimezone(UTC)
        except (KeyError, TypeError, ValueError) as error:
            raise AirflowFailException(
                f"step {self.task_id!r}: what is kept under {WAIT_FOR_KEY!r} in its task state store cannot be read: "
                f"{error}; delete it to wait anew"
            ) from error

    def _found_out(self, context: Context) -> Wanted:
        own = context["run_id"] if context["ti"].dag_id == self.other else ""
        if self.key is not None:
            key = render_text(self.key, context, self.stream)
            if not key.strip():
                raise AirflowFailException(f"step {self.task_id!r}: the business key {self.key!r} came out empty")
            return Wanted(self.other, key=key, step=self.milestone or "", but=own)
        try:
            day = _working_day(date.fromisoformat(run_business_date(context, self.dates)), self.offset, self.dates)
        except TemplateError as error:
            raise AirflowFailException(f"step {self.task_id!r}: {error}") from error
        return Wanted(self.other, date=day.isoformat(), step=self.milestone or "", but=own)

    def _look(self, wanted: Wanted) -> tuple[Instance, ...]:
        try:
            return asyncio.run(Announcements(_ask_now).look([wanted]))[wanted]
        except OrchestrationError as error:
            raise AirflowException(f"step {self.task_id!r}: {error}") from error

    def _look_at_stream(self) -> None:
        """Say what may keep an instance from coming; :raises AirflowException: when there is no such stream."""
        try:
            dag: Any = _asked(comms.GetDag(dag_id=self.other))
        except AirflowRuntimeError as error:
            detail = error.error.detail or {}
            if detail.get("status_code") != 404:
                raise
            raise AirflowException(
                f"step {self.task_id!r}: there is no stream {self.other!r} in this Airflow; add it, or correct its "
                "name, then clear the step"
            ) from error
        if REMOVED in dag.tags:
            self.log.warning("The template of %s was taken away: no new instance of it comes", self.other)
        elif dag.is_paused:
            self.log.warning("The stream %s is paused: no instance of it goes on before it is unpaused", self.other)

    def _over(self, context: Context, wanted: Wanted, verdict: Verdict) -> dict[str, str]:
        instance = verdict.instance
        if instance is None:
            raise AssertionError("no wait is over without an instance")
        self.log.info("%s", verdict.words(wanted))
        if verdict.state != "success":
            raise self._failed(
                context, f"{verdict.words(wanted)}; repair it, then clear this step, which then waits for it anew"
            )
        ended = datetime.now(UTC)
        if not wanted.step:
            run: Any = _asked(comms.GetDagRun(dag_id=wanted.stream, run_id=instance.run_id))
            ended = run.end_date or ended
        return self._leave(context, instance.run_id, ended.astimezone(UTC).isoformat(), "success")

    def _too_late(self, context: Context, wanted: Wanted, verdict: Verdict) -> dict[str, str]:
        limit = timedelta(seconds=self.within or 0)
        if self.on_timeout == "fail":
            raise self._failed(context, f"{verdict.words(wanted)}, and it waited {limit}; clear the step to wait anew")
        self.log.warning("%s, and it waited %s: goes on without it", verdict.words(wanted), limit)
        return self._leave(context, verdict.instance.run_id if verdict.instance else "", "", verdict.state)

    def _leave(self, context: Context, run_id: str, ended: str, state: str) -> dict[str, str]:
        context["task_state_store"].delete(WAIT_FOR_KEY)  # whoever clears the step later means a new wait
        return {"run_id": run_id, "ended": ended, "state": state}

    def _failed(self, context: Context, what: str) -> AirflowFailException:
        context["task_state_store"].delete(WAIT_FOR_KEY)
        return AirflowFailException(f"step {self.task_id!r}: {what}")


class InstanceTrigger(BaseTrigger):
    """Fires when a wait may be over, or its time is.

    :param wait: plain JSON, versioned; see :meth:`WaitForStep.execute`.
    """

    def __init__(self, wait: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not annotated
        if wait.get("version") != WAIT_FOR_VERSION:
            raise ValueError(f"a wait of version {wait.get('version')!r}; this package reads {WAIT_FOR_VERSION}")
        self.wait = wait

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what recreates the trigger in another process."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"wait": self.wait}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the others, together with all who wait for streams in this triggerer."""
        wait = self.wait
        limit = datetime.fromisoformat(wait["deadline"]) if wait["deadline"] else None
        waited = (datetime.now(UTC) - datetime.fromisoformat(wait["begun"])).total_seconds()
        fields = {"instances": wait["instances"], "failure_ends": "yes" if wait["failure_ends"] else ""}
        handle = JobHandle(uuid4().hex, wait["wanted"], "", fields)
        over = False
        with poller(REGISTRATION, "").watch(handle, AnnouncedStreams.identity, waited=waited) as watch:
            while not over:
                news = await watch.next(seconds_until(limit))
                over = news is None or news.over
                if news is not None:
                    self._say(news)
        early = datetime.fromisoformat(wait["deferred"]) + min_wait()
        await asyncio.sleep(seconds_until(early) or 0.0)
        yield TriggerEvent({"version": WAIT_FOR_VERSION})  # type: ignore[no-untyped-call]  # nor are its events

    def _say(self, news: News) -> None:
        if news.trouble:
            self.log.warning("Cannot be seen now, waiting on: %s", news.trouble)
        if news.status is not None:
            self.log.info("%s", news.status.reason)


class AnnouncedStreams:
    """The waits for streams as the shared polling sees them: a system of which only states are asked.

    :param ask: how Airflow is asked from here.
    """

    identity: ClassVar[str] = "this Airflow"
    capabilities: ClassVar[Capabilities] = Capabilities(Protection.ATOMIC, batch=1000)

    def __init__(self, ask: Ask) -> None:
        self._told = Announcements(ask)

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """Return for each wait whether it may be over, and what is known."""
        wanted = {handle.key: Wanted.from_text(handle.job_id) for handle in handles}
        found = await self._told.look(wanted.values())
        states: dict[str, JobStatus] = {}
        for handle in handles:
            which: Any = handle.fields["instances"]
            verdict = judge(found[wanted[handle.key]], which, failure_ends=bool(handle.fields["failure_ends"]))
            phase = Phase.ENDED if verdict.over else Phase.RUNNING
            states[handle.key] = JobStatus(phase, verdict.words(wanted[handle.key]))
        return states


@asynccontextmanager
async def watched(_connection: str) -> AsyncIterator[AnnouncedStreams]:
    """Open the streams of this Airflow for a trigger, whose event loop must not wait for an answer."""
    from asgiref.sync import sync_to_async

    yield AnnouncedStreams(sync_to_async(_asked))


REGISTRATION = SystemRegistration(
    name="airflow-waits",
    stack="Value streams",
    connection_type="",
    opener=f"{__name__}:watched",
    steps=(),
)
"""What streams wait for as a system, for the polling; it is not among those that packages bring."""


def _asked(message: Any) -> Any:
    from airflow.sdk.execution_time import task_runner

    return task_runner.SUPERVISOR_COMMS.send(message)


async def _ask_now(message: Any) -> Any:
    """Ask from within a task, which has nothing else to do meanwhile."""
    return _asked(message)


def _working_day(day: date, offset: int, dates: Mapping[str, Any]) -> date:
    """Return the working day so many after a business date, or before it.

    Without a calendar every day is one.

    :raises TemplateError: when the calendar does not tell.
    """
    if not offset or dates.get("days") is None:
        return day + DAY * offset
    days = WorkingDays.from_json(dates["days"])
    step = DAY if offset > 0 else -DAY
    found: date | None = day
    for _ in range(abs(offset)):
        found = (days.next_open if offset > 0 else days.previous_open)(found + step) if found is not None else None
    if found is None:
        raise TemplateError(
            f"offset: calendar {days.name!r} covers {days.first} to {days.last}, and does not tell the working day "
            f"{offset:+} of {day}; let it cover more years"
        )
    return found
