"""Pools and priorities on real Airflow processes: what a step holds while its job runs, and who goes first.

How a user would notice that it is fake: two jobs run at once on a system that bears one; an urgent step stands in line
behind others; a step waits for ever and nobody can tell why.
"""

from __future__ import annotations

from company import JOB, Stage, go, scenario

STREAM = """
value_stream: {name}
title: {name}
business: {{domain: Tests, owner: tests, criticality: {criticality}}}
params:
  until: {{type: string, default: ""}}
steps:
  work:
    unix.script: {{connection: virtual_server, script: '{job}', env: {{UNTIL: "{{{{ params.until }}}}"}}}}
    resource: {{pool: {pool}}}
"""
STREAMS = {
    name: STREAM.format(name=name, criticality=criticality, pool=pool, job=JOB)
    for name, criticality, pool in (
        ("usual", "normal", "one_licence"),
        ("urgent", "critical", "one_licence"),
        ("lost", "normal", "nowhere"),
    )
}


@scenario(STREAMS)
def test_a_job_holds_its_slot_and_the_urgent_go_first(here: Stage) -> None:
    first_may_end = here.place / "go"
    here.act("/api/v2/pools", {"name": "one_licence", "slots": 1, "include_deferred": True})
    here.api.trigger("lost", "first", {})
    here.api.trigger("usual", "first", {"until": str(first_may_end)})
    here.until(lambda: here.task("usual", "first")["state"] == "deferred")
    here.api.trigger("usual", "second", {})
    here.until(lambda: here.task("usual", "second")["state"] == "scheduled")
    here.api.trigger("urgent", "third", {})
    here.until(lambda: here.task("urgent", "third")["state"] == "scheduled")
    assert here.task("usual", "first")["state"] == "deferred", "the first job ended before the others stood in line"
    assert len(here.jobs("usual", "first", "second") + here.jobs("urgent", "third")) == 1
    go(first_may_end)
    for stream, run in (("usual", "first"), ("urgent", "third"), ("usual", "second")):
        here.until(lambda stream=stream, run=run: here.state(stream, run) == "success")  # type: ignore[misc]

    jobs = here.jobs("usual", "first", "second") + here.jobs("urgent", "third")
    first, second, third = jobs = sorted(jobs, key=lambda job: job["submitted"])
    assert [job["key"] for job in jobs] == [
        *here.keys("usual", "first"),
        *here.keys("urgent", "third"),
        *here.keys("usual", "second"),
    ], "the urgent step did not go first"
    assert first["ended"] <= second["submitted"]
    assert second["ended"] <= third["submitted"]

    # A pool that does not exist: Airflow says so to those who ask for this very task.
    assert here.task("lost", "first")["state"] == "scheduled"
    told = here.api._send("GET", "/api/v2/dags/lost/dagRuns/first/taskInstances/work/dependencies")
    assert "non-existent pool 'nowhere'" in str(told)
