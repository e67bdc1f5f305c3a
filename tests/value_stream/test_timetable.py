"""The schedule inside Airflow: registered, serialized whole, asked as its scheduler asks.

How a user would notice that it is fake: the scheduler cannot read the DAG, or needs the calendar's file; the DAG gets a
new version every night; after an outage a hundred runs start, or the due one never does; a new stream starts a run for
last month; in a snapshot the calendar is missing.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pendulum
import pytest
import time_machine
from airflow.models.dag import DagModel
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DataInterval, TimeRestriction

from airflow_enterprise_orch.value_stream import plan
from airflow_enterprise_orch.value_stream.beside import Beside
from airflow_enterprise_orch.value_stream.bundle import TemplateBundle
from airflow_enterprise_orch.value_stream.loader import build, find_problems, load_template
from airflow_enterprise_orch.value_stream.recurrence import Recurrence
from airflow_enterprise_orch.value_stream.timetable import CatchUp, NoMoreRuns, WorkingDayTimetable
from airflow_enterprise_orch.working_days import WorkingDays

CALENDAR = "calendar: banking\nfrom: 2026\nto: 2027\nholidays: {country: DE, subdivision: BY}\nclosed: [2026-12-24]\n"
TEMPLATE = """\
value_stream: month_end
title: Month end
business: {domain: Finance, owner: books}
schedule: {days: last_working_day_of_month, time: "18:00", timezone: Europe/Berlin, calendar: banking}
steps: {a: {unix.script: {connection: c, command: /bin/true}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of templates with one template and its calendar."""
    root = tmp_path / "templates"
    (root / "calendars").mkdir(parents=True)
    (root / "calendars" / "banking.yaml").write_text(CALENDAR)
    (root / "month_end.yaml").write_text(TEMPLATE)
    return root


def built(folder: Path) -> Any:
    return build(TEMPLATE.encode(), "month_end.yaml", beside=Beside.named(folder, "month_end.yaml"))


class TestInAirflow:
    def test_what_the_scheduler_reads_is_what_was_built(self, folder: Path) -> None:
        dag = built(folder)
        data = json.loads(json.dumps(DagSerialization.to_dict(dag)))
        (folder / "calendars" / "banking.yaml").unlink()
        read = DagSerialization.from_dict(data).timetable
        assert read == dag.timetable
        assert read.serialize() == dag.timetable.serialize()
        assert read.summary == "last working day of the month at 18:00 Europe/Berlin, banking"
        assert "- calendar: `banking`, known to 2027-12-31" in dag.doc_md

    def test_a_scheduler_without_the_library_and_the_file_finds_the_next_run(self, folder: Path) -> None:
        """A process that knows the plugin alone, as Airflow's own processes do."""
        written = json.dumps(DagSerialization.to_dict(built(folder)))
        (folder / "calendars" / "banking.yaml").unlink()
        code = (
            "import json, sys\nsys.modules['holidays'] = None\n"
            "from airflow.serialization.serialized_objects import DagSerialization\n"
            "from airflow.timetables.base import DataInterval, TimeRestriction\nimport pendulum\n"
            "dag = DagSerialization.from_dict(json.loads(sys.stdin.read()))\n"
            "last = DataInterval.exact(pendulum.datetime(2026, 11, 30, 17))\n"
            "found = dag.timetable.next_dagrun_info(last_automated_data_interval=last, "
            "restriction=TimeRestriction(None, None, True))\n"
            "print(found.run_after.isoformat(), 'pydantic' in str(type(dag.timetable)), "
            "'airflow_enterprise_orch.value_stream.reading' in sys.modules)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], input=written, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "2026-12-31T17:00:00+00:00 False False"

    def test_the_same_text_is_the_same_dag_on_another_day_and_in_another_process(self, folder: Path) -> None:
        code = (
            "import json, sys\nfrom pathlib import Path\n"
            "from airflow.serialization.serialized_objects import DagSerialization\n"
            "from airflow_enterprise_orch.value_stream.beside import Beside\n"
            "from airflow_enterprise_orch.value_stream.loader import build\n"
            "import time_machine\nroot = Path(sys.argv[1])\n"
            "with time_machine.travel(sys.argv[2]):\n"
            "    dag = build((root / 'month_end.yaml').read_bytes(), 'm', beside=Beside.named(root, 'm'))\n"
            "dag.fileloc = dag.relative_fileloc = 'm'\n"
            "print(json.dumps(DagSerialization.to_dict(dag), sort_keys=True))\n"
        )
        told = []
        for seed, day in (("1", "2026-11-23"), ("99", "2027-12-31T23:00")):
            environment = {**os.environ, "PYTHONHASHSEED": seed}
            command = [sys.executable, "-c", code, str(folder), day]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            assert done.returncode == 0, done.stderr
            told.append(done.stdout.splitlines()[-1])
        assert told[0] == told[1]

    def test_a_schedule_of_another_version_is_refused_in_words(self, folder: Path) -> None:
        data = built(folder).timetable.serialize() | {"version": 99}
        with pytest.raises(ValueError, match="install the same version in all processes"):
            WorkingDayTimetable.deserialize(data)

    def test_a_run_started_by_hand_is_for_its_own_moment(self, folder: Path) -> None:
        at = pendulum.datetime(2026, 3, 1, 12)
        assert built(folder).timetable.infer_manual_data_interval(run_after=at) == DataInterval.exact(at)


def kept(template: Path) -> plan.StreamPlan | None:
    place, folder = plan.beside_template(template), template.parent
    return plan.kept(place, template.read_bytes(), name=template.name, folder=folder)


class TestPlanAndSnapshot:
    def test_the_plan_counts_only_while_the_calendar_is_the_same(self, folder: Path) -> None:
        template = folder / "month_end.yaml"
        load_template(template, {})
        found = kept(template)
        assert found is not None
        assert found.build().timetable == built(folder).timetable
        (folder / "calendars" / "banking.yaml").write_text(CALENDAR + "# a word\n")
        assert kept(template) is None

    def test_a_snapshot_holds_the_calendars_and_a_changed_one_is_a_new_version(
        self, folder: Path, tmp_path: Path
    ) -> None:
        sub = folder / "finance"
        sub.mkdir()
        (sub / "other.yaml").write_text(TEMPLATE.replace("month_end", "other"))
        bundle = TemplateBundle(name="templates", path=str(folder), store=str(tmp_path / "store"))
        bundle.refresh()
        first = bundle.path
        for stream, name in (("month_end", "month_end.yaml"), ("other", "finance/other.yaml")):
            namespace: dict[str, Any] = {}
            load_template(first / f"{stream}.yaml", namespace, name=name)
            assert namespace[stream].timetable.recurrence.days.name == "banking"
        (folder / "calendars" / "banking.yaml").write_text(CALENDAR.replace("2026-12-24", "2026-12-31"))
        bundle.refresh()
        assert bundle.path != first
        assert (first / "calendars" / "banking.yaml").read_text() == CALENDAR

    def test_a_template_that_was_taken_away_with_its_calendar_still_serves_its_runs(
        self, folder: Path, tmp_path: Path
    ) -> None:
        bundle = TemplateBundle(name="templates", path=str(folder), store=str(tmp_path / "store"))
        bundle.refresh()
        shutil.rmtree(folder / "calendars")
        (folder / "month_end.yaml").unlink()
        bundle.refresh()
        dag = runpy.run_path(str(bundle.path / "month_end.py"))["month_end"]
        assert isinstance(dag.timetable, NoMoreRuns)
        assert dag.timetable.summary.startswith("Starts nothing: its template was taken away on ")

    def test_a_broken_calendar_hurts_only_the_streams_that_use_it(self, folder: Path) -> None:
        (folder / "other.yaml").write_text(
            TEMPLATE.replace("month_end", "other")
            .replace(", calendar: banking", "")
            .replace('days: last_working_day_of_month, time: "18:00"', "every: 1h")
        )
        (folder / "calendars" / "banking.yaml").write_text(CALENDAR.replace("2026-12-24", "2026-13-24"))
        assert find_problems(folder) == (
            "calendars/banking.yaml:5:10 closed[0]: '2026-13-24' is no date, write it as 2026-12-31",
        )


WEEKDAYS = WorkingDays("days", date(2026, 1, 1), date(2026, 12, 31), frozenset({5, 6}), frozenset(), frozenset())


def timetable(catch_up: CatchUp, **more: Any) -> WorkingDayTimetable:
    given = {"cron": "0 6 * * *", "days": WEEKDAYS} | more
    return WorkingDayTimetable(Recurrence("UTC", **given), catch_up)


def asked(found: WorkingDayTimetable, last: str | None, *, catch_up: bool = False) -> str:
    """Ask as the scheduler does, after the run of ``last``."""
    interval = DataInterval.exact(pendulum.instance(datetime.fromisoformat(f"{last}+00:00"))) if last else None
    restriction = TimeRestriction(pendulum.instance(found.recurrence.start), None, catch_up)
    info = found.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)
    assert info is None or info.data_interval == DataInterval.exact(info.run_after)
    return f"{info.run_after:%m-%d %H:%M}" if info is not None else "never"


class TestMissedRuns:
    @pytest.fixture(autouse=True)
    def thursday(self) -> Iterator[None]:
        with time_machine.travel(datetime(2026, 3, 12, 8, 0, tzinfo=UTC), tick=False):
            yield

    def test_latest_makes_up_for_the_newest_one(self) -> None:
        assert asked(timetable("latest"), "2026-03-02T06:00") == "03-12 06:00"
        assert asked(timetable("latest"), "2026-03-12T06:00") == "03-13 06:00"

    def test_all_makes_up_for_each(self) -> None:
        assert asked(timetable("all"), "2026-03-02T06:00", catch_up=True) == "03-03 06:00"
        assert asked(timetable("all", since="2026-02-01"), None, catch_up=True) == "02-02 06:00"

    def test_none_makes_up_for_none(self) -> None:
        assert asked(timetable("none"), "2026-03-02T06:00") == "03-13 06:00"

    def test_a_run_that_has_just_become_due_is_no_missed_one(self) -> None:
        """The DAG processor asks again between the moment and the scheduler's loop: the run must not be lost."""
        with time_machine.travel(datetime(2026, 3, 12, 6, 0, 3, tzinfo=UTC), tick=False):
            for catch_up in ("none", "latest"):
                assert asked(timetable(catch_up), "2026-03-11T06:00") == "03-12 06:00"
                assert asked(timetable(catch_up), None) == "03-12 06:00", "also the first of all"

    def test_a_new_stream_begins_with_what_comes(self) -> None:
        assert asked(timetable("latest"), None) == "03-13 06:00"
        assert asked(timetable("none"), None) == "03-13 06:00"
        assert asked(timetable("latest", since="2026-04-03"), None) == "04-03 06:00"

    def test_one_late_run_of_an_interval_not_all_of_the_last_hour(self) -> None:
        found = timetable("none", cron="", every=600)
        assert asked(found, "2026-03-12T02:00") == "03-12 08:00"
        assert asked(found, "2026-03-12T08:00") == "03-12 08:10"

    def test_of_the_run_that_airflow_noted_before_an_outage_a_later_one_takes_the_place(self) -> None:
        noted = datetime(2026, 3, 10, 6, tzinfo=UTC)
        model = DagModel(dag_id="s", next_dagrun=noted, next_dagrun_create_after=noted)
        model.next_dagrun_data_interval_start = model.next_dagrun_data_interval_end = noted
        runs = {}
        for catch_up in get_args(CatchUp):
            info = timetable(catch_up).next_run_info_from_dag_model(dag_model=model)
            assert info is not None
            assert info.logical_date == info.run_after, "one to come is queued until then"
            runs[catch_up] = f"{info.run_after:%m-%d}"
        assert runs == {"none": "03-13", "latest": "03-12", "all": "03-10"}


def test_behind_the_calendars_last_day_the_schedule_stops_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with time_machine.travel(datetime(2026, 12, 31, 8, tzinfo=UTC), tick=False), caplog.at_level("WARNING"):
        assert asked(timetable("latest"), "2026-12-31T06:00") == "never"
    assert "calendar 'days' covers no day after 2026-12-31" in caplog.text


def test_a_backfill_finds_every_run_between_two_days() -> None:
    found = timetable("none")
    at, runs = pendulum.datetime(2026, 3, 5), []
    while at < pendulum.datetime(2026, 3, 11):
        restriction = TimeRestriction(at, None, True)
        info = found.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
        assert info is not None
        runs.append(f"{info.run_after:%d}")
        at = info.run_after + timedelta(seconds=1)
    assert runs == ["05", "06", "09", "10", "11"]
