"""What a template author may write, and what he is told when it is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from airflow_enterprise_orch.delegation.system import step_type
from airflow_enterprise_orch.systems.container.operators import (
    ContainerProvisionOperator,
    ContainerRemoveOperator,
    ContainerRunOperator,
)
from airflow_enterprise_orch.systems.container.spec import container_document
from airflow_enterprise_orch.systems.container.steps import (
    ContainerProvision,
    ContainerRemove,
    ContainerRun,
    HealthCheck,
    Mount,
    Publish,
)

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "image",
    [
        "tools",
        "crm/tools:1.4",
        "registry.example.com:5000/crm/my_tools:1.4-rc1",
        f"crm/tools:1@{DIGEST}",
        "{{ params.i }}",
    ],
)
def test_images(image):
    assert ContainerRun(image=image).image == image


@pytest.mark.parametrize(
    "image", ["", "Tools", "tools:", "../etc", "a b", "tools@sha256:12", "http://x/y", "tools?x=1"]
)
def test_what_is_no_image(image):
    with pytest.raises(ValidationError, match="is not an image, such as"):
        ContainerRun(image=image)


def test_jinja_is_judged_once_it_is_rendered():
    ContainerRun.model_validate({"image": "{{ params.image }}"})
    with pytest.raises(ValidationError, match="is not an image"):
        ContainerRun.rendered({"image": "{{ params.image }}"})


@pytest.mark.parametrize(
    "words",
    [
        {"command": ["sh", "-c", "echo {{ params.name }}"]},
        {"command": ["sh", "-ec", "echo {{ params.name }}"]},
        {"command": ["perl", "-e", "print '{{ params.name }}'"]},
        {"entrypoint": ["bash", "-c"], "command": ["echo {{ params.name }}"]},
        {"entrypoint": ["python", "--command", "{% if x %}{% endif %}"]},
        {"command": ["env", "A=b", "/bin/sh", "-c", "echo {{ params.name }}"]},
        {"command": ["-c", "echo {{ params.name }}"]},
    ],
)
def test_values_are_not_pasted_into_program_text(words):
    with pytest.raises(ValidationError, match="values are not pasted into the text after"):
        ContainerRun(image="tools", **words)


def test_values_may_be_arguments_and_environment():
    ContainerRun(
        image="tools", command=["sh", "-c", 'echo "$1"', "sh", "{{ params.name }}"], env={"A": "{{ params.a }}"}
    )


def test_a_program_s_own_option_is_not_mistaken_for_program_text():
    ContainerRun(image="tools", command=["/opt/rate", "-c", "{{ params.config }}", "-e", "{{ params.region }}"])


@pytest.mark.parametrize("model", [ContainerRun, ContainerProvision, ContainerRemove, Mount, HealthCheck, Publish])
def test_every_field_is_in_the_documentation(model):
    text = (Path(__file__).parents[3] / "docs" / "systems" / "container.md").read_text(encoding="utf-8")
    for name in model.model_fields:
        assert re.search(rf"`{name}`|{name}: ", text), name


def test_a_health_check_takes_no_pasted_values_either():
    with pytest.raises(ValidationError, match="not pasted"):
        ContainerProvision(image="web", health={"command": ["sh", "-c", "test {{ params.x }}"]})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"env": {"A-B": "x"}}, "is not the name of an environment variable"),
        ({"env": {"A": "x\0y"}}, "NUL"),
        ({"directory": "data"}, "is not an absolute path"),
        ({"mounts": [{"source": "data/x", "target": "/data"}]}, "a path on the host or the name of a volume"),
        ({"mounts": [{"source": "/data", "target": "/data:/x"}]}, "is not an absolute path"),
        ({"network": "a b"}, "the name of a network"),
        ({"user": "a;b"}, "uid:gid"),
        ({"memory_mb": 1}, "greater than or equal to 6"),
        ({"cpus": 0.0}, "greater than 0"),
        ({"pull": "sometimes"}, "'missing', 'always' or 'never'"),
        ({"privileged": True}, "Extra inputs are not permitted"),
        ({"health": {"command": ["true"]}}, "Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_said(more, said):
    with pytest.raises(ValidationError, match=said):
        ContainerRun(image="tools", **more)


def test_an_instance_to_remove_is_an_id_and_no_name():
    assert ContainerRemove(instance="0123456789ab").instance == "0123456789ab"
    with pytest.raises(ValidationError, match="the id of a container"):
        ContainerRemove(instance="web-1")


def test_the_same_work_has_the_same_hash_and_other_work_another():
    one = ContainerRun(image="tools", command=["a"], env={"A": "1", "B": "2"})
    same = ContainerRun(image="tools", command=["a"], env={"B": "2", "A": "1"})
    assert one.digest() == same.digest()
    assert one.digest() != ContainerRun(image="tools", command=["a"], env={"A": "1", "B": "3"}).digest()


def test_mounts_and_ports_become_what_the_engine_wants():
    work = ContainerProvision(
        image="web",
        mounts=[{"source": "/srv/in", "target": "/in"}, {"source": "state", "target": "/state", "read_only": False}],
        publish=[{"container": 80}, {"container": 53, "host": 5353, "protocol": "udp"}],
        health={"command": ["true"], "interval": 2, "start_period": 30},
    )
    document = container_document(work, "T" + "0" * 19)
    host = document["HostConfig"]
    assert host["Mounts"] == [
        {"Type": "bind", "Source": "/srv/in", "Target": "/in", "ReadOnly": True},
        {"Type": "volume", "Source": "state", "Target": "/state", "ReadOnly": False},
    ]
    assert host["PortBindings"] == {"80/tcp": [{"HostPort": ""}], "53/udp": [{"HostPort": "5353"}]}
    assert document["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    assert document["Healthcheck"]["Test"] == ["CMD", "true"]
    assert document["Healthcheck"]["StartPeriod"] == 30_000_000_000


@pytest.mark.parametrize(
    ("operator", "fields", "step"),
    [
        (ContainerRunOperator, {"image": "tools", "command": ["a"], "options": {"pull": "never"}}, "container.run"),
        (
            ContainerProvisionOperator,
            {"image": "web", "env": {"A": "b"}, "options": {"publish": [{"container": 80}]}},
            "container.provision",
        ),
        (ContainerRemoveOperator, {"instance": "0123456789ab"}, "container.remove"),
    ],
)
def test_each_operator_makes_its_step(operator, fields, step):
    made = operator(task_id="x", connection="engine", **fields)
    assert made.step == step
    registered = step_type(step)[1]
    assert registered.operator_class() is operator
    registered.work_model().rendered(made.work)
