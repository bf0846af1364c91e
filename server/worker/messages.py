"""Messages between the hub and a worker, over pipes: pickled objects, one after the other.

A text may have many mebibytes. It is passed on as it is, in pieces that the kernel copies: it is not copied
into a larger one, during which nothing else would run in the hub.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

#: What the worker says first.
READY = "ready"


@dataclass(frozen=True, slots=True)
class Returned:
    """What a function gave."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The error of a function."""

    error: Exception


Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class _Output:
    """Writes to a descriptor. The pickler hands over a large text as it is."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]


def send(descriptor: int, message: object) -> None:
    """Write a message. Raises OSError, and what the pickler raises."""
    pickle.Pickler(_Output(descriptor), pickle.HIGHEST_PROTOCOL).dump(message)


def receive(stream: BinaryIO) -> Any:
    """The next message. Raises EOFError, also in the middle of one."""
    try:
        return pickle.load(stream)  # noqa: S301 - written by the other end of a pipe that the hub made
    except pickle.UnpicklingError:
        raise EOFError from None
