"""One wait for one remote job: its time limit, its cancel, and what a kill means. Pure: it knows no Airflow.

The trigger is the shell round this, and the simulation runs it unchanged on a clock of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.delegation.polling import ConnectionPoller, News, seconds_until, utc_now
from airflow_enterprise_orch.errors import OrchestrationError

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.system import RemoteSystem

WAIT_VERSION = 1
CANCEL_AGAIN = timedelta(seconds=60)
"""A cancel that did not end the job is asked for again after this, then after twice as long, and so on."""
CANCEL_SELDOM = timedelta(minutes=10)
"""... but at least this often."""
CLEARED = "none"
"""The state of a task that was cleared and is not scheduled yet."""
GOES_ON = frozenset(
    {CLEARED, "deferred", "scheduled", "queued", "running", "restarting", "up_for_retry", "awaiting_input"}
)
"""The states of a task that waits for its job, or will look after it without anybody's help."""


class Say(Protocol):
    """Where a wait's lines go: the task's log."""

    def info(self, msg: str, /, *args: Any) -> Any:
        """Say what happens."""
        ...

    def warning(self, msg: str, /, *args: Any) -> Any:
        """Say what is wrong."""
        ...


@dataclass(frozen=True, slots=True)
class Wait:
    """What a trigger carries: all that another process needs to go on waiting. Versioned JSON, no secret.

    :param identity: the system that has the job.
    :param deferred: when the task was deferred; ISO 8601.
    :param deadline: when the job is to be cancelled; "" for never. ISO 8601.
    :param dag_id: with ``run_id``, ``task_id`` and ``map_index``: whose state to ask for before a cancel.
    :param try_number: the try that waits; 0 when that is not known.
    :param cancels: a job of this kind can be ended from here; otherwise its time limit ends the wait alone.
    :param look: when the task is to look again, whatever the job does; "" for never. ISO 8601.
    :param stands: the phase that a person's hold depends on; in another one the task is to look. "" for none.
    """

    step: str
    connection: str
    handle: JobHandle
    identity: str
    deferred: str
    deadline: str = ""
    dag_id: str = ""
    run_id: str = ""
    task_id: str = ""
    map_index: int = -1
    try_number: int = 0
    cancels: bool = True
    look: str = ""
    stands: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        for name in ("look", "stands"):
            if not plain[name]:
                del plain[name]  # an older package that goes on with this wait does not know them
        return {"version": WAIT_VERSION, **plain, "handle": self.handle.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Wait:
        """Read the plain JSON form; :raises ValueError: when another version wrote it."""
        fields = dict(data)
        version = fields.pop("version", None)
        if version != WAIT_VERSION:
            raise ValueError(f"a trigger of version {version!r} waits here; this package reads {WAIT_VERSION}")
        return cls(**{**fields, "handle": JobHandle.from_json(fields["handle"])})

    @property
    def job(self) -> str:
        """Name step, job and system, for messages."""
        return f"{self.step} {self.handle.job_id} on {self.identity}"


def kill_cancels(state: str | None) -> bool:
    """Tell whether a trigger's ``on_kill`` cancels the job of a task that is now in ``state`` (None: it is gone).

    Airflow calls it also when triggers move between triggerers. Then the task still waits, or goes on because the same
    trigger in another triggerer has seen something: even that a person must be asked. A task that was cleared is left
    alone too: its next try sees the clear, and knows what was wanted by it, the job's end or only that it looks at what
    a person wishes.
    """
    return state not in GOES_ON


async def wait_for_end(
    poller: ConnectionPoller,
    wait: Wait,
    say: Say,
    *,
    now: Callable[[], datetime] = utc_now,
    cancel_again: timedelta = CANCEL_AGAIN,
    note: Callable[[JobStatus | None], None] = lambda _status: None,
) -> dict[str, Any]:
    """Wait for the job's end, or for its time limit, then its cancel, and then its proven end; return the event.

    The event says ``look`` when the job goes on and the task is to look at it.

    :param say: hears of each change, and of each new line that the job writes.
    :param now: the time by which ``wait``'s deadline goes.
    :param note: is told each new state of the job, and None when nobody waits here any more.
    """
    try:
        return await _wait_for_end(poller, wait, say, now, cancel_again, note)
    finally:
        note(None)


async def _wait_for_end(
    poller: ConnectionPoller,
    wait: Wait,
    say: Say,
    now: Callable[[], datetime],
    cancel_again: timedelta,
    note: Callable[[JobStatus | None], None],
) -> dict[str, Any]:
    limit = act_at = datetime.fromisoformat(wait.deadline) if wait.deadline else None
    look = datetime.fromisoformat(wait.look) if wait.look else None
    waited = (now() - datetime.fromisoformat(wait.deferred)).total_seconds()
    pause = cancel_again
    timed_out = blind = False
    with poller.watch(wait.handle, wait.identity, waited=waited, output=True) as watch:
        while True:
            news = await watch.next(seconds_until(min((at for at in (act_at, look) if at), default=None), now()))
            if news is not None:
                _tell(news, wait, say)
                if news.status is not None:
                    note(news.status)
                if news.over:
                    for line in await poller.output.last(watch):
                        _tell_line(line, wait, say)
                    return _event(wait, news, timed_out=timed_out)
                if wait.stands and news.status is not None and news.status.phase.value != wait.stands:
                    return {**_event(wait, news, timed_out=False), "look": True}
                if news.output:
                    await asyncio.sleep(0)  # lines come in portions, so that others have the event loop in between
                if blind and news.status is not None:
                    blind, act_at = False, limit
            elif look is not None and look <= now():
                return {**_event(wait, News(status=watch.last), timed_out=timed_out), "look": True}
            elif watch.last is None and not (timed_out or blind):
                # Nobody here has seen the job yet: it may have ended in time, while no triggerer was up.
                blind, act_at = True, now() + cancel_again
            elif not wait.cancels:
                say.info("%s: its time limit has passed; it goes on, and nobody waits for it", wait.job)
                return _event(wait, News(status=watch.last), timed_out=True)
            else:
                why = "it has not ended since its cancel was asked for" if timed_out else _why(wait)
                timed_out = True
                await cancel(poller, wait, say, why)
                act_at = now() + pause
                pause = min(pause * 2, CANCEL_SELDOM)


def _why(wait: Wait) -> str:
    # A step that began to wait when its time was up already waits for an end that a person wants.
    wanted = datetime.fromisoformat(wait.deadline) <= datetime.fromisoformat(wait.deferred)
    return "a person wants its end" if wanted else "its time limit has passed"


async def kill(poller: ConnectionPoller, wait: Wait, say: Say, state: Callable[[], Awaitable[str | None]]) -> None:
    """Do what a trigger's ``on_kill`` has to: cancel the job, or leave it alone when nobody can tell why.

    :param state: asks for the task's state.
    """
    try:
        now_in = await state()
    except Exception as error:  # whatever it is, the job is left alone and the log says so
        say.warning("%s: not cancelled, the task's state cannot be told: %s", wait.job, error)
        return
    if kill_cancels(now_in):
        await cancel(poller, wait, say, f"the task is now {now_in or 'cleared or deleted'}")
    else:
        say.info("%s: the task is %s and looks after it; the job is left alone", wait.job, now_in)


async def cancel(poller: ConnectionPoller, wait: Wait, say: Say, why: str) -> None:
    """Ask for the job's end; whether it ended is for the polling to see. What goes wrong is said, and not raised."""
    say.info("%s: asking for its cancel: %s", wait.job, why)

    async def ask(system: RemoteSystem) -> None:
        if system.identity != wait.identity:
            say.warning("%s: not cancelled, the connection now leads to %s", wait.job, system.identity)
            return
        # On some systems a cancel of an ended job takes its output away.
        status = (await system.poll([wait.handle])).get(wait.handle.key)
        if status is not None and status.final:
            say.info("%s: it has ended already; nothing to cancel", wait.job)
            return
        await system.cancel(wait.handle)

    try:
        await poller.call(ask)
    except Exception as error:
        kind = "" if isinstance(error, OrchestrationError) else f"{type(error).__name__}: "
        say.warning("%s: the cancel could not be asked for: %s%s", wait.job, kind, error)


def _tell(news: News, wait: Wait, say: Say) -> None:
    for line in news.output:
        _tell_line(line, wait, say)
    if news.trouble:
        say.warning("%s: cannot be seen now, waiting on: %s", wait.job, news.trouble)
    if news.back:
        say.info("%s: can be seen again", wait.job)
    if news.status is not None:
        reason = f": {news.status.reason}" if news.status.reason else ""
        say.info("%s: %s%s", wait.job, news.status.phase.value, reason)


def _tell_line(line: str, wait: Wait, say: Say) -> None:
    say.info("%s | %s", wait.handle.job_id, line)


def _event(wait: Wait, news: News, *, timed_out: bool) -> dict[str, Any]:
    status = news.status or JobStatus(Phase.MISSING)
    return {
        "version": WAIT_VERSION,
        "key": wait.handle.key,
        "phase": status.phase.value,
        "timed_out": timed_out,
        "elsewhere": news.elsewhere,
    }
