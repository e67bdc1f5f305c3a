"""A stream that runs another one or waits for it, and work for each item of a list, on real Airflow processes.

How a user would notice that it is fake: the books closed twice because a worker died in between, or because somebody
cleared a step that was waiting; a report sent of a ledger that failed; a payment made again for an item that had been
paid.
"""

from __future__ import annotations

from company import OVER, Stage, scenario

CLOSE_COMPANY = """
value_stream: close_company
title: Close of a company
business: {domain: Tests, owner: tests, key: "{{ params.company }}-{{ params.seconds }}"}
params: {company: {type: string}, seconds: {type: integer}, good: {type: boolean, default: true}}
steps:
  post:
    unix.script:
      connection: virtual_server
      script: 'sleep "$1"; echo "PAGES=4"; case "$2" in [Tt]rue) ;; *) exit 1 ;; esac'
      args: ["{{ params.seconds }}", "{{ params.good }}"]
    outputs: {pages: {log: log, match: 'PAGES=(\\d+)', type: integer}}
"""
CLOSE_GROUP = """
value_stream: close_group
title: Close of the group
business: {domain: Tests, owner: tests}
params: {seconds: {type: integer}, good: {type: boolean, default: true}}
steps:
  close:
    stream:
      run: close_company
      params: {company: ACME, seconds: "{{ params.seconds }}", good: "{{ params.good }}"}
    outputs: {pages: {step: post, value: pages, type: integer}}
  route:
    after: [close]
    branch:
      - {when: steps.close.pages == 4 && steps.close.business_key.startsWith("ACME-"), then: [report]}
      - otherwise: []
  report:
    unix.script: {connection: virtual_server, script: 'echo "$1"', args: ["{{ steps.close.business_key }}"]}
"""
KILLER = """
import os, signal
from pathlib import Path
from airflow_enterprise_orch.value_stream.airflow_streams import AirflowStreams

started = AirflowStreams.submit

async def submit(self, work, key):
    handle = await started(self, work, key)
    marker = Path(os.environ["AIRFLOW_HOME"]) / "killed"
    if not marker.exists():
        marker.write_text(handle.job_id)
        os.kill(os.getpid(), signal.SIGKILL)
    return handle

AirflowStreams.submit = submit
"""
"""A plugin for Airflow: the first worker that starts an instance dies before it has noted anything."""


@scenario(
    {"close_company": CLOSE_COMPANY, "close_group": CLOSE_GROUP},
    plugins={"the_first_worker_dies": KILLER},
)
def test_a_stream_runs_another_one_exactly_once(here: Stage) -> None:
    api = here.api
    # The worker that starts the instance is killed at once; the next try finds what it started.
    api.trigger("close_group", "killed", {"seconds": 1})
    here.until(lambda: here.state("close_group", "killed") in OVER)
    (first,) = api.runs("close_company")
    assert first == (here.airflow.home / "killed").read_text(), "nobody was killed"
    assert here.state("close_group", "killed") == "success", here.all_that_is_known()
    assert here.task("close_group", "killed", "close")["try_number"] == 2
    assert here.task("close_group", "killed", "report")["state"] == "success"
    told = api.xcoms("close_group", "killed", "close")
    assert (told["return_value"]["business_key"], told["return_value"]["run_id"]) == ("ACME-1", first)
    child = api.runs("close_company")[first]
    parent = {"stream": "close_group", "instance": "killed", "step": "close"}
    assert child["conf"]["orch.started_by"] == parent
    (job,) = api._send("GET", "/enterprise-orch/api/v1/dags/close_group/dagRuns/killed/jobs")["steps"][0]["jobs"]
    assert (job["job_name"], job["job_id"], job["verdict"]) == ("close_company", first, "success")

    # A clear of the waiting step waits on for the same instance.
    api.trigger("close_group", "cleared", {"seconds": 20})
    here.until(lambda: here.task("close_group", "cleared", "close")["state"] == "deferred")
    here.clear("close_group", "cleared", "close", include_downstream=True)
    here.until(lambda: here.state("close_group", "cleared") in OVER)
    assert here.state("close_group", "cleared") == "success", here.all_that_is_known()
    assert len(api.runs("close_company")) == 2

    # A failure is the step's failure and names the instance and its step; a clear starts another instance.
    api.trigger("close_group", "fails", {"seconds": 0, "good": False})
    here.until(lambda: here.state("close_group", "fails") == "failed")
    assert "its step 'post' failed" in api.log("close_group", "fails", "close", 1)
    assert len(api.runs("close_company")) == 3
    here.clear("close_group", "fails", "close", include_downstream=True)
    here.until(lambda: len(api.runs("close_company")) == 4)
    here.until(lambda: here.state("close_group", "fails") == "failed")
    assert len(api.runs("close_company")) == 4


PAY_ALL = """
value_stream: pay_all
title: Pay all
business: {domain: Tests, owner: tests}
params: {countries: {type: list, items: string}, folder: {type: string}}
steps:
  pay:
    unix.script:
      connection: virtual_server
      # Two of them fail the first time.
      script: 'f="$2/$1"; echo paid >> "$f"; case "$1" in c03|c07) test "$(wc -l < "$f")" -gt 1 || exit 3 ;; esac'
      args: ["{{ item }}", "{{ params.folder }}"]
    for_each: {item: params.countries, max: 10, at_once: 5}
  tell:
    after: [pay]
    unix.script:
      connection: virtual_server
      script: 'echo "$1"'
      args: ["{{ steps.pay.done }} of {{ steps.pay.count }}"]
"""


@scenario({"pay_all": PAY_ALL})
def test_of_ten_items_only_the_two_that_failed_are_worked_on_again(here: Stage) -> None:
    paid = here.place / "paid"
    paid.mkdir()
    countries = [f"c{number:02}" for number in range(10)]
    api = here.api
    # An empty list is a success and what follows runs; one item too many, and nothing leaves at all.
    api.trigger("pay_all", "none", {"countries": [], "folder": str(paid)})
    api.trigger("pay_all", "too_many", {"countries": [*countries, "c10"], "folder": str(paid)})
    here.until(lambda: here.state("pay_all", "none") in OVER and here.state("pay_all", "too_many") in OVER)
    assert (here.state("pay_all", "none"), here.state("pay_all", "too_many")) == ("success", "failed")
    assert "has 11 items, for_each takes 10 at most" in api.log("pay_all", "too_many", "pay-items", 1)
    assert here.task("pay_all", "none", "tell")["state"] == "success"
    assert not list(paid.iterdir())

    api.trigger("pay_all", "ten", {"countries": countries, "folder": str(paid)})
    here.until(lambda: here.state("pay_all", "ten") in OVER)
    each = {task["map_index"]: task for task in api.task_instances("pay_all", "ten") if task["task_id"] == "pay-each"}
    assert sorted(index for index, task in each.items() if task["state"] == "failed") == [3, 7]
    assert each[7]["rendered_map_index"] == "c07"
    told = api._send("GET", "/enterprise-orch/api/v1/dags/pay_all/dagRuns/ten/jobs")["steps"]
    assert [step["map_index"] for step in told] == list(range(10))
    assert [step["map_index"] for step in told if step["jobs"][-1]["verdict"] == "failure"] == [3, 7]

    body = {"dry_run": False, "dag_run_id": "ten", "only_failed": True, "include_downstream": True,
            "task_ids": ["pay-each"]}  # fmt: skip
    api._send("POST", "/api/v2/dags/pay_all/clearTaskInstances", body)
    here.until(lambda: here.state("pay_all", "ten") == "success")
    times = {path.name: len(path.read_text().split()) for path in paid.iterdir()}
    assert times == {country: 2 if country in ("c03", "c07") else 1 for country in countries}
    assert api.xcoms("pay_all", "ten", "pay")["return_value"] == {"count": 10, "done": 10}


LEDGER = """
value_stream: general_ledger
title: General ledger
business: {domain: Tests, owner: tests, announce: [business_date]}
params: {business_date: {type: string}, folder: {type: string}}
steps:
  close: {unix.script: {connection: virtual_server, script: 'test -e "$1/balanced"', args: ["{{ params.folder }}"]}}
"""
REPORT = """
value_stream: report
title: Report
business: {domain: Tests, owner: tests}
params: {business_date: {type: string}}
steps:
  ledger: {wait_for: {stream: general_ledger, offset: -1}}
  closed: {wait_for: {stream: general_ledger, offset: -1, step: close}}
  rates: {wait_for: {stream: general_ledger, offset: 1, within: 5s, on_timeout: go_on}}
  send:
    after: [ledger, closed, rates]
    unix.script:
      connection: virtual_server
      script: 'echo "$1"'
      args: ["{{ steps.ledger.run_id }}, {{ steps.closed.state }}, {{ steps.rates.state }}"]
    outputs: {told: {log: log, match: '(.*, .*)'}}
"""


@scenario({"general_ledger": LEDGER, "report": REPORT})
def test_a_step_waits_for_another_stream_of_its_business_date(here: Stage) -> None:
    api = here.api
    # Three wait for a ledger; the one of the day before fails, and that of another day is no matter.
    api.trigger("report", "tuesday", {"business_date": "2026-03-03"})
    api.trigger("general_ledger", "monday", {"business_date": "2026-03-02", "folder": str(here.place)})
    api.trigger("general_ledger", "sunday", {"business_date": "2026-03-01", "folder": "/etc/nowhere"})

    # Whoever waits for what failed waits on, without a worker; a repair is what they waited for.
    here.until(lambda: here.state("general_ledger", "monday") == "failed")
    here.until(lambda: here.task("report", "tuesday", "rates")["state"] == "success")
    here.until(lambda: "failed in instance monday; waits" in api.log("report", "tuesday", "ledger", 1))
    states = {task["task_id"]: task["state"] for task in api.task_instances("report", "tuesday")}
    assert states == {"ledger": "deferred", "closed": "deferred", "rates": "success", "send": None}
    (here.place / "balanced").touch()
    here.clear("general_ledger", "monday", "close")
    here.until(lambda: here.state("report", "tuesday") in OVER)
    assert here.state("report", "tuesday") == "success", here.all_that_is_known()
    assert api.xcoms("report", "tuesday", "send")["return_value"]["told"] == "monday, success, none"
    assert here.task("report", "tuesday", "ledger")["try_number"] == 1
