"""TLS for the gRPC face, and which peers it takes (ADR 0021).

Certificate, key and the authority of clients are files, looked at again at each handshake: who rotates them
needs no restart. A file that cannot be read any more leaves the last good one in use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from server.domain.errors import PermissionDenied


@dataclass(frozen=True, slots=True)
class Tls:
    """Which files. Without `client_ca` clients need no certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class _Files:
    """The contents of the files as they were read last."""

    def __init__(self, tls: Tls) -> None:
        self._paths = [tls.key, tls.certificate, *([tls.client_ca] if tls.client_ca else [])]
        self._read = [path.read_bytes() for path in self._paths]

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """The contents for grpc."""
        key, certificate, *roots = self._read
        return grpc.ssl_server_certificate_configuration(
            [(key, certificate)], root_certificates=roots[0] if roots else None
        )

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The contents, if they are other ones now."""
        try:
            read = [path.read_bytes() for path in self._paths]
        except OSError:
            return None
        if read == self._read:
            return None
        self._read = read
        return self.configuration()


def server_credentials(tls: Tls) -> grpc.ServerCredentials:
    """What a port is bound with. Raises OSError for a file that cannot be read."""
    files = _Files(tls)
    # grpc takes None for no change, which its types do not know.
    return grpc.dynamic_ssl_server_credentials(
        files.configuration(),
        files.changed,  # type: ignore[arg-type]
        require_client_authentication=tls.client_ca is not None,
    )


def check_peer(auth_context: Mapping[str, Iterable[bytes]], peers: frozenset[str]) -> None:
    """Raise PermissionDenied unless one of the names in the peer's certificate is on the list.

    Subject alternative names count; the common name only when there are none (RFC 9525 knows it no more).
    """
    if not peers:
        return
    names = auth_context.get("x509_subject_alternative_name") or auth_context.get("x509_common_name") or ()
    if peers.isdisjoint(name.decode("utf-8", "replace") for name in names):
        raise PermissionDenied("no name in this peer's certificate is on the list of those that may call")
