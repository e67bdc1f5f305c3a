"""A stream that waits for another one: which instance, when it is enough, and what it does if that never comes.

How a user would notice that it is fake: a report that is sent although the ledger of that day failed, or that waits for
ever beside an instance that has succeeded.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowRuntimeError, ErrorType, TaskDeferred
from airflow.sdk.execution_time import comms, task_runner
from streams_for_tests import Store, context_for

from airflow_enterprise_orch.delegation import trigger as delegate_trigger
from airflow_enterprise_orch.delegation.job import JobHandle, Phase
from airflow_enterprise_orch.value_stream.announcing import KEPT, AnnounceStep
from airflow_enterprise_orch.value_stream.awaited import Instance, Wanted, judge
from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.wait_for import WAIT_FOR_KEY, AnnouncedStreams, InstanceTrigger, WaitForStep

MONDAY = datetime(2026, 3, 2, 18, tzinfo=UTC)
LEDGER = """
value_stream: ledger
title: Ledger
business: {domain: D, owner: o, key: "{{ params.company }}", announce: [business_date, business_key]}
params: {company: {type: string, default: ACME}, business_date: {type: string, default: ""}}
schedule: {cron: "0 18 * * *"}
steps:
  close: {unix.script: {connection: c, command: /opt/close}}
"""


class Airflow:
    """The part of Airflow's execution API that those who wait, and those who are awaited, need."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}
        self.runs: dict[tuple[str, str], str] = {}
        self.steps: dict[tuple[str, str, str], str] = {}
        self.dags: dict[str, Any] = {"ledger": SimpleNamespace(is_paused=False, tags=[])}
        self.asked: Counter[str] = Counter()
        self.in_between: Any = None

    def send(self, message: Any) -> Any:
        name = type(message).__name__
        self.asked[name] += 1
        return getattr(self, f"on_{name}")(message)

    def on_GetVariableKeys(self, message: comms.GetVariableKeys) -> Any:
        names = sorted(name for name in self.variables if name.startswith(message.prefix or ""))
        return SimpleNamespace(keys=names[message.offset :][: message.limit], total_entries=len(names))

    def on_GetVariable(self, message: comms.GetVariable) -> Any:
        if message.key not in self.variables:
            raise AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND))
        return SimpleNamespace(value=self.variables[message.key])

    def on_GetDRCount(self, message: comms.GetDRCount) -> Any:
        states = [self.runs.get((message.dag_id, run)) for run in message.run_ids or ()]
        wanted = message.states
        count = sum(one is not None and (wanted is None or one in wanted) for one in states)
        if self.in_between is not None:
            self.in_between()
        return SimpleNamespace(count=count)

    def on_GetTaskStates(self, message: comms.GetTaskStates) -> Any:
        found: dict[str, dict[str, str]] = {}
        for (stream, run, step), state in self.steps.items():
            if stream == message.dag_id and run in (message.run_ids or ()) and step in (message.task_ids or ()):
                found.setdefault(run, {})[step] = state
        return SimpleNamespace(task_states=found)

    def on_GetDagRun(self, message: comms.GetDagRun) -> Any:
        assert (message.dag_id, message.run_id) in self.runs
        return SimpleNamespace(end_date=MONDAY)

    def on_GetDag(self, message: comms.GetDag) -> Any:
        if message.dag_id not in self.dags:
            detail = {"status_code": 404, "message": "no such DAG"}
            raise AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))
        return self.dags[message.dag_id]


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    airflow = Airflow()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", airflow, raising=False)

    def write(key: str, value: Any, **_: Any) -> None:
        airflow.variables[key] = json.dumps(value)

    monkeypatch.setattr(Variable, "set", write)
    monkeypatch.setattr(Variable, "delete", lambda key: airflow.variables.pop(key, None))
    return airflow


def begins(
    airflow: Airflow, run_id: str, at: datetime = MONDAY, *, text: str = LEDGER, **params: Any
) -> dict[str, Any]:
    """Let an instance begin, and run its announcement."""
    stream = ValueStream.load(text)
    operator = compile_stream(stream, source_hash="h").get_task("announce")
    assert isinstance(operator, AnnounceStep)
    context = context_for(operator, params={"company": "ACME", "business_date": "", **params}, run_id=run_id)
    context["ti"].dag_id = stream.id
    context["dag_run"].run_after = context["dag_run"].logical_date = at
    airflow.runs[stream.id, run_id] = "running"
    return operator.execute(context)  # type: ignore[arg-type]


def waiter(body: str, head: str = "") -> WaitForStep:
    text = (
        f"value_stream: report\ntitle: R\nbusiness: {{domain: D, owner: o}}\n{head}"
        f"params: {{company: {{type: string, default: ACME}}}}\nsteps:\n  wait: {{wait_for: {body}}}\n"
    )
    operator = compile_stream(ValueStream.load(text), source_hash="h").get_task("wait")
    assert isinstance(operator, WaitForStep)
    return operator


class Wait:
    """One waiting step over its tries."""

    def __init__(self, body: str, head: str = "", *, at: datetime = MONDAY, run_id: str = "run-1") -> None:
        self.body, self.head, self.at, self.run_id = body, head, at, run_id
        self.store = Store()
        self.stream = "report"

    def does(self) -> Any:
        operator = waiter(self.body, self.head)
        context = context_for(operator, params={"company": "ACME"}, store=self.store, run_id=self.run_id)
        context["ti"].dag_id = self.stream
        context["dag_run"].run_after = context["dag_run"].logical_date = self.at
        return operator.execute(context)  # type: ignore[arg-type]

    def waits(self) -> InstanceTrigger:
        with pytest.raises(TaskDeferred) as deferred:
            self.does()
        assert isinstance(deferred.value.trigger, InstanceTrigger)
        return deferred.value.trigger


DONE = {"run_id": "a", "ended": "2026-03-02T18:00:00+00:00", "state": "success"}


def test_it_waits_for_the_instance_of_the_same_business_date(airflow: Airflow) -> None:
    wait = Wait("{stream: ledger}")
    wait.waits()  # there is none yet
    begins(airflow, "yesterday", MONDAY - timedelta(days=1))
    airflow.runs["ledger", "yesterday"] = "success"
    wait.waits()
    begins(airflow, "a")
    wait.waits()
    airflow.runs["ledger", "a"] = "success"
    assert wait.does() == DONE


def test_the_other_one_says_its_business_date_by_its_own_clock_and_param(airflow: Airflow) -> None:
    late = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)  # it is Monday in Berlin already
    berlin = LEDGER.replace('"0 18 * * *"', '"0 18 * * *", timezone: Europe/Berlin')
    assert begins(airflow, "a", late, text=berlin)["business_date"] == "2026-03-02"
    assert begins(airflow, "b", MONDAY, business_date="2026-02-27")["business_date"] == "2026-02-27"
    airflow.runs["ledger", "a"] = "success"
    assert Wait("{stream: ledger}").does()["run_id"] == "a"
    Wait("{stream: ledger}", at=datetime(2026, 2, 27, 9, tzinfo=UTC)).waits()  # "b" is not over


def test_an_offset_counts_working_days(airflow: Airflow, tmp_path: Any) -> None:
    (tmp_path / "calendars").mkdir()
    (tmp_path / "calendars" / "days.yaml").write_text("calendar: days\nfrom: 2026\nto: 2026\nclosed: [2026-02-27]\n")
    head = 'schedule: {cron: "0 18 * * *", calendar: days}\n'
    file = tmp_path / "report.yaml"
    file.write_text(
        f"value_stream: report\ntitle: R\nbusiness: {{domain: D, owner: o}}\n{head}steps:\n"
        "  before: {wait_for: {stream: ledger, offset: -1}}\n  after: {wait_for: {stream: ledger, offset: 2}}\n"
        "  far: {wait_for: {stream: ledger, offset: -20}}\n"
    )
    dag = compile_stream(ValueStream.load(file), source_hash="h")
    for step, date in (("before", "2026-02-26"), ("after", "2026-03-04")):
        operator: Any = dag.get_task(step)
        context = context_for(operator)
        context["dag_run"].logical_date = MONDAY
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(context)
        assert json.loads(deferred.value.trigger.wait["wanted"])["date"] == date  # type: ignore[attr-defined]
    operator = dag.get_task("far")
    context = context_for(operator)
    context["dag_run"].logical_date = datetime(2026, 1, 14, tzinfo=UTC)
    with pytest.raises(AirflowFailException, match="does not tell the working day -20 of 2026-01-14"):
        operator.execute(context)


def test_a_business_key_finds_the_instance_whatever_its_date(airflow: Airflow) -> None:
    begins(airflow, "other", company="OTHER")
    begins(airflow, "a", MONDAY - timedelta(days=9))
    airflow.runs["ledger", "other"] = "success"
    wait = Wait('{stream: ledger, key: "{{ params.company }}"}')
    wait.waits()
    airflow.runs["ledger", "a"] = "success"
    assert wait.does() == DONE


@pytest.mark.parametrize(
    ("step", "run", "state"),
    [
        ("success", "running", "success"),
        ("success", "failed", "success"),  # a later step failed: the milestone is reached
        ("running", "running", "running"),
        ("deferred", "running", "running"),
        ("failed", "running", "failed"),
        ("upstream_failed", "failed", "failed"),
        ("skipped", "success", "skipped"),
        ("", "success", "failed"),  # the instance is over, and never had such a step
        ("", "running", "running"),
    ],
)
def test_a_milestone_is_enough(airflow: Airflow, step: str, run: str, state: str) -> None:
    begins(airflow, "a")
    airflow.runs["ledger", "a"] = run
    if step:
        airflow.steps["ledger", "a", "close"] = step
    wait = Wait("{stream: ledger, step: close, on_failure: fail}")
    if state == "success":
        assert wait.does()["state"] == "success"
    elif state == "running":
        wait.waits()
    else:
        with pytest.raises(AirflowFailException, match=f"step 'close' of ledger for 2026-03-02: {state} in instance a"):
            wait.does()


def test_after_a_failure_it_waits_for_the_repair_or_fails_and_names_it(airflow: Airflow) -> None:
    begins(airflow, "a")
    airflow.runs["ledger", "a"] = "failed"
    patient, strict = Wait("{stream: ledger}"), Wait("{stream: ledger, on_failure: fail}")
    patient.waits()
    with pytest.raises(AirflowFailException, match="ledger for 2026-03-02: failed in instance a; repair it"):
        strict.does()
    airflow.runs["ledger", "a"] = "success"  # somebody cleared what failed
    assert patient.does() == DONE
    assert strict.does() == DONE, "a clear did not look anew"


@pytest.mark.parametrize(
    ("states", "newest", "all_of", "any_of"),
    [
        ("s", "success", "success", "success"),
        ("fs", "success", "failed", "success"),
        ("sf", "failed", "failed", "success"),
        ("sr", "running", "running", "success"),
        ("fr", "running", "failed", "running"),
        ("rf", "failed", "failed", "running"),
        ("ff", "failed", "failed", "failed"),
        ("ss", "success", "success", "success"),
        ("ks", "success", "skipped", "success"),
    ],
)
def test_which_instances_count_where_several_are_there(states: str, newest: str, all_of: str, any_of: str) -> None:
    means: Any = {"s": "success", "f": "failed", "r": "running", "k": "skipped"}
    found = [Instance(f"r{n}", f"2026-03-02T1{n}", means[one]) for n, one in enumerate(states)]
    for instances, state in (("newest", newest), ("all", all_of), ("any", any_of)):
        strict = judge(reversed(found), instances, failure_ends=True)  # type: ignore[arg-type]
        patient = judge(found, instances, failure_ends=False)  # type: ignore[arg-type]
        assert (strict.over, strict.state) == (state != "running", state), instances
        assert patient.over == (state == "success"), instances


def test_an_instance_that_was_deleted_does_not_count(airflow: Airflow) -> None:
    begins(airflow, "a")
    begins(airflow, "b", MONDAY + timedelta(minutes=1))
    airflow.runs["ledger", "a"] = "success"
    wait = Wait("{stream: ledger}")
    wait.waits()
    del airflow.runs["ledger", "b"]
    assert wait.does() == DONE


def test_one_that_is_cleared_while_it_is_asked_for_is_not_taken_for_deleted(airflow: Airflow) -> None:
    begins(airflow, "a")
    begins(airflow, "b", MONDAY + timedelta(minutes=1))
    airflow.runs["ledger", "a"] = "success"
    airflow.runs["ledger", "b"] = "failed"

    def cleared() -> None:
        airflow.runs["ledger", "b"] = "running"

    airflow.in_between = cleared
    Wait("{stream: ledger}").waits()


def test_the_time_limit_counts_from_the_beginning_whatever_dies(airflow: Airflow) -> None:
    begins(airflow, "a")
    fails, goes_on = (Wait(f"{{stream: ledger, within: 2h{more}}}") for more in ("", ", on_timeout: go_on"))
    with time_machine.travel(MONDAY, tick=False):
        first = [wait.waits().wait["deadline"] for wait in (fails, goes_on)]
    with time_machine.travel(MONDAY + timedelta(hours=1), tick=False):  # the worker died, and the next try looks
        assert [wait.waits().wait["deadline"] for wait in (fails, goes_on)] == first
    with time_machine.travel(MONDAY + timedelta(hours=2), tick=False):
        with pytest.raises(AirflowFailException, match="not over yet in instance a, and it waited 2:00:00"):
            fails.does()
        assert goes_on.does() == {"run_id": "a", "ended": "", "state": "running"}
    with time_machine.travel(MONDAY + timedelta(hours=3), tick=False):
        wait = fails.waits()  # a person cleared it: it waits anew
    assert wait.wait["deadline"] == (MONDAY + timedelta(hours=5)).isoformat()
    airflow.runs["ledger", "a"] = "success"
    with time_machine.travel(MONDAY + timedelta(hours=9), tick=False):
        assert fails.does() == DONE, "what came before the step looked is no time-out"


def test_it_waits_for_the_same_whatever_is_changed_meanwhile(airflow: Airflow) -> None:
    begins(airflow, "a")
    wait = Wait("{stream: ledger}")
    wait.waits()
    wait.at = MONDAY + timedelta(days=3)  # as if the template's zone had been corrected
    airflow.runs["ledger", "a"] = "success"
    assert wait.does()["run_id"] == "a"


def test_a_stream_can_wait_for_its_own_earlier_instances_and_never_for_itself(airflow: Airflow) -> None:
    begins(airflow, "mine")
    wait = Wait("{stream: ledger, key: ACME}", run_id="mine")
    wait.stream = "ledger"
    wait.waits()
    airflow.runs["ledger", "mine"] = "success"
    wait.waits()
    begins(airflow, "a", MONDAY - timedelta(days=1))
    airflow.runs["ledger", "a"] = "success"
    assert wait.does()["run_id"] == "a"


def test_a_stream_that_is_not_there_is_named_and_one_that_is_paused_is_told(
    airflow: Airflow, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AirflowException, match="there is no stream 'legder' in this Airflow"):
        Wait("{stream: legder}").does()
    airflow.dags["ledger"].is_paused = True
    Wait("{stream: ledger}").waits()
    assert "The stream ledger is paused" in capsys.readouterr().out
    airflow.dags["ledger"].tags = ["removed"]
    Wait("{stream: ledger}").waits()
    assert "The template of ledger was taken away" in capsys.readouterr().out


def test_an_announcement_that_somebody_spoilt_is_named(airflow: Airflow) -> None:
    begins(airflow, "a")
    for name in airflow.variables:
        airflow.variables[name] = "[]"
    with pytest.raises(AirflowException, match=r"the Variable 'enterprise_orch.told.ledger.d.* tells of no instance"):
        Wait("{stream: ledger}").does()


def test_a_record_that_somebody_spoilt_is_refused(airflow: Airflow) -> None:
    wait = Wait("{stream: ledger}")
    for spoilt in ({"version": 1}, {"version": 9}, "x", {"version": 1, "wanted": "{}", "begun": "now"}):
        wait.store[WAIT_FOR_KEY] = spoilt
        with pytest.raises(AirflowFailException, match="delete it to wait anew"):
            wait.does()


def test_announcing_again_changes_nothing_and_old_ones_are_cleared_away(airflow: Airflow) -> None:
    with time_machine.travel(MONDAY, tick=False):
        begins(airflow, "a")
        before = dict(airflow.variables)
        begins(airflow, "a")
        assert airflow.variables == before
        begins(airflow, "rerun", business_date="2019-01-02")
    assert len(airflow.variables) == 4
    with time_machine.travel(MONDAY + KEPT, tick=False):
        begins(airflow, "b", MONDAY + KEPT)
    assert len(airflow.variables) == 6, "one was cleared away too early"
    with time_machine.travel(MONDAY + KEPT + timedelta(days=1), tick=False):
        begins(airflow, "c", MONDAY + KEPT)
    assert {json.loads(value)["run_id"] for value in airflow.variables.values()} == {"b", "c"}


def test_an_announcement_without_a_key_fails_for_good(airflow: Airflow) -> None:
    with pytest.raises(AirflowFailException, match="came out empty"):
        begins(airflow, "a", company=" ")


def test_the_trigger_fires_when_it_is_there_and_again_in_another_triggerer(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delegate_trigger, "MIN_WAIT", timedelta(0))
    begins(airflow, "a")
    waits = Wait("{stream: ledger}").waits()
    name, arguments = waits.serialize()
    assert name.endswith("wait_for.InstanceTrigger")
    json.dumps(arguments)

    async def fired() -> Any:
        task = asyncio.ensure_future(anext(InstanceTrigger(**arguments).run()))  # type: ignore[arg-type]
        while not airflow.asked["GetDRCount"]:
            await asyncio.sleep(0.05)
        assert not task.done()
        airflow.runs["ledger", "a"] = "success"
        return (await task).payload

    airflow.asked.clear()
    assert asyncio.run(fired()) == {"version": 1}


def test_the_trigger_fires_when_its_time_is_over(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delegate_trigger, "MIN_WAIT", timedelta(0))
    waits = Wait("{stream: ledger, within: 1s}").waits()
    assert asyncio.run(anext(waits.run())).payload == {"version": 1}  # type: ignore[arg-type]


def test_ten_thousand_that_wait_cost_as_many_calls_as_ten(airflow: Airflow) -> None:
    for number in range(30):
        begins(airflow, f"r{number}", company=f"C{number}")

    def calls(waits: int) -> int:
        handles = [
            JobHandle(str(n), Wanted("ledger", key=f"C{n % 30}").to_text(), "",
                      {"instances": "newest", "failure_ends": ""})
            for n in range(waits)
        ]  # fmt: skip
        system = AnnouncedStreams(ask)
        first = asyncio.run(system.poll(handles))
        assert {status.phase for status in first.values()} == {Phase.RUNNING}
        airflow.asked.clear()
        assert len(asyncio.run(system.poll(handles))) == waits
        return airflow.asked.total()

    async def ask(message: Any) -> Any:
        return airflow.send(message)

    assert calls(10_000) == calls(30) <= 3
    assert calls(1) <= 2
