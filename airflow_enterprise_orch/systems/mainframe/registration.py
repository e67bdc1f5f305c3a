"""What the registry and Airflow's provider information read; imports no client."""

from __future__ import annotations

from typing import Any

from airflow_enterprise_orch.delegation.system import StepType, SystemRegistration

_ROOM = "airflow_enterprise_orch.systems.mainframe"

MAINFRAME = SystemRegistration(
    name="mainframe",
    stack="Mainframe",
    connection_type="zosmf",
    opener=f"{_ROOM}.hook:open_zosmf",
    clients=("httpx",),
    steps=(
        StepType(
            name="mainframe.job",
            title="Mainframe job",
            work=f"{_ROOM}.steps:MainframeJob",
            operator=f"{_ROOM}.operators:ZosJobOperator",
            output_key="spool",
        ),
    ),
)

CONNECTION_TYPES: tuple[dict[str, Any], ...] = (
    {
        "connection-type": "zosmf",
        "hook-class-name": f"{_ROOM}.hook.ZosmfHook",
        "hook-name": "z/OSMF (mainframe jobs)",
        "ui-field-behaviour": {
            "hidden-fields": ["schema"],
            "relabeling": {"login": "z/OS user", "password": "Password or phrase"},
            "placeholders": {"host": "zosmf.example.com", "port": "443", "login": "BATCHUSR"},
        },
        "conn-fields": {
            "ca_file": {
                "label": "CA file",
                "description": "PEM file of the authority that signed z/OSMF's certificate, on every worker and "
                "triggerer; empty for the machine's own list.",
                "schema": {"type": ["string", "null"]},
            },
            "verify": {
                "label": "Check the certificate",
                "description": "Leave on. Off means that anybody on the way can read the password.",
                "schema": {"type": ["boolean", "null"], "default": True},
            },
            "subsystem": {
                "label": "JES subsystem",
                "description": "A secondary JES, like JESB; empty for the primary one.",
                "schema": {"type": ["string", "null"]},
            },
            "owner": {
                "label": "Job owner",
                "description": "Whose jobs are looked for; empty for the z/OS user. Set it when JCL says USER=.",
                "schema": {"type": ["string", "null"]},
            },
            "timeout": {
                "label": "Time-out (seconds)",
                "description": "How long one answer may take; 30 by default.",
                "schema": {"type": ["number", "null"], "minimum": 1, "maximum": 600},
            },
        },
    },
)
"""What ``provider_info`` tells Airflow, in the shape of provider.yaml's ``connection-types``."""
