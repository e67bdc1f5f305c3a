"""From the engine's documents to handles, and back to requests. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.errors import RequestRejected
from airflow_enterprise_orch.systems.container import spec, states
from airflow_enterprise_orch.systems.container.session import Call, part
from airflow_enterprise_orch.systems.container.states import Document

KEY = re.compile(r"[A-Z][A-Z0-9]{19}")


def handle_of(key: str, document: Document, kind: str = "") -> JobHandle:
    """Return the handle of an inspected container, or of one just created, whose kind the answer does not tell."""
    full = str(document["Id"])
    kind = kind or states.label(document, spec.KIND)
    return JobHandle(key, full[:12], name=key, fields={"id": full, **({"kind": kind} if kind else {})})


def removal_of(key: str, instance: str) -> JobHandle:
    """Return the handle of a removal: its job is the instance."""
    return JobHandle(key, instance, name=key, fields={"kind": spec.REMOVAL})


def stop_of(document: Document) -> Call:
    """Return the request that stops an inspected container; its answer comes when the container has ended."""
    grace = (document.get("Config") or {}).get("StopTimeout")
    return Call(
        f"stop of container {str(document['Id'])[:12]}",
        "POST",
        f"/containers/{part(str(document['Id']))}/stop",
        changing=True,
        patience=float(grace) if isinstance(grace, int) else 10.0,
    )


def id_of(handle: JobHandle) -> str:
    """Return the container's full id, or what a person named it by."""
    return handle.fields.get("id") or handle.job_id


def facts_of(document: Document, host: str) -> dict[str, str]:
    """Return what later steps may want to know of an instance."""
    settings = document.get("NetworkSettings")
    network: Mapping[str, Any] = settings if isinstance(settings, Mapping) else {}
    networks = network.get("Networks")
    addresses = [str(entry.get("IPAddress") or "") for entry in networks.values()] if networks else []
    ip = next((address for address in addresses if address), "")
    ports = network.get("Ports")
    published = [bound[0].get("HostPort") for bound in ports.values() if bound] if ports else []
    mode = str((document.get("HostConfig") or {}).get("NetworkMode") or "")
    where = f"[{host}]" if ":" in host else host
    address = f"{where}:{published[0]}" if published else host if mode == "host" else ip
    full = str(document["Id"])
    return {"id": full, "name": str(document.get("Name") or "").lstrip("/"), "ip": ip, "address": address}


def checked(key: str) -> str:
    """Return a key that can be a container's name; :raises RequestRejected: for any other text."""
    if not KEY.fullmatch(key):
        raise RequestRejected(f"{key!r} is no delegation key: no container can have it")
    return key
