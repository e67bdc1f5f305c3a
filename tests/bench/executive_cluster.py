"""A PostgreSQL cluster in a folder that stays, so that a million task instances are made once, and Airflow on it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_enterprise_orch.demo.processes import free_ports, tail
from tests.faults.airflow_kills.database import NoServer, account, binaries

ROOT = Path(__file__).parents[2]
START_TIMEOUT = 120.0
SETTINGS = {"shared_buffers": "512MB", "work_mem": "16MB", "max_connections": "200", "random_page_cost": "1.1"}
"""What a database server of this size would be given; everything else is as PostgreSQL has it."""


@dataclass
class Cluster:
    """PostgreSQL on loopback, its data below ``folder``; a context manager. What was made is kept for the next time.

    :param folder: may be entered by every account: PostgreSQL refuses to run as root, and then runs as another.
    """

    folder: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Choose a port, and the password, once for ever."""
        found = binaries()
        if found is None:
            raise NoServer("no PostgreSQL server is installed (apt-get install postgresql)")
        self._binaries, self._account = found, account()
        self.folder = self.folder.absolute()
        self._base = self.folder / "postgresql"
        (self._port,) = free_ports(1)

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        password = (self._base / "password").read_text()
        return f"postgresql+psycopg2://airflow:{password}@127.0.0.1:{self._port}/postgres"

    @property
    def pid(self) -> int:
        """The server's first process."""
        assert self._process is not None
        return self._process.pid

    @property
    def ready(self) -> Path:
        """The file that says what was made, once all of it was."""
        return self.folder / "made.json"

    def made(self) -> dict[str, Any] | None:
        """Return what was made here, None where nothing was, or only a part."""
        return json.loads(self.ready.read_text()) if self.ready.exists() else None

    def remove(self) -> None:
        """Forget everything that was made."""
        for path in (self._base, self.folder / "home"):
            shutil.rmtree(path, ignore_errors=True)
        self.ready.unlink(missing_ok=True)

    def __enter__(self) -> Cluster:
        if not (self._base / "data" / "PG_VERSION").exists():
            self._create()
        options = {
            **SETTINGS,
            "port": str(self._port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._base),
            # The machine's own death would lose what was written; nobody measures that here.
            "fsync": "off",
            "full_page_writes": "off",
            "max_wal_size": "4GB",
        }
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self._base / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._binaries / "postgres"), "-D", str(self._base / "data"), *arguments],
                stdout=output,
                stderr=output,
                cwd=self._base,
                **self._account,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()  # no new connections, ends when the last one does
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.send_signal(2)  # ends the connections, too
                self._process.wait()

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of an Airflow on this database, without anybody's own settings."""
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.url,
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(home / "bundles"),
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "NO_COLOR": "1",
            **more,
        }

    def _create(self) -> None:
        shutil.rmtree(self._base, ignore_errors=True)
        self._base.mkdir(parents=True)
        secret = self._base / "password"
        secret.write_text(secrets.token_hex(8))
        secret.chmod(0o600)
        if "user" in self._account:
            for path in (self._base, secret):
                os.chown(path, self._account["user"], self._account["group"])
        initdb = [str(self._binaries / "initdb"), "-D", str(self._base / "data"), "-U", "airflow", "-E", "UTF8"]
        ended = subprocess.run(
            [*initdb, "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync"],
            capture_output=True,
            text=True,
            cwd=self._base,
            check=False,
            **self._account,
        )
        if ended.returncode:
            raise NoServer(f"initdb failed: {ended.stdout}{ended.stderr}")

    def _wait(self) -> None:
        ask = [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        deadline = time.monotonic() + START_TIMEOUT
        while subprocess.run(ask, check=False).returncode != 0:
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise NoServer(f"PostgreSQL did not come up:\n{tail(self._base / 'server.log')}")
            time.sleep(0.1)
