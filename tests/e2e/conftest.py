"""A PostgreSQL server of our own, on loopback and gone afterwards, and the company in which the scenarios play."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from company import Company

from airflow_enterprise_orch.demo.processes import free_ports

UNPRIVILEGED = ("postgres", "nobody")


def binaries() -> Path | None:
    """Return the newest installed server's folder, None without one."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if not found and (on_path := shutil.which("initdb")):
        found = [Path(on_path).resolve().parent]
    return max(found, key=lambda path: float(path.parent.name) if path.parent.name.isdigit() else 0.0, default=None)


@pytest.fixture(scope="session")
def company(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """Play all scenarios that were selected beside one another."""
    told = [mark.args[0] for item in request.session.items for mark in item.iter_markers("scenario")]
    with ExitStack() as stack:
        # Without a server the scenarios still play, on SQLite; only more slowly.
        database = stack.enter_context(postgresql_server()) if binaries() is not None else ""
        playing = Company(tmp_path_factory.mktemp("company"), database, told)
        stack.callback(playing.stop)
        playing.start()
        yield playing


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Start a server and yield its SQLAlchemy URL; PostgreSQL refuses to run as root, so then as somebody else."""
    folder = binaries()
    assert folder is not None
    account = _account()
    # Not pytest's tmp_path: no other account may look into it.
    base = Path(tempfile.mkdtemp(prefix="enterprise-orch-postgres-"))
    try:
        data, password, secret = base / "data", secrets.token_hex(8), base / "password"
        secret.write_text(password)
        if "user" in account:
            for path in (base, secret):
                os.chown(path, account["user"], account["group"])
        initdb = [str(folder / "initdb"), "-D", str(data), "-U", "airflow", "-A", "scram-sha-256", "-E", "UTF8"]
        ended = subprocess.run(
            [*initdb, f"--pwfile={secret}", "--no-sync"],
            capture_output=True,
            text=True,
            cwd=base,
            check=False,
            **account,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        (port,) = free_ports(1)
        settings = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": base,
            "fsync": "off",
            "max_connections": 200,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(folder / "postgres"), "-D", str(data), *options]
        with (base / "server.log").open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=base, **account)
        try:
            _wait_for(folder, port, process, base / "server.log")
            yield f"postgresql+psycopg2://airflow:{password}@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGQUIT)  # immediate shutdown
            process.wait()
    finally:
        shutil.rmtree(base)


def _wait_for(folder: Path, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    ask = [str(folder / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ask, check=False).returncode != 0:
        assert process.poll() is None, f"the server ended:\n{log.read_text()}"
        time.sleep(0.1)


def _account() -> dict[str, Any]:
    """Return what makes ``subprocess`` run as an account that is not root."""
    if os.geteuid() != 0:
        return {}
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise AssertionError(f"running as root, and none of {UNPRIVILEGED} exists")
