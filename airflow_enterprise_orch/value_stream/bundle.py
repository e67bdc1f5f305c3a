"""The bundle door into Airflow: a folder of templates as a versioned DAG bundle.

A version is a *snapshot* (``snapshot.py``), and a run keeps the snapshot that it began with, however often its template
changes meanwhile. The DAG file is named after the value stream and not after the template's file, because Airflow looks
for the DAG file of a running instance by the name that the file has *now*: so a template may be renamed or moved at any
time. A template that is taken away, or edited and wrong, is served on for its running instances (``served_on.py``): as
long as there are any, and at least for ``removed_days``.

Snapshots lie in the bundle's folder below ``[dag_processor] dag_bundle_storage_path``, or in ``store``. They are not
among the versions that Airflow itself cleans up: a run may wait for days, and a snapshot of a local folder cannot be
made again. One that no live instance began with, and that nothing has used for ``keep_days``, is removed. Both are
decided where Airflow's database can be asked (``live_runs.py``), in the DAG processor; elsewhere nothing is taken away.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle, BundleVersion

from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.value_stream import live_runs
from airflow_enterprise_orch.value_stream.served_on import Why
from airflow_enterprise_orch.value_stream.snapshot import VERSION, Content, Gone, Index, Snapshots
from airflow_enterprise_orch.value_stream.surroundings import chosen_profile
from airflow_enterprise_orch.value_stream.template_folder import (
    read_companions,
    read_named,
    read_side_files,
    read_templates,
)

PRUNE_EVERY = 600.0
"""Seconds between two looks for snapshots that can go."""

log = logging.getLogger(__name__)


class TemplateBundle(BaseDagBundle):
    """Serves a folder of value-stream templates, or another bundle's, as DAGs.

    :param path: the folder with the templates; its subfolders are searched too.
    :param source: instead of ``path`` the bundle that brings the templates, as ``{"classpath": ..., "kwargs": {...}}``:
        a Git or S3 bundle, for example.
    :param store: where snapshots are kept; by default below Airflow's ``dag_bundle_storage_path``. Everything that runs
        tasks must see the same folder, unless the source bundle has versions of its own: from these a missing snapshot
        is made again.
    :param keep_days: how long a snapshot is kept that no live instance began with and that nothing uses.
    :param removed_days: how long a template that was taken away is served on although none of its instances is live:
        so long a failed one can be repaired.
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
        if self.version is not None and not VERSION.fullmatch(self.version):
            raise OrchestrationError(f"bundle {self.name!r}: {self.version!r} is no version of a template bundle")
        self._folder = Path(path) if path is not None else None
        self._source = dict(source) if source is not None else None
        self._store = Path(store) if store is not None else self.base_dir / "snapshots"
        self._snapshots = Snapshots(self._store, timedelta(days=removed_days))
        self._keep = timedelta(days=keep_days)
        self._pruned = -PRUNE_EVERY
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
            before = self._found_again() if self._snapshots.current() is None else None
            self._current = self._snapshots.take(self._read(folder), origin, before)
            if time.monotonic() - self._pruned >= PRUNE_EVERY:
                self._snapshots.prune(self._current, self._keep)
                self._pruned = time.monotonic()

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
        return bundle.path, origin if bundle.supports_versioning and VERSION.fullmatch(f"{'0' * 20}.{origin}") else ""

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
                self._snapshots.write(target, self._read(folder), {}, None)

    def _found_again(self) -> Index | None:
        """Return what live instances began with, where the store was lost: a new container, an empty disk.

        Their streams are served from there when the source does not have them any more.
        """
        gone: dict[str, Gone] = {}
        today = datetime.now(UTC).date().isoformat()
        for stream, version in sorted((live_runs.versions_in_use(self.name) or {}).items()):
            try:
                self._restore(version)
            except OrchestrationError:
                log.exception("instances of %s are live and began with snapshot %s, which is lost", stream, version)
            else:
                gone[stream] = Gone(f"{stream}.yaml", today, Why.REMOVED.value, version)
        return Index("", gone=gone) if gone else None

    def _read(self, folder: Path) -> Content:
        templates, side_files = read_templates(folder), read_side_files(folder)
        named = read_named(folder, [*(template.text for template in templates), *side_files.values()])
        return Content(templates, (*read_companions(folder), *named), side_files, self._profile)
