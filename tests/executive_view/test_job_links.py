"""Links to where connected systems show their jobs, from the setting of a deployment.

How a user would notice that it is fake: the link leads to another job, or a job's name breaks out of the address.
"""

from __future__ import annotations

import logging

import pytest

from airflow_enterprise_orch.executive_view.answers_instance import RemoteJob, StepJobs
from airflow_enterprise_orch.executive_view.job_links import with_links
from airflow_enterprise_orch.executive_view.pictures import read_picture
from airflow_enterprise_orch.settings import JOB_LINKS, variable

PICTURE = read_picture({"title": "T", "steps": [
    {"id": "book", "title": "Book", "kind": "mainframe.job", "stack": "m", "after": [], "connection": "zos",
     "tasks": {"book--undo": "undo", "book-each": "each"}, "undo": {"kind": "unix.script", "connection": "host"}},
]})  # fmt: skip


def links(task: str = "book", job_id: str | None = "JOB00042", name: str = "BOOK") -> list[str | None]:
    job = RemoteJob(attempt=1, key=None, system="s", job_id=job_id, job_name=name, state="submitted", verdict=None,
                    message=None, parked=None, closed_by=None, opened=None, closed=None)  # fmt: skip
    (told,) = with_links([StepJobs(task_id=task, map_index=-1, jobs=[job])], PICTURE)
    return [one.link for one in told.jobs]


def test_a_link_leads_to_the_job_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable(JOB_LINKS), '{"zos": "https://z/{job_name}/{job_id}", "host": "http://h/{job_id}"}')
    assert links() == links("book-each") == ["https://z/BOOK/JOB00042"]
    assert links("book--undo") == ["http://h/JOB00042"]
    assert links(job_id="../../?x=1#{job_name}", name="A/B") == ["https://z/A%2FB/..%2F..%2F%3Fx%3D1%23%7Bjob_name%7D"]
    assert links(job_id=None) == links("another") == [None]


@pytest.mark.parametrize("setting", ["[]", "nothing", '{"zos": "javascript:alert(1)"}', '{"zos": 5}'])
def test_a_setting_that_cannot_be_used_links_nowhere_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, setting: str
) -> None:
    monkeypatch.setenv(variable(JOB_LINKS), setting)
    with caplog.at_level(logging.WARNING):
        assert links() == [None]
    assert "[enterprise_orch] job_links is no JSON object like" in caplog.text


def test_without_the_setting_there_is_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(variable(JOB_LINKS), raising=False)
    assert links() == [None]
