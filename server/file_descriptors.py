"""The process's limit of file descriptors, and the connections that fit under it."""

from __future__ import annotations

import contextlib
import resource
from typing import NamedTuple

#: Descriptors for all but clients: the database, the runtime's streams, listeners, files, guests of HTTP.
RESERVED = 512


class Connections(NamedTuple):
    """The connections that each port may have."""

    http: int
    grpc: int


def needed(max_connections: int) -> int:
    """Descriptors for so many connections over HTTP, and for a quarter of them over gRPC."""
    return max_connections + max_connections // 4 + RESERVED


def limit() -> int:
    """The largest number of descriptors that this process may have; it may raise its present limit to it."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def reserve(max_connections: int) -> Connections:
    """Raise the limit as far as needed and permitted. Returns the connections that fit.

    Without a descriptor for a new connection, a server accepts none, not even a probe's.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * max_connections + RESERVED
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    return fitting(resource.getrlimit(resource.RLIMIT_NOFILE)[0], max_connections)


def fitting(descriptors: int, max_connections: int) -> Connections:
    """The connections that fit in so many descriptors; some, even if they are fewer than the reserve."""
    room = max(descriptors - RESERVED, descriptors // 2)
    http = min(max_connections, room * 4 // 5)
    return Connections(http, min(max_connections, room - http))
