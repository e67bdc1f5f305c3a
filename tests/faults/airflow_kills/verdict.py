"""The verdict: what really ran, as the lab wrote it down, against what the ledgers and Airflow say.

Pure: it takes an :class:`Evidence` of plain values and returns what speaks against the promises. It reads the ledgers
as JSON, not with the package's own classes, so that a fault in those cannot hide itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .plan import Wish

OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States in which Airflow does nothing more with a step."""
PARKED = "awaiting_input"
GOOD, BAD = frozenset({"success", "warning"}), "failure"
ENDED_WELL = frozenset({"exit 0", "CC 0000"})
"""What a job's end reads like on each stand-in when it went well."""
ENDED_BY_CANCEL = frozenset({"signal 15", "signal 9", "CANCELED"})
"""Nothing but a cancel ends a job of the test's streams like this."""


@dataclass(frozen=True, slots=True)
class Step:
    """One task instance at the end.

    :param attempts: the ledger's attempts, as JSON, oldest first.
    :param log: the end of the last try's log, for a step that failed.
    """

    instance: str
    task: str
    state: str
    tries: int = 1
    attempts: tuple[Mapping[str, Any], ...] = ()
    log: str = ""

    @property
    def name(self) -> str:
        """Name it for people."""
        return f"{self.instance} {self.task}"

    @property
    def open(self) -> Mapping[str, Any] | None:
        """The attempt that is not closed."""
        last = self.attempts[-1] if self.attempts else None
        return last if last is not None and last["state"] != "closed" else None


@dataclass(frozen=True, slots=True)
class Job:
    """One job of the lab's record. Times are ISO 8601 in UTC, so that their order is that of the texts."""

    system: str
    key: str
    id: str
    state: str
    result: str = ""
    ran: bool = True
    started: str = ""
    ended: str = ""

    @property
    def running(self) -> bool:
        """It runs now."""
        return self.state == "running"

    @property
    def over(self) -> bool:
        """It will do nothing more."""
        return self.state in ("ended", "purged", "discarded")


@dataclass(frozen=True, slots=True)
class PersonsAct:
    """What a person did.

    :param before: the step's state then.
    :param accepted: Airflow said yes; None: it did not answer, so nobody knows.
    :param calm: nothing was struck shortly before or after, so nothing excuses that it was not followed.
    """

    at: str
    wish: Wish
    instance: str
    task: str
    before: str
    accepted: bool | None
    calm: bool = False

    @property
    def step(self) -> str:
        """The name of the step."""
        return f"{self.instance} {self.task}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known at the end of a run.

    :param orphans: keys of jobs that ran on, or stayed held, though a person had ended their step, as seen when all was
        calm; a person has cleared those steps since.
    """

    steps: Sequence[Step]
    jobs: Sequence[Job]
    acts: Sequence[PersonsAct] = ()
    orphans: frozenset[str] = frozenset()


@dataclass(slots=True)
class Verdict:
    """What came of it.

    :param problems: one line each; empty when every promise held.
    :param parked: step to the reason.
    """

    problems: list[str] = field(default_factory=list)
    parked: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


def judge(evidence: Evidence) -> Verdict:
    """Return the verdict on one run."""
    verdict = Verdict()
    jobs: dict[str, list[Job]] = defaultdict(list)
    for job in evidence.jobs:
        jobs[job.key].append(job)
    acts: dict[str, list[PersonsAct]] = defaultdict(list)
    for act in evidence.acts:
        if act.accepted is not False:
            acts[act.step].append(act)
    verdict.problems += _keys(evidence, jobs)
    asking = {step.instance for step in evidence.steps if step.state == PARKED}
    for step in evidence.steps:
        verdict.problems += _attempts(step, jobs)
        verdict.problems += _one_at_a_time(step, jobs)
        if step.instance not in asking or not _waits_for_an_answer(step, acts[step.name], jobs):
            verdict.problems += _end(step, acts[step.name], jobs, verdict.parked)
        verdict.problems += _followed(step, acts[step.name], jobs)
    verdict.problems += _nobody_asked(evidence, jobs, acts)
    _count(evidence, jobs, verdict)
    return verdict


def _keys(evidence: Evidence, jobs: Mapping[str, Sequence[Job]]) -> Iterator[str]:
    """Every job belongs to exactly one attempt, and every attempt has at most one job that ran."""
    owners = Counter(attempt["key"] for step in evidence.steps for attempt in step.attempts)
    yield from (f"the key {key} belongs to {count} attempts" for key, count in owners.items() if count > 1)
    for key, with_key in jobs.items():
        if key not in owners:
            ids = ", ".join(f"{job.id} on {job.system}" for job in with_key)
            yield f"{ids}: key {key or 'none'} stands in no ledger"
        ran = [job for job in with_key if job.ran]
        if len(ran) > 1:
            yield f"DUPLICATE: key {key} ran {len(ran)} times: {', '.join(job.id for job in ran)}"
        waiting = [job for job in with_key if not job.ran and not job.over]
        if ran and waiting:
            yield f"a copy with key {key} is left over on {waiting[0].system}: {waiting[0].id} is {waiting[0].state}"


def _attempts(step: Step, jobs: Mapping[str, Sequence[Job]]) -> Iterator[str]:
    """What the ledger says of an attempt is what the system's own record says."""
    for attempt in step.attempts:
        name = f"{step.name} attempt {attempt['number']} (key {attempt['key']})"
        ran = [job for job in jobs.get(attempt["key"], ()) if job.ran]
        by_person = str(attempt.get("closed_by", "")).startswith("person:")
        if attempt["state"] == "closed" and attempt.get("verdict") in GOOD and not by_person:
            if not ran:
                yield f"{name} is closed as a success, but no job ran"
            elif not ran[0].over or ran[0].result not in ENDED_WELL:
                yield f"{name} is closed as a success, but its job is {ran[0].state} {ran[0].result!r}"
        elif attempt["state"] == "closed" and not by_person:
            if not attempt.get("message"):
                yield f"{name} is closed as a failure without a reason"
            if ran and not ran[0].over:
                yield f"{name} is closed as a failure, but its job is {ran[0].state}"
        elif attempt.get("handle") and not jobs.get(attempt["key"]):
            yield f"LOST: {name} is handed over, but its system has no such job"


def _one_at_a_time(step: Step, jobs: Mapping[str, Sequence[Job]]) -> Iterator[str]:
    """No job of a step starts before the one of the attempt before has ended, unless a named person closed that."""
    before: tuple[Mapping[str, Any], Job] | None = None
    for attempt in step.attempts:
        for job in [job for job in jobs.get(attempt["key"], ()) if job.ran][:1]:
            if before is not None:
                earlier, its_job = before
                word_of_person = str(earlier.get("closed_by", "")).startswith("person:")
                ended = its_job.ended or ("" if its_job.over else "never")
                if not word_of_person and ended and (ended == "never" or ended > job.started):
                    yield (
                        f"TWO AT ONCE: {step.name}: attempt {attempt['number']} started {job.started}, but attempt "
                        f"{earlier['number']} ended {ended}"
                    )
            before = attempt, job


def _waits_for_an_answer(step: Step, acts: Sequence[PersonsAct], jobs: Mapping[str, Sequence[Job]]) -> bool:
    """Tell whether a step of an instance that asks can only begin once somebody has answered.

    An attempt that was open when a person cleared the step stays open until it begins anew; its job must not run on.
    """
    if step.state or step.open is None:
        return not step.state
    cleared = bool(acts) and acts[-1].wish is Wish.CLEAR
    return cleared and all(job.over for job in jobs.get(step.open["key"], ()))


def _end(
    step: Step, acts: Sequence[PersonsAct], jobs: Mapping[str, Sequence[Job]], parked: dict[str, str]
) -> Iterator[str]:
    """Every step has come to an end that says why."""
    open_attempt, last = step.open, step.attempts[-1] if step.attempts else None
    last_word = acts[-1].wish if acts else None
    # A step that was cleared and then cannot start, because what comes before it failed, is a person's doing as well.
    marked = last_word in (Wish.FAIL, Wish.SUCCEED) or (last_word is Wish.CLEAR and step.state == "upstream_failed")
    if step.state == PARKED:
        reason = str(last.get("parked", "")) if last else ""
        if reason:
            parked[step.name] = reason
        else:
            yield f"{step.name} is parked without a reason"
        return
    if step.state not in OVER:
        yield f"OPEN FOR EVER: {step.name} is still {step.state or 'not started'} after {step.tries} tries"
        return
    if open_attempt is not None:
        running = [job for job in jobs.get(open_attempt["key"], ()) if not job.over]
        if not marked:
            yield (
                f"OPEN FOR EVER: {step.name} is {step.state}, nobody marked it, and attempt {open_attempt['number']} "
                f"is {open_attempt['state']}"
            )
        elif running:
            yield f"{step.name} was marked as {step.state}, but its job {running[0].id} is {running[0].state}"
        return
    if marked or step.state not in ("success", "failed"):
        return
    verdict = last.get("verdict") if last else None
    if step.state == "success" and verdict not in GOOD:
        yield f"{step.name} is a success that no attempt made: the last one says {verdict or 'nothing'}"
    if step.state == "failed" and verdict != BAD:
        yield f"{step.name} failed, but its last attempt says {verdict or 'nothing'}: {step.log[-300:]}"


def _followed(step: Step, acts: Sequence[PersonsAct], jobs: Mapping[str, Sequence[Job]]) -> Iterator[str]:
    """What a person asked for happened: a clear ran the work again, and ended a job that never ends by itself."""
    for number, act in enumerate(acts):
        if act.accepted is None or act.before not in ("deferred", "success", "failed", "running"):
            continue
        if act.wish is Wish.CLEAR and number == len(acts) - 1:
            answered = [
                attempt
                for attempt in step.attempts
                if str(attempt.get("opened", "")) > act.at or str(attempt.get("closed", "")) > act.at
            ]
            if not answered and step.state in ("success", "failed"):
                yield f"{step.name} was cleared at {act.at} and nothing came of it"
            continue
        following = acts[number + 1] if number + 1 < len(acts) else None
        if act.wish is Wish.CLEAR and act.before == "deferred" and following is not None and following.calm:
            # All was calm for a while, and a person had to act again to end the job that the clear should have ended.
            yield from (
                f"{step.name} was cleared at {act.at} while it waited, and its job {job.id} ran on"
                for attempt in step.attempts
                for job in jobs.get(attempt["key"], ())
                if job.ran and job.started < act.at and (not job.over or job.ended > following.at)
            )
        if act.wish is not Wish.CLEAR and act.calm and act.before == "deferred":
            for attempt in step.attempts:
                for job in jobs.get(attempt["key"], ()):
                    if job.started < act.at and not job.over:
                        yield f"{step.name}: {act.wish.value} at {act.at}, and its job {job.id} runs on"


def _nobody_asked(
    evidence: Evidence, jobs: Mapping[str, Sequence[Job]], acts: Mapping[str, Sequence[PersonsAct]]
) -> Iterator[str]:
    """No job is cancelled that no person wanted to end."""
    for step in evidence.steps:
        asked = [act.at for act in acts.get(step.name, ())]
        for attempt in step.attempts:
            for job in jobs.get(attempt["key"], ()):
                if job.result in ENDED_BY_CANCEL and not any(at <= job.ended for at in asked):
                    yield f"{step.name}: job {job.id} ended as {job.result} at {job.ended}, and nobody had asked for it"


def _count(evidence: Evidence, jobs: Mapping[str, Sequence[Job]], verdict: Verdict) -> None:
    counts = verdict.counts
    counts["steps"] = len(evidence.steps)
    counts["tries"] = sum(step.tries for step in evidence.steps)
    counts["attempts"] = sum(len(step.attempts) for step in evidence.steps)
    counts["jobs"] = len(evidence.jobs)
    counts["jobs that ran"] = sum(job.ran for job in evidence.jobs)
    counts["copies that never ran"] = sum(not job.ran for job in evidence.jobs)
    counts["jobs cancelled"] = sum(job.result in ENDED_BY_CANCEL for job in evidence.jobs)
    counts["parked"] = len(verdict.parked)
    counts["ran on until a person cleared"] = len(evidence.orphans)
    counts["open because a person marked the step"] = sum(
        step.open is not None and step.state in OVER for step in evidence.steps
    )
    for step in evidence.steps:
        counts[f"steps {step.state or 'not started'}"] += 1
