"""Business calendars: a YAML file -> the working days of the years that it covers.

A calendar says by itself which years it covers: were it reckoned from today, the same text would be another DAG
tomorrow. Holidays by country or market come from the library ``holidays``, once, when a template is read; its data
change with its releases, so the release that is installed is part of what a calendar means.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache
from importlib import import_module
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from pydantic import Field

from airflow_enterprise_orch.value_stream.beside import Beside
from airflow_enterprise_orch.value_stream.messages import kind_of
from airflow_enterprise_orch.value_stream.model_types import Day, Identifier, Line, Part, Text
from airflow_enterprise_orch.value_stream.notes import Notes
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest, listed, template_error
from airflow_enterprise_orch.value_stream.template_folder import CALENDARS, read_file
from airflow_enterprise_orch.value_stream.yaml_source import decode, read_yaml
from airflow_enterprise_orch.working_days import WEEKDAYS, WorkingDays

MAX_YEARS = 30
MAX_CHAIN = 8
SOON = timedelta(days=183)


Days = Annotated[tuple[Day, ...], Field(strict=False)]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Year = Annotated[int, Field(ge=1970, le=2200)]


class Holidays(Part):
    """The public holidays of a country, or those of a market."""

    country: Line | None = Field(None, description="A country by its ISO 3166 code: DE.")
    subdivision: Line | None = Field(None, description="A part of the country by its ISO 3166-2 code, without DE-: BY.")
    market: Line | None = Field(
        None, description="Instead of a country a market by its code: XECB, the days on which TARGET is closed."
    )
    categories: Annotated[tuple[Line, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="The kinds of holidays that count, as the country has them; by default public ones."
    )


class CalendarFile(Part):
    """Which days are worked."""

    calendar: Identifier = Field(description="The calendar's name, which is also its file's: banking_days.")
    title: Line | None = Field(None, description="Its name for people.")
    description: Text | None = Field(None, description="What it is for.")
    first_year: Year | None = Field(None, alias="from", description="The first year that it covers.")
    last_year: Year | None = Field(None, alias="to", description="The last year that it covers. Nothing runs after it.")
    weekend: Annotated[tuple[Weekday, ...], Field(strict=False)] | None = Field(
        None, description="The days of the week that are closed; by default Saturday and Sunday, [] for none."
    )
    holidays: Holidays | None = Field(None, description="Holidays of a country or of a market, which are closed.")
    closed: Days = Field((), description="More days that are closed.")
    open: Days = Field((), description="Days that are worked although they would be closed.")
    extends: Identifier | None = Field(
        None, description="Another calendar: what it has closed is closed here too, unless it is named under open."
    )


def working_days(name: str, beside: Beside) -> WorkingDays | None:
    """Return the working days of a calendar beside a template; None when there is no such calendar.

    :raises TemplateError: with what is wrong in the calendar's file, or in one that it extends.
    """
    path = beside.find(CALENDARS, name)
    return _resolved(path, beside, (name,)) if path is not None else None


def check_calendar(path: FilePath, root: FilePath | None = None) -> WorkingDays:
    """Read one calendar's file; :raises TemplateError: with what is wrong with it."""
    # Its folder is named for what it holds: what it extends lies in the same one, or in one of that name above.
    return _resolved(
        path.absolute(), Beside.of(path.parent if path.parent.name else path.absolute().parent, root), (path.stem,)
    )


def ends_soon(path: FilePath, days: WorkingDays, today: date) -> Problem | None:
    """Say that a right calendar's years are over within half a year; None when they are not."""
    if days.last >= today + SOON:
        return None
    document = read_yaml(decode(path.read_bytes(), str(path)), str(path))
    over = "ended" if days.last < today else "ends"
    what = f"the calendar {over} on {days.last}, and no stream that uses it runs after that day"
    return document.problem(("to",), what, "let it cover more years, and check its own closed days for them")


def _resolved(path: FilePath, beside: Beside, chain: tuple[str, ...]) -> WorkingDays:
    file = beside.name(path)
    content = read_file(path, file)
    if not content.strip():
        what, remedy = "the file is empty", "begin with calendar: and a name"
        raise template_error([Problem(file, 1, 1, "calendar", what, "", remedy)])
    notes = Notes(read_yaml(decode(content, file), file))
    data = notes.document.data
    if not isinstance(data, dict):
        notes.add((), f"a calendar must hold keys, not {kind_of(data)}", "begin with calendar: and a name")
        raise template_error(notes.problems)
    model: CalendarFile | None = notes.validate(CalendarFile, data, {}, ())
    if model is not None:
        _check(notes, model, path.stem)
    found = _work_out(notes, model, beside, chain) if model is not None else None
    if found is None or notes.problems:
        raise template_error(problem for problem in notes.problems if notes.is_news(problem))
    return found


def _check(notes: Notes, model: CalendarFile, stem: str) -> None:
    if model.calendar != stem:
        remedy = f"rename the file to {model.calendar}.yaml, or the calendar to {stem}"
        notes.add(("calendar",), f"the file is named {stem!r}, and the calendar {model.calendar!r}", remedy)
    for key, value in (("from", model.first_year), ("to", model.last_year)):
        if value is None and model.extends is None:
            remedy = "say which years the calendar covers, such as from: 2026 and to: 2030"
            notes.add(("calendar",), f"the key {key!r} is missing", remedy, key=True)
    first, last = model.first_year, model.last_year
    if first is not None and last is not None:
        if first > last:
            notes.add(("to",), f"the last year {last} is before the first year {first}", "correct one of them")
        elif last - first >= MAX_YEARS:
            notes.add(("to",), f"the calendar covers more than {MAX_YEARS} years", "let it end earlier")
    if model.weekend is not None:
        if len(set(model.weekend)) == len(WEEKDAYS):
            notes.add(("weekend",), "no day of the week is left to work on", "leave out the days that are worked")
        for index, day in enumerate(model.weekend):
            if day in model.weekend[:index]:
                notes.add(("weekend", index), f"{day!r} is here twice", "remove one of them")
    for key, days, others in (("closed", model.closed, ()), ("open", model.open, model.closed)):
        for index, one in enumerate(days):
            if one in days[:index]:
                notes.add((key, index), f"{one} is here twice", "remove one of them")
            elif one in others:
                notes.add((key, index), f"{one} is both closed and open", "remove one of them")
    if model.holidays is not None:
        _check_holidays(notes, model.holidays)


def _check_holidays(notes: Notes, holidays: Holidays) -> None:
    here: Path = ("holidays",)
    if (holidays.country is None) == (holidays.market is None):
        notes.add(here, "holidays are those of a country or of a market", "give either country or market", key=True)
        return
    try:
        library: Any = import_module("holidays")
    except ModuleNotFoundError:
        remedy = "pip install 'airflow-enterprise-orch[calendars]'"
        notes.add(here, "holidays need the package 'holidays', which is not installed", remedy, key=True)
        return
    kind, code = ("country", holidays.country) if holidays.country is not None else ("market", holidays.market)
    known = library.list_supported_countries() if kind == "country" else library.list_supported_financial()
    if code not in known:
        upper = str(code).upper()
        suggestion = upper if upper in known else closest(str(code), known)
        remedy = "use its ISO 3166 code, such as DE" if kind == "country" else "use its code, such as XECB"
        notes.add((*here, kind), f"no holidays are known of the {kind} {code!r}", remedy, suggestion=suggestion)
        return
    own = type(library.country_holidays(code) if kind == "country" else library.financial_holidays(code))
    if holidays.subdivision is not None:
        parts = own.subdivisions
        if kind == "market":
            notes.add((*here, "subdivision"), "a market has no subdivisions", "remove it", key=True)
        elif holidays.subdivision not in parts:
            suggestion = closest(holidays.subdivision, parts)
            remedy = f"known are {listed(sorted(parts))}" if parts else f"{code} has none: remove it"
            what = f"{code} has no subdivision {holidays.subdivision!r}"
            notes.add((*here, "subdivision"), what, remedy, suggestion=suggestion)
    for index, category in enumerate(holidays.categories or ()):
        if category not in own.supported_categories:
            remedy = f"known are {listed(sorted(own.supported_categories))}"
            suggestion = closest(category, own.supported_categories)
            what = f"{code} has no holidays of the kind {category!r}"
            notes.add((*here, "categories", index), what, remedy, suggestion=suggestion)


def _work_out(notes: Notes, model: CalendarFile, beside: Beside, chain: tuple[str, ...]) -> WorkingDays | None:
    """Return the working days; None after noting why there are none."""
    base: WorkingDays | None = None
    if model.extends is not None:
        base = _base(notes, model.extends, beside, chain)
        if base is None:
            return None
    if notes.problems:
        return None
    first_year = model.first_year if model.first_year is not None else base.first.year if base is not None else 0
    last_year = model.last_year if model.last_year is not None else base.last.year if base is not None else 0
    first, last = date(first_year, 1, 1), date(last_year, 12, 31)
    if base is not None and not (base.knows(first) and base.knows(last)):
        key = "from" if not base.knows(first) else "to"
        what = f"calendar {base.name!r}, which this one extends, covers {base.first.year} to {base.last.year} only"
        notes.add((key,), what, f"let that calendar cover {first_year} to {last_year} as well")
        return None
    weekend = base.weekend if base is not None else frozenset((5, 6))
    if model.weekend is not None:
        weekend = frozenset(map(WEEKDAYS.index, model.weekend))
    for key, days in (("closed", model.closed), ("open", model.open)):
        for index, day in enumerate(days):
            if not first <= day <= last:
                what = f"{day} is outside the years {first_year} to {last_year} that the calendar covers"
                notes.add((key, index), what, "correct it, or the years")
    closed = set(model.closed)
    opened = set(model.open)
    if model.holidays is not None:
        closed |= _holidays(notes, model.holidays, first_year, last_year) - opened
    if base is not None:
        closed |= base.closed - opened
        opened |= base.opened - closed
    closed, opened = ({day for day in days if first <= day <= last} for days in (closed, opened))
    return WorkingDays(
        model.calendar,
        first,
        last,
        weekend,
        frozenset(closed),
        frozenset(opened),
    )


def _base(notes: Notes, name: str, beside: Beside, chain: tuple[str, ...]) -> WorkingDays | None:
    if name in chain:
        way = " -> ".join((*chain[chain.index(name) :], name))
        notes.add(("extends",), f"the calendars extend one another in a circle: {way}", "remove one of these links")
        return None
    if len(chain) >= MAX_CHAIN:
        notes.add(("extends",), f"more than {MAX_CHAIN} calendars extend one another", "make it flatter")
        return None
    path = beside.find(CALENDARS, name)
    if path is None:
        others = [other for other in beside.names(CALENDARS) if other not in chain]
        what, remedy, suggestion = unknown_calendar(name, others)
        notes.add(("extends",), what, remedy, suggestion=suggestion)
        return None
    return _resolved(path, beside, (*chain, name))


def unknown_calendar(name: str, known: Sequence[str]) -> tuple[str, str, str]:
    """Say that there is no such calendar: what is wrong, what to do, what was probably meant."""
    remedy = f"known are {listed(known)}" if known else f"write it into {CALENDARS}/{name}.yaml beside the template"
    return f"there is no calendar {name!r}", remedy, closest(name, known)


def _holidays(notes: Notes, holidays: Holidays, first: int, last: int) -> set[date]:
    code = holidays.country if holidays.country is not None else holidays.market
    kind = "country" if holidays.country is not None else "market"
    known, days = _looked_up(kind, str(code), holidays.subdivision, holidays.categories, first, last)
    if not known[0] <= first <= last <= known[1]:
        what = f"the holidays of {code} are known from {known[0]} to {known[1]} only"
        notes.add(("holidays",), what, "let the calendar cover fewer years", key=True)
    return set(days)


@lru_cache(maxsize=256)
def _looked_up(
    kind: str, code: str, subdivision: str | None, categories: tuple[str, ...] | None, first: int, last: int
) -> tuple[tuple[int, int], frozenset[date]]:
    library: Any = import_module("holidays")
    make = library.country_holidays if kind == "country" else library.financial_holidays
    part = {"subdiv": subdivision} if subdivision is not None else {}
    # Some holidays are made up for on a day of the year before or after.
    found = make(code, years=range(first - 1, last + 2), categories=categories, **part)
    days = frozenset(day for day in found if first <= day.year <= last)
    return (found.start_year, found.end_year), days
