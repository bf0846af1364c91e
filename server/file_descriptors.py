"""The process's limit of file descriptors, and the connections that fit under it."""

from __future__ import annotations

import contextlib
import resource

#: Descriptors for all but clients: the database, the runtime's streams, listeners, files, guests of HTTP.
RESERVED = 512


def needed(max_connections: int) -> int:
    """Descriptors for so many connections to each of the two ports."""
    return 2 * max_connections + RESERVED


def limit() -> int:
    """The largest number of descriptors that this process may have; it may raise its present limit to it."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def reserve(max_connections: int) -> int:
    """Raise the limit as far as needed and permitted. Returns how many connections each port may have.

    Without a descriptor for a new connection, a server accepts none, not even a probe's.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed(max_connections):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed(max_connections), hard), hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    # A limit below the reserve leaves some connections all the same.
    return min(max_connections, max((soft - RESERVED) // 2, soft // 4))
