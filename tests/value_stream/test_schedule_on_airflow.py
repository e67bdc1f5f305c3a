"""Streams with business calendars in Airflow's own scheduler: which runs it makes, and for which business date.

How a user would notice that it is fake: a run on Easter Sunday; a run of the last of March comes an hour late because
the clocks were put forward; after days without a scheduler there are several runs instead of one, or the scheduler ends
because somebody made up for one; the step of a run that was moved books on the day from which it was moved.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CALENDAR = "calendar: banking\nfrom: 2026\nto: 2027\nholidays: {country: DE, subdivision: BY}\n"
STREAM = """\
value_stream: {name}
title: Stream {name}
business: {{domain: Finance, owner: books}}
schedule: {{{schedule}, timezone: Europe/Berlin, calendar: banking}}
steps:
  work: {{unix.script: {{connection: host, command: /bin/true, args: ["{{{{ business_date }}}}"]}}}}
"""
STREAMS = {
    "daily": 'cron: "0 18 * * *"',
    "moved_on": 'cron: "30 6 5 * *", on_closed: next',
    "moved_back": 'cron: "30 6 5 * *", on_closed: previous',
    "backfilled": 'cron: "0 18 * * *", since: 2026-04-13',
    "month_end": 'days: last_working_day_of_month, time: "18:00"',
    "second_day": 'days: {nth: 2, of: month}, time: "02:30"',
}
BEGIN = datetime(2026, 3, 26, 12, tzinfo=UTC)
END = datetime(2026, 5, 6, 12, tzinfo=UTC)
OUTAGE = (datetime(2026, 4, 14, 1, tzinfo=UTC), datetime(2026, 4, 17, 1, tzinfo=UTC))
"""No scheduler runs between these; a run of Thursday the 16th is the newest that it misses."""

BACKFILLED = "2026-04-16T16:00:00+00:00"
"""A person made up for the newest one that is missed, before the scheduler was there again."""

Run = tuple[str, str, str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> list[Run]:
    """Every run that the scheduler made: stream, when it may start (UTC), business date."""
    root = tmp_path_factory.mktemp("scheduled")
    (root / "templates" / "calendars").mkdir(parents=True)
    (root / "templates" / "calendars" / "banking.yaml").write_text(CALENDAR)
    for name, schedule in STREAMS.items():
        (root / "templates" / f"{name}.yaml").write_text(STREAM.format(name=name, schedule=schedule))
    shutil.copy(migrated, root / "airflow.db")
    bundle = {
        "name": "streams",
        "classpath": "airflow_enterprise_orch.value_stream.bundle.TemplateBundle",
        "kwargs": {"path": str(root / "templates")},
    }
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(root),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{root}/airflow.db",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(root / "bundles"),
    }
    every = timedelta(hours=8)
    rounds = [BEGIN + number * every for number in range((END - BEGIN) // every)]
    moments = [moment.isoformat() for moment in rounds if not OUTAGE[0] < moment < OUTAGE[1]]
    given = {"moments": moments, "runs": [["backfilled", BACKFILLED]]}
    command = [sys.executable, str(HERE / "schedule_on_airflow.py"), str(root / "runs.json")]
    done = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((root / "runs.json").read_text())
    return [(stream, after, date) for stream, kind, after, date in found if kind == "scheduled"]


def of(made: list[Run], stream: str) -> list[tuple[str, str]]:
    return [(after.replace(":00+00:00", "Z"), date) for name, after, date in made if name == stream]


def test_it_runs_on_working_days_only_and_after_an_outage_for_the_newest(made: list[Run]) -> None:
    days = [date for _, date in of(made, "daily")]
    before = ["2026-03-26", "2026-03-27", "2026-03-30", "2026-03-31", "2026-04-01", "2026-04-02"]
    after_easter = ["2026-04-07", "2026-04-08", "2026-04-09", "2026-04-10", "2026-04-13"]
    after_outage = [
        *("2026-04-16", "2026-04-17", "2026-04-20", "2026-04-21", "2026-04-22", "2026-04-23", "2026-04-24"),
        *("2026-04-27", "2026-04-28", "2026-04-29", "2026-04-30", "2026-05-04", "2026-05-05"),
    ]
    assert days == before + after_easter + after_outage


def test_a_run_that_is_there_already_is_not_made_twice_and_stops_no_other(made: list[Run]) -> None:
    days = [date for _, date in of(made, "backfilled")]
    assert days[:3] == ["2026-04-13", "2026-04-14", "2026-04-17"]
    assert days[-1] == "2026-05-05"


def test_the_time_of_the_day_is_kept_when_the_clocks_are_put_forward(made: list[Run]) -> None:
    at = dict((date, after) for after, date in of(made, "daily"))
    assert (at["2026-03-27"], at["2026-03-30"]) == ("2026-03-27T17:00Z", "2026-03-30T16:00Z")


def test_a_run_on_easter_sunday_moves_and_its_steps_see_the_day_to_which_it_moved(made: list[Run]) -> None:
    assert of(made, "moved_on") == [("2026-04-07T04:30Z", "2026-04-07"), ("2026-05-05T04:30Z", "2026-05-05")]
    assert of(made, "moved_back") == [("2026-04-02T04:30Z", "2026-04-02"), ("2026-05-05T04:30Z", "2026-05-05")]


def test_the_month_ends_on_its_last_working_day(made: list[Run]) -> None:
    assert of(made, "month_end") == [("2026-03-31T16:00Z", "2026-03-31"), ("2026-04-30T16:00Z", "2026-04-30")]
    assert of(made, "second_day") == [("2026-04-02T00:30Z", "2026-04-02"), ("2026-05-05T00:30Z", "2026-05-05")]
