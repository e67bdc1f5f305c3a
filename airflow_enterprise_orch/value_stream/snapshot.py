"""Snapshots of a folder of templates: folders that never change, each named by the hash of what is in it.

For each template a snapshot holds the text and a DAG file of three lines, so each template is a parse unit of its own
with an import error of its own. What is kept beside is no part of its name, because it saves time or helps out: plans
(``plan.py``), and ``last.json``: for templates that are not known to be right the snapshot in which they were last,
whose text is served on for their running instances when this one turns out to be wrong (``served_on.py``).
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from airflow.configuration import conf

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream import live_runs
from airflow_enterprise_orch.value_stream.beside import unchanged
from airflow_enterprise_orch.value_stream.dag_files import EDITS, GONE, REJECTED, dag_file, stem_of
from airflow_enterprise_orch.value_stream.mistakes import ours_if_unforeseen
from airflow_enterprise_orch.value_stream.plan import beside_template, seen_by
from airflow_enterprise_orch.value_stream.served_on import EDITS_FILE, INDEX, LAST, Why
from airflow_enterprise_orch.value_stream.template_folder import (
    TemplateFile,
    by_stream,
    within_reach,
)
from airflow_enterprise_orch.value_stream.writing import write

CURRENT = "current.json"
NEW = ".new-"
"""How the name of what is only being written begins."""
PATIENCE = 4
"""For how many of Airflow's intervals a change waits at most: one stream is not to hold all others up for ever."""
VERSION = re.compile(r"[0-9a-f]{20}(\.[A-Za-z0-9_\-]{1,200})?")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Content:
    """What a snapshot is made of.

    :param companions: the files that templates refer to by name, such as calendars; in a snapshot they lie as they do
        in the source.
    :param side_files: profiles and shared files: path below the folder to content.
    :param profile: the environment whose values count; "" for none.
    """

    templates: tuple[TemplateFile, ...]
    companions: tuple[tuple[str, bytes], ...]
    side_files: Mapping[str, bytes]
    profile: str

    def beside(self, template: TemplateFile) -> Mapping[str, str]:
        """Return the profiles and shared files that a template may use: path below the folder to name in a snapshot.

        They are named by their content, so that the DAG files of templates that see no change stay as they are.
        """
        names = within_reach(template.name, self.side_files)
        return {name: f"{hashlib.sha256(self.side_files[name]).hexdigest()[:32]}.beside" for name in names}


@dataclass(frozen=True, slots=True)
class Gone:
    """A stream that is served for its running instances only.

    :param name: the path of its template, when it was there.
    :param day: on which it went, ISO.
    :param why: see :class:`~.served_on.Why`.
    :param version: the snapshot in which it was last right.
    """

    name: str
    day: str
    why: str
    version: str


@dataclass(frozen=True, slots=True)
class Index:
    """What is in one snapshot.

    :param version: its name.
    :param live: stream to the path of its template.
    :param beside: stream to the ``profile`` and the ``files`` that its template may use, see :meth:`Content.beside`.
    """

    version: str
    live: Mapping[str, str] = field(default_factory=dict)
    gone: Mapping[str, Gone] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as it is written into the snapshot, whose name is that of the folder."""
        beside = {"beside": dict(self.beside)} if self.beside else {}
        return {"live": dict(self.live), "gone": {name: asdict(one) for name, one in self.gone.items()}, **beside}


class Snapshots:
    """The snapshots of one bundle.

    :param store: the folder that holds them.
    :param serve_removed: for how long a template that was taken away is served on at least.
    """

    def __init__(self, store: Path, serve_removed: timedelta) -> None:
        self.store = store
        self._serve_removed = serve_removed
        self._held_since: float | None = None

    def take(self, content: Content, origin: str, before: Index | None = None) -> str:
        """Write the snapshot of ``content`` unless it is there, and return the name of the one that is served now.

        That is still the one before while Airflow would not write down all that changes, see :meth:`_too_early`.

        :param origin: the version of the bundle that brings the content; "" for none.
        :param before: what is known of the time before where the store holds no snapshot yet.
        """
        before = self.current() or before
        gone = self._gone(content, before)
        version = self._digest(content, gone) + (f".{origin}" if origin else "")
        target = self.store / version
        if not target.is_dir():
            self.write(target, content, gone, before)
        elif before is not None and before.version != version:
            _touch_changed(target, self.store / before.version)
        if before is None or before.version != version:
            if before is not None and before.version and self._too_early(target, self.store / before.version):
                return before.version
            self._note_last(target, before)
            _replace(self.store / CURRENT, {"version": version})
        os.utime(target)
        return version

    def current(self) -> Index | None:
        """Return the index of the newest snapshot; None where there is none."""
        try:
            version = json.loads((self.store / CURRENT).read_text())["version"]
            data = json.loads((self.store / version / INDEX).read_text())
        except FileNotFoundError:
            return None
        gone = {name: Gone(**one) for name, one in data.get("gone", {}).items()}
        return Index(version, data["live"], gone, data.get("beside", {}))

    def needed(self, version: str) -> set[str]:
        """Return the snapshots that one refers to, for what it serves on, and itself."""
        index = self.current()
        gone = {one.version for one in index.gone.values()} if index is not None else set()
        return {version, *gone, *self._last(version).values()}

    def prune(self, current: str, unused_for: timedelta) -> None:
        """Remove snapshots that nothing has used or needs, and what a crash left half written.

        :param current: the newest snapshot.
        """
        now = datetime.now(UTC).timestamp()
        old: list[Path] = []
        for entry in self.store.iterdir():
            try:
                age = timedelta(seconds=now - entry.stat().st_mtime)
            except FileNotFoundError:
                continue  # another process was faster
            if entry.name.startswith(NEW) and age > timedelta(hours=1):
                _remove(entry)
            elif VERSION.fullmatch(entry.name) and age > unused_for:
                old.append(entry)
        unneeded = [entry for entry in old if entry.name not in self.needed(current)] if old else []
        live = live_runs.live_versions() if unneeded else None
        for entry in unneeded:
            if live is not None and entry.name not in live:
                _remove(entry)

    def _too_early(self, target: Path, old: Path) -> bool:
        """Tell whether Airflow wrote a version of a stream that changes so lately that it would not write the next one.

        It then takes title and snapshot of the changed stream, but not its steps (``write_dag`` of its
        ``SerializedDagModel``). An instance that began meanwhile would have the steps of the version before, and look
        for them in the snapshot of the new one, where they need not be: it would never end.
        """
        interval = conf.getint("core", "min_serialized_dag_update_interval")
        changed = [file.stem for file in target.glob("*.py") if file.name != EDITS_FILE and not _as_before(file, old)]
        lately = live_runs.written_since(changed, datetime.now(UTC) - timedelta(seconds=interval))
        if not lately:
            self._held_since = None
            return False
        named, now = ", ".join(sorted(lately)), monotonic()
        if self._held_since is None:
            self._held_since = now
        if now - self._held_since > PATIENCE * interval:
            self._held_since = None
            what = (
                "snapshot %s is served although Airflow wrote a version of %s within the last %d s, again and again: "
                "does one of its operators come out different each time that it is read?"
            )
            log.warning(what, target.name, named, interval)
            return False
        what = "snapshot %s is served later: Airflow wrote a version of %s within the last %d s"
        log.info(what, target.name, named, interval)
        return True

    def _gone(self, content: Content, before: Index | None) -> dict[str, Gone]:
        """Return the streams that are served on although no template gives them."""
        if before is None:
            return {}
        groups = by_stream(content.templates)
        here = {template.name for template in content.templates}
        today = datetime.now(UTC).date()
        last = self._last(before.version)
        gone = dict(before.gone)
        for stream, name in before.live.items():
            known = seen_by(beside_template(self.store / before.version / f"{stream}.yaml")) is not None
            right = before.version if known else last.get(stream, before.version)
            gone[stream] = Gone(name, today.isoformat(), Why.REMOVED.value, right)
        found: dict[str, Gone] = {}
        for stream, one in sorted(gone.items()):
            declared = len(groups.get(stream, ()))
            if declared != 1:
                why = Why.TWICE if declared else Why.EDITED if one.name in here else Why.REMOVED
                found[stream] = Gone(one.name, one.day, why.value, one.version)
        last_day = (today - self._serve_removed).isoformat()
        over = {stream for stream, one in found.items() if one.why == Why.REMOVED and one.day <= last_day}
        live = live_runs.live_streams(over)
        return {stream: one for stream, one in found.items() if stream not in over or live is None or stream in live}

    def _digest(self, content: Content, gone: Mapping[str, Gone]) -> str:
        parts = [*((one.name, one.text or one.unreadable.encode()) for one in content.templates), *content.companions]
        if content.side_files:
            parts += [*content.side_files.items(), ("profile", content.profile.encode())]
        for stream, one in gone.items():
            # Not by its snapshot: others may have taken more of them meanwhile.
            place = self.store / one.version / f"{stream}.yaml"
            parts.append((f"{one.day}/{one.why}/{stream}", place.read_bytes() if place.is_file() else b""))
        digest = hashlib.sha256()
        for name, text in parts:
            # A file's name need be no text.
            digest.update(f"{len(name)} {len(text)} {name} ".encode("utf-8", "surrogateescape") + text)
        return digest.hexdigest()[:20]

    def write(self, target: Path, content: Content, gone: Mapping[str, Gone], before: Index | None) -> None:
        """Write one snapshot beside the others and move it to its name in one step.

        :param before: the newest one until now.
        """
        self.store.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=NEW, dir=self.store))
        try:
            # First, and so read last: by then the others' files have said most of it.
            (work / EDITS_FILE).write_text(EDITS)
            groups = by_stream(content.templates)
            live: dict[str, str] = {}
            beside: dict[str, Any] = {}
            for template in content.templates:
                stem = stem_of(template, groups.get(template.stream, ()))
                used: Mapping[str, str] = {}
                try:
                    with ours_if_unforeseen(template.name):
                        used = content.beside(template)
                        stub = dag_file(stem, template, groups.get(template.stream, ()), used, content.profile)
                except TemplateError as error:
                    stub = REJECTED.format(name=template.name, message=str(error), stream=template.stream)
                else:
                    write(f"{work}/{stem}.yaml", template.text)
                    if stem == template.stream:
                        live[stem] = template.name
                        beside |= {stem: {"profile": content.profile, "files": used}} if used else {}
                write(f"{work}/{stem}.py", stub.encode())
                for name, file in used.items():
                    (work / file).write_bytes(content.side_files[name])
            for stream, one in gone.items():
                (work / f"{stream}.py").write_text(GONE.format(stream=stream, **asdict(one)))
            for name, text in content.companions:
                (work / name).parent.mkdir(parents=True, exist_ok=True)
                (work / name).write_bytes(text)
            for place, folders, _ in os.walk(work):
                for folder in folders:
                    Path(place, folder).chmod(0o755)
            index = Index(target.name, live, gone, beside)
            (work / INDEX).write_text(json.dumps(index.to_json(), indent=1, sort_keys=True))
            if before is not None:
                _link_unchanged(work, self.store / before.version)
            work.chmod(0o755)  # made for its maker alone, but tasks may run as another user
            try:
                work.rename(target)
            except OSError:
                # Another machine that shares the store was faster; the same name holds the same content.
                if not target.is_dir():
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _note_last(self, target: Path, before: Index | None) -> None:
        """Write down in which snapshot the templates that are not known to be right were so last."""
        if before is None:
            return
        old = self.store / before.version
        last = {**{stream: one.version for stream, one in before.gone.items()}, **self._last(before.version)}
        noted: dict[str, str] = {}
        for file in target.glob("*.yaml"):
            if seen_by(beside_template(file)) is not None:
                continue
            if before.version and seen_by(beside_template(old / file.name)) is not None:
                noted[file.stem] = before.version
            elif file.stem in last:
                noted[file.stem] = last[file.stem]
        _replace(target / LAST, noted)

    def _last(self, version: str) -> Mapping[str, str]:
        try:
            found: Mapping[str, str] = json.loads((self.store / version / LAST).read_text())
        except FileNotFoundError:
            return {}
        return found


def _link_unchanged(work: Path, old: Path) -> None:
    """Let what is as it was be the very file of the snapshot before, with its plan.

    Airflow reads those DAG files first that are newer than its last look: so one changed template is seen at once,
    however many there are. Nothing ever writes into a file of a snapshot, only new ones take its name.
    """
    for file in sorted(work.glob("*.py")):
        if file.name != EDITS_FILE and _as_before(file, old):
            template = file.with_suffix(".yaml")
            for name in (file.name, template.name, beside_template(template).name):
                if (old / name).exists():
                    _link(old / name, work / name)


def _touch_changed(target: Path, old: Path) -> None:
    """Make Airflow look at what changes when an earlier snapshot is the current one again."""
    os.utime(target / EDITS_FILE)
    for file in target.glob("*.py"):
        if file.name != EDITS_FILE and not _as_before(file, old):
            os.utime(file)


def _as_before(file: Path, old: Path) -> bool:
    """Tell whether a DAG file, its template, and the calendars and tables that it was made of are as in ``old``.

    A template without a plan there was not understood, and what it names may be right now: it counts as changed.
    """
    template = file.with_suffix(".yaml")
    if not template.exists():
        return _same(file, old)  # of what is served from an earlier snapshot, or was refused
    seen = seen_by(old / beside_template(template).name)
    return seen is not None and _same(file, old) and _same(template, old) and unchanged(file.parent, seen)


def _same(file: Path, old: Path) -> bool:
    return (old / file.name).is_file() and filecmp.cmp(file, old / file.name, shallow=False)


def _link(source: Path, target: Path) -> None:
    """Put ``source`` in the place of ``target``, with its times."""
    new = target.with_name(f"{NEW}{target.name}")
    try:
        new.hardlink_to(source)
    except OSError:  # a file system without links
        shutil.copy2(source, new)
    new.replace(target)


def _replace(path: Path, data: Mapping[str, str]) -> None:
    """Write a small file so that nobody ever reads half of it."""
    handle, name = tempfile.mkstemp(prefix=NEW, dir=path.parent)
    with os.fdopen(handle, "w") as file:
        json.dump(data, file, sort_keys=True)
    Path(name).chmod(0o644)
    Path(name).replace(path)


def _remove(entry: Path) -> None:
    shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
