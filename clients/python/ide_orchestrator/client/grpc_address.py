"""Where a hub that is known by its HTTP address is reached over gRPC."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ide_orchestrator.client.errors import Fault, Refused
from ide_orchestrator.client.hub import Hub


class GrpcAddress(NamedTuple):
    """target: as `ide.example.com:50051`. tls: whether the port has TLS."""

    target: str
    tls: bool


def grpc_address_of(text: str) -> GrpcAddress:
    """The address in a text: `ide.example.com:50051` or `http://…` without TLS, `https://…` with it."""
    scheme, found, rest = text.partition("://")
    if not found or scheme.lower() not in ("http", "https"):
        # Also the schemes of gRPC, such as `unix:` and `dns:`.
        return GrpcAddress(text, False)
    return GrpcAddress(rest.rstrip("/"), scheme.lower() == "https")


async def grpc_address(hub: Hub, trusted_hosts: Collection[str] = ()) -> GrpcAddress:
    """The address that the hub says.

    The token is sent to it. So its host is the hub's own, or one of the trusted ones. Raises HubError;
    Refused for a hub that does not say it, for another host, and for a port without TLS of a hub that is
    called with TLS: the token would be readable on its way.
    """
    # A hub of an earlier release has no such member.
    endpoint = (await hub.info()).get("grpc")
    if endpoint is None:
        raise Refused(f"the hub at {hub.url} does not say where gRPC is: give its address")
    own = urlsplit(hub.url).hostname or ""
    named: Mapping[str, Any] = endpoint if isinstance(endpoint, dict) else {}
    host, port, tls = named.get("host") or own, named.get("port"), named.get("tls")
    if not (isinstance(host, str) and type(port) is int and 0 < port < 1 << 16 and isinstance(tls, bool)):
        raise Fault(f"the hub at {hub.url} says where gRPC is in a form that cannot be read")
    if host.lower() not in {own.lower(), *(each.lower() for each in trusted_hosts)}:
        raise Refused(
            f"the hub at {hub.url} says that gRPC is at another host, {host!a}: "
            "give its address, or name the host as trusted"
        )
    found = GrpcAddress(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", tls)
    if hub.url.startswith("https:") and not found.tls:
        raise Refused(f"gRPC at {found.target} has no TLS, unlike the hub at {hub.url}: give its address")
    return found
