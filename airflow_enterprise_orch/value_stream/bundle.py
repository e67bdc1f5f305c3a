"""The bundle door into Airflow: a folder of templates as a versioned DAG bundle.

A version is a *snapshot*, a folder that never changes, named by the hash of what is in it. For each template it holds
the text and a DAG file of three lines, so each template is a parse unit of its own with an import error of its own.
A run keeps the snapshot that it began with, however often its template changes meanwhile.

The DAG file is named after the value stream and not after the template's file, because Airflow looks for the DAG file
of a running instance by the name that the file has *now*: so a template may be renamed or moved at any time. A template
that is taken away is served on without its schedule for ``removed_days``, because Airflow no longer moves the running
instances of a DAG whose file is gone.

Snapshots lie in the bundle's folder below ``[dag_processor] dag_bundle_storage_path``, or in ``store``. They are not
among the versions that Airflow itself cleans up: a run may wait for days, and a snapshot of a local folder cannot be
made again. One that nothing has used for ``keep_days`` is removed.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle, BundleVersion

from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.value_stream.beside import unchanged
from airflow_enterprise_orch.value_stream.plan import beside_template, seen_by
from airflow_enterprise_orch.value_stream.surroundings import chosen_profile
from airflow_enterprise_orch.value_stream.template_folder import (
    TemplateFile,
    by_stream,
    duplicate_message,
    read_companions,
    read_side_files,
    read_tables,
    read_templates,
    within_reach,
)

# Airflow skips a DAG file that does not hold the words "airflow" and "dag" (its safe mode).
_STUB = """# Written by TemplateBundle for {name!r}: an airflow dag. Change the template, not this file.
from pathlib import Path
from airflow_enterprise_orch.value_stream.loader import load_template
load_template(Path(__file__).with_name({file!r}), globals(), name={name!r}, removed={removed!r}{more})
"""
_REJECTED = """# Written by TemplateBundle for {name!r}: an airflow dag. Change the template, not this file.
from airflow_enterprise_orch.value_stream.loader import reject_template
reject_template({message!r}, globals(), stream={stream!r})
"""
_INDEX = "index.json"
_CURRENT = "current.json"
Companions = tuple[tuple[str, bytes], ...]
"""Name and text of the files that templates refer to; a snapshot holds them where they lie in the source."""
_VERSION = re.compile(r"[0-9a-f]{20}(\.[A-Za-z0-9_\-]{1,200})?")


@dataclass(frozen=True, slots=True)
class _Content:
    """What a snapshot is made of.

    :param companions: the files that templates refer to by name: calendars and decision tables.
    :param side_files: profiles and shared files: path below the folder to content.
    :param profile: the environment whose values count; "" for none.
    """

    templates: tuple[TemplateFile, ...]
    companions: Companions
    side_files: Mapping[str, bytes]
    profile: str

    def beside(self, template: TemplateFile, work: Path) -> dict[str, Any]:
        """Write what a template may use into a snapshot, and return what its DAG file must know; empty for nothing.

        Files are named by their content, so that the DAG files of templates that see no change stay as they are.
        """
        names = within_reach(template.name, self.side_files)
        files: dict[str, str] = {}
        for name in names:
            files[name] = f"{hashlib.sha256(self.side_files[name]).hexdigest()[:32]}.beside"
            if not (work / files[name]).exists():
                (work / files[name]).write_bytes(self.side_files[name])
        return {"profile": self.profile, "files": files} if files else {}


class TemplateBundle(BaseDagBundle):
    """Serves a folder of value-stream templates, or another bundle's, as DAGs.

    :param path: the folder with the templates; its subfolders are searched too.
    :param source: instead of ``path`` the bundle that brings the templates, as ``{"classpath": ..., "kwargs": {...}}``:
        a Git or S3 bundle, for example.
    :param store: where snapshots are kept; by default below Airflow's ``dag_bundle_storage_path``. Everything that runs
        tasks must see the same folder, unless the source bundle has versions of its own: from these a missing snapshot
        is made again.
    :param keep_days: how long a snapshot that nothing uses is kept. Longer than the longest instance waits.
    :param removed_days: how long a template that was taken away is served on, for its running instances.
    :param profile: the environment whose values count (``prod`` for ``prod.profile.yaml``); by default that of the
        environment variable AIRFLOW__ENTERPRISE_ORCH__PROFILE. It is part of the snapshot: a run keeps it.
    """

    supports_versioning = True

    def __init__(
        self,
        *,
        path: str | None = None,
        source: Mapping[str, Any] | None = None,
        store: str | None = None,
        keep_days: int = 90,
        removed_days: int = 7,
        profile: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (path is None) == (source is None):
            raise OrchestrationError(
                f"bundle {self.name!r}: give either path (a folder of templates) or source (another bundle), not both"
            )
        if keep_days < 1 or removed_days < 0:
            raise OrchestrationError(
                f"bundle {self.name!r}: keep_days is {keep_days} and removed_days {removed_days}; "
                "give at least 1 and at least 0"
            )
        if self.version is not None and not _VERSION.fullmatch(self.version):
            raise OrchestrationError(f"bundle {self.name!r}: {self.version!r} is no version of a template bundle")
        self._folder = Path(path) if path is not None else None
        self._source = dict(source) if source is not None else None
        self._store = Path(store) if store is not None else self.base_dir / "snapshots"
        self._keep = timedelta(days=keep_days)
        self._serve_removed = timedelta(days=removed_days)
        self._profile = chosen_profile(profile)
        self._current = self.version

    def initialize(self) -> None:
        """Make the snapshot that is asked for available: the version given, or the newest state of the source."""
        if self.version is None:
            self.refresh()
        else:
            self._restore(self.version)
            # Airflow's clean-up of unused versions takes this folder away, and would stop at a missing one.
            (self.versions_dir / self.version).mkdir(parents=True, exist_ok=True)
        super().initialize()

    def refresh(self) -> None:
        """Take a snapshot of the source, if it has changed."""
        if self.version is not None:
            raise OrchestrationError(f"bundle {self.name!r}: version {self.version} is pinned and cannot be refreshed")
        with self.lock():
            folder, origin = self._open_source(None)
            self._current = self._take_snapshot(self._read(folder), origin)
            self._prune()

    def get_current_version(self) -> BundleVersion | None:
        """Return the snapshot's name."""
        return BundleVersion(self._current) if self._current else None

    @property
    def path(self) -> Path:
        """The snapshot's folder; the store before there is one."""
        return self._store / self._current if self._current else self._store

    def _open_source(self, version: str | None) -> tuple[Path, str]:
        """Return the folder with the templates, and the source bundle's own version of it, "" where it has none."""
        if self._folder is not None:
            if not self._folder.is_dir():
                # An empty snapshot would take every stream away: rather stay with the last one.
                raise OrchestrationError(f"bundle {self.name!r}: there is no folder {self._folder}; correct its path")
            return self._folder, ""
        bundle = self._source_bundle(version)
        bundle.initialize()
        if version is None:
            bundle.refresh()
        found = bundle.get_current_version()
        origin = found.version if isinstance(found, BundleVersion) else (found or "")
        return bundle.path, origin if bundle.supports_versioning and _VERSION.fullmatch(f"{'0' * 20}.{origin}") else ""

    def _source_bundle(self, version: str | None) -> BaseDagBundle:
        settings = self._source or {}
        classpath = settings.get("classpath")
        if not isinstance(classpath, str) or "." not in classpath or set(settings) - {"classpath", "kwargs"}:
            raise OrchestrationError(
                f"bundle {self.name!r}: source must be {{'classpath': 'package.module.Class', 'kwargs': {{...}}}}"
            )
        module, _, name = classpath.rpartition(".")
        bundle_class = getattr(import_module(module), name)
        bundle: BaseDagBundle = bundle_class(
            name=f"{self.name}-source", version=version, **dict(settings.get("kwargs") or {})
        )
        return bundle

    def _restore(self, version: str) -> None:
        """Have the snapshot ``version`` on this machine."""
        target = self._store / version
        if target.is_dir():
            # Its time of use, for the clean-up; a worker may be allowed to read the store only.
            if os.access(target, os.W_OK):
                os.utime(target)
            return
        _, _, origin = version.partition(".")
        if not origin:
            raise OrchestrationError(
                f"bundle {self.name!r}: snapshot {version} is not in {self._store} on this machine; "
                "let all machines that run tasks share that folder (store), or use a source bundle with versions"
            )
        with self.lock():
            if not target.is_dir():
                folder, _ = self._open_source(origin)
                self._write(target, self._read(folder), {}, {})

    def _read(self, folder: Path) -> _Content:
        templates, side_files = read_templates(folder), read_side_files(folder)
        tables = read_tables(folder, [*(template.text for template in templates), *side_files.values()])
        return _Content(templates, (*read_companions(folder), *tables), side_files, self._profile)

    def _take_snapshot(self, content: _Content, origin: str) -> str:
        """Write the snapshot of ``content`` unless it is there, and return its name."""
        templates = content.templates
        before = self._read_current()
        removed = self._removed(templates, before)
        content = self._with_tables_of(removed, content, before)
        digest = hashlib.sha256()
        parts = [*((one.name, one.text or one.unreadable.encode()) for one in templates), *content.companions]
        if content.side_files:
            parts += [*content.side_files.items(), ("profile", content.profile.encode())]
        for stream in sorted(removed):
            text = (self._store / before["version"] / f"{stream}.yaml").read_bytes()
            parts.append((f"{removed[stream]['removed']}/{stream}", text))
            if stream in before.get("beside", {}):
                used = json.dumps(before["beside"][stream], sort_keys=True)
                parts.append((f"{removed[stream]['removed']}/{stream}/beside", used.encode()))
        for name, text in parts:
            # A file's name need be no text.
            digest.update(f"{len(name)} {len(text)} {name} ".encode("utf-8", "surrogateescape") + text)
        version = digest.hexdigest()[:20] + (f".{origin}" if origin else "")
        target = self._store / version
        if not target.is_dir():
            self._write(target, content, removed, before)
        elif before and before["version"] != version:
            _touch_changed(target, self._store / before["version"])
        if before.get("version") != version:
            self._replace(self._store / _CURRENT, {"version": version})
        os.utime(target)
        return version

    def _read_current(self) -> dict[str, Any]:
        """Return the index of the newest snapshot; empty where there is none."""
        pointer = self._store / _CURRENT
        if not pointer.exists():
            return {}
        version = json.loads(pointer.read_text())["version"]
        index = self._store / version / _INDEX
        return {"version": version, **json.loads(index.read_text())} if index.exists() else {}

    def _removed(self, templates: tuple[TemplateFile, ...], before: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """Return the streams that are served on although their template is gone, with the day it went."""
        live = {stream for stream, group in by_stream(templates).items() if len(group) == 1}
        today = datetime.now(UTC).date()
        gone = dict(before.get("removed", {}))
        for stream, name in before.get("live", {}).items():
            gone[stream] = {"name": name, "removed": today.isoformat()}
        last_day = (today - self._serve_removed).isoformat()
        return {stream: entry for stream, entry in gone.items() if stream not in live and entry["removed"] > last_day}

    def _with_tables_of(self, removed: Iterable[str], content: _Content, before: Mapping[str, Any]) -> _Content:
        """Keep the decision tables of streams that are served on although their template, and maybe these, are gone.

        Without its schedule such a stream needs no calendar; without its tables it could not be read.
        """
        texts = []
        for stream in removed:
            old = self._store / before["version"]
            files = before.get("beside", {}).get(stream, {}).get("files", {}).values()
            texts += [(old / name).read_bytes() for name in (f"{stream}.yaml", *files)]
        if not texts:
            return content
        there = dict(content.companions)
        kept = ((name, text) for name, text in read_tables(old, texts) if name not in there)
        return replace(content, companions=(*content.companions, *kept))

    def _write(
        self,
        target: Path,
        content: _Content,
        removed: Mapping[str, Mapping[str, str]],
        before: Mapping[str, Any],
    ) -> None:
        """Write one snapshot beside the others and move it to its name in one step."""
        self._store.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=self._store))
        try:
            groups = by_stream(content.templates)
            index: dict[str, Any] = {"live": {}, "removed": dict(removed)}
            beside: dict[str, Any] = {}
            for template in content.templates:
                if template.unreadable or len(groups.get(template.stream, ())) > 1:
                    message = template.unreadable or duplicate_message(template, groups[template.stream])
                    stub = _REJECTED.format(name=template.name, message=message, stream=template.stream)
                    (work / f"{_unnamed(template)}.py").write_text(stub)
                    continue
                stem = template.stream or _unnamed(template)
                (work / f"{stem}.yaml").write_bytes(template.text)
                used = content.beside(template, work)
                stub = _STUB.format(name=template.name, file=f"{stem}.yaml", removed="", more=_more(used))
                (work / f"{stem}.py").write_text(stub)
                if template.stream and used:
                    beside[template.stream] = used
                if template.stream:
                    index["live"][template.stream] = template.name
            for stream, entry in removed.items():
                old = self._store / before["version"]
                shutil.copyfile(old / f"{stream}.yaml", work / f"{stream}.yaml")
                used = before.get("beside", {}).get(stream, {})
                for file in used.get("files", {}).values():
                    shutil.copyfile(old / file, work / file)
                beside |= {stream: used} if used else {}
                stub = _STUB.format(
                    name=entry["name"], file=f"{stream}.yaml", removed=entry["removed"], more=_more(used)
                )
                (work / f"{stream}.py").write_text(stub)
            for name, text in content.companions:
                (work / name).parent.mkdir(parents=True, exist_ok=True)
                (work / name).write_bytes(text)
            for folder in [entry for entry in work.rglob("*") if entry.is_dir()]:
                folder.chmod(0o755)
            if beside:
                index["beside"] = beside
            (work / _INDEX).write_text(json.dumps(index, indent=1, sort_keys=True))
            if before:
                _link_unchanged(work, self._store / before["version"])
            work.chmod(0o755)  # made for its maker alone, but tasks may run as another user
            try:
                work.rename(target)
            except OSError:
                # Another machine that shares the store was faster; the same name holds the same content.
                if not target.is_dir():
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _replace(self, path: Path, data: Mapping[str, str]) -> None:
        """Write a small file so that nobody ever reads half of it."""
        handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
        with os.fdopen(handle, "w") as file:
            json.dump(data, file)
        Path(name).chmod(0o644)
        Path(name).replace(path)

    def _prune(self) -> None:
        """Remove snapshots that nothing has used for the time given, and what a crash left half written."""
        now = time.time()
        for entry in self._store.iterdir():
            try:
                age = timedelta(seconds=now - entry.stat().st_mtime)
            except FileNotFoundError:
                continue  # another process was faster
            half_written = entry.name.startswith(".new-") and age > timedelta(hours=1)
            unused = _VERSION.fullmatch(entry.name) and entry.name != self._current and age > self._keep
            if unused or half_written:
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)


def _link_unchanged(work: Path, old: Path) -> None:
    """Let what is as it was be the very file of the snapshot before, with its plan.

    Airflow reads those DAG files first that are newer than its last look: so one changed template is seen at once,
    however many there are. Nothing ever writes into a file of a snapshot, only new ones take its name.
    """
    for file in sorted(work.glob("*.py")):
        if _as_before(file, old):
            template = file.with_suffix(".yaml")
            for name in (file.name, template.name, beside_template(template).name):
                _link(old / name, work / name)


def _touch_changed(target: Path, old: Path) -> None:
    """Make Airflow look at what changes when an earlier snapshot is the current one again."""
    for file in target.glob("*.py"):
        if not _as_before(file, old):
            os.utime(file)


def _as_before(file: Path, old: Path) -> bool:
    """Tell whether a DAG file, its template, and the calendars and tables that it was made of are as in ``old``.

    A template without a plan there was not understood, and what it names may be right now: it counts as changed.
    """
    template = file.with_suffix(".yaml")
    seen = seen_by(old / beside_template(template).name)
    return (
        seen is not None
        and all(
            (old / one.name).is_file() and filecmp.cmp(one, old / one.name, shallow=False) for one in (file, template)
        )
        and unchanged(file.parent, seen)
    )


def _link(source: Path, target: Path) -> None:
    """Put ``source`` in the place of ``target``, with its times."""
    new = target.with_name(f".new-{target.name}")
    try:
        new.hardlink_to(source)
    except OSError:  # a file system without links
        shutil.copy2(source, new)
    new.replace(target)


def _more(used: Mapping[str, Any]) -> str:
    """Return the arguments of a DAG file that say what its template may use."""
    return f", profile={used['profile']!r}, beside={used['files']!r}" if used else ""


def _unnamed(template: TemplateFile) -> str:
    """Return the stem of the DAG file of a template that cannot be named by its stream; no stream's id has a hyphen."""
    readable = re.sub(r"[^A-Za-z0-9_]", "-", Path(template.name).stem)[:60]
    return f"{readable}-{hashlib.sha256(os.fsencode(template.name)).hexdigest()[:8]}"
