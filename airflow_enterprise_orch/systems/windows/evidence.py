"""What the host tells of a job, and what that proves: pure functions, no protocol.

The rule of this module: an end is only what is proven. The proofs, in order: the result file that a job's own action
left; the instance with our GUID, which the Task Scheduler still holds; the event records of that very instance. A
task's "last result" is none, since anybody who starts the task overwrites it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from airflow_enterprise_orch.delegation.job import Ending, JobResult, JobStatus, Phase
from airflow_enterprise_orch.systems.windows import codes

RUNNING, QUEUED = 4, 2
"""TASK_STATE of the Task Scheduler reference."""
IGNORES_NEW = 2
"""TASK_INSTANCES_IGNORE_NEW: a second start is ignored while an instance runs."""
SAME_BOOT = timedelta(seconds=120)
"""Two readings of a machine's boot time differ when its clock was set in between."""
START_SETTLES = timedelta(seconds=30)
"""How long a task that was told to run may take until its action begins."""


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


_Guid = Annotated[str, BeforeValidator(lambda value: str(value or "").strip("{}").lower())]
"""Windows writes a GUID in several ways."""
_Number = Annotated[int | None, BeforeValidator(lambda value: None if value == "" else value)]
"""Event data is text, and may be empty."""


class Intent(_Words):
    """``intent.json``: somebody was about to start an existing task.

    ``record`` is the newest event record at that time, and ``anchor`` when that was written; ``policy`` is the task's
    TASK_INSTANCES_POLICY.
    """

    path: str
    record: int
    anchor: str = ""
    log: bool
    user: str
    boot: str
    policy: int | None = None


class Begun(_Words):
    """``started.json``; ``adopted`` says why an instance was taken for ours later, by its one record or by a person."""

    at: str = ""
    boot: str = ""
    pid: int = 0
    guid: _Guid = ""
    adopted: str = ""


class Asked(_Words):
    """``asked.json``: an own task was told to run."""

    at: str


class Result(_Words):
    """``result.json``."""

    ending: str
    code: int | None = None
    message: str | None = ""
    cancelled: bool = False
    at: str = ""


class Record(_Words):
    """One record of Microsoft-Windows-TaskScheduler/Operational."""

    id: int
    record: int
    at: str = ""
    task: str | None = ""
    user: str | None = ""
    code: _Number = None
    guid: _Guid = ""


class Log(_Words):
    """The event log: whether it is on, and which records it still holds."""

    enabled: bool
    oldest: int | None = None
    newest: int | None = None


class Job(_Words):
    """One key, as ``look.ps1`` tells it."""

    key: str
    mode: str
    locked: bool = False
    begun: bool = False
    task_state: int | None = None
    last_result: int | None = None
    live: int | None = None
    alive: bool | None = None
    events: tuple[Record, ...] = ()
    triggered: tuple[Record, ...] = ()
    anchor: str = ""
    intent: Intent | None = None
    asked: Asked | None = None
    started: Begun | None = None
    process: dict[str, object] | None = None
    cancel: dict[str, object] | None = None
    result: Result | None = None
    ended: Result | None = None


class Look(_Words):
    """The whole answer of ``look.ps1``."""

    state: str
    message: str = ""
    now: str = ""
    boot: str = ""
    log: Log | None = None
    jobs: tuple[Job, ...] = Field(default_factory=tuple)


class Word(StrEnum):
    """Where a key is."""

    NONE = "none"
    HELD = "held"
    """Claimed, and nobody has started its task."""
    WAITING = "waiting"
    RUNNING = "running"
    NEVER = "never"
    """Its task was told to run and its action never began; to be sealed."""
    ADOPT = "adopt"
    """Exactly one instance can only be ours, and nobody has written that down yet."""
    ENDED = "ended"
    UNKNOWN = "unknown"
    """It began, and nobody can prove how it ended."""
    DOUBT = "doubt"
    """Nobody can prove whether it began, or which instance is ours."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is proven about one key.

    :param reason: in words, where there is something to say.
    :param guid: the instance of an existing task, where it is known.
    :param result: set when ``word`` is ``ENDED``, ``UNKNOWN`` or ``DOUBT``.
    """

    word: Word
    reason: str = ""
    guid: str = ""
    result: JobResult | None = None

    @property
    def status(self) -> JobStatus:
        """Return the phase that the core knows."""
        phases = {
            Word.NONE: Phase.MISSING,
            Word.HELD: Phase.HELD,
            Word.WAITING: Phase.WAITING,
            Word.NEVER: Phase.WAITING,
            Word.ADOPT: Phase.RUNNING,
            Word.RUNNING: Phase.RUNNING,
        }
        return JobStatus(phases.get(self.word, Phase.ENDED), self.reason)


def judge(job: Job, look: Look) -> Verdict:
    """Return what is proven about a key."""
    if job.mode == "none":
        return Verdict(Word.NONE)
    if job.mode == "broken":
        return _doubt("files of its directory are gone")
    if job.mode == "ended" and job.ended is not None:
        return _from_file(job, job.ended, "what its clean-up left")
    if job.result is not None:
        return _from_file(job, job.result, "its result file")
    return _own(job, look) if job.mode == "own" else _existing(job, look)


def _own(job: Job, look: Look) -> Verdict:
    if job.task_state in (RUNNING, QUEUED):
        return Verdict(Word.RUNNING if job.begun else Word.WAITING, "" if job.begun else "its task is about to begin")
    if not job.begun:
        if job.asked is None:
            return Verdict(Word.HELD, "claimed, and its task is not started")
        if _time(look.now) - _time(job.asked.at) < START_SETTLES:
            return Verdict(Word.WAITING, "its task was told to run")
        last = codes.in_words(job.last_result) if job.last_result is not None else "its task is gone"
        return Verdict(Word.NEVER, f"its task was told to run and never began: {last}")
    if job.started is None:
        return _unknown("it began, and started.json cannot be read")
    began = _when(job.started.at)
    if _another_boot(job.started.boot, look.boot):
        return _lost("the machine was booted again before it left a result", began)
    if job.alive:
        return Verdict(Word.RUNNING, "its task ended, but its program still runs")
    if job.task_state is None:
        return _unknown("its task was deleted while it ran", began)
    if job.process is None or job.alive is None:
        return _unknown("its task ended without a result, and whether its program runs cannot be told", began)
    return _lost("its task and its program are gone and left no result", began)


def _existing(job: Job, look: Look) -> Verdict:
    intent, log = job.intent, look.log
    if intent is None or log is None:
        return _doubt("intent.json cannot be read")
    whole = _log_is_whole(intent, log)
    if not job.begun:
        return _without_instance(job, intent, whole)
    if job.started is None:
        return _unknown("started.json cannot be read")
    guid, began = job.started.guid, _when(job.started.at)
    # What RunEx names when a second instance is ignored is not documented: it may be the one that somebody else began.
    foreign = _not_ours(job, intent)
    if foreign:
        return _unknown(f"{foreign} (instance {guid} of {intent.path})", began, guid)
    if job.live is not None:
        word = Word.WAITING if job.live == QUEUED else Word.RUNNING
        return Verdict(word, "queued behind another instance of its task" if job.live == QUEUED else "", guid)
    result = _from_records(job, began)
    if result is not None:
        return Verdict(Word.ENDED, guid=guid, result=result)
    if whole:
        reason = whole
    elif _another_boot(intent.boot, look.boot):
        reason = "the machine was booted again, and the event log has no end of it"
    else:
        reason = "the instance is gone, and the event log has no end of it"
    return _unknown(f"{reason} (instance {guid} of {intent.path})", began, guid)


def _not_ours(job: Job, intent: Intent) -> str:
    """Return why the instance that Task Scheduler named is not, or not provably, ours; empty when it is.

    Record 110 says who triggered an instance. Only where a second start is ignored could the GUID of another user's
    instance have been named, so only there its absence counts: long runs outlive their first records.
    """
    if not job.events or job.started is None or job.started.adopted:
        return ""
    starts = [record for record in job.events if record.id == 110 and record.user]
    if any((record.user or "").casefold() == intent.user.casefold() for record in starts):
        return ""
    if starts:
        return f"event record {starts[-1].record} says that {starts[-1].user} started it: our start was ignored"
    if intent.policy == IGNORES_NEW:
        return (
            f"its task ignores a second instance, and the event log does not show that {intent.user} started this one"
        )
    return ""


def _without_instance(job: Job, intent: Intent, whole: str) -> Verdict:
    """Judge a key whose starter has not written down which instance it started."""
    if job.locked:
        return _doubt("it is being started at this moment")
    if whole:
        return _doubt(f"its starter died, and {whole}")
    if not intent.anchor or job.anchor != intent.anchor:
        # Record numbers begin anew when a log is cleared; that very record must still be there.
        return _doubt("its starter died, and the event log of the Task Scheduler has gaps since then")
    ours = {
        record.guid: record
        for record in job.triggered
        if record.id == 110 and record.guid and (record.user or "").casefold() == intent.user.casefold()
    }
    if len(ours) == 1:
        guid = next(iter(ours))
        return Verdict(Word.ADOPT, f"its starter died; event record {ours[guid].record} shows its one start", guid)
    seen = "no start" if not ours else f"{len(ours)} starts"
    return _doubt(f"its starter died, and the event log has {seen} of {intent.path} by {intent.user} since then")


def _log_is_whole(intent: Intent, log: Log) -> str:
    """Return why the event log cannot prove anything since the intent; empty when it can."""
    if not intent.log or not log.enabled:
        return "the event log of the Task Scheduler is off"
    if (log.newest or 0) < intent.record:
        return "the event log of the Task Scheduler was cleared"
    if log.oldest is not None and log.oldest > intent.record + 1:
        return "the event log of the Task Scheduler has rolled over"
    return ""


def _from_records(job: Job, began: datetime | None) -> JobResult | None:
    """Return what the event records of our instance prove; None while its end is not among them.

    Record 102 says "successfully finished" whatever the program returned: the code of 201 decides.
    """
    by_id: dict[int, list[Record]] = {}
    for record in sorted(job.events, key=lambda each: each.record):
        by_id.setdefault(record.id, []).append(record)

    def proof(number: int) -> str:
        return f"evidence: event record {by_id[number][-1].record} (event {number}) of this instance"

    if 111 in by_id:
        who = "its end was asked for" if job.cancel is not None else "somebody else ended it"
        ended = _when(by_id[111][-1].at)
        detail = f"{who}; {proof(111)}"
        return JobResult(Ending.CANCELLED, codes.in_words(codes.TERMINATED), None, began, ended, detail)
    for number in (101, 103, 203):
        if number in by_id:
            last = by_id[number][-1]
            return JobResult(Ending.REJECTED, _code_of(last), None, None, _when(last.at), proof(number))
    if 202 in by_id:
        last = by_id[202][-1]
        return JobResult(Ending.ABENDED, _code_of(last), None, began, _when(last.at), proof(202))
    if 102 not in by_id:
        return None
    ended = _when(by_id[102][-1].at)
    results = [record for record in by_id.get(201, []) if record.code is not None]
    if not results:
        return JobResult(
            Ending.UNKNOWN, started=began, ended=ended, detail="the event log has its end without a result code"
        )
    worst = next((record for record in results if record.code), results[-1])
    code = codes.from_record(worst.code or 0)
    detail = f"evidence: event record {worst.record} (event 201) of this instance"
    return JobResult(code.ending, code.text, code.rc, began, ended, detail)


def _code_of(record: Record) -> str:
    return codes.in_words(record.code) if record.code is not None else f"event {record.id}"


def _from_file(job: Job, file: Result, proof: str) -> Verdict:
    started = _when(job.started.at) if job.started is not None else None
    ended = _when(file.at)
    detail = f"evidence: {proof}"
    message = " ".join((file.message or "").split())
    if file.ending == "exit" and file.code is not None:
        code = codes.from_exit(file.code)
        if file.cancelled and file.code == 0:
            result = JobResult(
                code.ending, code.text, 0, started, ended, f"its end was asked for, and it ended by itself; {detail}"
            )
        elif file.cancelled:
            result = JobResult(Ending.CANCELLED, code.text, code.rc, started, ended, f"its end was asked for; {detail}")
        else:
            result = JobResult(code.ending, code.text, code.rc, started, ended, detail)
    elif file.ending == "cancelled":
        result = JobResult(Ending.CANCELLED, "cancelled", None, None, ended, f"it never began; {detail}")
    elif file.ending == "rejected":
        code_text = codes.in_words(file.code) if file.code is not None else "rejected"
        result = JobResult(Ending.REJECTED, code_text, None, None, ended, f"{message or 'it never began'}; {detail}")
    else:
        return _unknown(f"its result reads {file.ending!r} {file.code}", started)
    return Verdict(Word.ENDED, guid=job.started.guid if job.started is not None else "", result=result)


def _lost(reason: str, began: datetime | None) -> Verdict:
    return Verdict(Word.ENDED, reason, result=JobResult(Ending.LOST, "lost", started=began, detail=reason))


def _unknown(reason: str, began: datetime | None = None, guid: str = "") -> Verdict:
    return Verdict(Word.UNKNOWN, reason, guid, JobResult(Ending.UNKNOWN, started=began, detail=reason))


def _doubt(reason: str) -> Verdict:
    return Verdict(Word.DOUBT, reason, result=JobResult(Ending.UNKNOWN, detail=reason))


def _another_boot(then: str, now: str) -> bool:
    before, after = _when(then), _when(now)
    return before is None or after is None or abs(after - before) > SAME_BOOT


def _time(text: str) -> datetime:
    return _when(text) or datetime.min.replace(tzinfo=UTC)


def _when(text: str) -> datetime | None:
    """Read .NET's round-trip format, whose fraction has seven digits."""
    head, dot, tail = text.rstrip("Z").partition(".")
    try:
        return datetime.fromisoformat(head + dot + tail[:6]).replace(tzinfo=UTC)
    except ValueError:
        return None
