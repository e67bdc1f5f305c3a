"""A database for tests, on SQLite or on PostgreSQL, and programs that run on it in a process of their own."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.airflow_kills.database import NoServer, PostgresServer

KINDS = ("sqlite", "postgresql")


@contextmanager
def database(kind: str, home: Path, migrated: Path | None = None) -> Iterator[str]:
    """Yield the SQLAlchemy URL of an empty database, or on SQLite of a copy of a migrated one."""
    if kind == "sqlite":
        if migrated is not None:
            shutil.copy(migrated, home / "airflow.db")
        yield f"sqlite:///{home}/airflow.db"
        return
    try:
        server = PostgresServer()
    except NoServer as error:
        pytest.skip(str(error))
    with server:
        yield server.url


def environment(home: Path, url: str) -> dict[str, str]:
    """Return the environment of an Airflow of its own."""
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(home / "bundles"),
    }


def run(program: str, home: Path, url: str, **more: str) -> str:
    """Run a Python program on the database, and return the last line that it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment(home, url), **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return (done.stdout.strip().splitlines() or [""])[-1]
