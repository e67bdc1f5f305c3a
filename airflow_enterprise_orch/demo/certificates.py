"""What the customers of the demo got: every certificate is fetched from the share again, and checked from outside."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_enterprise_orch.demo.airflow import LocalAirflow
    from airflow_enterprise_orch.demo.api import AirflowApi
    from airflow_enterprise_orch.demo.lab import LabProcess


@dataclass(frozen=True, slots=True)
class Delivered:
    """One certificate as the share has it.

    :param address: where it lies.
    :param problem: what is wrong with it, "" when nothing is.
    """

    order: str
    address: str
    pdf: bytes
    problem: str


def fetch(api: AirflowApi, lab: LabProcess, stream: str, runs: Sequence[tuple[str, str]]) -> list[Delivered]:
    """Fetch the certificates: each by its own link, as the customer would, and its manifest by a plain S3 client.

    :param runs: run id and business key of each instance.
    """
    import boto3

    endpoint = lab.endpoints["s3"]
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint["url"],
        aws_access_key_id=endpoint["user"],
        aws_secret_access_key=endpoint["password"],
        region_name="eu-central-1",
    )
    return [
        _fetched(s3, endpoint["bucket"], order, api.xcoms(stream, run_id, "certify").get("return_value"))
        for run_id, order in runs
    ]


def _fetched(s3: Any, bucket: str, order: str, told: Any) -> Delivered:
    import httpx
    from botocore.exceptions import BotoCoreError, ClientError

    if not isinstance(told, dict) or not told.get("link"):
        return Delivered(order, "", b"", f"{order} has no certificate")
    name = f"customers/{order}/certificate.pdf.manifest.json"
    try:
        pdf = httpx.get(told["link"], timeout=30.0, trust_env=False).raise_for_status().content
        manifest = json.loads(s3.get_object(Bucket=bucket, Key=name)["Body"].read())
    except httpx.HTTPError as error:
        # Its own words would name the link, which opens the file for whoever reads it.
        return Delivered(order, told["address"], b"", f"{order}: the link opens nothing ({type(error).__name__})")
    except (BotoCoreError, ClientError, ValueError) as error:
        return Delivered(order, told["address"], b"", f"{order}: the manifest {name} cannot be read: {error}")
    problem = ""
    if not pdf.startswith(b"%PDF-"):
        problem = f"{order}: what lies at {told['address']} is no PDF"
    elif hashlib.sha256(pdf).hexdigest() != manifest["sha256"]:
        problem = f"{order}: the certificate is not what its manifest says"
    elif manifest["code"] != told["verification"]:
        problem = f"{order}: the verification code is not that of the manifest"
    return Delivered(order, told["address"], pdf, problem)


def verify(airflow: LocalAirflow, file: Path) -> tuple[bool, str]:
    """Check a certificate with ``enterprise-orch verify``; return whether it is genuine, and what that said."""
    command = [sys.executable, "-m", "airflow_enterprise_orch", "verify", str(file)]
    done = subprocess.run(  # noqa: S603 - our own command, no shell
        command, env=airflow.environment, capture_output=True, text=True, check=False
    )
    return done.returncode == 0, (done.stdout or done.stderr).strip()
