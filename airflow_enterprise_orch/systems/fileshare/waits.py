"""Waiting for files: which are there, and which of them are complete.

A file is complete when its marker lies beside it, or when its size and time did not change for a while between two
looks. What a look saw is kept in memory: another process that goes on waiting has to see it for as long again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from airflow_enterprise_orch.delegation.arrivals import Arrival, Place
from airflow_enterprise_orch.systems.fileshare.journal import End
from airflow_enterprise_orch.systems.fileshare.steps import MANIFEST, STAGE, FileshareAwait, duration

if TYPE_CHECKING:
    from airflow_enterprise_orch.systems.fileshare.store import Entry, Store

NAMED = 100
"""So many files are named in the record of a wait."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What is waited for."""

    folder: str
    pattern: str
    count: int
    stable: float
    marker: str
    since: str

    @classmethod
    def from_work(cls, work: FileshareAwait, since: str) -> Wait:
        """Return the wait that a step asks for."""
        stable = duration(work.stable).total_seconds()
        return cls(work.folder, work.pattern, work.count, stable, work.marker or "", since)

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> Wait:
        """Read what :meth:`to_fields` wrote."""
        return cls(
            fields.get("folder", ""),
            fields.get("pattern", "*"),
            int(fields.get("count", "1")),
            float(fields.get("stable", "0")),
            fields.get("marker", ""),
            fields.get("since", ""),
        )

    def to_fields(self) -> dict[str, str]:
        """Return it as the fields of a job's handle."""
        return {
            "kind": "wait",
            "folder": self.folder,
            "pattern": self.pattern,
            "count": str(self.count),
            "stable": str(self.stable),
            "marker": self.marker,
            "since": self.since,
        }

    @property
    def place(self) -> str:
        """Folder and pattern, for people."""
        return f"{self.folder}/{self.pattern}" if self.folder else self.pattern

    @property
    def told(self) -> str:
        """What is waited for, for people."""
        how = f"with {self.marker} beside it" if self.marker else f"unchanged for {self.stable:g} s"
        return f"{self.count} file(s) {self.place}, {how}"

    @property
    def remembered(self) -> Mapping[str, str]:
        """Return what the record of its end keeps of it."""
        return {"waited": json.dumps(self.to_fields())}

    def arrived(self, entries: Sequence[Entry], moment: str) -> End:
        """Return the record of its fulfilment."""
        names = [f"{self.folder}/{entry.name}" if self.folder else entry.name for entry in entries]
        lines = [f"{name}: {entry.size} bytes" for name, entry in zip(names, entries, strict=True)][:NAMED]
        if len(names) > NAMED:
            lines.append(f"and {len(names) - NAMED} more")
        values = {
            "files": "\n".join(names[:NAMED]),
            "file": names[0],
            "count": str(len(names)),
            **self.remembered,
        }
        return End("arrived", 0, self.since, moment, (f"{len(names)} file(s) arrived", *lines), values)


async def arrived(store: Store, look: Look, places: Sequence[Place], moment: float) -> dict[Place, tuple[Arrival, ...]]:
    """Return the complete files in some places; each folder is listed once.

    :param look: what was seen before.
    :param moment: the time of this look, in seconds of a clock that only goes on.
    """
    found: dict[Place, tuple[Arrival, ...]] = {}
    for folder in sorted({place.folder for place in places}):
        entries = await store.listing(folder)
        for place in places:
            if place.folder != folder:
                continue
            wait = Wait(folder, place.pattern, 1, place.stable, place.marker, "")
            found[place] = tuple(
                Arrival(
                    f"{folder}/{entry.name}" if folder else entry.name,
                    entry.size,
                    entry.changed,
                    entry.modified.isoformat() if entry.modified is not None else "",
                )
                for entry in look.at(store.identity, wait, entries, moment)[0]
            )
    return found


class Look:
    """What was seen, to tell what has stopped to change."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, tuple[int, str, float]]] = {}

    def at(self, share: str, wait: Wait, entries: Sequence[Entry] | None, moment: float) -> tuple[list[Entry], str]:
        """Return the complete files of a wait, and why it still waits.

        :param share: the identity of the share.
        :param entries: the files in the wait's folder; None when that is gone.
        :param moment: the time of this look, in seconds of a clock that only goes on.
        """
        if entries is None:
            return [], f"the folder {wait.folder} is gone"
        names = {entry.name for entry in entries}
        seen = self._seen.setdefault(f"{share}/{wait.folder}", {})
        for name in seen.keys() - names:
            del seen[name]  # what goes and comes back is another file
        matching = [
            entry
            for entry in sorted(entries, key=lambda entry: entry.name)
            if fnmatchcase(entry.name, wait.pattern) and not _ours(entry.name, wait.pattern)
        ]
        if wait.marker:
            matching = [entry for entry in matching if not entry.name.endswith(wait.marker)]
            arrived = [entry for entry in matching if entry.name + wait.marker in names]
            missing = "has its marker"
        else:
            arrived = [entry for entry in matching if _stable(seen, entry, wait, moment)]
            missing = "is unchanged for long enough"
        reason = f"{len(matching)} of {wait.count} file(s) {wait.place} there"
        if matching:
            reason += f", of which {len(arrived)} {missing}"
        return arrived, reason


def _stable(seen: dict[str, tuple[int, str, float]], entry: Entry, wait: Wait, moment: float) -> bool:
    size, changed, first = seen.get(entry.name, (-1, "", moment))
    same = (size, changed) == (entry.size, entry.changed)
    begun = first if same else moment
    seen[entry.name] = (entry.size, entry.changed, begun)
    return wait.stable == 0 or (same and moment - begun >= wait.stable)


def _ours(name: str, pattern: str) -> bool:
    """True for a stage, and for a manifest unless the pattern asks for manifests."""
    return name.startswith(STAGE) or (name.endswith(MANIFEST) and not pattern.endswith(MANIFEST))
