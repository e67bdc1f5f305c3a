"""Shares to deliver to: the lab's S3, the lab's SFTP, a real OpenSSH, a real Samba; and a second look at each."""

from __future__ import annotations

import getpass
import json
import os
import secrets
import shutil
import string
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from shares_for_tests import NAME, Share, free_port, until_it_answers

from airflow_enterprise_orch.lab.s3 import S3StandIn
from airflow_enterprise_orch.lab.server import LabThread
from tests import openssh

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


@pytest.fixture(scope="session")
def lab() -> Iterator[LabThread]:
    with LabThread(["s3", "ssh"]) as running:
        yield running


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openssh.OpenSsh]:
    if not openssh.HERE:
        pytest.skip(openssh.ABSENT)
    server = openssh.OpenSsh(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def samba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], Path, Callable[[], None]]]:
    smbd = shutil.which("smbd", path=PATH)
    if smbd is None or os.geteuid() != 0:
        pytest.skip("no Samba server here, or not root (apt-get install samba)")
    place = tmp_path_factory.mktemp("samba")
    place.chmod(0o755)
    share = place / "share"
    share.mkdir()
    share.chmod(0o777)
    for folder in ("lock", "state", "cache", "pid", "private", "ncalrpc"):
        (place / folder).mkdir()
    port, user, password = free_port(), getpass.getuser(), secrets.token_hex(12)
    settings = (
        f"[global]\nserver role = standalone server\nsmb ports = {port}\ninterfaces = 127.0.0.1\n"
        f"bind interfaces only = yes\nserver min protocol = SMB2\nserver signing = mandatory\n"
        f"passdb backend = tdbsam:{place}/private/passdb.tdb\nload printers = no\ndisable spoolss = yes\n"
        f"lock directory = {place}/lock\nstate directory = {place}/state\ncache directory = {place}/cache\n"
        f"pid directory = {place}/pid\nprivate dir = {place}/private\nncalrpc dir = {place}/ncalrpc\n"
        f"log file = {place}/log\n[drop]\npath = {share}\nread only = no\n"
    )
    (place / "smb.conf").write_text(settings)
    given = f"{password}\n{password}\n".encode()
    subprocess.run(
        ["smbpasswd", "-c", place / "smb.conf", "-s", "-a", user], input=given, check=True, capture_output=True
    )
    server = subprocess.Popen(
        [smbd, "-F", "--no-process-group", "-s", place / "smb.conf"],
        start_new_session=True,  # smbd ends its whole process group
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until_it_answers(server, port, place / "log")

    def alive() -> None:
        assert server.poll() is None, f"smbd ended with {server.returncode}:\n{(place / 'log').read_text()[-3000:]}"

    connection = {
        "conn_type": "samba",
        "host": "127.0.0.1",
        "port": port,
        "login": user,
        "password": password,
        "schema": "drop",
        "extra": {},
    }
    yield connection, share, alive
    server.terminate()
    server.wait()


@pytest.fixture
def announce(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Return what makes an Airflow connection known."""

    def put(connection: dict[str, Any]) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{NAME.upper()}", json.dumps(connection))

    return put


@pytest.fixture
def s3(lab: LabThread, announce: Callable[[dict[str, Any]], None]) -> Share:
    lab.reset("s3")
    connection = dict(lab.endpoints["s3"]["connection"])
    announce(connection)
    return Share("s3", connection, s3=cast("S3StandIn", lab.stand_in("s3")))


@pytest.fixture(params=["s3", "sftp of the lab", "OpenSSH", "Samba"])
def share(
    request: pytest.FixtureRequest, lab: LabThread, announce: Callable[[dict[str, Any]], None], tmp_path: Path
) -> Share:
    """Each kind of share in turn, empty."""
    if request.param == "s3":
        return cast("Share", request.getfixturevalue("s3"))
    if request.param == "sftp of the lab":
        lab.reset("ssh")
        connection = dict(lab.endpoints["ssh"]["connection"])
        made = Share(request.param, connection, cast("Any", lab.stand_in("ssh")).home)
    elif request.param == "OpenSSH":
        connection = cast("openssh.OpenSsh", request.getfixturevalue("sshd")).connection("sftp")
        root = tmp_path / "share"
        root.mkdir()
        connection["extra"] = {**connection["extra"], "share_root": str(root)}
        made = Share(request.param, connection, root)
    else:
        connection, folder, alive = request.getfixturevalue("samba")
        request.addfinalizer(alive)  # a test that failed because the server went away shows the server's log
        name = "t" + secrets.token_hex(6)
        connection = {**connection, "extra": {"share_root": name}}
        (folder / name).mkdir()
        made = Share(request.param, connection, folder / name)
    connection["extra"] = {**connection["extra"], "certificate_secret": "0123456789abcdef0123456789abcdef"}
    announce(connection)
    return made


@pytest.fixture
def new_key() -> Callable[[], str]:
    alphabet = string.ascii_uppercase + string.digits
    return lambda: "T" + "".join(secrets.choice(alphabet) for _ in range(19))


@pytest.fixture
def key(new_key: Callable[[], str]) -> str:
    return new_key()
