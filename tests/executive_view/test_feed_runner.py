"""The feed in a real API server's application: it runs though nobody asks, and lets go when the server ends.

How a user would notice that it is fake: the page stays empty until somebody opens it, or a stopped API server blocks
the others.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.executive_view.databases import database, run

PROGRAM = """
import json, sys, time
from airflow.utils.db import initdb
initdb()
import sqlalchemy as sa
from airflow import settings
from airflow.api_fastapi.app import create_app
from airflow_enterprise_orch.executive_view.tables import LEASE
from starlette.testclient import TestClient

def lease():
    with settings.engine.connect() as connection:
        of_feed = sa.select(LEASE.c.holder, LEASE.c.revision, LEASE.c.as_of).where(LEASE.c.name == "feed")
        row = connection.execute(of_feed).first()
    return ["", 0, None] if row is None else [row.holder, row.revision, str(row.as_of)]

before = sys.getswitchinterval()
with TestClient(create_app()):
    switched = sys.getswitchinterval() < before
    deadline = time.monotonic() + 60
    while not lease()[1] and time.monotonic() < deadline:
        time.sleep(0.1)
    led = lease()
print(json.dumps({"led": led, "left": lease(), "switched": [switched, sys.getswitchinterval() == before]}))
"""


def test_it_runs_in_the_api_server_though_nobody_asks_and_lets_go_at_its_end(tmp_path: Path, migrated: Path) -> None:
    with database("sqlite", tmp_path, migrated) as url:
        answer = json.loads(run(PROGRAM, tmp_path, url))
    assert answer["led"][0]
    assert answer["led"][1] > 0
    assert answer["left"][0] == ""
    assert answer["switched"] == [True, True], "who asks waits for every look"


def test_an_api_server_can_be_kept_from_it(tmp_path: Path, migrated: Path) -> None:
    program = PROGRAM.replace("+ 60", "+ 5")
    with database("sqlite", tmp_path, migrated) as url:
        answer = json.loads(run(program, tmp_path, url, AIRFLOW__ENTERPRISE_ORCH__FEED_INTERVAL="0"))
    assert answer["led"] == ["", 0, None]
