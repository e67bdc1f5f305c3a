"""Params and schedules as Airflow keeps them in the serialized DAG, of the shipped streams.

How a user would notice that it is fake: the runs ahead are on a holiday, or a param that must be given is said to
have a default.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from airflow.serialization.serialized_objects import DagSerialization

from airflow_enterprise_orch.executive_view.ahead import params_of, schedule_of
from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.model import ValueStream

MAUNDY_THURSDAY = datetime(2026, 4, 2, 17, 0, tzinfo=UTC)


def kept(root: Path, name: str, **changed: Any) -> dict[str, Any]:
    stream = ValueStream.load(root / "dag_templates" / f"{name}.yaml").model_copy(update=changed)
    dag: dict[str, Any] = json.loads(json.dumps(DagSerialization.to_dict(compile_stream(stream))))["dag"]
    return dag


def test_params_are_told_as_the_template_has_them(root: Path) -> None:
    told = {param.name: param for param in params_of(kept(root, "order_to_certificate"))}
    assert (told["order_id"].title, told["order_id"].required, told["order_id"].default) == ("Order number", True, None)
    assert (told["proposed_class"].required, told["proposed_class"].default) == (False, "A")
    assert told["proposed_class"].choices == ["A", "B", "C"]
    assert told["amount"].description == "Value of the order in euros."


def test_the_runs_ahead_leave_out_the_holidays_of_the_calendar(root: Path) -> None:
    schedule = schedule_of(kept(root, "bank_end_of_day"))
    ahead = [schedule.local_day(at).isoformat() for at in islice(schedule.runs(MAUNDY_THURSDAY), 3)]
    # Good Friday and Easter Monday are none of TARGET's days.
    assert ahead == ["2026-04-02", "2026-04-07", "2026-04-08"]
    assert (schedule.timezone, "target_days" in schedule.words) == ("Europe/Berlin", True)


def test_airflows_own_cron_is_asked_too(root: Path) -> None:
    plain = {"__type": "airflow.timetables.trigger.CronTriggerTimetable",
             "__var": {"expression": "30 6 * * *", "timezone": "Europe/Berlin", "interval": 0.0,
                       "run_immediately": False}}  # fmt: skip
    schedule = schedule_of({**kept(root, "order_to_certificate"), "timetable": plain})
    ahead = list(islice(schedule.runs(MAUNDY_THURSDAY), 2))
    assert ahead == [datetime(2026, 4, 3, 4, 30, tzinfo=UTC), datetime(2026, 4, 4, 4, 30, tzinfo=UTC)]
    assert schedule.timezone == "Europe/Berlin"


def test_a_stream_that_no_time_starts_has_none(root: Path) -> None:
    schedule = schedule_of(kept(root, "order_to_certificate"))
    assert (list(schedule.runs(MAUNDY_THURSDAY)), schedule.words) == ([], "")
    assert list(schedule_of({}).runs(MAUNDY_THURSDAY)) == []
