"""From an Airflow connection to the engine, and what is said of a wrong one."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from importlib import import_module

import asyncssh
import pytest

from airflow_enterprise_orch.delegation.system import Absent
from airflow_enterprise_orch.errors import ConnectionInvalid, ConnectionUntrusted, LoginRefused, SystemUnreachable
from airflow_enterprise_orch.systems.container.hook import EXTRAS, ContainerEngineHook, open_engine
from airflow_enterprise_orch.systems.container.registration import CONNECTION_TYPES

NAME = "engine_lab"


@pytest.fixture
def connection(engine, monkeypatch):
    """Set the Airflow connection of the lab's engine, changed as the test says."""

    def put(way="ssh", extra=None, **fields):
        data = copy.deepcopy(engine.endpoint["connections"][way])
        data.update(fields)
        data["extra"].update(extra or {})
        data["extra"] = {name: value for name, value in data["extra"].items() if value is not None}
        monkeypatch.setenv(f"AIRFLOW_CONN_{NAME.upper()}", json.dumps(data))
        return data

    return put


def find(key):
    async def steps():
        async with open_engine(NAME) as system:
            return await system.find(key), system.identity

    return asyncio.run(steps())


@pytest.mark.parametrize("way", ["ssh", "tls", "unix"])
def test_the_lab_s_connections_work_as_they_are_printed(engine, connection, key, way):
    connection(way)
    found, identity = find(key)
    assert found == Absent()
    assert identity.startswith(f"docker+{way}://")
    assert engine.endpoint["password"] not in identity
    good, words = ContainerEngineHook(NAME).test_connection()
    assert good, words
    assert "20.10.24-lab (API 1.41) answers" in words


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"conn_type": "docker"}, "its type is 'docker'"),
        ({"way": "ssh", "host": "https://x/y"}, "give the name of the engine's host"),
        ({"way": "ssh", "login": None}, "it has no login; give the SSH user"),
        ({"way": "tls", "extra": {"client_key": None}}, "it has no client_cert or no client_key"),
        ({"way": "unix", "host": "x"}, "its transport is unix, and its host is 'x'"),
        ({"extra": {"transport": "http"}}, "choose ssh, tls or unix"),
        ({"extra": {"socket": "docker.sock"}}, "give the absolute path of the engine's socket"),
        ({"extra": {"timeout": 0.5}}, "give seconds, from 1 to 600"),
        ({"extra": {"keep_days": 0.5}}, "give days, from 1 to 3650"),
        ({"extra": {"registry_user": "x"}}, "only a part of registry, registry_user and registry_password"),
        ({"extra": {"tls_verify": False}}, "its extra has tls_verify"),
    ],
)
def test_what_is_wrong_with_a_connection_is_said_with_its_remedy(connection, key, changes, said):
    connection(**changes)
    with pytest.raises(ConnectionInvalid) as wrong:
        find(key)
    assert said in str(wrong.value)
    assert NAME in str(wrong.value)


def test_a_connection_that_does_not_exist(key):
    async def steps():
        async with open_engine("nowhere"):
            raise AssertionError("it opened")

    with pytest.raises(ConnectionInvalid, match="create it with the type container_engine"):
        asyncio.run(steps())


def test_a_wrong_password_is_a_refused_login_tried_once(engine, connection, key):
    connection(password="not-it-at-all")
    with pytest.raises(LoginRefused) as refused:
        find(key)
    assert "not-it-at-all" not in str(refused.value)
    while not engine.stand_in.refused_logins:  # it counts when it sees the connection's end, perhaps after us
        time.sleep(0.02)
    assert engine.stand_in.refused_logins == 1
    good, words = ContainerEngineHook(NAME).test_connection()
    assert (good, words.startswith("Login refused: ")) == (False, True)


def test_another_host_key_is_not_trusted(engine, connection, key):
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key("openssh").decode()
    connection(extra={"host_key": " ".join(other.split()[:2])})
    with pytest.raises(ConnectionUntrusted, match="ssh-keyscan"):
        find(key)
    assert engine.stand_in.accepted_logins == 0


def test_a_private_key_that_is_none_is_not_shown(connection, key):
    connection(extra={"private_key": "-----BEGIN s3cret-words"})
    with pytest.raises(ConnectionInvalid, match="its private key cannot be read") as wrong:
        find(key)
    assert "s3cret" not in str(wrong.value)
    assert wrong.value.__cause__ is None


def test_an_ssh_server_that_is_not_there(connection, key):
    connection(port=1)
    with pytest.raises(SystemUnreachable, match="cannot be reached"):
        find(key)
    assert ContainerEngineHook(NAME).test_connection()[1].startswith("Not usable: ")


def test_an_ssh_server_that_forwards_nothing_is_told_from_a_lost_answer(connection, key):
    connection(extra={"socket": "/somewhere/else.sock"})
    with pytest.raises(SystemUnreachable, match=r"opened no way to /somewhere/else\.sock") as closed:
        find(key)
    assert "nothing was sent" in str(closed.value)


def test_the_form_shows_every_field_and_hides_the_secrets():
    (kind,) = CONNECTION_TYPES
    module, _, name = kind["hook-class-name"].rpartition(".")
    assert getattr(import_module(module), name) is ContainerEngineHook
    assert kind["connection-type"] == ContainerEngineHook.conn_type
    fields = kind["conn-fields"]
    assert set(fields) == set(EXTRAS) - {"key_file", "known_hosts"}, "what the form lacks is for SSH users who know it"
    hidden = {field for field, told in fields.items() if told["schema"].get("format") == "password"}
    assert hidden == {"private_key", "private_key_passphrase", "registry_password"}
