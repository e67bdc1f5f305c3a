"""One refused login blocks its connection for every step, until a person lifts it or the connection changes.

Fifty steps that try a wrong password once each revoke the user on most systems. The block is an Airflow Variable
(:data:`BLOCK_PREFIX` + connection id), so that every worker and triggerer sees it and a person can lift it by
deleting it.

The Variable says whether the connection has changed since by a salted scrypt digest of the connection, cut to 16 bits:
enough to notice a new password, far too little to search for one.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime
from typing import Any, Protocol

from airflow_enterprise_orch.delegation.control import ControlBroken, read_variable
from airflow_enterprise_orch.errors import ConnectionBlocked, LoginRefused

BLOCK_PREFIX = "enterprise_orch.blocked."
_BITS = 16


class ConnectionFields(Protocol):
    """What an Airflow connection says of where and as whom."""

    host: str | None
    port: int | None
    login: str | None
    password: str | None
    extra: str | None


def meant(connection: ConnectionFields) -> str:
    """Return all that a connection says of where and as whom, the same however its extra is written: a secret."""
    extra: Any = connection.extra or "{}"
    try:
        extra = json.loads(extra)
    except ValueError:
        extra = connection.extra
    fields = (connection.host or "", connection.port or 0, connection.login or "", connection.password or "")
    return json.dumps([*fields, extra], sort_keys=True)


def fingerprint(connection: ConnectionFields, salt: str) -> str:
    """Return 16 bits that change when the connection does."""
    told = json.dumps([connection.host, connection.port, connection.login, connection.password, connection.extra])
    digest = hashlib.scrypt(told.encode(), salt=salt.encode(), n=2**12, r=8, p=1, dklen=_BITS // 8)
    return digest.hex()


def block_record(connection: ConnectionFields, refused: LoginRefused) -> dict[str, Any]:
    """Return what the Variable says."""
    salt = secrets.token_hex(8)
    return {
        "version": 1,
        "reason": refused.reason,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "salt": salt,
        "fingerprint": fingerprint(connection, salt),
    }


def still_blocked(connection_id: str, record: object, connection: ConnectionFields) -> ConnectionBlocked | None:
    """Return the refusal to raise while ``record`` blocks the connection as it is now."""
    if record is None:
        return None
    if not isinstance(record, dict) or not {"reason", "at", "salt", "fingerprint"} <= set(record):
        return ConnectionBlocked(connection_id, "its block record cannot be read", remedy(connection_id))
    if fingerprint(connection, str(record["salt"])) != record["fingerprint"]:
        return None
    return ConnectionBlocked(
        connection_id,
        f"blocked since {record['at']} because the login was refused: {record['reason']}",
        remedy(connection_id),
    )


def remedy(connection_id: str) -> str:
    """Return what lifts a block."""
    return (
        f"correct the connection, or delete the Variable {BLOCK_PREFIX + connection_id!r} when the login works again; "
        f"then clear the step"
    )


class Blocks(Protocol):
    """Where the blocks of connections are kept, for every machine to see."""

    async def read(self, connection_id: str) -> object:
        """Return the record of a block, None when there is none; whatever cannot be read blocks."""
        ...

    async def write(self, connection_id: str, record: dict[str, Any]) -> None:
        """Block the connection for everybody."""
        ...


class AirflowBlocks:
    """Airflow's Variables, as tasks and triggers reach them."""

    async def read(self, connection_id: str) -> object:
        """Return the record of a block, None when there is none."""
        from asgiref.sync import sync_to_async

        try:
            return await sync_to_async(read_variable)(BLOCK_PREFIX + connection_id)
        except ControlBroken:
            return "unreadable"

    async def write(self, connection_id: str, record: dict[str, Any]) -> None:
        """Write the Variable."""
        from airflow.sdk import Variable
        from asgiref.sync import sync_to_async

        await sync_to_async(Variable.set)(
            BLOCK_PREFIX + connection_id, record, description=description(connection_id), serialize_json=True
        )


def description(connection_id: str) -> str:
    """Return what Airflow's list of Variables says of a block."""
    return f"The login of connection {connection_id} was refused; delete to try again"
