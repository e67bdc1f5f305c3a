"""Streams that files start: exactly one instance for each file, whatever is seen, told or handed over twice.

How a user would notice that it is fake: an order that was processed twice because a triggerer was restarted; one that
never was, because the stream was paused when its file came.
"""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRuntimeError,
    DownstreamTasksSkipped,
    ErrorType,
)
from airflow.sdk.execution_time import comms, task_runner
from streams_for_tests import context_for

from airflow_enterprise_orch.delegation.arrivals import Arrival
from airflow_enterprise_orch.value_stream import file_arrival
from airflow_enterprise_orch.value_stream.compile import compile_stream, plan_stream
from airflow_enterprise_orch.value_stream.file_arrival import ARRIVED, KNOWN, ArriveStep, FileArrivalTrigger
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.plan import StreamPlan

ORDERS = """
value_stream: orders
title: Orders
business: {domain: D, owner: o, key: "{{ params.file }}", duplicates: reject}
params: {file: {type: string, default: ""}, bytes: {type: integer, default: 0}, mode: {type: string, default: full}}
schedule: {file_arrival: {connection: partner, folder: in, pattern: "*.csv", params: {file: path, bytes: size}}}
steps:
  take: {unix.script: {connection: c, command: /opt/take}}
  route: {after: [take], branch: [{when: params.bytes > 3, then: [big]}, {otherwise: []}]}
  big: {unix.script: {connection: c, command: /opt/big}}
"""


def arrival(name: str, changed: str = "e1") -> Arrival:
    return Arrival(f"in/{name}", len(name), changed, "2026-03-01T08:00:00+00:00")


class Airflow:
    """The part of Airflow's execution API that is used."""

    def __init__(self) -> None:
        self.runs: dict[str, Any] = {}
        self.refused: set[str] = set()
        self.down = False

    def send(self, message: Any) -> Any:
        if self.down:
            raise AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.GENERIC_ERROR))
        if isinstance(message, comms.GetDRCount):
            assert message.states is None
            return SimpleNamespace(count=sum(run in self.runs for run in message.run_ids or ()))
        assert isinstance(message, comms.TriggerDagRun)
        if message.run_id in self.refused:
            raise AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR))
        if message.run_id in self.runs:
            return comms.ErrorResponse(error=ErrorType.DAGRUN_ALREADY_EXISTS)
        self.runs[str(message.run_id)] = message
        return comms.OKResponse(ok=True)


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    airflow = Airflow()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", airflow, raising=False)
    return airflow


def hands_over(*events: Any, run_type: str = "asset_triggered") -> Any:
    dag = compile_stream(ValueStream.load(ORDERS), source_hash="h")
    operator = dag.get_task("arrive")
    assert isinstance(operator, ArriveStep)
    context = context_for(operator)
    context["ti"].dag_id = "orders"
    context["dag_run"].run_type = run_type
    context["triggering_asset_events"] = {"asset": [SimpleNamespace(extra=extra) for extra in events]}
    return operator.execute(context)  # type: ignore[arg-type]


def told(*files: Arrival) -> dict[str, Any]:
    return {"from_trigger": True, "payload": {"version": 1, "files": [file.to_json() for file in files]}}


def test_each_file_of_all_events_starts_one_instance_with_its_params(airflow: Airflow) -> None:
    a, b = arrival("a.csv"), arrival("b.csv")
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        hands_over(told(a, b), told(b))
    assert skipped.value.tasks == ["admit", "big", "route", "take"]
    assert set(airflow.runs) == {a.run_id, b.run_id}
    run = airflow.runs[a.run_id]
    assert run.conf == {"file": "in/a.csv", "bytes": 5, ARRIVED: a.to_json()}
    assert (run.dag_id, run.note) == ("orders", "Started by the arrival of 'in/a.csv'")
    with pytest.raises(DownstreamTasksSkipped):  # the event came twice, or the task was run again
        hands_over(told(a), told(b))
    assert len(airflow.runs) == 2


def test_any_other_run_goes_on(airflow: Airflow) -> None:
    for run_type in ("manual", "scheduled", "operator_triggered"):
        assert hands_over(run_type=run_type) is None
    assert airflow.runs == {}


def test_one_file_that_is_refused_keeps_no_other_back(airflow: Airflow) -> None:
    a, b = arrival("a.csv"), arrival("b.csv")
    airflow.refused = {a.run_id}
    with pytest.raises(AirflowException, match=r"1 of 2 file\(s\) started nothing: 'in/a.csv'"):
        hands_over(told(a, b))
    assert set(airflow.runs) == {b.run_id}


def test_a_name_that_means_harm_stays_a_name(airflow: Airflow) -> None:
    path = "in/" + "x" * 900 + "\n{{ 7 * 7 }}'; rm -rf $HOME"
    with pytest.raises(DownstreamTasksSkipped):
        hands_over(told(Arrival(path, 1, "e")))
    ((run_id, run),) = airflow.runs.items()
    assert run.conf["file"] == path
    assert len(run.note) == 500
    assert "\n" not in run.note + run_id


def test_an_event_that_somebody_made_up_starts_nothing(airflow: Airflow) -> None:
    made_up = told(arrival("a.csv"))
    with pytest.raises(DownstreamTasksSkipped):
        hands_over({**made_up, "from_rest_api": True}, {"payload": made_up["payload"]}, {})
    assert airflow.runs == {}
    with pytest.raises(AirflowFailException, match="cannot be read by this package"):
        hands_over({"from_trigger": True, "payload": {"version": 9}})


class Watcher:
    """A trigger whose looks a test gives, and its asset's state."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state: dict[str, Any] = {}
        self.written = 0
        self.monkeypatch = monkeypatch

    def get(self, key: str, default: Any) -> Any:
        return self.state.get(key, default)

    def set(self, key: str, value: Any) -> None:
        self.state[key] = json.loads(json.dumps(value))
        self.written += 1

    def sees(self, *looks: Any) -> list[list[str]]:
        """Return the names that are told, event by event; a callable among the looks is called instead."""

        class Looks:
            async def looks(self, _place: Any) -> Any:
                for look in looks:
                    if callable(look):
                        look()
                    else:
                        yield look

        trigger = FileArrivalTrigger(**self.trigger().serialize()[1])
        trigger.asset_state_store = self  # type: ignore[assignment]
        self.monkeypatch.setattr(file_arrival, "lookout", lambda *_: Looks())

        async def all_events() -> list[list[str]]:
            return [[one["path"] for one in event.payload["files"]] async for event in trigger.run()]

        return asyncio.run(all_events())

    @staticmethod
    def trigger() -> FileArrivalTrigger:
        plan = StreamPlan.from_json(json.loads(json.dumps(plan_stream(ValueStream.load(ORDERS)).to_json())))
        ((asset,), _) = [one.objects for one in [plan.build().timetable.asset_condition]], None
        (watcher,) = asset[0].watchers
        return watcher.trigger  # type: ignore[no-any-return]


@pytest.fixture
def watcher(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> Watcher:
    return Watcher(monkeypatch)


A, B = arrival("a.csv"), arrival("b.csv")


def test_a_file_is_told_once_while_its_instance_begins(watcher: Watcher, airflow: Airflow) -> None:
    start = lambda: airflow.runs.update({A.run_id: 1})  # noqa: E731
    assert watcher.sees((), (A,), (A,), start, (A,), (A, B), (A, B)) == [["in/a.csv"], ["in/b.csv"]]
    assert watcher.state[KNOWN] == [A.mark]


def test_a_file_is_told_again_until_its_instance_is_there(
    watcher: Watcher, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_arrival, "AGAIN", 0.0)  # the stream is paused: Airflow throws the events away
    start = lambda: airflow.runs.update({A.run_id: 1})  # noqa: E731
    assert watcher.sees((A,), (A,), start, (A,), (A,)) == [["in/a.csv"]] * 2


def test_a_restart_tells_only_what_has_no_instance(watcher: Watcher, airflow: Airflow) -> None:
    assert watcher.sees((A, B)) == [["in/a.csv", "in/b.csv"]]
    airflow.runs[A.run_id] = 1
    assert watcher.sees((A, B)) == [["in/b.csv"]]


def test_a_file_that_stays_is_not_started_anew_when_its_run_was_deleted(watcher: Watcher, airflow: Airflow) -> None:
    airflow.runs[A.run_id] = 1
    assert watcher.sees((A,)) == []
    airflow.runs.clear()  # airflow db clean
    assert watcher.sees((A,), (A,)) == []
    assert watcher.written == 1
    assert watcher.sees(()) == []
    assert watcher.state[KNOWN] == [], "what is kept grows for ever"


def test_a_file_that_is_written_anew_is_another_arrival(watcher: Watcher, airflow: Airflow) -> None:
    airflow.runs[A.run_id] = 1
    assert watcher.sees((A,), (arrival("a.csv", "e2"),)) == [["in/a.csv"]]


def test_an_airflow_that_does_not_answer_ends_no_watch(watcher: Watcher, airflow: Airflow) -> None:
    def down() -> None:
        airflow.down = not airflow.down

    assert watcher.sees(down, (A,), down, (A,)) == [["in/a.csv"]]


def test_a_thousand_files_come_in_portions(watcher: Watcher, airflow: Airflow) -> None:
    files = tuple(arrival(f"{number:04}.csv") for number in range(450))
    events = watcher.sees(files, files, files, files)
    assert [len(event) for event in events] == [200, 200, 50]
    assert len({path for event in events for path in event}) == 450
