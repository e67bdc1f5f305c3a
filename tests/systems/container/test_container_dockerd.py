"""The same promises on a real Docker engine, made here: own socket, own data, an image of busybox, no registry.

How a user would notice that it is fake: a job that is gone, or done twice, after the engine was killed and came back.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from dockerd_for_tests import PATH, unmount_below
from engine_for_tests import sh, until_final, until_running

from airflow_enterprise_orch.delegation.job import Ending, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found
from airflow_enterprise_orch.errors import LoginRefused, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.lab.docker_tls import client_certificate, mutual_tls
from airflow_enterprise_orch.systems.container.engine import EngineSystem
from airflow_enterprise_orch.systems.container.hook import open_engine
from airflow_enterprise_orch.systems.container.settings import EngineSettings, Way
from airflow_enterprise_orch.systems.container.steps import ContainerProvision, ContainerRemove, ContainerRun
from tests import openssh


@pytest.fixture
def run(dockerd):
    """Run ``work(system)`` with a client of the real engine."""

    def with_client(work):
        async def steps():
            async with dockerd.client() as system:
                return await work(system)

        return asyncio.run(steps())

    return with_client


def job(script, **more):
    return sh(script, network="none", **more)


def ending(script, key, **more):
    async def steps(system):
        handle = await system.submit(job(script, **more), key)
        await until_final(system, handle)
        return await system.result(handle)

    return steps


@pytest.mark.parametrize(
    ("script", "more", "expected"),
    [
        ("exit 3", {}, (Ending.COMPLETED, "exit 3", 3)),
        ("sh -c 'kill -9 $$'; exit $?", {}, (Ending.ABENDED, "signal 9", 137)),
        ("test $(id -u) = 65534", {"user": "65534"}, (Ending.COMPLETED, "exit 0", 0)),
    ],
)
def test_how_a_container_ended_is_told_apart(run, key, script, more, expected):
    result = run(ending(script, key, **more))
    assert (result.ending, result.code, result.rc) == expected
    assert result.started <= result.ended


def test_a_container_that_outgrew_its_memory_is_told_as_the_engine_tells_it(run, key, dockerd):
    """The engine itself is the witness: it misses the kernel's word at times, and then nobody knows it."""
    result = run(ending("tail /dev/zero", key, memory_mb=16))
    said = dockerd.docker("inspect", "--format", "{{.State.OOMKilled}}", key).stdout.strip()
    assert (result.ending, result.rc) == (Ending.ABENDED, 137)
    assert result.code == {"true": "out of memory", "false": "signal 9"}[said]


def test_a_program_that_is_not_in_the_image_never_ran(run, key):
    async def steps(system):
        work = ContainerRun(image="lab/tools:1", command=["no-such-program"], network="none")
        with pytest.raises(RequestRejected, match="executable file not found"):
            await system.submit(work, key)
        handle = (await system.find(key)).candidates[0].handle
        return (await system.poll([handle]))[key].phase, (await system.result(handle)).ending

    assert run(steps) == (Phase.ENDED, Ending.REJECTED)


def test_a_second_submit_meets_the_name_and_adopts(run, key, dockerd):
    async def steps(system):
        assert await system.find(key) == Absent()
        first, *others = await asyncio.gather(*(system.submit(job("echo ran; sleep 1"), key) for _ in range(4)))
        assert all(other == first for other in others)
        with pytest.raises(RequestRejected, match="another specification"):
            await system.submit(job("echo other"), key)
        await until_final(system, first)
        return await system.read_source(first, "log")

    assert run(steps) == "ran\n"
    assert dockerd.docker("ps", "-aq", "--filter", f"label=orch.key={key}").stdout.count("\n") == 1


def test_the_real_engine_starts_an_ended_container_again(run, key, dockerd):
    """Why a start is watched and fenced: the engine has no "only if it never ran"."""

    async def steps(system):
        handle = await system.submit(job("echo ran"), key)
        await until_final(system, handle)
        return handle

    handle = run(steps)
    dockerd.docker("start", handle.job_id)
    dockerd.docker("wait", handle.job_id)
    assert dockerd.docker("logs", handle.job_id).stdout == "ran\nran\n"


def test_a_cancel_is_told_from_a_kill(run, key, new_key, dockerd):
    killed = new_key()

    async def steps(system):
        ours = await system.submit(job("echo up; sleep 60"), key)
        theirs = await system.submit(job("echo up; sleep 60"), killed)
        for handle in (ours, theirs):
            await until_running(system, handle, "up")
        await system.cancel(ours)
        await asyncio.to_thread(dockerd.docker, "kill", theirs.job_id)
        for handle in (ours, theirs):
            await until_final(system, handle)
        return await system.result(ours), await system.result(theirs)

    ours, theirs = run(steps)
    assert (ours.ending, ours.rc) == (Ending.CANCELLED, 137)
    assert (theirs.ending, theirs.rc) == (Ending.ABENDED, 137)


def test_every_line_of_both_streams_comes_once_while_they_grow(run, key):
    async def steps(system):
        script = "i=0; while [ $i -lt 40 ]; do echo o$i; echo e$i >&2; i=$((i+1)); [ $((i%8)) = 0 ] && sleep 0.3; done"
        handle = await system.submit(job(f"{script}; exit 0"), key)
        text, cursor, last = "", "", False
        while True:
            piece = await system.read_output(handle, cursor, limit=60)
            text, cursor = text + piece.text, piece.cursor
            if last and not piece.text:
                return text
            last = (await system.poll([handle]))[key].final

    lines = run(steps).split()
    assert sorted(lines) == sorted(f"{stream}{number}" for stream in "oe" for number in range(40))
    assert [line for line in lines if line[0] == "o"] == [f"o{number}" for number in range(40)]


def test_killing_the_engine_in_mid_run_loses_nothing(run, key, dockerd):
    async def begin(system):
        handle = await system.submit(job("echo before; sleep 6; echo after; exit 5"), key)
        await until_running(system, handle, "before")
        return handle, (await system.read_output(handle)).cursor

    handle, cursor = run(begin)
    dockerd.kill()

    async def blind(system):
        with pytest.raises(SystemUnreachable, match="nothing was sent"):
            await system.poll([handle])
        with pytest.raises(SystemUnreachable):
            await system.find(key)
        with pytest.raises(SystemUnreachable, match="nothing was sent"):
            await system.submit(job("echo again"), key)

    run(blind)
    dockerd.start()

    async def end(system):
        assert isinstance(await system.find(key), Found)
        await until_final(system, handle)
        return await system.result(handle), (await system.read_output(handle, cursor)).text

    result, more = run(end)
    assert (result.ending, result.rc) == (Ending.COMPLETED, 5)
    assert more == "after\n"


def test_a_job_that_ends_while_the_engine_is_dead_keeps_its_exit_status(run, key, dockerd):
    async def begin(system):
        handle = await system.submit(job("echo before; sleep 2; exit 6"), key)
        await until_running(system, handle, "before")
        return handle

    handle = run(begin)
    pid = int(dockerd.docker("inspect", "-f", "{{.State.Pid}}", handle.job_id).stdout)
    dockerd.kill()
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.1)
    dockerd.start()

    async def end(system):
        await until_final(system, handle)
        return await system.result(handle)

    result = run(end)
    # What the engine can still learn of it is its exit status; where it cannot, it must not look like a success.
    assert (result.ending, result.rc) in [(Ending.COMPLETED, 6), (Ending.LOST, 255)]


def test_an_engine_killed_between_create_and_start_runs_it_once(run, key, dockerd):
    async def create(system):
        from airflow_enterprise_orch.systems.container.session import Call
        from airflow_enterprise_orch.systems.container.spec import container_document

        body = container_document(job("echo ran"), key)
        await system._session.call(Call("create", "POST", "/containers/create", True, {"name": key}, body=body))

    run(create)
    dockerd.kill()
    dockerd.start()

    async def go_on(system):
        found = await system.find(key)
        assert found.candidates[0].held
        await system.release(found.candidates[0].handle)
        await system.release(found.candidates[0].handle)  # asking again does not start it again
        await until_final(system, found.candidates[0].handle)
        return await system.read_source(found.candidates[0].handle, "log")

    assert run(go_on) == "ran\n"


def test_an_instance_is_provisioned_and_removed(run, key, new_key):
    async def steps(system):
        health = {"command": ["test", "-e", "/tmp/up"], "interval": 1}
        script = ["sh", "-c", "sleep 2; echo > /tmp/up; sleep 60"]
        work = ContainerProvision(image="lab/tools:1", command=script, health=health, network="host", grace=1)
        handle = await system.submit(work, key)
        assert (await system.poll([handle]))[key].phase is Phase.RUNNING
        await until_final(system, handle)
        up = await system.result(handle)
        address = await system.read_source(handle, "address")
        gone = await system.submit(ContainerRemove(instance=handle.job_id), new_key())
        await until_final(system, gone)
        return up.code, address, (await system.result(gone)).code, await system.find(key)

    assert run(steps) == ("healthy", "127.0.0.1", "removed", Absent())


def test_an_image_that_cannot_be_pulled_leaves_nothing_behind(run, key):
    async def steps(system):
        with pytest.raises((RequestRejected, SystemUnreachable), match=r"nowhere\.invalid/tools:1"):
            await system.submit(ContainerRun(image="nowhere.invalid/tools:1", command=["true"]), key)
        return await system.find(key)

    assert run(steps) == Absent()


def test_many_waiting_containers_are_one_call(run, new_key):
    async def steps(system):
        handles = [await system.submit(job("sleep 60"), new_key()) for _ in range(3)]
        calls = []
        ask = system._session.ask

        async def counted(call):
            calls.append(call.path)
            return await ask(call)

        system._session.ask = counted
        states = await system.poll(handles)
        for handle in handles:
            await system.cancel(handle)
        return calls[:1], calls.index("/volumes/create"), {status.phase for status in states.values()}

    assert run(steps) == (["/containers/json"], 1, {Phase.RUNNING})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_engine_behind_a_real_sshd_survives_its_kill(dockerd, key, tmp_path, monkeypatch):
    if not openssh.HERE:
        pytest.skip(openssh.ABSENT)
    server = openssh.OpenSsh(tmp_path)
    connection = server.connection("container_engine", transport="ssh", socket=str(dockerd.socket))
    monkeypatch.setenv("AIRFLOW_CONN_VSERVER", json.dumps(connection))

    async def steps():
        async with open_engine("vserver") as system:
            handle = await system.submit(job("echo before; sleep 4; echo after; exit 7"), key)
            await until_running(system, handle, "before")
            server.kill()
            server.start()
            while True:
                try:
                    await until_final(system, handle)
                    break
                except SystemUnreachable:  # the old connection: the next question makes a new one
                    continue
            return await system.result(handle), await system.read_source(handle, "log")

    try:
        result, log = asyncio.run(steps())
    finally:
        server.stop()
    assert result.rc == 7
    assert log == "before\nafter\n"


def test_a_real_engine_on_tcp_refuses_another_certificate_in_words(dockerd, key, tmp_path):
    """dockerd sends the alert that says so; its TLS is put in front of its socket here by no proxy, but by itself."""
    tls = mutual_tls(tmp_path)
    client_certificate(tmp_path / "other.pem", tmp_path / "other.key")
    port = free_port()
    place = Path(f"/run/orch-tests-tls-{os.getpid()}")
    command = [
        *("dockerd", "--host", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", str(tls.client_cert)),
        *("--tlscert", str(tmp_path / "server.pem"), "--tlskey", str(tmp_path / "server.key")),
        *("--data-root", str(tmp_path / "data"), "--exec-root", str(place / "exec"), "--pidfile", str(place / "pid")),
        *("--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"),
        *("--containerd", str(dockerd.containerd_socket), "--containerd-namespace", "second"),
        *("--containerd-plugins-namespace", "second-plugins"),
    ]
    place.mkdir()
    with (tmp_path / "log").open("wb") as log:
        second = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PATH": PATH})
    right = EngineSettings(
        "tcp",
        way=Way.TLS,
        host="127.0.0.1",
        port=port,
        ca_file=str(tls.ca_file),
        client_cert=str(tls.client_cert),
        client_key=str(tls.client_key),
    )
    other = {"client_cert": str(tmp_path / "other.pem"), "client_key": str(tmp_path / "other.key")}

    async def steps():
        async with EngineSystem(right) as system:
            while True:
                try:
                    version = await system.check()
                    break
                except SystemUnreachable:
                    assert second.poll() is None, (tmp_path / "log").read_text()[-800:]
                    await asyncio.sleep(0.2)
        fields = {name: getattr(right, name) for name in ("way", "host", "port", "ca_file")}
        async with EngineSystem(EngineSettings("tcp", **fields, **other)) as system:
            with pytest.raises(LoginRefused, match="refused our certificate"):
                await system.find(key)
        return version

    try:
        assert "API" in asyncio.run(steps())
    finally:
        second.terminate()
        second.wait()
        unmount_below(place, tmp_path)
        shutil.rmtree(place, ignore_errors=True)
