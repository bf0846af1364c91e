"""The sockets on which HTTP listens."""

from __future__ import annotations

import socket

#: Send buffer of a client's socket, in bytes: what the kernel holds for a client that stopped reading.
SEND_BUFFER_BYTES = 128 << 10
#: Receive buffer, in bytes: what the kernel holds of a request that the hub does not read yet. By itself it
#: would grow to what the machine allows, often 32 MiB; a few hundred such requests fill the memory that all
#: TCP connections of the machine share, and then all of them lose packets.
RECEIVE_BUFFER_BYTES = 128 << 10
#: Milliseconds after which the kernel gives up a client that acknowledges none of the data sent to it.
USER_TIMEOUT_MS = 10_000


def family_of(host: str) -> socket.AddressFamily:
    """The family of the host's address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listening_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening TCP socket. Bounds the data that the kernel holds for a client that stopped reading, and of
    one whose request is not read.

    shared: its address with other such sockets of the same user. The kernel gives each connection to one
    that listens; it does so only once it is served, because what comes earlier would have to wait. Raises
    OSError when the address is in use or not one of this machine's.
    """
    listener = socket.socket(family_of(host), socket.SOCK_STREAM)
    try:
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        # Before it listens: a connection's window is scaled for it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        # Headers and body leave in two writes. uvloop sets this itself, asyncio only for some sockets.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        listener.bind((host, port))
        if not shared:
            listener.listen(1024)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
