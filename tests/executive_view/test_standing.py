"""Holds and blocked connections as an instance's page tells them, from Airflow's real Variables and connections.

How a user would notice that it is fake: a step is said to wait for its system while somebody holds all of SAP, or a
connection is said to be blocked long after its password was corrected.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_enterprise_orch.executive_view.pictures import PictureStep
from airflow_enterprise_orch.executive_view.standing import hold_of, holds_of
from tests.executive_view.databases import database, run
from tests.executive_view.test_why import PICTURE

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
POST: PictureStep = PICTURE.by_id["post"]


def entry(scope: str, name: str, until: float | None = None) -> dict[str, Any]:
    told = {"scope": scope, "name": name, "id": f"{scope}1", "by": "bob", "reason": f"all of {name}"}
    return told | ({"until": (NOW + timedelta(hours=until)).isoformat()} if until is not None else {})


def held(*entries: dict[str, Any], own: Any = None) -> tuple[str, str] | None:
    found = hold_of(POST, own, {"version": 1, "holds": list(entries)}, stream="orders", now=NOW)
    return (found.scope, found.wish.reason) if found is not None else None


def test_a_hold_is_told_with_what_it_holds() -> None:
    assert held(entry("stream", "orders")) == ("stream", "all of orders")
    assert held(entry("system", "sap")) == ("system", "all of sap")
    assert held(entry("connection", "sap_erp", until=1)) == ("connection", "all of sap_erp")
    assert held(entry("system", "mainframe"), entry("stream", "claims"), entry("connection", "sap")) is None
    assert held(entry("system", "sap", until=-1)) is None
    own = {"version": 2, "hold": {"id": "a", "by": "ann", "reason": "wait", "at": NOW.isoformat()}}
    assert held(entry("system", "sap"), own=own) == ("step", "wait")


def test_a_record_that_cannot_be_read_leaves_the_telling_to_the_step() -> None:
    assert holds_of([POST], {"post": {"version": 9}}, None, stream="orders", now=NOW) == {}
    assert holds_of([POST], {}, "nonsense", stream="orders", now=NOW) == {}


BLOCKED = """
import json

from airflow.utils.db import initdb
initdb()
from airflow.models.connection import Connection
from airflow.models.variable import Variable
from airflow.utils.session import create_session
from airflow.sdk import Connection as TaskConnection
from airflow_enterprise_orch.delegation.guard import BLOCK_PREFIX, block_record
from airflow_enterprise_orch.errors import LoginRefused
from airflow_enterprise_orch.executive_view.standing import blocks_of

given = {"conn_id": "sap_erp", "conn_type": "sap", "host": "erp", "login": "PROD", "password": "old", "port": 443,
         "extra": json.dumps({"client": "100"})}
with create_session() as session:
    session.add(Connection(**given))
# As a task writes it.
record = block_record(TaskConnection(**given), LoginRefused("sap_erp", "user PROD is locked", "unlock it"))
Variable.set(BLOCK_PREFIX + "sap_erp", record, serialize_json=True)
Variable.set(BLOCK_PREFIX + "gone", record, serialize_json=True)
Variable.set(BLOCK_PREFIX + "odd", "not json")

def seen(*names):
    with create_session() as session:
        return {name: [one.reason, str(one.at)] for name, one in sorted(blocks_of(session, names).items())}

answer = {"at": record["at"], "first": seen("sap_erp", "zos_prod", ""), "odd": seen("odd", "gone")}
with create_session() as session:
    session.query(Connection).filter_by(conn_id="sap_erp").one().set_password("new")
answer["changed"] = seen("sap_erp")
Variable.delete(BLOCK_PREFIX + "gone")
answer["lifted"] = seen("gone")
print(json.dumps(answer))
"""


def test_a_connection_is_blocked_until_it_is_changed_or_the_block_is_lifted(tmp_path: Path) -> None:
    with database("sqlite", tmp_path) as url:
        told = json.loads(run(BLOCKED, tmp_path, url))
    at = str(datetime.fromisoformat(told["at"]))
    assert told["first"] == {"sap_erp": ["user PROD is locked", at]}
    assert sorted(told["odd"]) == ["gone", "odd"], "whether these were changed nobody can tell"
    assert told["changed"] == told["lifted"] == {}
