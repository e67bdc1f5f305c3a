"""What the Automation API's documents mean. Pure functions to the values that all systems share.

BMC, *Control-M Automation API*, "Run Service": ``run jobs:status::get`` and ``run status`` answer entries with
``jobId``, ``folderId``, ``name``, ``folder``, ``type``, ``status``, ``held``, ``deleted``, ``cyclic``, ``startTime``
and ``endTime``. The log is a table of time, message and code; a run ends with ``ENDED AT ... OSCOMPSTAT 2. RUNCNT 1``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Phase

Document = Mapping[str, Any]

KEY_VARIABLE = "ORCH_KEY"
"""The variable of an order that carries the delegation key."""
WHAT_VARIABLE = "ORCH_WHAT"
"""... and what was ordered: ``job`` or ``folder``."""

_ENDED = re.compile(r"\bENDED AT \d{14}\s*\.\s*OSCOMPSTAT (-?\d+)\s*\.", re.IGNORECASE)
_KILLED = re.compile(r"\bKILL(?:ED)?\b", re.IGNORECASE)
_ABENDED = re.compile(r"\bABENDE?D?\b\W*(S[0-9A-F]{3}|U\d{4})?", re.IGNORECASE)
_CANCELLED = ("cancelled", "canceled")


@dataclass(frozen=True, slots=True)
class Mark:
    """What an order says about itself in its variables; both "" for an order that is not ours."""

    key: str
    what: str


def text(entry: Document, name: str) -> str:
    """Return a field as text; "" when it is absent or null."""
    value = entry.get(name)
    return "" if value is None else str(value)


def flag(entry: Document, name: str) -> bool:
    """Return a yes-or-no field, which some versions write as a text."""
    value = entry.get(name)
    return value is True or str(value).lower() == "true"


def is_folder(entry: Document) -> bool:
    """True for the entry of a SMART folder or sub-folder itself."""
    return "folder" in text(entry, "type").lower()


def folder_id(entry: Document) -> str:
    """Return the id of the ordered folder that an entry is in; "" for one that is in none."""
    found = text(entry, "folderId")
    # A folder names itself; a job of a folder that is no SMART one names order id 00000.
    return "" if found == text(entry, "jobId") or not found.rpartition(":")[2].strip("0") else found


def is_order(entry: Document, ids: set[str]) -> bool:
    """True for an entry that was ordered by itself: a folder at the top, or a job in no folder of ``ids``."""
    return folder_id(entry) not in ids


def order_of(job_id: str) -> str:
    """Return what sorts order ids from oldest to youngest: they count up in base 36."""
    return job_id.rpartition(":")[2].upper().rjust(8, "0")


def ended(entry: Document) -> bool:
    """True when this entry will not run any more by itself."""
    status = text(entry, "status").lower()
    return status.startswith("ended") or status in _CANCELLED or flag(entry, "deleted")


def began(entry: Document) -> bool:
    """True when it has run, if only for a moment."""
    if text(entry, "status").lower().startswith(("executing", "ended")):
        return True
    # A folder may show when it was ordered; a job shows when it ran, also while it waits to run again.
    return bool(text(entry, "startTime")) and not is_folder(entry)


def held(entry: Document, folder: Document | None = None, inside: Iterable[Document] = ()) -> bool:
    """True when it does not start until it, the folder that it is in, or what is inside it, is freed.

    Which of folder and jobs an order's ``hold`` holds differs between versions.
    """
    if ended(entry):
        return False
    if is_folder(entry):
        # What state a held folder shows is its version's affair; nothing of it has run, that counts.
        jobs = [each for each in inside if not is_folder(each)]
        return not any(began(job) for job in jobs) and any(flag(each, "held") for each in (entry, *jobs))
    return not began(entry) and (flag(entry, "held") or flag(folder or {}, "held"))


def status_of(entry: Document, folder: Document | None = None, inside: Iterable[Document] = ()) -> JobStatus | None:
    """Return the state of an entry; None when the document tells none."""
    status = text(entry, "status")
    if not status:
        return None
    if ended(entry):
        return JobStatus(Phase.ENDED)
    if held(entry, folder, inside):
        other = "its jobs are" if is_folder(entry) else "its folder is"
        return JobStatus(Phase.HELD, f"{'' if flag(entry, 'held') else f'{other} '}held in Control-M")
    if status.lower() == "executing":
        return JobStatus(Phase.RUNNING)
    # "Wait Condition", "Wait Resource", "Wait User", "Wait Host", "Wait Workload"; what is not known waits too, in
    # Control-M's words: it is neither running for certain nor ended.
    return JobStatus(Phase.RUNNING if began(entry) else Phase.WAITING, status)


def result_of(entry: Document, log: str, failed: tuple[str, ...], zone: tzinfo | None) -> JobResult:
    """Return how a job or folder ended.

    Control-M's own verdict counts, because its rules may have turned a code into a success and a person may have set
    the job to OK: ``rc`` is 0 for "Ended OK" whatever the job's code was, which stands in ``code``.

    :param log: the job's log; "" for a folder.
    :param failed: the jobs of a folder that did not end well.
    :param zone: of the times that Control-M tells.
    """
    status = text(entry, "status")
    started, finished = (_time(text(entry, name), zone) for name in ("startTime", "endTime"))
    number = completion(log)
    told = f"{status}, completion code {number}" if number else status

    def result(ending: Ending, rc: int | None = None, detail: str = "") -> JobResult:
        return JobResult(ending, told, rc, started, finished, detail)

    if status.lower() == "ended ok":
        return result(Ending.COMPLETED, 0)
    if flag(entry, "deleted") or status.lower() in _CANCELLED:
        return result(Ending.CANCELLED, detail="deleted in Control-M" if flag(entry, "deleted") else "")
    if status.lower() != "ended not ok":
        return result(Ending.UNKNOWN, detail=f"Control-M says {status!r}, which proves nothing")
    killed = next((line for line in _last_run(log) if _KILLED.search(line)), "")
    if killed:
        return result(Ending.CANCELLED, detail=killed)
    broken = next((found for line in _last_run(log) if (found := _ABENDED.search(line))), None)
    if broken is not None:
        told = f"{status}, {' '.join(broken[0].split())}"
        return result(Ending.ABENDED, detail=told)
    detail = f"did not end well: {', '.join(failed)}" if failed else ""
    # Without a code, "not OK" is a failure all the same: an ABEND without a number is one for every outcome rule.
    return result(Ending.COMPLETED, number, detail) if number else result(Ending.ABENDED, detail=detail)


def completion(log: str) -> int | None:
    """Return the completion code of the last run that a log tells."""
    codes = _ENDED.findall(log)
    return int(codes[-1]) if codes else None


def mark_of(definition: object) -> Mark:
    """Return what an order's definition says in its variables.

    ``run job::get`` gives the definition as in the jobs-as-code files: ``"Variables": [{"NAME": "value"}]``. A folder
    nests its jobs, so the first value found counts.
    """
    values = {KEY_VARIABLE: "", WHAT_VARIABLE: ""}
    for name, value in _pairs(definition):
        bare = name.lstrip("%")
        if bare in values and not values[bare]:
            values[bare] = value
    return Mark(values[KEY_VARIABLE], values[WHAT_VARIABLE])


def handle_of(entry: Document, key: str, folder: str) -> JobHandle:
    """Return the handle of a tracked entry; :raises ValueError: when the document tells no job.

    :param folder: the name of the folder that was ordered.
    """
    job_id = text(entry, "jobId")
    if not job_id:
        raise ValueError("an entry has no jobId")
    fields = {"folder": folder, "kind": "folder" if is_folder(entry) else "job"}
    if folder_id(entry) and not is_folder(entry):
        fields["folder_id"] = folder_id(entry)
    return JobHandle(key, job_id, text(entry, "name"), fields)


def _pairs(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        # Some versions give the definition as a text inside JSON.
        try:
            value = json.loads(value)
        except ValueError:
            return
    if isinstance(value, Mapping):
        name, told = value.get("name"), value.get("value")
        if isinstance(name, str) and isinstance(told, str):
            yield name, told
        for each, inner in value.items():
            if isinstance(inner, str):
                yield str(each), inner
            yield from _pairs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner)


def _last_run(log: str) -> list[str]:
    """Return the messages of the last run."""
    lines = [" ".join(line.split()) for line in log.splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if "STARTED AT" in line.upper()]
    return lines[starts[-1] :] if starts else lines


def _time(value: str, zone: tzinfo | None) -> datetime | None:
    """Return a time like 20260302210446, which is the Control-M/Server's local one, in UTC."""
    if zone is None or not re.fullmatch(r"\d{14}", value):
        return None
    return datetime.strptime(value, "%Y%m%d%H%M%S").replace(tzinfo=zone).astimezone(UTC)
