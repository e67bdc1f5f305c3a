"""What the registry and Airflow's provider information read about containers; imports no client."""

from __future__ import annotations

from typing import Any

from airflow_enterprise_orch.delegation.system import StepType, SystemRegistration

_ROOM = "airflow_enterprise_orch.systems.container"

CONTAINER = SystemRegistration(
    name="container",
    stack="Containers",
    connection_type="container_engine",
    opener=f"{_ROOM}.hook:open_engine",
    clients=("httpcore", "asyncssh", "airflow.providers.ssh.hooks.ssh"),
    steps=(
        StepType(
            name="container.run",
            title="Container",
            work=f"{_ROOM}.steps:ContainerRun",
            operator=f"{_ROOM}.operators:ContainerRunOperator",
            output_key="log",
            example=f"{_ROOM}:examples/container.run.yaml",
        ),
        StepType(
            name="container.provision",
            title="Container instance",
            work=f"{_ROOM}.steps:ContainerProvision",
            operator=f"{_ROOM}.operators:ContainerProvisionOperator",
            output_key="instance",
            example=f"{_ROOM}:examples/container.provision.yaml",
        ),
        StepType(
            name="container.remove",
            title="Removal of an instance",
            work=f"{_ROOM}.steps:ContainerRemove",
            operator=f"{_ROOM}.operators:ContainerRemoveOperator",
            output_key="log",
            example=f"{_ROOM}:examples/container.remove.yaml",
        ),
    ),
)

_TEXT = {"type": ["string", "null"]}
_SECRET = {"type": ["string", "null"], "format": "password"}

CONNECTION_TYPES: tuple[dict[str, Any], ...] = (
    {
        "connection-type": "container_engine",
        "hook-class-name": f"{_ROOM}.hook.ContainerEngineHook",
        "hook-name": "Container engine (Docker Engine API)",
        "ui-field-behaviour": {
            "hidden-fields": ["schema"],
            "relabeling": {"host": "Host", "login": "SSH user", "password": "SSH password"},
            "placeholders": {"host": "vserver.example.com; empty for this machine", "port": "22 for ssh, 2376 for tls"},
        },
        "conn-fields": {
            "transport": {
                "label": "Way to the engine",
                "description": "ssh: the engine's socket through SSH to the host. tls: TCP with certificates on both "
                "sides. unix: a socket of the machine that the worker and the triggerer run on.",
                "schema": {"type": ["string", "null"], "enum": ["ssh", "tls", "unix", None]},
            },
            "socket": {
                "label": "Socket",
                "description": "The engine's socket on its host; /var/run/docker.sock by default.",
                "schema": _TEXT,
            },
            "private_key": {"label": "SSH private key", "description": "The key's text (PEM).", "schema": _SECRET},
            "private_key_passphrase": {
                "label": "Passphrase of the key",
                "description": "Empty when the key has none.",
                "schema": _SECRET,
            },
            "host_key": {
                "label": "SSH host key",
                "description": "The host's public key, such as: ssh-ed25519 AAAA... It is checked.",
                "schema": _TEXT,
            },
            "ca_file": {
                "label": "CA file (tls)",
                "description": "PEM file of the authority that signed the engine's certificate.",
                "schema": _TEXT,
            },
            "client_cert": {"label": "Client certificate file (tls)", "description": "A PEM file.", "schema": _TEXT},
            "client_key": {"label": "Client key file (tls)", "description": "A PEM file.", "schema": _TEXT},
            "registry": {
                "label": "Registry",
                "description": "The registry that the login below is for, such as registry.example.com.",
                "schema": _TEXT,
            },
            "registry_user": {"label": "Registry user", "description": "Sent for images of it only.", "schema": _TEXT},
            "registry_password": {"label": "Registry password", "description": "Or a token.", "schema": _SECRET},
            "keep_days": {
                "label": "Days to keep ended containers",
                "description": "An ended job's container and log are removed after this; 30 by default.",
                "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 3650},
            },
            "timeout": {
                "label": "Time-out (seconds)",
                "description": "How long one answer may take; 60 by default.",
                "schema": {"type": ["number", "null"], "minimum": 1, "maximum": 600},
            },
        },
    },
)
"""What ``provider_info`` tells Airflow, in the shape of provider.yaml's ``connection-types``."""
