"""The Airflow connections to the stand-ins in a file, for an Airflow that was not started with them.

The file is what Airflow's ``LocalFilesystemBackend`` and ``airflow connections import`` read. The backend reads it at
each look-up, so an Airflow that is up already follows a lab that starts anew on other ports.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class CannotWrite(OSError):
    """The file cannot be written. The message is one line for people."""


def shipped(endpoints: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the connections that the shipped templates name, by id; of the stand-ins that run."""
    from airflow_enterprise_orch.demo.story import CONNECTIONS

    return {name: endpoints[stand_in]["connection"] for name, stand_in in CONNECTIONS.items() if stand_in in endpoints}


def write(file: Path, connections: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all, for its owner alone: it holds passwords.

    :raises CannotWrite: when it cannot.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        new.touch(mode=0o600)
        new.write_text(json.dumps(connections, indent=1) + "\n")
        new.rename(file)
    except OSError as error:
        raise CannotWrite(f"the connections cannot be written to {file}: {error.strerror}") from error


def remove(file: Path) -> None:
    """Remove it: nobody answers there any more."""
    file.unlink(missing_ok=True)
