"""What an engine's documents say of a container, in the words that all systems share. Pure.

Sources: Docker Engine API, ``ContainerList`` and ``ContainerInspect``; moby, ``container/state.go``.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_enterprise_orch.delegation.job import Ending, JobResult, JobStatus, Phase
from airflow_enterprise_orch.systems.container import spec

Document = Mapping[str, Any]

_HEALTH = re.compile(r"\((?:health: )?(starting|healthy|unhealthy)\)")
LOST_CODE = 255
"""What the engine writes when it finds a container ended and nobody can tell how (moby, ``daemon.restore``)."""


def label(document: Document, name: str) -> str:
    """Return a label of a listed or inspected container, "" when it has none."""
    config = document.get("Config")
    found = (config if isinstance(config, Mapping) else document).get("Labels")
    return str(found.get(name) or "") if isinstance(found, Mapping) else ""


def state_of(document: Document) -> Document:
    """Return the ``State`` of an inspected container."""
    state = document.get("State")
    return state if isinstance(state, Mapping) else {}


def listed_status(document: Document) -> JobStatus | None:
    """Return what a list's entry says; None when only an inspect can tell."""
    state = str(document.get("State") or "")
    found = _HEALTH.search(str(document.get("Status") or ""))
    return _live(state, found.group(1) if found else "", instance=label(document, spec.KIND) == spec.INSTANCE)


def inspected_status(document: Document) -> JobStatus:
    """Return what an inspected container's state is."""
    state = state_of(document)
    health = state.get("Health")
    word = str(health.get("Status") or "") if isinstance(health, Mapping) else ""
    name = str(state.get("Status") or "")
    live = _live(name, word, instance=label(document, spec.KIND) == spec.INSTANCE)
    if live is not None:
        return live
    if name == "created":
        failure = start_failure(document)
        return JobStatus(Phase.ENDED, failure) if failure else JobStatus(Phase.HELD, "created, and never started")
    return JobStatus(Phase.ENDED)


def _live(state: str, health: str, *, instance: bool) -> JobStatus | None:
    if state == "running" and instance:
        if health == "healthy":
            return JobStatus(Phase.ENDED, "healthy")
        return JobStatus(Phase.RUNNING, f"health check: {health or 'not begun'}")
    if state == "running":
        return JobStatus(Phase.RUNNING)
    if state == "paused":
        return JobStatus(Phase.RUNNING, "paused by somebody: docker unpause lets it go on")
    if state in ("restarting", "removing"):
        return JobStatus(Phase.RUNNING, state)
    return None


def start_failure(document: Document) -> str:
    """Return why a created container could not be started; "" when nobody tried, or it did start."""
    state = state_of(document)
    if state.get("Status") != "created":
        return ""
    error = " ".join(str(state.get("Error") or "").split())
    code = state.get("ExitCode")
    if not error and code in (0, None):
        return ""
    return error or f"the engine could not start it (exit code {code})"


def result_of(document: Document, *, cancelled: bool) -> JobResult:
    """Return how an inspected container ended.

    :param cancelled: our own record says that its end was asked for: 137 and 143 alone prove nothing.
    """
    state = state_of(document)
    name = str(state.get("Status") or "")
    started, ended = when(state.get("StartedAt")), when(state.get("FinishedAt"))
    if name == "created":
        failure = start_failure(document)
        if failure:
            return JobResult(Ending.REJECTED, "rejected", None, None, None, failure)
        return JobResult(Ending.UNKNOWN, detail="it was created and never started")
    if name == "running" and label(document, spec.KIND) == spec.INSTANCE:
        health = state.get("Health")
        word = str(health.get("Status") or "") if isinstance(health, Mapping) else ""
        if word == "healthy":
            return JobResult(Ending.COMPLETED, "healthy", 0, started, None, "it is left running")
        return JobResult(Ending.UNKNOWN, word, None, started, None, "it is running, but not healthy")
    code = state.get("ExitCode")
    if name != "exited" or not isinstance(code, int):
        return JobResult(Ending.UNKNOWN, name, None, started, None, f"the engine says that it is {name or 'nothing'}")
    instance = label(document, spec.KIND) == spec.INSTANCE
    return _exited(code, state, started, ended, cancelled=cancelled, instance=instance)


def killed_for_unknown_reason(document: Document) -> bool:
    """Say whether a container with a memory limit was killed and the engine has not said (yet) why.

    Its news of the kernel's killing comes apart from the container's end, and at times after it (moby issue 15621).
    """
    state, host = state_of(document), document.get("HostConfig")
    killed = state.get("ExitCode") == 128 + signal.SIGKILL and state.get("OOMKilled") is not True
    return killed and isinstance(host, Mapping) and bool(host.get("Memory"))


def _exited(
    code: int, state: Document, started: datetime | None, ended: datetime | None, *, cancelled: bool, instance: bool
) -> JobResult:
    if started is not None and ended is not None and ended < started:
        started = ended  # of a container that ends at once the engine may note the end before the beginning
    detail = " ".join(str(state.get("Error") or "").split())
    out_of_memory = state.get("OOMKilled") is True
    if code == LOST_CODE and not cancelled:
        # A program may exit with 255 as well. It is a failure both ways, and no outcome rule may call it a success.
        told = "255 is the program's own, or the engine's word for a container that ended while the engine was down"
        return JobResult(Ending.LOST, "exit 255", code, started, ended, detail or told)
    if 128 < code < 128 + signal.NSIG:
        number = code - 128
        if cancelled:
            return JobResult(Ending.CANCELLED, f"signal {number}", code, started, ended, detail)
        if out_of_memory and number == signal.SIGKILL:
            told = "the kernel ended it: more memory than its limit"
            return JobResult(Ending.ABENDED, "out of memory", code, started, ended, told)
        return JobResult(Ending.ABENDED, f"signal {number}", code, started, ended, detail)
    if instance:
        ending = Ending.CANCELLED if cancelled else Ending.ABENDED
        told = detail or "it ended before its health check passed"
        return JobResult(ending, f"exit {code}", code, started, ended, told)
    if cancelled:
        detail = detail or "its end was asked for, and it ended by itself"
    elif out_of_memory:
        detail = detail or "a process in it was ended for lack of memory"
    return JobResult(Ending.COMPLETED, f"exit {code}", code, started, ended, detail)


def when(text: object) -> datetime | None:
    """Read the engine's time (RFC 3339 with nanoseconds); None for its zero, the year 1."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", str(text or ""))
    if found is None or found[1].startswith("0001-"):
        return None
    zone = "+00:00" if found[3] == "Z" else found[3]
    return datetime.fromisoformat(f"{found[1]}{(found[2] or '.0')[:7]:0<7}{zone}").astimezone(UTC)
