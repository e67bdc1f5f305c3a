"""What must hold in a template's schedule, its calendar included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from importlib import import_module
from typing import Any, cast
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from airflow_enterprise_orch.delegation.arrivals import watchable
from airflow_enterprise_orch.delegation.system import step_type
from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.calendars import unknown_calendar, working_days
from airflow_enterprise_orch.value_stream.draft import Draft
from airflow_enterprise_orch.value_stream.model import Param
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest, listed
from airflow_enterprise_orch.value_stream.schedule import FACT_TYPES, LONGEST, FileArrival, Schedule, recurrence
from airflow_enterprise_orch.value_stream.template_folder import CALENDARS

STARTS = ("cron", "every", "days", "assets", "file_arrival")
EVENTS = ("assets", "file_arrival")
TIMES = ("catch_up", "since")
"""Keys that only a time gives a meaning."""
HERE: Path = ("schedule",)


def check_schedule(draft: Draft, params: Mapping[str, Param]) -> Iterator[Problem]:
    """Check cron, time zone and calendar, that they go together, and that a run can start by itself."""
    document = draft.document
    schedule = document.get(HERE)
    if not isinstance(schedule, dict):
        return
    problems = [*_check_texts(draft, schedule), *_check_together(draft, schedule), *_check_calendar(draft, schedule)]
    problems += _check_files(draft, schedule, params)
    yield from problems
    for name, param in params.items():
        if param.required:
            what = f"the stream has a schedule, but param {name!r} has no default"
            yield document.problem(("params", name), what, "add a default, or remove the schedule", key=True)
    if not problems:
        yield from _check_runs(draft, schedule)


def _check_texts(draft: Draft, schedule: Mapping[str, Any]) -> Iterator[Problem]:
    document = draft.document
    cron, timezone = schedule.get("cron"), schedule.get("timezone")
    if isinstance(cron, str) and not _is_cron(cron):
        yield document.problem(
            (*HERE, "cron"),
            f"{cron!r} is no cron expression",
            "write five fields: minute, hour, day, month, weekday",
        )
    if isinstance(timezone, str) and not _is_timezone(timezone):
        from zoneinfo import available_timezones

        suggestion = closest(timezone, available_timezones())
        yield document.problem(
            (*HERE, "timezone"),
            f"there is no time zone {timezone!r}",
            "use an IANA name, such as Europe/Berlin",
            suggestion=suggestion,
        )


def _check_together(draft: Draft, schedule: Mapping[str, Any]) -> Iterator[Problem]:
    """Check which keys stand beside which."""
    document = draft.document
    starts = [key for key in STARTS if key in schedule]
    if not starts:
        remedy = f"add one of {listed(STARTS, 'or')}"
        yield document.problem(HERE, "the schedule does not say when runs start", remedy, key=True)
        return
    for key in starts[1:]:
        what = f"a schedule has one of {listed(STARTS, 'or')}, this one has {listed(starts)}"
        yield document.problem((*HERE, key), what, "remove all but one", key=True)
    start = starts[0]
    if start == "days":
        for key, remedy in (("time", "add it, such as time: 18:00"), ("calendar", "name the calendar that counts")):
            if key not in schedule:
                yield document.problem(HERE, f"the key {key!r} is missing, which 'days' needs", remedy, key=True)
    elif "time" in schedule:
        yield document.problem((*HERE, "time"), f"has no effect with {start!r}", "remove it", key=True)
    if start != "assets" and "match" in schedule:
        yield document.problem((*HERE, "match"), f"has no effect with {start!r}", "remove it", key=True)
    for key in TIMES if start in EVENTS else ():
        if key in schedule:
            what = f"has no effect with {start!r}: their events start a run at any time"
            if start == "file_arrival":
                what = "has no effect with 'file_arrival': files start a run at any time"
            yield document.problem((*HERE, key), what, "remove it", key=True)
    assets = schedule["assets"] if isinstance(schedule.get("assets"), list) else []
    for index, name in enumerate(assets):
        if name in assets[:index]:
            yield document.problem((*HERE, "assets", index), f"{name!r} is here twice", "remove one of them")
    if "on_closed" in schedule:
        if start != "cron":
            yield document.problem((*HERE, "on_closed"), f"has no effect with {start!r}", "remove it", key=True)
        elif "calendar" not in schedule:
            what = "has no effect without 'calendar'"
            yield document.problem((*HERE, "on_closed"), what, "add calendar, or remove it", key=True)
    if start not in EVENTS and schedule.get("catch_up") == "all" and "since" not in schedule:
        what = "all missed runs cannot be made up for without a first day"
        yield document.problem((*HERE, "catch_up"), what, "add since, such as since: 2026-01-01")


def _check_files(draft: Draft, schedule: Mapping[str, Any], params: Mapping[str, Param]) -> Iterator[Problem]:
    """Check what files start a run, by the model of the step that waits for such files, and which params they fill."""
    body, document = schedule.get("file_arrival"), draft.document
    here: Path = (*HERE, "file_arrival")
    try:
        arrival = FileArrival.model_validate(body)
    except ValidationError:
        return  # told already, or there is none
    registration = watchable()
    if registration is None:
        what = "no system is installed whose files can start a run"
        yield document.problem(here, what, "install airflow-enterprise-orch[fileshare]", key=True)
        return
    if arrival.stable is not None and arrival.marker is not None:
        yield document.problem((*here, "stable"), "has no effect with 'marker'", "remove it", key=True)
    given = {name: getattr(arrival, name) for name in ("pattern", "folder", "marker")}
    texts = {name: value for name, value in given.items() if value is not None}
    try:
        step_type(registration.arrivals)[1].work_model().model_validate(texts, context={"rendered": True})
    except ValidationError as error:
        for one in error.errors():
            said = str(one["ctx"]["error"]) if "error" in one.get("ctx", {}) else one["msg"]
            yield document.problem((*here, *one["loc"]), said, "correct it")
    for name, value in texts.items():
        if "{{" in value or "{%" in value:
            what = "no Jinja is filled in here: the files are looked for before there is an instance"
            yield document.problem((*here, name), what, "write it out, or take it from a profile: {{ values.<name> }}")
    for name, fact in arrival.params.items():
        if name not in params:
            what, close = f"there is no param {name!r}", closest(name, params)
            yield document.problem((*here, "params", name), what, "declare it", suggestion=close, key=True)
        elif params[name].type not in FACT_TYPES[fact]:
            what = f"the {fact} of a file is of type {listed(FACT_TYPES[fact], 'or')}, param {name!r} is of another"
            yield document.problem((*here, "params", name), what, "correct one of them")


def _check_calendar(draft: Draft, schedule: Mapping[str, Any]) -> Iterator[Problem]:
    name = schedule.get("calendar")
    if isinstance(name, str):
        yield from resolve_calendar(draft, name, (*HERE, "calendar"))


def resolve_calendar(draft: Draft, name: str, path: Path) -> Iterator[Problem]:
    """Find a calendar by the name that stands at ``path``; in ``draft.calendars`` it is known then."""
    if name in draft.calendars:
        return
    if draft.beside is None:
        what = "a template that is no file has no calendars beside it"
        yield draft.document.problem(path, what, f"save it beside a folder {CALENDARS}")
        return
    try:
        found = working_days(name, draft.beside)
    except TemplateError as error:
        yield from cast("tuple[Problem, ...]", error.problems)
        return
    if found is None:
        what, remedy, suggestion = unknown_calendar(name, draft.beside.names(CALENDARS))
        yield draft.document.problem(path, what, remedy, suggestion=suggestion)
        return
    draft.calendars[name] = found


def _check_runs(draft: Draft, raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Check that a schedule whose keys are right ever starts a run."""
    try:
        schedule = Schedule.model_validate(raw)
    except ValidationError:
        return  # told already
    document = draft.document
    if schedule.every is not None and schedule.every < timedelta(minutes=1):
        yield document.problem((*HERE, "every"), "runs cannot start more often than once a minute", "write 1m or more")
    elif schedule.days is not None and not 1 <= abs(schedule.days.nth) <= LONGEST[schedule.days.of]:
        what = f"a {schedule.days.of} has no working day number {schedule.days.nth}"
        yield document.problem((*HERE, "days", "nth"), what, "count from 1, or from -1 at its end")
    else:
        found = recurrence(schedule, draft.calendars)
        if found is not None and found.after(found.start) is None:
            yield document.problem(HERE, "it never starts a run", "correct it, its calendar, or since", key=True)


def _is_cron(text: str) -> bool:
    # What Airflow's timetables use; imported when needed, because few templates have a schedule.
    croniter = import_module("croniter").croniter
    return len(text.split()) == 5 and bool(croniter.is_valid(text))


def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True
