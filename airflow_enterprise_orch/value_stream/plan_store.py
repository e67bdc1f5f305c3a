"""Where the loader door leaves its plans: in a folder of this account's own; the templates' is not ours to write.

A plan names the classes that a worker makes, so it is only read from where nobody else can write.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from pathlib import Path

FOLDER = "enterprise_orch_plans"

log = logging.getLogger(__name__)


def stored_plan(template: Path) -> Path | None:
    """Return the path of a template's plan on this machine; None where no safe folder for it can be had."""
    folder = _folder()
    if folder is None:
        return None
    return folder / f"{hashlib.sha256(os.fsencode(template.resolve())).hexdigest()[:32]}.plan.json"


def _folder() -> Path | None:
    """Return our folder below Airflow's ``[dag_processor] dag_bundle_storage_path``, made when it is not there."""
    from airflow.dag_processing.bundles.base import get_bundle_storage_root_path

    root: Path = get_bundle_storage_root_path()  # type: ignore[no-untyped-call]
    folder = root / f"{FOLDER}_{os.geteuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        log.info("no plans are kept in %s: %s", folder, error)
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        log.warning("no plans are kept in %s: it is not this account's own, or others may write there", folder)
        return None
    return folder
