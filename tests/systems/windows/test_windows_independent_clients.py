"""Clients that are not ours, unmodified, against the stand-in: it speaks WS-Management, not our idea of it."""

from __future__ import annotations

import asyncio
import json

import pytest
import winrm
from airflow.providers.microsoft.winrm.hooks.winrm import WinRMHook
from airflow.providers.microsoft.winrm.operators.winrm import WinRMOperator
from pypsrp.client import Client
from winrm.exceptions import InvalidCredentialsError

NAME = "winrm_lab"


@pytest.fixture
def session(host):
    def make(transport, password=None):
        return winrm.Session(
            host.endpoint["url"],
            auth=(host.endpoint["user"], password or host.endpoint["password"]),
            transport=transport,
            ca_trust_path=host.endpoint["ca_file"],
        )

    return make


@pytest.mark.parametrize("transport", ["ssl", "basic", "ntlm"])
def test_pywinrm_runs_commands(host, session, transport):
    answer = session(transport).run_cmd("whoami")
    assert (answer.status_code, answer.std_out, answer.std_err) == (0, b"labwin\\svc-orch\r\n", b"")
    wrong = session(transport).run_cmd("nosuchcommand")
    assert wrong.status_code == 1
    assert b"is not recognized" in wrong.std_err
    assert host.stand_in.open_shells == {}


@pytest.mark.parametrize("transport", ["ssl", "ntlm"])
def test_pywinrm_with_a_wrong_password_is_refused(host, session, transport):
    with pytest.raises(InvalidCredentialsError):
        session(transport, "wrong").run_cmd("cd")
    assert host.stand_in.refused_logins > 0
    assert host.stand_in.accepted_logins == 0


@pytest.fixture
def connection(host, monkeypatch):
    data = json.loads(json.dumps(host.endpoint["connection"]))
    data["extra"]["endpoint"] = host.endpoint["url"]  # the provider's hook does not read the port
    monkeypatch.setenv(f"AIRFLOW_CONN_{NAME.upper()}", json.dumps(data))
    return data


def test_airflow_s_own_hook_works_with_the_same_connection(connection):
    hook = WinRMHook(ssh_conn_id=NAME)
    assert hook.test_connection() == (True, "Connection successful.")
    code, out, err = hook.run("echo hello from Airflow")
    assert (code, b"".join(out).strip(), b"".join(err)) == (0, b"hello from Airflow", b"")


def test_airflow_s_own_operator_works_with_the_same_connection(connection):
    operator = WinRMOperator(task_id="t", ssh_conn_id=NAME, command="hostname")
    assert operator.execute({}) is not None


def test_our_client_works_with_the_provider_s_connection(connection, key):
    from airflow_enterprise_orch.delegation.system import Absent
    from airflow_enterprise_orch.systems.windows.hook import open_windows

    async def steps():
        async with open_windows(NAME) as tasks:
            return await tasks.find(key)

    assert asyncio.run(steps()) == Absent()


def test_pypsrp_s_own_client_runs_commands_and_no_powershell_but_ours(host):
    client = Client(
        "127.0.0.1",
        port=host.endpoint["connection"]["port"],
        username=host.endpoint["user"],
        password=host.endpoint["password"],
        auth="ntlm",
        cert_validation=host.endpoint["ca_file"],
    )
    with client:
        assert client.execute_cmd("hostname") == ("LABWIN\r\n", "", 0)
        output, streams, _ = client.execute_ps("Get-Date")
        assert output == ""
        assert "the lab runs" in str(streams.error[0])
