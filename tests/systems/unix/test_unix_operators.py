"""The operator for people who write DAGs in Python."""

from __future__ import annotations

from airflow_enterprise_orch.systems.unix.operators import UnixScriptOperator
from airflow_enterprise_orch.systems.unix.steps import UnixScript


def test_its_arguments_become_the_step_s_work():
    operator = UnixScriptOperator(
        task_id="provision", connection="batch_host", script="true", args=["a"], env={"B": "c"}, directory="/tmp"
    )
    assert (operator.step, operator.connection) == ("unix.script", "batch_host")
    assert operator.work == {"script": "true", "args": ["a"], "env": {"B": "c"}, "directory": "/tmp"}
    assert UnixScript.rendered(operator.work).interpreter == "/bin/sh"


def test_what_is_not_given_is_left_to_the_step():
    operator = UnixScriptOperator(
        task_id="provision", connection="batch_host", command="/opt/run", outcome={"success": "rc == 0"}
    )
    assert operator.work == {"command": "/opt/run"}
