"""A step that runs an operator of Airflow's providers.

How a user would notice that it is fake: an operator that nobody allowed is imported or run; a value with braces in it
is evaluated, and shows a password; a deferrable operator runs from its beginning when it resumes; what it left is lost;
it is tried again although the template does not say so; every other task of the stream imports the provider.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferralTimeout, TaskDeferred
from operators_for_tests import CopyOperator, MoveOperator
from streams_for_tests import context_for, stream

from airflow_enterprise_orch import settings
from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.provider_info import get_provider_info
from airflow_enterprise_orch.template_tools.explain import explain
from airflow_enterprise_orch.template_tools.graph import draw
from airflow_enterprise_orch.template_tools.walk import NotGiven, walk
from airflow_enterprise_orch.value_stream import airflow_operators
from airflow_enterprise_orch.value_stream.airflow_operators import (
    OperatorRefused,
    find_operator,
    provider_package,
    signature_of,
)
from airflow_enterprise_orch.value_stream.airflow_step import AirflowStep
from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.model import ValueStream

VARIABLE = settings.variable(settings.AIRFLOW_OPERATORS)
COPY = "operators_for_tests.CopyOperator"
ATTACK = (
    "{{ conn.vault.password }} {{ var.value.secret }} {{ ti.task.dag }} "
    "{% for x in [].__class__.__mro__ %}x{% endfor %}"
)


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "operators_for_tests.*, airflow.sdk.nothing")
    monkeypatch.setenv("AIRFLOW_CONN_VAULT", json.dumps({"conn_type": "http", "password": "hunter2"}))
    monkeypatch.setenv("AIRFLOW_VAR_SECRET", "hunter2")
    CopyOperator.made.clear()


def step(name: str = "CopyOperator", arguments: str = "{source: a}", more: str = "", steps: str = "") -> AirflowStep:
    """Return the task of a step ``a`` that runs an operator, from a template."""
    text = f"a: {{airflow: {{operator: operators_for_tests.{name}, arguments: {arguments}}}{more}}}\n{steps}"
    made = compile_stream(stream(text), source_hash="x").get_task("a")
    assert isinstance(made, AirflowStep)
    return made


def run(task: AirflowStep, **known: Any) -> Any:
    """Run it as Airflow does: rendered first."""
    context: Any = context_for(task, **known)
    task.render_template_fields(context)
    return task.execute(context)


# --------------------------------------------------------------------------------------------------- it runs


def test_it_runs_with_what_the_template_says_and_leaves_its_outputs() -> None:
    outputs = "size: {path: files.0.size, type: integer}, ok: {path: files.0.ok, type: boolean}, word: {path: source}"
    arguments = "{source: 'n{{ params.n }}', settings: {deep: ['{{ business.owner }}', 1, true, null]}}"
    task = step(arguments=arguments, more=f", outputs: {{{outputs}}}")
    assert run(task, params={"n": 4}) == {"outcome": "success", "size": 7, "ok": True, "word": "n4"}
    (made,) = CopyOperator.made
    assert (made.source, made.settings) == ("n4", {"deep": ["o", 1, True, None]})
    assert (made.task_id, made.dag.dag_id) == ("a", "s")
    assert made.dag.get_task("a") is task, "the operator is no task of the DAG by itself"


def test_another_xcom_is_read_from_this_very_task() -> None:
    task = step(more=", outputs: {rows: {xcom: rows, type: integer}}")
    context: Any = context_for(task)
    asked: dict[str, Any] = {}

    def xcom_pull(**given: Any) -> Any:
        asked.update(given)
        return context["ti"].pushed[given["key"]]

    context["ti"].xcom_pull = xcom_pull
    task.render_template_fields(context_for(task))
    assert task.execute(context) == {"outcome": "success", "rows": 3}
    assert asked == {"task_ids": "a", "key": "rows", "map_indexes": -1}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{path: nowhere}", "output 'x' .XCom 'return_value', nowhere. is not there"),
        ("{path: files.7}", "is not there"),
        ("{path: files}", "is .*which is no string"),
        ("{path: files.0.ok, type: integer}", "is True, which is no integer"),
        ("{path: files.0.size, type: boolean}", "is 7, which is no boolean"),
    ],
)
def test_an_output_that_is_not_there_fails_and_says_that_a_clear_runs_it_again(rule: str, said: str) -> None:
    with pytest.raises(AirflowFailException, match=f"step 'a': .*{said}; .* a clear runs it again"):
        run(step(more=f", outputs: {{x: {rule}}}"))


def test_what_the_operator_raises_is_airflows_to_judge() -> None:
    with pytest.raises(AirflowSkipException):
        run(step(arguments="{source: a, fails: skip}"))
    with pytest.raises(RuntimeError, match="the disk is full"):
        run(step(arguments="{source: a, fails: the disk is full}"))


def test_an_operator_that_cannot_be_made_is_one_line_and_no_retry() -> None:
    with pytest.raises(
        AirflowFailException, match=r"cannot be made from its arguments \(ValueError: nowhere is no place\)"
    ):
        run(step(arguments="{source: nowhere}"))


def test_airflow_does_not_warn_of_an_operator_inside_another(caplog: pytest.LogCaptureFixture) -> None:
    run(step())
    assert "outside of the Task Runner" not in caplog.text
    assert ExecutorSafeguard.tracker.get(None) is None


def test_a_kill_reaches_the_operator() -> None:
    task = step()
    task.on_kill()
    run(task)
    task.on_kill()
    assert CopyOperator.made[0].killed


# --------------------------------------------------------------------------------------------------- it waits


def deferred(task: AirflowStep, context: Any) -> TaskDeferred:
    task.render_template_fields(context)
    with pytest.raises(TaskDeferred) as raised:
        task.execute(context)
    return raised.value


def test_a_deferrable_operator_goes_on_where_it_deferred() -> None:
    task = step("WaitingOperator", "{source: 'n{{ params.n }}'}", ", outputs: {x: {}}")
    wait = deferred(task, context_for(task, params={"n": 4}))
    assert wait.trigger.serialize()[1] == {"arguments": "n4"}
    # Another process: the task is made anew, rendered again, and resumed.
    again = step("WaitingOperator", "{source: 'n{{ params.n }}'}", ", outputs: {x: {}}")
    context: Any = context_for(again, params={"n": 4})
    again.render_template_fields(context)
    left = again.resume_execution(wait.method_name, {**(wait.kwargs or {}), "event": "done"}, context)
    assert left == {"outcome": "success", "x": "done x n4"}


def test_a_trigger_that_ran_out_of_time_fails_the_step() -> None:
    task = step("WaitingOperator")
    context: Any = context_for(task)
    task.render_template_fields(context)
    with pytest.raises(TaskDeferralTimeout):
        task.resume_execution("__fail__", {"error": "Trigger timeout"}, context)


@pytest.mark.parametrize(("patience", "limit"), [(0, 60), (7200, 60), (5, 5)])
def test_a_time_limit_holds_while_it_waits_too(patience: int, limit: int) -> None:
    task = step("WaitingOperator", f"{{source: a, patience: {patience}}}", ", time_limit: 1m")
    assert task.execution_timeout == timedelta(minutes=1)
    wait = deferred(task, context_for(task))
    assert wait.timeout is not None
    assert limit - 1 <= wait.timeout.total_seconds() <= limit


def test_a_time_limit_counts_from_the_start_of_the_try() -> None:
    task = step("WaitingOperator", more=", time_limit: 1m")
    context: Any = context_for(task)
    context["ti"].start_date = datetime.now(UTC) - timedelta(hours=1)
    wait = deferred(task, context)
    assert wait.timeout == timedelta(seconds=1), "what is left, and never nothing, which would be no limit"


# --------------------------------------------------------------------------------------------------- nobody gets in


def test_a_value_with_braces_stays_what_it_is() -> None:
    """Whoever starts an instance gives its params, and whatever a job printed is an output: neither is a template."""
    text = (
        "value_stream: s\ntitle: S\nbusiness: {domain: D, owner: o}\nparams: {t: {type: string, default: ''}}\nsteps:\n"
    )
    text += "  a: {unix.script: {connection: c, script: run}, outputs: {said: {log: log, match: '(.*)'}}}\n"
    text += f"  b: {{after: [a], airflow: {{operator: {COPY}, arguments: {{source: '{{{{ params.t }}}}', "
    text += "settings: {x: '{{ steps.a.said }}'}}}, outputs: {source: {path: source}, again: {path: again}}}\n"
    task = compile_stream(ValueStream.load(text), source_hash="x").get_task("b")
    assert isinstance(task, AirflowStep)
    left = run(task, params={"t": ATTACK}, left={"a": {"rc": 0, "said": ATTACK}})
    # The operator even renders its own fields once more, as some do.
    assert left == {"outcome": "success", "source": ATTACK, "again": ATTACK}
    (made,) = CopyOperator.made
    assert (made.source, made.settings) == (ATTACK, {"x": ATTACK})
    assert "hunter2" not in repr((left, vars(made)))


def test_a_value_that_names_a_file_is_not_read_from_it(tmp_path: Path) -> None:
    (tmp_path / "x.sql").write_text("select 1")
    text = "{source: '{{ params.n }}.sql'}"
    assert run(step(arguments=text, more=", outputs: {s: {path: again}}"), params={"n": 1})["s"] == "1.sql"


def test_airflows_own_names_are_no_names_of_a_template() -> None:
    with pytest.raises(TemplateError, match=r"'conn.vault' is not available in templates"):
        step(arguments="{source: '{{ conn.vault.password }}'}")
    # And where a plan says so all the same, the step fails before anything is made.
    task = AirflowStep(task_id="a", dag=DAG("s"), operator=COPY, arguments={"source": "{{ conn.vault.password }}"})
    with pytest.raises(AirflowFailException, match=r"'conn.vault' is not available in templates"):
        run(task)
    assert CopyOperator.made == []


@pytest.mark.parametrize("value", ["", "airflow.providers.*", COPY + "X", "operators_for_tests"])
def test_an_operator_that_is_not_allowed_is_refused_before_it_is_imported(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    imported: list[str] = []
    monkeypatch.setattr(airflow_operators, "_imported", imported.append)
    with pytest.raises(TemplateError, match=r"steps.a.airflow.operator: this deployment (allows no|does not allow)"):
        step()
    assert imported == []


def test_what_was_allowed_when_the_template_loaded_must_be_so_when_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    task = step()
    monkeypatch.setenv(VARIABLE, "airflow.providers.*")
    with pytest.raises(
        AirflowFailException, match=r"step 'a': this deployment does not allow 'operators_for_tests.Copy"
    ):
        run(task)
    assert CopyOperator.made == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("operators_for_tests.BashOperator", "is 'airflow.providers.standard.operators.bash.BashOperator', which this"),
        ("operators_for_tests.NoOperator", "is no operator"),
        ("operators_for_tests.function", "is no operator"),
        ("operators_for_tests.BaseOperator", "is no operator"),
        ("operators_for_tests.ChoosingOperator", "decides which tasks are skipped"),
        ("operators_for_tests.CopyOperatr", "there is no 'CopyOperatr'"),
    ],
)
def test_only_an_operator_that_is_at_home_where_it_is_allowed_may_run(path: str, said: str) -> None:
    with pytest.raises(OperatorRefused, match=said):
        find_operator(path)


def test_a_provider_that_is_not_installed_is_named_by_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "airflow.providers.*")
    with pytest.raises(OperatorRefused) as refused:
        find_operator("airflow.providers.snowflake.operators.snowflake.SnowflakeSqlApiOperator")
    assert refused.value.remedy == "pip install apache-airflow-providers-snowflake"
    with pytest.raises(OperatorRefused) as refused:
        find_operator("airflow.providers.http.operators.htp.HttpOperator")
    assert refused.value.suggestion == "airflow.providers.http.operators.http"


def test_packages_of_providers_with_two_names() -> None:
    assert (
        provider_package("airflow.providers.cncf.kubernetes.operators.pod")
        == "apache-airflow-providers-cncf-kubernetes"
    )
    assert provider_package("my.own.operators") == ""


def test_a_module_that_breaks_while_it_is_imported_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_operators.py").write_text("raise RuntimeError('no licence\\nfound')\n")
    (tmp_path / "needy_operators.py").write_text("import no_such_package.inner\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(VARIABLE, "broken_operators.*,needy_operators.*")
    with pytest.raises(OperatorRefused, match=r"cannot be imported \(RuntimeError: no licence found\)"):
        find_operator("broken_operators.X")
    with pytest.raises(OperatorRefused, match="needs the package 'no_such_package', which is not installed here"):
        find_operator("needy_operators.X")


# --------------------------------------------------------------------------------------------------- what it takes


def test_the_arguments_of_a_class_and_those_it_hands_on() -> None:
    takes = signature_of(MoveOperator)
    assert (takes.names, takes.required) == (("fails", "settings", "source", "target"), ("target",))


def test_an_operator_that_needs_a_function_is_refused() -> None:
    with pytest.raises(TemplateError, match="CodeOperator needs 'python_callable', which no template can give"):
        step("CodeOperator", "{words: x}")
    with pytest.raises(TemplateError, match="the argument 'python_callable' is not for templates"):
        step("CodeOperator", "{python_callable: os.system}")


# --------------------------------------------------------------------------------------------------- in the DAG


def test_it_is_tried_again_only_where_the_template_says_so() -> None:
    assert step().retries == 0, "whatever the deployment's default is"
    task = step(more=", retry: [{on: [failed], times: 4, delay: 2m, backoff: 3, max_delay: 1h}]")
    assert (task.retries, task.retry_delay, task.retry_exponential_backoff) == (4, timedelta(minutes=2), 3)
    assert task.max_retry_delay == timedelta(hours=1)
    assert step(more=", retry: [{on: [failed]}]").retry_delay == timedelta(minutes=1)


def test_it_holds_pools_as_other_work_does() -> None:
    task = step(more=", resource: {pool: p, slots: 2}, at_once: 1, priority: high")
    assert (task.pool, task.pool_slots, task.max_active_tis_per_dag, task.priority_weight) == ("p", 2, 1, 1000)


def test_it_says_that_it_is_not_protected() -> None:
    task = step()
    assert task.doc_md is not None
    assert "Not protected from running twice" in task.doc_md
    model = stream(f"a: {{airflow: {{operator: {COPY}, arguments: {{source: a}}}}}}")
    assert "not protected from running twice" in explain(model)
    assert "an operator of Airflow" in draw(model)


def test_the_other_tasks_of_the_stream_do_not_import_the_operator() -> None:
    code = (
        "import sys\n"
        "from airflow_enterprise_orch.value_stream.plan import StreamPlan, TaskPlan\n"
        "kind = 'airflow_enterprise_orch.value_stream.airflow_step:AirflowStep'\n"
        "task = TaskPlan('a', kind, {'operator': 'airflow.providers.http.operators.http.HttpOperator'})\n"
        "StreamPlan({'dag_id': 's'}, {}, None, (task,)).build()\n"
        "print([name for name in sys.modules if name.startswith('airflow.providers.http.operators')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["[]"]), done.stderr


def test_a_walk_takes_what_is_given_for_it() -> None:
    text = f"a: {{airflow: {{operator: {COPY}, arguments: {{source: '{{{{ params.n }}}}'}}}}, "
    text += "outputs: {rows: {type: integer}}}\n"
    text += "b: {after: [a], branch: [{when: steps.a.rows > 3, then: [c]}, {otherwise: []}]}\n"
    text += f"c: {{airflow: {{operator: {COPY}, arguments: {{source: '{{{{ steps.a.outcome }}}}'}}}}}}"
    model = stream(text)
    assert walk(model, {}, {"a": {"rows": 4}}).takes == ("a", "b", "c")
    assert walk(model, {}, {"a": {"outcome": "failed"}}).ends == "failed"
    with pytest.raises(NotGiven, match=r"steps\.a\.rows"):
        walk(model, {}, {})


def test_airflow_knows_the_setting() -> None:
    option = get_provider_info()["config"]["enterprise_orch"]["options"]["airflow_operators"]
    assert option["default"] == ""
    assert VARIABLE == "AIRFLOW__ENTERPRISE_ORCH__AIRFLOW_OPERATORS"


def test_a_site_that_says_nothing_allows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    assert airflow_operators.patterns() == ()
