"""A refused login stops everybody at that connection, until a person or a new password lifts it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk import Connection, Variable

from airflow_enterprise_orch.delegation import guard
from airflow_enterprise_orch.errors import ConnectionBlocked, LoginRefused

SECRET = "correct horse battery staple"
REFUSED = LoginRefused("zos_prod", "ICH408I: the password is wrong", "correct it")


def connection(**changed: Any) -> Connection:
    fields: dict[str, Any] = {"host": "zos", "port": 443, "login": "BATCH", "password": SECRET, "extra": "{}"}
    return Connection(conn_id="zos_prod", conn_type="zosmf", **{**fields, **changed})


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    kept: dict[str, str] = {}

    def get(key: str, default: object = None, deserialize_json: bool = False) -> object:
        return kept.get(key, default)

    def keep(key: str, value: object, description: str | None = None, serialize_json: bool = False) -> None:
        kept[key] = json.dumps(value)

    monkeypatch.setattr(Variable, "get", staticmethod(get))
    monkeypatch.setattr(Variable, "set", staticmethod(keep))
    yield kept


def blocked_by(record: object) -> ConnectionBlocked | None:
    return guard.still_blocked("zos_prod", record, connection())


def test_a_block_holds_while_the_connection_is_the_same(variables: dict[str, str]) -> None:
    blocks = guard.AirflowBlocks()
    assert blocked_by(asyncio.run(blocks.read("zos_prod"))) is None
    asyncio.run(blocks.write("zos_prod", guard.block_record(connection(), REFUSED)))
    line = str(blocked_by(asyncio.run(blocks.read("zos_prod"))))
    assert "ICH408I: the password is wrong" in line
    assert "delete the Variable 'enterprise_orch.blocked.zos_prod'" in line
    assert "\n" not in line
    del variables["enterprise_orch.blocked.zos_prod"]
    assert blocked_by(asyncio.run(blocks.read("zos_prod"))) is None


@pytest.mark.parametrize(
    "changed",
    [{"host": "zos2"}, {"port": 8443}, {"login": "OTHER"}, {"password": "new"}, {"extra": '{"verify": false}'}],
)
def test_a_changed_connection_is_tried_again(changed: dict[str, Any]) -> None:
    record = guard.block_record(connection(), REFUSED)
    record["salt"], record["fingerprint"] = "00" * 8, guard.fingerprint(connection(), "00" * 8)
    assert guard.still_blocked("zos_prod", record, connection()) is not None
    assert guard.still_blocked("zos_prod", record, connection(**changed)) is None


def test_the_record_gives_no_secret_away() -> None:
    record = guard.block_record(connection(), REFUSED)
    assert SECRET not in json.dumps(record)
    assert len(record["fingerprint"]) == 4  # 16 bits: 65,536 passwords in a billion fit
    again = guard.block_record(connection(), REFUSED)
    assert record["salt"] != again["salt"]


@pytest.mark.parametrize("record", ['"x"', "[]", '{"reason": "x"}', "{not json", "7"])
def test_a_record_that_cannot_be_read_blocks(variables: dict[str, str], record: str) -> None:
    variables["enterprise_orch.blocked.zos_prod"] = record
    refusal = blocked_by(asyncio.run(guard.AirflowBlocks().read("zos_prod")))
    assert "its block record cannot be read" in str(refusal)


def test_the_same_connection_means_the_same_however_it_is_written() -> None:
    one, other = connection(extra='{"verify": false, "owner": "X"}'), connection(extra='{"owner":"X","verify":false}')
    assert guard.meant(one) == guard.meant(other)
    assert guard.meant(one) != guard.meant(connection(extra='{"owner":"Y","verify":false}'))
    assert guard.meant(one) != guard.meant(connection(extra="not JSON"))
