"""A reader of hostile bytes, as the fuzzer calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: Largest input, in bytes.
MAX_INPUT = 8192


@dataclass(frozen=True)
class Target:
    """A reader to fuzz.

    read: reads an input, and raises if something happens that must not. seeds: the first inputs.
    """

    read: Callable[[bytes], None]
    seeds: Sequence[bytes]


def text_of(data: bytes) -> str:
    """The input as text, including any lone surrogates."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")
