"""What z/OSMF's JSON documents mean (IBM, *z/OSMF Programming Guide*, "JSON document specifications").

Pure functions from documents to the values that all systems share. Whatever is not documented is
unknown, never a success.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Phase
from airflow_enterprise_orch.delegation.system import Candidate

Document = Mapping[str, Any]

MODIFY_OK = "0"
MODIFY_LATER = ("136", "200")
"""Not now: the job is locked, or in a phase that does not allow it."""
MODIFY_WORDS = {
    "128": "class authorization failed",
    "136": "the job is locked",
    "140": "no such job",
    "144": "bad job id",
    "148": "the job cannot be located",
    "152": "another job has this id now",
    "156": "the job cannot be cancelled or purged",
    "160": "the job is protected",
    "184": "the job has ended already",
    "200": "the job's phase does not allow it",
}
"""Feedback of a modify request. IBM, MVS Using the Subsystem Interface, SSI 85, "Job feedback elements" (SSJFSTAT)."""

_ENDINGS = {
    "CANCELED": Ending.CANCELLED,
    "CONV ABEND": Ending.REJECTED,
    "CONV ERROR": Ending.REJECTED,
    "JCL ERROR": Ending.REJECTED,
    "SEC ERROR": Ending.REJECTED,
    "SYS FAIL": Ending.LOST,
}


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """One spool file of a job.

    :param records: how many it has now; None when JES does not say.
    """

    id: str
    ddname: str
    step: str
    proc_step: str
    records: int | None
    lrecl: int

    @property
    def of_jes(self) -> bool:
        """True for those that JES writes itself."""
        return self.ddname in ("JESMSGLG", "JESJCL", "JESYSMSG", "JESJCLIN")

    def answers_to(self, source: str) -> bool:
        """True when ``DD``, ``STEP.DD`` or ``STEP.PROCSTEP.DD`` names it."""
        names = {self.ddname, f"{self.step}.{self.ddname}", f"{self.step}.{self.proc_step}.{self.ddname}"}
        return source.upper() in names

    @classmethod
    def of(cls, document: Document) -> SpoolFile:
        """Read a job file document."""
        count, lrecl = document.get("record-count"), document.get("lrecl")
        return cls(
            str(document.get("id")),
            text(document, "ddname"),
            text(document, "stepname"),
            text(document, "procstep"),
            count if isinstance(count, int) else None,
            lrecl if isinstance(lrecl, int) and lrecl > 0 else 133,
        )


def text(document: Document, name: str) -> str:
    """Return a property as text; "" for null and absent."""
    value = document.get(name)
    return "" if value is None else str(value)


def user_correlator(document: Document) -> str:
    """Return the user's part of the job correlator, which follows the colon."""
    return text(document, "job-correlator").partition(":")[2].strip()


def handle_of(document: Document, key: str) -> JobHandle:
    """Return the handle of a job; :raises ValueError: when the document is no job document."""
    job_id, name = text(document, "jobid"), text(document, "jobname")
    if not job_id or not name:
        raise ValueError("the answer has no jobid and jobname")
    fields = {"correlator": text(document, "job-correlator"), "owner": text(document, "owner")}
    return JobHandle(key, job_id, name, {field: value for field, value in fields.items() if value})


def says_held(document: Document) -> bool:
    """True when the job waits and JES says that the job itself (not its class or queue) is held.

    z/OSMF has no field for it, only the text ``reason-not-running``, whose wordings are not documented.
    """
    reasons = re.split(r"[,;]", text(document, "reason-not-running"))
    return text(document, "status") == "INPUT" and any(
        re.search(r"\b(held|hold)\b", reason, re.IGNORECASE)
        and not re.search(r"class|queue|member|system", reason, re.IGNORECASE)
        for reason in reasons
    )


def candidate_of(document: Document, key: str) -> Candidate:
    """Return a job that carries the key, as the two-phase submit sees it.

    Every job that has not started counts as held, because z/OSMF has no dependable field for it: releasing one once
    more does no harm, whereas believing that it was released would leave it waiting for ever. The order is the time of
    submission; the correlator, unique on its system, breaks ties.
    """
    order = f"{text(document, 'exec-submitted')}|{text(document, 'job-correlator')}|{text(document, 'jobid')}"
    return Candidate(handle_of(document, key), held=text(document, "status") == "INPUT", order=order)


def status_of(document: Document) -> JobStatus | None:
    """Return the state of a job; None when JES could not determine it."""
    reason = text(document, "reason-not-running")
    match text(document, "status"):
        case "INPUT":
            return JobStatus(
                Phase.HELD if says_held(document) else Phase.WAITING, reason or text(document, "phase-name")
            )
        case "ACTIVE":
            return JobStatus(Phase.RUNNING)
        case "OUTPUT":
            return JobStatus(Phase.ENDED)
        case _:
            return None


def result_of(document: Document) -> JobResult:
    """Return how a job ended.

    ``JCL ERROR`` after the job began (a data set not found in a later step) is no rejection: earlier steps ran.
    """
    state, code = text(document, "status"), text(document, "retcode").strip()
    started, ended = (_time(text(document, f"exec-{moment}")) for moment in ("started", "ended"))
    if state != "OUTPUT":
        return JobResult(Ending.UNKNOWN, code, detail=f"the job's status is {state or 'not known'}, it has not ended")
    if completed := re.fullmatch(r"CC (\d{4})", code):
        return JobResult(Ending.COMPLETED, code, int(completed.group(1)), started, ended)
    if re.fullmatch(r"ABEND S[0-9A-F]{3}|ABEND ?U\d{4}", code):
        return JobResult(Ending.ABENDED, re.sub(r"^ABEND ?U", "ABEND U", code), None, started, ended)
    ending = _ENDINGS.get(code, Ending.UNKNOWN)
    if ending is Ending.UNKNOWN:
        detail = f"z/OSMF gives the completion code {code!r}, which is not documented" if code else "no completion code"
        return JobResult(ending, code, None, started, ended, detail)
    if ending is Ending.REJECTED and started is not None:
        return JobResult(Ending.ABENDED, code, None, started, ended, "the error came after the job had begun to run")
    return JobResult(ending, code, None, started, ended, text(document, "reason-not-running"))


def is_absent(status_code: int, document: object) -> bool:
    """True for the two answers by which z/OSMF says that a job does not exist. Neither is a 404."""
    if not isinstance(document, Mapping):
        return False
    told = (status_code, *(document.get(name) for name in ("rc", "reason", "category")))
    return told in ((400, 4, 10, 6), (500, 0, 8, 8))


def message_of(document: object) -> str:
    """Return the text of an error document, "" when it is none."""
    if not isinstance(document, Mapping) or not {"rc", "reason", "category", "message"} & set(document):
        return ""
    message = text(document, "message") or "no message"
    details = document.get("details")
    if isinstance(details, list) and details:
        message += ": " + "; ".join(str(line) for line in details[:3])
    codes = ", ".join(f"{name} {document[name]}" for name in ("category", "rc", "reason") if name in document)
    return " ".join(f"{message} ({codes})".split())


def _time(value: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
