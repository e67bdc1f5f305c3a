"""The documents and frames of the Docker Engine API (1.41), as the lab's engine answers them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from airflow_enterprise_orch.lab.company import ENTRY_POINTS

if TYPE_CHECKING:
    from airflow_enterprise_orch.lab.docker_engine import LabContainer

API = "1.41"
VERSION = {
    "Version": "20.10.24-lab",
    "ApiVersion": API,
    "MinAPIVersion": "1.12",
    "Os": "linux",
    "Arch": "amd64",
    "Components": [],
}
WEB_HEALTH = {"Test": ["CMD-SHELL", "test ! -e unhealthy"], "Interval": 100_000_000, "Retries": 2}
"""The health check that the lab's image ``lab/web`` brings: a file ``unhealthy`` in the working directory fails it."""


def error(status: int, message: str) -> web.Response:
    """Answer with the engine's error document."""
    return web.json_response({"message": message}, status=status)


def info(containers: int, running: int) -> dict[str, Any]:
    """Return the part of ``SystemInfo`` that clients look at."""
    return {"ID": "LAB", "Name": "lab", "Containers": containers, "ContainersRunning": running, "OSType": "linux"}


def image_name(reference: str) -> str:
    """Return an image's name with its tag, without Docker Hub's own name."""
    name = reference.removeprefix("docker.io/").removeprefix("library/")
    return name if "@" in name or ":" in name.rpartition("/")[2] else f"{name}:latest"


def image(name: str) -> dict[str, Any]:
    """Return ``ImageInspect``."""
    config: dict[str, Any] = {"Cmd": None, "Entrypoint": None, "Env": [], "Labels": {}}
    if name in ENTRY_POINTS:
        config["Entrypoint"] = list(ENTRY_POINTS[name])
    if name.startswith("lab/web:"):
        config["Healthcheck"] = WEB_HEALTH
    return {"Id": f"sha256:{'1ab' * 21}0", "RepoTags": [name], "RepoDigests": [], "Config": config, "Os": "linux"}


def inspected(container: LabContainer) -> dict[str, Any]:
    """Return ``ContainerInspect``."""
    state: dict[str, Any] = {
        "Status": container.state,
        "Running": container.state == "running",
        "Paused": False,
        "Restarting": False,
        "OOMKilled": container.out_of_memory,
        "Dead": False,
        "Pid": container.process.pid if container.process is not None and container.state == "running" else 0,
        "ExitCode": container.exit_code,
        "Error": container.error,
        "StartedAt": container.started,
        "FinishedAt": container.finished,
    }
    if container.health:
        state["Health"] = {"Status": container.health, "FailingStreak": 0, "Log": []}
    argv = container.argv
    ports = container.host.get("PortBindings") or {}
    bound = {port: [{"HostIp": "0.0.0.0", **at} for at in where] for port, where in ports.items()}  # noqa: S104
    return {
        "Id": container.id,
        "Name": f"/{container.name}",
        "Created": container.created,
        "Path": argv[0],
        "Args": argv[1:],
        "State": state,
        "Image": f"sha256:{'1ab' * 21}0",
        "RestartCount": 0,
        "Config": {**container.body, "Labels": container.labels, "HostConfig": None},
        "HostConfig": {"NetworkMode": "default", **container.host},
        "NetworkSettings": {"Ports": bound, "Networks": {"bridge": {"IPAddress": "127.0.0.1"}}},
        "Mounts": [],
    }


def listed(container: LabContainer) -> dict[str, Any]:
    """Return an entry of ``ContainerList``."""
    words = {"created": "Created", "running": "Up 1 second"}
    status = words.get(container.state, f"Exited ({container.exit_code}) 1 second ago")
    if container.state == "running" and container.health:
        status += f" ({'health: starting' if container.health == 'starting' else container.health})"
    return {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": container.body.get("Image"),
        "ImageID": f"sha256:{'1ab' * 21}0",
        "Command": " ".join(container.argv),
        "Created": int(_seconds(container.created)),
        "Labels": container.labels,
        "State": container.state,
        "Status": status,
        "HostConfig": {"NetworkMode": "default"},
        "Ports": [],
        "Mounts": [],
    }


def read_filters(text: str) -> dict[str, list[str]]:
    """Read ``filters``: lists of values, or the older form of maps to booleans; :raises ValueError: for another one."""
    wanted = json.loads(text) if text else {}
    known = ("label", "status", "name", "id")
    if not isinstance(wanted, dict) or set(wanted) - set(known):
        raise ValueError(f"{text!r}; the lab knows {', '.join(known)}")
    return {name: [str(value) for value in values] for name, values in wanted.items()}


def passes(container: LabContainer, wanted: Mapping[str, Sequence[str]]) -> bool:
    """True where all filters let a container through (``docker ps --filter``)."""
    for label in wanted.get("label", ()):
        name, equals, value = label.partition("=")
        if name not in container.labels or (equals and container.labels[name] != value):
            return False
    if "status" in wanted and container.state not in wanted["status"]:
        return False
    if "name" in wanted and not any(re.search(name, f"/{container.name}") for name in wanted["name"]):
        return False
    return "id" not in wanted or any(container.id.startswith(identifier) for identifier in wanted["id"])


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What ``ContainerLogs`` was asked.

    :param since: seconds since the epoch, inclusive.
    :param tail: how many of the last entries; None for all.
    """

    streams: tuple[int, ...]
    timestamps: bool
    since: tuple[int, int]
    tail: int | None
    follow: bool

    @classmethod
    def read(cls, query: Mapping[str, str]) -> LogQuery:
        """Read the request's query; :raises ValueError: when it asks for no stream or for nonsense."""

        def yes(name: str) -> bool:
            return query.get(name, "").lower() in ("1", "true")

        streams = tuple(number for number, name in ((1, "stdout"), (2, "stderr")) if yes(name))
        if not streams:
            raise ValueError("Bad parameters: you must choose at least one stream")
        seconds, _, fraction = (query.get("since") or "0").partition(".")
        tail = query.get("tail", "all")
        last = int(tail) if tail.isdigit() else None
        return cls(streams, yes("timestamps"), (int(seconds), int(f"{fraction:0<9}")), last, yes("follow"))

    def frames(self, log: Sequence[tuple[int, str, bytes]]) -> bytes:
        """Return the entries that were asked for, each in its frame."""
        # Stamps are as long as one another, so their order is that of their texts.
        first = datetime.fromtimestamp(self.since[0], UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{self.since[1]:09d}Z"
        found = [entry for entry in log if entry[0] in self.streams and entry[1] >= first]
        if self.tail is not None:
            found = found[len(found) - min(self.tail, len(found)) :]
        content = bytearray()
        for stream, stamp, text in found:
            body = stamp.encode() + b" " + text if self.timestamps else text
            content += bytes((stream, 0, 0, 0)) + len(body).to_bytes(4, "big") + body
        return bytes(content)


def _moment(stamp: str) -> tuple[int, int]:
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()), int(f"{fraction:0<9}")


def _seconds(stamp: str) -> float:
    return float(_moment(stamp)[0])
