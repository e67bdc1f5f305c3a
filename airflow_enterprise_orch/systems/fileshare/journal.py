"""The records of jobs on a share, so that a process that knows nothing else finds them by their key.

Layout, below the share's root::

    .enterprise-orch/
      ended/KEY.json       how a delivery ended, or a wait whose result was taken home; its existence is the job
      open/KEY.json        a wait that was handed over
      open/KEY.end         how that wait ended, whoever saw it or ended it first; moves to ended/ with its result
      claims/KEY.SHA256    "this attempt is about to publish this content": what lies there later is ours
      stages/KEY/NUMBER    a stage that was begun, so that a later try can remove it

Every record is created if absent and never changed. Two tries with one key can so never leave two results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.systems.fileshare.steps import JOURNAL

if TYPE_CHECKING:
    from airflow_enterprise_orch.systems.fileshare.store import Store

VERSION = 1
OPEN = f"{JOURNAL}/open"


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended.

    :param code: ``delivered``, ``present`` (the same content lay there), ``conflict``, ``arrived`` or ``cancelled``.
    :param values: what outputs can read beside the log: path, sha256, size, code of a certificate, files of a wait.
    """

    code: str
    rc: int
    started: str
    ended: str
    lines: tuple[str, ...]
    values: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self, key: str) -> bytes:
        """Return the record."""
        data = {
            "version": VERSION,
            "key": key,
            "code": self.code,
            "rc": self.rc,
            "started": self.started,
            "ended": self.ended,
            "lines": list(self.lines),
            "values": dict(self.values),
        }
        return json.dumps(data, indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> End | None:
        """Read a record; None when it is none that this version can read."""
        try:
            record: Any = json.loads(data)
            if record["version"] != VERSION:
                return None
            values = {str(name): str(value) for name, value in record["values"].items()}
            lines = tuple(str(line) for line in record["lines"])
            return cls(str(record["code"]), int(record["rc"]), record["started"], record["ended"], lines, values)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


class Journal:
    """The records on one share."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def end(self, key: str) -> End | None:
        """Return how a job ended; None while it has not, or when its record is gone or unreadable."""
        for path in (_ended(key), f"{OPEN}/{key}.end"):
            data = await self._store.read(path)
            if data is not None:
                return End.from_bytes(data)
        return None

    async def has(self, key: str) -> str:
        """Return ``ended``, ``open`` or "" for a key."""
        if await self._store.stat(_ended(key)) or await self._store.stat(f"{OPEN}/{key}.end"):
            return "ended"
        return "open" if await self._store.stat(f"{OPEN}/{key}.json") else ""

    async def opened(self) -> set[str]:
        """Return the names of all records of waits whose results are not home yet."""
        return {entry.name for entry in await self._store.listing(OPEN) or ()}

    async def open_wait(self, key: str, definition: Mapping[str, Any]) -> None:
        """Record a wait."""
        record = {"version": VERSION, "key": key, "since": now(), **definition}
        await self._store.create(f"{OPEN}/{key}.json", json.dumps(record, indent=1).encode())

    async def end_wait(self, key: str, end: End) -> None:
        """Record how a wait ended, unless that is recorded already."""
        await self._store.create(f"{OPEN}/{key}.end", end.to_bytes(key))

    async def end_delivery(self, key: str, end: End) -> None:
        """Record how a delivery ended, unless that is recorded already."""
        await self._store.create(_ended(key), end.to_bytes(key))

    async def retire(self, key: str, end: End) -> None:
        """Move the record of an ended wait away from those that every poll lists."""
        await self._store.create(_ended(key), end.to_bytes(key))
        await self._store.remove(f"{OPEN}/{key}.json")
        await self._store.remove(f"{OPEN}/{key}.end")

    async def claim(self, key: str, sha256: str, values: Mapping[str, str]) -> None:
        """Record that content is about to be published."""
        await self._store.create(_claim(key, sha256), json.dumps(dict(values), indent=1, ensure_ascii=False).encode())

    async def claimed(self, key: str, sha256: str) -> Mapping[str, str] | None:
        """Return what was recorded before this content was published with this key; None when it was not."""
        data = await self._store.read(_claim(key, sha256))
        if data is None:
            return None
        return {str(name): str(value) for name, value in json.loads(data).items()}

    async def note_stage(self, key: str, path: str, token: str) -> None:
        """Record a stage."""
        await self._store.create(_stage(key, token), json.dumps({"path": path, "token": token}).encode())

    async def discard_stages(self, key: str) -> int:
        """Remove every stage that earlier tries left; return how many there were."""
        found = 0
        for entry in await self._store.listing(f"{JOURNAL}/stages/{key}") or ():
            data = await self._store.read(f"{JOURNAL}/stages/{key}/{entry.name}")
            if data is None:
                continue
            note = json.loads(data)
            await self._store.discard(str(note["path"]), str(note["token"]))
            await self._store.remove(f"{JOURNAL}/stages/{key}/{entry.name}")
            found += 1
        return found

    async def forget_stage(self, key: str, token: str) -> None:
        """Remove the record of a stage that is gone."""
        await self._store.remove(_stage(key, token))


def now() -> str:
    """Return the time, in ISO 8601 and UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _ended(key: str) -> str:
    return f"{JOURNAL}/ended/{key}.json"


def _claim(key: str, sha256: str) -> str:
    return f"{JOURNAL}/claims/{key}.{sha256}"


def _stage(key: str, token: str) -> str:
    return f"{JOURNAL}/stages/{key}/{hashlib.sha256(token.encode()).hexdigest()[:16]}"
