"""What the registry and Airflow's provider information read about SAP; imports no client.

Two systems, because they are two interfaces with connections of their own: XBP for background jobs of any release, and
the OData service of S/4HANA for application jobs.
"""

from __future__ import annotations

from typing import Any

from airflow_enterprise_orch.delegation.system import StepType, SystemRegistration

_ROOM = "airflow_enterprise_orch.systems.sap"

SAP = SystemRegistration(
    name="sap",
    stack="SAP",
    connection_type="sap_xbp",
    opener=f"{_ROOM}.hook:open_xbp",
    clients=("httpx",),
    steps=(
        StepType(
            name="sap.background_job",
            title="SAP background job",
            work=f"{_ROOM}.steps:BackgroundJob",
            operator=f"{_ROOM}.operators:SapBackgroundJobOperator",
            output_key="source",
            example=f"{_ROOM}:examples/sap.background_job.yaml",
        ),
    ),
)

SAP_ODATA = SystemRegistration(
    name="sap_odata",
    stack="SAP",
    connection_type="sap_odata",
    opener=f"{_ROOM}.hook:open_odata",
    clients=("httpx",),
    steps=(
        StepType(
            name="sap.application_job",
            title="SAP application job",
            work=f"{_ROOM}.steps:ApplicationJob",
            operator=f"{_ROOM}.operators:SapApplicationJobOperator",
            output_key="source",
            example=f"{_ROOM}:examples/sap.application_job.yaml",
        ),
    ),
)


def _text(label: str, description: str) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"]}}


_COMMON: dict[str, Any] = {
    "client": _text("SAP client", "Three digits; by default 100 for XBP, and the user's own for OData."),
    "ca_file": _text(
        "CA file",
        "PEM file of the authority that signed SAP's certificate, on every worker and triggerer; empty for the "
        "machine's own list.",
    ),
    "verify": {
        "label": "Check the certificate",
        "description": "Leave on. Off means that anybody on the way can read the password.",
        "schema": {"type": ["boolean", "null"], "default": True},
    },
    "language": _text("Logon language", "Two letters; EN by default."),
    "timeout": {
        "label": "Time-out (seconds)",
        "description": "How long one answer may take; 30 by default.",
        "schema": {"type": ["number", "null"], "minimum": 1, "maximum": 600},
    },
}

CONNECTION_TYPES: tuple[dict[str, Any], ...] = (
    {
        "connection-type": "sap_xbp",
        "hook-class-name": f"{_ROOM}.hook.SapXbpHook",
        "hook-name": "SAP background jobs (XBP)",
        "ui-field-behaviour": {
            "hidden-fields": ["schema"],
            "relabeling": {"login": "SAP user", "port": "HTTPS port"},
            "placeholders": {"host": "sap.example.com", "port": "44300", "login": "AIRFLOW"},
        },
        "conn-fields": {
            **_COMMON,
            "time_zone": _text("Time zone of SAP", "Such as Europe/Berlin, as STZAC shows it; UTC by default."),
            "backend": _text("Backend", "soap (HTTPS, no SDK; the default) or pyrfc (where it and SAP's SDK are)."),
            "system_number": _text("System number", "For pyrfc: two digits; 00 by default."),
            "start": _text(
                "Start", "asap waits for a free background work process; immediately is refused without one."
            ),
            "server": _text(
                "Application server", "Which one runs the jobs, as SM51 shows it; the one that answers by default."
            ),
            "server_group": _text("Server group", "A job server group of SM61 instead."),
            "external_user": _text("External user", "Who did it, in the XMI log; AIRFLOW by default."),
            "company": _text("XMI company", "As S_XMI_PROD allows; APACHE by default."),
            "product": _text("XMI product", "As S_XMI_PROD allows; AIRFLOW by default."),
        },
    },
    {
        "connection-type": "sap_odata",
        "hook-class-name": f"{_ROOM}.hook.SapOdataHook",
        "hook-name": "SAP application jobs (OData)",
        "ui-field-behaviour": {
            "hidden-fields": ["schema"],
            "relabeling": {"login": "Communication user"},
            "placeholders": {"host": "my300000-api.s4hana.cloud.sap", "port": "443", "login": "AIRFLOW"},
        },
        "conn-fields": dict(_COMMON),
    },
)
"""What ``provider_info`` tells Airflow, in the shape of provider.yaml's ``connection-types``."""
