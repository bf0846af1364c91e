"""The addresses that webhooks may call: none of the networks that the hub is in, unless the operator names
them.

A name is checked when it is called, not when it is stored: what it stands for may change. The caller connects
to the address that was checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

#: Longest address of a webhook, in characters.
MAX_URL = 2_048

_PRINTABLE = re.compile(r"[!-~]+")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")

#: Addresses of version 6 are called within this network alone. Outside of it are private ones, and those that
#: stand for an address of version 4, which could be any: mapped, compatible, translated, NAT64.
_GLOBAL_V6 = IPv6Network("2000::/3")
#: What is refused besides all that Python does not count as global: protocol assignments with Teredo, 6to4,
#: documentation, and a host of one cloud that serves its machines at a public address.
_REFUSED = tuple(
    ip_network(network)
    for network in (
        *("2001::/23", "2002::/16", "3fff::/20"),
        *("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16"),
    )
)
#: Where clouds serve the credentials of their machines: never called, whatever the operator allows.
_METADATA = frozenset(
    map(ip_address, ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"))
)


class BadTarget(ValueError):
    """An address that cannot be called. The text says what it must be."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address to call, in parts. host: a name in lower case, or an IP address without brackets. path: with
    the query."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The `Host` of a request."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def parse_target(url: str) -> Target:
    """The parts of an address. Raises BadTarget."""
    if len(url) > MAX_URL:
        raise BadTarget(f"must have at most {MAX_URL} characters")
    if not _PRINTABLE.fullmatch(url):
        raise BadTarget("must be ASCII without spaces: encode other characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadTarget("must be an address with a host and a port's number") from None
    if parts.scheme not in ("https", "http") or "\\" in url:
        raise BadTarget("must be an https:// address")
    if "@" in parts.netloc or "#" in url:
        raise BadTarget("must not have a user, a password or a fragment")
    host = (parts.hostname or "").lower()
    bracketed = "[" in parts.netloc
    if not _is_host(host) or bracketed != (":" in host) or port == 0:
        raise BadTarget("must have a host: a name, or an IP address")
    secure = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(secure, host, port or (443 if secure else 80), path)


def _is_host(host: str) -> bool:
    try:
        return "%" not in str(ip_address(host))
    except ValueError:
        # A last label that is a number is another spelling of an IPv4 address.
        last = host.rstrip(".").rpartition(".")[2]
        return _NAME.fullmatch(host) is not None and not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last)


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    if ip.version == 6 and ip not in _GLOBAL_V6:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _REFUSED)


class AllowedHosts:
    """What may be called besides public addresses over https: host names, names below `*.name`, addresses and
    networks. What is allowed may also be called without TLS."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """Raises ValueError for an entry that is none of these."""
        self._names: set[str] = set()
        self._suffixes: tuple[str, ...] = ()
        self._networks: tuple[IPv4Network | IPv6Network, ...] = ()
        for entry in map(str.lower, allowed):
            name = entry.removeprefix("*.")
            try:
                self._networks += (ip_network(entry),)
            except ValueError:
                if "/" in entry or not _is_host(name):
                    raise ValueError("must be host names, *.names, addresses or networks") from None
                if name == entry:
                    self._names.add(name)
                else:
                    self._suffixes += (f".{name}",)

    def check(self, target: Target) -> None:
        """Raise BadTarget for a target that may not be called, as far as that is known without its
        addresses."""
        try:
            ip_address(target.host)
        except ValueError:
            # Without a certificate nobody knows who answers at a name: an allowed network names no host.
            if not target.secure and not self._names_host(target.host):
                raise BadTarget("must be an https:// address, unless the operator names its host") from None
            return
        if not self.permits(target.host, target.host, secure=target.secure):
            raise BadTarget("must not be a private address, or http://, unless the operator allows it")

    def permits(self, host: str, address: str, *, secure: bool) -> bool:
        """Whether a host may be called at an IP address that it has. secure: with TLS."""
        ip = ip_address(address)
        if ip in _METADATA or getattr(ip, "ipv4_mapped", None) in _METADATA:
            return False
        if self._names_host(host) or any(ip in network for network in self._networks):
            return True
        return secure and _is_public(ip)

    def _names_host(self, host: str) -> bool:
        name = host.rstrip(".")
        return name in self._names or name.endswith(self._suffixes)
