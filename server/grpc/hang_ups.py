"""Closes connections of grpc, which has no call for it: it shuts down their sockets (ADR 0073).

grpc then sees that the client has left, and ends the connection's calls in its own threads. A socket is found
among the process's file descriptors by its two addresses. grpc may close it meanwhile, and another one may
get its number: what is shut down is a duplicate, of which the addresses are compared again.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Container
from contextlib import suppress
from typing import TypeAlias
from urllib.parse import unquote

#: The process's own file descriptors, on Linux and macOS.
_DESCRIPTORS = "/dev/fd"
#: Seconds for which connections that are to be closed are collected; how many times as long as the search for
#: them took the next one waits; file descriptors that are looked at in one turn of the event loop.
_COLLECTED_S, _REST, _LOOKED_AT = 0.005, 9, 100

#: An address and a port.
_Place: TypeAlias = "tuple[str, int]"


class HangUps:
    """The connections of one server that are to be closed. ports: the server's."""

    def __init__(self, ports: Container[int]) -> None:
        self._ports = ports
        self._places: set[_Place] = set()
        self._searching: asyncio.Task[None] | None = None

    def add(self, peer: str) -> None:
        """Close a connection soon; `peer` as grpc calls it."""
        self._places.add(_place(peer))
        if self._searching is None:
            self._searching = asyncio.get_running_loop().create_task(self._search())

    async def _search(self) -> None:
        loop = asyncio.get_running_loop()
        while self._places:
            await asyncio.sleep(_COLLECTED_S)
            places, self._places = self._places, set()
            took_s = 0.0
            descriptors = _descriptors()
            for start in range(0, len(descriptors), _LOOKED_AT):
                began = loop.time()
                for each in descriptors[start : start + _LOOKED_AT]:
                    if _peer(each) in places:
                        self._shut_down(each, places)
                took_s += loop.time() - began
                await asyncio.sleep(0)
            await asyncio.sleep(_REST * took_s)
        self._searching = None

    def _shut_down(self, descriptor: int, places: set[_Place]) -> None:
        # The client may have left.
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as duplicate:
            if _peer(duplicate.fileno()) in places and duplicate.getsockname()[1] in self._ports:
                duplicate.shutdown(socket.SHUT_RDWR)


def _descriptors() -> list[int]:
    """The numbers of the process's file descriptors."""
    try:
        return [int(name) for name in os.listdir(_DESCRIPTORS)]
    except OSError:
        return []


def _peer(descriptor: int) -> _Place | None:
    """The other end of a connection; None if the descriptor is none."""
    try:
        # The family is not looked for, and need not be the right one.
        connection = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, descriptor)
    except OSError:
        return None
    try:
        host, port, *_ = connection.getpeername()
    except (OSError, ValueError):
        return None
    finally:
        connection.detach()
    return host.removeprefix("::ffff:"), port


def _place(peer: str) -> _Place:
    """The address and port of grpc's `ipv4:127.0.0.1:1234` or `ipv6:%5B::1%5D:1234`."""
    host, _, port = unquote(peer.partition(":")[2]).rpartition(":")
    return host.strip("[]").partition("%")[0], int(port)
