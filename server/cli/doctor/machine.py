"""The checks of allowed origins, file descriptors, ports and the gRPC certificate."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx
from cryptography import x509

from server import file_descriptors
from server.addresses import listening
from server.cli.doctor.finding import TIMEOUT_S, Finding
from server.compiled.choice import why_not_compiled
from server.settings.settings import Settings

#: A certificate that expires earlier is a finding.
MIN_CERTIFICATE_VALIDITY = timedelta(days=14)


async def check_origins(settings: Settings, dsn: str) -> Finding:
    """Whether each allowed origin uses https."""
    for origin in settings.allowed_origins:
        parts = urlsplit(origin)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if parts.scheme == "http" and not local and not settings.dev:
            return Finding(
                "origins",
                "IDEO_ALLOWED_ORIGINS has an http:// entry, which is not encrypted",
                "serve the IDE's pages over https and allow that origin",
            )
    return Finding("origins", f"{len(settings.allowed_origins)} allowed")


async def check_descriptors(settings: Settings, dsn: str) -> Finding:
    """Whether the process may have a file descriptor for each connection."""
    needed, limit = file_descriptors.needed(settings.max_connections), file_descriptors.limit()
    message = f"the hub needs up to {needed}, the limit is {limit}"
    if limit < needed:
        return Finding(
            "descriptors",
            message,
            "raise the hard limit of open files (ulimit -Hn, LimitNOFILE), or lower IDEO_MAX_CONNECTIONS",
        )
    return Finding("descriptors", message)


async def check_compiled(settings: Settings, dsn: str) -> Finding:
    """Which form reads token frames. Both do the same: that in Python takes more CPU."""
    why = why_not_compiled() if settings.compiled else "IDEO_COMPILED is false"
    if not why:
        return Finding("compiled", "frames are read by the compiled module")
    return Finding("compiled", f"frames are read in Python, not by the compiled module: {why}")


async def check_ports(settings: Settings, dsn: str) -> Finding:
    """Whether both ports are free, or a hub is already running there."""
    if settings.http_port and await _hub_serves(settings):
        return Finding("ports", "a hub is running here")
    wrong = []
    for name, port in (("IDEO_HTTP_PORT", settings.http_port), ("IDEO_GRPC_PORT", settings.grpc_port)):
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except (OSError, UnicodeError) as error:
                remedy = listening.remedy(error, host="IDEO_HOST", port=name)
                wrong.append((f"{name} is not available ({listening.refusal(error)})", remedy))
    if wrong:
        return Finding("ports", *("; ".join(dict.fromkeys(texts)) for texts in zip(*wrong, strict=True)))
    return Finding("ports", "both are free")


async def _hub_serves(settings: Settings) -> bool:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        # Plain http: the CA certificates, which httpx would load, are not needed.
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=bare) as client:
            answer = await client.get(f"http://{host}:{settings.http_port}/healthz")
        return answer.status_code == 200 and answer.json() == {"status": "ok"}
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False


async def check_certificate(settings: Settings, dsn: str) -> Finding:
    """Whether the gRPC certificate belongs to its key and is valid long enough."""
    certificate, key = settings.grpc_certificate, settings.grpc_key
    if certificate is None or key is None:
        return Finding("certificate", "gRPC is not encrypted")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        expires_at = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (ssl.SSLError, ValueError, OSError):
        return Finding(
            "certificate",
            "IDEO_GRPC_CERTIFICATE and IDEO_GRPC_KEY do not belong together",
            "set a PEM certificate and the key that it was made for",
        )
    left = expires_at - datetime.now(UTC)
    if left < MIN_CERTIFICATE_VALIDITY:
        message = "has expired" if left < timedelta(0) else f"expires in {left.days} days"
        return Finding("certificate", message, "renew it; the hub reads new files without a restart")
    return Finding("certificate", f"is valid for {left.days} days")
