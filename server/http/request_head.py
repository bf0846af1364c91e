"""The rules for a request's line and headers that the parser leaves open (RFC 9112). Pure."""

from __future__ import annotations

from collections.abc import Sequence

#: Maximum bytes of the request line, the headers and the trailers together, and maximum number of headers.
MAX_HEAD_BYTES, MAX_HEADERS = 32 << 10, 256
#: Bytes between a header's name and value, and after it.
SEPARATOR_BYTES = len(b": \r\n")


class HeadSize:
    """The size of a head, counted as it arrives."""

    def __init__(self) -> None:
        self._bytes = self._headers = 0

    def add(self, count: int) -> None:
        """Count bytes. Raises ValueError when the head is too large."""
        self._bytes += count
        if self._bytes > MAX_HEAD_BYTES:
            raise ValueError("the head is too large")

    def add_header(self, count: int) -> None:
        """Count a header, or trailer, of so many bytes. Raises ValueError as `add`, and for one too many."""
        self._headers += 1
        if self._headers > MAX_HEADERS:
            raise ValueError("there are too many headers")
        self.add(count)


def check_head(version: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raise ValueError for a head that must be refused.

    It has a version other than 1.0 and 1.1, or more or fewer than one `Host` (section 3.2): a proxy may read
    another one than the hub.
    """
    if version not in ("1.0", "1.1"):
        raise ValueError("the version is not supported")
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise ValueError("there must be one Host")
