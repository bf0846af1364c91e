"""How grpc's poller wakes the event loop. Does not import grpc: commands without it have the same loop."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from typing import Any

#: Bytes that are looked at in one turn of the loop. The socket holds 278.
_LOOK = 512


def draining_callback(fd: Any, callback: Callable[..., Any]) -> Callable[..., Any]:
    """The callback of a loop's reader; that of grpc's completion queue first reads all that woke the loop.

    The queue writes one byte for each event, and grpc reads one byte in each turn of the loop. When a flood
    has filled the socket between them, with 278 bytes, the queue waits for each byte to be read: then one
    event is handled in a turn, and all calls share these.
    """
    queue = getattr(getattr(callback, "func", None), "__self__", None)
    if type(queue).__name__ != "PollerCompletionQueue":
        return callback
    return functools.partial(_read_and_call, fd, bytearray(_LOOK), callback)


def _read_and_call(wake_ups: socket.socket, read: bytearray, handle_events: Callable[[], None]) -> None:
    # grpc reads the last byte itself. To find none would cost it an exception in every turn.
    try:
        surplus = wake_ups.recv_into(read, 0, socket.MSG_PEEK) - 1
        if surplus > 0:
            wake_ups.recv_into(read, surplus)
    except BlockingIOError:
        pass
    handle_events()
