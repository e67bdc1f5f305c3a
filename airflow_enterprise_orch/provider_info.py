"""What Airflow is told about this package: its name and its connection types.

Every Airflow process calls this while it starts, so nothing here imports a client. Each system says in its
``registration`` module which connection types it brings (``CONNECTION_TYPES``); one that brings none uses the
connection type of another provider.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from airflow_enterprise_orch import systems
from airflow_enterprise_orch.settings import DECLARED


def get_provider_info() -> dict[str, Any]:
    """Return the package's part of Airflow's provider registry, as ``airflow/provider_info.schema.json`` wants it."""
    return {
        "package-name": "airflow-enterprise-orch",
        "name": "Enterprise orchestration",
        "description": "Orchestrates whole value streams across the systems that already own the work.",
        "connection-types": list(_connection_types()),
        "config": DECLARED,
        "db-managers": ["airflow_enterprise_orch.executive_view.db_manager.EnterpriseOrchDBManager"],
    }


def _connection_types() -> Iterator[Mapping[str, Any]]:
    """Return the connection types of all systems in this package, in the order of the systems' names."""
    for room in sorted(pkgutil.iter_modules(systems.__path__), key=lambda module: module.name):
        name = f"{systems.__name__}.{room.name}.registration"
        if room.ispkg and find_spec(name):
            yield from getattr(import_module(name), "CONNECTION_TYPES", ())
