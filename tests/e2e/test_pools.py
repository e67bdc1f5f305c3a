"""Pools and priorities on real Airflow processes: what a step holds while its job runs, and who goes first.

How a user would notice that it is fake: two jobs run at once on a system that bears one; an urgent step stands in line
behind others; a step waits for ever and nobody can tell why.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from test_people_and_duplicates import Stage

from airflow_enterprise_orch.demo.run import stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.xdist_group("airflow")]

STREAM = """
value_stream: {name}
title: {name}
business: {{domain: Tests, owner: tests, criticality: {criticality}}}
params:
  order: {{type: string}}
  seconds: {{type: string}}
steps:
  work:
    unix.script: {{connection: virtual_server, script: 'sleep "$SECS"', env: {{SECS: "{{{{ params.seconds }}}}"}}}}
    resource: {{pool: {pool}}}
"""


def test_a_job_holds_its_slot_and_the_urgent_go_first(tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    for name, criticality, pool in (
        ("usual", "normal", "one_licence"),
        ("urgent", "critical", "one_licence"),
        ("lost", "normal", "nowhere"),
    ):
        (folder / f"{name}.yaml").write_text(STREAM.format(name=name, criticality=criticality, pool=pool))
    with stage(tmp_path / "home", folder) as (lab, airflow), airflow.api() as api:
        here = Stage(lab, airflow, api)
        here.act("/api/v2/pools", {"name": "one_licence", "slots": 1, "include_deferred": True})
        here.until(lambda: {"usual", "urgent", "lost"} <= api.dag_ids())
        here.start("lost", "first", 0)
        here.start("usual", "first", 20)
        here.until(lambda: here.task("usual", "first")["state"] == "deferred")
        here.start("usual", "second", 5)
        here.until(lambda: here.task("usual", "second")["state"] == "scheduled")
        here.start("urgent", "third", 5)
        here.until(lambda: here.task("urgent", "third")["state"] == "scheduled")
        assert here.task("usual", "first")["state"] == "deferred", "the first job ended before the others stood in line"
        assert len(here.jobs()) == 1
        for stream, run in (("usual", "first"), ("urgent", "third"), ("usual", "second")):
            here.until(lambda stream=stream, run=run: here.state(stream, run) == "success")  # type: ignore[misc]

        first, second, third = jobs = sorted(here.jobs(), key=lambda job: job["submitted"])
        assert [job["key"] for job in jobs] == [
            here.key("usual", "first"),
            here.key("urgent", "third"),
            here.key("usual", "second"),
        ], "the urgent step did not go first"
        assert first["ended"] <= second["submitted"]
        assert second["ended"] <= third["submitted"]

        # A pool that does not exist: Airflow says so to those who ask for this very task.
        assert here.task("lost", "first")["state"] == "scheduled"
        told = api._send("GET", "/api/v2/dags/lost/dagRuns/first/taskInstances/work/dependencies")
        assert "non-existent pool 'nowhere'" in str(told)
