"""The parts of the harness that must not fail silently: the mutation takes hold, the database keeps its data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

from airflow_enterprise_orch.demo.airflow import LocalAirflow

from .database import PostgresServer, binaries
from .runner import _attempts, _without_waiting_behind
from .streams import TEMPLATES, started_with, write
from .verdict import PARKED, Step
from .world import MUTATIONS


@pytest.mark.parametrize(("mutation", "patched"), [("trust_on_kill", "True"), ("", "False")])
def test_a_mutation_reaches_the_package_in_another_process_and_only_when_asked_for(mutation: str, patched: str):
    code = "from airflow_enterprise_orch.delegation import waiting; print(waiting.kill_cancels('deferred'))"
    path = os.pathsep.join(filter(None, [str(MUTATIONS), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, "KILLS_MUTATION": mutation}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout.split()[-1:] == [patched], ended.stderr


@pytest.mark.skipif(binaries() is None, reason="no PostgreSQL server is installed (apt-get install postgresql)")
def test_a_killed_database_keeps_what_it_confirmed():
    with PostgresServer() as server:
        _execute(server, "create table kept (word text)")
        for word, strike in (("killed", server.kill), ("stopped", server.stop_at_once)):
            _execute(server, f"insert into kept values ('{word}')")
            strike()
            assert not server.running
            while True:
                server.start()
                try:
                    server.wait()
                    break
                except RuntimeError:
                    continue  # the last processes of the killed one are not gone yet
        assert _execute(server, "select word from kept") == [("killed",), ("stopped",)]


def _execute(server: PostgresServer, statement: str) -> list[tuple[str, ...]]:
    connection = psycopg2.connect(server.url.replace("+psycopg2", ""))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_every_component_can_be_started_anew_by_name(tmp_path: Path):
    commands = LocalAirflow(tmp_path, database="postgresql://", triggerers=2).commands
    assert list(commands) == ["api-server", "dag-processor", "scheduler", "triggerer", "triggerer-2"]
    assert commands["triggerer-2"] == commands["triggerer"]


def test_what_was_sent_counts_even_if_the_ledger_forgot_it():
    ledger = {"version": 1, "attempts": [{"number": 1, "key": "A", "state": "closed"}]}
    stored = {
        "orch.ledger.1": {"version": 1, "attempts": []},
        "orch.ledger.2": json.dumps(ledger),
        "orch.sent.1.1": {"number": 1, "key": "A", "state": "intent"},
        "orch.sent.2.2": {"number": 2, "key": "B", "state": "intent"},
    }
    assert [(one["key"], one["state"]) for one in _attempts(stored)] == [("A", "closed"), ("B", "intent")]


def test_only_what_waits_behind_a_parked_step_is_left_out():
    parked, behind = Step("kill-0001", "extract", PARKED), Step("kill-0001", "load", "")
    forgotten = Step("kill-0002", "load", "")
    assert _without_waiting_behind([parked, behind, forgotten]) == (parked, forgotten)


def test_the_templates_are_right(tmp_path: Path):
    from airflow_enterprise_orch.cli import main

    assert main(["lint", str(write(tmp_path))]) == 0
    assert set(TEMPLATES) == {started_with(instance)[0] for instance in _two_instances()}


def _two_instances():
    from .plan import sample

    return [sample(1).instance(number) for number in (0, 1)]
