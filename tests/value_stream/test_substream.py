"""A step that is another stream, as Airflow leads it: started once whatever dies, adopted, cleared, repaired, read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError, ErrorType, TaskDeferred
from airflow.sdk.execution_time import comms, task_runner

from airflow_enterprise_orch.delegation import trigger
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import newest_ledger
from airflow_enterprise_orch.delegation.retry import RunAgain
from airflow_enterprise_orch.errors import SystemUnreachable
from airflow_enterprise_orch.value_stream.airflow_streams import STARTED_BY
from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.substream import StreamStep, StreamTrigger

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
HEAD = """
value_stream: group
title: Group
business: {domain: D, owner: o, key: "{{ params.company }}"}
params: {company: {type: string}, amount: {type: number}}
steps:
"""
CLOSE = """
  close_books:
    stream:
      run: month_end_close
      params: {company: "{{ params.company }}", amount: "{{ params.amount }}", text: "for {{ params.company }}", n: 3}
    outputs: {pdf: {step: certify, value: address}, pages: {step: certify, value: pages, type: integer}}
"""


class Killed(BaseException):
    """The worker died here."""


class Airflow:
    """The part of Airflow's execution API that a step which runs a stream needs."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.known = {"month_end_close"}
        self.started: list[str] = []
        self.asked: list[str] = []
        self.after_start: Callable[[], None] = lambda: None

    def send(self, message: Any) -> Any:
        self.asked.append(type(message).__name__)
        answer: Any = getattr(self, f"on_{type(message).__name__}")(message)
        return answer

    @staticmethod
    def error(status: int | None, text: str) -> AirflowRuntimeError:
        detail = {"status_code": status, "message": "Server error", "detail": {"detail": {"message": text}}}
        return AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))

    def on_TriggerDagRun(self, message: comms.TriggerDagRun) -> Any:
        if message.dag_id not in self.known:
            raise self.error(404, f"Dag with dag_id: '{message.dag_id}' not found")
        if message.run_id in self.runs:
            return comms.ErrorResponse(error=ErrorType.DAGRUN_ALREADY_EXISTS)
        self.runs[message.run_id] = {"dag_id": message.dag_id, "state": "queued", "conf": message.conf, "steps": {},
                                     "note": message.note}  # fmt: skip
        self.started.append(message.run_id)
        self.after_start()
        return comms.OKResponse(ok=True)

    def on_GetDRCount(self, message: comms.GetDRCount) -> Any:
        runs = [self.runs[one] for one in message.run_ids or () if one in self.runs]
        fits = [one for one in runs if message.states is None or one["state"] in message.states]
        return comms.DRCount(count=len(fits))

    def on_GetDagRun(self, message: comms.GetDagRun) -> Any:
        if message.run_id not in self.runs:
            raise self.error(404, "no such run")
        return SimpleNamespace(state=self.runs[message.run_id]["state"], start_date=NOW, end_date=NOW)

    def on_GetTaskBreadcrumbs(self, message: comms.GetTaskBreadcrumbs) -> Any:
        steps = self.runs[message.run_id]["steps"]
        return SimpleNamespace(breadcrumbs=iter([{"task_id": name, "state": one[0]} for name, one in steps.items()]))

    def on_GetXCom(self, message: comms.GetXCom) -> Any:
        return SimpleNamespace(value=self.runs[message.run_id]["steps"][message.task_id][1])

    def ends(self, state: str, **steps: Any) -> None:
        self.runs[self.started[-1]] |= {"state": state, "steps": steps}


class Life:
    """One task instance over all of its tries."""

    def __init__(self, airflow: Airflow, text: str = CLOSE) -> None:
        self.airflow, self.text = airflow, text
        self.cells: dict[str, str] = {}
        self.id, self.try_number = uuid4(), 1
        self.max_tries = self.operator().retries or 0
        self.params: dict[str, Any] = {"company": "ACME", "amount": 7.5}

    def operator(self) -> StreamStep:
        operator = compile_stream(ValueStream.load(HEAD + self.text), source_hash="h").get_task("close_books")
        assert isinstance(operator, StreamStep)
        return operator

    def context(self) -> Any:
        ti = SimpleNamespace(id=self.id, dag_id="group", run_id="run-1", task_id="close_books", map_index=-1,
                             try_number=self.try_number, max_tries=self.max_tries,
                             xcom_pull=lambda task_ids, key: None)  # fmt: skip
        run = SimpleNamespace(run_id="run-1", run_after=NOW, logical_date=None, data_interval_start=None,
                              data_interval_end=None)  # fmt: skip
        store = SimpleNamespace(
            get=lambda key: json.loads(self.cells.get(key, "null")),
            set=lambda key, value, retention: self.cells.__setitem__(key, json.dumps(value)),
        )
        return {"ti": ti, "task_state_store": store, "dag_run": run, "params": self.params}

    def retry(self) -> None:
        self.try_number += 1
        self.id = uuid4()

    def clear(self) -> None:
        self.max_tries = self.try_number + (self.operator().retries or 0)
        self.retry()

    def does(self, what: str = "execute", *more: Any) -> Any:
        operator, context = self.operator(), self.context()
        operator.render_template_fields(context)
        return getattr(operator, what)(context, *more)

    def waits(self) -> StreamTrigger:
        with pytest.raises(TaskDeferred) as deferred:
            self.does()
        assert isinstance(deferred.value.trigger, StreamTrigger)
        return deferred.value.trigger

    def collects(self, *, timed_out: bool = False) -> Any:
        return self.does("collect", {"key": self.last.key, "timed_out": timed_out})

    @property
    def last(self) -> Any:
        newest = newest_ledger(self.cells)
        assert newest is not None
        return Ledger.from_json(json.loads(newest)).last


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    airflow = Airflow()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", airflow, raising=False)
    monkeypatch.setattr(Variable, "get", lambda _key, default=None, **_: default)
    return airflow


@pytest.fixture
def life(airflow: Airflow) -> Life:
    return Life(airflow)


DONE = {"certify": ("success", {"address": "s3://a/b.pdf", "pages": 4, "business_key": "ACME-03"})}


def test_an_instance_is_started_with_typed_params_and_knows_who_started_it(life: Life, airflow: Airflow) -> None:
    waits = life.waits()
    (run_id,) = airflow.started
    assert run_id == f"group.close_books.{life.last.key}"
    run = airflow.runs[run_id]
    parent = {"stream": "group", "instance": "run-1", "step": "close_books"}
    assert run["conf"] == {"company": "ACME", "amount": 7.5, "text": "for ACME", "n": 3, STARTED_BY: parent}
    assert run["note"] == "Started by step close_books of group, instance run-1"
    assert waits.wait.handle.job_id == run_id


def test_the_values_of_its_steps_come_home_with_its_keys(life: Life, airflow: Airflow) -> None:
    life.waits()
    airflow.ends("success", **DONE)
    value = life.collects()
    assert value["pdf"] == "s3://a/b.pdf"
    assert value["pages"] == 4
    assert value["run_id"] == airflow.started[0]
    assert value["business_key"] == "ACME-03"


def test_a_step_that_was_skipped_leaves_nothing_and_fails_nothing(life: Life, airflow: Airflow) -> None:
    life.waits()
    airflow.ends("success", certify=("skipped", None), admit=("success", {"key": "K-9", "admitted": True}))
    value = life.collects()
    assert value["pdf"] is None
    assert life.last.value["business_key"] == "K-9"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"certfy": ("success", {})}, "has no step 'certify': did you mean 'certfy'?"),
        ({"certify": ("success", {"adress": "x"})}, "leaves no value 'address': it left adress"),
        ({"certify": ("success", {"address": "x", "pages": "four"})}, "output 'pages' .* is \"four\", which is no int"),
        ({"certify": ("success", {"address": "x", "pages": True})}, "output 'pages' .* is true, which is no integer"),
    ],
)
def test_a_value_that_is_not_as_promised_fails_and_starts_nothing(
    life: Life, airflow: Airflow, steps: Any, message: str
) -> None:
    life.waits()
    airflow.ends("success", **steps)
    with pytest.raises(AirflowFailException, match=message):
        life.collects()
    life.clear()
    life.waits()
    assert len(airflow.started) == 1


def test_a_start_whose_answer_is_lost_is_found_again(life: Life, airflow: Airflow) -> None:
    def lose() -> None:
        raise airflow.error(None, "connection reset")

    airflow.after_start = lose
    life.waits()
    assert len(airflow.started) == 1


def test_what_a_worker_started_that_was_killed_before_it_waited_is_adopted(life: Life, airflow: Airflow) -> None:
    def die() -> None:
        raise Killed

    airflow.after_start = die
    with pytest.raises(Killed):
        life.does()
    life.retry()
    assert life.waits().wait.handle.job_id == airflow.started[0]
    assert len(airflow.started) == 1


def test_a_stream_that_is_not_there_is_one_line(life: Life, airflow: Airflow) -> None:
    airflow.known.clear()
    with pytest.raises(AirflowFailException) as failed:
        life.does()
    assert str(failed.value) == (
        "stream month_end_close refused it: 'month_end_close' was not started: Dag with dag_id: 'month_end_close' not "
        "found; add the stream, or correct its name, then clear the step"
    )
    airflow.known.add("month_end_close")
    life.clear()
    life.waits()
    assert len(airflow.started) == 1


def fail(life: Life, airflow: Airflow) -> str:
    life.waits()
    airflow.ends("failed", certify=("failed", None), done=("success", {}), after=("upstream_failed", None))
    with pytest.raises(AirflowFailException) as failed:
        life.collects()
    return str(failed.value)


def test_a_failure_names_the_instance_and_its_step(life: Life, airflow: Airflow) -> None:
    message = fail(life, airflow)
    assert message.startswith(
        f"stream month_end_close {airflow.started[0]} on this Airflow failed: state failed (its step 'certify' failed)"
    )


def test_a_retry_without_a_clear_fails_again_and_starts_nothing(life: Life, airflow: Airflow) -> None:
    fail(life, airflow)
    life.retry()
    with pytest.raises(AirflowFailException, match="its step 'certify' failed"):
        life.does()
    assert len(airflow.started) == 1


def test_a_clear_after_a_failure_starts_another_instance(life: Life, airflow: Airflow) -> None:
    fail(life, airflow)
    life.clear()
    life.waits()
    assert len(set(airflow.started)) == 2


def test_the_business_key_of_a_stream_is_not_that_of_one_that_it_runs(life: Life, airflow: Airflow) -> None:
    life.waits()
    inner = ("success", {"run_id": "x.y.Z", "business_key": "INNER"})
    airflow.ends("success", a_stream=inner, certify=DONE["certify"])
    assert life.collects()["business_key"] == "ACME-03"


@pytest.mark.parametrize("state", ["running", "success"])
def test_a_clear_after_the_instance_was_repaired_takes_that_one(life: Life, airflow: Airflow, state: str) -> None:
    fail(life, airflow)
    airflow.ends(state, **DONE)
    life.clear()
    assert life.waits().wait.handle.job_id == airflow.started[0]
    airflow.ends("success", **DONE)
    assert life.collects()["pages"] == 4
    assert len(airflow.started) == 1


def test_a_clear_of_what_succeeded_runs_the_stream_anew(life: Life, airflow: Airflow) -> None:
    life.waits()
    airflow.ends("success", **DONE)
    life.collects()
    life.clear()
    life.waits()
    assert len(set(airflow.started)) == 2


def test_a_clear_while_it_runs_waits_on_and_a_success_counts(life: Life, airflow: Airflow) -> None:
    life.waits()
    life.clear()
    waits = life.waits()
    assert not waits.wait.deadline
    airflow.ends("success", **DONE)
    assert life.collects()["pages"] == 4
    assert len(airflow.started) == 1


def test_a_clear_while_it_runs_starts_another_once_it_has_failed(life: Life, airflow: Airflow) -> None:
    life.waits()
    life.clear()
    life.waits()
    airflow.ends("failed", certify=("failed", None))
    with pytest.raises(RunAgain):
        life.collects()
    life.retry()
    life.waits()
    assert len(set(airflow.started)) == 2


def test_a_retry_rule_starts_another_instance(airflow: Airflow) -> None:
    life = Life(airflow, CLOSE + "    retry: [{on: [failed], times: 1, delay: 5m}]\n")
    life.waits()
    airflow.ends("failed", certify=("failed", None))
    with pytest.raises(RunAgain) as again:
        life.collects()
    assert again.value.delay == timedelta(minutes=5)
    life.retry()
    fail(life, airflow)
    assert len(set(airflow.started)) == 2


def test_the_time_limit_ends_the_wait_and_not_the_instance(airflow: Airflow) -> None:
    life = Life(airflow, CLOSE + "    time_limit: 2h\n")
    assert life.waits().wait.deadline
    with pytest.raises(AirflowFailException, match="has not ended within 2:00:00; it goes on: clear the step to wait"):
        life.collects(timed_out=True)
    life.clear()
    life.waits()
    airflow.ends("success", **DONE)
    assert life.collects(timed_out=True)["pages"] == 4
    assert len(airflow.started) == 1


def test_an_instance_that_goes_on_while_it_is_read_is_waited_for(life: Life, airflow: Airflow) -> None:
    life.waits()
    with pytest.raises(SystemUnreachable, match="is queued again"):
        life.collects()
    life.retry()
    life.waits()
    assert len(airflow.started) == 1


def test_a_deleted_instance_is_lost_and_only_a_clear_starts_another(life: Life, airflow: Airflow) -> None:
    life.waits()
    airflow.runs.clear()
    with pytest.raises(AirflowFailException, match="lost: deleted"):
        life.collects()
    life.clear()
    life.waits()
    assert len(airflow.started) == 2


def test_a_param_without_a_value_starts_nothing(life: Life, airflow: Airflow) -> None:
    del life.params["amount"]
    with pytest.raises(AirflowFailException, match="param 'amount' has no value"):
        life.does()
    assert not airflow.started


def test_the_trigger_fires_when_the_instance_has_ended(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trigger, "MIN_WAIT", timedelta(0))
    waiting = {"handle": {"key": "K" * 20, "job_id": "a.b.K", "name": "month_end_close"}, "version": 1,
               "step": "stream", "connection": "", "identity": "this Airflow", "deferred": NOW.isoformat(),
               "cancels": False}  # fmt: skip
    airflow.runs["a.b.K"] = {"dag_id": "month_end_close", "state": "running", "steps": {}}
    waits = StreamTrigger(waiting)
    name, arguments = waits.serialize()
    assert name.endswith("substream.StreamTrigger")
    assert StreamTrigger(**arguments).wait == waits.wait
    airflow.runs["a.b.K"]["state"] = "failed"
    event = asyncio.run(anext(waits.run()))  # type: ignore[arg-type]  # it is a coroutine
    assert event.payload["phase"] == "ended"
    assert event.payload["key"] == "K" * 20
