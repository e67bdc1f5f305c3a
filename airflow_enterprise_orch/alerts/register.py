"""What was told already: once for each instance, step and event, however many mapped parts of the step it happens to.

Kept in Airflow Variables, because the callbacks of a dead worker run in a DAG processor, which has no task state store.
Airflow has no compare-and-set on them: two processes that read at the same moment may both tell the same thing, and an
entry may get lost with another's, which at worst tells something twice; its receiver sees that by the id.
An entry is written before its alert is sent, so one whose process dies in between is never sent: nobody calls us again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

REGISTER_VERSION = 1
SHARDS = 16
MOST_ENTRIES = 300
"""In one shard; the oldest are forgotten first."""

log = logging.getLogger(__name__)


@dataclass
class Register:
    """What was told of some instances of one stream.

    :param name: of the Variable.
    :param told: when, by what.
    """

    name: str
    told: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, stream: str, run_id: str) -> Register:
        """Read what was told of an instance; one that cannot be read counts as empty, and says so."""
        from airflow.sdk import Variable

        shard = hashlib.sha256(run_id.encode()).digest()[0] % SHARDS
        name = f"enterprise_orch.alerted.{stream}.{shard:x}"
        stored: Any = Variable.get(name, default=None, deserialize_json=True)
        told = stored.get("told") if isinstance(stored, dict) and stored.get("version") == REGISTER_VERSION else None
        if stored is not None and not isinstance(told, dict):
            log.warning("the Variable %r is no register of alerts: it is begun anew", name)
        return cls(name, {str(key): str(at) for key, at in told.items()} if isinstance(told, dict) else {})

    def claim(self, what: str) -> bool:
        """Note that ``what`` is told; return False when it was told before."""
        if what in self.told:
            return False
        self.told[what] = datetime.now(UTC).isoformat(timespec="seconds")
        self._save()
        return True

    def forget(self, beginnings: Iterable[str]) -> bool:
        """Forget all that begins so; return whether there was any."""
        starts = tuple(beginnings)
        gone = [what for what in self.told if what.startswith(starts)]
        for what in gone:
            del self.told[what]
        if gone:
            self._save()
        return bool(gone)

    def _save(self) -> None:
        from airflow.sdk import Variable

        newest = dict(sorted(self.told.items(), key=lambda entry: entry[1])[-MOST_ENTRIES:])
        value = {"version": REGISTER_VERSION, "told": newest}
        Variable.set(
            self.name, value, description="Alerts that were sent, so that each is sent once", serialize_json=True
        )
