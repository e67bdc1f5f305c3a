"""The last look at the demo's certificates: whatever is wrong with one is a line of the summary, never a traceback."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from airflow_enterprise_orch.demo import certificates

PDF = b"%PDF-1.4 the certificate"
RIGHT = {"sha256": hashlib.sha256(PDF).hexdigest(), "code": "EOC1-AAAA"}
TOLD = {"link": "http://share/secret-link", "address": "s3://share/c.pdf", "verification": "EOC1-AAAA"}


class Share:
    """What the S3 client sees: one manifest, or none."""

    def __init__(self, manifest: Any) -> None:
        self.manifest = manifest

    def get_object(self, **_: Any) -> dict[str, Any]:
        if self.manifest is None:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": "not there"}}, "GetObject")
        return {"Body": io.BytesIO(json.dumps(self.manifest).encode())}


@pytest.mark.parametrize(
    ("told", "status", "content", "manifest", "problem"),
    [
        (TOLD, 200, PDF, RIGHT, ""),
        (None, 200, PDF, RIGHT, "ORD-1 has no certificate"),
        ({"address": "x"}, 200, PDF, RIGHT, "ORD-1 has no certificate"),
        (TOLD, 403, PDF, RIGHT, "ORD-1: the link opens nothing (HTTPStatusError)"),
        (TOLD, 200, b"<html>", RIGHT, "ORD-1: what lies at s3://share/c.pdf is no PDF"),
        (TOLD, 200, PDF + b"!", RIGHT, "ORD-1: the certificate is not what its manifest says"),
        (TOLD, 200, PDF, {**RIGHT, "code": "EOC1-BBBB"}, "ORD-1: the verification code is not that of the manifest"),
        (TOLD, 200, PDF, None, "ORD-1: the manifest customers/ORD-1/certificate.pdf.manifest.json cannot be read: "),
    ],
)
def test_what_is_wrong_is_said(
    monkeypatch: pytest.MonkeyPatch, told: Any, status: int, content: bytes, manifest: Any, problem: str
) -> None:
    def get(url: str, **_: Any) -> httpx.Response:
        return httpx.Response(status, content=content, request=httpx.Request("GET", url))

    monkeypatch.setattr(httpx, "get", get)
    found = certificates._fetched(Share(manifest), "certificates", "ORD-1", told)
    assert found.problem.startswith(problem)
    assert bool(found.problem) is bool(problem)
    assert "secret-link" not in found.problem
