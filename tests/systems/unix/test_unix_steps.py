"""The step's model, and what the registry sees."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from airflow_enterprise_orch.systems.unix.registration import CONNECTION_TYPES, UNIX
from airflow_enterprise_orch.systems.unix.steps import UnixScript


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ({}, "exactly one of 'script'"),
        ({"script": "true", "command": "/bin/true"}, "exactly one of 'script'"),
        ({"script": ""}, "at least 1"),
        ({"command": "true"}, "absolute path of a program"),
        ({"command": "/opt/dir/"}, "absolute path of a program"),
        ({"command": "/bin/true", "interpreter": "/bin/sh"}, "'interpreter' goes with 'script'"),
        ({"script": "true", "interpreter": "A=B/sh"}, "absolute path of a program"),
        ({"script": "true", "directory": "tmp"}, "absolute path on the host"),
        ({"script": "a\0b"}, "NUL"),
        ({"script": "true", "args": ["a\0"]}, "NUL"),
        ({"script": "true", "args": ["\ud800"]}, "half a character"),
        ({"script": "true", "env": {"A-B": "x"}}, "'A-B' is not the name of an environment variable"),
        ({"script": "true", "args": [1]}, "valid string"),
        ({"script": "true", "shell": "x"}, "Extra inputs"),
    ],
)
def test_a_wrong_step_says_what_is_wrong(work, said):
    with pytest.raises(ValidationError, match=said):
        UnixScript.model_validate(work)


def test_paths_may_be_templates_until_they_are_rendered():
    work = {"command": "{{ params.program }}", "directory": "{{ params.place }}"}
    assert UnixScript.model_validate(work).command == "{{ params.program }}"
    with pytest.raises(ValidationError, match="absolute path"):
        UnixScript.rendered(work)


def test_the_same_work_has_the_same_digest():
    work = {"script": "true", "args": ["a"], "env": {"B": "1", "A": "2"}}
    other = {**work, "env": {"A": "2", "B": "1"}}
    assert UnixScript.model_validate(work).digest() == UnixScript.model_validate(other).digest()
    assert UnixScript.model_validate(work).digest() != UnixScript(script="false").digest()


def test_the_registration_names_what_exists():
    step = UNIX.steps[0]
    assert (UNIX.name, UNIX.connection_type, step.name, step.output_key) == ("unix", "ssh", "unix.script", "log")
    assert step.work_model() is UnixScript
    assert CONNECTION_TYPES == []


def test_registration_and_steps_import_no_client():
    program = (
        "import sys; from airflow_enterprise_orch.systems.unix import registration, steps;"
        "print(', '.join(m for m in ('asyncssh', 'paramiko', 'airflow.providers.ssh') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "")
