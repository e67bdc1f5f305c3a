"""The verdict on one case: what the lab has on record, against what was allowed to happen.

The lab says what was handed over, what ran, and when. What the harness knows of its own blows, and what the processes
reported of their way, only *excuses*: a second held copy is right where the first one landed after its settle time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from airflow_enterprise_orch.delegation.ledger_store import LEDGER_PREFIX, SENT_PREFIX
from airflow_enterprise_orch.lab.stand_in import LabJob

from .life import Evidence, Incarnation
from .zygote import Try

STAMP = 0.005
"""The lab's stamps are cut to milliseconds, and those of files are as coarse as the kernel's clock."""


@dataclass
class Verdict:
    """What one case came to.

    :ivar duplicates: keys that ran more than once.
    :ivar lost: jobs or steps that nobody will ever bring to an end.
    :ivar other: further broken promises.
    :ivar held_copies: copies left held because they landed when all was over; they never ran.
    """

    duplicates: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    held_copies: int = 0

    @property
    def problems(self) -> list[str]:
        return [*self.duplicates, *self.lost, *self.other]


@dataclass(frozen=True)
class Send:
    """One submit as its process went about it.

    :param looked: when it last looked for the key before; else when it was about to send.
    :param about: when it was about to send.
    """

    key: str
    owner: str
    looked: float
    about: float


def judge(evidence: Evidence, jobs: Sequence[LabJob]) -> Verdict:
    """Judge one case.

    :param jobs: the record of all the labs, when nothing moves any more.
    """
    verdict = Verdict(other=list(evidence.problems))
    by_key: dict[str, list[LabJob]] = defaultdict(list)
    for job in jobs:
        by_key[job.key].append(job)
    sends = [send for process in evidence.processes for send in sends_of(process)]
    for key, copies in by_key.items():
        ran = [job for job in copies if job.ran]
        if len(ran) > 1:
            verdict.duplicates.append(f"key {key} ran {len(ran)} times: {', '.join(job.id for job in ran)}")
        if len(copies) > 1:
            verdict.other += _copies(key, copies, [send for send in sends if send.key == key])
            verdict.other += _settled(key, evidence)
        verdict.lost += _claims(key, evidence)
        verdict.other += _fence(key, evidence.lives, sends)
    for life in evidence.lives:
        _life(life, by_key, evidence, verdict)
    verdict.other += _declared(evidence)
    verdict.other += _parks(evidence)
    return verdict


def sends_of(process: Try) -> Iterator[Send]:
    """Yield the submits of one process."""
    looked: dict[str, float] = {}
    about = 0.0
    for event in process.events:
        if "find" in event:
            looked[event["find"]] = event["t"]
        if event.get("at") == "before_send":
            about = event["t"]
        if "submit" in event:
            key = event["submit"]
            yield Send(key, process.owner, looked.get(key, about), about)


def _copies(key: str, copies: list[LabJob], sends: list[Send]) -> list[str]:
    """Say which further copy should not have been made."""
    wrong = []
    for send in sends:
        there = [job for job in copies if seconds(job.submitted) < send.looked - STAMP]
        if there:
            wrong.append(f"key {key} was sent again although {there[0].id} was there to be found")
    if len(copies) > len(sends):
        wrong.append(f"key {key} is on {len(copies)} jobs but was sent {len(sends)} times")
    return wrong


def _settled(key: str, evidence: Evidence) -> list[str]:
    """Say whether the key was sent again before it was certain that the one before would not land any more."""
    stamps: list[dict[str, Any]] = []
    for _, _, cell, value in evidence.history:
        if cell.startswith(SENT_PREFIX) and value.get("key") == key:
            if stamps and value.get("sends", 0) <= stamps[-1]["sends"]:
                stamps.pop()  # taken back, because nothing had left
            if value.get("sends", 0) > (stamps[-1]["sends"] if stamps else 0):
                stamps.append(value)
    gaps = [seconds(later["sent"]) - seconds(earlier["sent"]) for earlier, later in pairwise(stamps)]
    settle = evidence.case.about.settle
    return [f"key {key} was sent again {gap:.1f} s after it, within the settle time" for gap in gaps if gap < settle]


def _claims(key: str, evidence: Evidence) -> list[str]:
    """Say whether a key is on a job that no ledger knows."""
    claimed = None
    for life in evidence.lives:
        written = {
            attempt["key"]
            for _, owner, cell, value in evidence.history
            if owner in life.owners
            for attempt in (value["attempts"] if cell.startswith(LEDGER_PREFIX) else [value] if "key" in value else [])
        }
        claimed = life if key in written else claimed
    if claimed is None:
        return [f"a job carries key {key}, which no try ever claimed"]
    if claimed.ended != "gone" and key not in {attempt["key"] for attempt in claimed.ledger.get("attempts", ())}:
        return [f"a job carries key {key}, which the ledger has forgotten"]
    return []


def _fence(key: str, lives: list[Incarnation], sends: list[Send]) -> list[str]:
    """Say whether a try handed a job over that had lost the task before it was about to."""
    until = {owner: lost for life in lives for owner, lost in life.owners.items()}
    return [
        f"key {key} was sent by a try that had lost the task {send.about - until[send.owner]:.2f} s before"
        for send in sends
        if send.key == key and send.about > until[send.owner]
    ]


def _life(life: Incarnation, by_key: dict[str, list[LabJob]], evidence: Evidence, verdict: Verdict) -> None:
    """Judge one task instance."""
    attempts: list[dict[str, Any]] = list(life.ledger.get("attempts", ()))
    # A clear begins a new generation, in which the retry rules count anew.
    allowed = (1 + life.clears) * (1 + sum(int(rule["times"]) for rule in evidence.case.rules)) + life.submits_by_people
    if len(attempts) > allowed:
        verdict.other.append(f"{len(attempts)} attempts, but only {allowed} were allowed")
    before: dict[str, Any] | None = None
    for attempt in attempts:
        if before is not None and not str(before.get("closed_by", "")).startswith("person:"):
            verdict.other += _overlap(by_key[before["key"]], by_key[attempt["key"]])
        before = attempt
    if life.ended == "gone":
        return
    if not life.ended:
        verdict.lost.append("the step never came to an end")
    elif before is None or before["state"] != "closed":
        verdict.lost.append(f"the step ended as {life.ended} while its attempt is open: {life.told.get('message', '')}")
    else:
        verdict.other += _ending(life, before, by_key[before["key"]], evidence)
    looks = [event["t"] for process in evidence.processes for event in process.events if "find" in event]
    for attempt in attempts:
        by_person = str(attempt.get("closed_by", "")).startswith("person:")
        for job in by_key[attempt["key"]]:
            if job.state in ("ended", "purged", "discarded"):
                continue
            if job.state == "held" and (by_person or seconds(job.submitted) > max(looks, default=0.0) - STAMP):
                verdict.held_copies += 1
            else:
                verdict.lost.append(f"job {job.id} with key {job.key} is {job.state} for ever")


def _overlap(earlier: list[LabJob], later: list[LabJob]) -> list[str]:
    """Say whether a job was handed over before the one of the attempt before had ended."""
    wrong = []
    for job in (job for job in earlier if job.ran):
        for next_job in later:
            if not job.ended and job.state == "running":
                wrong.append(f"{next_job.id} was handed over while {job.id} of the attempt before still runs")
            elif job.ended and seconds(job.ended) > seconds(next_job.submitted) + STAMP:
                wrong.append(f"{next_job.id} was handed over before {job.id} of the attempt before had ended")
    return wrong


def _ending(life: Incarnation, attempt: dict[str, Any], jobs: list[LabJob], evidence: Evidence) -> list[str]:
    """Say whether the step's end is not the end of its job."""
    if str(attempt.get("closed_by", "")).startswith("person:"):
        return []
    about = evidence.case.about
    ran = [job for job in jobs if job.ran]
    result = ran[0].result if ran else ""
    well = result == about.well
    if life.ended == "success" and not well:
        return [f"the step succeeded, but its job came to {result or 'nothing'}"]
    if life.ended == "failed" and well:
        return [f"the step failed, but its job came to {result}: {life.told.get('message')}"]
    if life.ended == "failed":
        if not ran:
            return [f"the step failed without a job: {life.told.get('message')}"]
        meant = result == about.badly and not evidence.case.good
        if not (meant or life.clears or evidence.case.fates):
            return [f"its job came to {result}, which nobody asked for"]
        return []
    return [] if life.ended == "success" else [f"the step ended as {life.ended}"]


def _declared(evidence: Evidence) -> list[str]:
    """Say where the client of the case's system is not what this suite takes it for."""
    about = evidence.case.about
    events = [event for process in evidence.processes for event in process.events]
    declared = {tuple(event["declares"]) for event in events if "declares" in event}
    return [
        f"its client declares {protection} and {settle} s, and the table has {about.protection} and {about.settle} s"
        for protection, settle in sorted(declared - {(str(about.protection), about.settle)})
    ]


def _parks(evidence: Evidence) -> list[str]:
    """Say which question should not have been asked."""
    wrong = []
    for park in evidence.parks:
        looks = [
            event["t"]
            for process in evidence.processes
            for event in process.events
            if event.get("find") == park.key and event["t"] <= park.at
        ]
        to_be_found = any(seconds(at) < max(looks, default=0.0) - STAMP for at in park.committed.get(park.key, ()))
        right = {
            "repointed": park.repointed,
            "unanswered": evidence.case.about.unprotected and not to_be_found,
            "purged": "purge" in evidence.case.fates,
        }
        if not right.get(park.reason, False):
            wrong.append(f"it was parked without need: {park.question}")
    return wrong


def seconds(stamp: str) -> float:
    """Return a stamp of the lab as seconds."""
    return datetime.fromisoformat(stamp).timestamp()
