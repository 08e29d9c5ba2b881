"""Certificates for a loopback venue: a CA and a server certificate made at start, gone at the end."""

from __future__ import annotations

import ipaddress
import shutil
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tools.venues.errors import TlsError

VALID_DAYS = 7


class TlsFiles:
    """A private folder with `ca.pem` and the server's certificate; use as a context manager."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._folder = Path(tempfile.mkdtemp(prefix="ringlane-venue-"))
        self.ca_path = self._folder / "ca.pem"

    def __enter__(self) -> TlsFiles:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def server_context(self) -> ssl.SSLContext:
        """Make CA and server certificate; TlsError when the package `cryptography` is not installed."""
        try:
            ca_pem, chain_pem = make_certificates(self._host)
        except ImportError:
            raise TlsError("--tls needs the package cryptography: pip install 'ringlane[tls]'") from None
        chain_path = self._folder / "server.pem"
        for path, text in ((self.ca_path, ca_pem), (chain_path, chain_pem)):
            path.touch(mode=0o600)
            path.write_bytes(text)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain_path)
        return context


def make_certificates(host: str) -> tuple[bytes, bytes]:
    """Return (CA certificate, server certificate and key) as PEM for `host`, 127.0.0.1, ::1 and localhost."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.now(UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ringlane simulated venue CA")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ringlane simulated venue")])
    usage = {
        "digital_signature": True, "content_commitment": False, "key_encipherment": False,
        "data_encipherment": False,
        "key_agreement": False, "encipher_only": False, "decipher_only": False,
    }  # fmt: skip

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=VALID_DAYS))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
        )

    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        builder(name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=False, crl_sign=False, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ca.public_bytes(pem), leaf.public_bytes(pem) + private


def _names(host: str) -> list:  # type: ignore[type-arg]  # the element type belongs to an optional package
    from cryptography import x509

    names: dict[str, x509.GeneralName] = {}
    for item in ("127.0.0.1", "::1", "localhost", host):
        try:
            names[item] = x509.IPAddress(ipaddress.ip_address(item))
        except ValueError:
            names[item] = x509.DNSName(item)
    return list(names.values())
