"""What an alert says: one pure function from what is known to a subject, a text, HTML and JSON.

Everything that comes from outside (a business key, a reason that a remote system gave) may be hostile: a subject is one
line, HTML is escaped, all of it is clipped, and nothing is ever a template.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

MESSAGE_VERSION = 1
"""Of the JSON that webhooks get; keys may be added to a version, none changes its meaning or goes."""
LONGEST_SUBJECT = 180
LONGEST_NAME = 250
LONGEST_REASON = 2000

WORDS: Mapping[str, str] = {
    "failed": "failed",
    "late": "is late",
    "waiting": "waits for an answer",
    "ambiguous": "needs a person to look",
    "released": "goes on",
}
NEXT: Mapping[str, str] = {
    "failed": "Put right what the reason names, then clear the step in Airflow: the instance goes on from there.",
    "late": "See in Airflow where the instance stands, and tell those who wait for it.",
    "waiting": "Answer in Airflow under Required Actions.",
    "ambiguous": "Look in the system itself whether the job ran, then answer in Airflow under Required Actions. "
    "Nothing is handed over again until somebody answers.",
    "released": "Nothing: it is told because you were told that it stood still.",
}
"""What to do next, by event."""
WORDS_PROPOSING = "proposes where to go on"
"""Of a branch that leaves people time to have it otherwise."""
WORDS_UNDOING: Mapping[str, str] = {
    "failed": "could not be undone",
    "waiting": "is being undone, and waits for an answer",
    "ambiguous": "is being undone, and needs a person to look",
    "released": "is being undone, and goes on",
}
"""Of the task that undoes a step; the others that tell of steps have no such events."""
NEXT_UNDOING = (
    "What the step did still stands. Put right what the reason names, then clear in Airflow only the task that undoes "
    "the step; or undo it by hand, and mark that task as a success."
)
"""What to do next when a step could not be undone."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A remote job at which an instance stands.

    :param step: the id of its step, or of the task that undoes it.
    :param system: the step type.
    :param job_id: what the remote system calls it.
    :param item: of a step that is done for each item of a list the item; else "".
    """

    step: str
    system: str
    connection: str
    job_id: str
    item: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """What is known of one thing that people are to be told. No secret, no stack trace.

    :param event: a key of :data:`WORDS`.
    :param stream: the stream's id.
    :param title: its name for people.
    :param key: the instance's business key.
    :param step: the step's id; "" for the instance as a whole.
    :param undoing: it tells of the undoing of the step.
    :param system: the step type: ``mainframe.job``.
    :param job_id: what the remote system calls the job.
    :param open_jobs: of what is late, the other jobs at which the instance stands.
    :param since: since when it is so; aware.
    :param due: when the instance, or the step, must be over; aware.
    :param override_until: of a branch that proposes its way, until when a person may have it otherwise; aware.
    :param timezone: in which times are told beside UTC.
    :param link: into Airflow's user interface.
    :param alert_id: the same when the same alert is sent twice.
    """

    event: str
    severity: str
    stream: str
    title: str
    domain: str
    owner: str
    key: str
    run_id: str
    reason: str
    since: datetime
    alert_id: str
    step: str = ""
    step_title: str = ""
    system: str = ""
    connection: str = ""
    job_id: str = ""
    due: datetime | None = None
    timezone: str = "UTC"
    link: str = ""
    undoing: bool = False
    open_jobs: tuple[OpenJob, ...] = ()
    override_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """An alert, said."""

    subject: str
    text: str
    html: str
    data: dict[str, Any]


def render(alert: Alert) -> Message:
    """Say an alert."""
    known: dict[str, Any] = asdict(alert)
    shown = {name: one_line(value) if isinstance(value, str) else value for name, value in known.items()}
    shown["open_jobs"] = [{name: one_line(value) for name, value in job.items()} for job in known["open_jobs"]]
    shown["reason"] = clipped(" ".join(_CONTROL.sub(" ", alert.reason).split()), LONGEST_REASON)
    what = _words(alert)
    whose = f"{shown['title']} {shown['key']}"
    step = f": {shown['step_title'] or shown['step']}" if alert.step else ""
    subject = clipped(f"[{shown['severity']}] {whose}{step} {what}", LONGEST_SUBJECT)
    headline = f"{whose}{step} {what}."
    lines = list(_lines(alert, shown))
    width = max(len(name) for name, _ in lines) + 1
    text = "\n".join([headline, "", *(f"{name + ':':{width}} {value}" for name, value in lines), ""])
    rows = "".join(
        f'<tr><th align="left" valign="top">{escape(name)}</th><td>{_cell(name, value)}</td></tr>'
        for name, value in lines
    )
    html = f'<p><strong>{escape(headline)}</strong></p><table cellpadding="4">{rows}</table>'
    return Message(subject, text, html, _data(alert, shown))


def _lines(alert: Alert, shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Business key", shown["key"]
    yield "Stream", f"{shown['title']} ({shown['domain']}; owner {shown['owner']})"
    if alert.step:
        yield "Step", shown["step_title"] or shown["step"]
    if alert.system:
        yield "System", f"{shown['system']}, connection {shown['connection']}"
    if shown["job_id"]:
        yield "Remote job", shown["job_id"]
    for job in shown["open_jobs"]:
        whose = f"{job['step']}, item {job['item']}" if job["item"] else job["step"]
        yield "Remote job", f"{job['job_id']} of {whose} ({job['system']}, connection {job['connection']})"
    if shown["reason"]:
        yield "Reason", shown["reason"]
    yield "Since", moment(alert.since, alert.timezone)
    if alert.due is not None:
        yield "Due", moment(alert.due, alert.timezone)
    yield "What to do", _next(alert)
    if alert.link:
        yield "In Airflow", shown["link"]


def _words(alert: Alert) -> str:
    if alert.override_until is not None:
        return WORDS_PROPOSING
    return (WORDS_UNDOING if alert.undoing else WORDS)[alert.event]


def _next(alert: Alert) -> str:
    if alert.override_until is not None:
        which = [one_line(alert.key), alert.step, "--stream", alert.stream, "--run", one_line(alert.run_id)]
        command = shlex.join(["enterprise-orch", "override", *which])
        return (
            f"Nothing, where that is right. Else override it before {moment(alert.override_until, alert.timezone)}: on "
            f"the instance's page, under Streams in Airflow, or with: {command} --to STEP --reason WHY"
        )
    return NEXT_UNDOING if alert.undoing and alert.event == "failed" else NEXT[alert.event]


def _cell(name: str, value: str) -> str:
    safe = escape(value)
    # Only our own link is one: what a remote system says never becomes something to click on.
    return (
        f'<a href="{safe}">{safe}</a>' if name == "In Airflow" and value.startswith(("https://", "http://")) else safe
    )


def _data(alert: Alert, shown: Mapping[str, Any]) -> dict[str, Any]:
    step = {name: shown[name] for name in ("system", "connection", "job_id", "undoing")}
    return {
        "version": MESSAGE_VERSION,
        "id": alert.alert_id,
        "event": alert.event,
        "severity": alert.severity,
        "summary": f"{shown['title']} {shown['key']}{': ' + shown['step'] if alert.step else ''} {_words(alert)}",
        "stream": {"id": alert.stream, **{name: shown[name] for name in ("title", "domain", "owner")}},
        "instance": {"key": shown["key"], "run_id": shown["run_id"]},
        "step": {"id": alert.step, "title": shown["step_title"] or alert.step, **step} if alert.step else None,
        "open_jobs": shown["open_jobs"],
        "reason": shown["reason"],
        "since": alert.since.astimezone(UTC).isoformat(),
        "due": _utc(alert.due),
        "override_until": _utc(alert.override_until),
        "next": _next(alert),
        "link": shown["link"],
    }


def _utc(when: datetime | None) -> str | None:
    return when.astimezone(UTC).isoformat() if when is not None else None


def moment(when: datetime, timezone: str) -> str:
    """Return a moment as people of a time zone read it, and in UTC where that is another."""
    utc = when.astimezone(UTC)
    if timezone == "UTC":
        return f"{utc:%Y-%m-%d %H:%M} UTC"
    return f"{when.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M} {timezone} ({utc:%H:%M} UTC)"


def one_line(text: str) -> str:
    """Return a text without line breaks and other characters that a header or a terminal would obey; clipped."""
    return clipped(" ".join(_CONTROL.sub(" ", text).split()), LONGEST_NAME)


def clipped(text: str, length: int) -> str:
    """Return the beginning of a long text."""
    return text if len(text) <= length else f"{text[: length - 3]}..."
