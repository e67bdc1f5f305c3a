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
            example=f"{_ROOM}:examples/mainframe.job.yaml",
            holds=True,
        ),
    ),
)

MAINFRAME_SCHEDULER = SystemRegistration(
    name="mainframe_scheduler",
    stack="Mainframe",
    connection_type="controlm",
    opener=f"{_ROOM}.controlm_hook:open_controlm",
    clients=("httpx",),
    steps=(
        StepType(
            name="mainframe.scheduler_job",
            title="Control-M job",
            work=f"{_ROOM}.steps:SchedulerJob",
            operator=f"{_ROOM}.operators:ControlmOrderOperator",
            output_key="read",
            example=f"{_ROOM}:examples/mainframe.scheduler_job.yaml",
            holds=True,
        ),
    ),
)
"""A registration of its own, because one has one connection type; to people it is the mainframe all the same."""

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
    {
        "connection-type": "controlm",
        "hook-class-name": f"{_ROOM}.controlm_hook.ControlmHook",
        "hook-name": "Control-M (Automation API)",
        "ui-field-behaviour": {
            "hidden-fields": ["schema"],
            "relabeling": {"login": "Control-M user", "password": "Password or API token"},
            "placeholders": {"host": "controlm-em.example.com", "port": "8443", "login": "empty for an API token"},
        },
        "conn-fields": {
            "server": {
                "label": "Control-M/Server",
                "description": "The Control-M/Server whose folders are ordered.",
                "schema": {"type": ["string", "null"]},
            },
            "folders": {
                "label": "Folders",
                "description": "Which folders this connection orders, comma-separated, * allowed: keys are looked for "
                "there only. Empty for all.",
                "schema": {"type": ["string", "null"]},
            },
            "timezone": {
                "label": "Time zone",
                "description": "Of the times that Control-M tells, like Europe/Berlin; empty leaves them out.",
                "schema": {"type": ["string", "null"]},
            },
            "path": {
                "label": "Path",
                "description": "Where the Automation API begins; /automation-api by default.",
                "schema": {"type": ["string", "null"]},
            },
            "ca_file": {
                "label": "CA file",
                "description": "PEM file of the authority that signed the certificate, on every worker and triggerer; "
                "empty for the machine's own list.",
                "schema": {"type": ["string", "null"]},
            },
            "verify": {
                "label": "Check the certificate",
                "description": "Leave on. Off means that anybody on the way can read the password.",
                "schema": {"type": ["boolean", "null"], "default": True},
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
