"""When a stream will run, and what a calendar says, told on the command line.

How a user would notice that it is fake: the runs told are not those that Airflow starts; a calendar's mistake is told
twice, or not at all; a calendar that ends soon is told by nobody.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine

from airflow_enterprise_orch.cli import main

TEMPLATE = """\
value_stream: month_end
title: Month end
business: {domain: Finance, owner: books}
schedule: {days: last_working_day_of_month, time: "18:00", timezone: Europe/Berlin, calendar: banking}
steps: {a: {unix.script: {connection: c, command: /bin/true}}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "calendars").mkdir()
    calendar = "calendar: banking\nfrom: 2026\nto: 2026\nholidays: {market: XECB}\nopen: [2026-12-26]\n"
    (tmp_path / "calendars" / "banking.yaml").write_text(calendar)
    (tmp_path / "month_end.yaml").write_text(TEMPLATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_next_runs_are_told_and_where_they_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "month_end.yaml", "--from", "2026-10-01"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "month_end: last working day of the month at 18:00 Europe/Berlin, banking",
        "  Fri 2026-10-30 18:00 CET  (2026-10-30 17:00 UTC)",
        "  Mon 2026-11-30 18:00 CET  (2026-11-30 17:00 UTC)",
        "  Thu 2026-12-31 18:00 CET  (2026-12-31 17:00 UTC)",
        "  then no more: calendar banking ends on 2026-12-31",
    ]


def test_for_tools_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "month_end.yaml", "--from", "2026-10-01", "--next", "1", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runs"] == ["2026-10-30T17:00:00+00:00"]
    assert told["known_to"] == "2026-12-31"


def test_a_stream_that_no_time_starts_has_no_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "by_hand.yaml").write_text("".join(TEMPLATE.splitlines(keepends=True)[:3]) + TEMPLATE.splitlines()[4])
    assert main(["runs", "by_hand.yaml"]) == 2
    assert "is not started by time" in capsys.readouterr().err
    assert main(["runs", "month_end.yaml", "--next", "0"]) == 2


def test_the_days_of_a_calendar_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calendar", "calendars/banking.yaml", "--from", "2026-12-01", "--to", "2027-02-01"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "banking: 2026-01-01 to 2026-12-31, weekend: saturday, sunday",
        "  Fri 2026-12-25 closed",
        "  Sat 2026-12-26 open",
        "23 working days from 2026-12-01 to 2026-12-31",
    ]


def test_lint_checks_calendars_with_the_templates(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with time_machine.travel(datetime(2026, 1, 5, tzinfo=UTC)):
        assert main(["lint", "."]) == 0
    out = capsys.readouterr()
    assert "1 template and 1 calendar checked, no problems" in out.err
    assert "calendar-ends" not in out.out


def test_lint_warns_of_a_calendar_that_ends_soon(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with time_machine.travel(datetime(2026, 11, 5, tzinfo=UTC)):
        assert main(["lint", "calendars/banking.yaml"]) == 0
    assert "banking.yaml:3:5 to: warning (calendar-ends): the calendar ends on 2026-12-31" in capsys.readouterr().out


def test_a_calendars_mistake_is_told_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "calendars" / "banking.yaml"
    path.write_text(path.read_text().replace("XECB", "XECC"))
    assert main(["lint", "."]) == 1
    assert capsys.readouterr().out.count("no holidays are known of the market 'XECC', did you mean 'XECB'") == 1
