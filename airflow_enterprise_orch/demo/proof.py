"""The proof that every attempt reached its system exactly once: Airflow's ledgers against the lab's own records.

The lab writes down what really arrived, whatever Airflow believes; the ledgers say what Airflow believes. Neither is
derived from the other, and only their full agreement counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState


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
        if ran[one.attempt.key] != 1:
            found.append(f"{one} ran {ran[one.attempt.key]} times")
    found += [
        f"{system} has job {job['id']} ({job['name']}, key {job['key'] or 'none'}) that no attempt handed over"
        for system, job in everything
        if job["key"] not in keys
    ]
    return found
