"""From a step's model to what the engine is asked to create (Docker Engine API, ``ContainerCreate``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_enterprise_orch.systems.container.steps import ContainerProvision, ContainerRun, HealthCheck

KEY = "orch.key"
SPEC = "orch.spec"
OWNER = "orch.owner"
KIND = "orch.kind"
CANCEL = "orch.cancel"
REMOVES = "orch.removes"
OWNER_NAME = "enterprise-orch"

RUN = "run"
INSTANCE = "instance"
REMOVAL = "removal"


def kind_of(work: ContainerRun | ContainerProvision) -> str:
    """Return the kind as the label says it."""
    return INSTANCE if isinstance(work, ContainerProvision) else RUN


def labels(key: str, spec: str, kind: str) -> dict[str, str]:
    """Return what is written on everything that is created, so that it is found without us."""
    return {OWNER: OWNER_NAME, KEY: key, SPEC: spec, KIND: kind}


def container_document(work: ContainerRun | ContainerProvision, key: str) -> dict[str, Any]:
    """Return the body of the create request."""
    host: dict[str, Any] = {
        # A restart by the engine would be a second run of the same job.
        "RestartPolicy": {"Name": "no"},
        # The result and the log are read after the end.
        "AutoRemove": False,
    }
    if work.mounts:
        host["Mounts"] = [
            {
                "Type": "bind" if mount.source.startswith("/") else "volume",
                "Source": mount.source,
                "Target": mount.target,
                "ReadOnly": mount.read_only,
            }
            for mount in work.mounts
        ]
    if work.network:
        host["NetworkMode"] = work.network
    if work.memory_mb is not None:
        # The same limit with swap: a job that swaps would be slow instead of ended.
        host |= {"Memory": work.memory_mb << 20, "MemorySwap": work.memory_mb << 20}
    if work.cpus is not None:
        host["NanoCpus"] = round(work.cpus * 1e9)
    document: dict[str, Any] = {
        "Image": work.image,
        "Env": [f"{name}={value}" for name, value in work.env.items()],
        "Labels": labels(key, work.digest(), kind_of(work)),
        "Tty": False,  # with a terminal the log is one stream without frames
        "StopTimeout": work.grace,
        "HostConfig": host,
    }
    given: dict[str, Any] = {
        "Cmd": list(work.command),
        "Entrypoint": list(work.entrypoint or ()),
        "WorkingDir": work.directory,
        "User": work.user,
    }
    document |= {name: value for name, value in given.items() if value}
    if isinstance(work, ContainerProvision):
        if work.health is not None:
            document["Healthcheck"] = _health(work.health)
        ports = {f"{port.container}/{port.protocol}": [{"HostPort": str(port.host or "")}] for port in work.publish}
        if ports:
            document["ExposedPorts"] = {port: {} for port in ports}
            host["PortBindings"] = ports
    return document


def has_health_check(work: ContainerProvision, image: Mapping[str, Any]) -> bool:
    """True where the step or the image says how health is found out."""
    if work.health is not None:
        return True
    config = image.get("Config")
    check = config.get("Healthcheck") if isinstance(config, Mapping) else None
    test = check.get("Test") if isinstance(check, Mapping) else None
    return bool(test) and test != ["NONE"]


def _health(check: HealthCheck) -> dict[str, Any]:
    second = 1_000_000_000
    return {
        "Test": ["CMD", *check.command],
        "Interval": check.interval * second,
        "Timeout": check.timeout * second,
        "Retries": check.retries,
        "StartPeriod": check.start_period * second,
    }
