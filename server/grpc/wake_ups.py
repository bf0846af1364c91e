"""How grpc wakes the event loop. Does not import grpc: the loop is the same for commands without it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def reading_all_wake_ups(fd: Any, callback: Callable[..., Any]) -> Callable[..., Any]:
    """The callback of a loop's reader; that of grpc's completion queue first reads all that woke the loop.

    The queue writes one byte for each event, and grpc reads one byte in each turn of the loop. When a flood
    has filled the socket between them, with 278 bytes, the queue waits for each byte to be read: then one
    event is handled in a turn, and all calls share these.
    """
    queue = getattr(getattr(callback, "func", None), "__self__", None)
    if type(queue).__name__ != "PollerCompletionQueue":
        return callback
    return functools.partial(_read_and_call, fd, callback)


def _read_and_call(wake_ups: Any, handle_events: Callable[[], None]) -> None:
    with suppress(BlockingIOError):
        wake_ups.recv(65536)
    handle_events()
