"""What real Airflow is started with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_enterprise_orch.demo.airflow import LocalAirflow


def test_nobodys_own_airflow_settings_get_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "{}")
    environment = LocalAirflow(tmp_path).environment
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "AIRFLOW_CONN_OTHER" not in environment


def test_connections_and_bundles_reach_it(tmp_path: Path):
    bundle = {"name": "one", "classpath": "a.B", "kwargs": {"path": "x"}}
    environment = LocalAirflow(tmp_path, bundles=[bundle], connections={"zos_prod": '{"conn_type": "x"}'}).environment
    assert environment["AIRFLOW_CONN_ZOS_PROD"] == '{"conn_type": "x"}'
    assert json.loads(environment["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"]) == [bundle]


def test_two_share_neither_secrets_nor_database_nor_port(tmp_path: Path):
    one, other = LocalAirflow(tmp_path / "one"), LocalAirflow(tmp_path / "other")
    assert one.password != other.password
    assert one.password not in repr(one)
    for name in (
        "AIRFLOW__API__SECRET_KEY",
        "AIRFLOW__API_AUTH__JWT_SECRET",
        "AIRFLOW__CORE__FERNET_KEY",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    ):
        assert one.environment[name] != other.environment[name]
