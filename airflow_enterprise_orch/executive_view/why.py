"""Why an instance is late, or what it waits for: a chain from the instance down to a job, a person, a resource. Pure.

Each link is one sentence, and the next one says why it is so. The last is what somebody can do something about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from airflow_enterprise_orch.executive_view.airflow_details import PoolWait, Question
from airflow_enterprise_orch.executive_view.answers import InstanceRow, Level, StepName
from airflow_enterprise_orch.executive_view.answers_instance import Cause, CauseKind, RemoteJob, StepRun, Why
from airflow_enterprise_orch.executive_view.forecast import FEWEST_PAST, Outlook
from airflow_enterprise_orch.executive_view.lost_time import longest_way, lost, own_times
from airflow_enterprise_orch.executive_view.pictures import Picture
from airflow_enterprise_orch.executive_view.redacting import ANOTHER
from airflow_enterprise_orch.executive_view.saying import listed, minutes, number
from airflow_enterprise_orch.executive_view.standing import Block, Hold
from airflow_enterprise_orch.executive_view.statistics import OfStep, Statistics

WORTH_TELLING = 60.0
"""Seconds that a step must have taken longer than usual to be named as a cause."""
MOST_CAUSES = 3


@dataclass(frozen=True)
class Facts:
    """What is known of one instance.

    :param undoing: by step how its undoing goes.
    :param holds: by step what holds it.
    :param blocks: by connection why no step may use it.
    :param waits: by step the moment that it waits for.
    :param others: how many other instances, of those that the viewer may see, are at the same step.
    :param below: by step why the instance of the stream that it runs is as it is; where the viewer may see that.
    :param other: by step the title of the stream that it runs or waits for; "" where the viewer may not see that.
    """

    row: InstanceRow
    picture: Picture
    steps: Mapping[str, StepRun]
    past: Statistics
    now: datetime
    undoing: Mapping[str, StepRun] = field(default_factory=dict)
    ahead: Outlook | None = None
    questions: Sequence[Question] = ()
    pools: Sequence[PoolWait] = ()
    holds: Mapping[str, Hold] = field(default_factory=dict)
    blocks: Mapping[str, Block] = field(default_factory=dict)
    waits: Mapping[str, datetime] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)
    below: Mapping[str, Sequence[Cause]] = field(default_factory=dict)
    other: Mapping[str, str] = field(default_factory=dict)
    zone: str = "UTC"


def why(facts: Facts) -> Why:
    """Tell it."""
    top = _instance(facts)
    chain = [top, *(_live(facts) if facts.row.live else _ended(facts))]
    return Why(headline=top.text, level=top.level, chain=chain)


def _clock(moment: datetime, facts: Facts) -> str:
    local, now = moment.astimezone(ZoneInfo(facts.zone)), facts.now.astimezone(ZoneInfo(facts.zone))
    return f"{local:%H:%M}" if local.date() == now.date() else f"{local:%Y-%m-%d %H:%M}"


def _cause(
    kind: CauseKind, level: Level, text: str, *, since: datetime | None = None, step: StepName | None = None,
    job: RemoteJob | None = None, others: int | None = None,
) -> Cause:  # fmt: skip
    return Cause(kind=kind, level=level, text=text, since=since, step=step, job=job, others=others)


# ------------------------------------------------------------------------------------------------------- instance


def _instance(facts: Facts) -> Cause:
    row = facts.row
    due = f"it was due at {_clock(row.due_at, facts)}" if row.due_at is not None else ""
    if not row.live:
        return _over(facts, due)
    if any(run.state == "failed" for run in (*facts.steps.values(), *facts.undoing.values())):
        return _cause("stream", "problem", f"{row.key} has a failed step{f', and {due}' if _is_late(facts) else ''}")
    if _is_late(facts) and row.due_at is not None:
        late = minutes((facts.now - row.due_at).total_seconds())
        return _cause("stream", "problem", f"{row.key} is late by {late}: {due}", since=row.due_at)
    if row.health == "at_risk" and row.forecast is not None and row.forecast.p50 and row.forecast.p90 and row.due_at:
        likely = "will probably be late" if row.forecast.p50 > row.due_at else "is at risk"
        text = (
            f"{row.key} {likely}: it is due at {_clock(row.due_at, facts)}, and expected at "
            f"{_clock(row.forecast.p50, facts)}, in nine of ten cases by {_clock(row.forecast.p90, facts)}"
        )
        return _cause("stream", "attention", text)
    level: Level = "attention" if row.waiting_people or row.waits_for == "hold" else "ok"
    if row.state == "queued":
        return _cause("stream", level, f"{row.key} has not begun", since=row.queued_at)
    until = f", due at {_clock(row.due_at, facts)}" if row.due_at is not None else ""
    return _cause("stream", level, f"{row.key} is under way{until}", since=row.started_at)


def _is_late(facts: Facts) -> bool:
    return facts.row.due_at is not None and facts.row.due_at < facts.now


def _over(facts: Facts, due: str) -> Cause:
    row = facts.row
    at = f" at {_clock(row.ended_at, facts)}" if row.ended_at is not None else ""
    if row.state == "deleted":
        return _cause("stream", "idle", f"{row.key} was deleted in Airflow{at}", since=row.ended_at)
    if row.state == "failed":
        return _cause("stream", "problem", f"{row.key} failed{at}", since=row.ended_at)
    if row.late_seconds:
        text = f"{row.key} ended{at}, late by {minutes(row.late_seconds)}: {due}"
        return _cause("stream", "problem", text, since=row.ended_at)
    in_time = ", in time" if row.due_at is not None else ""
    return _cause("stream", "ok", f"{row.key} ended well{at}{in_time}", since=row.ended_at)


# ------------------------------------------------------------------------------------------------------------ ended


def _ended(facts: Facts) -> list[Cause]:
    failed = [*_failures(facts), *_undoing(facts)]
    return failed or (_slowest(facts) or _longest(facts) if facts.row.late_seconds else [])


def _failures(facts: Facts) -> list[Cause]:
    return [cause for name in facts.picture.by_id for cause in _failure(facts, name)]


def _undoing(facts: Facts) -> list[Cause]:
    """Tell how the undoing goes, of steps that are not undone yet."""
    words = {
        "running": "is under way", "queued": "waits for its turn", "retry": "is tried again later", "held": "is held",
        "parked": "waits for a person to say what became of its job", "waiting_person": "waits for an answer",
        "failed": "failed: what the step did stands still",
    }  # fmt: skip
    found = []
    for name, run in facts.undoing.items():
        if run.state not in words:
            continue
        step = facts.picture.step_name(name)
        text = f"The undoing of “{step.title}” {words[run.state]}"
        level: Level = (
            "problem" if run.state == "failed" else "ok" if run.state in ("running", "queued") else "attention"
        )
        since = run.ended_at or run.started_at or run.queued_at
        found.append(_cause("step", level, text, since=since, step=step, job=run.job))
        question = run.job.parked if run.job is not None else None
        if question:
            found.append(_cause("person", "attention", f"A person has to answer: {question}", step=step, job=run.job))
    return found


def _failure(facts: Facts, name: str) -> list[Cause]:
    run = facts.steps.get(name)
    if run is None or run.state != "failed":
        return []
    step = facts.picture.step_name(name)
    tries = f" after {number(run.try_number, 'try', 'tries')}" if run.try_number > 1 else ""
    found = [_cause("step", "problem", f"“{step.title}” failed{tries}", since=run.ended_at, step=step)]
    message = (run.job.message if run.job is not None else None) or run.message
    if run.job is not None and run.job.hidden:
        found.append(_cause("remote_job", "problem", f"It runs {ANOTHER}", since=run.ended_at, step=step, job=run.job))
    elif run.job is not None and run.job.job_id:
        more = message or run.job.code
        told = f"{_job(run.job)} ended as {run.job.verdict or 'unknown'}" + (f": {more}" if more else "")
        if message and re.search(rf"(?<!\w){re.escape(_named(run.job))}(?!\w)", message):
            told = message  # it says itself what became of which job
        found.append(_cause("remote_job", "problem", told, since=run.ended_at, step=step, job=run.job))
    elif message:
        found.append(_cause("failure", "problem", message, since=run.ended_at, step=step))
    return [*found, *_blocked(facts, name)]


def _ran(facts: Facts) -> dict[str, tuple[datetime, datetime]]:
    """Return when steps began and ended; one at work until now."""
    return {
        name: (run.started_at, run.ended_at or facts.now)
        for name, run in facts.steps.items()
        if run.started_at is not None and run.state not in ("skipped", "removed")
    }


def _began(facts: Facts) -> datetime:
    return facts.row.started_at or facts.row.queued_at or facts.now


def _slowest(facts: Facts) -> list[Cause]:
    """Name the steps at which the time was lost: those on its longest way that took longer than usual, worst first."""
    ran, usual = _ran(facts), facts.past.usual
    beyond = lost(facts.picture.flow, _began(facts), ran, usual)
    worst = sorted(beyond, key=lambda name: (-beyond[name], name))
    found = []
    for name in [one for one in worst if beyond[one] >= WORTH_TELLING][:MOST_CAUSES]:
        step, run = facts.picture.step_name(name), facts.steps[name]
        own = beyond[name] + usual[name]
        waited = own - (ran[name][1] - ran[name][0]).total_seconds()
        before = f" ({minutes(waited)} of it before it began)" if waited >= WORTH_TELLING else ""
        text = f"“{step.title}” took {minutes(own)}{before}, {minutes(beyond[name])} more than its usual"
        found.append(
            _cause("step", "attention", f"{text} {minutes(usual[name])}", since=run.started_at, step=step, job=run.job)
        )
    return found


def _longest(facts: Facts) -> list[Cause]:
    """Name the step that took most of the longest way, of an instance that lost no time: it was due too early."""
    ran = _ran(facts)
    own = own_times(facts.picture.flow, _began(facts), ran)
    way = longest_way(facts.picture.flow, ran)
    if not way:
        return []
    name = max(way, key=lambda one: (own[one], one))
    step, run = facts.picture.step_name(name), facts.steps[name]
    as_usual = ", as it usually does" if name in facts.past.usual else ""
    text = f"“{step.title}” took longest, {minutes(own[name])}{as_usual}"
    return [_cause("step", "attention", text, since=run.started_at, step=step, job=run.job)]


# ------------------------------------------------------------------------------------------------------------- live


def _live(facts: Facts) -> list[Cause]:
    failed = [*_failures(facts), *_undoing(facts)]
    if failed:
        return failed
    name = _at(facts)
    if name is None:
        waits = "its first step has not begun" if facts.row.state == "queued" else "between two steps"
        return [_cause("queue", "ok", f"Airflow is about to go on: {waits}")]
    chain = [_step(facts, name), *_below(facts, name)]
    slow = [cause for cause in _slowest(facts) if cause.step is not None and cause.step.id != name]
    return [*chain, *slow] if _is_late(facts) else chain


def _at(facts: Facts) -> str | None:
    """Return the step that it is at: that which the list says, or the first that is neither open nor over."""
    if facts.row.step is not None and facts.row.step.id in facts.steps:
        return facts.row.step.id
    busy = ("parked", "waiting_person", "held", "running", "retry", "queued")
    at = [name for state in busy for name in facts.picture.by_id if _state(facts, name) == state]
    return at[0] if at else None


def _state(facts: Facts, name: str) -> str:
    run = facts.steps.get(name)
    return run.state if run is not None else "open"


def _step(facts: Facts, name: str) -> Cause:
    run, step = facts.steps[name], facts.picture.step_name(name)
    words = {
        "running": "is at work", "queued": "waits for its turn", "waiting_person": "waits for an answer",
        "parked": "waits for a person to say what became of its job", "held": "is held",
        "retry": "is tried again later",
    }  # fmt: skip
    since = run.started_at or run.queued_at
    text = f"“{step.title}” ({step.stack.title}) {words.get(run.state, 'has not begun')}"
    level: Level = "attention" if run.state in ("waiting_person", "parked", "held", "retry") else "ok"
    if since is not None:
        lasted = (facts.now - since).total_seconds()
        text += f" for {minutes(lasted)}"
        usual = facts.past.steps.get(name, OfStep())
        enough = usual.instances >= FEWEST_PAST
        if run.state == "running" and enough and usual.p50 is not None and usual.p90 is not None:
            text += f"; half of {number(usual.instances, 'instance')} took {minutes(usual.p50)},"
            text += f" nine of ten {minutes(usual.p90)}"
            if lasted > usual.p90:
                level = "problem" if _is_late(facts) else "attention"
    if run.try_number > 1:
        text += f"; try {run.try_number}"
    return _cause("step", level, text, since=since, step=step, others=facts.others.get(name) or None)


def _below(facts: Facts, name: str) -> list[Cause]:
    """Return what is behind the step that it is at."""
    run, step = facts.steps[name], facts.picture.step_name(name)
    tasks = {name, *facts.picture.by_id[name].tasks}
    asked = next((one for one in facts.questions if one.task_id in tasks), None)
    if run.state == "parked":
        question = (run.job.parked if run.job is not None else None) or (asked.subject if asked else None)
        told = f"A person has to answer: {question}" if question else "A person has to say what became of its job"
        # Of work that was sent and never answered, the question tells all that is known.
        sent = run.job is not None and run.job.state == "intent"
        return [*([] if sent else _remote(facts, name)), _cause("person", "attention", told, step=step, job=run.job)]
    if run.state == "waiting_person" or asked is not None:
        return [_person(facts, name, asked)]
    hold = facts.holds.get(name)
    if run.state == "held" or hold is not None:
        held_there = run.state == "held" and hold is None and run.job is not None and run.job.phase == "held"
        return _remote(facts, name) if held_there else [_hold(facts, name, hold)]
    blocked = _blocked(facts, name)
    if blocked:
        return [*_remote(facts, name), *blocked]
    if name in facts.waits:
        told = f"It goes on at {_clock(facts.waits[name], facts)}"
        if facts.picture.by_id[name].kind == "branch":
            told += ", unless somebody overrides what its rules propose"
        return [_cause("calendar", "ok", told, step=step)]
    if name in facts.below:
        return list(facts.below[name])
    other = facts.other.get(name)
    if other is not None and run.state in ("running", "retry"):
        kind = facts.picture.by_id[name].kind
        told = f"It waits for “{other}”" if kind == "wait_for" else f"“{other}”, which it runs, has not ended"
        if not other:
            waits = "It waits for" if kind == "wait_for" else "It runs"
            told = f"{waits} {ANOTHER}"
        return [_cause("stream", "ok", told, step=step, job=run.job)]
    pool = next((one for one in facts.pools if one.task_id in tasks), None)
    if run.state == "queued" and pool is not None and pool.free < pool.wants:
        by = f", {number(pool.taken, 'slot')} of it by streams that you see" if pool.taken else ""
        told = f"Resource “{pool.pool}” is used up{by}; it wants {number(pool.wants, 'slot')}"
        return [_cause("resource", "attention", told, step=step)]
    if run.state == "queued":
        return [
            _cause(
                "queue", "ok", "Airflow has no free worker for it yet, or a limit of the stream is reached", step=step
            )
        ]
    if run.state == "retry":
        told = f"The last try failed{f': {run.message}' if run.message else ''}"
        return [*_remote(facts, name), _cause("retry", "attention", told, step=step, job=run.job)]
    return _remote(facts, name)


def _hold(facts: Facts, name: str, hold: Hold | None) -> Cause:
    step = facts.picture.step_name(name)
    if hold is None:
        return _cause("hold", "attention", "Somebody holds it", step=step)
    what = {
        "step": "it", "stream": "the whole stream", "system": f"all work for system {hold.name}",
        "connection": f"all work over connection {hold.name}",
    }[hold.scope]  # fmt: skip
    wish = hold.wish
    until = f" until {_clock(wish.until, facts)}" if wish.until is not None else ""
    kind: CauseKind = "system" if hold.scope in ("system", "connection") else "hold"
    return _cause(kind, "attention", f"{wish.by} holds {what}{until}: {wish.reason}", since=wish.at, step=step)


def _blocked(facts: Facts, name: str) -> list[Cause]:
    """Return that nobody can log in to the system of a step, where that is so."""
    connection = facts.picture.by_id[name].connection
    block = facts.blocks.get(connection)
    if block is None:
        return []
    since = f" since {_clock(block.at, facts)}" if block.at is not None else ""
    text = (
        f"Connection {connection} is blocked{since}, because its login was refused: {block.reason}. Somebody has to "
        f"correct it, or to delete the Variable {block.variable} when the login works again"
    )
    return [_cause("system", "problem", text, since=block.at, step=facts.picture.step_name(name))]


def _person(facts: Facts, name: str, asked: Question | None) -> Cause:
    step = facts.picture.step_name(name)
    if asked is None:
        return _cause("person", "attention", "Somebody has to answer in Airflow's Required Actions", step=step)
    who = listed(list(asked.assignees)) if asked.assignees else "Whoever may act on the stream"
    text = f"{who} can answer “{asked.subject}”: {', '.join(asked.options)}"
    return _cause("person", "attention", text, since=asked.asked_at, step=step)


def _remote(facts: Facts, name: str) -> list[Cause]:
    run, step = facts.steps[name], facts.picture.step_name(name)
    if run.job is None:
        return []
    if run.job.hidden:
        return [_cause("remote_job", "ok", f"It runs {ANOTHER}", step=step, job=run.job)]
    if run.job.state == "intent":
        text = f"Its work is being handed over to {run.job.system or step.stack.title}"
    elif run.job.state == "submitted":
        text = f"{_job(run.job)} has not ended on {run.job.system}"
    else:
        return []
    if run.job.phase is not None:
        stuck = "is held over there" if run.job.phase == "held" else "waits over there"
        told = f"{_job(run.job)} {stuck}, on {run.job.system}" + (f": {run.job.reason}" if run.job.reason else "")
        return [_cause("remote_job", "attention", told, step=step, job=run.job)]
    outlasted = facts.ahead is not None and name in facts.ahead.outlasted
    if outlasted:
        text += ", and has lasted longer than ever before"
    return [_cause("remote_job", "attention" if outlasted else "ok", text, step=step, job=run.job)]


def _job(job: RemoteJob) -> str:
    named = _named(job)
    return f"Job {named}" if named else "Its job"


def _named(job: RemoteJob) -> str:
    return " ".join(filter(None, [job.job_name, job.job_id]))
