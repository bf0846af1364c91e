"""TLS for the gRPC interface, and the peers that it accepts (ADR 0021).

Certificate, key and the clients' authority are files that are looked at at each handshake, and read when they
have changed: a rotation needs no restart, and handshakes that nobody finishes cost little. When a file can no
longer be read, its last good content stays in use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from server.domain.errors import PermissionDenied


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of TLS, in PEM. Without `client_ca`, clients need no certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


#: Seconds after a change within which another one may bear the same time.
_RECENT_S = 2.0


class Files:
    """The contents of the files, as last read. now: seconds since the epoch."""

    def __init__(self, tls: Tls, *, now: Callable[[], float] = time.time) -> None:
        self._paths = [tls.key, tls.certificate, *([tls.client_ca] if tls.client_ca else [])]
        self._now = now
        self._versions = self._look()
        self._read = [path.read_bytes() for path in self._paths]

    def _look(self) -> list[tuple[object, ...]]:
        """What tells one version of each file from another."""
        found: list[tuple[object, ...]] = []
        for path in self._paths:
            status = path.stat()
            recent = self._now() - status.st_mtime < _RECENT_S
            same = object() if recent else None
            found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, same))
        return found

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """The contents for grpc."""
        key, certificate, *roots = self._read
        return grpc.ssl_server_certificate_configuration(
            [(key, certificate)], root_certificates=roots[0] if roots else None
        )

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The contents, if they have changed."""
        try:
            versions = self._look()
            if versions == self._versions:
                return None
            read = [path.read_bytes() for path in self._paths]
        except OSError:
            return None
        self._versions = versions
        if read == self._read:
            return None
        self._read = read
        return self.configuration()


def server_credentials(tls: Tls) -> grpc.ServerCredentials:
    """The credentials of a port. Raises OSError for a file that cannot be read."""
    files = Files(tls)
    # None means no change, which grpc's types lack.
    return grpc.dynamic_ssl_server_credentials(
        files.configuration(),
        files.changed,  # type: ignore[arg-type]
        require_client_authentication=tls.client_ca is not None,
    )


def check_peer(auth_context: Mapping[str, Iterable[bytes]], allowed_sans: frozenset[str]) -> None:
    """Raise PermissionDenied unless one of the names in the peer's certificate is allowed.

    Subject alternative names count; the common name only without them (RFC 9525 no longer uses it).
    """
    names = auth_context.get("x509_subject_alternative_name") or auth_context.get("x509_common_name") or ()
    if allowed_sans.isdisjoint(name.decode("utf-8", "replace") for name in names):
        raise PermissionDenied("no name in this peer's certificate is allowed to call")
