"""From an Airflow connection to the host, and what is said of a wrong one."""

from __future__ import annotations

import asyncio
import copy
import json
import socket

import asyncssh
import pytest

from airflow_enterprise_orch.delegation.system import Absent
from airflow_enterprise_orch.errors import ConnectionInvalid, ConnectionUntrusted, LoginRefused, SystemUnreachable
from airflow_enterprise_orch.systems.unix.hook import open_unix
from airflow_enterprise_orch.systems.unix.hook import test_unix_connection as check_connection

NAME = "unix_lab"


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
        async with open_unix(NAME) as jobs:
            return await jobs.find(key), jobs.identity

    return asyncio.run(steps())


def test_the_lab_s_connection_works_as_it_is_printed(host, connection, key):
    connection()
    assert find(key) == (Absent(), f"{host.address}/~/.enterprise-orch/jobs")


def test_a_password_and_a_known_hosts_file_work_too(host, connection, key):
    connection(
        {"private_key": None, "host_key": None, "known_hosts": host.endpoint["known_hosts_file"]},
        password=host.endpoint["password"],
    )
    assert find(key)[0] == Absent()


def test_a_key_file_works_too(host, connection, key):
    connection({"private_key": None, "key_file": host.endpoint["private_key_file"]})
    assert find(key)[0] == Absent()


@pytest.mark.parametrize(("given", "shown"), [("~/batch/jobs", "/~/batch/jobs"), ("/var/batch/", "/var/batch")])
def test_the_job_root_is_part_of_the_identity(host, connection, key, given, shown):
    connection({"job_root": given})
    assert find(key)[1] == host.address + shown


def test_one_login_serves_all_that_is_asked(host, connection, key):
    connection()

    async def steps():
        async with open_unix(NAME) as jobs:
            await asyncio.gather(*(jobs.find(key) for _ in range(12)))

    asyncio.run(steps())
    assert host.stand_in.accepted_logins == 1


def test_a_missing_connection_says_so(monkeypatch, key):
    monkeypatch.delenv(f"AIRFLOW_CONN_{NAME.upper()}", raising=False)
    with pytest.raises(ConnectionInvalid, match=r"'unix_lab': Airflow has no connection of that name; add one of type"):
        find(key)


@pytest.mark.parametrize(
    ("extra", "fields", "said"),
    [
        ({}, {"conn_type": "http"}, "its type is 'http'"),
        ({}, {"host": ""}, "it has no host"),
        ({}, {"login": ""}, "it has no login"),
        ({"job_root": "a; b"}, {}, "the job root 'a; b' may hold"),
        ({"keep_days": "soon"}, {}, "soon"),
        ({"keep_days": 0}, {}, "must be at least 1"),
        ({"private_key": "-----BEGIN NONSENSE-----\nSECRETSECRET\n"}, {}, "its private key cannot be read"),
        ({"private_key": None, "key_file": "/no/such/key"}, {}, "the file /no/such/key cannot be read"),
        ({"no_host_key_check": True}, {}, "Host key check was skipped"),
    ],
)
def test_a_wrong_connection_says_what_to_correct(connection, key, extra, fields, said):
    connection(extra, **fields)
    with pytest.raises(ConnectionInvalid, match=said) as caught:
        find(key)
    assert "SECRET" not in str(caught.value)


def test_a_refused_login_is_named_and_tried_once(host, connection, key):
    connection({"private_key": None}, password="wrong-and-secret")
    with pytest.raises(LoginRefused, match=r"'unix_lab': .* refused the login") as caught:
        find(key)
    assert "wrong-and-secret" not in str(caught.value)
    assert host.refused_logins() == 1


def test_an_unknown_host_key_comes_with_its_remedy(host, connection, key):
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    connection({"host_key": " ".join(other.split()[:2])})
    with pytest.raises(ConnectionUntrusted, match=rf"run `ssh-keyscan -p {host.endpoint['port']} 127.0.0.1`.*host_key"):
        find(key)


def test_a_host_without_any_known_key_is_untrusted(connection, key, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    connection({"host_key": None})
    with pytest.raises(ConnectionUntrusted, match="is not known"):
        find(key)


def test_a_closed_port_is_unreachable_and_names_the_connection(connection, key):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    connection(port=port)
    with pytest.raises(SystemUnreachable, match=rf"'unix_lab': ssh://lab@127.0.0.1:{port} cannot be reached"):
        find(key)


def test_a_name_that_nobody_knows_is_unreachable(connection, key):
    connection(host="no-such-host.invalid")
    with pytest.raises(SystemUnreachable, match=r"no-such-host.invalid:\d+ cannot be reached"):
        find(key)


def test_the_connection_test_says_yes_or_why_not(host, connection):
    connection()
    assert asyncio.run(check_connection(NAME)) == (
        True,
        f"connection 'unix_lab': logged in to {host.address}/~/.enterprise-orch/jobs",
    )
    host.fault("unauthorized", on="any")
    fine, said = asyncio.run(check_connection(NAME))
    assert not fine
    assert "refused the login" in said
    assert "\n" not in said
