"""What must hold between the keys of a step that waits for a moment, or for another stream."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo

from airflow_enterprise_orch.value_stream.draft import Draft, DraftStep
from airflow_enterprise_orch.value_stream.moments import read_moment
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest, listed
from airflow_enterprise_orch.value_stream.steps_waiting import WaitForStep, WaitStep


def check_wait(draft: Draft, step: DraftStep, path: Path) -> Iterator[Problem]:
    """Check that it says when, once, and nothing that has no effect."""
    wait = step.model
    if not isinstance(wait, WaitStep):
        return
    document = draft.document
    said = [key for key, value in (("time", wait.time), ("at", wait.at), ("for", wait.for_)) if value is not None]
    if not said:
        yield document.problem(path, "it does not say until when", "add time, at or for", key=True)
        return
    if len(said) > 1:
        what = f"it waits for one moment, this has {listed(said)}"
        yield document.problem((*path, said[1]), what, "keep one of them", key=True)
        return
    for key, fits, value in (
        ("days", ("time",), wait.days),
        ("timezone", ("time", "at"), wait.timezone),
        ("if_past", ("time", "at"), wait.if_past),
    ):
        if value and said[0] not in fits:
            yield document.problem((*path, key), f"has no effect with {said[0]!r}", "remove it", key=True)
    if wait.at is not None and wait.if_past == "next_day":
        yield document.problem((*path, "if_past"), "'at' has no next day", "use go_on or fail")
    if wait.timezone is not None and not _is_zone(wait.timezone):
        from zoneinfo import available_timezones

        close, what = closest(wait.timezone, available_timezones()), f"there is no time zone {wait.timezone!r}"
        remedy = "use an IANA name, such as Europe/Berlin"
        yield document.problem((*path, "timezone"), what, remedy, suggestion=close)
    elif wait.at is not None and "{{" not in wait.at and "{%" not in wait.at:
        try:
            read_moment(wait.at, wait.timezone)
        except ValueError as error:
            what, _, remedy = str(error).partition("; ")
            yield document.problem((*path, "at"), what, remedy)


def check_wait_for(draft: Draft, step: DraftStep, path: Path) -> Iterator[Problem]:
    """Check that nothing has no effect, and that it does not wait for itself; the other one ``neighbours`` checks."""
    wait = step.model
    if not isinstance(wait, WaitForStep):
        return
    document = draft.document
    given = document.get(path)
    if wait.key is not None and "offset" in given:
        yield document.problem((*path, "offset"), "has no effect with 'key'", "remove it", key=True)
    if wait.within is None and "on_timeout" in given:
        what = "has no effect without 'within'"
        yield document.problem((*path, "on_timeout"), what, "add within, such as 2h", key=True)
    if wait.stream == document.get(("value_stream",)) and wait.key is None and wait.offset >= 0:
        when = "of a later day" if wait.offset else "of the same day"
        what = f"the stream would wait for its own instance {when}, which may wait for this one"
        yield document.problem((*path, "stream"), what, "name another stream, or an earlier day: offset: -1")


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True
