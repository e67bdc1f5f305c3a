"""The three ways to an engine, and what is said when one of them is closed.

How a user would notice that it is fake: "the answer was lost, did it run?" for an engine that was not even reached; a
certificate that nobody checked; a tunnel that has to be opened by hand after the network dropped.
"""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from pathlib import Path

import psutil
import pytest
from engine_for_tests import run_to_end, sh, until_final

from airflow_enterprise_orch.delegation.job import Phase
from airflow_enterprise_orch.errors import (
    AnswerLost,
    ConnectionInvalid,
    ConnectionUntrusted,
    LoginRefused,
    SystemUnreachable,
)
from airflow_enterprise_orch.lab.docker_tls import client_certificate
from airflow_enterprise_orch.systems.container.engine import EngineSystem
from airflow_enterprise_orch.systems.container.settings import EngineSettings, Way


@pytest.mark.parametrize("way", list(Way))
def test_a_job_runs_and_its_log_comes_home(engine, key, way):
    async def steps(system):
        assert "20.10" in await system.check()
        handle, result = await run_to_end(system, sh("echo $WHO", env={"WHO": "it's me"}), key)
        return result.rc, await system.read_source(handle, "log")

    assert engine.run(steps, way) == (0, "it's me\n")


@pytest.mark.parametrize("way", list(Way))
def test_a_log_longer_than_any_buffer_comes_whole(engine, key, way):
    async def steps(system):
        handle, _ = await run_to_end(system, sh("seq 20000"), key)
        return await system.read_source(handle, "log")

    assert engine.run(steps, way).split() == [str(number) for number in range(1, 20_001)]


def test_the_identity_tells_engines_apart_and_holds_no_secret():
    def at(**more):
        return EngineSettings("c", **more).address

    local = at(socket="/run/docker.sock")
    by_ssh = at(way=Way.SSH, host="v1", port=22, login="ops", socket="/run/docker.sock")
    by_tls = at(way=Way.TLS, host="2001:db8::1", port=2376)
    assert local == f"docker+unix://{os.uname().nodename}/run/docker.sock", "a local socket is one machine's"
    assert by_ssh == "docker+ssh://ops@v1:22/run/docker.sock"
    assert by_tls == "docker+tls://[2001:db8::1]:2376"


def test_a_registry_password_is_in_no_text_of_the_settings():
    settings = EngineSettings("c", registry="r.example", registry_user="u", registry_password="s3cret-word")
    assert "s3cret-word" not in repr(settings)


def test_another_certificate_lets_nobody_in(engine, key, tmp_path):
    """That it is told as a refused login needs the alert, which asyncio's TLS does not send: see the real engine."""
    client_certificate(tmp_path / "other.pem", tmp_path / "other.key")
    wrong = {"client_cert": str(tmp_path / "other.pem"), "client_key": str(tmp_path / "other.key")}
    with pytest.raises(SystemUnreachable):
        engine.run(lambda system: system.find(key), Way.TLS, **wrong)
    assert engine.requests() == []


def test_an_engine_that_nobody_vouches_for_is_not_spoken_to(engine, key, tmp_path):
    client_certificate(tmp_path / "ca.pem", tmp_path / "ca.key")
    with pytest.raises(ConnectionUntrusted, match="ca_file"):
        engine.run(lambda system: system.find(key), Way.TLS, ca_file=str(tmp_path / "ca.pem"))
    with pytest.raises(ConnectionUntrusted):
        engine.run(lambda system: system.find(key), Way.TLS, ca_file="")
    assert engine.requests() == []


@pytest.mark.parametrize("field", ["ca_file", "client_cert", "client_key"])
def test_a_file_that_is_not_there_is_named(engine, key, field):
    with pytest.raises(ConnectionInvalid, match=rf"its {field} /nowhere/x\.pem"):
        engine.run(lambda system: system.find(key), Way.TLS, **{field: "/nowhere/x.pem"})


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(engine, key, tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    plain = load_pem_private_key(Path(engine.endpoint["client_key"]).read_bytes(), None)
    sealed = tmp_path / "sealed.key"
    sealed.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"words"),
        )
    )
    with pytest.raises(ConnectionInvalid, match="cannot be used"):
        engine.run(lambda system: system.find(key), Way.TLS, client_key=str(sealed))


@pytest.mark.parametrize("way", [Way.UNIX, Way.SSH])
def test_a_socket_that_is_not_there_proves_that_nothing_was_sent(engine, key, way):
    with pytest.raises(SystemUnreachable, match="nothing was sent"):
        engine.run(lambda system: system.submit(sh("exit 0"), key), way, socket="/nowhere/docker.sock")


def test_a_port_that_nobody_listens_on_proves_that_nothing_was_sent(engine, key):
    with pytest.raises(SystemUnreachable, match="nothing was sent"):
        engine.run(lambda system: system.submit(sh("exit 0"), key), Way.TLS, port=1)


@pytest.mark.skipif(os.geteuid() == 0 and not hasattr(os, "seteuid"), reason="nobody to be")
def test_a_socket_that_we_may_not_use_says_which_group_to_join(key):
    # pytest's own directories are closed to others, and the socket alone shall refuse.
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        path = Path(place) / "docker.sock"

        async def steps():
            server = await asyncio.start_unix_server(lambda *_: None, path)
            path.chmod(stat.S_IRUSR)
            me = os.geteuid()
            if me == 0:
                os.seteuid(65534)
            else:
                path.chmod(0)
            try:
                async with EngineSystem(EngineSettings("c", socket=str(path))) as system:
                    await system.find(key)
            finally:
                os.seteuid(me)
                server.close()

        with pytest.raises(ConnectionInvalid, match="group that owns the socket"):
            asyncio.run(steps())


def test_a_dropped_ssh_connection_is_made_anew(engine, key):
    async def steps(system):
        handle = await system.submit(sh("sleep 30"), key)
        logins = engine.stand_in.accepted_logins
        engine.drop_logins()
        for _ in range(3):
            try:
                states = await system.poll([handle])
            except SystemUnreachable:  # the first question may still meet the old connection
                continue
            return states[key].phase, engine.stand_in.accepted_logins - logins
        raise AssertionError("it never came back")

    phase, logins = engine.run(steps, Way.SSH)
    assert phase is Phase.RUNNING
    assert logins == 1


def test_one_ssh_login_serves_many_questions_at_once(engine, key):
    async def steps(system):
        await asyncio.gather(*(system.find(key) for _ in range(40)))

    engine.run(steps, Way.SSH)
    assert engine.stand_in.accepted_logins == 1


def test_a_refused_ssh_login_is_not_tried_again(engine, key):
    async def steps(system):
        await system.find(key)
        engine.fault("unauthorized", on="find")
        with pytest.raises(SystemUnreachable):
            await system.find(key)
        for _ in range(3):
            with pytest.raises(LoginRefused):
                await system.find(key)

    engine.run(steps, Way.SSH)
    assert engine.stand_in.refused_logins == 1


def test_a_connection_that_died_in_mid_request_is_ambiguous(engine, key):
    engine.fault("slow", on="submit", seconds=0.5)

    async def steps(system):
        asked = asyncio.create_task(system.submit(sh("echo ran"), key))
        await asyncio.sleep(0.2)
        engine.drop_logins()
        with pytest.raises(AnswerLost):
            await asked

    engine.run(steps, Way.SSH)


def test_nothing_listens_on_this_machine_for_the_tunnel(engine, key):
    """A forwarded local socket would let every process of this user talk to the far engine."""

    def sockets():
        return {each.laddr for each in psutil.Process().net_connections("unix") if each.laddr}

    before = sockets()

    async def steps(system):
        handle = await system.submit(sh("exit 0"), key)
        await until_final(system, handle)
        return sockets()

    assert engine.run(steps, Way.SSH) - before == set()
