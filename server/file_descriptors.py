"""The process's limit of file descriptors, and the connections that fit under it."""

from __future__ import annotations

import contextlib
import resource
from typing import NamedTuple

#: Descriptors kept for everything except clients: the database, the runtime's streams, listeners, files,
#: guests of HTTP.
RESERVED = 512


class Connections(NamedTuple):
    """The connections that each port may have."""

    http: int
    grpc: int


def needed(max_connections: int) -> int:
    """Descriptors needed for this many HTTP connections and a quarter as many gRPC connections."""
    return max_connections + max_connections // 4 + RESERVED


def limit() -> int:
    """The hard limit on file descriptors: the process may raise its soft limit up to it."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def reserve(max_connections: int) -> Connections:
    """Raise the limit as far as needed and permitted. Returns the connections that fit.

    A server that runs out of descriptors accepts no connection, not even a probe's.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * max_connections + RESERVED
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    return fitting(resource.getrlimit(resource.RLIMIT_NOFILE)[0], max_connections)


def fitting(descriptors: int, max_connections: int) -> Connections:
    """The connections that fit in this many descriptors: some, even with fewer than the reserve."""
    room = max(descriptors - RESERVED, descriptors // 2)
    http = min(max_connections, room * 4 // 5)
    return Connections(http, min(max_connections, room - http))
