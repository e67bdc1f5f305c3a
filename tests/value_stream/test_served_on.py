"""What becomes of running instances when their template is edited, broken, renamed or taken away.

How a user would notice that it is fake: an instance that waits for an approval stops for ever because somebody cleaned
up a folder or made a typing mistake; new instances start with what nobody wants any more; nobody is told of the typing
mistake; after weeks the snapshot that the instance began with is gone, or every snapshot is kept for ever.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.bundles import base
from airflow.serialization.serialized_objects import DagSerialization

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream import live_runs, served_on, snapshot
from airflow_enterprise_orch.value_stream.bundle import TemplateBundle
from airflow_enterprise_orch.value_stream.loader import RejectedTemplate
from airflow_enterprise_orch.value_stream.timetable import NoMoreRuns
from tests.value_stream.test_bundle import Versioned

LONG_AGO = time.time() - 400 * 86400


def template(stream: str, more: str = "", *, title: str = "A stream") -> str:
    return (
        f"value_stream: {stream}\ntitle: {title}\nbusiness: {{domain: D, owner: o}}\n"
        f"schedule: {{cron: '0 4 * * *'}}\n{more}steps:\n  ask: {{approval: {{subject: Go on?}}}}\n"
    )


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The live instances by stream, with the version that they began with."""
    found: dict[str, str] = {}
    monkeypatch.setattr(live_runs, "live_streams", lambda streams: frozenset(streams) & found.keys())
    monkeypatch.setattr(live_runs, "live_versions", lambda: frozenset(found.values()))
    monkeypatch.setattr(live_runs, "versions_in_use", lambda bundle: dict(found))
    monkeypatch.setattr(live_runs, "written_since", lambda streams, moment: frozenset())
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: dict[str, str]) -> Path:
    monkeypatch.delenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", raising=False)
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    monkeypatch.setattr(base, "STALE_BUNDLE_TRACKING_FOLDER", tmp_path / "bundles" / "_tracking")
    path = tmp_path / "templates"
    path.mkdir()
    (path / "orders.yaml").write_text(template("orders"))
    (path / "invoices.yaml").write_text(template("invoices"))
    return path


def take(folder: Path, **more: Any) -> TemplateBundle:
    """Take a snapshot as the DAG processor does, in a new process each time."""
    bundle = TemplateBundle(name="streams", path=str(folder), store=str(folder.parent / "store"), **more)
    bundle.initialize()
    return bundle


def read(bundle: TemplateBundle, *, ending: str = "") -> dict[str, Any]:
    """Read a snapshot's DAG files as the DAG processor does, the newest first; return what each gives."""
    files = sorted(bundle.path.glob("*.py"), key=lambda file: -file.stat().st_mtime)
    found: dict[str, Any] = {}
    for file in files:
        made = runpy.run_path(str(file))
        dags = [one for name, one in made.items() if hasattr(one, "dag_id") and not name.startswith("__")]
        assert len(dags) <= 1
        found[file.name] = dags[0] if dags else None
    return found


def error_of(dag: Any) -> str:
    assert isinstance(dag, RejectedTemplate)
    with pytest.raises(TemplateError) as told:
        dag.validate()
    return str(told.value)


def refuses_new_ones(dag: Any) -> bool:
    """Airflow starts no instance by hand, by asset or by backfill; and the schedule never says when."""
    data = DagSerialization.to_dict(dag)["dag"]
    assert sorted(data["allowed_run_types"]) == ["operator_triggered", "scheduled"]
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable
    assert isinstance(timetable, NoMoreRuns)
    return timetable.next_dagrun_info(last_automated_data_interval=None, restriction=None) is None  # type: ignore[arg-type]


def picture(dag: Any) -> Any:
    return json.loads(next(task.doc_json for task in dag.tasks if task.doc_json))


# ------------------------------------------------------------------------------------------------------ taken away


def test_a_template_taken_away_is_served_on_and_starts_nothing(folder: Path) -> None:
    first = take(folder)
    before = read(first)["orders.py"]
    (folder / "orders.yaml").unlink()
    second = take(folder)
    dags = read(second)
    dag = dags["orders.py"]
    assert refuses_new_ones(dag)
    assert [task.task_id for task in dag.tasks] == [task.task_id for task in before.tasks]
    assert "removed" in dag.tags and "D" in dag.tags
    assert dag.dag_display_name == "A stream (removed)"
    assert "**No instance is started: its template was taken away on 20" in dag.doc_md
    assert "schedule" not in picture(dag) and picture(dag)["removed"].startswith("20")
    assert "schedule" in picture(before)
    assert dags["broken-edits.py"] is None
    again = take(folder)
    assert again.path == second.path
    (folder / "orders.yaml").write_text(template("orders"))
    back = read(take(folder))["orders.py"]
    assert DagSerialization.to_dict(back) == DagSerialization.to_dict(before)


def age(bundle: TemplateBundle, day: str = "2020-01-01") -> None:
    index = bundle.path / "index.json"
    data = json.loads(index.read_text())
    for one in data["gone"].values():
        one["day"] = day
    index.write_text(json.dumps(data))


def test_it_stays_as_long_as_one_of_its_instances_is_live(folder: Path, live: dict[str, str]) -> None:
    live["orders"] = take(folder).path.name
    (folder / "orders.yaml").unlink()
    age(take(folder))
    assert refuses_new_ones(read(take(folder))["orders.py"])
    live.clear()
    assert "orders.py" not in read(take(folder))


@pytest.mark.parametrize("days", [0, 7])
def test_with_no_live_instance_it_goes_after_its_days(folder: Path, days: int, live: dict[str, str]) -> None:
    live["invoices"] = take(folder).path.name
    (folder / "orders.yaml").unlink()
    (folder / "invoices.yaml").unlink()
    first = take(folder, removed_days=days)
    if days:
        assert "orders.py" in read(first)
        age(first)
    last = read(take(folder, removed_days=days))
    assert "orders.py" not in last
    assert "invoices.py" in last


def test_it_stays_where_nobody_can_say_whether_an_instance_is_live(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_runs, "live_streams", lambda streams: None)
    take(folder)
    (folder / "orders.yaml").unlink()
    age(take(folder))
    assert "orders.py" in read(take(folder))


def test_one_that_cannot_be_read_any_more_is_told_loudly(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = take(folder)
    (folder / "orders.yaml").unlink()
    bundle = take(folder)
    (first.path / "orders.yaml").write_text(template("orders").replace("approval", "approvl"))
    (first.path / ".orders.yaml.plan.json").unlink(missing_ok=True)
    message = error_of(read(bundle)["orders.py"])
    assert "orders.yaml:6:9 steps.ask.approvl: there is no step type 'approvl'" in message
    assert "orders: its template was taken away on 20" in message
    assert "its running instances wait; put a right template of it back, or end them" in message
    assert [record for record in caplog.records if record.levelname == "ERROR" and "orders: " in record.getMessage()]


def test_a_renamed_stream_is_a_new_one_and_the_old_one_is_served_on(folder: Path) -> None:
    take(folder)
    (folder / "orders.yaml").write_text(template("purchases"))
    dags = read(take(folder))
    assert refuses_new_ones(dags["orders.py"])
    assert dags["purchases.py"].dag_id == "purchases"


def test_a_renamed_file_changes_nothing(folder: Path) -> None:
    read(take(folder))
    (folder / "sub").mkdir()
    (folder / "orders.yaml").rename(folder / "sub" / "orders_of_customers.yaml")
    dag = read(take(folder))["orders.py"]
    assert not isinstance(dag.timetable, NoMoreRuns)


# ---------------------------------------------------------------------------------------------------- edited and wrong

WRONG = template("orders", "limts: {}\n")


def test_a_broken_edit_serves_what_was_right_and_tells_the_mistake(folder: Path) -> None:
    before = read(take(folder))["orders.py"]
    (folder / "orders.yaml").write_text(WRONG)
    dags = read(take(folder))
    dag = dags["orders.py"]
    assert refuses_new_ones(dag)
    assert [task.task_id for task in dag.tasks] == [task.task_id for task in before.tasks]
    assert dag.dag_display_name == "A stream (broken edit)"
    assert "broken-edit" in dag.tags
    assert "edited and is wrong now, see the import errors" in dag.doc_md
    assert "removed" not in picture(dag)
    first, last = error_of(dags["broken-edits.py"]).splitlines()
    assert first.startswith("orders.yaml:5:1 limts: there is no key 'limts' here, did you mean 'limits'")
    assert last.startswith("Running instances of these go on as they began, and no new ones are started")
    assert last.endswith(": orders")
    assert not isinstance(dags["invoices.py"].timetable, NoMoreRuns)


def test_the_mistake_is_told_whichever_file_is_read_first(folder: Path) -> None:
    read(take(folder))
    (folder / "orders.yaml").write_text(WRONG)
    bundle = take(folder)
    assert error_of(runpy.run_path(str(bundle.path / "broken-edits.py"))["rejected_broken-edits"])


def test_another_edit_that_is_broken_too_serves_what_was_right_before_both(folder: Path) -> None:
    read(take(folder))
    (folder / "orders.yaml").write_text(WRONG)
    read(take(folder))
    (folder / "orders.yaml").write_text(WRONG + "  more: {}\n")
    read(take(folder))
    (folder / "invoices.yaml").write_text(template("invoices", title="Changed"))
    dags = read(take(folder))
    assert dags["orders.py"].dag_display_name == "A stream (broken edit)"
    assert "steps.more" in error_of(dags["broken-edits.py"])
    (folder / "orders.yaml").write_text(template("orders", title="Mended"))
    dags = read(take(folder))
    assert dags["orders.py"].dag_display_name == "Mended"
    assert dags["broken-edits.py"] is None


def test_one_that_was_broken_again_serves_the_newest_that_was_right(folder: Path) -> None:
    for title in ("First", "Second"):
        (folder / "orders.yaml").write_text(template("orders", title=title))
        read(take(folder))
        (folder / "orders.yaml").write_text(WRONG)
        assert read(take(folder))["orders.py"].dag_display_name == f"{title} (broken edit)"


def test_an_edit_that_no_longer_says_which_stream_it_is_is_a_broken_one(folder: Path) -> None:
    read(take(folder))
    (folder / "orders.yaml").write_text("value_stream: [\n")
    dags = read(take(folder))
    assert dags["orders.py"].dag_display_name == "A stream (broken edit)"
    (named,) = (name for name in dags if name.startswith("orders-"))
    assert error_of(dags[named]).startswith("orders.yaml:")


def test_a_stream_that_two_files_declare_is_served_as_it_was(folder: Path) -> None:
    read(take(folder))
    (folder / "copy.yaml").write_text(template("orders"))
    dags = read(take(folder))
    assert dags["orders.py"].dag_display_name == "A stream (declared twice)"
    assert refuses_new_ones(dags["orders.py"])
    assert "'orders' is also declared by" in error_of(dags[next(name for name in dags if name.startswith("copy-"))])


def test_one_that_was_never_right_is_an_import_error_of_its_own_file(folder: Path) -> None:
    read(take(folder))
    (folder / "claims.yaml").write_text(WRONG.replace("orders", "claims"))
    dags = read(take(folder))
    assert error_of(dags["claims.py"]).startswith("claims.yaml:5:1 limts: ")
    assert dags["broken-edits.py"] is None


def test_a_calendar_that_is_broken_leaves_the_running_instances_alone(folder: Path) -> None:
    (folder / "calendars").mkdir()
    office = folder / "calendars" / "office.yaml"
    office.write_text("calendar: office\nfrom: 2026\nto: 2030\n")
    (folder / "orders.yaml").write_text(template("orders").replace("* *'}", "* *', calendar: office}"))
    read(take(folder))
    office.write_text("calendar: office\nfrom: 2026\n")
    dags = read(take(folder))
    assert dags["orders.py"].dag_display_name == "A stream (broken edit)"
    assert "calendars/office.yaml:1:1" in error_of(dags["broken-edits.py"])


def test_a_mistake_of_ours_serves_what_was_right_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_enterprise_orch.value_stream import compile as compiler

    read(take(folder))
    whole = compiler.plan_stream
    (folder / "orders.yaml").write_text(template("orders", title="New"))

    def failing(stream: Any, **more: Any) -> Any:
        return 1 / 0 if stream.title == "New" else whole(stream, **more)

    monkeypatch.setattr(compiler, "plan_stream", failing)
    dags = read(take(folder))
    assert dags["orders.py"].dag_display_name == "A stream (broken edit)"
    assert "that is our mistake and none of the template" in error_of(dags["broken-edits.py"])


def test_a_worker_finds_the_stream_in_the_snapshot_of_a_broken_edit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a step of another stream that starts it, and for who clears a run and asks for the newest version."""
    read(take(folder))
    (folder / "orders.yaml").write_text(WRONG)
    bundle = take(folder)
    read(bundle)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "orders")
    dags = read(bundle)
    assert dags["orders.py"].get_task("ask")
    assert dags["broken-edits.py"] is None


# ----------------------------------------------------------------------------------------------------- what is kept


def make_old(bundle: TemplateBundle) -> None:
    for path in bundle.path.parent.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))


def versions(bundle: TemplateBundle) -> set[str]:
    return {path.name for path in bundle.path.parent.iterdir() if path.is_dir()}


def test_snapshots_of_live_instances_stay_however_old(folder: Path, live: dict[str, str]) -> None:
    names = []
    for number in range(4):
        (folder / "orders.yaml").write_text(template("orders", title=f"Number {number}"))
        bundle = take(folder)
        read(bundle)
        names.append(bundle.path.name)
    live["orders"] = names[1]
    make_old(bundle)
    kept = versions(take(folder))
    assert kept == {names[1], names[2], names[3]}, "that of the instance, the current one, and what it falls back on"
    live.clear()
    (folder / "orders.yaml").write_text(template("orders", title="Number 4"))
    last = take(folder)
    make_old(last)
    assert versions(take(folder)) == {names[3], last.path.name}


def test_what_is_served_on_keeps_the_snapshot_that_it_comes_from(folder: Path, live: dict[str, str]) -> None:
    first = take(folder)
    read(first)
    (folder / "orders.yaml").unlink()
    for number in range(3):
        (folder / "invoices.yaml").write_text(template("invoices", title=f"Number {number}"))
        bundle = take(folder)
        read(bundle)
    make_old(bundle)
    bundle = take(folder)
    assert first.path.name in versions(bundle)
    assert refuses_new_ones(read(bundle)["orders.py"])


def test_nothing_is_removed_where_nobody_can_say_what_is_live(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_runs, "live_versions", lambda: None)
    names = set()
    for number in range(4):
        (folder / "orders.yaml").write_text(template("orders", title=f"Number {number}"))
        bundle = take(folder)
        names.add(bundle.path.name)
    make_old(bundle)
    assert versions(take(folder)) == names


def test_the_database_is_asked_only_when_there_is_something_to_decide(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = take(folder)

    def never(*_: Any) -> Any:
        raise AssertionError("asked for nothing")

    for name in ("live_streams", "live_versions", "versions_in_use"):
        monkeypatch.setattr(live_runs, name, never)
    monkeypatch.setattr(live_runs, "live_streams", lambda streams: frozenset() if not streams else never())
    bundle.refresh()
    (folder / "orders.yaml").unlink()
    bundle.refresh()


def test_a_change_waits_as_long_as_airflow_would_not_write_its_steps_down(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a new instance gets the steps of the version before, and looks for them where they need not be."""
    monkeypatch.setenv("AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL", "40")
    first = take(folder)
    read(first)
    asked: list[datetime] = []
    written = {"orders"}

    def lately(streams: list[str], moment: datetime) -> frozenset[str]:
        asked.append(moment)
        return frozenset(written.intersection(streams))

    monkeypatch.setattr(live_runs, "written_since", lately)
    assert take(folder).path == first.path and not asked  # nothing has changed: nothing is asked
    (folder / "orders.yaml").write_text(template("orders", title="Edited"))
    began = datetime.now(UTC)
    assert take(folder).path == first.path
    assert began - timedelta(seconds=40) <= asked[0] <= datetime.now(UTC) - timedelta(seconds=40)

    written.clear()
    for file in first.path.parent.glob("*/*.py"):
        os.utime(file, (LONG_AGO, LONG_AGO))
    second = take(folder)
    assert second.path != first.path
    assert read(second)["orders.py"].dag_display_name == "Edited"
    # It was on disk before its time came; Airflow looks only at what is newer than its last look.
    assert (second.path / "orders.py").stat().st_mtime > LONG_AGO + 1
    assert (second.path / "invoices.py").stat().st_mtime < LONG_AGO + 1


def test_one_stream_that_comes_out_new_each_time_does_not_hold_the_others_up_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL", "40")
    clock = [1000.0]
    monkeypatch.setattr(snapshot, "monotonic", lambda: clock[0])
    monkeypatch.setattr(live_runs, "written_since", lambda streams, _: frozenset({"orders"}.intersection(streams)))
    bundle = take(folder)
    read(bundle)
    first = bundle.path
    for name in ("orders", "invoices"):
        (folder / f"{name}.yaml").write_text(template(name, title="Edited"))
    for clock[0] in (1000.0, 1041.0, 1159.0):
        bundle.refresh()
        assert bundle.path == first
    clock[0] = 1161.0
    bundle.refresh()
    assert bundle.path != first
    assert "orders within the last 40 s, again and again: does one of its operators" in caplog.text
    # The next change is waited for anew.
    second = bundle.path
    (folder / "orders.yaml").write_text(template("orders", title="Edited again"))
    bundle.refresh()
    assert bundle.path == second


def test_a_change_does_not_wait_for_other_streams(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = take(folder)
    read(first)
    monkeypatch.setattr(live_runs, "written_since", lambda streams, _: frozenset({"orders"}.intersection(streams)))
    (folder / "invoices.yaml").write_text(template("invoices", title="Edited"))
    assert take(folder).path != first.path


def test_a_lost_store_is_filled_again_from_what_live_instances_began_with(
    folder: Path, tmp_path: Path, live: dict[str, str]
) -> None:
    """The DAG processor in a new container: the templates come from Git, and one that is still needed is gone there."""
    root = tmp_path / "repository"
    shutil.copytree(folder, root / "v1")
    settings = {"classpath": f"{Versioned.__module__}.Versioned", "kwargs": {"root": str(root)}}

    def started(store: str) -> TemplateBundle:
        bundle = TemplateBundle(name="streams", source=settings, store=str(tmp_path / store))
        bundle.initialize()
        return bundle

    live["orders"] = live["invoices"] = started("first").path.name
    shutil.copytree(folder, root / "v2")
    (root / "v2" / "orders.yaml").unlink()
    (root / "v2" / "invoices.yaml").write_text(WRONG.replace("orders", "invoices"))
    dags = read(started("second"))
    assert dags["orders.py"].dag_display_name == "A stream (removed)"
    assert dags["invoices.py"].dag_display_name == "A stream (broken edit)"


def test_what_is_lost_for_good_is_told(folder: Path, live: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    live["orders"] = "0" * 20
    read(take(folder))
    assert f"instances of orders are live and began with snapshot {'0' * 20}, which is lost" in caplog.text


def test_an_index_that_nobody_can_read_is_told_and_hurts_no_other(folder: Path) -> None:
    first = take(folder)
    (folder / "orders.yaml").unlink()
    bundle = take(folder)
    (first.path / served_on.INDEX).write_text("{")
    dags = read(bundle)
    assert "this package failed on the template: JSONDecodeError" in error_of(dags["orders.py"])
    assert dags["invoices.py"].dag_id == "invoices"
