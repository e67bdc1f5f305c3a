"""Airflow's side of one task instance in a small database: its owner, its state, its task state store, its Variables.

What the ledger relies on is here as Airflow 3.3 has it: every try has a new id; a write with an old id is refused; a
read with one finds nothing; and the owner is looked at before a write, not while, so a write that was under way when
the owner changed can land after it (:meth:`Store.land`)."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from airflow_enterprise_orch.delegation.ledger_store import newest_ledger

TABLES = """
CREATE TABLE instance (owner TEXT, state TEXT);
CREATE TABLE cells (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE variables (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE under_way (key TEXT, value TEXT);
CREATE TABLE history (at REAL, owner TEXT, key TEXT, value TEXT);
"""


class Store:
    """The database of one case; every process opens it anew for each operation."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Begin a case."""
        self.path.unlink(missing_ok=True)
        with self._open() as database:
            database.executescript(TABLES)

    # What Airflow does.

    def begin_try(self) -> str:
        """Give the task instance to a new try; return its id."""
        owner = str(uuid.uuid4())
        with self._open() as database:
            database.execute("DELETE FROM instance")
            database.execute("INSERT INTO instance VALUES (?, 'running')", (owner,))
        return owner

    def enter(self, state: str | None) -> None:
        """Put the task instance into a state; None as after a clear."""
        with self._open() as database:
            database.execute("UPDATE instance SET state = ?", (state,))

    def delete(self) -> None:
        """Delete the run, and with it the task instance and its store."""
        with self._open() as database:
            database.execute("DELETE FROM instance")
            database.execute("DELETE FROM cells")
            # A write that is under way needs a task instance to belong to.
            database.execute("DELETE FROM under_way")

    def ledger(self) -> dict[str, Any]:
        """Return what the newest try knows."""
        with self._open() as database:
            cells = dict(database.execute("SELECT key, value FROM cells").fetchall())
        value = newest_ledger(cells)
        return json.loads(value) if value else {}

    def land(self) -> int:
        """Let the writes land that were under way; return how many."""
        with self._open() as database:
            writes = database.execute("SELECT key, value FROM under_way").fetchall()
            database.execute("DELETE FROM under_way")
            for key, value in writes:
                database.execute("INSERT OR REPLACE INTO cells VALUES (?, ?)", (key, value))
        return len(writes)

    def state(self) -> str | None:
        """Return the task instance's state; None when it was cleared or is gone."""
        with self._open() as database:
            row = database.execute("SELECT state FROM instance").fetchone()
        return row[0] if row else None

    # What a try does.

    def owns(self, owner: str) -> bool:
        """Tell whether this try has the task instance."""
        with self._open() as database:
            return _owns(database, owner)

    def get(self, owner: str, key: str) -> Any:
        """Return a value as a try reads it."""
        with self._open() as database:
            row = database.execute("SELECT value FROM cells WHERE key = ?", (key,)).fetchone()
            return json.loads(row[0]) if row and _owns(database, owner) else None

    def set(self, owner: str, key: str, value: Any, *, under_way: bool = False) -> bool:
        """Write as a try writes; return False when it is refused.

        :param under_way: let it land later.
        """
        with self._open() as database:
            if not _owns(database, owner):
                return False
            text = json.dumps(value)
            if under_way:
                database.execute("INSERT INTO under_way VALUES (?, ?)", (key, text))
            else:
                database.execute("INSERT OR REPLACE INTO cells VALUES (?, ?)", (key, text))
            database.execute("INSERT INTO history VALUES (?, ?, ?, ?)", (time.time(), owner, key, text))
            return True

    def variable(self, name: str) -> Any:
        """Return an Airflow Variable."""
        with self._open() as database:
            row = database.execute("SELECT value FROM variables WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def keep_variable(self, name: str, value: Any) -> None:
        """Set an Airflow Variable."""
        with self._open() as database:
            database.execute("INSERT OR REPLACE INTO variables VALUES (?, ?)", (name, json.dumps(value)))

    def read(self, key: str) -> Any:
        """Return a cell as the database has it, for the verdict."""
        with self._open() as database:
            row = database.execute("SELECT value FROM cells WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def history(self) -> list[tuple[float, str, str, Any]]:
        """Return every accepted write: when, by whom, which cell, what."""
        with self._open() as database:
            rows = database.execute("SELECT at, owner, key, value FROM history ORDER BY rowid").fetchall()
        return [(at, owner, key, json.loads(value)) for at, owner, key, value in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=20, isolation_level="IMMEDIATE")) as database:
            # A process that is killed here loses nothing; the machine is not.
            database.execute("PRAGMA synchronous = OFF")
            with database:
                yield database


def _owns(database: sqlite3.Connection, owner: str) -> bool:
    row = database.execute("SELECT owner FROM instance").fetchone()
    return row is not None and row[0] == owner
