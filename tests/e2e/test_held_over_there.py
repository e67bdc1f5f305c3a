"""A job that an operator holds on the mainframe, as the executive view tells it, on real Airflow processes.

How a user would notice that it is fake: the page says "running" for a job that JES holds, says "held" long after its
release, or knows nothing of how the job ended.
"""

from __future__ import annotations

import json
import ssl
from typing import Any

import httpx
from company import OVER, Stage, scenario

HELD = """
value_stream: held_up
title: Held up
business: {domain: Tests, owner: tests, criticality: normal}
steps:
  book:
    mainframe.job:
      connection: zos_prod
      jcl: |
        //HELDUP   JOB (ACCT),CLASS=A
        //* HELD-UP-1
        //STEP1    EXEC PGM=IEFBR14
"""


@scenario({"held_up": HELD})
def test_a_job_that_does_not_get_on_is_told_with_the_systems_own_words(here: Stage) -> None:
    here.lab.fault("zosmf", {"on": "submit", "do": "hold", "times": 1, "match": "HELD-UP-1"})
    here.api.trigger("held_up", "one", {})

    def page() -> dict[str, Any]:
        told: dict[str, Any] = here.api._send("GET", "/enterprise-orch/api/v1/dags/held_up/dagRuns/one")
        return told

    def listed(asks: str) -> int:
        return int(here.api._send("GET", f"/enterprise-orch/api/v1/instances?stream=held_up&{asks}")["total"])

    def job(phase: str | None) -> dict[str, Any] | None:
        steps = here.api._send("GET", "/enterprise-orch/api/v1/dags/held_up/dagRuns/one/jobs")["steps"]
        found = [one for step in steps for one in step["jobs"] if one["phase"] == phase]
        return found[0] if found else None

    def on_the_mainframe(name: str, request: str) -> None:
        at = here.lab.endpoints["zosmf"]
        answer = httpx.put(
            f"{at['url']}/zosmf/restjobs/jobs/{name}", json={"request": request, "version": "2.0"},
            auth=(at["user"], at["password"]), verify=ssl.create_default_context(cafile=at["ca_file"]), trust_env=False,
            headers={"X-CSRF-ZOSMF-HEADER": "operator"},
        )  # fmt: skip
        assert answer.is_success, answer.text

    here.until(lambda: here.task("held_up", "one", "book")["state"] == "deferred")
    here.until(lambda: job("waiting") is not None)
    waiting = job("waiting") or {}
    assert waiting["reason"] == "Job class A is held"
    assert page()["why"]["chain"][-1]["text"] == (
        f"Job {waiting['job_name']} {waiting['job_id']} waits over there, on {waiting['system']}: Job class A is held"
    )

    on_the_mainframe(f"{waiting['job_name']}/{waiting['job_id']}", "hold")
    here.until(lambda: job("held") is not None)
    here.until(lambda: listed("waits_for=hold") == 1)
    told = page()
    (node,) = told["graph"]["nodes"]
    assert (node["run"]["state"], node["run"]["job"]["reason"]) == ("held", "Job is held")
    assert told["why"]["chain"][-1]["text"].endswith(f"is held over there, on {waiting['system']}: Job is held")

    on_the_mainframe(f"{waiting['job_name']}/{waiting['job_id']}", "release")
    here.until(lambda: job("waiting") is not None)
    here.until(lambda: listed("waits_for=hold") == 0)

    # Now a person holds it from here: the next try of the step asks JES, and believes only the job's own state.
    path = "/enterprise-orch/api/v1/dags/held_up/dagRuns/one/actions"
    body = {"id": "held-from-here", "action": "hold", "step": "book", "reason": "the ledger is not closed yet"}
    here.act(path, body)
    here.until(lambda: job("held") is not None)
    assert len(here.jobs("held_up", "one")) == 1, "the same job is held, and none was handed over beside it"
    here.act(path, {**body, "id": "released-here", "action": "release"})
    here.until(lambda: job("waiting") is not None)

    on_the_mainframe(f"{waiting['job_name']}/{waiting['job_id']}", "cancel")
    here.until(lambda: here.state("held_up", "one") in OVER)
    over = job(None)
    assert over is not None
    assert (over["state"], over["verdict"], over["code"]) == ("closed", "failure", "CANCELED"), json.dumps(over)
