"""The sockets of grpc's connections, which grpc gives to nobody.

They are found among the process's file descriptors by their addresses. grpc may close one meanwhile, and
another socket may get its number. So a socket is duplicated first, the addresses of the duplicate are
compared again, and only the duplicate is used.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from typing import TypeAlias
from urllib.parse import unquote

#: The process's own file descriptors, on Linux and macOS.
_DESCRIPTORS = "/dev/fd"
#: File descriptors that are looked at in one turn of the event loop.
_LOOKED_AT = 100

#: The other end of a connection: an address and a port.
Place: TypeAlias = "tuple[str, int]"


class Sockets:
    """The sockets of one server. ports: those on which it listens."""

    def __init__(self, ports: Container[int]) -> None:
        self._ports = ports
        #: Whether there was a file descriptor for the last search.
        self.searched = False

    async def search(self, found: Callable[[int, Place], None]) -> float:
        """Call `found` with the file descriptor and the other end of each connection, in turns of the event
        loop. Returns the seconds of processor time that it took."""
        descriptors, took_s = _descriptors(), 0.0
        self.searched = bool(descriptors)
        for start in range(0, len(descriptors), _LOOKED_AT):
            began = time.thread_time()
            for each in descriptors[start : start + _LOOKED_AT]:
                if (place := self._place(each)) is not None:
                    found(each, place)
            took_s += time.thread_time() - began
            await asyncio.sleep(0)
        return took_s

    def use(self, descriptor: int, place: Place, use: Callable[[socket.socket], object]) -> bool:
        """Call `use` with the connection that was found with these. Returns False if it is gone."""
        with suppress(OSError), _duplicate(descriptor) as duplicate:
            if self._place(duplicate.fileno()) == place:
                use(duplicate)
                return True
        return False

    def listening(self) -> Iterator[socket.socket]:
        """Duplicates of the sockets on which the server listens, to be closed by the caller."""
        for each in _descriptors():
            with suppress(OSError):
                duplicate = _duplicate(each)
                if self._listens(duplicate):
                    yield duplicate
                else:
                    duplicate.close()

    def _listens(self, of_process: socket.socket) -> bool:
        """Whether the server listens on a socket."""
        try:
            return (
                of_process.family in (socket.AF_INET, socket.AF_INET6)
                and bool(of_process.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
                and of_process.getsockname()[1] in self._ports
            )
        except OSError:
            return False

    def _place(self, descriptor: int) -> Place | None:
        """The other end of one of the server's connections; None if the descriptor is none."""
        try:
            # The family is not looked for, and need not be the right one.
            connection = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, descriptor)
        except OSError:
            return None
        try:
            _, own_port, *_ = connection.getsockname()
            if own_port not in self._ports:
                return None
            host, port, *_ = connection.getpeername()
        except (OSError, ValueError):
            return None
        finally:
            connection.detach()
        return host.removeprefix("::ffff:"), port


def _duplicate(descriptor: int) -> socket.socket:
    """Raises OSError when it is not a socket."""
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _descriptors() -> list[int]:
    """The numbers of the process's file descriptors."""
    try:
        return [int(name) for name in os.listdir(_DESCRIPTORS)]
    except OSError:
        return []


def place_of(peer: str) -> Place:
    """The other end of a connection, from grpc's `ipv4:127.0.0.1:1234` or `ipv6:%5B::1%5D:1234`."""
    host, _, port = unquote(peer.partition(":")[2]).rpartition(":")
    return host.strip("[]").partition("%")[0], int(port)


def peer_of(place: Place) -> str:
    """What grpc calls a connection with this other end."""
    host, port = place
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"
