"""Why a program cannot listen on an address, and what to do about it, in words for people."""

from __future__ import annotations

import errno
import socket

#: Ports below this one need a right on most systems.
_FIRST_FREE_PORT = 1024


def refusal(error: OSError | UnicodeError) -> str:
    """Why the system refused the address: in its own words, where it has some."""
    return getattr(error, "strerror", None) or "it is not the name of a host"


def remedy(error: OSError | UnicodeError, *, host: str, port: str) -> str:
    """What to do after the error. `host`, `port`: what the settings of the address are called."""
    if isinstance(error, UnicodeError | socket.gaierror):
        return f"correct the host name in {host}, or give an address of this machine"
    match error.errno:
        case errno.EADDRINUSE:
            return f"stop the program that listens there, or change {port} (0 takes a free port) or {host}"
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return f"give an address of this machine as {host}"
        case errno.EACCES | errno.EPERM:
            return f"change {port} to one from {_FIRST_FREE_PORT} on (0 takes a free port)"
    return another(host=host, port=port)


def another(*, host: str, port: str) -> str:
    """What to do when only another address helps."""
    return f"change {port} (0 takes a free port) or {host}"
