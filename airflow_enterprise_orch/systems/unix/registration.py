"""What the registry reads about UNIX hosts; imports no client."""

from __future__ import annotations

from airflow_enterprise_orch.delegation.system import StepType, SystemRegistration

UNIX = SystemRegistration(
    name="unix",
    stack="UNIX",
    connection_type="ssh",
    tester="airflow_enterprise_orch.systems.unix.hook:test_unix_connection",
    opener="airflow_enterprise_orch.systems.unix.hook:open_unix",
    clients=("asyncssh", "airflow.providers.ssh.hooks.ssh"),
    steps=(
        StepType(
            name="unix.script",
            title="UNIX script",
            work="airflow_enterprise_orch.systems.unix.steps:UnixScript",
            operator="airflow_enterprise_orch.systems.unix.operators:UnixScriptOperator",
            output_key="log",
            example="airflow_enterprise_orch.systems.unix:examples/unix.script.yaml",
        ),
    ),
)

CONNECTION_TYPES: list[dict[str, object]] = []
"""None of our own: the ssh provider brings the connection type ``ssh``."""
