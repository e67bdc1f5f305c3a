"""What the documents of SAP's application jobs mean. Pure functions; whatever is not documented is unknown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Phase

Document = Mapping[str, Any]

WORDS = {
    "F": "finished",
    "W": "finished with a warning",
    "A": "failed",
    "U": "user error",
    "C": "cancelled",
    "c": "being cancelled",
    "R": "running",
    "P": "scheduled",
    "S": "released",
    "Y": "ready, no background work process is free",
    "K": "skipped",
    "k": "being skipped",
    "D": "deleted",
    "X": "unknown",
}
"""Status letters, which are case-sensitive (JobStatusInfoSet)."""
_ENDED = frozenset("FWAUCKD")
_ENDINGS = {
    "F": Ending.COMPLETED,
    "W": Ending.COMPLETED,
    "A": Ending.ABENDED,
    "U": Ending.ABENDED,
    "C": Ending.CANCELLED,
    "K": Ending.REJECTED,
}


def listed(content: object) -> list[Document]:
    """Return the entities below ``d``: a list, ``results``, the entity itself, or one named like its function."""
    if isinstance(content, Mapping):
        inner = content.get("results", content)
        if isinstance(inner, Mapping) and len(inner) == 1 and isinstance(only := next(iter(inner.values())), Mapping):
            inner = only
    else:
        inner = content
    rows = inner if isinstance(inner, list) else [inner]
    return [row for row in rows if isinstance(row, Mapping)]


def text(document: Document, name: str) -> str:
    """Return a property as text; "" for null and absent."""
    value = document.get(name)
    return "" if value is None else str(value).strip()


def handle_of(document: Document, key: str, since: str = "") -> JobHandle:
    """Return the handle of a job; :raises ValueError: when the document names none."""
    name, run = text(document, "JobName"), text(document, "JobRunCount")
    if not name or not run:
        raise ValueError("the answer has no JobName and JobRunCount")
    created = moment(document.get("JobCreaDateTime"))
    fields = {"since": since or (stamp(created) if created else "")}
    label = text(document, "TemplateName") or text(document, "JobTemplateName")
    return JobHandle(key, f"{name}/{run}", label, {field: value for field, value in fields.items() if value})


def stamp(when: datetime) -> str:
    """Return a time as ``JobPlannedStartDateTime`` has it: fourteen digits, so that texts compare as times do."""
    return f"{when.astimezone(UTC):%Y%m%d%H%M%S}"


def status_of(letter: str) -> JobStatus | None:
    """Return the state that a letter means; None when it tells nothing."""
    if letter in ("R", "c"):
        return JobStatus(Phase.RUNNING, "" if letter == "R" else WORDS[letter])
    if letter in ("P", "S", "Y"):
        return JobStatus(Phase.WAITING, WORDS[letter])
    return JobStatus(Phase.ENDED) if letter in _ENDED and letter else None


def result_of(steps: Sequence[Document]) -> JobResult:
    """Return how a job ended, from ``JobinfoGet``: one document per step, each with the job's own values."""
    job = steps[0] if steps else {}
    letter = text(job, "JobStatus")
    started, ended = moment(job.get("JobStartDateTime")), moment(job.get("JobEndDateTime"))
    if letter not in _ENDED or not letter:
        told = WORDS.get(letter, "not known")
        return JobResult(Ending.UNKNOWN, letter, detail=f"the job's status is {told}, it has not ended")
    words = WORDS[letter]
    ending = _ENDINGS.get(letter, Ending.UNKNOWN)
    if ending is not Ending.COMPLETED:
        bad = [text(step, "StepCount") for step in steps if text(step, "StepStatus") in ("A", "U")]
        return JobResult(ending, letter, None, started, ended, words + (f" in step {', '.join(bad)}" if bad else ""))
    code = text(job, "JobAppRC")
    rc = int(code) if re.fullmatch(r"-?\d+", code) else 0
    return JobResult(ending, letter, rc, started, ended, f"{words}, return code {rc}")


def moment(value: object) -> datetime | None:
    """Return a time as aware UTC: ``/Date(1763912345000)/`` of OData V2, or fourteen digits; None for none."""
    told = str(value or "")
    if found := re.fullmatch(r"/Date\((-?\d+)(?:[+-]\d+)?\)/", told):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(found[1]))
    if re.fullmatch(r"[1-9]\d{13}", told):
        try:
            return datetime.strptime(told, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            return None
    return None


def parameter_values(parameters: Mapping[str, str | list[str]]) -> str:
    """Return ``JobParameterValues``: JSON of single values (SAP note 3383044); "" for no parameters at all."""
    if not parameters:
        return ""
    values = [
        {
            "NAME": name,
            "T_VALUE": [
                {"SIGN": "I", "OPTION": "EQ", "LOW": value, "HIGH": ""}
                for value in (given if isinstance(given, list) else [given])
            ],
        }
        for name, given in parameters.items()
    ]
    return json.dumps({"VALUES": values}, separators=(",", ":"), ensure_ascii=False)


def logs(header: Document) -> list[tuple[str, list[str]]]:
    """Return the lines of each log of a job, by step and log handle, in SAP's order."""
    found: list[tuple[str, list[str]]] = []
    for step in _expanded(header, "JobStepSet"):
        for info in _expanded(step, "JobStepLogInfoSet"):
            lines = [
                " ".join(
                    part
                    for part in (
                        text(message, "MsgType"),
                        f"{text(message, 'MsgId')}/{text(message, 'MsgNo')}" if text(message, "MsgId") else "",
                        text(message, "MsgText"),
                    )
                    if part
                )
                for message in _expanded(info, "JobLogMessageSet")
            ]
            found.append((f"{text(step, 'StepNumber')} {text(info, 'LogHandle')}", lines))
    return found


def _expanded(document: Document, name: str) -> list[Document]:
    inner = document.get(name)
    rows = inner.get("results") if isinstance(inner, Mapping) else inner
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
