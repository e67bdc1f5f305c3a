"""The step's model, the quoting of arguments, and what the registry sees."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from airflow_enterprise_orch.lab.windows_host import split_command_line
from airflow_enterprise_orch.systems.windows.operators import WindowsTaskOperator
from airflow_enterprise_orch.systems.windows.registration import CONNECTION_TYPES, WINDOWS
from airflow_enterprise_orch.systems.windows.steps import WindowsTask, quoted

PROGRAM = r"C:\Apps\import.exe"
TASK = r"\Dynamics\ImportOrders"


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ({}, "exactly one of 'program'"),
        ({"program": PROGRAM, "task": TASK}, "exactly one of 'program'"),
        ({"program": "import.exe"}, "absolute path of a program"),
        ({"program": r"C:\Apps\import.ps1"}, "absolute path of a program"),
        ({"program": r"C:\Apps\*.exe"}, "absolute path of a program"),
        ({"program": r"C:\Apps\im|port.exe"}, "absolute path of a program"),
        ({"program": PROGRAM, "directory": "batch"}, "absolute path on the host"),
        ({"program": PROGRAM, "env": {"A-B": "x"}}, "is not the name of an environment variable"),
        ({"program": PROGRAM, "arguments": ["a\0"]}, "control characters"),
        ({"program": PROGRAM, "arguments": ["\ud800"]}, "half a character"),
        ({"program": PROGRAM, "arguments": ["x" * 33_000]}, "longer than a Windows command line"),
        ({"program": r"C:\Apps\import.cmd", "arguments": ["a&calc"]}, "cannot be given to a batch file"),
        ({"program": r"C:\Apps\import.BAT", "arguments": ["%PATH%"]}, "cannot be given to a batch file"),
        ({"task": "ImportOrders"}, "path of a task"),
        ({"task": TASK, "env": {"A": "b"}}, "go with 'program'"),
        ({"task": TASK, "directory": "C:\\"}, "go with 'program'"),
        ({"task": TASK, "arguments": ['a" & calc "']}, "cannot be an argument of an existing task"),
        ({"task": TASK, "arguments": ["a\\"]}, "cannot be an argument of an existing task"),
        ({"task": TASK, "arguments": ["x"] * 33}, "at most 32 arguments"),
        ({"program": PROGRAM, "shell": "x"}, "Extra inputs"),
    ],
)
def test_a_wrong_step_says_what_is_wrong(work, said):
    with pytest.raises(ValidationError, match=said):
        WindowsTask.model_validate(work)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ({"program": r"C:\Apps\import.cmd", "arguments": ["{{ params.x }}&"]}, "batch file"),
        ({"task": TASK, "arguments": ['{{ "a" }}']}, "existing task"),
        ({"task": "{{ params.task }}"}, "path of a task"),
    ],
)
def test_templates_wait_until_they_are_rendered(work, said):
    WindowsTask.model_validate(work)
    with pytest.raises(ValidationError, match=said):
        WindowsTask.rendered(work)


def test_a_batch_file_takes_plain_words():
    work = WindowsTask(program=r"C:\Apps\import.cmd", arguments=["ORD-000001", r"C:\in\a.csv"])
    assert work.command_line == r"ORD-000001 C:\in\a.csv"


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ('say "hi"', r'"say \"hi\""'),
        ("C:\\dir\\", "C:\\dir\\"),
        ("C:\\my dir\\", '"C:\\my dir\\\\"'),
        ('a\\"b', r'"a\\\"b"'),
    ],
)
def test_an_argument_is_quoted_as_microsoft_says(argument, text):
    # https://learn.microsoft.com/en-us/cpp/c-language/parsing-c-command-line-arguments
    assert quoted(argument) == text


@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('\\" \t'), max_size=12)))
def test_what_is_quoted_is_split_into_the_same_arguments(arguments):
    assert split_command_line(" ".join(quoted(argument) for argument in arguments)) == arguments


def test_the_registration_names_what_exists():
    step = WINDOWS.steps[0]
    assert (WINDOWS.name, WINDOWS.connection_type, step.name) == ("windows", "winrm", "windows.task")
    assert step.work_model() is WindowsTask
    assert step.operator_class() is WindowsTaskOperator
    assert CONNECTION_TYPES == []


def test_registration_and_steps_import_no_client():
    program = (
        "import sys; from airflow_enterprise_orch.systems.windows import registration, steps, psrp, task_scheduler;"
        "print(', '.join(m for m in ('pypsrp', 'requests', 'spnego', 'winrm') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_the_operator_s_arguments_become_the_step_s_work():
    operator = WindowsTaskOperator(
        task_id="t", connection="dynamics", program=PROGRAM, arguments=["a"], env={"B": "c"}, directory="D:\\"
    )
    assert (operator.step, operator.connection) == ("windows.task", "dynamics")
    assert operator.work == {"program": PROGRAM, "arguments": ["a"], "env": {"B": "c"}, "directory": "D:\\"}
    assert WindowsTaskOperator(task_id="u", connection="c", task=TASK).work == {"task": TASK}
