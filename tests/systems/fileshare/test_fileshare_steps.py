"""The YAML vocabulary, and the operators for people who write DAGs in Python."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from airflow_enterprise_orch.systems.fileshare.operators import (
    FileshareAwaitOperator,
    FileshareCertificateOperator,
    FileshareDeliverOperator,
)
from airflow_enterprise_orch.systems.fileshare.steps import FileshareAwait, FileshareCertificate, FileshareDeliver


@pytest.mark.parametrize(
    "to",
    ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".enterprise-orch/ended/x", "a.manifest.json", "a\\b", "a:b",
     "a\nb", "nul\0", "ends with dot.", "x" * 201],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused(to):
    with pytest.raises(ValidationError):
        FileshareDeliver.rendered({"to": to, "content": ""})


def test_jinja_in_a_path_waits_until_it_is_rendered():
    FileshareDeliver.model_validate({"to": "{{ params.order }}/../x", "content": ""})
    with pytest.raises(ValidationError):
        FileshareDeliver.rendered({"to": "{{ params.order }}/../x", "content": ""})


@pytest.mark.parametrize("sources", [{}, {"content": "a", "file": "/a"}])
def test_exactly_one_source(sources):
    with pytest.raises(ValidationError, match="exactly one of 'content'"):
        FileshareDeliver.rendered({"to": "a", **sources})


@pytest.mark.parametrize(
    ("link", "good"), [("7d", True), ("8d", False), ("0s", False), ("1 day", False), ("36h", True)]
)
def test_a_link_lives_a_week_at_most(link, good):
    given = {"to": "a", "content": "", "link": link}
    if good:
        assert FileshareDeliver.rendered(given)
    else:
        with pytest.raises(ValidationError):
            FileshareDeliver.rendered(given)


@pytest.mark.parametrize("wrong", [{"pattern": "a/b"}, {"count": 0}, {"stable": "soon"}, {"folder": "/abs"}])
def test_a_wait_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        FileshareAwait.rendered({"pattern": "*", **wrong})


def test_the_operators_arguments_become_the_steps_work():
    deliver = FileshareDeliverOperator(task_id="a", connection="c", to="x", content="y", link="1h")
    assert (deliver.step, deliver.work) == ("fileshare.deliver", {"to": "x", "content": "y", "link": "1h"})
    assert FileshareDeliver.rendered(deliver.work)
    certify = FileshareCertificateOperator(
        task_id="b", connection="c", to="x.pdf", instance="42", recipient="r", facts={"a": "b"}
    )
    assert certify.step == "fileshare.certificate"
    assert FileshareCertificate.rendered(certify.work).facts == {"a": "b"}
    awaiting = FileshareAwaitOperator(task_id="d", connection="c", pattern="*.csv", folder="in", count=2)
    assert awaiting.step == "fileshare.await"
    assert FileshareAwait.rendered(awaiting.work).count == 2
