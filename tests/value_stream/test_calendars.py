"""Business calendars: files that are right, and the exact messages for those that are wrong.

How a user would notice that it is fake: a holiday is worked; a day that was opened stays closed; a calendar's years end
and runs go on as if nothing were closed; another release of the library changes a DAG that nobody touched; a typo in a
calendar is told without its place, or only when the scheduler reads it.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.beside import Beside, unchanged
from airflow_enterprise_orch.value_stream.calendars import check_calendar, ends_soon, working_days
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.working_days import WorkingDays

HERE = Path(__file__).parent
FOLDER = HERE / "bad_calendars" / "calendars"
BAD = sorted(path for path in FOLDER.glob("*.yaml") if path.stem != "fine")


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_calendar_says_exactly_what_is_wrong(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER.parent)
    with pytest.raises(TemplateError) as caught:
        check_calendar(path.relative_to(FOLDER.parent))
    assert str(caught.value) + "\n" == path.with_suffix(".expected").read_text()
    lines = path.read_text().splitlines() or [""]
    for problem in caught.value.problems:
        assert problem.file in (f"calendars/{other.name}" for other in FOLDER.glob("*.yaml"))
        assert problem.remedy
        assert 1 <= problem.line <= len(lines)


def calendar(folder: Path, name: str, text: str) -> Path:
    path = folder / "calendars" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"calendar: {name}\n{text}")
    return path


def test_weekends_holidays_and_own_days_are_closed_unless_opened(tmp_path: Path) -> None:
    text = "from: 2026\nto: 2027\nholidays: {country: DE, subdivision: BY}\nclosed: [2026-12-24]\n"
    days = check_calendar(calendar(tmp_path, "bavaria", text + "open: [2026-01-06, 2026-02-28]\n"))
    closed = {
        "a Saturday": date(2026, 5, 9),
        "Corpus Christi, in Bavaria only": date(2026, 6, 4),
        "Good Friday": date(2026, 4, 3),
        "its own": date(2026, 12, 24),
    }
    assert {name: days.is_open(day) for name, day in closed.items()} == dict.fromkeys(closed, False)
    assert days.is_open(date(2026, 1, 6)), "Epiphany was opened"
    assert days.is_open(date(2026, 2, 28)), "a Saturday was opened"
    assert days.is_open(date(2026, 12, 23))
    assert (days.first, days.last) == (date(2026, 1, 1), date(2027, 12, 31))


def test_a_market_has_days_of_its_own(tmp_path: Path) -> None:
    days = check_calendar(calendar(tmp_path, "target", "from: 2026\nto: 2026\nholidays: {market: XECB}\n"))
    assert not days.is_open(date(2026, 4, 6)), "Easter Monday: TARGET is closed"
    assert days.is_open(date(2026, 10, 26)), "a holiday in Austria is a TARGET day"


def test_holidays_made_up_for_in_the_year_before_count(tmp_path: Path) -> None:
    days = check_calendar(calendar(tmp_path, "us", "from: 2021\nto: 2021\nholidays: {country: US}\n"))
    assert not days.is_open(date(2021, 12, 31)), "New Year's Day 2022 is a Saturday"


def test_one_calendar_extends_another(tmp_path: Path) -> None:
    calendar(tmp_path, "base", "from: 2026\nto: 2027\nclosed: [2026-03-02, 2026-03-07, 2026-03-03]\n")
    path = calendar(
        tmp_path, "own", "extends: base\nweekend: [friday, sunday]\nclosed: [2026-03-04]\nopen: [2026-03-03]\n"
    )
    days = check_calendar(path)
    assert [day.day for day in days.among(date(2026, 3, 1), date(2026, 3, 8))] == [3, 5]


def test_a_day_outside_the_years_is_not_guessed(tmp_path: Path) -> None:
    days = check_calendar(calendar(tmp_path, "short", "from: 2026\nto: 2026\n"))
    with pytest.raises(LookupError, match="covers 2026-01-01 to 2026-12-31, not 2027-01-04"):
        days.is_open(date(2027, 1, 4))
    assert days.next_open(date(2027, 1, 1)) is None
    assert days.previous_open(date(2025, 12, 31)) is None


def test_the_json_form_is_the_same_days(tmp_path: Path) -> None:
    days = check_calendar(calendar(tmp_path, "fr", "from: 2026\nto: 2030\nholidays: {country: FR}\n"))
    assert WorkingDays.from_json(days.to_json()) == days


def test_a_hint_comes_half_a_year_before_the_end(tmp_path: Path) -> None:
    path = calendar(tmp_path, "short", "from: 2026\nto: 2026\n")
    days = check_calendar(path)
    assert ends_soon(path, days, date(2026, 7, 1)) is None
    hint = ends_soon(path, days, date(2026, 7, 2))
    assert hint is not None
    assert (hint.line, hint.where) == (3, "to")
    assert "ends on 2026-12-31" in hint.what


def test_the_nearest_calendar_counts_and_what_was_looked_at_is_noted(tmp_path: Path) -> None:
    far = calendar(tmp_path, "days", "from: 2026\nto: 2027\n")
    sub = tmp_path / "sub"
    sub.mkdir()
    beside = Beside.of(sub / "s.yaml", tmp_path)
    first = working_days("days", beside)
    assert first is not None
    assert set(beside.seen) == {"calendars/days.yaml", "calendars/days.yml", "../calendars/days.yaml"}
    assert unchanged(sub, beside.seen)
    calendar(sub, "days", "from: 2026\nto: 2030\n")
    assert not unchanged(sub, beside.seen), "a nearer calendar of the same name counts now"
    again = working_days("days", Beside.of(sub / "s.yaml", tmp_path))
    assert again is not None
    assert again.last.year == 2030
    far.unlink()
    assert Beside.of(sub / "s.yaml", sub).find("calendars", "days") == sub / "calendars" / "days.yaml"


def test_nothing_above_the_folder_of_all_templates_is_looked_at(tmp_path: Path) -> None:
    calendar(tmp_path, "days", "from: 2026\nto: 2027\n")
    root = tmp_path / "templates"
    root.mkdir()
    assert Beside.of(root / "s.yaml", root).find("calendars", "days") is None
    assert Beside.named(root, "../s.yaml").find("calendars", "days") is None


def test_a_name_of_a_calendar_is_no_path(tmp_path: Path) -> None:
    template = tmp_path / "s.yaml"
    template.write_text(
        "value_stream: s\ntitle: S\nbusiness: {domain: D, owner: o}\n"
        'schedule: {cron: "0 6 * * *", calendar: ../../etc/passwd}\n'
        "steps: {a: {unix.script: {connection: c, command: /bin/true}}}\n"
    )
    with pytest.raises(TemplateError, match="is no id"):
        ValueStream.load(template)
