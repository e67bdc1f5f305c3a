"""From an Airflow connection of type ``winrm`` to the host, and what is said of a wrong one."""

from __future__ import annotations

import asyncio
import copy
import json
import socket

import pytest

from airflow_enterprise_orch.delegation.system import Absent
from airflow_enterprise_orch.errors import ConnectionInvalid, ConnectionUntrusted, LoginRefused, SystemUnreachable
from airflow_enterprise_orch.systems.windows.hook import open_windows
from airflow_enterprise_orch.systems.windows.hook import test_windows_connection as check_connection

NAME = "windows_lab"


@pytest.fixture
def connection(host, monkeypatch):
    """Set the Airflow connection of the lab's host, changed as the test says."""

    def put(extra=None, **fields):
        data = copy.deepcopy(host.endpoint["connection"])
        data.update(fields)
        data["extra"].update(extra or {})
        data["extra"] = {name: value for name, value in data["extra"].items() if value is not None}
        monkeypatch.setenv(f"AIRFLOW_CONN_{NAME.upper()}", json.dumps(data))
        return data

    return put


def find(key):
    async def steps():
        async with open_windows(NAME) as tasks:
            return await tasks.find(key), tasks.identity

    return asyncio.run(steps())


def test_the_lab_s_connection_works_as_it_is_printed(host, connection, key):
    connection()
    assert find(key)[0] == Absent()
    assert host.stand_in.accepted_logins == 1


def test_a_connection_as_the_provider_writes_it_works_too(host, connection, key):
    connection(
        {"endpoint": host.endpoint["url"], "transport": "ntlm"}, host="ignored", port=1, login=r"LABWIN\svc-orch"
    )
    found, identity = find(key)
    assert found == Absent()
    assert identity.startswith(r"winrm://LABWIN\svc-orch@127.0.0.1:")


def test_ntlm_with_a_wrong_password_is_a_refused_login(host, connection, key):
    connection(
        {
            "transport": "ntlm",
            "remote_port": host.endpoint["connection"]["port"],
            "endpoint": host.endpoint["url"],
        },
        password="wrong-and-secret",
    )
    with pytest.raises(LoginRefused) as caught:
        find(key)
    assert "wrong-and-secret" not in str(caught.value)
    assert host.stand_in.refused_logins == 1


@pytest.mark.parametrize(
    ("extra", "fields", "said"),
    [
        ({}, {"conn_type": "http"}, "its type is 'http'"),
        ({}, {"host": ""}, "it has no host"),
        ({}, {"login": ""}, "it has no login"),
        ({"transport": "telnet"}, {}, "its transport 'telnet' is none of"),
        ({"transport": "plaintext"}, {}, "would send the password over plain HTTP"),
        ({"transport": "basic", "endpoint": "http://127.0.0.1:5985/wsman"}, {}, "over plain HTTP"),
        ({"transport": "ntlm", "message_encryption": "never"}, {}, "switches the encryption of messages off"),
        ({"read_timeout_sec": "soon"}, {}, "soon"),
        ({"job_root": "jobs; calc"}, {}, "the job root 'jobs; calc'"),
        ({"keep_days": 0}, {}, "must be at least 1"),
        ({"task_folder": "Orch"}, {}, "the task folder 'Orch'"),
        ({"task_account": "DOMAIN\\maria"}, {}, "is neither SYSTEM"),
    ],
)
def test_a_wrong_connection_says_what_to_correct(connection, key, extra, fields, said):
    connection(extra, **fields)
    with pytest.raises(ConnectionInvalid, match=said):
        find(key)


def test_a_missing_connection_says_so(monkeypatch, key):
    monkeypatch.delenv(f"AIRFLOW_CONN_{NAME.upper()}", raising=False)
    with pytest.raises(ConnectionInvalid, match=r"'windows_lab': Airflow has no connection of that name"):
        find(key)


def test_a_certificate_that_nobody_vouches_for_is_untrusted(host, connection, key):
    connection({"ca_trust_path": None})
    with pytest.raises(ConnectionUntrusted, match=r"cannot be verified.*ca_trust_path"):
        find(key)
    assert host.stand_in.accepted_logins == host.stand_in.refused_logins == 0, "the password was sent"


def test_a_closed_port_is_unreachable(connection, key):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    connection(port=port)
    with pytest.raises(SystemUnreachable, match=rf"winrm://svc-orch@127.0.0.1:{port} cannot be reached"):
        find(key)


def test_a_place_of_its_own_is_part_of_the_identity(host, connection, key):
    connection({"job_root": "D:\\Orch\\jobs"})
    host.there(lambda: host.stand_in.host.folders.add("D:\\Orch\\jobs"))
    assert find(key)[1].endswith("/D:\\Orch\\jobs")


def test_the_connection_test_says_yes_or_what_is_missing(host, connection):
    connection()
    fine, said = asyncio.run(check_connection(NAME))
    assert fine
    assert said.endswith(r"as LABWIN\svc-orch")

    def unprepared():
        host.stand_in.host.scheduler.log.enabled = False
        host.stand_in.host.administrator = False
        host.stand_in.host.folders.clear()

    host.there(unprepared)
    fine, said = asyncio.run(check_connection(NAME))
    assert not fine
    for word in ("wevtutil sl", "no administrator", "job root is not there"):
        assert word in said
    assert "\n" not in said
    connection(password="wrong-and-secret")
    fine, said = asyncio.run(check_connection(NAME))
    assert not fine
    assert "refused the login" in said
    assert "wrong-and-secret" not in said
