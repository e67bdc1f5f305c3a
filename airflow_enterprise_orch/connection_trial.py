"""Logging in with a connection to see whether it works, for ``doctor``: under the same rules as every step.

A refused login blocks the connection, a blocked one is not tried, and while nobody on this machine knows that the login
works only one process tries.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.delegation import guard
from airflow_enterprise_orch.delegation.connection_check import RefusedLogin, in_words
from airflow_enterprise_orch.delegation.entrance import Login
from airflow_enterprise_orch.errors import OrchestrationError

if TYPE_CHECKING:
    from airflow.models.connection import Connection

    from airflow_enterprise_orch.delegation.system import SystemRegistration


class DatabaseBlocks:
    """Airflow's Variables, where no task runs: straight from its database."""

    async def read(self, connection_id: str) -> object:
        """Return the record of a block, None when there is none."""
        from airflow.models.variable import Variable

        raw = await asyncio.to_thread(Variable.get, guard.BLOCK_PREFIX + connection_id, default_var=None)
        try:
            return None if raw is None else json.loads(raw)
        except ValueError:
            return "unreadable"

    async def write(self, connection_id: str, record: dict[str, Any]) -> None:
        """Write the Variable."""
        from airflow.models.variable import Variable

        name, said = guard.BLOCK_PREFIX + connection_id, guard.description(connection_id)
        await asyncio.to_thread(Variable.set, name, record, description=said, serialize_json=True)


def tried(name: str, found: Connection, tester: SystemRegistration | None) -> tuple[bool, str]:
    """Log in; return whether the connection works, and what is wrong in words.

    :param tester: the system whose own check it is; None for that of the connection's type.
    """
    with _readable(name, found):
        try:
            return asyncio.run(_tried(name, found, tester))
        except OrchestrationError as error:
            return False, in_words(error)


async def _tried(name: str, found: Connection, tester: SystemRegistration | None) -> tuple[bool, str]:
    login = Login(name, found, DatabaseBlocks())
    async with login.attempt():
        works, answer = await _tested(name, found, tester)
        if isinstance(answer, RefusedLogin):
            raise answer.refused
        if works:
            login.prove()
        return works, answer


async def _tested(name: str, found: Connection, tester: SystemRegistration | None) -> tuple[bool, str]:
    if tester is None:
        # It runs an event loop of its own.
        return await asyncio.to_thread(found.test_connection)
    try:
        return await tester.test(name)
    except ModuleNotFoundError as error:
        return False, f"{error.name} is missing: pip install 'airflow-enterprise-orch[{tester.name}]'"


@contextmanager
def _readable(name: str, found: Connection) -> Iterator[None]:
    """Let hooks read the connection, as Airflow's own *Test* does it.

    Outside of Airflow's servers and tasks the task SDK looks for connections in the environment and in secrets
    backends, not in Airflow's database.
    """
    variable = f"AIRFLOW_CONN_{name.upper()}"
    before = os.environ.get(variable)
    os.environ[variable] = found.as_json()
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
