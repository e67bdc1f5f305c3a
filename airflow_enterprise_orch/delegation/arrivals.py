"""Files that arrive, and what a system brings whose places can be looked at for them. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from airflow_enterprise_orch.delegation.system import SystemRegistration, registrations

LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Place:
    """Where files arrive, and when one is complete.

    :param folder: below the connection's root; "" for the root itself.
    :param pattern: of their names.
    :param stable: for how many seconds a file must not change.
    :param marker: instead: what the name of the marker beside a file adds to the file's own; "" for none.
    """

    folder: str
    pattern: str
    stable: float = 10.0
    marker: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One complete file.

    :param path: below the connection's root.
    :param size: in bytes.
    :param changed: any word that changes when the file does.
    :param modified: when it was written last, ISO 8601; "" where that is not known.
    """

    path: str
    size: int
    changed: str
    modified: str = ""

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.rpartition("/")[2]

    @property
    def mark(self) -> str:
        """What tells it from all others: the same for the same file, another one when it was written anew."""
        whole = json.dumps([self.path, self.size, self.changed, self.modified])
        return hashlib.sha256(whole.encode()).hexdigest()[:20]

    @property
    def run_id(self) -> str:
        """The id of the instance that it starts; it ends with the mark."""
        name = re.sub(r"[^A-Za-z0-9_.~:+-]", "_", self.name)[:LONGEST_NAME]
        return f"file.{name}.{self.mark}"

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Arrival:
        """Read the plain JSON form; :raises ValueError: when it is not one."""
        path, size, changed, modified = (data.get(name) for name in ("path", "size", "changed", "modified"))
        texts = (path, changed, modified)
        if not all(isinstance(one, str) for one in texts) or not isinstance(size, int) or not path:
            raise ValueError(f"this is no arrival: {data!s:.200}")
        return cls(str(path), size, str(changed), str(modified))


class SeesArrivals(Protocol):
    """What a system can do, beside the rest, whose registration says ``arrivals``."""

    async def arrived(self, places: Sequence[Place]) -> Mapping[Place, tuple[Arrival, ...]]:
        """Return the complete files in some places; a place that is not there has none.

        May raise ``ConnectionProblem`` and ``SystemUnreachable``.
        """
        ...


def watchable() -> SystemRegistration | None:
    """Return the system whose places can be looked at for files; None when none is installed."""
    return next((one for one in registrations() if one.arrivals), None)
