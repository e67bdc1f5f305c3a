"""TLS with certificates on both sides, as an engine on TCP wants it (Docker, "Protect the Docker daemon socket")."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from airflow_enterprise_orch.lab.tls import LIFETIME, loopback_tls


@dataclass(frozen=True, slots=True)
class MutualTls:
    """Both sides.

    :param ca_file: the authority's certificate, which clients trust.
    :param client_cert: the certificate that the server wants to see; the only one.
    :param server: the server's side, ready to use.
    """

    ca_file: Path
    client_cert: Path
    client_key: Path
    server: ssl.SSLContext


def mutual_tls(directory: Path) -> MutualTls:
    """Make everything in ``directory``; the server lets in nobody but the holder of the client's key."""
    tls = loopback_tls(directory)
    certificate, key = directory / "client.pem", directory / "client.key"
    client_certificate(certificate, key)
    tls.server.verify_mode = ssl.CERT_REQUIRED
    tls.server.load_verify_locations(certificate)
    return MutualTls(tls.ca_file, certificate, key, tls.server)


def client_certificate(certificate_file: Path, key_file: Path) -> None:
    """Make a certificate that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Lab client {certificate_file.stem}")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
