"""Admission: one live instance per business key, whoever comes first, however often a task runs."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from streams_for_tests import Store, context_for

from airflow_enterprise_orch.value_stream import admission
from airflow_enterprise_orch.value_stream.admission import ADMISSION_KEY, AdmitStep, RunEndedTrigger, shard


class Airflow:
    """The Variables and the runs of an Airflow."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}
        self.runs: dict[str, str] = {}
        self.questions: list[list[str]] = []

    def get(self, key: str, default: Any = None, deserialize_json: bool = False) -> Any:
        assert deserialize_json
        return json.loads(self.variables[key]) if key in self.variables else default

    def set(self, key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        assert serialize_json
        self.variables[key] = json.dumps(value)

    def count(self, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        assert dag_id == "s"
        self.questions.append(list(run_ids))
        return sum(self.runs.get(run_id) in states for run_id in run_ids)


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    world = Airflow()
    monkeypatch.setattr(admission, "Variable", world)
    monkeypatch.setattr(RuntimeTaskInstance, "get_dr_count", staticmethod(world.count))
    return world


def admit(airflow: Airflow, run_id: str, key: str = "O-1", *, duplicates: Any = "reject", store: Any = None) -> Any:
    """Run the admission of a run, which is live from now on."""
    airflow.runs.setdefault(run_id, "running")
    with DAG("s", schedule=None, auto_register=False):
        operator = AdmitStep(task_id="admit", business_key="{{ params.order }}", duplicates=duplicates)
    return operator.execute(context_for(operator, params={"order": key}, run_id=run_id, store=store))


def register(airflow: Airflow, key: str = "O-1") -> dict[str, list[str]]:
    keys: dict[str, list[str]] = json.loads(airflow.variables[f"enterprise_orch.live.s.{shard(key):02x}"])["keys"]
    return keys


def same_shard(key: str) -> str:
    """Return another key of the same shard."""
    return next(other for other in (f"X-{n}" for n in range(10_000)) if shard(other) == shard(key))


def test_the_shard_of_a_key_is_the_same_in_every_process() -> None:
    assert (shard("O-1"), shard("")) == (0xCF, 0xE3)


def test_the_first_is_let_in_and_recorded(airflow: Airflow) -> None:
    store = Store()
    assert admit(airflow, "r1", store=store) == {"key": "O-1", "admitted": True}
    assert register(airflow) == {"O-1": ["r1"]}
    assert (store[ADMISSION_KEY]["decision"], store[ADMISSION_KEY]["key"]) == ("admitted", "O-1")


def test_a_second_live_instance_is_rejected_by_naming_the_first(airflow: Airflow) -> None:
    admit(airflow, "r1")
    store = Store()
    with pytest.raises(AirflowFailException, match="'O-1' is already live in run 'r1' of 's'"):
        admit(airflow, "r2", store=store)
    assert register(airflow) == {"O-1": ["r1"]}
    assert store[ADMISSION_KEY]["decision"] == "rejected"


def test_another_key_is_let_in(airflow: Airflow) -> None:
    admit(airflow, "r1")
    admit(airflow, "r2", same_shard("O-1"))
    assert register(airflow) == {"O-1": ["r1"], same_shard("O-1"): ["r2"]}


@pytest.mark.parametrize("state", ["success", "failed", None])
def test_once_the_first_is_over_or_gone_the_next_is_let_in(airflow: Airflow, state: str | None) -> None:
    admit(airflow, "r1")
    airflow.runs["r1"] = state or "deleted"
    assert admit(airflow, "r2")["admitted"]
    assert register(airflow) == {"O-1": ["r2"]}


def test_running_it_again_for_the_same_run_changes_nothing(airflow: Airflow) -> None:
    admit(airflow, "r1")
    before = dict(airflow.variables)
    assert admit(airflow, "r1")["admitted"]
    assert airflow.variables == before


def test_an_instance_that_comes_to_life_again_stands_behind_the_one_that_came_meanwhile(airflow: Airflow) -> None:
    admit(airflow, "r1")
    airflow.runs["r1"] = "success"
    admit(airflow, "r2")
    airflow.runs["r1"] = "running"  # a person cleared it
    with pytest.raises(AirflowFailException, match="'r2'"):
        admit(airflow, "r1")


def test_queued_instances_wait_each_for_the_one_ahead(airflow: Airflow) -> None:
    admit(airflow, "r1", duplicates="queue")
    for run, ahead in (("r2", "r1"), ("r3", "r2")):
        with pytest.raises(TaskDeferred) as deferred:
            admit(airflow, run, duplicates="queue")
        assert deferred.value.trigger.serialize() == (
            "airflow_enterprise_orch.value_stream.admission.RunEndedTrigger",
            {"dag_id": "s", "run_id": ahead, "poll": 15.0},
        )
        assert deferred.value.method_name == "look_again"
    assert register(airflow) == {"O-1": ["r1", "r2", "r3"]}
    airflow.runs["r2"] = "failed"  # a person ended the one in the middle
    with pytest.raises(TaskDeferred) as deferred:
        admit(airflow, "r3", duplicates="queue")
    assert deferred.value.trigger.run_id == "r1"
    airflow.runs["r1"] = "success"
    assert admit(airflow, "r3", duplicates="queue")["admitted"]
    assert register(airflow) == {"O-1": ["r3"]}


def test_waking_up_looks_again(airflow: Airflow) -> None:
    admit(airflow, "r1", duplicates="queue")
    airflow.runs["r2"] = "running"
    with DAG("s", schedule=None, auto_register=False):
        operator = AdmitStep(task_id="admit", business_key="{{ params.order }}", duplicates="queue")
    context = context_for(operator, params={"order": "O-1"}, run_id="r2")
    with pytest.raises(TaskDeferred):
        operator.look_again(context, {"ended": "r1"})  # the event is a hint, never a proof
    airflow.runs["r1"] = "success"
    assert operator.look_again(context, {"ended": "r1"})["admitted"]


def test_other_keys_runs_that_are_over_are_forgotten_with_few_questions(airflow: Airflow) -> None:
    other = same_shard("O-1")
    admit(airflow, "old", other)
    airflow.runs["old"] = "success"
    admit(airflow, "r1")
    assert register(airflow) == {"O-1": ["r1"]}
    airflow.questions.clear()
    admit(airflow, "r1")
    assert airflow.questions == []


def test_tidying_up_is_bounded(airflow: Airflow) -> None:
    name = f"enterprise_orch.live.s.{shard('O-1'):02x}"
    airflow.variables[name] = json.dumps({"version": 1, "keys": {f"k{n}": [f"old{n}"] for n in range(500)}})
    admit(airflow, "r1")
    assert len(airflow.questions) <= admission.LOOKS + 2
    assert len(register(airflow)) == 500 - admission.LOOKS + 1


@pytest.mark.parametrize("stored", ["[]", '{"version": 9, "keys": {}}', '{"version": 1, "keys": {"O-1": "r1"}}'])
def test_a_register_that_cannot_be_read_stops_and_is_left_as_it_is(airflow: Airflow, stored: str) -> None:
    name = f"enterprise_orch.live.s.{shard('O-1'):02x}"
    airflow.variables[name] = stored
    with pytest.raises(AirflowFailException, match="is no register of live instances"):
        admit(airflow, "r1")
    assert airflow.variables[name] == stored


def test_an_empty_key_is_refused(airflow: Airflow) -> None:
    with pytest.raises(AirflowFailException, match="came out empty"):
        admit(airflow, "r1", " ")


def test_a_writer_that_comes_between_is_found_out_and_the_try_repeated(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = airflow.set

    def overtaken(key: str, value: Any, **more: Any) -> None:
        write(key, value, **more)
        write(key, {"version": 1, "keys": {"O-1": ["zombie"]}}, **more)

    monkeypatch.setattr(airflow, "set", overtaken)
    with pytest.raises(AirflowException, match="at the same moment") as failure:
        admit(airflow, "r1")
    assert not isinstance(failure.value, AirflowFailException)  # Airflow tries it again


def test_airflow_runs_one_admission_of_a_stream_at_a_time() -> None:
    with DAG("s", schedule=None, auto_register=False):
        assert AdmitStep(task_id="admit", business_key="k", duplicates="reject").max_active_tis_per_dag == 1


def test_under_that_exclusion_exactly_one_of_many_claims_wins(airflow: Airflow) -> None:
    scheduler = threading.Lock()  # max_active_tis_per_dag=1
    won: list[str] = []
    lost: list[str] = []

    def claim(run_id: str) -> None:
        with scheduler:
            try:
                admit(airflow, run_id)
                won.append(run_id)
            except AirflowFailException:
                lost.append(run_id)

    for n in range(20):
        airflow.runs[f"r{n}"] = "running"
    threads = [threading.Thread(target=claim, args=(f"r{n}",)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(lost) == 19
    assert register(airflow) == {"O-1": won}


def test_the_trigger_fires_once_the_run_is_over(airflow: Airflow) -> None:
    airflow.runs["r1"] = "queued"
    states = iter(["queued", "running", "success"])

    def count(dag_id: str, run_ids: list[str], states: Any, _given: Any = states) -> int:
        airflow.runs["r1"] = next(_given)
        return airflow.count(dag_id, run_ids, list(admission.LIVE))

    async def wait() -> Any:
        trigger = RunEndedTrigger(dag_id="s", run_id="r1", poll=0.0)
        return await anext(trigger.run())

    original, RuntimeTaskInstance.get_dr_count = RuntimeTaskInstance.get_dr_count, staticmethod(count)
    try:
        event = asyncio.run(wait())
    finally:
        RuntimeTaskInstance.get_dr_count = staticmethod(original)
    assert event.payload == {"version": 1, "ended": "r1"}
    assert len(airflow.questions) == 3
