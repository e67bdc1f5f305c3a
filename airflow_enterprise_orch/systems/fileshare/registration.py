"""What the registry reads about file shares; imports no client."""

from __future__ import annotations

from airflow_enterprise_orch.delegation.system import StepType, SystemRegistration

_STEPS = "airflow_enterprise_orch.systems.fileshare.steps"
_OPERATORS = "airflow_enterprise_orch.systems.fileshare.operators"

FILESHARE = SystemRegistration(
    name="fileshare",
    stack="File share",
    connection_type="aws",
    other_connection_types=("sftp", "ssh", "samba"),
    tester="airflow_enterprise_orch.systems.fileshare.hook:test_fileshare_connection",
    arrivals="fileshare.await",
    opener="airflow_enterprise_orch.systems.fileshare.hook:open_fileshare",
    clients=("airflow.providers.amazon.aws.hooks.s3", "airflow.providers.ssh.hooks.ssh", "asyncssh", "smbclient"),
    steps=(
        StepType(
            name="fileshare.deliver",
            title="File delivery",
            work=f"{_STEPS}:FileshareDeliver",
            operator=f"{_OPERATORS}:FileshareDeliverOperator",
            output_key="from",
            example="airflow_enterprise_orch.systems.fileshare:examples/fileshare.deliver.yaml",
        ),
        StepType(
            name="fileshare.certificate",
            title="Certificate of completion",
            work=f"{_STEPS}:FileshareCertificate",
            operator=f"{_OPERATORS}:FileshareCertificateOperator",
            output_key="from",
            example="airflow_enterprise_orch.systems.fileshare:examples/fileshare.certificate.yaml",
        ),
        StepType(
            name="fileshare.await",
            title="Wait for files",
            work=f"{_STEPS}:FileshareAwait",
            operator=f"{_OPERATORS}:FileshareAwaitOperator",
            output_key="from",
            example="airflow_enterprise_orch.systems.fileshare:examples/fileshare.await.yaml",
        ),
    ),
)

CONNECTION_TYPES: list[dict[str, object]] = []
"""None of our own: the amazon, sftp, ssh and samba providers bring theirs."""
