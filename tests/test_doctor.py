"""What ``enterprise-orch doctor`` finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.models.connection import Connection

from airflow_enterprise_orch import doctor
from airflow_enterprise_orch.doctor import Level

GOOD = {
    ("triggerer", "capacity"): "2000",
    ("state_store", "max_value_storage_bytes"): "65535",
    ("state_store", "clear_on_success"): "False",
    ("state_store", "backend"): "airflow.state.metastore.MetastoreBackend",
    ("workers", "state_store_backend"): "",
    ("workers", "min_heartbeat_interval"): "2",
}


@pytest.fixture(autouse=True)
def enough_files(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "open_files_limit", lambda: 1_000_000)


def settings(**changed: str) -> list[doctor.Finding]:
    values = {**GOOD, **{tuple(key.split("__")): value for key, value in changed.items()}}
    return list(doctor.check_settings(lambda section, option: values[section, option]))


def bad(findings) -> list[str]:
    return [str(finding) for finding in findings if finding.level is not Level.OK]


def test_good_settings_are_ok():
    assert bad(settings()) == []


def test_small_triggerer_is_a_warning_with_a_remedy():
    assert bad(settings(triggerer__capacity="100")) == [
        "warn a triggerer watches only 100 waiting steps at once; "
        "set [triggerer] capacity to 1000 or more, or start more triggerers"
    ]


def test_few_open_files_are_a_warning():
    assert bad(doctor.check_open_files(1000, 1024)) == [
        "warn 1024 open files are too few for 1000 waiting steps; raise it for the triggerer: ulimit -n 1256"
    ]
    assert bad(doctor.check_open_files(1000, None)) == []


def test_slow_heartbeat_is_a_warning():
    assert bad(settings(workers__min_heartbeat_interval="60")) == [
        "warn workers may notice the end of a task 60 s late, so some steps take a needless second try; "
        "set [workers] min_heartbeat_interval to 2"
    ]


def test_small_state_store_fails():
    (line,) = bad(settings(state_store__max_value_storage_bytes="1000"))
    assert line.startswith("fail the task state store takes only 1000 bytes a value")


def test_unlimited_state_store_is_ok():
    assert bad(settings(state_store__max_value_storage_bytes="0")) == []


@pytest.mark.parametrize("value", ["True", "true", "1", "yes"])
def test_ledger_thrown_away_on_success_fails(value: str):
    (line,) = bad(settings(state_store__clear_on_success=value))
    assert line == (
        "fail the ledger of a step is thrown away when the step succeeds; set [state_store] clear_on_success to False"
    )


def test_other_state_store_is_a_warning():
    (line,) = bad(settings(workers__state_store_backend="mypackage.S3StateBackend"))
    assert line.startswith("warn the task state store is mypackage.S3StateBackend, not Airflow's database")


@pytest.mark.parametrize(
    ("version", "level"),
    [("3.2.1", Level.FAIL), ("2.11.0", Level.FAIL), ("3.3.0", Level.OK), ("3.10.0", Level.OK), ("4.0.0", Level.WARN)],
)
def test_airflow_version(version: str, level: Level):
    assert [finding.level for finding in doctor.check_airflow(version)] == [level]


def test_old_python_and_missing_cel_fail():
    assert [finding.level for finding in doctor.check_python((3, 10, 1), False)] == [Level.FAIL, Level.FAIL]
    assert [finding.level for finding in doctor.check_python((3, 12, 1), True)] == [Level.OK, Level.OK]


def test_bundles(tmp_path: Path):
    def bundle(**kwargs: str) -> str:
        return json.dumps([{"name": "streams", "classpath": doctor.BUNDLE, "kwargs": kwargs}])

    findings, folders = doctor.check_bundles(bundle(path=str(tmp_path)))
    assert (bad(findings), folders) == ([], [tmp_path])
    findings, folders = doctor.check_bundles(bundle(path=str(tmp_path / "gone")))
    assert folders == []
    assert bad(findings) == [
        f"fail bundle 'streams': there is no folder {tmp_path / 'gone'}; correct its path, or make the folder"
    ]
    findings, _ = doctor.check_bundles('[{"name": "x", "classpath": "a.b.C", "kwargs": {}}]')
    assert bad(findings)[0].startswith("warn no bundle serves templates")
    findings, _ = doctor.check_bundles("[{")
    assert bad(findings)[0].startswith("fail the list of DAG bundles cannot be read")


TEMPLATE = """
value_stream: small
title: Small
business: {domain: Tests, owner: tests, criticality: low, key: "{{ run_id }}"}
steps:
  one:
    unix.script: {connection: host_a, script: "true"}
"""


def test_connections_come_from_the_templates(tmp_path: Path):
    (tmp_path / "small.yaml").write_text(TEMPLATE)
    assert doctor.connections_of(tmp_path) == ({"host_a": {"ssh"}}, [])


def test_broken_template_is_a_failure_that_names_it(tmp_path: Path):
    (tmp_path / "small.yaml").write_text(TEMPLATE.replace("connection:", "conection:"))
    needed, findings = doctor.connections_of(tmp_path)
    assert needed == {}
    (line,) = bad(findings)
    assert line.startswith("fail template small.yaml:7:")


def test_missing_connection_fails_with_both_ways_to_make_it():
    assert bad(doctor.check_connections({"host_a": {"ssh"}}, lambda name: None, log_in=False)) == [
        "fail connection 'host_a' (ssh) does not exist; make it under Admin, Connections, or set AIRFLOW_CONN_HOST_A"
    ]


def test_connection_of_another_type_fails():
    connection = Connection(conn_id="host_a", conn_type="http")
    assert bad(doctor.check_connections({"host_a": {"ssh"}}, lambda name: connection, log_in=False)) == [
        "fail connection 'host_a' has the type 'http'; give it the type ssh"
    ]


class Tried(Connection):
    __mapper_args__ = {"concrete": False}  # noqa: RUF012 - SQLAlchemy's own

    def test_connection(self):
        return self.host == "right", "the host said so"


@pytest.mark.parametrize(("host", "level"), [("right", Level.OK), ("wrong", Level.FAIL)])
def test_connection_is_tried_only_on_wish(host: str, level: Level):
    connection = Tried(conn_id="host_a", conn_type="ssh", host=host)
    (tried,) = doctor.check_connections({"host_a": {"ssh"}}, lambda name: connection, log_in=True)
    assert tried.level is level
    assert "the host said so" in tried.what
    (looked,) = doctor.check_connections({"host_a": {"ssh"}}, lambda name: connection, log_in=False)
    assert looked.level is Level.OK
    assert "not tried" in looked.what


def test_connection_is_found_where_airflow_keeps_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW_CONN_HOST_A", '{"conn_type": "ssh", "host": "h"}')
    assert doctor.find_connection("host_a").host == "h"


def test_exit_code_tells_whether_something_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "small.yaml").write_text(TEMPLATE)
    monkeypatch.setattr(doctor, "find_connection", lambda name: None)
    assert doctor.main(["--templates", str(tmp_path)]) == 1
    assert "connection 'host_a' (ssh) does not exist" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "find_connection", lambda name: Connection(conn_id=name, conn_type="ssh"))
    assert doctor.main(["--templates", str(tmp_path)]) == 0
