"""A PostgreSQL server of our own that can be killed and comes up again on the same data and port."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from airflow_enterprise_orch.demo.processes import free_ports, tail

UNPRIVILEGED = ("postgres", "nobody")
"""PostgreSQL refuses to run as root, so then it runs as one of these."""
START_TIMEOUT = 60.0


class NoServer(RuntimeError):
    """No PostgreSQL server is installed, or it did not come up."""


def binaries() -> Path | None:
    """Return the newest installed server's folder, None without one."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if not found and (on_path := shutil.which("initdb")):
        found = [Path(on_path).resolve().parent]
    return max(found, key=lambda path: float(path.parent.name) if path.parent.name.isdigit() else 0.0, default=None)


class PostgresServer:
    """One server on loopback with a data folder of its own; a context manager.

    :ivar url: for SQLAlchemy.
    """

    def __init__(self) -> None:
        folder = binaries()
        if folder is None:
            raise NoServer("no PostgreSQL server is installed (apt-get install postgresql)")
        self._folder = folder
        self._account = account()
        # Not below any home: no other account may look into that, and the server runs as another account.
        self._base = Path(tempfile.mkdtemp(prefix="enterprise-orch-postgres-"))
        self._data = self._base / "data"
        self._password = secrets.token_hex(8)
        (self._port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql+psycopg2://airflow:{self._password}@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> PostgresServer:
        try:
            self._create()
            self.start()
            self.wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """The server's first process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server on its data; does not wait until it takes connections."""
        settings = {
            "port": self._port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self._base,
            # What was written to the kernel survives the death of processes; only the machine's would lose it.
            "fsync": "off",
            "max_connections": 200,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._base / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._folder / "postgres"), "-D", str(self._data), *options],
                stdout=output,
                stderr=output,
                cwd=self._base,
                **self._account,
            )

    def wait(self) -> None:
        """Wait until it takes connections."""
        ask = [str(self._folder / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        deadline = time.monotonic() + START_TIMEOUT
        while subprocess.run(ask, check=False).returncode != 0:
            if not self.running or time.monotonic() > deadline:
                raise NoServer(f"PostgreSQL did not come up:\n{tail(self._base / 'server.log')}")
            time.sleep(0.1)

    def stop_at_once(self) -> None:
        """Have it shut down at once, without a checkpoint: what ``pg_ctl stop -m immediate`` does."""
        self._signal(signal.SIGQUIT)

    def kill(self) -> None:
        """Kill every process of it."""
        if self._process is None:
            return
        tree = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        for process in tree:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(tree, timeout=10)
        self._process.wait()

    def close(self) -> None:
        """Stop it and remove its data."""
        if self.running:
            self._signal(signal.SIGQUIT)
        shutil.rmtree(self._base, ignore_errors=True)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()

    def _create(self) -> None:
        secret = self._base / "password"
        secret.write_text(self._password)
        if "user" in self._account:
            for path in (self._base, secret):
                os.chown(path, self._account["user"], self._account["group"])
        initdb = [str(self._folder / "initdb"), "-D", str(self._data), "-U", "airflow", "-A", "scram-sha-256"]
        ended = subprocess.run(
            [*initdb, "-E", "UTF8", f"--pwfile={secret}", "--no-sync"],
            capture_output=True,
            text=True,
            cwd=self._base,
            check=False,
            **self._account,
        )
        if ended.returncode:
            raise NoServer(f"initdb failed: {ended.stdout}{ended.stderr}")


def account() -> dict[str, Any]:
    """Return what makes ``subprocess`` run as an account that is not root."""
    if os.geteuid() != 0:
        return {}
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise NoServer(f"running as root, and none of {UNPRIVILEGED} exists")
