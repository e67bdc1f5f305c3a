"""Shares to deliver to: the lab's S3, the lab's SFTP, a real OpenSSH, a real Samba; and a second look at each."""

from __future__ import annotations

import json
import os
import secrets
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from shares_for_tests import NAME, Share

from airflow_enterprise_orch.lab.s3 import S3StandIn
from airflow_enterprise_orch.lab.server import LabThread
from tests import openssh
from tests import samba as samba_server

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
    if not samba_server.HERE:
        pytest.skip(samba_server.ABSENT)
    server = samba_server.Samba(tmp_path_factory.mktemp("samba"))
    yield server.connection(), server.folder, server.alive
    server.stop()


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
