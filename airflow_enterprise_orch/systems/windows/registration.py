"""What the registry reads about Windows hosts; imports no client."""

from __future__ import annotations

from airflow_enterprise_orch.delegation.system import StepType, SystemRegistration

_ROOM = "airflow_enterprise_orch.systems.windows"

WINDOWS = SystemRegistration(
    name="windows",
    stack="Windows",
    connection_type="winrm",
    tester=f"{_ROOM}.hook:test_windows_connection",
    opener=f"{_ROOM}.hook:open_windows",
    clients=("pypsrp.powershell",),
    steps=(
        StepType(
            name="windows.task",
            title="Windows task",
            work=f"{_ROOM}.steps:WindowsTask",
            operator=f"{_ROOM}.operators:WindowsTaskOperator",
            output_key="log",
            example=f"{_ROOM}:examples/windows.task.yaml",
        ),
    ),
)

CONNECTION_TYPES: list[dict[str, object]] = []
"""None of our own: the winrm provider brings the connection type ``winrm``."""
