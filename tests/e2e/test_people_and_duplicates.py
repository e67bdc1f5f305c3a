"""What people do to live instances, on real Airflow processes: start one twice, kill a step, clear it, ask what it is.

How a user would notice that it is fake: the same order booked by two instances; a job that runs on after its step was
cleared; a job killed because somebody restarted a triggerer; a wrong password tried again and again.
"""

from __future__ import annotations

from company import JOB, OVER, Stage, go, scenario

STREAM = """
value_stream: {name}
title: {name}
business: {{domain: Tests, owner: tests, criticality: low, key: "{{{{ params.order }}}}", duplicates: {duplicates}}}
params:
  order: {{type: string, default: ORD-1}}
  until: {{type: string, default: ""}}
steps:
  work:
    unix.script:
      connection: {connection}
      script: 'echo "$ORDER"; {job}'
      env: {{ORDER: "{{{{ params.order }}}}", UNTIL: "{{{{ params.until }}}}"}}
"""
STREAMS = {
    name: STREAM.format(name=name, duplicates=duplicates, connection=connection, job=JOB)
    for name, duplicates, connection in (
        ("queued", "queue", "virtual_server"),
        ("rejected", "reject", "print_shop"),
        ("free", "allow", "virtual_server"),
        ("locked", "allow", "nobody_host"),
    )
}


@scenario(STREAMS)
def test_duplicates_kills_and_clears(here: Stage) -> None:
    api = here.api
    # Three instances of one order: one runs, one of `queue` waits for it, one of `reject` fails beside its own.
    first_may_end = here.place / "first"
    api.trigger("queued", "first", {"until": str(first_may_end)})
    api.trigger("rejected", "first", {"until": str(first_may_end)})
    here.until(lambda: bool(here.jobs("queued", "first") and here.jobs("rejected", "first")))
    api.trigger("queued", "second", {})
    api.trigger("rejected", "second", {})
    here.until(lambda: here.state("rejected", "second") == "failed")
    assert "first" in api.log("rejected", "second", "admit", 1), "the other instance is not named"
    assert not api.state_store("rejected", "second", "work"), "the duplicate was handed over"
    here.until(lambda: here.task("queued", "second", "admit")["state"] == "deferred")
    go(first_may_end)
    here.until(lambda: here.state("queued", "second") == "success")
    one, other = sorted(here.jobs("queued", "first", "second"), key=lambda job: job["submitted"])
    assert one["ended"] <= other["submitted"], "the second instance did not wait for the first"

    # A person clears a waiting step: its job ends, and the work runs anew as a second attempt.
    second_may_end = here.place / "second"
    api.trigger("free", "cleared", {"until": str(second_may_end)})
    here.until(lambda: here.task("free", "cleared")["state"] == "deferred")
    here.clear("free", "cleared", "work")
    here.until(lambda: len(here.jobs("free", "cleared")) == 2)
    jobs = {job["key"]: job for job in here.jobs("free", "cleared")}
    one, other = (jobs[key] for key in here.keys("free", "cleared"))
    assert one["ended"] <= other["submitted"], "two attempts of one step ran at once"
    go(second_may_end)
    here.until(lambda: here.state("free", "cleared") == "success")

    # The plugin's API tells the remote jobs, and only to those who may see the stream.
    path = "/enterprise-orch/api/v1/dags/free/dagRuns/cleared/jobs"
    told = api._send("GET", path)["steps"][0]["jobs"]
    assert [(job["attempt"], job["verdict"]) for job in told] == [(1, "failure"), (2, "success")]
    assert api._client.get(path, headers={"Authorization": ""}).status_code == 401

    # A connection that is not there is one line that says so, at once and for good.
    api.trigger("locked", "lost", {})
    here.until(lambda: here.state("locked", "lost") in OVER)
    assert here.state("locked", "lost") == "failed"
    log = api.log("locked", "lost", "work", 1)
    assert "connection 'nobody_host'" in log
    assert here.task("locked", "lost")["try_number"] == 1
