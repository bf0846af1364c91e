"""Where a hub that is known by its HTTP address is reached over gRPC."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from ide_orchestrator.client.errors import Fault, Refused
from ide_orchestrator.client.hub import Hub


class GrpcAddress(NamedTuple):
    """target: as `ide.example.com:50051`. tls: whether the port has TLS."""

    target: str
    tls: bool


async def grpc_address(hub: Hub) -> GrpcAddress:
    """The address that the hub says.

    Raises HubError; Refused for a hub that does not say it, and for a port without TLS of a hub that is
    called with TLS: the token would be readable on its way.
    """
    # A hub of an earlier release has no such member.
    endpoint = (await hub.info()).get("grpc")
    if endpoint is None:
        raise Refused(f"the hub at {hub.url} does not say where gRPC is: give its address")
    try:
        host = endpoint["host"] or urlsplit(hub.url).hostname or ""
        shown = f"[{host}]" if ":" in host else host
        found = GrpcAddress(f"{shown}:{endpoint['port']}", endpoint["tls"])
    except (KeyError, TypeError):
        raise Fault(f"the hub at {hub.url} says where gRPC is in a form that cannot be read") from None
    if hub.url.startswith("https:") and not found.tls:
        raise Refused(f"gRPC at {found.target} has no TLS, and the hub at {hub.url} has: give its address")
    return found
