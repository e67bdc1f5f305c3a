"""The proof that every attempt reached its system exactly once, and that what went wrong was recovered from.

It sets Airflow's ledgers against the lab's own records.

The lab writes down what really arrived, whatever Airflow believes; the ledgers say what Airflow believes. Neither is
derived from the other, and only their full agreement counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, Verdict
from airflow_enterprise_orch.demo.story import Mishap, Recovery

WELL = (Verdict.SUCCESS, Verdict.WARNING)


@dataclass(frozen=True, slots=True)
class StepAttempt:
    """One attempt and where it belongs."""

    instance: str
    step: str
    attempt: Attempt

    def __str__(self) -> str:
        """Name it for people."""
        return f"{self.instance} {self.step} attempt {self.attempt.number} (key {self.attempt.key})"


def violations(attempts: Iterable[StepAttempt], jobs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return everything that speaks against "exactly once", one line each; empty when nothing does.

    :param jobs: by stand-in, every job ever handed over, as the control API's ``GET jobs`` tells it.
    """
    found: list[str] = []
    attempts = list(attempts)
    everything = [(system, job) for system, of_system in jobs.items() for job in of_system]
    ran = Counter(job["key"] for _system, job in everything if job["ran"])
    keys = Counter(one.attempt.key for one in attempts)
    found += [f"the key {key} belongs to {count} attempts" for key, count in keys.items() if count > 1]
    for one in attempts:
        if one.attempt.state is not AttemptState.CLOSED:
            found.append(f"{one} is still {one.attempt.state.value}")
        count = ran[one.attempt.key]
        if count > 1 or (count == 0 and not _cancelled(one.attempt)):
            found.append(f"{one} ran {count} times")
    found += [
        f"{system} has job {job['id']} ({job['name']}, key {job['key'] or 'none'}) that no attempt handed over"
        for system, job in everything
        if job["key"] not in keys
    ]
    return found


def _cancelled(attempt: Attempt) -> bool:
    """Tell whether its job was cancelled: that may have been before it began, and it never will."""
    return attempt.verdict == Verdict.FAILURE and attempt.kind == "cancelled"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What came of one mishap.

    :param told: in one line, for people.
    :param problem: what is not as it must be; "" when nothing is.
    """

    told: str
    problem: str = ""


def recovery(
    mishap: Mishap,
    made: Sequence[Mapping[str, Any]],
    attempts: Sequence[StepAttempt],
    jobs: Sequence[Mapping[str, Any]],
) -> Recovered | None:
    """Prove that a mishap came to the one attempt that the lab made it for, and was recovered from as it must be.

    :param made: the faults that the stand-in made, as ``GET made`` tells them.
    :param attempts: of all instances.
    :param jobs: every job that was ever handed over to the stand-in.
    :returns: None when the lab never made the fault.
    """
    subjects = [str(fault["subject"]) for fault in made if fault["do"] == mishap.do and fault["on"] == "submit"]
    if not subjects:
        return None
    hit = [one for one in attempts if one.step == mishap.step and any(one.attempt.key in text for text in subjects)]
    if len(subjects) != 1 or len(hit) != 1:
        return Recovered(
            mishap.told, f"it came {len(subjects)} times, to {len(hit)} attempts of {mishap.step}; once to one"
        )
    (one,) = hit
    place = f"{one.instance} {one.step}"
    of_step = [other.attempt for other in attempts if (other.instance, other.step) == (one.instance, one.step)]
    theirs = [job for job in jobs if job["key"] in {attempt.key for attempt in of_step}]
    check = _adopted if mishap.recovery is Recovery.ADOPTED else _run_again
    told, problem = check(one.attempt, of_step, theirs)
    return Recovered(f"{place}, {mishap.told}; {told}", problem and f"{place}, {mishap.told}: {problem}")


def _adopted(hit: Attempt, of_step: Sequence[Attempt], jobs: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The client never heard of its job, so its ledger knows the job only because it went to look for it."""
    known = hit.handle.job_id if hit.handle else "none"
    told = f"job {known} was found and adopted, and nothing sent again"
    if [attempt.number for attempt in of_step] != [1] or hit.verdict not in WELL:
        return told, f"{len(of_step)} attempts, the first ended as {hit.verdict or 'open'}; one that went well is right"
    # Not even a second copy that was held and deleted: whoever sends again before looking leaves one.
    if [(job["id"], job["ran"]) for job in jobs] != [(known, True)]:
        there = ", ".join(f"{job['id']} {job['state']}" for job in jobs) or "none"
        return told, f"the ledger knows the job {known}, the system has: {there}; that one alone is right"
    return told, ""


def _run_again(hit: Attempt, of_step: Sequence[Attempt], jobs: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The attempt that was hit failed, the next one succeeded, and each is a job of its own."""
    known = [attempt.handle.job_id if attempt.handle else "none" for attempt in of_step]
    told = f"job {known[0]} failed, job {known[-1]} did the work"
    ends = [attempt.verdict for attempt in of_step]
    if of_step[0] is not hit or len(ends) != 2 or ends[0] != Verdict.FAILURE or ends[1] not in WELL:
        return told, f"its attempts ended as {', '.join(end or 'open' for end in ends)}; failure, success is right"
    ran = [job["key"] for job in jobs if job["ran"]]
    if sorted(ran) != sorted(attempt.key for attempt in of_step):
        return told, f"{len(ran)} jobs ran for its two attempts; one for each is right"
    return told, ""
