"""What XBP's structures mean, and the names that our jobs have in SAP. Pure functions.

A job's name is its key, an underscore, and a word for people: ``K7Q2..._ZPOST``. The key comes first so that SAP finds
it by the index on job names.

Beside a job that we were asked to cancel stands a *mark*: a job without steps, which can never start. SAP gives the
same status A to a job that was aborted and to one that broke, and a job that was removed before it started leaves
nothing, so without a mark nobody could tell afterwards what happened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Phase
from airflow_enterprise_orch.systems.sap.rfc import text

NAME = 32
"""SAP, data element BTCJOB: the length of a job's name."""
ASKED = "-CANCEL"
"""The mark that says: its end was asked for. Makes an aborted job a cancelled one."""
REMOVED = "-REMOVED"
"""The mark that says: it is about to be removed, and SAP had confirmed that it had not started."""

Row = Mapping[str, Any]

_WAITS = {
    "S": "released, SAP has not given it to a server yet",
    "Y": "ready, no background work process is free",
    "Z": "handed to a server, not running yet",
    "I": "intercepted by SAP's own rules",
}


@dataclass(frozen=True, slots=True)
class Known:
    """What SAP has under a key.

    :param jobs: the header of each real job.
    :param marks: the suffixes of the marks beside them.
    """

    jobs: tuple[Row, ...]
    marks: frozenset[str]


def job_name(key: str, label: str) -> str:
    """Return the name of a job with ``key``."""
    word = re.sub(r"[^A-Z0-9_]", "", label.upper())
    return f"{key}_{word}"[:NAME].rstrip("_")


def split(headers: Sequence[Row], key: str) -> Known:
    """Sort the job headers of a name mask into jobs and marks; others that begin alike are left out."""
    marks = frozenset(
        suffix for suffix in (ASKED, REMOVED) if any(text(row, "JOBNAME") == key + suffix for row in headers)
    )
    jobs = [row for row in headers if text(row, "JOBNAME") == key or text(row, "JOBNAME").startswith(f"{key}_")]
    return Known(tuple(jobs), marks)


def handle_of(row: Row, key: str) -> JobHandle:
    """Return the handle of a job; :raises ValueError: when the row names none."""
    name, count = text(row, "JOBNAME"), text(row, "JOBCOUNT")
    if not name or not count:
        raise ValueError("SAP's answer has no JOBNAME and JOBCOUNT")
    return JobHandle(key, count, name)


def order_of(row: Row) -> str:
    """Return what sorts jobs by when they were created: JOBCOUNT is a time of day and breaks ties."""
    return "|".join(text(row, name) for name in ("SDLDATE", "SDLTIME", "JOBCOUNT"))


def status_of(letter: str) -> JobStatus | None:
    """Return the state that SAP's letter means (TBTCO-STATUS); None when it tells nothing."""
    if letter == "P":
        return JobStatus(Phase.HELD, "scheduled, not released")
    if letter in _WAITS:
        return JobStatus(Phase.WAITING, _WAITS[letter])
    if letter == "R":
        return JobStatus(Phase.RUNNING)
    return JobStatus(Phase.ENDED) if letter in ("F", "A") else None


def result_of(header: Row, zone: ZoneInfo, *, rc: int | None, asked: bool, why: str) -> JobResult:
    """Return how a job ended.

    :param rc: the application return code, None when the program set none.
    :param asked: its cancel was asked for before.
    :param why: the line of the job log that tells why it broke.
    """
    letter = text(header, "STATUS")
    started = moment(text(header, "STRTDATE"), text(header, "STRTTIME"), zone)
    ended = moment(text(header, "ENDDATE"), text(header, "ENDTIME"), zone)
    if letter == "F":
        # F says that each step went through; that is return code 0 unless the program says otherwise.
        code = "finished" if rc is None else f"finished, RC {rc}"
        return JobResult(Ending.COMPLETED, code, rc or 0, started, ended)
    if letter == "A":
        ending = Ending.CANCELLED if asked else Ending.ABENDED
        return JobResult(ending, "cancelled" if asked else "aborted", rc, started, ended, why)
    return JobResult(Ending.UNKNOWN, letter, detail=f"the job's status is {letter or 'not known'}, it has not ended")


def moment(date: str, time: str, zone: ZoneInfo) -> datetime | None:
    """Return an ABAP date and time as aware UTC; None for initial ones.

    Classic RFC gives ``20261123`` and ``153000``, SOAP ``2026-11-23`` and ``15:30:00``.
    """
    digits = re.sub(r"\D", "", date) + re.sub(r"\D", "", time).ljust(6, "0")
    if len(digits) != 14 or digits.startswith("00000000"):
        return None
    try:
        local = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=zone)
    except ValueError:
        return None
    return local.astimezone(UTC)


def log_line(row: Row) -> str:
    """Return one line of a job log, as SM37 shows it."""
    when = f"{text(row, 'ENTERDATE')} {text(row, 'ENTERTIME')}".strip()
    message = f"{text(row, 'MSGID')}/{text(row, 'MSGNO')}" if text(row, "MSGID") else ""
    dump = f" [dump {text(row, 'RABAXKEY')}]" if text(row, "RABAXKEY") else ""
    return " ".join(part for part in (when, text(row, "MSGTYPE"), message, text(row, "TEXT")) if part) + dump


def telling(log: Sequence[Row]) -> str:
    """Return the line that says why a job broke: the last message of type A or E."""
    bad = [row for row in log if text(row, "MSGTYPE") in ("A", "E", "X")]
    return log_line(bad[-1]) if bad else ""
