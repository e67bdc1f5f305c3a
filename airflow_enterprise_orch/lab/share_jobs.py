"""The jobs that a share has, as the records of the file-share steps on it show them.

See :mod:`airflow_enterprise_orch.systems.fileshare.journal`: the first record with a key is its submission. For faults,
the record that begins or ends a job is ``submit``, the one that ends a wait is ``cancel``, and reading records is
``find``. A stand-in of a share says ``poll`` of a listing itself; whatever else is asked meets faults on ``any``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from airflow_enterprise_orch.lab import company
from airflow_enterprise_orch.lab.stand_in import FaultPlan, LabJob, now

RECORD = re.compile(r"(?:^|/)(open|ended)/([A-Z][A-Z0-9]{19})\.(json|end)$")


class ShareJobs:
    """What was handed over on one share.

    :param faults: where the fates of jobs are planned.
    """

    def __init__(self, faults: FaultPlan) -> None:
        self._faults = faults
        self._jobs: dict[str, list[LabJob]] = {}
        self._purge: set[str] = set()

    def clear(self) -> None:
        """Forget them all."""
        self._jobs.clear()
        self._purge.clear()

    def jobs(self) -> list[LabJob]:
        """Return every job whose record was written, oldest first; two with one key are a duplicate."""
        return sorted((job for jobs in self._jobs.values() for job in jobs), key=lambda job: job.submitted)

    def operation(self, path: str, *, reads: bool = False, creates: bool = False) -> str:
        """Return what a request for ``path`` is, as faults name it."""
        record = RECORD.search(path)
        if record is None:
            return "any"
        if reads:
            return "find"
        if record[3] == "end":
            return "cancel"
        return "submit" if creates and record[2] not in self._jobs else "any"

    def note(self, path: str, content: bytes) -> tuple[str, Mapping[str, bytes]]:
        """Keep the record of jobs: ``content`` was written to ``path``.

        :returns: the key whose files are to go, as a purge wants it, or ""; and what the company answers to a wait.
        """
        record = RECORD.search(path)
        if record is None:
            return "", {}
        folder, key, kind = record.groups()
        jobs = self._jobs.setdefault(key, [])
        begun = jobs[-1] if jobs else None
        answers: Mapping[str, bytes] = {}
        if kind == "end" and begun is not None:
            begun.state, begun.ended, begun.result = "ended", now(), _code(content)
        elif folder == "open" or begun is None:
            name = "wait" if folder == "open" else "delivery"
            job = LabJob(key, key, name, "running" if folder == "open" else "ended", ran=True)
            job.started = job.submitted
            if folder == "ended":
                job.ended, job.result = job.submitted, _code(content)
            jobs.append(job)
            answers = _tell(job, content, wait=folder == "open")
            if any(fate.do == "purge" for fate in self._faults.fate(key)):
                self._purge.add(key)
        if key in self._purge and jobs[-1].state == "ended":
            jobs[-1].state = "purged"
            return key, answers
        return "", answers


def _code(content: bytes) -> str:
    return str(json.loads(content).get("code", ""))


def _tell(job: LabJob, content: bytes, *, wait: bool) -> Mapping[str, bytes]:
    """Note what a job is about, as its record says; return what the company answers."""
    said = json.loads(content)
    if not wait:
        job.given = {name: str(value) for name, value in said.get("values", {}).items() if name != "link"}
        return {}
    job.given = {name: str(said.get(name, "")) for name in ("folder", "pattern", "count", "marker")}
    return company.answers(job.given["folder"], job.given["pattern"], int(said["count"]), job.given["marker"])
