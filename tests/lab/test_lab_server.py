"""The lab as a process: one line of JSON, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import asyncssh
import pytest

from airflow_enterprise_orch.lab import processes
from airflow_enterprise_orch.lab.server import STAND_INS, Lab, LabThread, UnknownStandIn, listing, main

LAB = [sys.executable, "-m", "airflow_enterprise_orch.lab.server", "--only", "ssh"]


@pytest.fixture
def start(tmp_path):
    """Start the lab as a process whose temporary directory is ours to look into."""
    started = []

    def begin(*words, command=LAB):
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        # Whoever runs the tests under nohup would have it ignore SIGHUP, as it should.
        command = ["env", "--default-signal=HUP", *command, *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def ssh(endpoint, command):
    async def run():
        async with asyncssh.connect(
            endpoint["host"],
            endpoint["port"],
            username=endpoint["user"],
            client_keys=[endpoint["private_key_file"]],
            known_hosts=endpoint["known_hosts_file"],
            config=None,
        ) as connection:
            return (await connection.run(command, check=True)).stdout

    return asyncio.run(run())


def alive(marker):
    """Return the processes that were started with ``marker`` in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_json_is_one_line_and_has_all_that_a_client_needs(start):
    lab = start("--json")
    endpoints = json.loads(lab.stdout.readline())
    assert list(endpoints) == ["ssh"]
    endpoint = endpoints["ssh"]
    assert set(endpoint) >= {"host", "port", "user", "password", "private_key_file", "connection", "control"}
    assert endpoint["host"] == "127.0.0.1"
    assert endpoint["connection"]["conn_type"] == "ssh"
    lab.send_signal(signal.SIGTERM)
    assert lab.stdout.read() == ""
    assert lab.wait(timeout=20) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_no_process_and_no_file_left(start, tmp_path, number):
    lab = start("--json")
    endpoint = json.loads(lab.stdout.readline())["ssh"]
    (scratch,) = tmp_path.iterdir()
    assert stat.S_IMODE(scratch.stat().st_mode) == 0o700
    nap = f"77{number.value}{os.getpid()}"
    # A plain child, a daemon, and a daemon that cleaned its environment.
    ssh(endpoint, f"sleep {nap} </dev/null >/dev/null 2>&1 & setsid sleep {nap} </dev/null >/dev/null 2>&1 &")
    ssh(endpoint, f"env -i setsid -f sleep {nap} </dev/null >/dev/null 2>&1")
    while len(alive(nap)) < 3:
        time.sleep(0.05)
    lab.send_signal(number)
    assert lab.wait(timeout=20) == 0
    assert alive(nap) == []
    assert list(tmp_path.iterdir()) == []


def test_what_ran_before_the_lab_is_not_its_own_to_end(start, tmp_path):
    nap = f"78{os.getpid()}"
    lab = start(command=["/bin/sh", "-c", f'sleep {nap} >/dev/null 2>&1 & exec "$@" --json', "sh", *LAB])
    try:
        endpoint = json.loads(lab.stdout.readline())["ssh"]
        ssh(endpoint, f"sleep {nap} </dev/null >/dev/null 2>&1 & setsid sleep {nap} </dev/null >/dev/null 2>&1 &")
        while len(alive(nap)) < 3:
            time.sleep(0.05)
        lab.send_signal(signal.SIGTERM)
        assert lab.wait(timeout=20) == 0
        assert len(alive(nap)) == 1
    finally:
        processes.kill(alive(nap))


def test_it_ends_with_its_parent_when_told_to(start, tmp_path):
    shell = start(command=["/bin/sh", "-c", '"$@" --json --with-parent & echo $!; exec sleep 600', "sh", *LAB])
    lab = int(shell.stdout.readline())
    json.loads(shell.stdout.readline())
    shell.kill()
    while Path(f"/proc/{lab}").exists() and "Z" not in Path(f"/proc/{lab}/stat").read_text().rpartition(")")[2]:
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []


def test_without_json_it_lists_for_people(start):
    lab = start()
    lines = [""]
    while "  control" not in lines[-1]:
        lines.append(lab.stdout.readline())
    lab.send_signal(signal.SIGTERM)
    assert lab.wait(timeout=20) == 0
    text = "".join(lines)
    assert "The lab is up" in text
    assert "control          http://127.0.0.1:" in text


def test_an_unknown_stand_in_is_named(capsys):
    assert main(["--only", "zsomf"]) == 2
    assert capsys.readouterr().err == f"enterprise-orch lab: the lab has no 'zsomf'; it has {', '.join(STAND_INS)}\n"


def test_a_missing_extra_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "airflow_enterprise_orch.lab.control", None)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "airflow_enterprise_orch.lab.control")
    assert main(["--only", "ssh"]) == 1
    assert "pip install 'airflow-enterprise-orch[lab]'" in capsys.readouterr().err


def test_in_process_it_leaves_no_file_even_when_a_start_fails(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("airflow_enterprise_orch.lab.ssh.SshStandIn._prepare", lambda self: 1 / 0)

    async def fail():
        async with Lab(["ssh"]):
            pass

    with pytest.raises(ZeroDivisionError):
        asyncio.run(fail())
    with pytest.raises(ZeroDivisionError), LabThread(["ssh"]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_in_process_and_in_a_thread_it_serves_the_same():
    async def inside():
        async with Lab(["ssh"]) as lab:
            return lab.endpoints["ssh"]

    with LabThread(["ssh"]) as lab:
        assert ssh(lab.endpoints["ssh"], "echo there") == "there\n"
        assert set(asyncio.run(inside())) == set(lab.endpoints["ssh"])
        mark = lab.stand_in("ssh")._mark
    assert processes.marked(mark) == set()


def test_nobody_else_can_be_asked_for():
    with pytest.raises(UnknownStandIn):
        Lab(["nothing"])


def test_the_listing_shows_every_field():
    text = listing({"x": {"url": "https://127.0.0.1:1", "connection": {"host": "h"}, "control": "http://c"}})
    assert "  url              https://127.0.0.1:1\n" in text
    assert '{"host": "h"}' in text
