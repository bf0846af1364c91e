"""Addresses whose new connections the kernel drops for a while, at their first packet (ADR 0085).

grpc accepts connections itself, and its core takes in whatever they bring before the hub sees any of it. A
filter on the listening socket is asked for each packet of a connection that is not accepted yet. A client
whose first packet is dropped sends it again after a second. Connections that exist go on.
"""

from __future__ import annotations

import asyncio
import ctypes
import ipaddress
import os
import socket
import struct
import sys
from collections import OrderedDict
from collections.abc import Container, Iterable
from contextlib import suppress

from server.grpc.hang_ups import descriptors

#: Addresses that are blocked at a time: the last ones.
MAX_BLOCKED = 200
#: Seconds for which addresses are collected before the filter is changed.
_COLLECTED_S = 0.005

# Classic BPF, as linux/filter.h names it: load a byte or a word, and its bits, jump if equal, return.
_LOAD_BYTE, _LOAD, _AND, _JUMP_EQUAL, _RETURN = 0x30, 0x20, 0x54, 0x15, 0x06
_NETWORK_HEADER = 0xFFF00000
_SYN, _SYN_AND_ACK = 0x02, 0x12
_DROP, _KEEP = 0, 0xFFFFFFFF
_ATTACH, _DETACH = 26, 27


def _program(addresses: Iterable[str]) -> bytes:
    """A program that drops the first packets of connections from these addresses."""
    by_version: dict[int, list[bytes]] = {4: [], 6: []}
    for each in addresses:
        address = ipaddress.ip_address(each)
        by_version[address.version].append(address.packed)
    of_four = [(_LOAD, 0, 0, _NETWORK_HEADER + 12)]
    for packed in by_version[4]:
        of_four += [(_JUMP_EQUAL, 0, 1, *struct.unpack("!I", packed)), (_RETURN, 0, 0, _DROP)]
    of_six = []
    for packed in by_version[6]:
        high, low = struct.unpack("!II8x", packed)
        of_six += [(_LOAD, 0, 0, _NETWORK_HEADER + 8), (_JUMP_EQUAL, 0, 3, high)]
        of_six += [(_LOAD, 0, 0, _NETWORK_HEADER + 12), (_JUMP_EQUAL, 0, 1, low), (_RETURN, 0, 0, _DROP)]
    keep = (_RETURN, 0, 0, _KEEP)
    # Jumps reach no farther than 255 instructions, so that each part ends by itself.
    program = [
        (_LOAD_BYTE, 0, 0, 13),
        (_AND, 0, 0, _SYN_AND_ACK),
        (_JUMP_EQUAL, 1, 0, _SYN),
        keep,
        (_LOAD_BYTE, 0, 0, _NETWORK_HEADER),
        (_AND, 0, 0, 0xF0),
        (_JUMP_EQUAL, 1, 0, 0x40),
        (0x05, 0, 0, len(of_four) + 1),  # jump
        *of_four,
        keep,
        *of_six,
        keep,
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


class BlockedAddresses:
    """Those of one server. ports: the server's. Only on Linux; elsewhere nothing is blocked."""

    def __init__(self, ports: Container[int]) -> None:
        self._ports = ports
        #: Addresses, and when each of them is no longer blocked.
        self._until: OrderedDict[str, float] = OrderedDict()
        self._change: asyncio.TimerHandle | None = None
        #: Whether the filter is that of the addresses that are blocked.
        self.applied = True

    def add(self, address: str, seconds: float) -> None:
        """Drop new connections from an address (`server.grpc.addresses`) for so long."""
        loop = asyncio.get_running_loop()
        self._until[address] = loop.time() + seconds
        self._until.move_to_end(address)
        if len(self._until) > MAX_BLOCKED:
            self._until.popitem(last=False)
        if self.applied:
            self.applied = False
            self._change_in(_COLLECTED_S)

    def _change_in(self, seconds: float) -> None:
        if self._change is not None:
            self._change.cancel()
        self._change = asyncio.get_running_loop().call_later(seconds, self._apply)

    def _apply(self) -> None:
        self._change, self.applied, now = None, True, asyncio.get_running_loop().time()
        for address in [each for each, until in self._until.items() if until <= now]:
            del self._until[address]
        if sys.platform == "linux":
            self._filter()
        if self._until:
            self._change_in(max(min(self._until.values()) - now, _COLLECTED_S))

    def _filter(self) -> None:
        program = _program(self._until)
        instructions = ctypes.create_string_buffer(program, len(program))
        attached = struct.pack("HL", len(program) // 8, ctypes.addressof(instructions))
        for each in descriptors():
            # grpc may close it meanwhile.
            with suppress(OSError), socket.socket(fileno=os.dup(each)) as listener:
                if (
                    listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                    and listener.getsockname()[1] in self._ports
                ):
                    if self._until:
                        listener.setsockopt(socket.SOL_SOCKET, _ATTACH, attached)
                    else:
                        listener.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
