"""Files on a share start instances, on a real Airflow whose scheduler creates runs for events.

How a user would notice that it is fake: of two orders that come in the same second one is never worked on; an order is
worked on twice.
"""

from __future__ import annotations

import boto3
from company import OVER, Stage, scenario

from airflow_enterprise_orch.demo.lab import LabProcess

STREAM = "partner_orders"
ORDERS = """
value_stream: partner_orders
title: Orders of a partner
business: {domain: Tests, owner: tests, key: "{{ params.file }}", duplicates: reject}
params: {file: {type: string, default: ""}, bytes: {type: integer, default: 0}}
schedule:
  file_arrival: {connection: partner, folder: in, pattern: "*.csv", stable: 1s, params: {file: path, bytes: size}}
steps:
  take:
    unix.script:
      connection: virtual_server
      script: 'echo "$1 has $2"'
      args: ["{{ params.file }}", "{{ params.bytes }}"]
    outputs: {told: {log: log, match: '(.* has .*)'}}
"""


def put(lab: LabProcess, path: str) -> None:
    """Put a file on the share, as the partner would."""
    endpoint = lab.endpoints["s3"]
    client = boto3.client(
        "s3",
        endpoint_url=endpoint["url"],
        aws_access_key_id=endpoint["user"],
        aws_secret_access_key=endpoint["password"],
        region_name="eu-central-1",
    )
    client.put_object(Bucket=endpoint["bucket"], Key=path, Body=path.encode())


@scenario({STREAM: ORDERS})
def test_each_file_that_arrives_starts_one_instance(here: Stage) -> None:
    stream, api = STREAM, here.api
    # Two that are seen at once start an instance each.
    for path in ("in/a.csv", "in/b c.csv", "in/readme.txt", "out/c.csv"):
        put(here.lab, path)

    def instances() -> dict[str, str]:
        return {run: one["state"] for run, one in api.runs(stream).items() if run.startswith("file.")}

    here.until(lambda: len(instances()) >= 2 and {*instances().values()} <= {*OVER})
    assert [*instances().values()] == ["success"] * 2, here.all_that_is_known()
    told = {api.xcoms(stream, run, "take")["return_value"]["told"] for run in instances()}
    assert told == {"in/a.csv has 8", "in/b c.csv has 10"}

    # Written anew, it is another arrival; the runs of the events do nothing but hand over.
    put(here.lab, "in/a.csv")
    here.until(lambda: len(instances()) >= 3 and {*instances().values()} <= {*OVER})
    assert [*instances().values()] == ["success"] * 3, here.all_that_is_known()
    events = api.runs(stream).keys() - instances().keys()
    here.until(lambda: {here.state(stream, run) for run in events} == {"success"})
    for run in events:
        states = {task["task_id"]: task["state"] for task in api.task_instances(stream, run)}
        assert states == {"arrive": "success", "admit": "skipped", "take": "skipped"}
