"""Certificates for tests: authorities, and what they sign."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM, _DAY = serialization.Encoding.PEM, timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self._certificate = self._build(self._name, self._key, _DAY, None, True)
        self.pem = self._certificate.public_bytes(_PEM)

    def pair(self, *names: str, expired: bool = False) -> Pair:
        """A certificate for the names, DNS names or addresses; without any it has only a common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        lifetime = -timedelta(minutes=5) if expired else _DAY
        certificate = self._build(_named("somebody"), key, lifetime, names, False)
        private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Pair(certificate.public_bytes(_PEM), private)

    def _build(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        lifetime: timedelta,
        names: tuple[str, ...] | None,
        authority: bool,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            general = [_general(name) for name in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)


def write(folder: Path, pair: Pair) -> tuple[Path, Path]:
    """Certificate and key as files."""
    paths = folder / "tls.crt", folder / "tls.key"
    for path, content in zip(paths, (pair.certificate, pair.key), strict=True):
        path.write_bytes(content)
    return paths
