"""The rules for a request's line and headers that the parser leaves open (RFC 9112). Pure."""

from __future__ import annotations

from collections.abc import Sequence

#: Maximum bytes of the request line and headers together.
MAX_HEAD_BYTES = 32 << 10
#: Bytes between a header's name and value, and after it.
_SEPARATORS = len(b": \r\n")


def check_head(version: str, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raise ValueError for a head that must be refused.

    It is too large, has a version other than 1.0 and 1.1, or more or fewer than one `Host` (section 3.2):
    a proxy may read another one than the hub.
    """
    if len(url) + sum(len(name) + len(value) + _SEPARATORS for name, value in headers) > MAX_HEAD_BYTES:
        raise ValueError("the head is too large")
    if version not in ("1.0", "1.1"):
        raise ValueError("the version is not supported")
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise ValueError("there must be one Host")
