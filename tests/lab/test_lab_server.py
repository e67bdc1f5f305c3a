"""The lab as a process: one line of JSON, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

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


def url_of(endpoint):
    """Return where a stand-in listens: it tells a URL, or host and port."""
    return endpoint["url"] if "url" in endpoint else f"//{endpoint['host']}:{endpoint['port']}"


SECURE = ("zosmf", "controlm", "winrm", "sap_soap_rfc", "sap_odata")


def test_json_is_one_line_and_has_all_that_a_client_needs(start, monkeypatch):
    """Tools are written against these names: one that is missing or renamed breaks them."""
    from airflow.sdk import BaseHook

    from airflow_enterprise_orch.demo.story import CONNECTIONS

    lab = start("--json", command=LAB[:-2])
    endpoints = json.loads(lab.stdout.readline())
    assert set(endpoints) == set(STAND_INS)
    for name, endpoint in endpoints.items():
        place = urlsplit(url_of(endpoint))
        assert place.hostname == "127.0.0.1" or place.scheme == "unix", name
        assert place.port or place.path, name
        assert endpoint["user"], name
        assert endpoint["password"], name
        assert endpoint["control"].startswith("http://127.0.0.1:"), name
        assert (place.scheme == "https") == (name in SECURE), name
        for key in ("ca_file", "private_key_file", "known_hosts_file", "client_cert", "client_key"):
            assert key not in endpoint or Path(endpoint[key]).is_file(), (name, key)
        if name in SECURE:
            context = ssl.create_default_context(cafile=endpoint["ca_file"])
            with (
                socket.create_connection((place.hostname, place.port)) as plain,
                context.wrap_socket(plain, server_hostname=place.hostname),
            ):
                pass  # a client that trusts this file, and only it, trusts the stand-in
        with urllib.request.urlopen(endpoint["control"] + "/jobs", timeout=10) as answer:
            assert json.load(answer) == [], name
        # As the value of an AIRFLOW_CONN_ variable it is what Airflow reads.
        monkeypatch.setenv(f"AIRFLOW_CONN_LAB_{name.upper()}", json.dumps(endpoint["connection"]))
        connection = BaseHook.get_connection(f"lab_{name}")
        assert connection.conn_type == endpoint["connection"]["conn_type"], name
        assert connection.login == endpoint["user"], name
    assert {"private_key_file", "known_hosts_file"} <= set(endpoints["ssh"])
    assert set(CONNECTIONS.values()) == set(endpoints)
    lab.send_signal(signal.SIGTERM)
    assert lab.stdout.read() == ""
    assert lab.wait(timeout=20) == 0


def test_connections_are_in_a_file_while_it_runs(start, tmp_path):
    """An Airflow that was started before the lab, or in another container, finds its stand-ins."""
    from airflow.secrets.local_filesystem import LocalFilesystemBackend

    from airflow_enterprise_orch.demo.story import CONNECTIONS

    file = tmp_path / "connections.json"
    backend = LocalFilesystemBackend(connections_file_path=str(file))
    lab = start("--json", "--only", "ssh,zosmf", "--connections", str(file), command=LAB[:-2])
    endpoints = json.loads(lab.stdout.readline())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    named = {name for name, stand_in in CONNECTIONS.items() if stand_in in endpoints}
    assert set(json.loads(file.read_text())) == named
    assert named >= {"zos_prod", "virtual_server"}
    zos, host = backend.get_connection("zos_prod"), backend.get_connection("virtual_server")
    assert (zos.port, zos.password) == (urlsplit(endpoints["zosmf"]["url"]).port, endpoints["zosmf"]["password"])
    assert zos.extra_dejson["ca_file"] == endpoints["zosmf"]["ca_file"]
    assert host.extra_dejson["private_key"].startswith("-----BEGIN")
    lab.send_signal(signal.SIGTERM)
    assert lab.wait(timeout=20) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_for_connections_that_cannot_be_written_ends_it_with_one_line(tmp_path, capsys):
    assert main(["--only", "ssh", "--connections", str(tmp_path / "missing" / "connections.json")]) == 2
    assert capsys.readouterr().err == (
        f"enterprise-orch lab: the connections cannot be written to {tmp_path}/missing/connections.json: "
        "No such file or directory\n"
    )


def test_only_what_was_asked_for_is_started(start):
    lab = start("--json")
    assert list(json.loads(lab.stdout.readline())) == ["ssh"]
    lab.send_signal(signal.SIGTERM)
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
